"""Numbers with gaps: a value and whether it was observed, side by side.

NaN is turned into a gap here, at the border; behind it no NaN enters a graph, where even the
gradient of a masked NaN is NaN.

Shapes: (..., D) for D channels; N moments of S series stored end to end, K known inputs.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree


@tree.register
@dataclass(frozen=True)
class Values:
    """D numbers of each moment.

    Attributes:
        numbers: (..., D) finite; 0 where nothing was observed.
        is_observed: (..., D) bool.
    """

    numbers: Tensor
    is_observed: Tensor

    @classmethod
    def of(cls, numbers: Tensor) -> "Values":
        """The values of numbers (..., D), of which NaN are missing."""
        is_observed = ~torch.isnan(numbers)
        return cls(torch.where(is_observed, numbers, 0.0), is_observed)

    @classmethod
    def missing(cls, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> "Values":
        """Values of a shape (..., D), none of which was observed."""
        numbers = torch.zeros(shape, device=device, dtype=dtype)
        return cls(numbers, torch.zeros(shape, device=device, dtype=torch.bool))

    def with_nan(self) -> Tensor:
        """(..., D) the numbers, NaN where nothing was observed: for people and files only."""
        return torch.where(self.is_observed, self.numbers, torch.nan)


@tree.register
@dataclass(frozen=True)
class NumberInput:
    """What a model of numbers folds: the values of a moment, and what is known of the next.

    Attributes:
        values: (..., D) the values of this moment.
        known: (..., K) the known inputs of the moment after it, finite; None: there are none.
    """

    values: Values
    known: Tensor | None = None


class NumberSequences(Protocol):
    """S series stored end to end, in memory or mapped from a file."""

    @property
    def numbers(self) -> NDArray[np.float64]:
        """(N, D) the values of all series, NaN where missing."""

    @property
    def known(self) -> NDArray[np.float64] | None:
        """(N, K) the known inputs of the same moments; None: there are none."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(S + 1,) series i is numbers[offsets[i] : offsets[i + 1]]."""
