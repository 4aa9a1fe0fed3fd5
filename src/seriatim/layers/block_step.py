"""Blocks of a Transformer for one element of a few rows, in numpy.

A step of decoding has some forty small operations in every block, and each costs more to call than
to compute: more than the products, if these have rounded weights. numpy's calls cost a third of
torch's and wait for no other thread, so a step is made of as few of them as possible, around
products that are bound once for the present weights. `layers.blocks` has the equations; a test
holds the two equal.

Knows blocks of one shape, the default: norms first, RMS norms, rotary positions, SwiGLU.

Shapes: B rows, H heads, D features, F inner features, d features of a head; of keys that rows
share M sources, G rows of each, N slots; R = B, or 1 if all rows are at one position.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core import taps
from seriatim.core.product_kernels import MOST_ROWS, Product, has_one_blas_thread
from seriatim.core.products import SEEN_BEFORE, array_product, is_plain, is_rounded
from seriatim.layers.attention import AttentionMask, attend
from seriatim.layers.blocks import Block
from seriatim.layers.kernels.step import WeightWatch
from seriatim.layers.kv_tape import Chunk

Array: TypeAlias = NDArray[np.float32]
Norm: TypeAlias = tuple[Array, float]  # sqrt(D) g, and D eps


def is_useful(h: Tensor, weight: Tensor) -> bool:
    """Whether a step of h (B, L, D) by blocks with such weights is faster here."""
    return (
        h.shape[1] == 1
        and h.shape[0] <= MOST_ROWS
        and not torch.is_grad_enabled()
        and not taps.is_on()
        and is_plain(h, weight)
    )


def are_known(blocks: Sequence[nn.Module]) -> bool:
    """Whether the blocks have the shape that is known here."""
    return all(type(block) is Block and block.is_default for block in blocks)


class _Layer(NamedTuple):
    """What a step needs of one block."""

    attention_norm: Norm
    qkv: Product
    attention_output: Product
    feedforward_norm: Norm
    inner: Product
    output: Product


class BlockSteps:
    """Steps through blocks, valid while their weights do not change."""

    def __init__(self, blocks: Sequence[Any], last: nn.Module, base: float) -> None:
        """
        Args:
            blocks: blocks of which `are_known` is true.
            last: the norm after them.
            base: the base of the wavelengths of the positions.
        """
        self._watch = WeightWatch(*blocks, last)
        self._blocks, self._last = blocks, _norm(last)
        attention = blocks[0].attention
        self._heads, self._size = attention.num_heads, attention.key_size
        self._layers: dict[bool, list[_Layer]] = {}  # by whether there is one row
        self._steps_before = 0 if is_rounded(attention.weight) else SEEN_BEFORE
        self._has_one_thread = has_one_blas_thread()
        self._frequencies = np.exp(np.arange(0, self._size, 2) * (-math.log(base) / self._size))
        # Queries are divided by sqrt(d) as they are turned.
        self._scale = np.repeat([self._size**-0.5, 1.0], self._heads)[:, None, None]
        self._signed_scale = self._scale * [[-1.0], [1.0]]

    def is_stale(self, blocks: Sequence[Any]) -> bool:
        """Whether these are other blocks, or other weights than before."""
        return self._blocks != blocks or self._watch.is_stale()

    def is_worth_it(self) -> bool:
        """Whether there were steps before: laying out the weights costs as much as some steps."""
        self._steps_before -= 1
        return self._steps_before < 0

    def step(self, h: Tensor, chunk: Chunk) -> Tensor:
        """h (B, 1, D) after all blocks and the last norm; `chunk` appends the keys and values."""
        x: Array = h[:, 0].numpy().copy()
        turn, mask = self._turn(chunk.positions), chunk.mask
        with np.errstate(over="ignore"):  # exp of a very negative gate: its SiLU is 0
            for i, layer in enumerate(self._layers_for(len(x) == 1)):
                qkv = layer.qkv(_rms_norm(x, layer.attention_norm))
                x += layer.attention_output(self._attended(qkv, chunk, i, turn, mask))
                inner = layer.inner(_rms_norm(x, layer.feedforward_norm))
                x += layer.output(_swiglu(inner))
        return torch.from_numpy(_rms_norm(x, self._last)).unsqueeze(1)

    def _layers_for(self, is_one_row: bool) -> list[_Layer]:
        layers = self._layers.get(is_one_row)
        if layers is None:
            made = (_layer(block, is_one_row) for block in self._blocks)
            layers = self._layers[is_one_row] = list(made)
        return layers

    def _turn(self, positions: Tensor) -> tuple[Array, Array]:
        """Cosines (R, 2 H, 1, d / 2) and signed sines (R, 2 H, 2, d / 2) for queries and keys.

        As `positions.rotation`: the angles are float64, since positions are large in a stream.
        """
        theta = positions.numpy().reshape(-1, 1, 1, 1) * self._frequencies
        cos, sin = np.cos(theta) * self._scale, np.sin(theta) * self._signed_scale
        return cos.astype(np.float32), sin.astype(np.float32)

    def _attended(
        self, qkv: Array, chunk: Chunk, layer: int, turn: tuple[Array, Array], mask: AttentionMask
    ) -> Array:
        """[head_1 .. head_H] (B, H d), where every row sees what the mask says."""
        rows, heads, size = len(qkv), self._heads, self._size
        both = 2 * heads * size
        qk = qkv[:, :both].reshape(rows, 2 * heads, 2, -1)  # the pairs (i, i + d / 2)
        turned = qk[:, :, ::-1] * turn[1]
        qk *= turn[0]
        turned += qk
        qk = turned.reshape(rows, 2 * heads, 1, size)
        v = qkv[:, both:].reshape(rows, heads, 1, -1)
        keys, values = chunk.view_arrays(layer, qk[:, heads:], v)
        if self._has_one_thread:
            return _attend(qk[:, :heads], keys, values, mask)
        q = torch.from_numpy(qk[:, :heads]) * size**0.5  # which `attend` divides by
        y = attend(q, torch.from_numpy(keys), torch.from_numpy(values), mask)
        return y.reshape(rows, -1).numpy()


def _layer(block: Any, is_one_row: bool) -> _Layer:
    """A block, prepared for one row or for several."""
    attention, network = block.attention, block.feedforward

    def product(owner: Any) -> Product:
        return array_product(owner.weight, owner.bias, is_one_row=is_one_row)

    return _Layer(
        _norm(block.attention_norm),
        product(attention),
        product(attention.output),
        _norm(block.feedforward_norm),
        product(network.inner),
        product(network.output),
    )


def _norm(norm: Any) -> Norm:
    size = len(norm.weight)
    return norm.weight.detach().numpy() * np.float32(size**0.5), size * norm.eps


def _rms_norm(x: Array, norm: Norm) -> Array:
    """g x / sqrt(mean(x^2) + eps) = sqrt(D) g x / sqrt(sum(x^2) + D eps) for x (B, D)."""
    gain, epsilon = norm
    if len(x) == 1:  # in half the time
        row = x[0]
        one: Array = x * gain
        one *= (row.dot(row).item() + epsilon) ** -0.5
        return one
    length = np.matmul(x[:, None], x[:, :, None])[:, 0]
    length += epsilon
    np.sqrt(length, length)
    y: Array = x * gain
    y /= length
    return y


def _swiglu(inner: Array) -> Array:
    """silu(W_1 x) * V x (B, F), of the two halves of (B, 2 F)."""
    size = inner.shape[1] // 2
    gate = inner[:, :size]
    y: Array = np.negative(gate)
    np.exp(y, y)
    y += 1
    np.divide(gate, y, y)
    y *= inner[:, size:]
    return y


def _attend(q: Array, keys: Array, values: Array, mask: AttentionMask) -> Array:
    """`attention.attend` of one query of each row, q / sqrt(d) (B, H, 1, d): (B, H d)."""
    rows, heads, _, size = q.shape
    # The rows of one source side by side: (M, H, G, d).
    q = q.reshape(rows // mask.group, mask.group, heads, size).swapaxes(1, 2)
    weights = np.matmul(q, keys.swapaxes(2, 3))
    if mask.bias is not None:
        weights += mask.bias.numpy()
    weights -= np.maximum.reduce(weights, 3, keepdims=True)
    np.exp(weights, weights)
    y: Array = np.matmul(weights, values)
    y /= np.add.reduce(weights, 3, keepdims=True)
    return y.swapaxes(1, 2).reshape(rows, -1)
