"""A data report as a page: findings, advice, tables and plots.

Knows the profile, its findings and the advice; reads no data.
"""

from collections.abc import Iterator, Sequence

from seriatim.data_profile.advice import Advice
from seriatim.data_profile.findings import LEVELS, Finding
from seriatim.data_profile.predictability import Predictability
from seriatim.data_profile.result import DataProfile
from seriatim.data_profile.tables import (
    compression_sentence,
    leak_table,
    length_table,
    predictability_table,
    size_phrases,
    symbol_frequencies,
    symbol_table,
)
from seriatim.report.charts import LineSeries, bar_plot, line_plot
from seriatim.report.document import Report, Section
from seriatim.report.plots import Plot
from seriatim.report.tables import Table


def report_page(profile: DataProfile, findings: Sequence[Finding], advice: Advice) -> Report:
    """The page of a data report.

    Raises:
        MissingExtraError: Altair is not installed.
    """
    part = profile.train
    sections = [
        Section("Advice", items=advice.reasons, preformatted="\n".join(advice.commands)),
        _findings_section(findings),
        Section("Lengths", tables=[length_table(profile)]),
        Section(
            "Symbols", "", list(_frequency_plots(profile)), [symbol_table(profile)], is_grid=True
        ),
    ]
    measured = profile.predictability
    if measured is not None:
        text, table = compression_sentence(profile), predictability_table(profile)
        sections.append(Section(table.title, text, [_predictability_plot(measured)], [table]))
    if profile.leaks:
        sections.append(Section("Leaks", tables=[leak_table(profile)]))
    lead = f"{part.name}: {part.kind.description}. {', '.join(size_phrases(part))}."
    return Report(f"Data report of {part.name}", lead, sections)


def _findings_section(findings: Sequence[Finding]) -> Section:
    if not findings:
        return Section("Findings", "Nothing unusual was found.")
    legend = "; ".join(f"{level}: {meaning}" for level, meaning in LEVELS.items())
    rows = [[finding.level, finding.message, finding.action] for finding in findings]
    table = Table("Findings", ["level", "finding", "what to do"], rows)
    return Section("Findings", f"{legend.capitalize()}.", tables=[table])


def _frequency_plots(profile: DataProfile) -> Iterator[Plot]:
    for side, facts in profile.train.sides.items():
        whose = "" if side == "text" else f" of the {side}s"
        for unit, frequencies in symbol_frequencies(facts):
            top = frequencies.top
            if len(top) > 1 and top[0].count > 1:
                percents = [(s.symbol, 100 * s.fraction) for s in top]
                title = f"The most frequent {unit}s{whose}"
                yield bar_plot(percents, title, "", x="fraction of all (%)", digits=2)


def _predictability_plot(measured: Predictability) -> Plot:
    bits = measured.bits
    return line_plot(
        [LineSeries("n-gram models", list(range(len(bits))), list(bits))],
        "Where the bits stop falling, more context does not help",
        f"N-gram models of order 1 to {len(bits)} on {measured.test:,} symbols they have not seen. "
        "A curve that still falls at its end calls for a longer memory.",
        x=f"preceding {measured.symbols}s",
        y=f"bits per {measured.symbols}",
    )
