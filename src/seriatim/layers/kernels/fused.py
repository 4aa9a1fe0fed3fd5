"""Layers with backward passes of their own, for training on a CPU.

The equations are `RMSNorm` in blocks, `attention` in attention and `rotate` in positions. Composed
of torch's operations, each sends whole activations through memory once for every operation,
forward and backward. Here a piece that fits into the cache goes through all operations before the
next one begins, results are written where they are needed, and under autocast arithmetic is in
float32 while activations are stored in the precision of products.

Knows tensors only. Every function is used if `is_useful`, and the tests hold it equal to its
equation.

Shapes: B rows, L positions, D features, H heads, d_k and d_v the sizes of a key and of a value.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_PIECE = 2**17  # numbers in one piece: 512 kB in float32, which stays in the cache
_QUERIES = 128  # queries in a block: a larger block computes more weights that are masked
_MOST_WEIGHTS = 2**27  # attention weights that a layer keeps for the backward pass


def is_useful(x: Tensor) -> bool:
    """Whether these functions pay: x needs gradients, is on a CPU, and is not being compiled."""
    return x.requires_grad and x.device.type == "cpu" and not torch.compiler.is_compiling()


def product_dtype(x: Tensor) -> torch.dtype:
    """The precision of products with x: autocast's, if it is enabled."""
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return x.dtype


