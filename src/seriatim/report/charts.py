"""Line plots with bands, estimates with intervals, bars and points.

Knows what is drawn and how it stays readable: on a phone the plot is as narrow as the page, so
names are above their bars and not beside them, the unit is above its axis, and a legend has as
many columns as fit. Each function takes values and returns a `Plot`; a value that is not finite is
not drawn but stays in the table.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from seriatim.report.overlaps import (
    hidden_sentence,
    hidden_under,
    reference_label,
    split_references,
)
from seriatim.report.plots import LIGHT, Plot, require
from seriatim.report.style import (
    Scale,
    SeriesEncoding,
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
from seriatim.report.terminal import display_width

Values: TypeAlias = Sequence[float | None]
Record: TypeAlias = dict[str, Any]  # the values of one mark by field

_BESIDE = 16  # the most columns of a name that stands beside its bar


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
    references: Mapping[str, float] | None = None,
    y_covers: Sequence[float] = (),
    y_most: float | None = None,
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
        references: levels to compare with, by name, drawn in grey across the plot; those that
            would squeeze the curves are said in the caption instead.
        y_covers: values that the y axis includes in any case, so that tiny differences look tiny.
        y_most: the greatest value of a linear y axis; what lies above is cut off, and the caption
            says so.
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
    drawn_at = [r[key] for r in records for key in ("y", "low", "high") if key in r]
    inside = [v for v in drawn_at if y_most is None or v <= y_most]
    near, far = split_references(references or {}, inside)
    lines = _reference_records(near, inside)
    covers = [*y_covers, *(r["edge"] for r in lines)]
    hidden = _hidden(records, y_scale, max(covers, default=0.0) - min(covers, default=0.0))
    figures = {
        "figures": records,
        "bands": [r for r in records if "low" in r and "high" in r] if has_band else [],
        "levels": [
            {"name": n, "y": v} for n, v in (rules or {}).items() if n in drawn and is_finite(v)
        ],
        "references": lines,
        **_records_under(records, hidden),
    }
    figures = {name: found for name, found in figures.items() if found}
    alt, encodings = require("altair"), series(all_names, present)

    def up(field: str) -> Any:
        return axis(alt.Y, field, y, y_scale, drawn_at, covers=covers, most=y_most)

    def chart(name: str) -> Any:
        across = axis(alt.X, "x", x, x_scale, [r["x"] for r in records])
        return alt.Chart(named(name)).encode(x=across, color=encodings.colour)

    tips = [alt.Tooltip("name:N"), alt.Tooltip("x:Q", title=x), alt.Tooltip("y:Q", title=y)]
    is_cut = len(inside) < len(drawn_at)
    layers = _line_layers(chart, up, encodings, figures, _extra_widths(hidden), tips, is_cut=is_cut)
    spec = finished(alt.layer(*layers), title, height, figures)
    caption += f" Above {y_most:.3g}, curves are cut off." if is_cut else ""
    caption += f"{hidden_sentence(hidden)}{far}"
    return Plot(title, caption, spec, columns, table, legend_entries(all_names, drawn))


def _line_layers(
    chart: Callable[[str], Any],
    up: Callable[[str], Any],
    encodings: SeriesEncoding,
    figures: Mapping[str, Sequence[Record]],
    widths: Mapping[str, float],
    tips: Sequence[Any],
    *,
    is_cut: bool,
) -> list[Any]:
    """Bands, levels, references, hidden curves, curves and points, from the bottom to the top.

    Args:
        chart: a chart of the data of this name, with x and the colours.
        up: the y axis of this field.
        encodings: the looks of the names.
        figures: the records by the name of the data.
        widths: by the name of the data of hidden curves, by how much they are wider.
        tips: the tooltips of points.
        is_cut: whether curves leave the frame.
    """
    alt, layers = require("altair"), []
    if "bands" in figures:
        band = chart("bands").mark_area(opacity=0.16, clip=is_cut)
        layers.append(band.encode(y=up("low"), y2="high:Q"))
    if "levels" in figures:
        level = alt.Chart(named("levels")).mark_rule(strokeDash=[3, 3], opacity=0.8)
        layers.append(level.encode(y="y:Q", color=encodings.colour))
    layers += _reference_layers() if "references" in figures else []
    names = {record["name"] for record in figures["figures"]}
    size = 46 if len(figures["figures"]) <= 40 * len(names) else 0
    for data, wider in widths.items():
        under = chart(data).encode(y=up("y"))
        layers.append(under.mark_line(strokeWidth=2 + wider, clip=is_cut))
        dot = under.mark_point(size=size * (1 + wider / 2), filled=True, opacity=1)
        layers += [dot.encode(shape=encodings.shape)] if size else []
    base = chart("figures").encode(y=up("y"))
    points = base.mark_point(size=size, filled=True, opacity=1, clip=is_cut)
    layers.append(base.mark_line(strokeWidth=2, clip=is_cut).encode(strokeDash=encodings.dash))
    layers.append(points.encode(shape=encodings.shape, tooltip=tips))
    return layers


def _records_under(
    records: Sequence[Record], hidden: Mapping[str, Sequence[str]]
) -> dict[str, list[Record]]:
    """The records of hidden curves, as data for each number of curves that lie on them."""
    counts = {len(on_top) for on_top in hidden.values()}
    return {
        f"under {count}": [r for r in records if len(hidden.get(r["name"], ())) == count]
        for count in counts
    }


def _extra_widths(hidden: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """By the name of such data, the widest first, the pixels by which its lines are wider.

    They are seen on both sides of the curves that will lie on top.
    """
    counts = sorted({len(on_top) for on_top in hidden.values()}, reverse=True)
    return {f"under {count}": count * min(4, 12 / counts[0]) for count in counts}


def _hidden(records: Sequence[Record], y_scale: Scale, least: float) -> dict[str, list[str]]:
    curves: dict[str, dict[float, float]] = {}
    for record in records:
        curves.setdefault(record["name"], {})[record["x"]] = record["y"]
    return hidden_under(curves, is_log=y_scale == "log", least=least)


def _reference_records(references: Mapping[str, float], values: Sequence[float]) -> list[Record]:
    """A line for each reference; its label lies below it unless the next one is too close.

    `edge` is what the axis must include so that the label has room.
    """
    ordered = sorted(references.items(), key=lambda item: item[1])
    span = max([*values, *references.values()]) - min([*values, *references.values()])
    records = []
    for i, (name, value) in enumerate(ordered):
        is_close = i > 0 and value - ordered[i - 1][1] < 0.14 * span
        edge = value + 0.08 * span if is_close else value
        label = reference_label(name, value)
        records.append({"y": value, "label": label, "is_above": is_close, "edge": edge})
    return records


def _reference_layers() -> list[Any]:
    alt = require("altair")
    base = alt.Chart(named("references"))
    layers = [base.mark_rule(color=LIGHT["muted"], strokeDash=[2, 3]).encode(y="y:Q")]
    for is_above, dy in ((True, -6), (False, 10)):
        text = base.mark_text(align="right", baseline="middle", dy=dy, color=LIGHT["muted"])
        text = text.encode(x=alt.value("width"), y="y:Q", text="label:N")
        layers.append(text.transform_filter(f"datum.is_above == {str(is_above).lower()}"))
    return layers


def interval_plot(
    values: Sequence[IntervalEstimate],
    title: str,
    caption: str,
    *,
    x: str,
    names: Sequence[str] = (),
    digits: int = 3,
    from_zero: bool = False,
    references: Mapping[str, float] | None = None,
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
        references: values to compare with, by name, each a grey tick in a row of its own; those
            that would squeeze the estimates are said in the caption instead.
    """
    columns = ["name", x, "from", "to"]
    table: list[list[Cell]] = [[v.name, v.value, v.low, v.high] for v in values]
    drawn = [v for v in values if is_finite(v.value)]
    if not drawn:
        return Plot.empty(title, caption, columns, table)
    records = [_estimate_record(i, v, digits) for i, v in enumerate(drawn)]
    figures = {"figures": records}
    near, far = split_references(references or {}, [r["value"] for r in records], spreads=0.75)
    for i, (name, value) in enumerate(sorted(near.items(), key=lambda item: item[1]), len(records)):
        lines = figures.setdefault("references", [])
        lines.append({"row": i, "name": name, "value": value, "figure": f"{value:z,.{digits}f}"})
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
    longest = max(len(str(r["figure"])) for r in records)
    if near:
        tick = alt.Chart(named("references")).mark_tick(
            thickness=2, size=14, yOffset=9, color=LIGHT["muted"]
        )
        layers.append(tick.encode(y=down, x=along))
        layers += _row_labels("references", down, longest, LIGHT["muted"])
    layers += _row_labels("figures", down, longest, LIGHT["ink"])
    spec = finished(alt.layer(*layers), title, 44 * (len(drawn) + len(near)), figures)
    return Plot(title, f"{caption}{far}", spec, columns, table)


