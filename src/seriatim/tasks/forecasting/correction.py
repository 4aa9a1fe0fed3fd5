"""The correction of a forecaster's bands by what it would have predicted of its own past.

    origins      over the last third of the history
    forecasts    of a copy that was fitted to what comes before the first of them, if it is fitted
                 at once and all of its data are there; otherwise of the model as it is
    errors       at each step ahead, in units of the width of the band: by them `fit_conformal`
                 moves each quantile

Knows backtests and what is kept of series; no family and no files.

Shapes: S series, H moments ahead, D channels, Q quantiles, N errors of a step.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from seriatim.data.series.collection import Origin, SeriesCollection
from seriatim.data.series.frequency import parse_frequency
from seriatim.errors import ConfigError, DataError
from seriatim.metrics.forecast_calibration import fit_conformal
from seriatim.tasks.forecasting.backtest import DENSE, TENTHS, FittedSeries, run_backtest
from seriatim.tasks.forecasting.config import KnownSeries
from seriatim.tasks.forecasting.conformal import by_channel, correct_bands
from seriatim.tasks.forecasting.conformal_figures import band_units
from seriatim.tasks.forecasting.given_series import Floats, GivenSeries, in_calendar
from seriatim.tasks.forecasting.memory import SeriesMemory
from seriatim.tasks.forecasting.scan import Scanned
from seriatim.tasks.forecasting.shifts import EDGES, BandCorrection, step_scales

LEVELS = tuple(sorted({0.01, 0.025, *DENSE, 0.975, 0.99}))
_ERRORS = 100  # of a step ahead that are wanted
_LEAST_ORIGINS = 4  # of many series, whose errors at one time are alike
_MANY = 1000  # series of which one origin each is enough
_PART = 3  # the origins lie in the last third; in the last half, if nothing is fitted before


def measure_correction(
    fit: Callable[[GivenSeries], FittedSeries],
    given: GivenSeries,
    horizon: int,
    *,
    origins: tuple[int, int],
    num_samples: int,
    seed: int,
    is_held_out: bool,
) -> BandCorrection:
    """The correction by past forecasts.

    Args:
        fit: returns a forecaster that is fitted to series, or one that is fitted already.
        given: the series.
        horizon: H.
        origins: how many there are, and how far apart.
        num_samples, seed: of the paths of a model that must be sampled.
        is_held_out: whether the forecaster is not fitted to what it predicts.

    Raises:
        DataError: if the history is too short.
    """
    number, step = origins
    found = run_backtest(
        fit,
        given,
        horizon,
        name="the correction",
        season_length=1,
        origins=number,
        step=step,
        quantiles=LEVELS,
        columns={},
        num_samples=num_samples,
        seed=seed,
    )
    scanned, scales = found.scanned, _scales(found.scanned, given)
    bands = np.moveaxis(scanned.quantiles, 1, -1)  # (R, H, D, Q)
    low, high = (bands[..., found.levels.index(q)] for q in EDGES)
    unit = band_units(low, high, scales[scanned.series][:, None])
    y, bands, unit = by_channel(scanned.y, bands, unit)
    if np.isnan(y).all():
        raise DataError(f"{given.name} has no value that changes, so no band to correct")
    shifts = fit_conformal(y, bands, found.levels, np.where(unit > 0, unit, 1.0))
    tenths = [found.levels.index(q) for q in TENTHS]
    figures = None
    try:
        some = replace(scanned, quantiles=scanned.quantiles[:, tenths])
        figures = correct_bands(some, TENTHS, scales)[0]
    except DataError:
        pass  # too few for halves
    return BandCorrection(shifts, len(scanned.y), is_held_out, figures)


def place_origins(
    given: GivenSeries,
    horizon: int,
    origins: int | None,
    *,
    is_fitted: bool,
    is_cut: bool = False,
) -> tuple[int, int]:
    """How many origins, and how far apart.

    Args:
        given: the series.
        horizon: H.
        origins: how many there should be; None: as many as suit it.
        is_fitted: whether a model is fitted to what comes before.
        is_cut: whether the series are the kept end of longer ones.

    Raises:
        DataError: if the last third, or half, of the history does not hold the horizon.
    """
    lengths, part = np.diff(given.offsets), _PART if is_fitted else 2
    usual = int(np.median(lengths))
    room = usual // part
    if room < horizon and is_cut:
        raise DataError(
            f"a model keeps the last {usual:,} moments of its series, too few to correct bands "
            f"{horizon:,} ahead: give the series (data=..., forecast MODEL DATA), with at least "
            f"{_PART * horizon:,} moments, or a smaller horizon"
        )
    if room < horizon:
        raise DataError(
            f"a history of {usual:,} moments is too short to correct bands {horizon:,} ahead: "
            f"give at least {part * horizon:,} moments, or a smaller horizon"
        )
    if origins is None:
        rows = len(lengths) * given.numbers.shape[1]
        origins = max(math.ceil(_ERRORS / rows), 1 if rows > _MANY else _LEAST_ORIGINS)
    origins = min(origins, room - horizon + 1)
    step = max(1, min(horizon, (room - horizon) // max(1, origins - 1)))
    return origins, step


def _scales(scanned: Scanned, given: GivenSeries) -> Floats:
    """(S, D) the mean steps of series before their first forecasts."""
    scales = np.full((len(given.ids), scanned.y.shape[2]), np.nan)
    for series in np.unique(scanned.series):
        end = scanned.first[scanned.series == series].min()
        scales[series] = step_scales([given.numbers[given.offsets[series] : end]])[0]
    return scales


def kept_series(memory: SeriesMemory, names: KnownSeries) -> GivenSeries:
    """What a forecaster keeps of its series, as series.

    Raises:
        ConfigError: if the model has known inputs, of which the last alone are kept.
    """
    if names.known:
        raise ConfigError(
            "bands of a model with known inputs are corrected by data that hold them: give the "
            "series that it was fitted to (data=..., forecast MODEL DATA)"
        )
    past = memory.past(range(len(names.ids)), names.times)
    fixed = len(names.static)
    known = memory.last_known()
    there = [i for i, numbers in enumerate(past.numbers) if len(numbers)]
    lengths = [len(past.numbers[i]) for i in there]
    collection = SeriesCollection(
        ids=tuple(names.ids[i] for i in there),
        numbers=np.concatenate([past.numbers[i] for i in there]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        times=np.concatenate([past.times[i] for i in there]),
        freq=parse_frequency(names.freq),
        channel_names=names.channels,
        time_zone=names.zone,
        static=known[there, known.shape[1] - fixed :] if fixed else None,
        static_names=names.static,
        origin=Origin("the kept history"),
    )
    return GivenSeries(in_calendar(collection, names.calendar))
