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

from seriatim.core.column_major import weight_gradient
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError


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
        return F.linear(self.features, self.weight, self.bias)

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
        return x.numel() * self.num_symbols < _FEW_LOGITS

    @torch.compiler.disable  # type: ignore[untyped-decorator]
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


# ---- log-probabilities of a linear softmax in groups --------------------------------------------

_FEW_LOGITS = 2**19  # up to this number, computing all logits at once is faster
_GROUP_BYTES = 2**26  # size of the logits of a group, whose products need many rows
_SMALLEST_GROUP = 64  # rows, fewer of which make a product slow
_ROWS = 64  # large groups are padded to a multiple of this
_BLOCK = 2**18  # logits to which all element-wise functions are applied while they are cached


def linear_log_prob(
    features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float = 0.0
) -> Tensor:
    """(N,) in nats, for a = W h + b, targets y and label smoothing e:

        l = (1 - e) a_y + e / V sum_v a_v - ln sum_v exp(a_v)

    With e = 0 this is ln softmax(a)_y. Products use the precision of autocast where it is enabled;
    everything else uses that of the weights.

    Args:
        features: the features h (N, D).
        weight: the matrix W (V, D).
        bias: the vector b (V,).
        targets: the symbols y (N,).
        smoothing: e in [0, 1), the fraction of the target that is spread over all symbols.
    """
    device = features.device.type
    is_autocast = torch.is_autocast_enabled(device) and weight.dtype == torch.float32
    dtype = torch.get_autocast_dtype(device) if is_autocast else weight.dtype
    is_recorded = torch.is_grad_enabled()
    values: Tensor = _LinearLogProb.apply(  # type: ignore[no-untyped-call]
        features, weight, bias, targets, smoothing, dtype, is_recorded
    )
    return values


