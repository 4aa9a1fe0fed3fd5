"""How good forecasts are: of points, of quantiles, of samples, of densities.

A value that is missing (NaN) counts in no score; where nothing is left, a score is NaN. Scores of
each value have the shape of the values; means of them take `axis`: None pools everything, -1 gives
a figure for each row. Lower is better in all of them but coverage.

    MAE, RMSE      mean |y - f|,  sqrt mean (y - f)^2
    sMAPE          mean 200 |y - f| / (|y| + |f|), in percent, 0 where both are 0 (Makridakis et
                   al. 2020, M4); utilsforecast leaves out the factor 200
    MASE           mean |y - f| / s, where s = mean |y_t - y_(t-m)| over the past (Hyndman, Koehler
                   2006); 0 if both are 0, infinite if s alone is
    pinball        max(a (y - q), (a - 1) (y - q)) of the quantile q of level a
    wQL            2 sum of the pinball losses / sum |y|, pooled over all values of all series, then
                   the mean over levels (GluonTS); 0 if both are 0, infinite if sum |y| alone is.
                   The mean of this ratio over series is what utilsforecast calls scaled CRPS
    CRPS           integral of (F(x) - [y <= x])^2 dx = E|X - y| - E|X - X'| / 2 (Gneiting, Raftery
                   2007), in the units of y
    interval score u - l + 2/a (l - y)+ + 2/a (y - u)+ of the central interval of coverage 1 - a,
                   also called Winkler's (1972)
    log score      -ln p(y), in nats for each observed value

Knows arrays; no models, no series. Shapes: any (...), M samples, Q levels.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seriatim.errors import ConfigError

Floats: TypeAlias = NDArray[np.float64]
Axis: TypeAlias = int | None
CrpsEstimator: TypeAlias = Literal["fair", "ensemble"]


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def observed_mean(scores: ArrayLike, y: ArrayLike, axis: Axis = None) -> Floats:
    """The mean of the scores of values that were observed; NaN where none was.

    A forecast that is NaN where a value was observed makes its mean NaN: it is no missing value.
    """
    scores, is_there = np.broadcast_arrays(_floats(scores), ~np.isnan(_floats(y)))
    total = np.where(is_there, scores, 0.0).sum(axis)
    return _ratio(total, is_there.sum(axis), at_zero=math.nan)


def _ratio(numerator: ArrayLike, denominator: ArrayLike, at_zero: float = 0.0) -> Floats:
    """numerator / denominator; `at_zero` for 0/0, and infinity for any other number by 0."""
    above, below = np.broadcast_arrays(_floats(numerator), _floats(denominator))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((above == 0) & (below == 0), at_zero, above / below)


# ---- points -------------------------------------------------------------------------------------


def mae(y: ArrayLike, forecast: ArrayLike, axis: Axis = None) -> Floats:
    """The mean absolute error, in the units of y."""
    return observed_mean(np.abs(_floats(y) - _floats(forecast)), y, axis)


def mse(y: ArrayLike, forecast: ArrayLike, axis: Axis = None) -> Floats:
    """The mean squared error."""
    return observed_mean(np.square(_floats(y) - _floats(forecast)), y, axis)


def rmse(y: ArrayLike, forecast: ArrayLike, axis: Axis = None) -> Floats:
    """The root of the mean squared error, in the units of y."""
    root: Floats = np.sqrt(mse(y, forecast, axis))
    return root


def smape(y: ArrayLike, forecast: ArrayLike, axis: Axis = None) -> Floats:
    """The symmetric mean absolute percentage error, from 0 to 200 percent."""
    y, forecast = _floats(y), _floats(forecast)
    return observed_mean(200 * _ratio(np.abs(y - forecast), np.abs(y) + np.abs(forecast)), y, axis)


def seasonal_scale(history: ArrayLike, season_length: int = 1) -> float:
    """mean |y_t - y_(t-m)| over the pairs of a past that were observed, the scale of MASE.

    Args:
        history: (T,) the values that a forecast has seen.
        season_length: m.

    Returns:
        NaN if no pair was observed.
    """
    if season_length < 1:
        raise ConfigError(f"season_length = {season_length}: give 1 or more")
    y = _floats(history)
    apart = np.abs(y[season_length:] - y[:-season_length])
    return float(observed_mean(apart, apart))


def mase(y: ArrayLike, forecast: ArrayLike, scale: ArrayLike, axis: Axis = None) -> Floats:
    """The mean absolute error, each by the scale of its series.

    Args:
        y: (...) the values.
        forecast: (...) the forecasts.
        scale: what broadcasts to (...), by `seasonal_scale`: (S, 1) for rows of series.
        axis: the axis to average over.
    """
    y = _floats(y)
    return observed_mean(_ratio(np.abs(y - _floats(forecast)), scale), y, axis)


# ---- quantiles ----------------------------------------------------------------------------------


def check_levels(levels: Sequence[float]) -> Floats:
    """The levels of quantiles.

    Raises:
        ConfigError: if one is not between 0 and 1, or they are not in rising order.
    """
    array = _floats(levels)
    if array.ndim != 1 or not len(array):
        raise ConfigError("give the levels of quantiles as a list: 0.1, 0.5, 0.9")
    for level in array:
        if not 0 < level < 1:
            raise ConfigError(f"a quantile of {level:g} is not between 0 and 1: 0.9 is 90 %")
    if (np.diff(array) <= 0).any():
        raise ConfigError("quantiles are not in rising order: give 0.1, 0.5, 0.9")
    return array


def pinball(y: ArrayLike, quantiles: ArrayLike, levels: Sequence[float]) -> Floats:
    """(..., Q) the loss of each quantile.

    Args:
        y: (...) the values.
        quantiles: (..., Q) the quantiles.
        levels: (Q,)
    """
    level = check_levels(levels)
    above = _floats(y)[..., None] - _floats(quantiles)
    loss: Floats = np.maximum(level * above, (level - 1) * above)
    return loss


def weighted_quantile_loss(
    y: ArrayLike, quantiles: ArrayLike, levels: Sequence[float], axis: Axis = None
) -> Floats:
    """wQL: twice the losses by the sum of |y|, both pooled over the axis; the mean over levels."""
    y = _floats(y)
    losses = np.where(np.isnan(y), 0.0, pinball(y, quantiles, levels).mean(-1))
    loss = losses.sum(axis)
    return np.where(np.isnan(y).all(axis), math.nan, _ratio(2 * loss, np.nansum(np.abs(y), axis)))


def crps_from_quantiles(y: ArrayLike, quantiles: ArrayLike, levels: Sequence[float]) -> Floats:
    """(...) CRPS as twice the mean of the pinball losses, a sum for the integral over levels.

    It tends to CRPS as levels become dense and evenly spread: .005, .015, ... .995. With few levels
    it is only comparable with itself.
    """
    crps: Floats = 2 * pinball(y, quantiles, levels).mean(-1)
    return crps


def coverage(y: ArrayLike, lower: ArrayLike, upper: ArrayLike, axis: Axis = None) -> Floats:
    """The fraction of values within [lower, upper]."""
    y = _floats(y)
    inside = (y >= _floats(lower)) & (y <= _floats(upper))
    return observed_mean(inside, y, axis)


def interval_score(
    y: ArrayLike, lower: ArrayLike, upper: ArrayLike, level: float, axis: Axis = None
) -> Floats:
    """Winkler's score of central intervals, averaged.

    Args:
        y: (...) the values.
        lower, upper: (...) the bounds.
        level: the coverage that the bounds promise, as .8.
        axis: the axis to average over.

    Raises:
        ConfigError: if the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ConfigError(f"a level of {level:g} is not between 0 and 1: 0.8 is 80 %")
    y, lower, upper = _floats(y), _floats(lower), _floats(upper)
    outside = np.maximum(lower - y, 0) + np.maximum(y - upper, 0)
    return observed_mean(upper - lower + 2 / (1 - level) * outside, y, axis)


