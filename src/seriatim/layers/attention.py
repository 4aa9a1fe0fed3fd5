"""Attention: queries look up values by their keys, `softmax(q k^T / sqrt(d_k)) v`.

`attention` is the equation as the paper writes it, and the reference for `attend`, the fast path on
the same inputs. `MultiHeadAttention` has the projections around it. This module knows nothing of
time or tapes: an `AttentionMask` says which slots a query sees.

Shapes: B rows, H heads, L queries, S slots (keys), D features of the model, d_k and d_v the
sizes of a key and of a value of one head.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core.products import Linear, linear
from seriatim.layers.kernels import fused, small_attention
from seriatim.layers.positions import Rotation, rotate

Projected: TypeAlias = tuple[Tensor, Tensor, Tensor]

_SMALLEST_BLOCK = 64  # queries in a block of a long chunk: the kernel is slow on smaller ones


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V, written out.

    Vaswani et al. 2017, equation 1; the mask is that of section 3.2.3.

    Args:
        q: (..., L, d_k).
        k: (..., S, d_k).
        v: (..., S, d_v).
        mask: (..., L, S) bool, the slots that each query sees, at least one; None: all.

    Returns:
        (..., L, d_v) for each query the mean of the values, weighted by how well keys match it.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ v


@dataclass(frozen=True)
class AttentionMask:
    """The slots that the queries of a chunk see, computed once and used by every layer.

    Attributes:
        bias: (L, S) or (B, 1, L, S) added to the scores: 0 where seen, -inf elsewhere; None: no
            such term. If there is a `band`, it is for the first block of queries only.
        is_causal: query i sees slots 0 .. i (instead of a bias).
        band: (block, context - 1 + block) the bias of all later blocks of a long chunk: each
            query sees its own slot and the context - 1 before it. None: there is one block.
        group: the number of rows of queries that share each row of keys and values; their queries
            then form one block, row after row, and `bias` is (B / group, 1, group L, S).
    """

    bias: Tensor | None = None
    is_causal: bool = False
    band: Tensor | None = None
    group: int = 1


EVERYTHING = AttentionMask()


def as_bias(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `visible`, -inf elsewhere: computed here once instead of once in every layer."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(
        ~visible, -math.inf
    )


def block_size(length: int, context: int) -> int:
    """How many queries of a chunk are computed together: all, unless the chunk is long."""
    block = max(context, _SMALLEST_BLOCK)
    return block if length > 2 * block else length


def join_groups(q: Tensor, group: int) -> Tensor:
    """(B, H, L, d) as (B / group, H, group L, d): queries that share keys side by side."""
    if group == 1:
        return q
    _, heads, length, size = q.shape
    q = q.view(-1, group, heads, length, size).transpose(1, 2)
    return q.reshape(-1, heads, group * length, size)


def split_groups(y: Tensor, group: int) -> Tensor:
    """The inverse of `join_groups`."""
    if group == 1:
        return y
    rows, heads, _, size = y.shape
    y = y.view(rows, heads, group, -1, size).transpose(1, 2)
    return y.reshape(rows * group, heads, -1, size)


def band(length: int, size: int, context: int, device: torch.device) -> Tensor:
    """(length, size) bool: each query sees `context` slots up to its own, the last the last."""
    query = torch.arange(size - length, size, device=device)[:, None]
    slot = torch.arange(size, device=device)
    return (slot <= query) & (slot > query - context)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask = EVERYTHING) -> Tensor:
    """The fast path of `attention`: fused kernels, and O(context) per query in long chunks.

    Args:
        q: (B, H, L, d_k).
        k: (B, H, S, d_k); with `mask.band` the last L slots belong to the queries.
        v: (B, H, S, d_v).
        mask: the slots that each query sees.

    Returns:
        (B, H, L, d_v).
    """
    return split_groups(_attend_rows(join_groups(q, mask.group), k, v, mask), mask.group)


def _attend_rows(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
    """`attend` with as many rows of keys as of queries."""
    if mask.is_causal and mask.band is None and fused.is_useful(q) and fused.fits_causal(q, k):
        return fused.causal_attention(q, k, v)
    is_whole = mask.band is None and not mask.is_causal
    if is_whole and fused.is_useful(q) and small_attention.is_short(q, k):
        return small_attention.attend(q, k, v, mask.bias)
    if mask.band is None:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask.bias, is_causal=mask.is_causal
        )
    block = mask.band.shape[0]
    seen = k.shape[2] - q.shape[2] + block
    first = F.scaled_dot_product_attention(
        q[:, :, :block],
        k[:, :, :seen],
        v[:, :, :seen],
        attn_mask=mask.bias,
        is_causal=mask.is_causal,
    )
    behind = mask.band.shape[1] - block
    rest = _attend_blocks(
        q[:, :, block:], k[:, :, seen - behind :], v[:, :, seen - behind :], mask.band
    )
    return torch.cat([first, rest], 2)


def weights(
    q: Tensor, k: Tensor, mask: AttentionMask = EVERYTHING
) -> Iterator[tuple[int, int, Tensor]]:
    """The weights of the values in `attend`, computed beside it: fused kernels do not return them.

        softmax(q k^T / sqrt(d_k) + bias),    rows sum to 1

    Args:
        q: (B, H, L, d_k).
        k: (B, H, S, d_k).
        mask: as for `attend`.

    Yields:
        For one block of queries after another its first query, the first slot that it sees, and
        the weights (B, H, l, W) of its l queries on that slot and the W - 1 after it, in float32
        at least.
    """
    length = q.shape[2]
    block = length if mask.band is None else mask.band.shape[0]
    seen = k.shape[2] - length + block
    bias = mask.bias
    if mask.is_causal:
        bias = as_bias(band(block, seen, seen, q.device), q.dtype)
    yield 0, 0, _weights(q[:, :, :block], k[:, :, :seen], bias)
    if mask.band is None:
        return
    behind = mask.band.shape[1] - block
    for begin in range(block, length, block):
        size, slot = min(block, length - begin), seen - block + begin - behind
        queries, keys = q[:, :, begin : begin + size], k[:, :, slot : slot + behind + size]
        yield begin, slot, _weights(queries, keys, mask.band[:size, : behind + size])


def weights_bytes(q: Tensor, k: Tensor, mask: AttentionMask = EVERYTHING) -> int:
    """The size of all that `weights` yields."""
    slots = k.shape[2] if mask.band is None else mask.band.shape[1]
    return q.shape[:3].numel() * slots * max(4, q.element_size())


def _weights(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    dtype = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        scores = (q.to(dtype) * q.shape[-1] ** -0.5) @ k.to(dtype).transpose(-2, -1)
        alpha: Tensor = (scores if bias is None else scores.add_(bias)).softmax(-1)
        return alpha


def _attend_blocks(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Blocks of queries, each with a window of keys that begins context - 1 slots before it.

    The windows overlap; they become one batch of equal problems, so one kernel does them all.
    """
    rows, heads, length, _ = q.shape
    block, width = bias.shape
    gap = -length % block

    def windows(t: Tensor) -> Tensor:
        overlapping = F.pad(t, (0, 0, 0, gap)).unfold(2, width, block).transpose(-2, -1)
        return overlapping.reshape(rows, -1, width, t.shape[-1])

    blocks = F.pad(q, (0, 0, 0, gap)).reshape(rows, -1, block, q.shape[-1])
    out = F.scaled_dot_product_attention(blocks, windows(k), windows(v), attn_mask=bias)
    return out.reshape(rows, heads, length + gap, -1)[:, :, :length]


