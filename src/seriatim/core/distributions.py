"""Distributions of the next element: log-probabilities in nats, sampling by inverse CDF.

A distribution has a batch shape, (B,) after `predict` or (B, L) inside `forward`. It may be
lazy: `log_prob` and `top` need not compute all V probabilities; `dense` does.

Randomness is passed in as uniforms from a counter of each row, `uniforms(seed, row, step)`, so
that the samples of a row do not depend on the other rows of its batch.

Shapes: V symbols, K symbols returned by `top`, N entries, D features.
"""

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.compiling import not_compiled
from seriatim.core.linear_softmax import linear_log_prob
from seriatim.core.products import is_rounded, linear
from seriatim.core.tree import Tree
from seriatim.errors import NOT_NUMBERS, ConfigError, ModelError

_FEW_LOGITS = 2**19  # up to this number, computing all logits at once is faster


class Distribution(ABC):
    """The distribution of the next element of each row."""

    @abstractmethod
    def log_prob(self, x: Tree) -> Tensor:
        """ln p(x) in nats, with the batch shape; x holds one element per batch entry."""

    @abstractmethod
    def sample(self, u: Tensor) -> Tree:
        """One element per batch entry: the inverse CDF at u, uniforms in [0, 1)."""

    def masked(self, needed: Tensor) -> "Distribution":
        """The same distribution, whose log-probabilities are only needed where `needed`.

        Args:
            needed: bool, of the batch shape. Elsewhere `log_prob` may return anything, which
                saves a lazy distribution work.
        """
        return self


class Discrete(Distribution):
    """A distribution over symbols 0 .. V-1."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_symbols:,} symbols)"

    @property
    @abstractmethod
    def num_symbols(self) -> int:
        """V."""

    @abstractmethod
    def dense(self) -> Tensor:
        """(..., V) all log-probabilities, normalized: logsumexp over the last axis is 0."""

    def masked(self, needed: Tensor) -> "Discrete":
        return self

    def smoothed_log_prob(self, x: Tensor, smoothing: float) -> Tensor:
        """(1 - e) ln p(x) + e / V sum_v ln p(v) in nats, with the batch shape; e is `smoothing`."""
        return torch.lerp(self.log_prob(x), self.dense().mean(-1), smoothing)

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        """The k most probable symbols: log-probabilities (..., k), descending, and ids (..., k).

        Ties go to the smaller id, so that greedy and beam search do not depend on a kernel.
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
        # Under autocast logits may be bfloat16, whose 8 bits are too few for a sum of V terms.
        is_narrow = self.logits.dtype in (torch.bfloat16, torch.float16)
        return self.logits.log_softmax(-1, dtype=torch.float32 if is_narrow else None)

    def sample(self, u: Tensor) -> Tensor:
        return inverse_cdf(self.logits, u)

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        if k == 1 and _is_for_numpy(self.logits):
            return _best(self.logits)
        values, symbols = top_k(self.logits, k)
        return values - self.logits.logsumexp(-1, keepdim=True), symbols


class LinearCategorical(Categorical):
    """Softmax of the logits of a linear layer: a = W h + b.

    Lazy: `dense`, `top` and `sample` compute all logits; the log-probabilities of many entries
    and their gradients are computed exactly, one group of entries after another, so that the
    N V logits are never in memory at once.
    """

    def __init__(
        self,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        needed: Tensor | None = None,
    ) -> None:
        """
        Args:
            features: the features h (..., D).
            weight: the matrix W (V, D).
            bias: the vector b (V,).
            needed: (...) bool, the entries whose log-probability is needed; None: all. The
                others get 0.
        """
        self.features, self.weight, self.bias = features, weight, bias
        self.needed = needed

    @property
    def num_symbols(self) -> int:
        return self.weight.shape[0]

    @cached_property
    def logits(self) -> Tensor:  # type: ignore[override]
        """(..., V), computed once."""
        return linear(self.features, self.weight, self.bias)

    def masked(self, needed: Tensor) -> "LinearCategorical":
        return LinearCategorical(self.features, self.weight, self.bias, needed)

    def log_prob(self, x: Tensor) -> Tensor:
        if self._is_small(x):
            return super().log_prob(x)
        values: Tensor = self._in_groups(x, 0.0)
        return values

    def smoothed_log_prob(self, x: Tensor, smoothing: float) -> Tensor:
        if self._is_small(x):
            return super().smoothed_log_prob(x, smoothing)
        values: Tensor = self._in_groups(x, smoothing)
        return values

    def _is_small(self, x: Tensor) -> bool:
        # In groups, products would not be those by which a rounded weight's symbols are drawn.
        return x.numel() * self.num_symbols < _FEW_LOGITS or is_rounded(self.weight)

    @not_compiled
    def _in_groups(self, x: Tensor, smoothing: float) -> Tensor:
        features, targets = self.features.reshape(-1, self.features.shape[-1]), x.reshape(-1)
        index = None
        # On an accelerator `nonzero` would wait for the number of entries.
        if self.needed is not None and x.device.type == "cpu":
            index = self.needed.reshape(-1).nonzero()[:, 0]
            features, targets = features.index_select(0, index), targets.index_select(0, index)
        values = linear_log_prob(features, self.weight, self.bias, targets, smoothing)
        if index is not None:
            values = values.new_zeros(x.numel()).index_copy(0, index, values)
        return values.view(x.shape)


