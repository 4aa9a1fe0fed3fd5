"""Bands of a backtest, corrected by its earlier origins and judged on its later ones.

Knows the arrays of a backtest; no model and no files.

Shapes: R forecasts, H moments ahead, D channels, Q quantiles.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from seriatim.core.records import Json
from seriatim.errors import ConfigError, DataError
from seriatim.metrics.forecast_calibration import (
    ConformalCorrection,
    calibration_table,
    fit_conformal,
)
from seriatim.metrics.forecasting import coverage, weighted_quantile_loss
from seriatim.report.terminal import count_noun, text_table
from seriatim.tasks.forecasting.scan import Scanned


@dataclass(frozen=True)
class ConformalFigures:
    """What a correction did to forecasts that it was not made from.

    Attributes:
        num_calibration: the forecasts that it was made from.
        num_judged: the later forecasts, of which all figures are.
        raw_wql, corrected_wql: the weighted quantile loss over all levels.
        levels: the quantiles, rising.
        raw, corrected: of each quantile, the fraction of values at or below it.
        raw_80, corrected_80: the fraction of values in the 80 % interval; None: it has no bounds.
    """

    num_calibration: int
    num_judged: int
    raw_wql: float
    corrected_wql: float
    levels: tuple[float, ...]
    raw: tuple[float, ...]
    corrected: tuple[float, ...]
    raw_80: float | None
    corrected_80: float | None

    def to_json(self) -> Json:
        """A dict of JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [["quantile", "raw", "corrected"]]
        rows += [
            [f"{q:g}", f"{100 * a:.1f} %", f"{100 * b:.1f} %"]
            for q, a, b in zip(self.levels, self.raw, self.corrected, strict=True)
        ]
        rows.append(["wQL", f"{self.raw_wql:.4f}", f"{self.corrected_wql:.4f}"])
        made = count_noun(self.num_calibration, "earlier forecast")
        judged = count_noun(self.num_judged, "later one")
        return f"{text_table(rows)}\nvalues at or below; corrected by {made}, judged on {judged}"


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
        scales: (S, D) the scale of each series, in which errors of series are pooled.
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
    unit = np.nan_to_num(scales[scanned.series], nan=1.0)
    unit = np.where(unit > 0, unit, 1.0)

    def rows(which: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
        """(R D, H), (R D, H, Q) and (R D,): channels as forecasts of their own."""
        y, q = scanned.y[which], bands[which]
        return (
            np.moveaxis(y, 2, 1).reshape(-1, horizon),
            np.moveaxis(q, 2, 1).reshape(-1, horizon, len(levels)),
            unit[which].reshape(-1),
        )

    y, raw, scale = rows(is_earlier)
    correction = fit_conformal(y, raw, levels, scale)
    y, raw, scale = rows(is_judged)
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
