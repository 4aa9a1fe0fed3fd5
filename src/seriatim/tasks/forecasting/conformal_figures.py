"""What a correction of bands did to forecasts that it was not made from, and its units.

Knows plain values and arrays.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from seriatim.core.records import Json
from seriatim.report.terminal import count_noun, text_table


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


def band_units(
    low: NDArray[np.float64], high: NDArray[np.float64], scales: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The units of errors: the width of the band in which the value was expected.

    So the errors of series of any scale, and of quiet and busy hours, are pooled. Where a band has
    hardly a width, as that of rare counts, the unit is a tenth of the scale.

    Args:
        low, high: (...) the edges of the band.
        scales: what broadcasts to it: the scale of each series, NaN where there is none.

    Returns:
        (...) 0 where neither has a width.
    """
    return np.maximum(high - low, np.nan_to_num(scales) / 10)
