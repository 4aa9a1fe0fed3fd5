"""Line plots with bands, estimates with intervals, bars and points.

Knows what is drawn and how it stays readable: on a phone the plot is as narrow as the page, so
names are above their bars and not beside them, the unit is above its axis, and a legend has as
many columns as fit. Each function takes values and returns a `Plot`; a value that is not finite is
not drawn but stays in the table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from seriatim.report.plots import LIGHT, Plot, require
from seriatim.report.style import (
    Scale,
    axis,
    finished,
    has_position,
    is_finite,
    legend_entries,
    merge_names,
    named,
    series,
)
from seriatim.report.tables import Cell

Values: TypeAlias = Sequence[float | None]
Record: TypeAlias = dict[str, Any]  # the values of one mark by field


@dataclass(frozen=True)
class LineSeries:
    """One line: y at x, with an interval at each where there is one.

    Attributes:
        name: the name in the legend.
        x, y: coordinates, equally many; None where a value is missing.
        low, high: the edges of the band; None for no band.
    """

    name: str
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None


@dataclass(frozen=True)
class IntervalEstimate:
    """An estimate with its interval, and optionally the samples (seeds) it summarizes."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    samples: Sequence[float] = ()


@dataclass(frozen=True)
class Point:
    """A named point."""

    name: str
    x: float | None
    y: float | None


def line_plot(
    curves: Sequence[LineSeries],
    title: str,
    caption: str,
    *,
    x: str,
    y: str,
    x_scale: Scale = "linear",
    y_scale: Scale = "linear",
    names: Sequence[str] = (),
    rules: Mapping[str, float] | None = None,
    y_covers: Sequence[float] = (),
    height: int = 280,
) -> Plot:
    """Lines, with bands where the curves have intervals.

    Args:
        curves: the lines; those without a finite point appear only in the table.
        title: the title of the plot.
        caption: how to read it.
        x: the name and unit of the x axis.
        y: the name and unit of the y axis.
        x_scale: the scale of the x axis; symlog is logarithmic but includes 0.
        y_scale: the scale of the y axis.
        names: all names in this and neighbouring plots, so that each keeps its colour.
        rules: a level for some of the curves, by name, drawn as a thin dashed line.
        y_covers: values that the y axis includes in any case, so that tiny differences look tiny.
        height: the height of the drawn part, in pixels.
    """
    rows = [row for c in curves for row in _curve_rows(c)]
    has_band = any(c.low is not None for c in curves)
    columns = ["name", x, y, *(["from", "to"] if has_band else [])]
    table = [row if has_band else row[:3] for row in rows]
    records = [
        _record(("name", "x", "y", "low", "high"), row)
        for row in rows
        if has_position(row[1], x_scale) and has_position(row[2], y_scale)
    ]
    if not records:
        return Plot.empty(title, caption, columns, table)
    all_names = merge_names(names, [c.name for c in curves])
    drawn = {record["name"] for record in records}
    present = [n for n in all_names if n in drawn]
    figures = {"figures": records}
    figures |= {"bands": [r for r in records if "low" in r and "high" in r]} if has_band else {}
    levels = [{"name": n, "y": v} for n, v in (rules or {}).items() if n in drawn and is_finite(v)]
    figures |= {"levels": levels} if levels else {}
    alt, encodings = require("altair"), series(all_names, present)
    across = axis(alt.X, "x", x, x_scale, [r["x"] for r in records])
    drawn_at = [r[key] for r in records for key in ("y", "low", "high") if key in r]
    up = axis(alt.Y, "y", y, y_scale, drawn_at, covers=y_covers)
    base = alt.Chart(named("figures")).encode(x=across, y=up, color=encodings.colour)
    layers = []
    if has_band:
        edges = axis(alt.Y, "low", y, y_scale, drawn_at, covers=y_covers)
        band = alt.Chart(named("bands")).mark_area(opacity=0.16)
        layers.append(band.encode(x=across, y=edges, y2="high:Q", color=encodings.colour))
    if levels:
        level = alt.Chart(named("levels")).mark_rule(strokeDash=[3, 3], opacity=0.8)
        layers.append(level.encode(y="y:Q", color=encodings.colour))
    layers.append(base.mark_line(strokeWidth=2).encode(strokeDash=encodings.dash))
    size = 46 if len(records) <= 40 * len(drawn) else 0
    tips = [alt.Tooltip("name:N"), alt.Tooltip("x:Q", title=x), alt.Tooltip("y:Q", title=y)]
    points = base.mark_point(size=size, filled=True, opacity=1)
    layers.append(points.encode(shape=encodings.shape, tooltip=tips))
    spec = finished(alt.layer(*layers), title, height, figures)
    return Plot(title, caption, spec, columns, table, legend_entries(all_names, drawn))