# ---- samples and densities ----------------------------------------------------------------------


def crps_from_samples(
    y: ArrayLike, samples: ArrayLike, *, estimator: CrpsEstimator = "fair"
) -> Floats:
    """(...) CRPS of the distribution that samples come from.

    fair        mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1)): unbiased, may be negative
    ensemble    mean |x_i - y| - sum_ij |x_i - x_j| / (2 M^2): of the samples as the forecast itself

    Args:
        y: (...) the values.
        samples: (..., M) of each value.
        estimator: fair or ensemble.

    Raises:
        ConfigError: if there is no such estimator, or fair has one sample only.
    """
    if estimator not in ("fair", "ensemble"):
        raise ConfigError(f"there is no estimator {estimator!r} of CRPS: give fair or ensemble")
    y, ordered = _floats(y), np.sort(_floats(samples), axis=-1)
    count = ordered.shape[-1]
    if count < 2 and estimator == "fair":
        raise ConfigError("the fair estimator of CRPS needs two samples: give more, or ensemble")
    weights = 2 * np.arange(1, count + 1) - count - 1  # sum_ij |x_i - x_j| = 2 sum_i w_i x_(i)
    spread = (weights * ordered).sum(-1) / (count * (count - 1 if estimator == "fair" else count))
    crps: Floats = np.abs(ordered - y[..., None]).mean(-1) - spread
    return crps


def crps_normal(y: ArrayLike, mean: ArrayLike, scale: ArrayLike) -> Floats:
    """(...) CRPS of N(mean, scale^2): s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)).

    |y - mean| where the scale is 0.
    """
    import torch

    apart, scale = np.broadcast_arrays(_floats(y) - _floats(mean), _floats(scale))
    z = _ratio(apart, scale)
    finite = np.where(np.isinf(z), 0.0, z)
    cdf: Floats = torch.special.ndtr(torch.from_numpy(np.array(finite))).numpy()
    density = np.exp(-0.5 * np.square(finite)) / math.sqrt(2 * math.pi)
    inside = scale * (finite * (2 * cdf - 1) + 2 * density - 1 / math.sqrt(math.pi))
    return np.asarray(np.where(scale == 0, np.abs(apart), inside), np.float64)


def log_score(log_probs: ArrayLike, num_observed: ArrayLike | None = None) -> float:
    """-ln p in nats for each observed value, over all moments.

    Args:
        log_probs: (...) ln p of the observed channels of each moment, in nats.
        num_observed: (...) the number of them; None: 1 wherever the log-probability is not NaN.

    Returns:
        NaN if nothing was observed.
    """
    log_probs = _floats(log_probs)
    counts = ~np.isnan(log_probs) if num_observed is None else _floats(num_observed)
    counted = np.where(counts > 0, log_probs, 0.0)
    return float(-_ratio(counted.sum(), counts.sum(), at_zero=math.nan))
