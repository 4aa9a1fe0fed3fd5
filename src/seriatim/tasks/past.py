"""The end of what was observed of series, as pictures show it. Knows arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Past:
    """The end of what was observed of each series, for pictures.

    Attributes:
        times: of each series (T_i,).
        numbers: of each series (T_i, D), NaN where missing.
    """

    times: Sequence[NDArray[Any]]
    numbers: Sequence[NDArray[np.float64]]
