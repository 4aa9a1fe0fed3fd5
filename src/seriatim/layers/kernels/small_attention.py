"""Attention over few slots by plain products, for training on a CPU.

torch's fused kernel recomputes the weights in its backward pass, which takes twenty times as long
as the forward pass in bfloat16, and twice as long in float32. Over a sentence the weights are small
enough to keep. The equation is `layers.attention.attention`; a test holds the two equal.

Knows tensors only.

Shapes: B rows, H heads, L queries, S slots, d_k and d_v the sizes of a key and of a value.
"""

import torch
from torch import Tensor

from seriatim.layers.kernels.fused import product_dtype

_MOST_WEIGHTS = 2**25  # weights kept for the backward pass: 128 MB in float32


def is_short(q: Tensor, k: Tensor) -> bool:
    """Whether the weights of queries (B, H, L, d_k) on keys (B, H, S, d_k) are few enough."""
    return q.shape[:3].numel() * k.shape[2] <= _MOST_WEIGHTS


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k' / sqrt(d_k) + bias) v, (B, H, L, d_v).

    Args:
        q: (B, H, L, d_k).
        k: (B, H, S, d_k).
        v: (B, H, S, d_v).
        bias: (L, S) or (B, 1, 1 or L, S); None: every query sees every slot.
    """
    rows, heads, length, size = q.shape
    q, k, v = (t.to(product_dtype(q)) for t in (q, k, v))
    with torch.autocast(
        q.device.type, enabled=False
    ):  # autocast would compute the softmax in float32
        flat = (rows * heads, -1, size)
        keys = k.reshape(flat).transpose(1, 2)
        scores = torch.bmm(q.reshape(flat) * size**-0.5, keys).view(rows, heads, length, -1)
        if bias is not None:
            scores = scores.add_(bias)
        weights = scores.softmax(-1).view(rows * heads, length, -1)
        return torch.bmm(weights, v.reshape(rows * heads, -1, v.shape[-1])).view(
            rows, heads, length, -1
        )
