"""Where forecasts of a backtest begin.

Knows lengths of series; no model.

Shapes: S series, O origins.
"""

from dataclasses import dataclass

import numpy as np

from seriatim.core.values import NumberSequences
from seriatim.errors import ConfigError, DataError
from seriatim.tasks.forecasting.states import Ints


@dataclass(frozen=True)
class Cutoffs:
    """The origins of a backtest.

    Attributes:
        first: (O, S) the place in the data of the first predicted moment; -1: the series is too
            short for this origin.
        horizon: the number of moments that are predicted from each.
        step: the number of moments between two origins.
    """

    first: Ints
    horizon: int
    step: int

    @property
    def num_origins(self) -> int:
        """O."""
        return len(self.first)

    def earliest(self) -> Ints:
        """(S,) the first origin of each series; -1: it has none."""
        found = np.where(self.first >= 0, self.first, np.iinfo(np.int64).max).min(0)
        earliest: Ints = np.where((self.first >= 0).any(0), found, -1)
        return earliest


def place_cutoffs(
    data: NumberSequences, horizon: int, origins: int, step: int | None, least: int = 1
) -> Cutoffs:
    """Origins counted back from the end of each series, the last one a horizon before it.

    Args:
        data: the series.
        horizon: the number of moments that are predicted from each origin.
        origins: O.
        step: the moments between two origins; None: the horizon.
        least: the moments that must come before an origin.

    Raises:
        ConfigError: if a number is below 1.
        DataError: if no series is long enough.
    """
    step = horizon if step is None else step
    for name, value in {"horizon": horizon, "origins": origins, "step": step}.items():
        if value < 1:
            raise ConfigError(f"{name} = {value}: give 1 or more")
    offsets = np.asarray(data.offsets)
    back = horizon + step * np.arange(origins - 1, -1, -1)
    first = offsets[None, 1:] - back[:, None]
    first = np.where(first - offsets[None, :-1] >= least, first, -1)
    if not (first >= 0).any():
        longest = int(np.diff(offsets).max(initial=0))
        raise DataError(
            f"the longest series has {longest:,} moments, too few to predict {horizon:,} of them "
            f"from what comes before: give a smaller horizon, at most {max(1, longest - least):,}"
        )
    keep = (first >= 0).any(1)
    return Cutoffs(first[keep], horizon, step)
