"""A data report as a page: findings, advice, tables and plots.

Knows the profile, its findings and the advice; reads no data.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

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
from seriatim.report.document import Item, Report, Section
from seriatim.report.plots import Plot
from seriatim.report.terminal import count_noun

_IN_FULL = {"byte": "bytes", "char": "characters", "nfd": "parts of characters", "word": "words"}


def report_page(profile: DataProfile, findings: Sequence[Finding], advice: Advice) -> Report:
    """The page of a data report.

    Raises:
        MissingExtraError: Altair is not installed.
    """
    lengths, symbols = length_table(profile), symbol_table(profile)
    sections = [
        Section("What to run next", items=_reasons(advice), commands=advice.commands),
        _findings_section(findings),
        *_predictability_sections(profile),
        Section(symbols.title, "", list(_frequency_plots(profile)), [symbols], is_grid=True),
        Section(lengths.title, tables=[lengths]),
    ]
    if profile.leaks:
        leaks = leak_table(profile)
        sections.append(Section(leaks.title, tables=[leaks]))
    name = PurePath(profile.train.name).name or profile.train.name
    lead = "\n\n".join(_lead(profile, findings, advice))
    return Report(f"What is in {name}", lead, sections, f"Data: {profile.train.name}")


def _lead(profile: DataProfile, findings: Sequence[Finding], advice: Advice) -> Iterator[str]:
    """What the data is, how predictable, what to train, and whether anything is wrong with it."""
    part, measured = profile.train, profile.predictability
    description = part.kind.description
    yield f"{description[:1].upper()}{description[1:]}: {', '.join(size_phrases(part))}."
    sentences = []
    if measured is not None:
        sentences.append(
            f"Counting models predict a {measured.unit} that they have not seen with "
            f"{min(measured.bits):.2f} bits, where a blind guess costs {measured.uniform:.2f}."
        )
    if advice.family is not None:
        symbols = _IN_FULL.get(advice.symbols or "", advice.symbols)
        sentences.append(f"The model to begin with: {advice.family} on {symbols}.")
    counts = Counter(finding.level for finding in findings)
    serious = [count_noun(counts[level], level) for level in LEVELS if counts[level]]
    sentences.append(
        f"Findings: {', '.join(serious)}." if serious else "Nothing unusual was found."
    )
    yield " ".join(sentences)


def _reasons(advice: Advice) -> list[Item | str]:
    """Each reason under the name of what it explains."""
    split = [reason.partition(": ") for reason in advice.reasons]
    return [Item(label, text) if text else label for label, _, text in split]


def _findings_section(findings: Sequence[Finding]) -> Section:
    if not findings:
        return Section("Findings", "Nothing unusual was found.")
    levels = dict.fromkeys(finding.level for finding in findings)
    legend = "; ".join(f"{level}: {LEVELS[level]}" for level in levels)
    items = [Item(f.level, f"{f.message} {f.action}".rstrip(), f.level) for f in findings]
    return Section("Findings", f"{legend.capitalize()}.", items=items)


def _frequency_plots(profile: DataProfile) -> Iterator[Plot]:
    for side, facts in profile.train.sides.items():
        whose = "" if side == "text" else f" of the {side}s"
        for unit, frequencies in symbol_frequencies(facts):
            top = frequencies.top
            if len(top) > 1 and top[0].count > 1:
                percents = [(s.symbol, 100 * s.fraction) for s in top]
                yield bar_plot(
                    percents,
                    f"The most frequent {unit}s{whose}",
                    "␣ is a space." if any(s.symbol == "␣" for s in top) else "",
                    x=f"% of all {unit}s",
                    digits=1,
                    suffix="%",
                    has_colours=False,
                )


def _predictability_sections(profile: DataProfile) -> Iterator[Section]:
    measured = profile.predictability
    if measured is not None:
        text, table = compression_sentence(profile), predictability_table(profile)
        yield Section(table.title, text, [_predictability_plot(measured)], [table])


def _predictability_plot(measured: Predictability) -> Plot:
    bits = measured.bits
    return line_plot(
        [LineSeries("n-gram models", list(range(len(bits))), list(bits))],
        f"How many bits a {measured.unit} costs, the more of those before it are known",
        f"N-gram models of order 1 to {len(bits)}, on {measured.test:,} {measured.unit}s that they "
        "have not seen. Where the curve is flat, more context does not help; if it still falls at "
        f"its end, a longer memory would. Uniform: all {measured.num_symbols:,} symbols alike.",
        x=f"preceding {measured.unit}s",
        y=f"bits per {measured.unit}",
        references={"uniform": measured.uniform},
    )
