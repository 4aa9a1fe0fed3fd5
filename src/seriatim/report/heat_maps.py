"""The forms that are made of squares: heat maps, and every name against every other.

Knows how they stay readable; a form takes figures and gives a `Plot`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seriatim.report.plots import LIGHT, PICTURE_WIDTH, Key, Plot, require
from seriatim.report.style import (
    NO_FIGURES,
    finished,
    gradient,
    is_finite,
    legend_of,
    named,
    rounded,
)
from seriatim.report.tables import Cell

_VERDICTS = {
    "row is better": LIGHT["blue"],
    "row is worse": LIGHT["orange"],
    "not told apart": LIGHT["grid"],
}
_WRITTEN = 8  # names at most, for figures to have room in their squares


@dataclass(frozen=True)
class Verdict:
    """What one saves against another, with its interval, and whether the two are told apart."""

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
    """A square of every name against every other: what the row saves against the column.

    Columns bear the numbers of the rows, for names would not fit above them.

    Args:
        pairs: by (row, column).
        names: from top to bottom.
        title: of the plot.
        caption: how to read it.
        unit: of what is saved.
    """
    columns = ["row", "column", f"saved, {unit}", "from", "to", "told apart"]
    found = [(a, b, pairs[a, b]) for a in names for b in names if (a, b) in pairs]
    table: list[list[Cell]] = [
        [a, b, v.saved, v.low, v.high, "yes" if v.is_real else "no"] for a, b, v in found
    ]
    if not found:
        return Plot(title, f"{caption} {NO_FIGURES}".strip(), {}, columns, table)
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
        size = alt.ExprRef(f"min(12, max(7, width / {4.6 * len(names):.1f}))")
        ink = alt.Color("verdict:N", scale=scale, legend=None)
        layers.append(base.mark_text(fontSize=size).encode(text="figure:N", color=ink))
    chart = alt.layer(*layers).resolve_scale(color="independent").add_params(labels)
    records = [_verdict_record(number, a, b, v) for a, b, v in found]
    spec = finished(chart, title, 34 * len(names), {"figures": records})
    legend = [Key(name, colour) for name, colour in _VERDICTS.items()]
    return Plot(title, caption, spec, columns, table, legend)


def _verdict_record(number: Mapping[str, int], a: str, b: str, found: Verdict) -> dict[str, Any]:
    verdict = "not told apart"
    if found.is_real:
        verdict = "row is better" if found.saved > 0 else "row is worse"
    return {
        "row": number[a],
        "column": number[b],
        "saved": found.saved,
        "low": found.low,
        "high": found.high,
        "figure": f"{found.saved:+.3f}",
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
) -> Plot:
    """Values as colours: a row for each of `y`, from top to bottom, a column for each of `x`.

    Values on both sides of 0 get two colours that meet at 0, others one scale from least to
    most. More columns than fit the page make a plot that is moved sideways.

    Args:
        values: (len(y), len(x)) figures; None leaves a cell empty.
        x: names of the columns; they may repeat, as the symbols of a text do.
        y: names of the rows.
        title: of the plot.
        caption: how to read it.
        x_title: what the columns are.
        y_title: what the rows are.
        unit: of the figures.
        cell: the least width and height of a cell, in pixels.
    """
    columns = [y_title or "row", *x]
    table: list[list[Cell]] = [[name, *row] for name, row in zip(y, values, strict=True)]
    finite = [v for row in values for v in row if is_finite(v)]
    if not finite:
        return Plot(title, f"{caption} {NO_FIGURES}".strip(), {}, columns, table)
    alt = require("altair")
    low, high = min(finite), max(finite)
    scale = alt.Scale(scheme="viridis")
    if low < 0 < high:
        reach = max(-low, high)
        scale = alt.Scale(scheme="blueorange", domain=[-reach, reach])
    across = _names("x_names[datum.value]", labelAngle=0, labelSeparation=2)
    down = _names("y_names[datum.value]", labelLimit=110)
    chart = (
        alt.Chart(named("figures"))
        .transform_flatten(["value"])
        .transform_window(place="row_number()", groupby=["row"])
        .transform_calculate(
            column="datum.place - 1", x="x_names[datum.place - 1]", y="y_names[datum.row]"
        )
        .mark_rect()
        .encode(
            x=alt.X("column:O", title=x_title or None, axis=across),
            y=alt.Y("row:O", title=y_title or None, axis=down),
            color=alt.Color("value:Q", title=unit or None, scale=scale, legend=gradient()),
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
        spec["width"] = len(x) * cell
    return Plot(title, caption, spec, columns, table)


def _names(expression: str, **options: Any) -> Any:
    """An axis of names: no ticks, no line."""
    return require("altair").Axis(labelExpr=expression, ticks=False, domain=False, **options)
