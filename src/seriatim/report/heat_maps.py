"""Plots made of squares: heat maps, and matrices of every name against every other.

Knows how they stay readable; each function takes values and returns a `Plot`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from seriatim.report.plots import LIGHT, PICTURE_WIDTH, LegendEntry, Plot, require
from seriatim.report.style import finished, is_finite, legend_of, named, rounded, shading
from seriatim.report.tables import Cell

_VERDICTS = {
    "row is better": LIGHT["blue"],
    "row is worse": LIGHT["orange"],
    "not distinguished": LIGHT["grid"],
}
_WRITTEN = 8  # the most names at which figures fit into their squares


@dataclass(frozen=True)
class Verdict:
    """What one name saves against another, its interval, and whether the difference is real."""

    saved: float
    low: float
    high: float
    is_real: bool


def pairwise_matrix(
    pairs: Mapping[tuple[str, str], Verdict],
    names: Sequence[str],
    title: str,
    caption: str,
    *,
    unit: str,
) -> Plot:
    """A matrix of every name against every other: what the row saves against the column.

    Columns have the numbers of the rows, since names would not fit above them.

    Args:
        pairs: the verdicts by (row, column).
        names: the names from top to bottom.
        title: the title of the plot.
        caption: how to read it.
        unit: the unit of what is saved.
    """
    columns = ["row", "column", f"saved, {unit}", "from", "to", "real"]
    present = [(a, b, pairs[a, b]) for a in names for b in names if (a, b) in pairs]
    table: list[list[Cell]] = [
        [a, b, v.saved, v.low, v.high, "yes" if v.is_real else "no"] for a, b, v in present
    ]
    if not present:
        return Plot.empty(title, caption, columns, table)
    alt = require("altair")
    number = {name: i for i, name in enumerate(names, 1)}
    labels = alt.param("labels", value=["", *(f"{i}  {n}" for n, i in number.items())])
    across = alt.X("column:O", title=None, axis=_names("datum.label", orient="top", labelAngle=0))
    down = alt.Y("row:O", title=None, axis=_names("labels[datum.value]", labelLimit=130))
    base = alt.Chart(named("figures")).encode(x=across, y=down)
    colours = alt.Scale(domain=list(_VERDICTS), range=list(_VERDICTS.values()))
    squares = base.mark_rect(stroke=LIGHT["paper"], strokeWidth=2).encode(
        color=alt.Color("verdict:N", scale=colours, legend=legend_of(list(_VERDICTS))),
        tooltip=[
            alt.Tooltip("sentence:N", title="saved"),
            alt.Tooltip("saved:Q", title=unit, format="+.4f"),
            alt.Tooltip("low:Q", title="from", format="+.4f"),
            alt.Tooltip("high:Q", title="to", format="+.4f"),
        ],
    )
    layers = [squares]
    if len(names) <= _WRITTEN:
        scale = alt.Scale(domain=list(_VERDICTS), range=[LIGHT["paper"], "#111111", LIGHT["ink"]])
        # On a phone a figure has two decimals, in letters that can still be read.
        size = alt.ExprRef(f"min(12, max(9, width / {4.0 * len(names):.1f}))")
        figure = f"width < {46 * len(names)} ? datum.short : datum.figure"
        ink = alt.Color("verdict:N", scale=scale, legend=None)
        text = base.transform_calculate(shown=figure).mark_text(fontSize=size)
        layers.append(text.encode(text="shown:N", color=ink))
    chart = alt.layer(*layers).resolve_scale(color="independent").add_params(labels)
    records = [_verdict_record(number, a, b, v) for a, b, v in present]
    spec = finished(chart, title, 34 * len(names), {"figures": records})
    legend = [LegendEntry(name, colour) for name, colour in _VERDICTS.items()]
    return Plot(title, caption, spec, columns, table, legend)


def _verdict_record(number: Mapping[str, int], a: str, b: str, saved: Verdict) -> dict[str, Cell]:
    verdict = "not distinguished"
    if saved.is_real:
        verdict = "row is better" if saved.saved > 0 else "row is worse"
    return {
        "row": number[a],
        "column": number[b],
        "saved": saved.saved,
        "low": saved.low,
        "high": saved.high,
        "figure": f"{saved.saved:+z.3f}",
        "short": f"{saved.saved:+z.2f}",
        "verdict": verdict,
        "sentence": f"{a} against {b}",
    }


def heat_map(
    values: Sequence[Sequence[float | None]],
    x: Sequence[str],
    y: Sequence[str],
    title: str,
    caption: str,
    *,
    x_title: str = "",
    y_title: str = "",
    unit: str = "",
    cell: int = 14,
    has_slanted_names: bool = False,
    scale: Literal["linear", "sqrt"] = "linear",
) -> Plot:
    """Values as colours: a row for each of `y`, from top to bottom, a column for each of `x`.

    Values on both sides of 0 get two colours that fade towards 0; others get one. A plot with more
    columns than fit the page scrolls sideways.

    Args:
        values: (len(y), len(x)) numbers; None leaves a cell empty.
        x: the names of the columns; they may repeat, as the symbols of a text do.
        y: the names of the rows.
        title: the title of the plot.
        caption: how to read it.
        x_title: what the columns are.
        y_title: what the rows are.
        unit: the unit of the values.
        cell: the minimum width and height of a cell, in pixels.
        has_slanted_names: whether the names of the columns are written at an angle, for long names.
        scale: "sqrt" keeps small values apart where few are large.
    """
    columns = [y_title or "row", *x]
    table: list[list[Cell]] = [[name, *row] for name, row in zip(y, values, strict=True)]
    finite = [v for row in values for v in row if is_finite(v)]
    if not finite:
        return Plot.empty(title, caption, columns, table)
    alt = require("altair")
    has_two_signs = min(finite) < 0 < max(finite)
    shades = shading(finite, unit, "orange" if has_two_signs else "blue", scale=scale)
    slant = {"labelAngle": -60, "labelLimit": 100} if has_slanted_names else {"labelAngle": 0}
    across = _names("x_names[datum.value]", labelSeparation=2, **slant)
    down = _names("y_names[datum.value]", labelLimit=110)
    chart = (
        alt.Chart(named("figures"))
        .transform_flatten(["value"])
        .transform_window(position="row_number()", groupby=["row"])
        .transform_calculate(
            column="datum.position - 1",
            x="x_names[datum.position - 1]",
            y="y_names[datum.row]",
            shade="abs(datum.value)" if has_two_signs else "datum.value",
        )
        .transform_filter("isValid(datum.value)")
        .mark_rect()
        .encode(
            x=alt.X("column:O", title=x_title or None, axis=across),
            y=alt.Y("row:O", title=y_title or None, axis=down),
            color=shades.colour,
            opacity=shades.opacity,
            tooltip=[
                alt.Tooltip("y:N", title=y_title or "row"),
                alt.Tooltip("x:N", title=x_title or "column"),
                alt.Tooltip("value:Q", title=unit or "value"),
            ],
        )
        .add_params(alt.param("x_names", value=list(x)), alt.param("y_names", value=list(y)))
    )
    records = [{"row": i, "value": [rounded(v) for v in row]} for i, row in enumerate(values)]
    spec = finished(chart, title, cell * len(y), {"figures": records})
    if len(x) * cell > PICTURE_WIDTH:
        spec = {**spec, "width": len(x) * cell}
    return Plot(title, f"{caption}{shades.sentence}", spec, columns, table)


def _names(expression: str, **options: Any) -> Any:
    """An axis of names, without ticks or line."""
    return require("altair").Axis(labelExpr=expression, ticks=False, domain=False, **options)
