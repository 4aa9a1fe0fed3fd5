"""Data before training: what it is, what is unusual about it, and what to train on it.

`look` examines data (`examine`, with `parts`, `kind`, `sampling`) into a `DataProfile` of figures
(`byte_stats`, `text_facts`, `leaks`, `predictability`), lists `findings`, draws `advice`, and
writes both as `text` and as a `page`.
"""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.data_profile.advice import Advice as Advice
    from seriatim.data_profile.findings import Finding as Finding
    from seriatim.data_profile.profile import DataReport as DataReport
    from seriatim.data_profile.profile import look as look
    from seriatim.data_profile.result import DataProfile as DataProfile

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "advice": ["Advice"],
        "findings": ["Finding"],
        "profile": ["DataReport", "look"],
        "result": ["DataProfile"],
    },
)
