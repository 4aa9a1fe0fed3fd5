"""Analysis of fitted models: recordings, inspection, effective context and robustness."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.analysis.context.result import EffectiveContext as EffectiveContext
    from seriatim.analysis.inspect.findings import Passage as Passage
    from seriatim.analysis.inspect.inspection import Inspection as Inspection
    from seriatim.analysis.inspect.trace import PairTrace as PairTrace
    from seriatim.analysis.inspect.trace import TextTrace as TextTrace
    from seriatim.analysis.recorder import Trace as Trace
    from seriatim.analysis.recorder import record as record
    from seriatim.analysis.robustness.result import Robustness as Robustness

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "context.result": ["EffectiveContext"],
        "inspect.findings": ["Passage"],
        "inspect.inspection": ["Inspection"],
        "inspect.trace": ["PairTrace", "TextTrace"],
        "recorder": ["Trace", "record"],
        "robustness.result": ["Robustness"],
    },
)
