"""The pages of forecasts: history, median and bands, a plot for each series.

Knows forecasts and the plots of `report`; no model.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.output import time_texts
from seriatim.report.document import Report, Section
from seriatim.report.plots import Plot
from seriatim.report.series_plots import Band, SeriesCurve, or_gaps, series_plot
from seriatim.report.tables import Table
from seriatim.report.terminal import count_noun
from seriatim.tasks.past import Past

MOST_SERIES = 12  # that are drawn
_HISTORY = 4  # horizons of history in a plot, and at least so many moments:
_LEAST_HISTORY = 60


class Forecasted(Protocol):
    """The distributions of the coming values of S series, H moments ahead, with D channels.

    Attributes:
        ids: the names of the series.
        channels: the names of the channels.
        times: (S, H) the moments.
        mean: (S, H, D).
        levels: Q quantiles.
        quantiles: (S, Q, H, D).
        past: the end of what was observed; None: not known.
        table: the columns of the table.
        notes: what to know of them, as sentences.
    """

    ids: tuple[str | int, ...]
    channels: tuple[str, ...]
    times: NDArray[Any]
    mean: NDArray[np.float64]
    levels: tuple[float, ...]
    quantiles: NDArray[np.float64]
    past: Past | None
    table: dict[str, NDArray[Any]]
    notes: tuple[str, ...]

    @property
    def horizon(self) -> int:
        """H."""

    @property
    def zone(self) -> str | None:
        """The time zone of the times."""


def forecast_page(forecast: Forecasted) -> Report:
    """A page with the history, the median and the bands of each series."""
    count, channels = len(forecast.ids), forecast.channels
    shown = min(count, MOST_SERIES)
    more = f" Only the first {shown} of {count:,} are drawn." if shown < count else ""
    plots = [
        forecast_plot(forecast, row, channel)
        for row in range(shown)
        for channel in range(min(len(channels), MOST_SERIES))
    ]
    first, last = shown_times(forecast.times[0, [0, -1]], forecast.zone)
    bands = " and ".join(f"{100 * (1 - 2 * q):.10g} %" for q, _ in band_pairs(forecast.levels))
    noted = "".join(f" {note[0].upper()}{note[1:]}." for note in forecast.notes)
    lead = (
        f"{count_noun(count, 'series', 'series')}, {forecast.horizon:,} moments ahead: {first} to "
        f"{last}. The next values lie inside a band with its probability"
        f"{f' ({bands})' if bands else ''}, if the model is right; a backtest shows how often they "
        f"did.{more}{noted}"
    )
    table = Table(
        "First moments",
        tuple(forecast.table),
        [list(row) for row in zip(*_cells(forecast, 24), strict=True)],
    )
    sections = [
        Section("Forecast" if len(plots) == 1 else "Forecasts", plots=plots),
        Section("Figures", tables=[table]),
    ]
    return Report("Forecast", lead, sections)


def forecast_plot(forecast: Forecasted, row: int = 0, channel: int = 0) -> Plot:
    """The history, the median and the bands of one channel of one series."""
    name = str(forecast.ids[row])
    if len(forecast.channels) > 1:
        name = f"{name}, {forecast.channels[channel]}"
    middle, line = _middle(forecast, row, channel)
    times: Sequence[str | int] = []
    values: list[float | None] = []
    if forecast.past is not None:
        keep = max(_LEAST_HISTORY, _HISTORY * forecast.horizon)
        times = plot_times(forecast.past.times[row][-keep:], forecast.zone)
        values = or_gaps(forecast.past.numbers[row][-keep:, channel])
    curve = SeriesCurve(
        times,
        values,
        plot_times(forecast.times[row], forecast.zone),
        middle.tolist(),
        [
            Band(
                f"{100 * (1 - 2 * q):.10g} %",
                forecast.quantiles[row, i, :, channel].tolist(),
                forecast.quantiles[row, j, :, channel].tolist(),
            )
            for q, (i, j) in band_pairs(forecast.levels)
        ],
    )
    gaps = sum(v is None for v in values)
    missing = f" {count_noun(gaps, 'value')} of the history {'is' if gaps == 1 else 'are'} missing."
    return series_plot(
        curve,
        f"{name}: the next {forecast.horizon:,} moments",
        f"What was observed, the {line} of what comes next, and bands.{missing if gaps else ''}",
        y=forecast.channels[channel] if len(forecast.channels) > 1 else name,
        line=line,
    )


def band_pairs(levels: Sequence[float]) -> list[tuple[float, tuple[int, int]]]:
    """The lower quantile of each interval whose two ends were computed, from the widest."""
    pairs = []
    for i, low in enumerate(levels):
        for j, high in enumerate(levels):
            if low < 0.5 and abs(low + high - 1) < 1e-9:
                pairs.append((low, (i, j)))
    return pairs


def _middle(forecast: Forecasted, row: int, channel: int) -> tuple[NDArray[np.float64], str]:
    """The median, or the mean where the median was not computed, and which of them it is."""
    for i, level in enumerate(forecast.levels):
        if abs(level - 0.5) < 1e-9:
            return forecast.quantiles[row, i, :, channel], "median"
    return forecast.mean[row, :, channel], "mean"


def plot_times(times: NDArray[Any], zone: str | None) -> Sequence[str | int]:
    """Times as a plot takes them: text on the clock of their zone, or whole numbers."""
    return shown_times(times, zone) if times.dtype.kind == "M" else times.tolist()


def shown_times(times: NDArray[Any], zone: str | None) -> list[str]:
    """Times as text."""
    return time_texts(times, zone)


def _cells(forecast: Forecasted, rows: int) -> list[list[Any]]:
    cells: list[list[Any]] = []
    for values in forecast.table.values():
        some = values[:rows]
        if values.dtype.kind == "M":
            cells.append(list(time_texts(some, forecast.zone)))
        elif values.dtype.kind == "f":
            cells.append([float(v) for v in some])
        else:
            cells.append([str(v) for v in some])
    return cells
