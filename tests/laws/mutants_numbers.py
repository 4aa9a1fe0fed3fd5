"""Models of numbers with one fault each, for the laws that the mutants of symbols do not try."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.counts import Poisson
from seriatim.core.densities import Density, MultivariateNormal, Normal
from seriatim.core.model import SequenceModel
from seriatim.core.values import NumberInput, Values
from tests.laws.toys_numbers import ToyAR, ToyRecurrent


class ForgetsTheJacobian(ToyRecurrent):
    """Scores of scaled values, as if they were in the units of the data."""

    def emit(self, features: Any) -> Density:
        return _Unscaled(*_moments(super().emit(features)))


class _Unscaled(Normal):
    def log_prob(self, x: Values) -> Tensor:
        z = Values((x.numbers - self.mean) / self.scale, x.is_observed)
        return Normal(torch.zeros_like(self.mean), torch.ones_like(self.scale)).log_prob(z)


class QuantilesOfAnother(ToyRecurrent):
    def emit(self, features: Any) -> Density:
        return _Narrow(*_moments(super().emit(features)))


class _Narrow(Normal):
    def quantile(self, u: Tensor) -> Tensor:
        return Normal(self.mean, self.scale * 0.9).quantile(u)


class MarginalOfOthers(ToyAR):
    """A gap is scored as if its channel were conditioned upon at its mean."""

    def emit(self, features: Any) -> Density:
        return _Conditioned(*features)


class _Conditioned(MultivariateNormal):
    def log_prob(self, x: Values) -> Tensor:
        filled = torch.where(x.is_observed, x.numbers, self.mean)
        return super().log_prob(Values(filled, torch.ones_like(x.is_observed)))


class CountsAreOneTooMany(ToyRecurrent):
    def __init__(self) -> None:
        super().__init__("counts", num_channels=1)

    def emit(self, features: Any) -> Density:
        return _OneTooMany(super().emit(features).mean)


class _OneTooMany(Poisson):
    def quantile(self, u: Tensor) -> Tensor:
        return super().quantile(u) + 1


class FillsGapsWithTheMean(ToyAR):
    """A gap counts as an observation of what was expected: the bands do not widen."""

    def seen(self, carry: Any, x: NumberInput) -> Any:
        mean, covariance = carry
        filled = torch.where(x.values.is_observed, x.values.numbers, mean)
        return filled, torch.zeros_like(covariance)


class ScalesByTheWholeChunk(ToyRecurrent):
    """The future is in the scale of what came before."""

    def scaled(self, numbers: Tensor) -> Tensor:
        return numbers / (1 + numbers.abs().mean(1, keepdim=True))


class RemembersInAWeight(ToyRecurrent):
    """An update moves the model itself."""

    def advance(self, carry: Any, x: Any, lengths: Any, *, keep: bool = True) -> Any:
        self.head.bias.data = self.head.bias.data + 0.1
        return super().advance(carry, x, lengths, keep=keep)


class FitsAtRandom(ToyAR):
    def fit_series(self, data: Any) -> Any:
        with torch.no_grad():
            self.c.add_(torch.rand(()))
        return {}


class BandsDoNotWiden(ToyAR):
    def ahead(self, state: Any, horizon: int, known: Any = None) -> Density:
        right = super().ahead(state, horizon, known)
        assert isinstance(right, MultivariateNormal)
        return MultivariateNormal(right.mean, right.covariance[:, :1])


class AheadIsOneLate(ToyAR):
    def ahead(self, state: Any, horizon: int, known: Any = None) -> Density:
        right = super().ahead(state, horizon, known)
        assert isinstance(right, MultivariateNormal)
        return MultivariateNormal(right.mean.roll(1, 1), right.covariance)


class PaddingIsSeen(ToyRecurrent):
    def advance(self, carry: Any, x: Any, lengths: Any, *, keep: bool = True) -> Any:
        return super().advance(carry, x, None, keep=keep)


class GapsAreZeros(ToyRecurrent):
    """Lawful: a network may read a gap as it likes. But its reach is not one."""

    @property
    def reach(self) -> int | None:
        return 1


class KnownInputsAreForgotten(ToyAR):
    """In a chunk, the known inputs of the first moment stand for all."""

    def advance(self, carry: Any, x: Any, lengths: Any, *, keep: bool = True) -> Any:
        known = x.known[:, :1].expand_as(x.known)
        return super().advance(carry, dataclasses.replace(x, known=known), lengths, keep=keep)


class StepsStopTheGradient(ToyRecurrent):
    def advance(self, carry: Any, x: Any, lengths: Any, *, keep: bool = True) -> Any:
        features, new = super().advance(tree.detach(carry), x, lengths, keep=keep)
        return features, new


def _moments(density: Density) -> tuple[Tensor, Tensor]:
    return density.mean, density.variance.sqrt()


NumberFault = tuple[int, Callable[[], SequenceModel]]

NUMBER_MUTANTS: list[NumberFault] = [
    (1, KnownInputsAreForgotten),
    (5, PaddingIsSeen),
    (9, ForgetsTheJacobian),
    (9, QuantilesOfAnother),
    (9, MarginalOfOthers),
    (9, CountsAreOneTooMany),
    (13, StepsStopTheGradient),
    (14, GapsAreZeros),
    (17, FillsGapsWithTheMean),
    (18, ScalesByTheWholeChunk),
    (19, RemembersInAWeight),
    (19, FitsAtRandom),
    (20, BandsDoNotWiden),
    (20, AheadIsOneLate),
]
