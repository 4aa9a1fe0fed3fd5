"""Blocks of a Transformer for one element of a few rows, in numpy.

A step of decoding has some forty small operations in every block, and each costs more to call than
to compute. numpy's cost a third of torch's, and wait for no other thread. `layers.blocks` has the
equations; a test holds the two equal.

Knows blocks of one shape, the default: norms first, RMS norms, rotary positions, SwiGLU.

Shapes: B rows, H heads, D features, F inner features, d features of a head; of keys that rows
share M sources, G rows of each, N slots.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core import taps
from seriatim.core.products import MOST_ROWS, has_one_blas_thread, is_plain, linear_arrays
from seriatim.layers.attention import AttentionMask, MultiHeadAttention, attend
from seriatim.layers.blocks import Block, RMSNorm, SwiGLU
from seriatim.layers.kv_tape import Chunk
from seriatim.layers.positions import Rotation

Array: TypeAlias = NDArray[np.float32]


def is_useful(h: Tensor, rotation: Rotation | None, blocks: Iterable[nn.Module]) -> bool:
    """Whether `step` can take h (B, L, D) through the blocks, and is faster."""
    if torch.is_grad_enabled() or h.shape[1] != 1 or h.shape[0] > MOST_ROWS or rotation is None:
        return False
    first: Any = None
    for block in blocks:
        if type(block) is not Block or not block.is_default or (block.training and block.dropout):
            return False
        first = first or block
    return first is not None and not taps.is_on() and is_plain(h, first.attention.weight)


def step(h: Tensor, chunk: Chunk, rotation: Rotation, blocks: Iterable[Any], last: Any) -> Tensor:
    """h (B, 1, D) after all blocks and the last norm; `chunk` appends the keys and values.

    Args:
        h: the input of the first block.
        chunk: the new element.
        rotation: the cosines and signed sines of its position, (1 or B, 1, 1, d) or (1, 1, d).
        blocks: blocks of which `is_useful` is true.
        last: the norm after them.
    """
    x, shape = h[:, 0].numpy(), h.shape
    cos, sin = (t.reshape(-1, 1, t.shape[-1]).numpy() for t in rotation)
    with np.errstate(over="ignore"):  # exp of a very negative gate: its SiLU is 0
        for layer, block in enumerate(blocks):
            parts = block._modules  # attributes of modules are slow to look up
            y = rms_norm(x, parts["attention_norm"])
            x = x + _attention(y, parts["attention"], chunk, layer, (cos, sin))
            y = rms_norm(x, parts["feedforward_norm"])
            x += _swiglu(y, parts["feedforward"])
    return torch.from_numpy(rms_norm(x, last)).view(shape)


def rms_norm(x: Array, norm: RMSNorm) -> Array:
    """g x / sqrt(mean(x^2) + eps) for x (B, D)."""
    scale = np.einsum("bd,bd->b", x, x)[:, None]
    scale /= x.shape[1]
    scale += norm.eps
    np.sqrt(scale, scale)
    y: Array = x / scale
    y *= norm.weight.detach().numpy()
    return y


def _swiglu(x: Array, network: SwiGLU) -> Array:
    """W_2 (silu(W_1 x) * V x), (B, D)."""
    inner = _linear(x, network._modules["inner"])
    size = inner.shape[1] // 2
    gate, y = inner[:, :size], np.exp(-inner[:, :size])
    y += 1
    np.divide(gate, y, y)
    y *= inner[:, size:]
    return _linear(y, network._modules["output"])


def _linear(x: Array, layer: Any) -> Array:
    own = layer._parameters
    return linear_arrays(x, own["weight"], own.get("bias"))


def _attention(
    x: Array, attention: MultiHeadAttention, chunk: Chunk, layer: int, turn: tuple[Array, Array]
) -> Array:
    """[head_1 .. head_H] W_o, (B, D), where every row sees what the chunk's mask says."""
    rows, heads, d = len(x), attention.num_heads, attention.key_size
    qkv = _linear(x, attention)
    qk = torch.from_numpy(_rotated(qkv[:, : 2 * heads * d].reshape(rows, 2 * heads, d), *turn))
    v = torch.from_numpy(qkv[:, 2 * heads * d :].reshape(rows, heads, 1, -1))
    keys, values = chunk.view(layer, qk[:, heads:, None], v)
    q = qk[:, :heads, None]
    if has_one_blas_thread():
        y = _attend(q.numpy(), keys.numpy(), values.numpy(), chunk.mask)
    else:
        y = attend(q, keys, values, chunk.mask).reshape(rows, -1).numpy()
    return _linear(y, attention._modules["output"])


def _attend(q: Array, keys: Array, values: Array, mask: AttentionMask) -> Array:
    """`attention.attend` of one query of each row, q (B, H, 1, d), with heads joined: (B, H d)."""
    rows, heads, _, d = q.shape
    # The rows of one source side by side: (M, H, G, d).
    q = q.reshape(rows // mask.group, mask.group, heads, d).swapaxes(1, 2) * np.float32(d**-0.5)
    weights = np.matmul(q, keys.swapaxes(2, 3))
    if mask.bias is not None:
        weights += mask.bias.numpy()
    weights -= weights.max(-1, keepdims=True)
    np.exp(weights, weights)
    weights /= weights.sum(-1, keepdims=True)
    y: Array = np.matmul(weights, values).swapaxes(1, 2).reshape(rows, -1)
    return y


def _rotated(x: Array, cos: Array, sin: Array) -> Array:
    """`positions.rotate` of x (B, 2 H, d)."""
    half = x.shape[-1] // 2
    y = x * cos
    y[..., :half] += x[..., half:] * sin[..., :half]
    y[..., half:] += x[..., :half] * sin[..., half:]
    return y
