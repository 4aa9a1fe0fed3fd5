"""Test cases of the laws for models of numbers: series with gaps, drawn from the model itself.

Knows models, states and densities; no law.

Shapes: B rows, L moments of a chunk, D channels, K known inputs, G points of a grid, C values that
describe a density.
"""

import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.densities import as_density, observed
from seriatim.core.distributions import Distribution, uniforms
from seriatim.core.elements import Numbers
from seriatim.core.forecasting import FitsSeries
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, Values
from seriatim.errors import ConfigError, DataError
from seriatim.laws.cases import Case, along, usual_length

FITTED = 120  # moments of a series to fit to
_MISSING = 0.25  # the fraction of values that are taken out of a drawn series


class NumberCase(Case):
    """Series of numbers with gaps; a density is described by its moments and values on a grid.

    Attributes:
        element: the element of the model.
        grid: (G, D) points among and around the values of the series.
    """

    x: NumberInput

    def __init__(
        self,
        model: SequenceModel,
        example: NumberInput | Tensor | None,
        memory: Tree | None,
        seconds: float,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """See `check_model` for the arguments.

        Raises:
            ConfigError: if the example lacks the known inputs that the model takes.
        """
        super().__init__(model, memory, seconds, dtype)
        assert isinstance(model.element, Numbers)
        self.element, self.dtype = model.element, dtype
        if isinstance(example, Tensor):
            example = NumberInput(Values.of(example), None)
        if example is None:
            self._known = self.known_inputs(1, 1, 4)
            self.x = self.with_gaps(self.drawn(3, usual_length(model), 0))
        else:
            if self.element.num_known and example.known is None:
                raise ConfigError(
                    f"the model takes {self.element.num_known} inputs that are known ahead, and "
                    "the example has none: give NumberInput(values, known)"
                )
            x = tree.map_leaves(lambda t: t[:3], tree.to(example, dtype))
            self.x = tree.to(x, self.device_of_model)
            self._known = None if self.x.known is None else self.x.known[:1, :1]
        self.grid = self._grid()

    @property
    def device_of_model(self) -> torch.device:
        """The device of the weights."""
        return self.model.device

    # ---- the interface of a case ----------------------------------------------------------------

    def first(self, batch_size: int) -> NumberInput:
        shape = (batch_size, 1, self.element.num_channels)
        values = Values.missing(shape, self.device_of_model, self.dtype)
        known = None if self._known is None else self._known.expand(batch_size, 1, -1)
        return NumberInput(values, known)

    def targets(self, x: NumberInput) -> Values:
        return x.values

    def other(self, x: NumberInput) -> NumberInput:
        """Every value is moved, a gap becomes one that is observed; other known inputs."""
        moved = self._moved(x.values.numbers, self.width)
        return NumberInput(observed(moved), None if x.known is None else x.known + 1)

    def extreme(self, x: NumberInput) -> NumberInput:
        """A million times what is usual."""
        moved = self._moved(x.values.numbers, 1e6 * self.width)
        return NumberInput(observed(moved), x.known)

    def describe(self, distribution: Distribution) -> Tensor:
        density = as_density(distribution)
        mean = density.mean
        parts = [mean, density.variance]
        every = torch.ones_like(mean, dtype=torch.bool)
        channels = torch.eye(mean.shape[-1], dtype=torch.bool, device=mean.device)
        for point in self.grid:
            x = point.expand_as(mean)
            parts.append(density.log_prob(Values(x, every))[..., None])
            if mean.shape[-1] > 1:
                for alone in channels:
                    gaps = Values(torch.where(alone, x, 0.0), alone.expand_as(every))
                    parts.append(density.log_prob(gaps)[..., None])
        return torch.cat([part.expand(*mean.shape[:-1], -1) for part in parts], -1)

    def continuation(self) -> NumberInput:
        values = observed(self.grid[1:3][None])
        return NumberInput(values, self.known_inputs(1, 2, 5))

    def long_ago(self, batch_size: int, length: int, seen: int) -> list[Tree]:
        """Full series, and series that are missing after the moments that may matter."""
        full = self.drawn(batch_size, length, 2)
        is_early = torch.arange(length, device=self.device_of_model) < seen
        return [full, without(full, is_early[:, None].expand_as(full.values.is_observed))]

    # ---- series ---------------------------------------------------------------------------------

    def drawn(
        self, batch_size: int, length: int, seed: int, state: State | None = None
    ) -> NumberInput:
        """(B, L, ...) series drawn from the model, of which no value is missing."""
        known, parts = self.known_inputs(batch_size, length, seed), []
        state = self.start(batch_size) if state is None else state
        rows = np.arange(batch_size)
        with torch.no_grad():
            for t in range(length):
                values = self.sampled(state, uniforms(seed, rows, t))
                x = NumberInput(values, None if known is None else known[:, t])
                state = self.model.step(state, x)
                parts.append(tree.map_leaves(lambda leaf: leaf[:, None], x))
        series: NumberInput = along(parts)
        return series

    def sampled(self, state: State, u: Tensor) -> Values:
        """(B, D) the values of the next moment at uniforms u (B,)."""
        values = as_density(self.model.predict(state)).sample(u.to(self.device_of_model))
        return Values(values.numbers.to(self.dtype), values.is_observed)

    def of_model(self, model: SequenceModel, memory: Tree | None) -> "NumberCase":
        """The same case of another model with the same element."""
        return NumberCase(model, self.x, memory, self.seconds, self.dtype)

    @cached_property
    def fitted(self) -> "tuple[NumberCase, NumberCase] | None":
        """The cases of two copies fitted to the same series, drawn from the model.

        None: it cannot be fitted to them.
        """
        try:
            return self._fitted(), self._fitted()
        except DataError:
            return None

    def _fitted(self) -> "NumberCase":
        with torch.inference_mode(False), torch.enable_grad():
            model = copy.deepcopy(self.model)
            assert isinstance(model, FitsSeries)
            # Drawn from later states: at the start, a diffuse model may draw anything.
            rows = torch.arange(max(1, model.num_series), device=self.device) % 3
            state = tree.select(self.folded[-1], rows)
            x = self.with_gaps(self.drawn(len(rows), FITTED, 8, state))
            known = None if self.x.known is None else self.x.known[rows, -1:]
            model.fit_series(Drawn.of(x, known))
            memory = model.of_series(torch.zeros(1, dtype=torch.int64))
        return self.of_model(model, memory)

    def with_gaps(self, x: NumberInput) -> NumberInput:
        """Without some values; the first row begins with some, the second with a gap."""
        generator = torch.Generator().manual_seed(6)
        kept = torch.rand(x.values.numbers.shape, generator=generator) >= _MISSING
        kept[0, :2] = True
        kept[1:2, 0] = False
        return without(x, kept.to(x.values.is_observed.device))

    def known_inputs(self, batch_size: int, length: int, seed: int) -> Tensor | None:
        """(B, L, K) some known inputs; None: the model takes none."""
        if not self.element.num_known:
            return None
        generator = torch.Generator().manual_seed(seed)
        shape = (batch_size, length, self.element.num_known)
        known = torch.randn(shape, generator=generator, dtype=torch.float64)
        return known.to(self.device_of_model, self.dtype)

    def _moved(self, numbers: Tensor, by: Tensor) -> Tensor:
        """Other numbers that are possible."""
        if self.element.support == "count":
            by = by.ceil()
        return numbers + by

    @property
    def width(self) -> Tensor:
        """(D,) how much the values of the series differ, about."""
        values = self.x.values
        n = values.is_observed.sum((0, 1)).clamp_min(1)
        mean = values.numbers.sum((0, 1)) / n
        spread = torch.where(values.is_observed, (values.numbers - mean).square(), 0.0)
        width = (spread.sum((0, 1)) / n).sqrt()
        return torch.where(width > 0, width, 1.0)

    def _grid(self) -> Tensor:
        """Five points: the least and the greatest value, those in between, and one beyond."""
        values = self.x.values
        low = torch.where(values.is_observed, values.numbers, torch.inf).amin((0, 1))
        high = torch.where(values.is_observed, values.numbers, -torch.inf).amax((0, 1))
        low, high = (torch.where(t.isfinite(), t, 1.0) for t in (low, high))
        steps = torch.tensor([0.0, 0.4, 0.7, 1.0, 1.3], dtype=self.dtype, device=low.device)
        grid = low + steps[:, None] * (high - low)
        return grid.round() if self.element.support == "count" else grid


@dataclass(frozen=True)
class Drawn:
    """Series that were drawn from a model, as `NumberSequences`."""

    numbers: NDArray[np.float64]
    known: NDArray[np.float64] | None
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, x: NumberInput, first: Tensor | None) -> "Drawn":
        """Series (S, L, ...) end to end, from inputs and the first known ones (S, 1, K)."""
        numbers = x.values.with_nan().double().cpu()
        known = None
        if x.known is not None and first is not None:
            shifted = torch.cat([first, x.known[:, :-1]], 1)  # of the same moment, not the next
            known = shifted.flatten(0, 1).double().cpu().numpy()
        offsets = np.arange(len(numbers) + 1) * numbers.shape[1]
        return cls(numbers.flatten(0, 1).numpy(), known, offsets)


def without(x: NumberInput, kept: Tensor) -> NumberInput:
    """Series of which only some values (B, L, D) remain observed."""
    is_observed = x.values.is_observed & kept
    return NumberInput(
        Values(torch.where(is_observed, x.values.numbers, 0.0), is_observed), x.known
    )
