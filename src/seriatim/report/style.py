"""How every plot looks: fonts, axes, and the colour, shape and dash of each name.

Knows Altair's words for these; no form and no figure.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeGuard

from seriatim.report.plots import DASHES, LIGHT, PICTURE_WIDTH, SERIES, SHAPES, Key, require
from seriatim.report.tables import Cell

Scale: TypeAlias = Literal["linear", "log", "symlog"]

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
_LETTER = 7.2  # pixels of a letter of 12 pixels, rather too much
_NAME = 190  # pixels of a name at most
NO_FIGURES = "There is nothing to show."
CONFIG: dict[str, Any] = {
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


# 1e-5 and 1e-4, then 0.001 to 999, then 1k, 1M
_POWERS = (
    "format(datum.value, datum.value >= 1000 ? '~s' : datum.value >= 0.001 || datum.value == 0 "
    "? '~g' : '~e')"
)


def series_styles(names: Sequence[str]) -> dict[str, Any]:
    """The scales that give each name its own colour, shape and dash: the same in every plot."""
    count = len(SERIES)
    return {
        "colours": [LIGHT[SERIES[i % count]] for i in range(len(names))],
        "shapes": [SHAPES[(i + i // count) % len(SHAPES)] for i in range(len(names))],
        "dashes": [DASHES[(i // count) % len(DASHES)] for i in range(len(names))],
    }


def keys(names: Sequence[str], drawn: Iterable[str], *, has_lines: bool = True) -> list[Key]:
    """The legend of what is drawn; none for a single name."""
    looks, wanted = series_styles(names), set(drawn)
    made = [
        Key(name, colour, shape, dash if has_lines else ())
        for name, colour, shape, dash in zip(names, *looks.values(), strict=True)
        if name in wanted
    ]
    return made if len(made) > 1 else []


def axis(
    channel: Any,
    field: str,
    title: str,
    scale: Scale,
    values: Sequence[float | None],
    *,
    padding: int = 0,
    covers: Sequence[float] = (),
) -> Any:
    """An encoding of numbers, with ticks that can be read on any scale.

    Args:
        channel: Altair's X or Y.
        field: of the figures.
        title: name and unit.
        scale: how they are spread.
        values: what is drawn.
        padding: pixels to leave free at both ends of a linear scale.
        covers: what a linear scale has a place for in any case.
    """
    alt = require("altair")
    if scale == "linear":
        all_values = [*covers, *(v for v in values if v is not None)]
        domain = [min(all_values), max(all_values)] if covers else alt.Undefined
        spread = alt.Scale(domain=domain, zero=False, nice=not padding, padding=padding)
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
    """0 and the powers of 2, or 1, 2, 5 and their tenfolds, or tens alone where they are many."""
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


def series(names: Sequence[str], drawn: Sequence[str], *, legend: bool = True) -> dict[str, Any]:
    """Colour, shape and dash by name, with one legend for the three; none for a single name."""
    alt = require("altair")
    shown = legend_of(drawn) if legend and len(drawn) > 1 else None
    looks = series_styles(names)

    def scaled(key: str) -> Any:
        return alt.Scale(domain=list(names), range=looks[key])

    return {
        "color": alt.Color("name:N", scale=scaled("colours"), legend=shown),
        "shape": alt.Shape("name:N", scale=scaled("shapes"), legend=shown),
        "strokeDash": alt.StrokeDash("name:N", scale=scaled("dashes"), legend=shown),
    }


def legend_of(drawn: Sequence[str]) -> Any:
    """A legend below the plot, in as many columns as a picture has room for."""
    widest = min(_NAME, max(_LETTER * len(name) for name in drawn)) + 34
    return require("altair").Legend(
        orient="bottom",
        direction="horizontal",
        columns=max(1, int(PICTURE_WIDTH // widest)),
        title=None,
        values=list(drawn),
    )


def gradient() -> Any:
    """The legend of a scale of numbers: above the plot, narrow enough for a phone."""
    return require("altair").Legend(
        orient="bottom", direction="horizontal", gradientLength=160, titleOrient="top"
    )


def merge_names(names: Sequence[str], drawn: Iterable[str]) -> list[str]:
    """All names once, those that fix the colours first."""
    return list(dict.fromkeys([*names, *drawn]))


def named(name: str) -> Any:
    """The data that `finished` puts under this name.

    They do not pass through Altair, which would look into every figure: a report of six models
    takes a third of the time.
    """
    return require("altair").NamedData(name=name)


def finished(
    chart: Any, title: str, height: float, figures: Mapping[str, Sequence[Any]] | None = None
) -> dict[str, Any]:
    """The spec as wide as its page, described by its title.

    Args:
        chart: Altair's.
        title: what is read aloud.
        height: of the drawn part, in pixels.
        figures: the records of `named` data.
    """
    sized = chart.properties(width="container", height=height, description=title)
    spec: dict[str, Any] = sized.to_dict(validate=False)
    datasets = {**spec.get("datasets", {}), **(figures or {})}
    return {**spec, "datasets": datasets, "config": CONFIG}


def has_position(value: Cell, scale: Scale) -> bool:
    """Whether a figure has a place on the scale."""
    return is_finite(value) and (scale != "log" or float(value or 0) > 0)


def is_finite(value: Cell) -> TypeGuard[float]:
    """Whether there is a number to draw."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def rounded(value: float | None) -> float | None:
    """Four digits: what a colour shows, and less to carry."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None
