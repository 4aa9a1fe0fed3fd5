"""The page of backtests: forecasts beside what came, errors by the step ahead, calibration.

Knows the arrays of backtests and the plots of `report`; no model.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.output import time_texts
from seriatim.metrics.forecast_calibration import QuantileCoverage
from seriatim.report.charts import LineSeries, line_plot
from seriatim.report.document import Report, Section
from seriatim.report.plots import Plot
from seriatim.report.series_plots import Band, SeriesCurve, or_gaps, series_plot
from seriatim.report.tables import Table
from seriatim.report.terminal import count_noun
from seriatim.tasks.forecasting.forecast_page import band_pairs, plot_times
from seriatim.tasks.forecasting.given_series import GivenSeries
from seriatim.tasks.forecasting.scan import Scanned

MOST_SERIES = 6  # that are drawn of each model
_HISTORY = 2  # horizons before the first forecast that is drawn
_MOST_FORECASTS = 4  # of a series, side by side
_MOST_POINTS = 96  # of a curve over steps


class Figures(Protocol):
    """The figures of a backtest that a page shows."""

    num_forecasts: int
    num_values: int
    wql: float
    crps: float
    mase: float
    nats_per_value: float
    log_score_of: str
    coverage: Any
    calibration: tuple[QuantileCoverage, ...]


class Tested(Protocol):
    """A backtest as a page shows it."""

    name: str
    figures: Any
    scanned: Scanned
    levels: tuple[float, ...]
    seconds_to_fit: float
    seconds_to_predict: float

    @property
    def given(self) -> GivenSeries:
        """The series."""


def backtest_page(tests: Sequence[Tested]) -> Report:
    """A page about backtests of the same series, the best first.

    Args:
        tests: the backtests, by wQL.
    """
    best = min(tests, key=lambda test: test.figures.wql)
    horizon = best.scanned.mean.shape[1]
    held = 100 * best.figures.coverage["80"]
    among = f" among {count_noun(len(tests), 'model')}" if len(tests) > 1 else ""
    lead = (
        f"{best.name} predicts best{among}: a weighted quantile loss of {best.figures.wql:.4f} "
        f"over {horizon:,} moments ahead. Its 80 % band held {held:.1f} % of the values."
    )
    names = [test.name for test in tests]
    sections = [
        Section("Figures", tables=[_figures(tests)], text=_READING),
        Section(
            f"Forecasts of {best.name}",
            plots=[
                _forecasts(best, series)
                for series in np.unique(best.scanned.series)[:MOST_SERIES].tolist()
            ],
        ),
        Section("Errors by the step ahead", plots=[_errors(tests, names), _residuals(best)]),
        Section("Calibration", plots=[_calibration(tests, names), _levels(tests, names)]),
    ]
    return Report("Backtest", lead, sections)


_READING = (
    "Lower is better, but in the column of the 80 % interval, which should hold 80 %. wQL is "
    "pooled over all values and the levels .1 to .9; MASE divides errors by the mean step over a "
    "season; nats per value are one moment ahead."
)


def _figures(tests: Sequence[Tested]) -> Table:
    columns = ["model", "wQL", "MASE", "CRPS", "nats per value", "of a", "80 % holds, %", "seconds"]
    rows = [
        [
            test.name,
            test.figures.wql,
            test.figures.mase,
            test.figures.crps,
            test.figures.nats_per_value,
            test.figures.log_score_of,
            100 * test.figures.coverage["80"],
            test.seconds_to_fit + test.seconds_to_predict,
        ]
        for test in tests
    ]
    formats = {"80 % holds, %": ".1f", "seconds": ".1f"}
    return Table("Figures", columns, rows, formats=formats)


def _forecasts(test: Tested, series: int) -> Plot:
    """The last forecasts of a series that do not overlap, beside what came."""
    found, given, zone = test.scanned, test.given, test.given.collection.time_zone
    rows = np.flatnonzero(found.series == series)
    horizon = found.mean.shape[1]
    chosen: list[int] = []
    for row in rows[::-1].tolist():
        if len(chosen) < _MOST_FORECASTS and (
            not chosen or found.first[row] + horizon <= found.first[chosen[-1]]
        ):
            chosen.append(row)
    chosen.reverse()
    name = given.ids[series]
    begin = max(given.offsets[series], found.first[chosen[0]] - _HISTORY * horizon)
    end = found.first[chosen[-1]] + horizon
    at = (found.first[chosen][:, None] + np.arange(horizon)).reshape(-1)
    middle = test.levels.index(0.5)
    wide = [pair for pair in band_pairs(test.levels) if round(1 - 2 * pair[0], 2) in (0.8, 0.5)]
    curve = SeriesCurve(
        plot_times(given.times[begin:end], zone),
        or_gaps(given.numbers[begin:end, 0]),
        plot_times(given.times[at], zone),
        found.quantiles[chosen, middle, :, 0].reshape(-1).tolist(),
        [
            Band(
                f"{100 * (1 - 2 * q):.10g} %",
                found.quantiles[chosen, i, :, 0].reshape(-1).tolist(),
                found.quantiles[chosen, j, :, 0].reshape(-1).tolist(),
            )
            for q, (i, j) in wide
        ],
        np.repeat(np.arange(len(chosen)), horizon).tolist(),
    )
    times = time_texts(given.times[found.first[chosen] - 1], zone)
    return series_plot(
        curve,
        f"{name}: {count_noun(len(chosen), 'forecast')} of {horizon:,} moments",
        f"Made after {', '.join(times)}, each without knowing what came.",
        y=name,
    )


def _steps(test: Tested) -> tuple[list[float], NDArray[np.int64]]:
    horizon = test.scanned.mean.shape[1]
    every = max(1, -(-horizon // _MOST_POINTS))
    steps = np.arange(0, horizon, every)
    return (steps + 1).astype(float).tolist(), steps


def _errors(tests: Sequence[Tested], names: Sequence[str]) -> Plot:
    """The mean absolute error of the median at each step, in units of the series' spread."""
    curves = []
    for test in tests:
        found = test.scanned
        error = np.abs(found.y - found.quantiles[:, test.levels.index(0.5)])
        spread = _spread(test)
        x, steps = _steps(test)
        with np.errstate(invalid="ignore"):
            values = np.nanmean(error / spread[found.series][:, None, :], axis=(0, 2))[steps]
        curves.append(LineSeries(test.name, x, or_gaps(values)))
    return line_plot(
        curves,
        "Error by the step ahead",
        "The mean absolute error of the median, in standard deviations of each series.",
        x="moments ahead",
        y="absolute error, in standard deviations",
        names=names,
        y_covers=(0.0,),
    )


