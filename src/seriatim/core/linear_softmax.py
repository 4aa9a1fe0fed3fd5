"""Log-probabilities under the softmax of a linear layer, without all logits in memory.

The logits a = W h + b of many entries over a large vocabulary are the largest tensor of a model.
`linear_log_prob` computes them for one group of entries after another, exactly, in the forward
and the backward pass. Knows tensors; no distribution and no model.

Shapes: N entries, V symbols, D features.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seriatim.core.column_major import weight_gradient

_GROUP_BYTES = 2**26  # size of the logits of a group, whose products need many rows
_SMALLEST_GROUP = 64  # rows, fewer of which make a product slow
_ROWS = 64  # large groups are padded to a multiple of this
_BLOCK = 2**20  # logits to which all element-wise functions are applied while they are cached


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
                of_features = (of_features * -upstream[:, None]).to(features.dtype)
                wanted[0] = False
            if not any(wanted):
                return of_features, None, None, *unused
            least, most = upstream.aminmax() if len(upstream) else (upstream.sum(),) * 2
            if bool(least == most):
                scaled = [_times(g, -least, weight.dtype) for g in of_weights]
                return of_features, *scaled, *unused
        h, w = features.to(ctx.dtype), weight.to(ctx.dtype)
        sums = _Sums(h, w, bias, targets, ctx.smoothing, weight.dtype)
        sums.run(wanted, -upstream[:, None])
        late = list(sums.gradients)
        if ctx.is_early and early[0] is not None:
            late[0] = of_features
        elif late[0] is not None:
            late[0] = late[0].to(features.dtype)
        return *late, *unused


def _times(x: Tensor | None, factor: Tensor, dtype: torch.dtype) -> Tensor | None:
    """A new factor x in a dtype in which x may be widened but never rounded."""
    if x is None or x.dtype == dtype:
        return None if x is None else x * factor
    return x.to(dtype).mul_(factor)


class _Sums:
    """One pass over the logits of all entries, group after group.

    Attributes:
        gradients: the gradients of -l, summed over all entries, with respect to features, weight
            and bias; None where not needed.
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
        self.w, self.bias, self.targets, self.smoothing = w, bias, targets[:, None], smoothing
        # oneDNN compiles every new product size, so pad to few sizes: zero rows change no sum.
        self.multiple = _ROWS if len(h) >= 8 * _ROWS else 1
        missing = -len(h) % self.multiple
        self.h = F.pad(h, (0, 0, 0, missing)) if missing else h
        self.dtype = dtype
        self.gradients: list[Tensor | None] = [None, None, None]

    def run(self, wanted: list[bool], upstream: Tensor | None) -> Tensor:
        """(N,) the values; sets the gradients, of a sum weighted by `upstream` (N, 1) if given."""
        count, num_symbols = len(self.targets), len(self.w)
        values = self.h.new_empty(count, 1, dtype=self.dtype)
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
                own = slice(begin, min(group.stop, count))  # without the rows of zeros
                g = None if upstream is None else upstream[own].to(self.dtype)
                filled = logits[: own.stop - begin]
                values[own] = self._softmax(filled, self.targets[own], g, any(wanted))
                self._add_gradients(logits, group, wanted)
        if not count:
            self._add_gradients(room, slice(0), wanted)
        if self.gradients[0] is not None:
            self.gradients[0] = self.gradients[0][:count]
        return values[:, 0]

    def _softmax(
        self, logits: Tensor, targets: Tensor, upstream: Tensor | None, with_gradient: bool
    ) -> Tensor:
        """The values (n, 1) of a group, whose logits become the gradient of -values.

        With m the largest logit, - ln sum_v exp(a_v) = ln softmax(a)_m - a_m.
        """
        rows = max(1, _BLOCK // logits.shape[1])
        room = None
        if logits.dtype != self.dtype:
            room = logits.new_empty(min(rows, len(logits)), logits.shape[1], dtype=self.dtype)
        e = self.smoothing
        found = logits.new_zeros(4, len(logits), 1, dtype=self.dtype)
        of_targets = found.new_full(targets.shape, e - 1.0)
        upstreams = found[0] if upstream is None else upstream  # the former are not read
        parts = [torch.split(t, rows) for t in (logits, targets, of_targets, upstreams)]
        for narrow, y, of_target, g, at in zip(*parts, torch.split(found, rows, 1), strict=True):
            a = narrow if room is None else room[: len(narrow)].copy_(narrow)
            if self.bias is not None:
                a += self.bias
            of_y, largest, of_largest, even = at
            torch.gather(a, 1, y, out=of_y)
            torch.amax(a, -1, keepdim=True, out=largest)
            if e:
                torch.mean(a, -1, keepdim=True, out=even)
            torch.softmax(a, -1, out=a)
            torch.amax(a, -1, keepdim=True, out=of_largest)
            if not with_gradient:
                continue
            a.scatter_add_(1, y, of_target)
            if e:
                a -= e / a.shape[1]
            if upstream is not None:
                a *= g
            if self.gradients[2] is not None:  # sum while cached and in the wider dtype
                self.gradients[2] += a.sum(0)
            if room is not None:
                narrow.copy_(a)
        of_y, largest, of_largest, even = found
        values: Tensor = of_y - largest + of_largest.log() + e * (even - of_y)
        return values

    def _add_gradients(self, slopes: Tensor, group: slice, wanted: list[bool]) -> None:
        of_features, of_weight, _ = self.gradients
        if of_features is not None:
            torch.mm(slopes, self.w, out=of_features[group])
        if wanted[1]:
            part = weight_gradient(slopes, self.h[group], self.w)
            # A single group keeps its dtype; sums of several need the wider one.
            self.gradients[1] = part if of_weight is None else part + of_weight.to(self.dtype)
