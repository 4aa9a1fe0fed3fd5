"""A backtest: forecasts from many origins, beside what came, and the figures of their quality.

    cutoffs      origins from each of which `horizon` moments are predicted
    fit          on what comes before the first of them, or again at every k-th (`refit`)
    forecasts    made in one pass, from the states at the origins (`backtest_scan`)

Knows forecasters by what they do: fit, and a model; no family and no files.

Shapes: R forecasts, H moments ahead, D channels, Q quantiles.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seriatim.core.model import SequenceModel
from seriatim.core.records import Json
from seriatim.errors import ConfigError, DataError
from seriatim.metrics.forecast_calibration import QuantileCoverage, calibration_table
from seriatim.metrics.forecasting import (
    check_levels,
    crps_from_quantiles,
    mae,
    mase,
    observed_mean,
    rmse,
    seasonal_scale,
    smape,
    weighted_quantile_loss,
)
from seriatim.metrics.forecasting import coverage as covered
from seriatim.report.terminal import count_noun
from seriatim.tasks.column_table import ColumnTable
from seriatim.tasks.forecasting.conformal import correct_bands
from seriatim.tasks.forecasting.conformal_figures import ConformalFigures
from seriatim.tasks.forecasting.cutoffs import Cutoffs, place_cutoffs
from seriatim.tasks.forecasting.given_series import GivenSeries, id_column
from seriatim.tasks.forecasting.scan import Scanned, scan
from seriatim.tasks.forecasting.score import Tally
from seriatim.tasks.forecasting.states import Ints

if TYPE_CHECKING:
    from seriatim.report.document import Report

DENSE = tuple(round(0.05 * i, 2) for i in range(1, 20))  # of CRPS
TENTHS = tuple(round(0.1 * i, 1) for i in range(1, 10))  # of wQL
INTERVALS = (50, 80, 90)


class FittedSeries(Protocol):
    """A fitted forecaster, as a backtest uses it."""

    @property
    def model(self) -> SequenceModel | None:
        """The model."""

    def numbers_of(self, ids: Sequence[str]) -> Ints:
        """(S,) the numbers of series in its training data, -1 for others."""


@dataclass(frozen=True)
class BacktestFigures:
    """How good the forecasts of a backtest were; a smaller figure is better, but of coverage.

    Attributes:
        num_forecasts: R, an origin of a series each.
        num_values: the number of observed values that were predicted.
        wql: the weighted quantile loss over the levels .1, .2 ... .9, pooled over all values.
        crps: the mean over the values of CRPS from 19 quantiles (.05 ... .95), in their units.
        mase: the mean absolute error of the median, each by the mean absolute step over a season
            before the first origin of its series.
        mae, rmse: of the median and of the mean, in the units of the values.
        smape: of the median, in percent, from 0 to 200.
        nats_per_value: -ln p of each value from the first origin on, one moment ahead.
        log_score_of: what p is: "density", in the units of the values, or "probability" of counts;
            figures of the two are never compared.
        coverage: by a level in percent, the fraction of values inside the interval in the middle.
        calibration: of each quantile, the fraction of values that were below it.
    """

    num_forecasts: int
    num_values: int
    wql: float
    crps: float
    mase: float
    mae: float
    rmse: float
    smape: float
    nats_per_value: float
    log_score_of: str
    coverage: Mapping[str, float]
    calibration: tuple[QuantileCoverage, ...]

    def to_json(self) -> Json:
        """A dict of JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The figures for people."""
        inside = ", ".join(
            f"{100 * v:.1f} % in the {k} % interval" for k, v in self.coverage.items()
        )
        return [
            f"wQL {self.wql:.4f}, MASE {self.mase:.3f}, CRPS {self.crps:.4g}, "
            f"mean absolute error {self.mae:.4g}",
            f"log score {self.nats_per_value:.4f} nats per value, one moment ahead (of a "
            f"{self.log_score_of})",
            inside,
            f"{self.num_values:,} values in {count_noun(self.num_forecasts, 'forecast')}",
        ]


class Backtest(ColumnTable):
    """Forecasts beside what came: a row for each origin, series, moment and channel.

    Attributes:
        name: what was tested.
        figures: their quality.
        scanned: the arrays.
        levels: the quantiles, rising.
        seconds_to_fit: the time of all fits.
        seconds_to_predict: the time of the pass and the forecasts.
        notes: what to know of them, as sentences.
    """

    def __init__(
        self,
        name: str,
        given: GivenSeries,
        scanned: Scanned,
        levels: Sequence[float],
        shown: Mapping[str, float],
        figures: BacktestFigures,
        seconds: tuple[float, float],
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.figures, self.scanned = name, figures, scanned
        self.levels, self.notes, self._given = tuple(levels), tuple(notes), given
        self.seconds_to_fit, self.seconds_to_predict = seconds
        self._backend = given.collection.origin.backend
        super().__init__(self._columns(shown), given.collection.time_zone)

    def _columns(self, shown: Mapping[str, float]) -> dict[str, NDArray[Any]]:
        found, have = self.scanned, self._given.collection
        rows, horizon, depth = found.mean.shape
        at = found.first[:, None] + np.arange(horizon)
        table: dict[str, NDArray[Any]] = {
            "unique_id": np.repeat(id_column(have, found.series), horizon * depth),
            "ds": np.repeat(have.times[at].reshape(-1), depth),
            "cutoff": np.repeat(have.times[found.first - 1], horizon * depth),
        }
        if depth > 1:
            names = np.array(have.channel_names, dtype=object)
            table["channel"] = np.tile(names, rows * horizon)
        table["y"], table["mean"] = found.y.reshape(-1), found.mean.reshape(-1)
        for name, q in shown.items():
            table[name] = found.quantiles[:, self.levels.index(q)].reshape(-1)
        return table

    @property
    def frame(self) -> Any:
        """The table as a frame of the package that the data came from; otherwise this object."""
        makers = {"pandas": self.to_pandas, "polars": self.to_polars, "pyarrow": self.to_arrow}
        return makers[self._backend]() if self._backend in makers else self

    @property
    def given(self) -> GivenSeries:
        """The series."""
        return self._given

    def summary(self) -> str:
        """The figures, in a line."""
        f = self.figures
        return f"{self.name}: wQL {f.wql:.4f}, MASE {f.mase:.3f}, {f.num_forecasts:,} forecasts"

    def conformal(
        self, fraction: float = 0.5, quantiles: Sequence[float] = TENTHS
    ) -> ConformalFigures:
        """The later forecasts with their bands corrected by the errors of the earlier ones.

        Args:
            fraction: of the origins of each series, those that correct.
            quantiles: those to correct, of the levels of this backtest.

        Raises:
            ConfigError: if it has no such levels, or the fraction is not between 0 and 1.
            DataError: if there are too few origins.
        """
        levels = check_levels(sorted(quantiles)).tolist()
        for level in levels:
            if level not in self.levels:
                shown = ", ".join(f"{q:g}" for q in self.levels)
                raise ConfigError(f"quantile {level:g} was not predicted: choose from {shown}")
        chosen = self.scanned.quantiles[:, [self.levels.index(q) for q in levels]]
        scanned = replace(self.scanned, quantiles=chosen)
        return correct_bands(scanned, levels, self._steps(), fraction)[0]

    def _steps(self) -> NDArray[np.float64]:
        """(S, D) the mean absolute step of each series before its first forecast."""
        steps = np.ones((len(self._given.ids), self.scanned.y.shape[2]))
        for series in np.unique(self.scanned.series):
            end = self.scanned.first[self.scanned.series == series].min()
            past = self._given.numbers[self._given.offsets[series] : end]
            steps[series] = [seasonal_scale(channel) for channel in past.T]
        return steps

    def page(self) -> "Report":
        """A page with forecasts, residuals and calibration."""
        from seriatim.tasks.forecasting.backtest_page import backtest_page

        return backtest_page([self])


def run_backtest(
    fit: Callable[[GivenSeries], FittedSeries],
    given: GivenSeries,
    horizon: int,
    *,
    name: str,
    season_length: int,
    origins: int = 1,
    step: int | None = None,
    refit: int | None = None,
    quantiles: Sequence[float],
    columns: Mapping[str, float],
    num_samples: int,
    seed: int,
    notes: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Backtest:
    """The forecasts of a model from many origins, and their quality.

    Args:
        fit: returns a forecaster that is fitted to series, or one that is fitted already.
        given: the series.
        horizon: H.
        name: what is tested.
        season_length: the moments of a season, for the scale of MASE.
        origins: the number of origins of each series.
        step: the moments between two origins; None: the horizon.
        refit: the number of origins after which the model is fitted again; None: it is fitted
            once, to what comes before the first.
        quantiles: those to show, rising.
        columns: the quantile of each column by its name.
        num_samples: the paths of a model that must be sampled.
        seed: of the paths.
        notes: what to know of the forecasts.
        progress: callback that receives the number of forecasts made so far.

    Raises:
        DataError: if no series is long enough, or nothing was observed where it was predicted.
    """
    cutoffs = place_cutoffs(given, horizon, origins, step)
    levels = tuple(sorted({*quantiles, *DENSE}))
    parts, tally, seconds, done = [], Tally(), [0.0, 0.0], 0
    groups = _groups(cutoffs, refit)
    for i, group in enumerate(groups):
        began = time.perf_counter()
        fitted = fit(_before(given, group))
        assert fitted.model is not None  # it is fitted
        seconds[0] += time.perf_counter() - began
        began = time.perf_counter()
        stop = None if i + 1 == len(groups) else groups[i + 1].earliest()
        found = scan(
            fitted.model,
            given,
            fitted.numbers_of(given.ids),
            group,
            quantiles=levels,
            num_samples=num_samples,
            seed=seed,
            stop=stop,
            tally=tally,
            progress=None if progress is None else _from(progress, done),
        )
        parts.append(found)
        done += len(found.series)
        seconds[1] += time.perf_counter() - began
    scanned = _joined(parts, tally)
    if np.isnan(scanned.y).all():
        raise DataError(f"no value of {given.name} was observed where it was predicted")
    figures = figures_of(given, scanned, cutoffs, levels, season_length)
    return Backtest(name, given, scanned, levels, columns, figures, (seconds[0], seconds[1]), notes)


def _groups(cutoffs: Cutoffs, refit: int | None) -> list[Cutoffs]:
    """The origins that share a fit."""
    if refit is None:
        return [cutoffs]
    count = cutoffs.num_origins
    return [replace(cutoffs, first=cutoffs.first[i : i + refit]) for i in range(0, count, refit)]


def _before(given: GivenSeries, cutoffs: Cutoffs) -> GivenSeries:
    """What comes before the first origin of each series; of series without one, nothing."""
    earliest = cutoffs.earliest()
    lengths = np.where(earliest >= 0, earliest - given.offsets[:-1], 0)
    return GivenSeries(given.collection.head(lengths))


def _from(progress: Callable[[int], None], done: int) -> Callable[[int], None]:
    return lambda number: progress(done + number)


def _joined(parts: Sequence[Scanned], tally: Tally) -> Scanned:
    if len(parts) == 1:
        return parts[0]
    series = np.concatenate([p.series for p in parts])
    first = np.concatenate([p.first for p in parts])
    order = np.lexsort((first, series))
    y, mean, bands = (
        np.concatenate(arrays)[order]
        for arrays in zip(*[(p.y, p.mean, p.quantiles) for p in parts], strict=True)
    )
    return Scanned(series[order], first[order], y, mean, bands, tally)


def figures_of(
    given: GivenSeries,
    scanned: Scanned,
    cutoffs: Cutoffs,
    levels: Sequence[float],
    season_length: int,
) -> BacktestFigures:
    """The quality of forecasts."""
    y, bands = scanned.y, np.moveaxis(scanned.quantiles, 1, -1)  # (R, H, D, Q)
    place = {level: i for i, level in enumerate(levels)}
    median = bands[..., place[0.5]]
    scale = _scales(given, cutoffs, season_length)[scanned.series][:, None, :]
    inside = {
        f"{level}": float(
            covered(
                y,
                bands[..., place[round(0.5 - level / 200, 2)]],
                bands[..., place[round(0.5 + level / 200, 2)]],
            )
        )
        for level in INTERVALS
    }
    tenths = [place[q] for q in TENTHS]
    dense = bands[..., [place[q] for q in DENSE]]
    score = scanned.tally.score(given.name)
    return BacktestFigures(
        num_forecasts=len(y),
        num_values=int((~np.isnan(y)).sum()),
        wql=float(weighted_quantile_loss(y, bands[..., tenths], TENTHS)),
        crps=float(observed_mean(crps_from_quantiles(y, dense, DENSE), y)),
        mase=float(mase(np.where(np.isnan(scale), np.nan, y), median, scale)),
        mae=float(mae(y, median)),
        rmse=float(rmse(y, scanned.mean)),
        smape=float(smape(y, median)),
        nats_per_value=score.nats_per_value,
        log_score_of="probability" if scanned.tally.is_count else "density",
        coverage=inside,
        calibration=calibration_table(y, dense, DENSE),
    )


def _scales(given: GivenSeries, cutoffs: Cutoffs, season_length: int) -> NDArray[np.float64]:
    """(S, D) the mean absolute step over a season before the first origin; over one where none."""
    earliest, depth = cutoffs.earliest(), given.numbers.shape[1]
    scales = np.full((len(earliest), depth), np.nan)
    for i, end in enumerate(earliest):
        for channel in range(depth):
            if end < 0:
                continue
            past = given.numbers[given.offsets[i] : end, channel]
            for season in (season_length, 1):
                if np.isnan(scales[i, channel]) and len(past) > season:
                    scales[i, channel] = seasonal_scale(past, season)
    return scales