def interval_plot(
    values: Sequence[IntervalEstimate],
    title: str,
    caption: str,
    *,
    x: str,
    names: Sequence[str] = (),
    digits: int = 3,
    from_zero: bool = False,
) -> Plot:
    """A dot with its interval for each name, in the given order; or bars that start at 0.

    Args:
        values: the estimates from top to bottom.
        title: the title of the plot.
        caption: how to read it.
        x: the name and unit of the values.
        names: all names in this and neighbouring plots, so that each keeps its colour.
        digits: the decimals of the values written beside the names.
        from_zero: whether to draw bars from 0 instead of dots, for amounts that cannot be negative.
    """
    columns = ["name", x, "from", "to"]
    table: list[list[Cell]] = [[v.name, v.value, v.low, v.high] for v in values]
    drawn = [v for v in values if is_finite(v.value)]
    if not drawn:
        return Plot.empty(title, caption, columns, table)
    records = [_estimate_record(i, v, digits) for i, v in enumerate(drawn)]
    figures = {"figures": records}
    alt = require("altair")
    encodings = series(merge_names(names, [v.name for v in values]), [], legend=False)
    down = alt.Y("row:O", axis=None, scale=alt.Scale(paddingInner=0, paddingOuter=0))
    spread = alt.Scale(zero=from_zero, nice=True, padding=0 if from_zero else 12)
    along = alt.X("value:Q", title=x, scale=spread, axis=alt.Axis(tickCount=5, titleAnchor="start"))
    tips = [alt.Tooltip("name:N"), alt.Tooltip("figure:N", title=x)]
    base = alt.Chart(named("figures")).encode(y=down, color=encodings.colour, tooltip=tips)
    layers = []
    if from_zero:
        layers.append(base.mark_bar(height=14, yOffset=9).encode(x=along))
    if any("low" in r and "high" in r for r in records):
        figures["intervals"] = [r for r in records if "low" in r and "high" in r]
        width, opacity = (1.5, 1) if from_zero else (3, 0.55)
        shade = alt.value(LIGHT["ink"]) if from_zero else encodings.colour
        rule = alt.Chart(named("intervals")).mark_rule(
            strokeWidth=width, opacity=opacity, yOffset=9
        )
        edge = alt.X("low:Q", title=x, scale=spread)
        layers.append(rule.encode(y=down, x=edge, x2="high:Q", color=shade, tooltip=tips))
    if not from_zero:
        dot = base.mark_point(size=90, filled=True, opacity=1, yOffset=9)
        layers.append(dot.encode(x=along, shape=encodings.shape))
    singles = [{"row": i, "single": s} for i, v in enumerate(drawn) for s in v.samples]
    if singles:
        figures["singles"] = singles
        tick = alt.Chart(named("singles")).mark_tick(
            thickness=1.5, size=16, yOffset=9, color=LIGHT["ink"]
        )
        layers.append(tick.encode(y=down, x=alt.X("single:Q", title=x, scale=spread)))
    layers += _row_labels(down, max(len(str(r["figure"])) for r in records))
    spec = finished(alt.layer(*layers), title, 44 * len(drawn), figures)
    return Plot(title, caption, spec, columns, table)


