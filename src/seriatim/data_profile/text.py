"""A data report as plain text: what the data is, findings, figures, advice, and what to run.

Knows the profile, its findings and the advice; reads no data.
"""

from collections.abc import Iterator, Sequence

from seriatim.data_profile.advice import Advice
from seriatim.data_profile.findings import Finding
from seriatim.data_profile.result import DataProfile
from seriatim.data_profile.tables import (
    compression_sentence,
    leak_table,
    length_table,
    predictability_table,
    size_phrases,
    symbol_table,
)
from seriatim.report.document import Report, Section
from seriatim.report.tables import Table

_WIDTH = 96


def report_text(profile: DataProfile, findings: Sequence[Finding], advice: Advice) -> str:
    """The whole report as lines of at most 96 columns, commands and tables excepted."""
    sections = [
        Section(
            "Findings",
            items=[f"{f.level.upper()}: {f.message} {f.action}".rstrip() for f in findings],
        ),
        _table_section(length_table(profile)),
        _table_section(symbol_table(profile)),
        _table_section(predictability_table(profile), compression_sentence(profile)),
        _table_section(leak_table(profile)),
        Section("Advice", items=advice.reasons),
        Section("Run next", commands=advice.commands),
    ]
    filled = [s for s in sections if s.has_content]
    title, *others = _descriptions(profile)
    return Report(title, "\n\n".join(others), filled).text(width=_WIDTH)


def _descriptions(profile: DataProfile) -> Iterator[str]:
    for name, part in profile.parts.items():
        prefix = "" if name == "train" else f"{name}: "
        yield f"{prefix}{part.name}: {part.kind.description}"
        yield ", ".join(size_phrases(part))


def _table_section(table: Table, text: str = "") -> Section:
    return Section(table.title, text, tables=[table] if table.rows else [])
