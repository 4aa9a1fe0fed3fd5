"""What the states of hidden Markov models emit: symbols, counts or real numbers.

Each kind says the likelihood of data in every state, counts what the states are expected to have
emitted, and takes the parameters that explain it best.

Shapes: N models, T moments (first), R rows, K states, V symbols, D channels.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.core.counts import Poisson
from seriatim.core.densities import Density, Normal
from seriatim.core.tree import Tree
from seriatim.core.values import Values

Parameters = Mapping[str, Tensor]  # each (N, K, ...)
_LEAST_RATE = 1e-6


class Emission(ABC):
    """A kind of distribution of the states."""

    @abstractmethod
    def log_likelihood(self, parameters: Parameters, x: Tree) -> Tensor:
        """(T, N, R, K) ln p(x_t | z_t) of the observed channels, x (T, R, ...)."""

    @abstractmethod
    def count(self, x: Tree, weights: Tensor) -> tuple[Tensor, ...]:
        """The sums that `fit` reads, each (N, K, ...), of states with weights (T, N, R, K)."""

    @abstractmethod
    def fit(self, parameters: Parameters, sums: Sequence[Tensor]) -> Parameters:
        """The parameters that explain the sums best; those before, for a state without any."""


@dataclass(frozen=True)
class CategoricalEmission(Emission):
    """Each state has a probability of every symbol.

    Attributes:
        background: (V,) the probabilities of the symbols in all states.
        prior: the imaginary observations of each state, distributed as the background.
    """

    background: Tensor
    prior: float

    def log_likelihood(self, parameters: Parameters, x: Tree) -> Tensor:
        return self.likelihood(parameters, x).log()

    def likelihood(self, parameters: Parameters, x: Tensor) -> Tensor:
        """(T, N, R, K) p(x_t | z_t), by rows of a table."""
        table = parameters["symbols"].permute(2, 0, 1)  # (V, N, K)
        N, K = table.shape[1:]
        if N == 1:
            return table.reshape(-1, K).index_select(0, x.reshape(-1)).view(*x.shape, K)[:, None]
        found = table.reshape(-1, N * K).index_select(0, x.reshape(-1))
        return found.view(*x.shape, N, K).transpose(1, 2).contiguous()

    def count(self, x: Tree, weights: Tensor) -> tuple[Tensor, ...]:
        T, N, R, K = weights.shape
        V = len(self.background)
        rows = weights.transpose(1, 2).reshape(T * R, N * K)
        summed = torch.zeros(V, N * K, dtype=weights.dtype)
        summed.index_add_(0, x.reshape(-1), rows)
        return (summed.double().view(V, N, K).permute(1, 2, 0),)

    def fit(self, parameters: Parameters, sums: Sequence[Tensor]) -> Parameters:
        counts = sums[0] + self.prior * self.background
        return {"symbols": counts / counts.sum(-1, keepdim=True)}


@dataclass(frozen=True)
class PoissonEmission(Emission):
    """Counts, independent given the state, each with the rate of the state."""

    def log_likelihood(self, parameters: Parameters, x: Tree) -> Tensor:
        rate = parameters["rate"][:, None]  # (N, 1, K, D)
        k = x.numbers[:, None, :, None]  # (T, 1, R, 1, D)
        each = torch.xlogy(k, rate) - rate - torch.lgamma(k + 1)
        return torch.where(x.is_observed[:, None, :, None], each, 0.0).sum(-1)

    def count(self, x: Tree, weights: Tensor) -> tuple[Tensor, ...]:
        return _weighted(x, weights, 1)

    def fit(self, parameters: Parameters, sums: Sequence[Tensor]) -> Parameters:
        weight, first = sums
        rate = (first / weight.clamp_min(1e-100)).clamp_min(_LEAST_RATE)
        return {"rate": torch.where(weight > 0, rate, parameters["rate"])}


@dataclass(frozen=True)
class NormalEmission(Emission):
    """Real numbers, independent given the state, with mean and variance of the state.

    Attributes:
        least: (D,) the least variance, without which a state could sit on one value.
    """

    least: Tensor

    def log_likelihood(self, parameters: Parameters, x: Tree) -> Tensor:
        mean, variance = parameters["mean"][:, None], parameters["variance"][:, None]
        square = (x.numbers[:, None, :, None] - mean).square() / variance
        each = -0.5 * (square + variance.log() + math.log(2 * math.pi))
        return torch.where(x.is_observed[:, None, :, None], each, 0.0).sum(-1)

    def count(self, x: Tree, weights: Tensor) -> tuple[Tensor, ...]:
        return _weighted(x, weights, 2)

    def fit(self, parameters: Parameters, sums: Sequence[Tensor]) -> Parameters:
        weight, first, second = sums
        mean = first / weight.clamp_min(1e-100)
        variance = (second / weight.clamp_min(1e-100) - mean.square()).clamp_min(self.least)
        return {
            "mean": torch.where(weight > 0, mean, parameters["mean"]),
            "variance": torch.where(weight > 0, variance, parameters["variance"]),
        }


def _weighted(x: Values, weights: Tensor, powers: int) -> tuple[Tensor, ...]:
    """sum w, sum w x, ... (N, K, D) over the observed values."""
    seen = x.is_observed.to(weights)
    each = [seen * x.numbers**power for power in range(powers + 1)]
    return tuple(torch.einsum("tnrk,trd->nkd", weights, value) for value in each)


def densities(parameters: Parameters, shape: Sequence[int]) -> list[Density]:
    """The distribution of each of the K states of one model, of a batch shape."""
    wide = {
        name: [row.expand(*shape, len(row)) for row in value] for name, value in parameters.items()
    }
    if "rate" in wide:
        return [Poisson(rate) for rate in wide["rate"]]
    pairs = zip(wide["mean"], wide["variance"], strict=True)
    return [Normal(mean, variance.sqrt()) for mean, variance in pairs]
