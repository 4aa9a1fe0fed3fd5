"""The look of every plot: fonts, axes, and the colour, shape and dash of each name.

Knows Altair's terms for these; no kind of plot and no figures.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard

from seriatim.report.plots import (
    DASHES,
    LIGHT,
    PICTURE_WIDTH,
    SERIES,
    SHAPES,
    LegendEntry,
    Spec,
    require,
)
from seriatim.report.tables import Cell

Scale: TypeAlias = Literal["linear", "log", "symlog"]

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
_LETTER = 7.2  # pixels of a letter at a font size of 12; an upper estimate
_NAME = 190  # the most pixels of a name
CONFIG: Spec = {
    "background": LIGHT["paper"],
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": LIGHT["muted"],
        "titleColor": LIGHT["muted"],
        "domainColor": LIGHT["grid"],
        "tickColor": LIGHT["grid"],
        "gridColor": LIGHT["grid"],
        "gridOpacity": 0.6,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titleLimit": 320,
        "labelOverlap": True,
        "labelFlush": False,
    },
    "axisY": {
        "titleAngle": 0,
        "titleAlign": "left",
        "titleAnchor": "end",
        "titleBaseline": "bottom",
        "titleX": 0,
        "titleY": -8,
    },
    "legend": {
        "labelColor": LIGHT["ink"],
        "titleColor": LIGHT["muted"],
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelLimit": _NAME,
        "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
    },
    "text": {"color": LIGHT["ink"], "fontSize": 12},
    "aria": False,
}


# Tick labels: 1e-5 and 1e-4, then 0.001 to 999, then 1k and 1M.
_POWERS = (
    "format(datum.value, datum.value >= 1000 ? '~s' : datum.value >= 0.001 || datum.value == 0 "
    "? '~g' : '~e')"
)


def series_styles(names: Sequence[str]) -> list[LegendEntry]:
    """The colour, shape and dash of each name, different for each and the same in every plot."""
    count = len(SERIES)
    return [
        LegendEntry(
            name,
            LIGHT[SERIES[i % count]],
            SHAPES[(i + i // count) % len(SHAPES)],
            DASHES[(i // count) % len(DASHES)],
        )
        for i, name in enumerate(names)
    ]


def legend_entries(
    names: Sequence[str], drawn: Iterable[str], *, has_lines: bool = True
) -> list[LegendEntry]:
    """The legend of the names that are drawn; none for a single name."""
    shown = set(drawn)
    styles = [style for style in series_styles(names) if style.name in shown]
    if len(styles) < 2:
        return []
    return styles if has_lines else [replace(style, dash=()) for style in styles]


def axis(
    channel: Any,
    field: str,
    title: str,
    scale: Scale,
    values: Sequence[float | None],
    *,
    covers: Sequence[float] = (),
    most: float | None = None,
) -> Any:
    """An encoding of numbers, with readable ticks on any scale.

    Args:
        channel: Altair's X or Y.
        field: the field of the values.
        title: the name and unit of the values.
        scale: the scale of the axis.
        values: the values that are drawn.
        covers: values that a linear scale includes in any case.
        most: the greatest value that a linear scale includes; None: all.
    """
    alt = require("altair")
    if scale == "linear":
        all_values = [*covers, *(v for v in values if v is not None)]
        high = max(all_values) if most is None else min(most, max(all_values))
        is_fixed = covers or most is not None
        domain = [min(all_values), high] if is_fixed else alt.Undefined
        spread = alt.Scale(domain=domain, zero=False, nice=True, padding=0)
        return channel(f"{field}:Q", title=title, scale=spread, axis=alt.Axis(tickCount=5))
    constant = {"constant": 1} if scale == "symlog" else {}
    ticks = _ticks([v for v in values if v is not None], scale)
    shown = alt.Axis(
        values=ticks or alt.Undefined,
        tickCount=alt.Undefined if ticks else 4,  # both together would thin the ticks
        labelExpr=_POWERS,
        labelOverlap="greedy",
    )
    spread = alt.Scale(type=scale, nice=False, padding=8, **constant)
    return channel(f"{field}:Q", title=title, scale=spread, axis=shown)


def _ticks(values: Sequence[float], scale: Scale) -> list[float]:
    """0 and powers of 2 on symlog; on log, powers of 10, with steps between if they are few."""
    positive = [v for v in values if v > 0]
    if not positive:
        return []
    low, high = min(positive), max(positive)
    if scale == "symlog":
        zero = [0.0] if min(values) <= 0 else []
        return zero + [2.0**n for n in range(math.ceil(math.log2(low)), 40) if 2.0**n <= high]
    tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{n}") for n in tens for step in steps]
        inside = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
        if 2 <= len(inside) <= 7:
            return inside
    return []


class SeriesEncoding(NamedTuple):
    """Altair's encodings of the names of a plot."""

    colour: Any
    shape: Any
    dash: Any


