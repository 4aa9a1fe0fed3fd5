"""How the quantiles of a forecaster are moved, by its own past errors: a record, and its use.

Knows arrays; no model. `correction` measures it.

Shapes: S series, H moments ahead, D channels, Q quantiles, N errors of a step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import DataError
from seriatim.metrics.forecast_calibration import ConformalCorrection
from seriatim.metrics.forecasting import seasonal_scale
from seriatim.report.terminal import count_noun
from seriatim.tasks.forecasting.conformal_figures import ConformalFigures, band_units
from seriatim.tasks.forecasting.memory import KEPT

Floats: TypeAlias = NDArray[np.float64]
EDGES = (0.1, 0.9)  # of the band whose width is the unit of shifts
_BEYOND = (
    "the model was fitted to the values that its bands are corrected by, so they may still be too "
    "narrow"
)


@dataclass(frozen=True)
class BandCorrection:
    """How the quantiles of a forecaster are moved.

    Attributes:
        shifts: of each step ahead and each of its levels, in units of the width of its 80 % band;
            see `band_units`.
        num_forecasts: the past forecasts that it was made from.
        is_held_out: whether their model was not fitted to the values that came.
        figures: what a correction by the earlier half of them does to the later; None: they are
            too few.
    """

    shifts: ConformalCorrection
    num_forecasts: int
    is_held_out: bool
    figures: ConformalFigures | None = None

    @property
    def horizon(self) -> int:
        """The steps ahead that are corrected."""
        return len(self.shifts.numbers)

    def text(self) -> str:
        """What it is made from, and what it does, as a sentence."""
        made = f"bands are corrected by {count_noun(self.num_forecasts, 'past forecast')}"
        found = self.figures
        if found is not None and found.raw_80 is not None and found.corrected_80 is not None:
            made += (
                f"; so corrected, the 80 % band held {100 * found.corrected_80:.0f} % of the later "
                f"values of them, and {100 * found.raw_80:.0f} % as it was"
            )
        return made if self.is_held_out else f"{made}; {_BEYOND}"

    def check(self, levels: Sequence[float]) -> None:
        """Refuse quantiles that too few errors correct.

        Raises:
            DataError: if the levels are so far out that one error in N + 1 is more than their tail.
        """
        least = min(self.shifts.numbers)
        step = self.shifts.numbers.index(least) + 1
        for level in levels:
            needed = math.ceil(1 / min(level, 1 - level) - 1 - 1e-9)
            if least < needed:
                raise DataError(
                    f"the history gives {count_noun(least, 'past error')} "
                    f"{count_noun(step, 'moment')} ahead, and the quantile "
                    f"{level:g} is corrected by at least {needed}: give more history, a smaller "
                    "horizon, or quantiles nearer to the middle"
                )

    def apply(
        self,
        quantiles: Floats,
        computed: Sequence[float],
        levels: Sequence[float],
        past: Sequence[NDArray[np.float64]],
    ) -> Floats:
        """(S, Q, H, D) quantiles corrected; levels between those that are kept are moved alike.

        Where neither the past of a series nor its forecast is below 0, no quantile becomes so.

        Args:
            quantiles: (S, P, H, D)
            computed: (P,) their levels, rising, `EDGES` among them.
            levels: (Q,) those that are corrected, rising.
            past: (S,) of (T, D), the ends of the series.
        """
        self.check(levels)
        whole = np.moveaxis(quantiles, 1, -1)  # (S, H, D, P)
        bands = whole[..., [list(computed).index(q) for q in levels]]
        low, high = (whole[..., list(computed).index(q)] for q in EDGES)
        unit = band_units(low, high, step_scales(past)[:, None])
        known = np.array(self.shifts.shifts)[: bands.shape[1]]
        shifts = [np.interp(levels, self.shifts.levels, row) for row in known]
        wanted = replace(
            self.shifts,
            levels=tuple(levels),
            shifts=tuple(tuple(row.tolist()) for row in shifts),
        )
        moved = np.stack(
            [wanted.apply(bands[:, :, d], unit[:, :, d]) for d in range(bands.shape[2])], 2
        )
        least = np.stack(
            [np.nanmin(np.append(p, np.full((1, p.shape[1]), np.inf), 0), 0) for p in past]
        )
        is_above = (bands >= 0).all((1, 3)) & (least >= 0)  # (S, D)
        moved = np.where(is_above[:, None, :, None], np.maximum(moved, 0.0), moved)
        return np.ascontiguousarray(np.moveaxis(moved, -1, 1))


def step_scales(past: Sequence[NDArray[np.float64]]) -> Floats:
    """(S, D) the mean absolute step of the ends of series; of others where there is none.

    0 where a series does not change: its quantiles are not moved.
    """
    scales = np.array([[seasonal_scale(channel) for channel in p[-KEPT:].T] for p in past])
    usual = np.nanmedian(scales) if np.isfinite(scales).any() else 1.0
    return np.where(np.isnan(scales), usual, scales)