def _row_labels(down: Any, longest: int) -> list[Any]:
    """Names above the rows at the left, values at the right, so that names take no margin.

    Args:
        down: the encoding of the rows.
        longest: the characters of the longest value; names have the rest of the width.
    """
    alt = require("altair")
    room = f"max(60, width - {6.6 * longest + 14:.0f})"
    base = alt.Chart(named("figures")).encode(y=down)
    name = base.mark_text(align="left", baseline="middle", dy=-11, limit=alt.ExprRef(room))
    figure = base.mark_text(align="right", baseline="middle", dy=-11, color=LIGHT["muted"])
    return [
        name.encode(x=alt.value(0), text="name:N"),
        figure.encode(x=alt.value("width"), text="figure:N"),
    ]


def bar_plot(
    values: Mapping[str, float | None] | Sequence[tuple[str, float | None]],
    title: str,
    caption: str,
    *,
    x: str,
    names: Sequence[str] = (),
    digits: int = 3,
) -> Plot:
    """A bar from 0 for each name, in the given order."""
    pairs = list(values.items()) if isinstance(values, Mapping) else list(values)
    bars = [IntervalEstimate(name, value) for name, value in pairs]
    plot = interval_plot(bars, title, caption, x=x, names=names, digits=digits, from_zero=True)
    return Plot(title, plot.caption, plot.spec, ["name", x], [[n, v] for n, v in pairs])


def scatter_plot(
    points: Sequence[Point],
    title: str,
    caption: str,
    *,
    x: str,
    y: str,
    x_scale: Scale = "linear",
    y_scale: Scale = "linear",
    names: Sequence[str] = (),
    height: int = 280,
) -> Plot:
    """Named points, with a colour and a shape for each name."""
    columns, table = ["name", x, y], [[p.name, p.x, p.y] for p in points]
    shown = [p for p in points if has_position(p.x, x_scale) and has_position(p.y, y_scale)]
    if not shown:
        return Plot.empty(title, caption, columns, table)
    records = [{"name": p.name, "x": p.x, "y": p.y} for p in shown]
    alt = require("altair")
    tips = [alt.Tooltip("name:N"), alt.Tooltip("x:Q", title=x), alt.Tooltip("y:Q", title=y)]
    base = alt.Chart(named("figures")).encode(
        x=axis(alt.X, "x", x, x_scale, [p.x for p in shown]),
        y=axis(alt.Y, "y", y, y_scale, [p.y for p in shown]),
    )
    drawn, all_names = {p.name for p in shown}, merge_names(names, [p.name for p in points])
    encodings = series(all_names, [n for n in all_names if n in drawn])
    dot = base.mark_point(size=110 if len(shown) <= 100 else 30, filled=True, opacity=1)
    dot = dot.encode(color=encodings.colour, shape=encodings.shape, tooltip=tips)
    legend = legend_entries(all_names, drawn, has_lines=False)
    spec = finished(alt.layer(dot), title, height, {"figures": records})
    return Plot(title, caption, spec, columns, table, legend)


def _curve_rows(curve: LineSeries) -> list[list[Cell]]:
    nothing = [None] * len(curve.x)
    low, high = curve.low or nothing, curve.high or nothing
    figures = zip(curve.x, curve.y, low, high, strict=True)
    return [[curve.name, *row] for row in figures]


def _estimate_record(row: int, value: IntervalEstimate, digits: int) -> Record:
    figure = f"{value.value:,.{digits}f}"
    if is_finite(value.low) and is_finite(value.high):
        figure += f"  ({value.low:,.{digits}f} to {value.high:,.{digits}f})"
    record: Record = {"row": row, "name": value.name, "value": value.value, "figure": figure}
    return record | _record(("low", "high"), (value.low, value.high))


def _record(fields: Iterable[str], row: Iterable[Cell]) -> Record:
    return {
        field: value
        for field, value in zip(fields, row, strict=True)
        if isinstance(value, str) or is_finite(value)
    }