class MultiHeadAttention(nn.Module):
    """H attentions in parallel, each on its own projections (Vaswani et al. 2017, 3.2.2).

        head_i = Attention(x W_q^i, m W_k^i, m W_v^i),    MultiHead(x, m) = [head_1 .. head_H] W_o

    x (L, D), m (S, D); W_q^i and W_k^i (D, d_k), W_v^i (D, d_v), W_o (H d_v, D). In self-attention
    m is x, and one product gives all projections. In cross-attention m is a memory whose keys and
    values are projected once by `project_memory`, and x is projected by `project_queries`.

    Attributes:
        weight: (H (2 d_k + d_v), D) the rows of all W_q, then of all W_k, then of all W_v.
        bias: (H (2 d_k + d_v),) or None.
        output: W_o.
    """

    def __init__(
        self, model_size: int, num_heads: int, key_size: int, value_size: int, *, bias: bool = False
    ) -> None:
        super().__init__()
        self.num_heads, self.key_size, self.value_size = num_heads, key_size, value_size
        rows = num_heads * (2 * key_size + value_size)
        self.weight = nn.Parameter(torch.empty(rows, model_size))
        self.bias = nn.Parameter(torch.empty(rows)) if bias else None
        self.output = Linear(num_heads * value_size, model_size, bias=bias)
        nn.init.normal_(self.weight, std=model_size**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def project(self, x: Tensor, rotation: Rotation | None = None) -> Projected:
        """x (B, L, D) as queries, keys (B, H, L, d_k) and values (B, H, L, d_v)."""
        rows, length, _ = x.shape
        heads = self.num_heads
        both = 2 * heads * self.key_size
        qkv = linear(x, self.weight, self.bias)
        if fused.is_useful(qkv):
            return fused.heads(qkv, heads, self.key_size, rotation)
        qk, v = qkv.split_with_sizes([both, heads * self.value_size], -1)
        qk = qk.view(rows, length, 2 * heads, self.key_size)
        if rotation is not None:
            qk = rotate(qk, rotation)
        q, k = qk.transpose(1, 2).chunk(2, 1)
        return q, k, v.view(rows, length, heads, self.value_size).transpose(1, 2)

    def project_queries(self, x: Tensor) -> Tensor:
        """x (B, L, D) as queries (B, H, L, d_k), for cross-attention."""
        n = self.num_heads * self.key_size
        q = linear(x, self.weight, self.bias, end=n)
        return q.view(*q.shape[:2], self.num_heads, self.key_size).transpose(1, 2)

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """A memory (B, S, D) as keys (B, H, S, d_k) and values (B, H, S, d_v)."""
        n = self.num_heads * self.key_size
        kv = linear(memory, self.weight, self.bias, begin=n)
        k, v = kv.split_with_sizes([n, self.num_heads * self.value_size], -1)
        k = k.view(*k.shape[:2], self.num_heads, self.key_size)
        v = v.view(*v.shape[:2], self.num_heads, self.value_size)
        return k.transpose(1, 2), v.transpose(1, 2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask = EVERYTHING) -> Tensor:
        """(B, L, D) [head_1 .. head_H] W_o, from projected q, k, v as of `attend`."""
        heads = attend(q, k, v, mask).transpose(1, 2).flatten(2)
        joined: Tensor = self.output(heads)
        return joined
