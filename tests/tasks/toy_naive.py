"""A model of numbers that is simple enough to be checked by hand."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from seriatim.core.densities import Normal
from seriatim.core.elements import Numbers
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, NumberSequences


class ToyNaive(SequenceModel):
    """The next value is N(the last observed one, (sigma^2) times the moments since)."""

    def __init__(self, num_channels: int = 1, num_known: int = 0) -> None:
        super().__init__(Numbers(num_channels, num_known))
        self.register_buffer("sigma", torch.ones(num_channels, dtype=torch.float64))

    def fit_series(self, data: NumberSequences) -> dict[str, object]:
        steps = np.diff(data.numbers, axis=0)
        self.get_buffer("sigma").copy_(torch.as_tensor(np.nanstd(steps, axis=0) + 1e-3))
        return {"sigma": self.get_buffer("sigma").tolist()}

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Tree:
        assert isinstance(self.element, Numbers)
        last = torch.zeros(batch_size, self.element.num_channels, dtype=torch.float64)
        return last, torch.zeros_like(last)

    def advance(
        self, carry: Any, x: NumberInput, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tree, Tree]:
        last, age = carry
        lasts, ages = [], []
        for t in range(x.values.numbers.shape[1]):
            value, seen = x.values.numbers[:, t], x.values.is_observed[:, t]
            is_valid = torch.ones_like(seen) if lengths is None else (t < lengths)[:, None]
            last = torch.where(seen & is_valid, value, last)
            age = torch.where(is_valid, torch.where(seen, torch.zeros_like(age), age + 1), age)
            lasts.append(last)
            ages.append(age)
        return (torch.stack(lasts, 1), torch.stack(ages, 1)), (last, age)

    def emit(self, features: Any) -> Normal:
        last, age = features
        return Normal(last, self.get_buffer("sigma") * (age + 1).sqrt())

    def ahead(self, state: State, horizon: int, known: Tensor | None = None) -> Normal:
        last, age = state.features
        steps = torch.arange(1, horizon + 1, dtype=torch.float64)[None, :, None]
        scale = self.get_buffer("sigma") * (age[:, None] + steps).sqrt()
        return Normal(last[:, None].expand_as(scale), scale)
