"""A series in time: what was observed, a line that predicts it, and bands around that.

Knows times and numbers; no model. Times are drawn as they stand, without a time zone: the text of
a moment is what its axis shows.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from seriatim.report.plots import LIGHT, LegendEntry, Plot, require
from seriatim.report.style import axis, finished, is_finite, named
from seriatim.report.tables import Cell

BAND_OPACITY = (0.16, 0.22, 0.3)


@dataclass(frozen=True)
class Band:
    """An interval at every moment of a prediction.

    Attributes:
        name: the name in the legend, such as "80 %".
        low, high: the edges.
    """

    name: str
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class SeriesCurve:
    """A prediction of a series, beside what was observed.

    Attributes:
        observed_at: the moments of `observed`, as ISO 8601 or numbers.
        observed: the values, None where missing.
        predicted_at: the moments of the prediction.
        predicted: the line of the prediction, such as the median.
        bands: the intervals, from the widest.
        parts: the number of the forecast to which each predicted moment belongs, between which
            the line is interrupted; none: there is one forecast.
    """

    observed_at: Sequence[str | int]
    observed: Sequence[float | None]
    predicted_at: Sequence[str | int]
    predicted: Sequence[float]
    bands: Sequence[Band] = ()
    parts: Sequence[int] = ()


def or_gaps(values: Iterable[float]) -> list[float | None]:
    """Numbers as plots and JSON take them: None where NaN says that one is missing."""
    return [None if math.isnan(value) else float(value) for value in values]


def series_plot(
    curve: SeriesCurve,
    title: str,
    caption: str,
    *,
    y: str,
    line: str = "median",
    height: int = 280,
) -> Plot:
    """What was observed in ink, the prediction in blue, its bands as shades of blue.

    Args:
        curve: the observations and the prediction.
        title: the title of the plot.
        caption: how to read it.
        y: the name and unit of the values.
        line: what the line of the prediction is.
        height: the height of the drawn part, in pixels.
    """
    columns, rows = _table(curve, y, line)
    figures = _figures(curve)
    if not figures:
        return Plot.empty(title, caption, columns, rows)
    alt = require("altair")
    kind = "T" if isinstance(next(iter(_moments(curve))), str) else "Q"
    drawn = [v for part in figures.values() for r in part for k, v in r.items() if k in _HEIGHTS]

    def across() -> Any:
        is_time = kind == "T"
        # Of UTC, since JavaScript would show moments on the clock of whoever reads the page.
        scale = alt.Scale(type="utc") if is_time else alt.Scale(zero=False, nice=False)
        ticks = alt.Axis(tickCount=5, labelOverlap="greedy", title=None)
        if not is_time:
            ticks.format = "d"
        return alt.X(f"at:{kind}", axis=ticks, scale=scale)

    def up(field: str) -> Any:
        return axis(alt.Y, field, y, "linear", drawn)

    layers = []
    for i, _ in enumerate(curve.bands):
        area = alt.Chart(named(f"band {i}")).mark_area(
            color=LIGHT["blue"], opacity=BAND_OPACITY[min(i, len(BAND_OPACITY) - 1)]
        )
        layers.append(area.encode(x=across(), y=up("low"), y2="high:Q", detail="part:Q"))
    names = {"observed": ("ink", 1.5, [1, 0]), "predicted": ("blue", 2, [6, 3])}
    for name, (colour, width, dash) in names.items():
        if name in figures:
            base = alt.Chart(named(name)).encode(x=across(), y=up("y"), detail="part:Q")
            drawing = base.mark_line(color=LIGHT[colour], strokeWidth=width, strokeDash=dash)
            tips = [alt.Tooltip("shown:N", title="at"), alt.Tooltip("y:Q", format=".5~g", title=y)]
            dots = base.mark_point(
                color=LIGHT[colour], filled=True, size=12 if len(figures[name]) < 200 else 4
            ).encode(tooltip=tips)
            layers += [drawing, dots]
    spec = finished(alt.layer(*layers), title, height, figures)
    return Plot(title, caption, spec, columns, rows, _legend(curve, line))


_HEIGHTS = ("y", "low", "high")


def _moments(curve: SeriesCurve) -> Sequence[str | int]:
    return [*curve.observed_at[:1], *curve.predicted_at[:1]]


def _figures(curve: SeriesCurve) -> dict[str, list[dict[str, Any]]]:
    """The records of each layer; a line is interrupted where a value is missing."""
    part, observed = 0, []
    for at, value in zip(curve.observed_at, curve.observed, strict=True):
        if value is None or not is_finite(value):
            part += 1
            continue
        observed.append({"at": _at(at), "shown": str(at), "y": value, "part": part})
    parts = curve.parts or [0] * len(curve.predicted_at)
    predicted = [
        {"at": _at(at), "shown": str(at), "y": v, "part": p}
        for at, v, p in zip(curve.predicted_at, curve.predicted, parts, strict=True)
        if is_finite(v)
    ]
    figures = {"observed": observed, "predicted": predicted}
    for i, band in enumerate(curve.bands):
        edges = zip(curve.predicted_at, band.low, band.high, parts, strict=True)
        figures[f"band {i}"] = [
            {"at": _at(at), "low": low, "high": high, "part": p}
            for at, low, high, p in edges
            if is_finite(low) and is_finite(high)
        ]
    return {name: records for name, records in figures.items() if records}


def _at(at: str | int) -> str | int:
    """A moment as Vega reads it: a date alone is UTC there, a time needs a Z to be."""
    if not isinstance(at, str) or len(at) <= 10:
        return at
    return at[:19].replace(" ", "T") + "Z"


def _table(curve: SeriesCurve, y: str, line: str) -> tuple[list[str], list[list[Cell]]]:
    edges = [f"{end} of {band.name}" for band in curve.bands for end in ("low", "high")]
    columns = ["moment", y, line, *edges]
    rows: dict[str | int, list[Cell]] = {}
    for at, value in zip(curve.observed_at, curve.observed, strict=True):
        rows[at] = [str(at), value, None, *[None] * len(edges)]
    for i, at in enumerate(curve.predicted_at):
        values: list[Cell] = [e for b in curve.bands for e in (b.low[i], b.high[i])]
        seen = rows[at][1] if at in rows else None
        rows[at] = [str(at), seen, curve.predicted[i], *values]
    return columns, list(rows.values())


def _legend(curve: SeriesCurve, line: str) -> list[LegendEntry]:
    entries = []
    if len(curve.observed_at):
        entries.append(LegendEntry("observed", LIGHT["ink"], "circle", [1, 0]))
    if len(curve.predicted_at):
        entries.append(LegendEntry(line, LIGHT["blue"], "circle", [6, 3]))
    bands = [LegendEntry(f"{b.name} band", LIGHT["blue"], "square") for b in curve.bands]
    return [*entries, *bands]