def _residuals(test: Tested) -> Plot:
    """The mean residual at each step, and where four fifths of the residuals lie."""
    found = test.scanned
    residual = (found.y - found.quantiles[:, test.levels.index(0.5)]) / _spread(test)[found.series][
        :, None, :
    ]
    x, steps = _steps(test)
    flat = np.moveaxis(residual, 1, 0).reshape(residual.shape[1], -1)[steps]
    low, middle, high = np.nanquantile(flat, [0.1, 0.5, 0.9], axis=1)
    curve = LineSeries(
        test.name,
        x,
        or_gaps(middle),
        or_gaps(low),
        or_gaps(high),
    )
    return line_plot(
        [curve],
        f"Residuals of {test.name}",
        "What came less the median that was predicted, in standard deviations of each series: the "
        "median of these, and a band that holds 80 % of them. A line off zero is a bias.",
        x="moments ahead",
        y="residual, in standard deviations",
        references={"no bias": 0.0},
    )


def _calibration(tests: Sequence[Tested], names: Sequence[str]) -> Plot:
    """The fraction of values below each quantile, against its level."""
    levels = [row.level for row in tests[0].figures.calibration]
    curves = [LineSeries("as promised", levels, levels)]
    for test in tests:
        rows = test.figures.calibration
        curves.append(LineSeries(test.name, levels, [row.actual for row in rows]))
    return line_plot(
        curves,
        "Values below each quantile",
        "On the straight line, quantiles hold what they promise. A curve that is flatter than it "
        "has bands that are too narrow; one that is steeper, too wide.",
        x="level of the quantile",
        y="fraction of values below it",
        names=[*names, "as promised"],
    )


def _levels(tests: Sequence[Tested], names: Sequence[str]) -> Plot:
    """How often intervals held the value, by the step ahead."""
    curves = []
    for test in tests:
        found = test.scanned
        low, high = (found.quantiles[:, test.levels.index(q)] for q in (0.1, 0.9))
        inside = np.where(np.isnan(found.y), np.nan, (found.y >= low) & (found.y <= high))
        x, steps = _steps(test)
        values = np.nanmean(inside, axis=(0, 2))[steps]
        curves.append(LineSeries(test.name, x, or_gaps(values)))
    return line_plot(
        curves,
        "How often the 80 % band held the value",
        "At each step ahead, over all origins and series.",
        x="moments ahead",
        y="fraction inside",
        names=names,
        references={"promised": 0.8},
        y_covers=(0.5, 1.0),
    )


def _spread(test: Tested) -> NDArray[np.float64]:
    """(S, D) the standard deviation of each series; 1 where it is 0."""
    given = test.given
    rows = [
        np.nanstd(given.numbers[a:b], axis=0)
        for a, b in zip(given.offsets[:-1], given.offsets[1:], strict=True)
    ]
    spread = np.array(rows)
    return np.where(spread > 0, spread, 1.0)