def series(names: Sequence[str], drawn: Sequence[str], *, legend: bool = True) -> SeriesEncoding:
    """Colour, shape and dash by name, with one legend for the three; none for a single name."""
    alt = require("altair")
    shown = legend_of(drawn) if legend and len(drawn) > 1 else None
    styles = series_styles(names)

    def scale(values: Sequence[Any]) -> Any:
        return alt.Scale(domain=list(names), range=list(values))

    return SeriesEncoding(
        alt.Color("name:N", scale=scale([s.colour for s in styles]), legend=shown),
        alt.Shape("name:N", scale=scale([s.shape for s in styles]), legend=shown),
        alt.StrokeDash("name:N", scale=scale([s.dash for s in styles]), legend=shown),
    )


def legend_of(drawn: Sequence[str]) -> Any:
    """A legend below the plot, in as many columns as fit a picture."""
    widest = min(_NAME, max(_LETTER * len(name) for name in drawn)) + 34
    return require("altair").Legend(
        orient="bottom",
        direction="horizontal",
        columns=max(1, int(PICTURE_WIDTH // widest)),
        title=None,
        values=list(drawn),
    )


def gradient() -> Any:
    """The legend of a quantitative scale: below the plot, narrow enough for a phone."""
    return require("altair").Legend(
        orient="bottom", direction="horizontal", gradientLength=160, titleOrient="top"
    )


class Shading(NamedTuple):
    """How values become shades, and a sentence about their colours ("" for one colour)."""

    colour: Any
    opacity: Any
    sentence: str


def shading(
    values: Sequence[float],
    title: str,
    colour: str,
    *,
    most: float = 1.0,
    orient: Literal["top", "bottom"] = "bottom",
    scale: Literal["linear", "sqrt"] = "linear",
) -> Shading:
    """A colour that covers more of the page the greater the value in the field `value`.

    The page shows through, so that it suits light and dark pages alike. Values on both sides of 0
    have two colours, and are the fainter the nearer they are to 0, as the field `shade` says.

    Args:
        values: the values that are drawn.
        title: the title of the legend: the unit.
        colour: the name of the colour, and of values above 0.
        most: the opacity of the greatest value.
        orient: where the legend is.
        scale: "sqrt" keeps small values apart where few are large.
    """
    alt = require("altair")
    low, high = min(values), max(values)
    legend = alt.Legend(
        orient=orient,
        direction="horizontal",
        symbolType="square",
        symbolSize=180,
        symbolStrokeWidth=0,
        symbolFillColor=LIGHT[colour],
        tickCount=4,
        titleOrient="left",
    )
    shades, sentence = alt.value(LIGHT[colour]), ""
    if low < 0 < high:
        low, high = 0.0, max(-low, high)
        shades = alt.condition("datum.value < 0", alt.value(LIGHT["blue"]), shades)
        title, sentence = f"± {title}".strip(), f" Values below 0 are blue, those above {colour}."
    low = min(low, 0.0)
    spread = alt.Scale(type=scale, domain=[low, max(high, low + 1e-9)], range=[0.02 * most, most])
    opacity = alt.Opacity("shade:Q", title=title or None, scale=spread, legend=legend)
    return Shading(shades, opacity, sentence)


def merge_names(names: Sequence[str], drawn: Iterable[str]) -> list[str]:
    """All names once, first those that fix the colours."""
    return list(dict.fromkeys([*names, *drawn]))


def named(name: str) -> Any:
    """The data that `finished` stores under this name.

    They bypass Altair, which would validate every record: a report of six models takes a third of
    the time.
    """
    return require("altair").NamedData(name=name)


def finished(
    chart: Any, title: str, height: float, figures: Mapping[str, Sequence[Any]] | None = None
) -> Spec:
    """The specification of a chart as wide as its page, described by its title.

    Args:
        chart: Altair's chart.
        title: the description for screen readers.
        height: the height of the drawn part, in pixels.
        figures: the records of `named` data.
    """
    sized = chart.properties(width="container", height=height, description=title)
    spec: Spec = sized.to_dict(validate=False)
    datasets = {**spec.get("datasets", {}), **(figures or {})}
    return {**spec, "datasets": datasets, "config": CONFIG}


def has_position(value: Cell, scale: Scale) -> bool:
    """Whether a value has a position on the scale."""
    return is_finite(value) and (scale != "log" or float(value or 0) > 0)


def is_finite(value: Cell) -> TypeGuard[float]:
    """Whether a value is a number that can be drawn."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def rounded(value: float | None) -> float | None:
    """A value to four digits: enough for a colour, and a smaller page."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None
