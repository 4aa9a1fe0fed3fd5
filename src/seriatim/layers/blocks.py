"""What a Transformer is stacked of: normalization, feed-forward networks and residual blocks.

Knows how sublayers are put together; not what came before a chunk, which is the tape's.

Shapes: B rows, L elements, D features, F inner features of a feed-forward network.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, noop_context_fn

from seriatim.core import taps
from seriatim.layers.attention import MultiHeadAttention, weights, weights_bytes
from seriatim.layers.kernels import fused
from seriatim.layers.kernels.dropout import dropout
from seriatim.layers.positions import Rotation
from seriatim.layers.tape import Chunk


class RMSNorm(nn.Module):
    """y = g * x / sqrt(mean(x^2) + eps)  (Zhang, Sennrich 2019, equation 4)."""

    def __init__(self, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.size, self.eps = (size,), eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D), each vector divided by its root mean square."""
        if fused.is_useful(x):
            return fused.rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x, self.size, self.weight, self.eps)


class FeedForward(nn.Module):
    """FFN(x) = W_2 f(W_1 x + b_1) + b_2, at each position by itself.

    f is ReLU (Vaswani et al. 2017, equation 2) or GELU (Hendrycks, Gimpel 2016).
    """

    def __init__(
        self, model_size: int, inner_size: int, activation: nn.Module, *, bias: bool
    ) -> None:
        super().__init__()
        self.inner = nn.Linear(model_size, inner_size, bias=bias)
        self.activation = activation
        self.output = nn.Linear(inner_size, model_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, D) to (B, L, D)."""
        y: Tensor = self.output(self.activation(self.inner(x)))
        return y


class SwiGLU(nn.Module):
    """FFN(x) = W_2 (silu(W_1 x) * V x), silu(a) = a sigmoid(a)  (Shazeer 2020, equation 6).

    `inner` holds the rows of W_1, then those of V.
    """

    def __init__(self, model_size: int, inner_size: int, *, bias: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(model_size, 2 * inner_size, bias=bias)
        self.output = nn.Linear(inner_size, model_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, D) to (B, L, D)."""
        gate, up = self.inner(x).chunk(2, -1)
        y: Tensor = self.output(F.silu(gate) * up)
        return y


def _first_time_only() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What is computed again was recorded before."""
    return nullcontext(), taps.recomputing()


class Unit(nn.Module):
    """A part of a stack, entered through its forward alone.

    So it can be computed again when gradients are taken, instead of keeping what it computed
    (Chen et al. 2016, "Training deep nets with sublinear memory cost").

    Attributes:
        recomputes: whether it is, in training.
    """

    recomputes: bool = False

    def __call__(self, *inputs: Any) -> Any:
        """`forward`, with dropout drawn alike both times."""
        if self.recomputes and torch.is_grad_enabled():
            contexts = _first_time_only if taps.is_on() else noop_context_fn
            return checkpoint(super().__call__, *inputs, use_reentrant=False, context_fn=contexts)
        return super().__call__(*inputs)


def tap_weights(owner: nn.Module, name: str, q: Tensor, k: Tensor, chunk: Chunk) -> None:
    """Show recorders how queries q (B, H, L, d_k) of a chunk weigh the slots k (B, H, S, d_k)."""
    if not taps.wanted(owner, name, weights_bytes(q, k, chunk.mask)):
        return
    offsets, lengths = chunk.offsets(), chunk.lengths
    with taps.grad_mode():
        for first, slot, found in weights(q, k, chunk.mask):
            size, slots = found.shape[2:]
            keys = offsets[..., slot : slot + slots] - first
            left = None if lengths is None else (lengths - first).clamp(0, size)
            taps.put(owner, name, taps.Record(found, left, axis=2, keys=keys))


class Block(Unit):
    """Attention, then a feed-forward network, each inside a residual connection.

    norm first:  h <- h + Dropout(f(Norm(h)))       (He et al. 2016; Radford et al. 2019)
    norm last:   h <- Norm(h + Dropout(f(h)))       (Vaswani et al. 2017, 3.1 and 5.4)
    """

    def __init__(
        self,
        attention: MultiHeadAttention,
        feedforward: nn.Module,
        norms: tuple[nn.Module, nn.Module],
        *,
        norm_first: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.attention, self.feedforward = attention, feedforward
        self.attention_norm, self.feedforward_norm = norms
        self.norm_first, self.dropout = norm_first, dropout

    def forward(self, h: Tensor, chunk: Chunk, layer: int, rotation: Rotation | None) -> Tensor:
        """h (B, L, D) to (B, L, D); `chunk` writes this layer's keys and values and shows them."""
        if self.norm_first:
            h = h + self._drop(self._attend(self.attention_norm(h), chunk, layer, rotation))
            h = h + self._drop(self.feedforward(self.feedforward_norm(h)))
        else:
            h = self.attention_norm(h + self._drop(self._attend(h, chunk, layer, rotation)))
            h = self.feedforward_norm(h + self._drop(self.feedforward(h)))
        if taps.is_on():
            taps.put(self, "hidden", taps.Record(h, chunk.lengths))
        return h

    def _attend(self, x: Tensor, chunk: Chunk, layer: int, rotation: Rotation | None) -> Tensor:
        q, k, v = self.attention.project(x, rotation)
        k, v = chunk.view(layer, k, v)
        if taps.is_on():
            tap_weights(self, "attention.self", q, k, chunk)
        y: Tensor = self.attention(q, k, v, chunk.mask)
        return y

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, is_training=self.training)
