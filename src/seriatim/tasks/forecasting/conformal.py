"""Bands of a backtest, corrected by its earlier origins and judged on its later ones.

Knows the arrays of a backtest; no model and no files.

Shapes: R forecasts, H moments ahead, D channels, Q quantiles.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError, DataError
from seriatim.metrics.forecast_calibration import (
    ConformalCorrection,
    calibration_table,
    fit_conformal,
)
from seriatim.metrics.forecasting import coverage, weighted_quantile_loss
from seriatim.tasks.forecasting.conformal_figures import ConformalFigures, band_units
from seriatim.tasks.forecasting.scan import Scanned

Floats: TypeAlias = NDArray[np.float64]


def correct_bands(
    scanned: Scanned,
    levels: Sequence[float],
    scales: NDArray[np.float64],
    fraction: float = 0.5,
) -> tuple[ConformalFigures, ConformalCorrection]:
    """The correction of every step ahead from earlier origins, and its figures on later ones.

    Only values before the first origin that is judged are used, as they would be in earnest.

    Args:
        scanned: the forecasts and what came.
        levels: (Q,) rising.
        scales: (S, D) the scale of each series, which counts where a band has no width; see
            `band_units`.
        fraction: of the origins of each series, those that correct.

    Raises:
        ConfigError: if the fraction is not between 0 and 1.
        DataError: if there are too few origins.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"fraction = {fraction:g}: give the part of the origins that correct")
    horizon = scanned.y.shape[1]
    is_judged, is_earlier = _parts(scanned, horizon, fraction)
    if not is_judged.any() or not is_earlier.any():
        raise DataError(
            "there are too few origins to correct bands by the earlier ones: give more origins"
        )
    bands = np.moveaxis(scanned.quantiles, 1, -1)  # (R, H, D, Q)
    unit = band_units(bands[..., 0], bands[..., -1], scales[scanned.series][:, None])
    y, raw, scale = by_channel(scanned.y[is_earlier], bands[is_earlier], unit[is_earlier])
    correction = fit_conformal(y, raw, levels, np.where(scale > 0, scale, 1.0))
    y, raw, scale = by_channel(scanned.y[is_judged], bands[is_judged], unit[is_judged])
    corrected = correction.apply(raw, scale)
    figures = ConformalFigures(
        int(is_earlier.sum()),
        int(is_judged.sum()),
        float(weighted_quantile_loss(y, raw, levels)),
        float(weighted_quantile_loss(y, corrected, levels)),
        tuple(levels),
        tuple(row.actual for row in calibration_table(y, raw, levels)),
        tuple(row.actual for row in calibration_table(y, corrected, levels)),
        _inside(y, raw, levels),
        _inside(y, corrected, levels),
    )
    return figures, correction


def by_channel(y: Floats, bands: Floats, unit: Floats) -> tuple[Floats, Floats, Floats]:
    """Channels as forecasts of their own: (R D, H), (R D, H, Q) and (R D, H).

    Args:
        y: (R, H, D) what came.
        bands: (R, H, D, Q) the quantiles.
        unit: (R, H, D) the units of errors; where one is 0, the value is left out, as NaN.
    """
    horizon = y.shape[1]
    return (
        np.moveaxis(np.where(unit > 0, y, np.nan), 2, 1).reshape(-1, horizon),
        np.moveaxis(bands, 2, 1).reshape(-1, horizon, bands.shape[-1]),
        np.moveaxis(unit, 2, 1).reshape(-1, horizon),
    )


def _parts(
    scanned: Scanned, horizon: int, fraction: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(R,) which forecasts are judged, and which had come true before the first of them."""
    is_judged = np.zeros(len(scanned.first), dtype=bool)
    is_earlier = is_judged.copy()
    for series in np.unique(scanned.series):
        own = np.flatnonzero(scanned.series == series)
        own = own[np.argsort(scanned.first[own], kind="stable")]
        judged = own[int(np.ceil(fraction * len(own))) :]
        if not len(judged):
            continue
        is_judged[judged] = True
        is_earlier[own[scanned.first[own] + horizon <= scanned.first[judged[0]]]] = True
    return is_judged, is_earlier


def _inside(
    y: NDArray[np.float64], bands: NDArray[np.float64], levels: Sequence[float]
) -> float | None:
    if 0.1 not in levels or 0.9 not in levels:
        return None
    low, high = list(levels).index(0.1), list(levels).index(0.9)
    return float(coverage(y, bands[..., low], bands[..., high]))