class _LinearLogProb(torch.autograd.Function):
    """`linear_log_prob` and its gradient,

        dl / da = (1 - e) onehot(y) + e / V - softmax(a).

    The gradient of the features is separate for each entry, so it can be computed in the forward
    pass and multiplied by the upstream gradient g later. That of the weights is a sum over
    entries; it can be computed early too if g is the same for all entries, as for a sum or a
    mean. If g turns out to differ, the logits are computed again. On an accelerator, inspecting g
    would stall the queue, so there everything is left to the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        dtype: torch.dtype,
        is_recorded: bool,
    ) -> Tensor:
        wanted = [is_recorded and need for need in ctx.needs_input_grad[:3]]
        ctx.is_early = any(wanted) and features.device.type == "cpu"
        h, w = features.to(dtype), weight.to(dtype)
        sums = _Sums(h, w, bias, targets, smoothing, weight.dtype)
        values = sums.run(wanted if ctx.is_early else [False] * 3, None)
        ctx.smoothing, ctx.dtype = smoothing, dtype
        ctx.save_for_backward(features, weight, bias, targets, *sums.gradients)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, bias, targets, *early = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        unused = (None,) * 4
        if ctx.is_early:
            of_features, *of_weights = early
            if of_features is not None:
                of_features = (of_features * upstream[:, None]).to(features.dtype)
                wanted[0] = False
            if not any(wanted):
                return of_features, None, None, *unused
            least, most = upstream.aminmax() if len(upstream) else (upstream.sum(),) * 2
            if bool(least == most):
                scaled = [None if g is None else g.to(weight.dtype, copy=True) for g in of_weights]
                return of_features, *[None if g is None else g.mul_(least) for g in scaled], *unused
        h, w = features.to(ctx.dtype), weight.to(ctx.dtype)
        sums = _Sums(h, w, bias, targets, ctx.smoothing, weight.dtype)
        sums.run(wanted, upstream)
        late = list(sums.gradients)
        if ctx.is_early and early[0] is not None:
            late[0] = of_features
        elif late[0] is not None:
            late[0] = late[0].to(features.dtype)
        return *late, *unused


class _Sums:
    """One pass over the logits of all entries, group after group.

    Attributes:
        gradients: the gradients of features, weight and bias; None where not needed.
    """

    def __init__(
        self,
        h: Tensor,
        w: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        dtype: torch.dtype,
    ) -> None:
        self.w, self.bias, self.targets, self.smoothing = w, bias, targets, smoothing
        # oneDNN compiles every new product size, so pad to few sizes: zero rows change no sum.
        self.multiple = _ROWS if len(h) >= 8 * _ROWS else 1
        missing = -len(h) % self.multiple
        self.h = F.pad(h, (0, 0, 0, missing)) if missing else h
        self.dtype = dtype
        self.gradients: list[Tensor | None] = [None, None, None]

    def run(self, wanted: list[bool], upstream: Tensor | None) -> Tensor:
        """(N,) the values; sets the gradients of their sum, weighted by `upstream` if given."""
        count, num_symbols = len(self.targets), len(self.w)
        values = self.h.new_empty(count, dtype=self.dtype)
        if wanted[0]:
            self.gradients[0] = torch.empty_like(self.h)
        if wanted[2]:
            self.gradients[2] = self.h.new_zeros(num_symbols, dtype=self.dtype)
        most = max(_SMALLEST_GROUP, _GROUP_BYTES // (num_symbols * self.w.element_size()))
        num_groups = math.ceil(count / most)
        size = math.ceil(count / max(1, num_groups))
        size += -size % self.multiple
        room = self.h.new_empty(size, num_symbols)
        with torch.autocast(self.h.device.type, enabled=False):
            for begin in range(0, count, max(1, size)):
                group = slice(begin, min(begin + size, len(self.h)))
                logits = room[: group.stop - begin]
                torch.mm(self.h[group], self.w.t(), out=logits)
                self._softmax(logits[: count - begin], group, values, upstream, any(wanted))
                self._add_gradients(logits, group, wanted)
        if not count:
            self._add_gradients(room, slice(0), wanted)
        if self.gradients[0] is not None:
            self.gradients[0] = self.gradients[0][:count]
        return values

    def _softmax(
        self,
        logits: Tensor,
        group: slice,
        values: Tensor,
        upstream: Tensor | None,
        with_gradient: bool,
    ) -> None:
        """Fill in the values of a group, and turn its logits into the gradient of the values."""
        rows = max(1, _BLOCK // logits.shape[1])
        room = None
        if logits.dtype != self.dtype:
            room = logits.new_empty(min(rows, len(logits)), logits.shape[1], dtype=self.dtype)
        e = self.smoothing
        for begin in range(0, len(logits), rows):
            narrow = logits[begin : begin + rows]
            a = narrow if room is None else room[: len(narrow)].copy_(narrow)
            part = slice(group.start + begin, group.start + begin + len(a))
            y = self.targets[part, None]
            if self.bias is not None:
                a += self.bias
            even = a.mean(-1) if e else None
            highest = a.amax(-1, keepdim=True)
            target = a.gather(1, y)
            a.sub_(highest).exp_()
            total = a.sum(-1, keepdim=True)
            value = (target - highest - total.log())[:, 0]
            if even is not None:
                # e (mean(a) - a_y) replaces the fraction e of the logit of the target.
                value += e * (even - target[:, 0])
            values[part] = value
            if not with_gradient:
                continue
            scale = total.reciprocal_().neg_()
            of_target = y.new_full(y.shape, 1.0 - e, dtype=self.dtype)
            if upstream is not None:
                g = upstream[part, None].to(self.dtype)
                scale, of_target = scale * g, of_target * g
            a.mul_(scale)
            if e:
                a += e / a.shape[1] if upstream is None else e / a.shape[1] * g
            a.scatter_add_(1, y, of_target)
            if self.gradients[2] is not None:  # sum while cached and in the wider dtype
                self.gradients[2] += a.sum(0)
            if room is not None:
                narrow.copy_(a)

    def _add_gradients(self, slopes: Tensor, group: slice, wanted: list[bool]) -> None:
        of_features, of_weight, _ = self.gradients
        if of_features is not None:
            torch.mm(slopes, self.w, out=of_features[group])
        if wanted[1]:
            part = weight_gradient(slopes, self.h[group], self.w)
            # A single group keeps its dtype; sums of several need the wider one.
            self.gradients[1] = part if of_weight is None else part + of_weight.to(self.dtype)


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


def inverse_cdf(log_probs: Tensor, u: Tensor) -> Tensor:
    """The smallest i with p_0 + .. + p_i > u * sum(p); never a symbol of probability 0.

    Args:
        log_probs: (..., V) log-probabilities, not necessarily normalized; -inf is allowed.
        u: (...) uniforms in [0, 1).
    """
    if log_probs.numel() == log_probs.shape[-1] and log_probs.device.type == "cpu":
        return _inverse_cdf_of_one(log_probs, u)
    # float64: a float32 sum over 50,000 symbols would shift the boundaries between them.
    weights = log_probs.double()
    cumulative = (weights - weights.amax(-1, keepdim=True)).exp_().cumsum(-1)
    total = cumulative[..., -1:]
    # Rounding may raise u * total to total, which no cumulative probability exceeds.
    threshold = torch.minimum(u.double()[..., None] * total, total.nextafter(total.new_zeros(())))
    return torch.searchsorted(cumulative, threshold, right=True)[..., 0]


def _inverse_cdf_of_one(log_probs: Tensor, u: Tensor) -> Tensor:
    """`inverse_cdf` of a single row in numpy, whose calls have less overhead than torch's."""
    a = log_probs.detach().double().numpy().reshape(-1)
    weights = a - a[a.argmax()]
    cumulative = np.exp(weights, out=weights).cumsum()
    total = float(cumulative[-1])
    threshold = min(u.item() * total, math.nextafter(total, 0.0))
    index = np.array(cumulative.searchsorted(threshold, side="right"), np.int64)
    return torch.from_numpy(index).view(log_probs.shape[:-1])


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
