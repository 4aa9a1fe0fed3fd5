"""Plots of what perturbations do to models.

Knows the figures of robustness; no model.
"""

from collections.abc import Sequence
from typing import TypeAlias

from seriatim.analysis.robustness.result import Robustness
from seriatim.report.charts import LineSeries, line_plot
from seriatim.report.document import Section
from seriatim.report.plots import Plot

NamedRobustness: TypeAlias = Sequence[tuple[str, Robustness]]

_LEAST = (-0.005, 0.02)  # bits per symbol: less than that should look like nothing
_TITLES = {
    "trimmed-start": ("Cut at the start", "fraction that is cut off"),
    "trimmed-end": ("Cut at the end", "fraction that is cut off"),
    "omitted": ("Symbols missing", "fraction of the symbols that are missing"),
    "swapped": ("Neighbours swapped", "fraction of the pairs that are swapped"),
    "blocks": ("Blocks exchanged", "fraction of the blocks that change places"),
}


def robustness_section(results: NamedRobustness, names: Sequence[str] = ()) -> list[Section]:
    """The section of a report about what damage does to its models; none without figures.

    Args:
        results: pairs of a model's name and its robustness.
        names: the names of all models of the report, which fix their colours.
    """
    plots = robustness_plots(results, names=names)
    text = "Sequences are cut, lose symbols, or have them exchanged; what is intact is scored."
    return [Section("When sequences are damaged", text, plots, is_grid=True)] if plots else []


def robustness_plots(results: NamedRobustness, *, names: Sequence[str] = ()) -> list[Plot]:
    """One plot for each kind of perturbation; arguments as in `robustness_section`."""
    kinds = dict.fromkeys(p.kind for _, result in results for p in result.perturbations)
    plots = [_perturbation_plot(results, kind, names) for kind in kinds]
    return [plot for plot in plots if plot.spec]


def _perturbation_plot(results: NamedRobustness, kind: str, names: Sequence[str]) -> Plot:
    """How much worse the intact part is predicted, by the strength of the perturbation."""
    curves = []
    for name, result in results:
        measured = sorted(
            (p for p in result.perturbations if p.kind == kind), key=lambda p: p.strength
        )
        if not measured:
            continue
        changes = [p.bits - p.intact for p in measured]
        spreads = [[edge - p.intact for edge in p.chance] for p in measured]
        curves.append(
            LineSeries(
                name,
                [p.strength for p in measured],
                changes,
                [change + low for change, (low, _) in zip(changes, spreads, strict=True)],
                [change + high for change, (_, high) in zip(changes, spreads, strict=True)],
            )
        )
    title, x = _TITLES.get(kind, (kind.capitalize(), "strength"))
    return line_plot(
        curves,
        title,
        "How much worse the undamaged part is predicted. Where the 95 % band covers 0, the change "
        "is no more than chance.",
        x=x,
        y=f"{results[0][1].metric}, change",
        y_covers=_LEAST,
        names=names,
        height=220,
    )
