"""Whether quantiles keep what they promise, and their correction if they do not.

The table sets the level of each quantile beside the fraction of values that were below it. The
correction is split conformal prediction (Vovk et al. 2005; of quantiles Romano et al. 2019), apart
for each step ahead: a quantile is moved by the quantile of its own errors on data that the model
was not fitted to.

Knows arrays of values and quantiles; no models. Shapes: R forecasts, H steps, Q levels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seriatim.errors import ConfigError, DataError
from seriatim.metrics.forecasting import check_levels

Floats: TypeAlias = NDArray[np.float64]
_Z = 1.959963984540054  # the 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class QuantileCoverage:
    """What a quantile promises, and what it kept.

    Attributes:
        level: the fraction of values that should be at or below it.
        actual: the fraction that was.
        low, high: the 95 % interval of the actual fraction (Wilson), as if values were independent,
            which those of neighbouring moments are not.
        number: the number of values that were observed.
    """

    level: float
    actual: float
    low: float
    high: float
    number: int


def calibration_table(
    y: ArrayLike, quantiles: ArrayLike, levels: Sequence[float]
) -> tuple[QuantileCoverage, ...]:
    """A row for each level.

    Args:
        y: (...) the values; NaN is left out.
        quantiles: (..., Q)
        levels: (Q,)

    Raises:
        DataError: if no value was observed.
    """
    checked = check_levels(levels)
    values, found = np.asarray(y, np.float64), np.asarray(quantiles, np.float64)
    is_there = ~np.isnan(values)
    number = int(is_there.sum())
    if not number:
        raise DataError("no value was observed, so quantiles cannot be compared with any")
    below = (values[..., None] <= found)[is_there].mean(0)
    rows = []
    for level, actual in zip(checked.tolist(), below.tolist(), strict=True):
        low, high = _wilson(actual, number)
        rows.append(QuantileCoverage(level, actual, low, high, number))
    return tuple(rows)


def _wilson(fraction: float, number: int) -> tuple[float, float]:
    middle = fraction + _Z**2 / (2 * number)
    half = _Z * math.sqrt(fraction * (1 - fraction) / number + _Z**2 / (4 * number**2))
    whole = 1 + _Z**2 / number
    return max((middle - half) / whole, 0.0), min((middle + half) / whole, 1.0)


@dataclass(frozen=True)
class ConformalCorrection:
    """By how much each quantile of each step ahead is moved.

    Attributes:
        levels: (Q,)
        shifts: (H, Q) what is added, in units of the scale of a series.
        numbers: (H,) the values that each step was corrected by. A level a of N values is exact
            only if 1 / (N + 1) <= a <= N / (N + 1); beyond, the most extreme error is taken.
    """

    levels: tuple[float, ...]
    shifts: tuple[tuple[float, ...], ...]
    numbers: tuple[int, ...]

    def apply(self, quantiles: ArrayLike, scale: ArrayLike = 1.0) -> Floats:
        """(R, H, Q) the quantiles corrected, and sorted where a correction made them cross.

        Args:
            quantiles: (R, H, Q)
            scale: (R,) the scale of each forecast, or (R, H) of each of its steps, or 1.

        Raises:
            ConfigError: if there are other levels, or more steps, than were corrected.
        """
        raw = np.asarray(quantiles, np.float64)
        shifts = np.array(self.shifts)
        if raw.ndim != 3 or raw.shape[2] != len(self.levels) or raw.shape[1] > len(shifts):
            raise ConfigError(
                f"quantiles of shape {raw.shape} do not suit a correction of {len(shifts)} steps "
                f"and {len(self.levels)} levels: correct by a backtest of the same horizon"
            )
        moved = raw + shifts[: raw.shape[1]] * _units(scale, raw.shape[:2])[..., None]
        return np.sort(moved, axis=-1)


def _units(scale: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """(R, H) scales."""
    unit = np.asarray(scale, np.float64)
    return np.broadcast_to(unit[:, None] if unit.ndim == 1 else unit, shape)


def fit_conformal(
    y: ArrayLike, quantiles: ArrayLike, levels: Sequence[float], scale: ArrayLike = 1.0
) -> ConformalCorrection:
    """The correction by which each quantile has the right fraction of past values below it.

    With errors e_i = (y_i - q_i) / scale of N values, a quantile of level a is moved by the
    ceil(a (N + 1))-th smallest error, so that a new value that is exchangeable with these is below
    it with probability of at least a, and at most a + 1 / (N + 1).

    Args:
        y: (R, H) values of a backtest that the model was not fitted to; NaN is left out.
        quantiles: (R, H, Q) what was forecast.
        levels: (Q,)
        scale: (R,) the scale of each forecast, or (R, H) of each of its steps, or 1.

    Raises:
        DataError: if a step has no value.
    """
    checked = check_levels(levels)
    values, found = np.asarray(y, np.float64), np.asarray(quantiles, np.float64)
    unit = _units(scale, values.shape)
    if (unit <= 0).any() or not np.isfinite(unit).all():
        raise DataError("a scale of a conformal correction is not positive: leave the series out")
    errors = (values[..., None] - found) / unit[..., None]
    shifts, numbers = [], []
    for step in range(values.shape[1]):
        here = np.sort(errors[:, step][~np.isnan(values[:, step])], axis=0)
        if not len(here):
            raise DataError(f"no value was observed {step + 1} steps ahead: backtest more origins")
        rank = np.ceil(checked * (len(here) + 1) - 1e-9).astype(np.int64)
        chosen = here[np.clip(rank, 1, len(here)) - 1, np.arange(len(checked))]
        shifts.append(tuple(chosen.tolist()))
        numbers.append(len(here))
    return ConformalCorrection(tuple(checked.tolist()), tuple(shifts), tuple(numbers))