def _row_labels(data: str, down: Any, longest: int, colour: str) -> list[Any]:
    """Names above the rows at the left, values at the right, so that names take no margin.

    Under each is its outline in the colour of the page, which keeps lines of the grid off it.

    Args:
        data: the name of the data with the rows.
        down: the encoding of the rows.
        longest: the characters of the longest value; names have the rest of the width.
        colour: the colour of the names.
    """
    alt = require("altair")
    room = f"max(60, width - {6.6 * longest + 14:.0f})"
    base = alt.Chart(named(data)).encode(y=down)
    layers = []
    for outline in ({"stroke": LIGHT["paper"], "strokeWidth": 4}, {}):
        name = base.mark_text(
            align="left", dy=-11, limit=alt.ExprRef(room), color=colour, **outline
        )
        figure = base.mark_text(align="right", dy=-11, color=LIGHT["muted"], **outline)
        layers += [
            name.encode(x=alt.value(0), text="name:N"),
            figure.encode(x=alt.value("width"), text="figure:N"),
        ]
    return layers


def bar_plot(
    values: Mapping[str, float | None] | Sequence[tuple[str, float | None]],
    title: str,
    caption: str,
    *,
    x: str,
    names: Sequence[str] = (),
    digits: int = 3,
    suffix: str = "",
    has_colours: bool = True,
) -> Plot:
    """A bar from 0 for each name, in the given order; short names stand beside their bars.

    Args:
        values: the lengths of the bars by name, from top to bottom.
        title: the title of the plot.
        caption: how to read it.
        x: the name and unit of the values.
        names: all names in this and neighbouring plots, so that each keeps its colour.
        digits: the decimals of the values written beside the bars.
        suffix: what follows each value, such as " %".
        has_colours: whether each name has a colour of its own, as models have.
    """
    pairs = list(values.items()) if isinstance(values, Mapping) else list(values)
    columns, table = ["name", x], [[name, value] for name, value in pairs]
    drawn = [(name, round(value, digits)) for name, value in pairs if is_finite(value)]
    if not drawn:
        return Plot.empty(title, caption, columns, table)
    if max(display_width(name) for name, _ in drawn) > _BESIDE:
        bars = [IntervalEstimate(name, value) for name, value in drawn]
        plot = interval_plot(bars, title, caption, x=x, names=names, digits=digits, from_zero=True)
        return Plot(title, caption, plot.spec, columns, table)
    records = [
        {"row": i, "name": name, "value": value, "figure": f"{value:z,.{digits}f}{suffix}"}
        for i, (name, value) in enumerate(drawn)
    ]
    alt = require("altair")
    labels = alt.param("labels", value=[name for name, _ in drawn])
    marks = alt.Axis(labelExpr="labels[datum.value]", ticks=False, labelColor=LIGHT["ink"])
    down = alt.Y("row:O", title=None, axis=marks, scale=alt.Scale(padding=0.25))
    # Room for the figures behind the longest bar.
    low, high = min(0.0, *(v for _, v in drawn)), max(0.0, *(v for _, v in drawn))
    room = 0.045 * (1 + max(len(str(r["figure"])) for r in records)) * ((high - low) or 1)
    spread = alt.Scale(domain=[low, high + room], nice=False)
    along = alt.X("value:Q", title=x, scale=spread, axis=alt.Axis(tickCount=4, titleAnchor="start"))
    tips = [alt.Tooltip("name:N"), alt.Tooltip("figure:N", title=x)]
    styles = series(merge_names(names, [name for name, _ in drawn]), [], legend=False)
    colour = styles.colour if has_colours else alt.value(LIGHT["blue"])
    base = alt.Chart(named("figures")).encode(y=down, x=along, tooltip=tips)
    figure = base.mark_text(align="left", dx=5, color=LIGHT["muted"]).encode(text="figure:N")
    chart = alt.layer(base.mark_bar().encode(color=colour), figure).add_params(labels)
    spec = finished(chart, title, 24 * len(drawn), {"figures": records})
    return Plot(title, caption, spec, columns, table)


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
    figure = f"{value.value:z,.{digits}f}"
    if is_finite(value.low) and is_finite(value.high):
        figure += f"  ({value.low:z,.{digits}f} to {value.high:z,.{digits}f})"
    record: Record = {"row": row, "name": value.name, "value": value.value, "figure": figure}
    return record | _record(("low", "high"), (value.low, value.high))


def _record(fields: Iterable[str], row: Iterable[Cell]) -> Record:
    return {
        field: value
        for field, value in zip(fields, row, strict=True)
        if isinstance(value, str) or is_finite(value)
    }
