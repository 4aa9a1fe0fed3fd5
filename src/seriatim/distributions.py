"""Distributions of the next element: log-probabilities in nats, sampling by inverse CDF.

A distribution has a batch shape, (B,) after `predict` or (B, L) inside `forward`. It may be
lazy: `log_prob` and `top` need not build all V probabilities, `dense` does.

Randomness comes from outside as uniforms of each row's own counter, `uniforms(seed, row, step)`,
so that what a row samples does not depend on the rows beside it.

Shapes: V symbols, K the symbols asked of `top`.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from seriatim.tree import Tree


class Distribution(ABC):
    """The distribution of the next element of each row."""

    @abstractmethod
    def log_prob(self, x: Tree) -> Tensor:
        """ln p(x) in nats, of the batch shape; x holds one element per batch entry."""

    @abstractmethod
    def sample(self, u: Tensor) -> Tree:
        """One element per batch entry by the inverse CDF at u, uniforms in [0, 1)."""


class Discrete(Distribution):
    """A distribution over symbols 0 .. V-1."""

    @property
    @abstractmethod
    def num_symbols(self) -> int:
        """V."""

    @abstractmethod
    def dense(self) -> Tensor:
        """(..., V) all log-probabilities, normalised: logsumexp over the last axis is 0."""

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        """The k most probable: log-probabilities (..., k), falling, and symbols (..., k).

        Ties go to the smaller symbol, so that greedy and beam search do not depend on a kernel.
        """
        return top_k(self.dense(), k)

    def sample(self, u: Tensor) -> Tensor:
        """The smallest symbol whose cumulative probability exceeds u."""
        return inverse_cdf(self.dense(), u)


class Categorical(Discrete):
    """Softmax of logits: p(x = i) = exp(a_i) / sum_j exp(a_j)."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @property
    def num_symbols(self) -> int:
        return self.logits.shape[-1]

    def log_prob(self, x: Tensor) -> Tensor:
        flat = F.cross_entropy(
            self.logits.reshape(-1, self.num_symbols), x.reshape(-1), reduction="none"
        )
        return -flat.view(x.shape)

    def dense(self) -> Tensor:
        return self.logits.log_softmax(-1)

    def sample(self, u: Tensor) -> Tensor:
        return inverse_cdf(self.logits, u)

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        values, symbols = top_k(self.logits, k)
        return values - self.logits.logsumexp(-1, keepdim=True), symbols


class LinearCategorical(Categorical):
    """Softmax of logits that a linear layer makes of features: a = W h + b.

    Lazy: the logits are made when they are asked for.
    """

    def __init__(self, features: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
        """
        Args:
            features: h (..., D).
            weight: W (V, D).
            bias: b (V,).
        """
        self.features, self.weight, self.bias = features, weight, bias

    @property
    def num_symbols(self) -> int:
        return self.weight.shape[0]

    @cached_property
    def logits(self) -> Tensor:  # type: ignore[override]
        """(..., V), made once."""
        return F.linear(self.features, self.weight, self.bias)


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of the last axis, falling, ties to the smaller index; (..., k) twice."""
    k = min(k, scores.shape[-1])
    if k == 1:
        # argmax and topk leave open which of several maxima they return.
        best = scores.amax(-1, keepdim=True)
        return best, (scores == best).to(torch.uint8).argmax(-1, keepdim=True)
    values, index = scores.topk(k, -1)
    kth = values[..., -1:]
    if bool(((scores >= kth).sum(-1) > k).any()):  # a tie runs across the cut
        values, index = scores.sort(dim=-1, descending=True, stable=True)
        return values[..., :k], index[..., :k]
    index, order = index.sort(dim=-1)
    values, order = values.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    return values, index.gather(-1, order)


def inverse_cdf(log_probs: Tensor, u: Tensor) -> Tensor:
    """The smallest i with p_0 + .. + p_i > u * sum(p); symbols of probability 0 never come.

    Args:
        log_probs: (..., V), need not be normalised; -inf is allowed.
        u: (...) uniforms in [0, 1).
    """
    # float64: a float32 sum over 50,000 symbols would move the boundaries between them.
    weights = log_probs.double()
    cumulative = (weights - weights.amax(-1, keepdim=True)).exp_().cumsum(-1)
    total = cumulative[..., -1:]
    # Rounding may lift u * total to total, which no cumulative probability exceeds.
    threshold = torch.minimum(u.double()[..., None] * total, total.nextafter(total.new_zeros(())))
    return torch.searchsorted(cumulative, threshold, right=True)[..., 0]


_ROW, _STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)


def uniforms(seed: int, rows: Tensor | NDArray[np.int64], steps: int | NDArray[np.int64]) -> Tensor:
    """Uniforms in [0, 1) as a function of (seed, row, step), float64, by broadcasting.

    A counter, no stream: the number of row r at step t is the same in any batch, order or
    process. Mixing: the finaliser of SplitMix64 (Steele, Lea, Flood 2014), applied once for
    each of the three coordinates.
    """
    with np.errstate(over="ignore"):
        key = _mix(np.full((), seed % 2**64, dtype=np.uint64) + _ROW)
        key = _mix(key ^ (np.asarray(rows).astype(np.uint64) * _ROW + _STEP))
        key = _mix(key ^ (np.asarray(steps).astype(np.uint64) * _STEP + _ROW))
    return torch.as_tensor((key >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mix(z: Any) -> Any:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