def _pieces(rows: int, width: int) -> Iterator[slice]:
    size = max(1, _PIECE // width)
    return (slice(begin, begin + size) for begin in range(0, rows, size))


# ---- normalization ------------------------------------------------------------------------------


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """g * x / sqrt(mean(x^2) + eps), (..., D), in the precision of products."""
    y: Tensor = _RMSNorm.apply(x, weight, eps, product_dtype(x))  # type: ignore[no-untyped-call]
    return y


class _RMSNorm(torch.autograd.Function):
    """With r = 1 / sqrt(mean(x^2) + eps), n = r x and u = g dy:

        dx = r (u - n mean(u n)),   dg = sum over rows of n dy.

    Layer normalization with a mean of zero has the same dg, and a dx that is smaller by r mean(u).
    torch has a kernel for it, which reads x and dy once.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        size = x.shape[-1]
        flat = x.reshape(-1, size).to(weight.dtype)
        scale = torch.linalg.vector_norm(flat, dim=-1, keepdim=True)
        scale = scale.square_().div_(size).add_(eps).rsqrt_()
        y = torch.mul(flat, scale).mul_(weight).to(dtype)
        ctx.save_for_backward(flat, weight, scale)
        ctx.dtype = x.dtype
        return y.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        size = x.shape[-1]
        dy = upstream.reshape(x.shape).to(x.dtype)
        dx, of_weight, _ = torch.ops.aten.native_layer_norm_backward(
            dy, x, [size], torch.zeros_like(scale), scale, weight, None, [True, True, False]
        )
        dx += torch.mv(dy, weight / size)[:, None] * scale
        return dx.view(upstream.shape).to(ctx.dtype), of_weight, None, None


# ---- gated feed-forward networks ----------------------------------------------------------------


def silu_gate(joined: Tensor) -> Tensor:
    """silu(a) * b, (..., F), for [a, b] (..., 2 F), with silu(a) = a sigmoid(a)."""
    y: Tensor = _SiLUGate.apply(joined)  # type: ignore[no-untyped-call]
    return y


class _SiLUGate(torch.autograd.Function):
    """Backward, both halves of the gradient are written where they belong, without joining them."""

    @staticmethod
    def forward(ctx: Any, joined: Tensor) -> Tensor:
        a, b = joined.chunk(2, -1)
        silu = F.silu(a)
        ctx.save_for_backward(joined, silu)
        return silu * b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        joined, silu = ctx.saved_tensors
        a, b = joined.chunk(2, -1)
        gradient = torch.empty_like(joined)
        of_a, of_b = gradient.chunk(2, -1)
        torch.mul(dy, silu, out=of_b)
        torch.ops.aten.silu_backward.grad_input(dy * b, a, grad_input=of_a)
        return gradient


# ---- attention ----------------------------------------------------------------------------------


def heads(
    joined: Tensor, num_heads: int, key_size: int, turn: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values from their joint projection, queries and keys rotated.

    Args:
        joined: (B, L, H (2 d_k + d_v)), queries of all heads, then keys, then values.
        num_heads: H.
        key_size: d_k.
        turn: cosines and signed sines as of `positions.rotation`; None: no rotation.

    Returns:
        (B, H, L, d_k) twice and (B, H, L, d_v), contiguous.
    """
    cos, sin = (None, None) if turn is None else turn
    split: tuple[Tensor, Tensor, Tensor] = _Heads.apply(  # type: ignore[no-untyped-call]
        joined, num_heads, key_size, cos, sin
    )
    return split


class _Heads(torch.autograd.Function):
    """Backward, the transpose of a rotation is the inverse rotation."""

    @staticmethod
    def forward(
        ctx: Any,
        joined: Tensor,
        num_heads: int,
        key_size: int,
        cos: Tensor | None,
        sin: Tensor | None,
    ) -> tuple[Tensor, ...]:
        ctx.sizes = num_heads, key_size
        ctx.save_for_backward(cos, sin)
        rows, length, width = joined.shape
        both = 2 * num_heads * key_size
        pairs = joined[:, :, :both].view(rows, length, 2, num_heads, key_size)
        pairs = pairs.permute(2, 0, 3, 1, 4)
        keys = joined.new_empty(pairs.shape)
        values = joined.new_empty(rows, num_heads, length, (width - both) // num_heads)
        for part in _pieces(rows, length * both):
            _turn(pairs[:, part], _of_rows(cos, part), _of_rows(sin, part), 1.0, keys[:, part])
        values.copy_(joined[:, :, both:].view(rows, length, num_heads, -1).transpose(1, 2))
        return keys[0], keys[1], values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (num_heads, key_size), (cos, sin) = ctx.sizes, ctx.saved_tensors
        dq, dk, dv = upstream
        rows, _, length, value_size = dv.shape
        both = 2 * num_heads * key_size
        joined = dv.new_empty(rows, length, both + num_heads * value_size)
        pairs = joined[:, :, :both].view(rows, length, 2, num_heads, key_size)
        pairs = pairs.permute(2, 0, 3, 1, 4)
        for part in _pieces(rows, length * both):
            turn = _of_rows(cos, part), _of_rows(sin, part), -1.0
            _turn(dq[part], *turn, pairs[0, part])
            _turn(dk[part], *turn, pairs[1, part])
        joined[:, :, both:].view(rows, length, num_heads, -1).copy_(dv.transpose(1, 2))
        return joined, None, None, None, None


def _of_rows(table: Tensor | None, rows: slice) -> Tensor | None:
    """The tables of some rows or the one that all rows share, for (.., R, H, L, d)."""
    if table is None:
        return None
    return (table if table.ndim == 3 else table[rows]).transpose(-3, -2)


def _turn(x: Tensor, cos: Tensor | None, sin: Tensor | None, sign: float, out: Tensor) -> None:
    """out = x cos + swapped(x) sign sin, for x (.., R, H, L, d) and tables that broadcast to it."""
    if cos is None or sin is None:
        out.copy_(x)
        return
    # Positions and features are adjacent in the copies: a table is read in order for every head.
    turned = torch.empty(x.shape, dtype=cos.dtype).copy_(x)
    swapped, half = torch.empty_like(turned), x.shape[-1] // 2
    swapped[..., :half] = turned[..., half:]
    swapped[..., half:] = turned[..., :half]
    out.copy_(turned.mul_(cos).addcmul_(swapped, sin, value=sign))


def fits_causal(q: Tensor, k: Tensor) -> bool:
    """Whether `causal_attention` can keep its weights for the backward pass."""
    return q.shape[2] == k.shape[2] and q.shape[:3].numel() * q.shape[2] <= _MOST_WEIGHTS


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d_k)) v, query i seeing slots 0 .. i; (B, H, L, d) to (B, H, L, d_v)."""
    y: Tensor = _CausalAttention.apply(q, k, v)  # type: ignore[no-untyped-call]
    return y


class _CausalAttention(torch.autograd.Function):
    """With P = softmax(S), S = q k^T / sqrt(d_k), one block of queries after another:

    dv = P^T dy,  dP = dy v^T,  dS = P (dP - rowsum(P dP)),
    dq = dS k / sqrt(d_k),  dk = dS^T q / sqrt(d_k).

    P is saved: computing it again would take a fifth of the time.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows, num_heads, length, _ = q.shape
        q, k, v = ((t.reshape(-1, length, t.shape[-1])) for t in (q, k, v))
        q = q * q.shape[-1] ** -0.5
        y = v.new_empty(v.shape)
        saved = []
        with torch.autocast("cpu", enabled=False):
            for begin in range(0, length, _QUERIES):
                end = min(begin + _QUERIES, length)
                scores = torch.bmm(q[:, begin:end], k[:, :end].transpose(1, 2))
                corner = scores.new_full((end - begin, end - begin), -torch.inf).triu_(1)
                scores[:, :, begin:] += corner
                weights = torch.softmax(scores, -1)
                y[:, begin:end] = torch.bmm(weights, v[:, :end])
                saved.append(weights)
        ctx.save_for_backward(q, k, v, *saved)
        return y.view(rows, num_heads, length, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, ...]:
        q, k, v, *saved = ctx.saved_tensors
        dy = upstream.reshape(v.shape)
        scale = q.shape[-1] ** -0.5
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        begin = 0
        for weights in saved:
            end = begin + weights.shape[1]
            of_y = dy[:, begin:end]
            dv[:, :end].baddbmm_(weights.transpose(1, 2), of_y)
            slopes = torch.bmm(of_y, v[:, :end].transpose(1, 2))
            slopes = torch._softmax_backward_data(slopes, weights, -1, weights.dtype)
            dq[:, begin:end] = torch.bmm(slopes, k[:, :end])
            dk[:, :end].baddbmm_(slopes.transpose(1, 2), q[:, begin:end])
            begin = end
        dq *= scale
        shape = (*upstream.shape[:3], -1)
        return dq.view(shape), dk.view(shape), dv.view(shape)
