"""Blocks of a Transformer: normalization, feed-forward networks, residual connections.

Knows how sublayers are put together; the elements before a chunk are the tape's.

Shapes: B rows, L elements, D features, F inner features of a feed-forward network.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, noop_context_fn

from seriatim.core import taps
from seriatim.core.products import Linear
from seriatim.layers.attention import MultiHeadAttention, weights, weights_bytes
from seriatim.layers.kernels import fused
from seriatim.layers.kernels.dropout import dropout
from seriatim.layers.kv_tape import Chunk
from seriatim.layers.positions import Rotation


class RMSNorm(nn.Module):
    """y = g * x / sqrt(mean(x^2) + eps)  (Zhang, Sennrich 2019, equation 4)."""

    def __init__(self, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.size, self.eps = (size,), eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """y (..., D) for x (..., D)."""
        if fused.is_useful(x):
            return fused.rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x, self.size, self.weight, self.eps)


class FeedForward(nn.Module):
    """FFN(x) = W_2 f(W_1 x + b_1) + b_2, at each position by itself; W_1 (F, D), W_2 (D, F).

    f is ReLU (Vaswani et al. 2017, equation 2) or GELU (Hendrycks, Gimpel 2016).
    """

    def __init__(
        self, model_size: int, inner_size: int, activation: nn.Module, *, bias: bool
    ) -> None:
        super().__init__()
        self.inner = Linear(model_size, inner_size, bias=bias)
        self.activation = activation
        self.output = Linear(inner_size, model_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, D) to (B, L, D)."""
        y: Tensor = self.output(self.activation(self.inner(x)))
        return y


class SwiGLU(nn.Module):
    """FFN(x) = W_2 (silu(W_1 x) * V x), silu(a) = a sigmoid(a)  (Shazeer 2020, equation 6).

    W_1 and V (F, D), W_2 (D, F). `inner` holds the rows of W_1, then those of V.
    """

    def __init__(self, model_size: int, inner_size: int, *, bias: bool) -> None:
        super().__init__()
        self.inner = Linear(model_size, 2 * inner_size, bias=bias)
        self.output = Linear(inner_size, model_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, D) to (B, L, D)."""
        joined = self.inner(x)
        if fused.is_useful(joined):
            gated = fused.silu_gate(joined)
        else:
            gate, up = joined.chunk(2, -1)
            gated = F.silu(gate) * up
        y: Tensor = self.output(gated)
        return y


def _first_time_only() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of the first computation, and of the second, in which nothing is recorded."""
    return nullcontext(), taps.recomputing()


class Unit(nn.Module):
    """A part of a model that is used through its forward alone.

    So its weights can be gathered for one call where they are sharded, and it can be computed a
    second time for its gradients instead of keeping activations (Chen et al. 2016, "Training deep
    nets with sublinear memory cost").

    Attributes:
        recomputes: whether it is computed a second time in training.
    """

    recomputes: bool = False

    def __call__(self, *inputs: Any) -> Any:
        """`forward`; dropout is the same both times."""
        if self.recomputes and torch.is_grad_enabled():
            contexts = _first_time_only if taps.is_on() else noop_context_fn
            return checkpoint(super().__call__, *inputs, use_reentrant=False, context_fn=contexts)
        return super().__call__(*inputs)


def tap_weights(owner: nn.Module, name: str, q: Tensor, k: Tensor, chunk: Chunk) -> None:
    """Put the attention weights of queries q (B, H, L, d_k) of a chunk on keys k (B, H, S, d_k)."""
    if not taps.wanted(owner, name, weights_bytes(q, k, chunk.mask)):
        return
    offsets, lengths = chunk.offsets(), chunk.lengths
    with taps.grad_mode():
        for first, slot, alpha in weights(q, k, chunk.mask):
            size, slots = alpha.shape[2:]
            keys = offsets[..., slot : slot + slots] - first
            left = None if lengths is None else (lengths - first).clamp(0, size)
            taps.put(owner, name, taps.Record(alpha, left, axis=2, keys=keys))


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
        # Whether `block_step` knows blocks of this shape.
        norms_known = all(type(norm) is RMSNorm for norm in norms)
        self.is_default = norm_first and norms_known and type(feedforward) is SwiGLU

    def forward(self, h: Tensor, chunk: Chunk, layer: int, rotation: Rotation | None) -> Tensor:
        """h (B, L, D) to (B, L, D); `chunk` appends the keys and values of this layer."""
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