def as_discrete(distribution: Distribution) -> Discrete:
    """The distribution, which must be one over symbols.

    Raises:
        ConfigError: if it is a distribution over something else.
    """
    if not isinstance(distribution, Discrete):
        raise ConfigError(
            f"this needs a model of symbols, and {type(distribution).__name__} is not a "
            "distribution over symbols"
        )
    return distribution


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values and indices (..., k) of the k largest, descending; ties go to the smaller index."""
    k = min(k, scores.shape[-1])
    if k == 1:
        # argmax and topk do not specify which of several maxima they return.
        best = scores.amax(-1, keepdim=True)
        return best, (scores == best).to(torch.uint8).argmax(-1, keepdim=True)
    values, index = scores.topk(min(k + 1, scores.shape[-1]), -1)
    if k < values.shape[-1] and bool((values[..., k - 1] == values[..., k]).any()):
        # A tie crosses the cut, and topk does not specify which of its indices it returns.
        values, index = scores.sort(dim=-1, descending=True, stable=True)
        return values[..., :k], index[..., :k]
    values, index = values[..., :k], index[..., :k]
    index, order = index.sort(dim=-1)
    values, order = values.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    return values, index.gather(-1, order)


def _is_for_numpy(logits: Tensor) -> bool:
    is_array = logits.device.type == "cpu" and logits.dtype in (torch.float32, torch.float64)
    return is_array and not logits.requires_grad and not torch.compiler.is_compiling()


def _best(logits: Tensor) -> tuple[Tensor, Tensor]:
    """`Categorical.top(1)` in numpy: ln p = -ln sum_i exp(a_i - a_best); a third of the time."""
    a = logits.numpy()
    symbols = a.argmax(-1)[..., None]  # the first of several maxima
    with np.errstate(invalid="ignore"):  # nothing is possible: ln p is not a number
        a = a - np.maximum.reduce(a, -1, keepdims=True)
    np.exp(a, a)
    log_prob = -np.log(np.add.reduce(a, -1, keepdims=True))
    return torch.from_numpy(log_prob), torch.from_numpy(symbols)


def inverse_cdf(log_probs: Tensor, u: Tensor) -> Tensor:
    """The smallest i with p_0 + .. + p_i > u * sum(p); never a symbol of probability 0.

    Args:
        log_probs: (..., V) log-probabilities, not necessarily normalized; -inf is allowed.
        u: (...) uniforms in [0, 1).

    Raises:
        ModelError: if a probability is not a number; on a CPU only.
    """
    if log_probs.numel() == log_probs.shape[-1] and log_probs.device.type == "cpu":
        return _inverse_cdf_of_one(log_probs, u)
    # float64: a float32 sum over 50,000 symbols would shift the boundaries between them.
    weights = log_probs.double()
    cumulative = (weights - weights.amax(-1, keepdim=True)).exp_().cumsum(-1)
    total = cumulative[..., -1:]
    if total.device.type == "cpu" and bool(total.isnan().any()):
        raise ModelError(NOT_NUMBERS)
    # Rounding may raise u * total to total, which no cumulative probability exceeds.
    threshold = torch.minimum(u.double()[..., None] * total, total.nextafter(total.new_zeros(())))
    return torch.searchsorted(cumulative, threshold, right=True)[..., 0]


def _inverse_cdf_of_one(log_probs: Tensor, u: Tensor) -> Tensor:
    """`inverse_cdf` of a single row in numpy, whose calls have less overhead than torch's."""
    values = log_probs.detach() if log_probs.requires_grad else log_probs
    found = torch.from_numpy(inverse_cdf_of_row(values.numpy(), u.item()))
    return found if log_probs.ndim == 2 else found.view(log_probs.shape[:-1])


def inverse_cdf_of_row(log_probs: NDArray[Any], u: float) -> NDArray[np.int64]:
    """`inverse_cdf` of the V log-probabilities of a single row; (1,).

    Raises:
        ModelError: if a probability is not a number.
    """
    weights = log_probs.astype(np.float64).reshape(-1)
    weights -= np.maximum.reduce(weights)
    np.exp(weights, weights)
    cumulative = np.add.accumulate(weights)
    total = cumulative.item(-1)
    if total != total:
        raise ModelError(NOT_NUMBERS)
    threshold = min(u * total, math.nextafter(total, 0.0))
    return cumulative.searchsorted([threshold], "right")


_ROW, _STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)


def uniforms(seed: int, rows: Tensor | NDArray[np.int64], steps: int | NDArray[np.int64]) -> Tensor:
    """Uniforms in [0, 1) as a function of (seed, row, step); float64, rows and steps broadcast.

    Counter-based: the number of row r at step t is the same in every batch, order and process.
    The mixing function is the finalizer of SplitMix64 (Steele, Lea, Flood 2014), applied once
    for each of the three coordinates.
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
