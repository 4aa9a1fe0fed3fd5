"""Series as arrays, for references of models of numbers."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.model import SequenceModel
from seriatim.core.values import NumberInput, Values


class Series:
    """Series stored end to end, from arrays (T,) or (T, D), NaN where missing."""

    known = None

    def __init__(self, *series: NDArray[np.float64]) -> None:
        self.numbers = np.concatenate([s.reshape(len(s), -1) for s in series])
        self.offsets = np.cumsum([0, *map(len, series)])


def as_input(x: NDArray[np.float64]) -> NumberInput:
    """(1, T, D) a series (T,) or (T, D) as inputs."""
    return NumberInput(Values.of(torch.from_numpy(x.reshape(1, len(x), -1))))


def log_likelihoods(model: SequenceModel, x: NDArray[np.float64]) -> Tensor:
    """(T,) ln p of every moment of a series given those before it."""
    inputs = as_input(x)
    first = model.first(1)
    shifted = tree.map_leaves(lambda a, b: torch.cat([a.to(b.dtype), b[:, :-1]], 1), first, inputs)
    features, _ = model.advance(model.empty(1), shifted, None)
    return model.emit(features).log_prob(inputs.values)[0]
