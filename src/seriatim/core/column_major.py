"""Weights stored in column-major order while they are trained on a CPU.

A layer y = x W^T uses W (out, in) in three products: y itself, dx = dy W and dW = dy^T x. In the
row-major order of torch, W^T and dy^T are read against their memory order, which matrix units do
badly: with 700 x 650 features in bfloat16 such a product takes two to three times as long as one
that reads both factors in memory order. In column-major order y becomes the fast kind, dx stays
as it was, and dW becomes (x^T dy)^T, for which only x, the smaller factor, is transposed. Shapes
and values do not change; only strides do.

Knows tensors and modules; no model and no training.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class PrefersColumns(Protocol):
    """A module with a faster path for column-major weights."""

    def column_weights(self) -> Iterable[Tensor]:
        """The matrices that are multiplied faster in column-major order."""


def to_column_major(model: nn.Module) -> list[Tensor]:
    """Store in column-major order the weights for which a module prefers it, and return them."""
    weights = [
        weight
        for module in model.modules()
        if isinstance(module, PrefersColumns)
        for weight in module.column_weights()
    ]
    for weight in weights:
        weight.data = transposed(weight.data).t()
    return weights


def to_row_major(weights: Iterable[Tensor]) -> None:
    """The inverse of `to_column_major`: the order of torch."""
    for weight in weights:
        weight.data = weight.data.contiguous()


@contextmanager
def transposed_weights(weights: Sequence[Tensor]) -> Iterator[None]:
    """Inside, every column-major W and its gradient are replaced by W^T (in, out).

    For kernels that ignore strides and go through memory, such as those of optimizers: W^T is
    contiguous.
    """
    _transpose(weights)
    try:
        yield
    finally:
        _transpose(weights)


def _transpose(weights: Sequence[Tensor]) -> None:
    for weight in weights:
        gradient, weight.grad = weight.grad, None  # a gradient must have the shape of its weight
        weight.data = weight.data.t()
        weight.grad = None if gradient is None else gradient.t()


def is_column_major(weight: Tensor) -> bool:
    """Whether a matrix is stored in column-major order."""
    return weight.ndim == 2 and weight.stride(0) == 1 and weight.stride(1) >= weight.shape[0] > 1


_ROWS = 128  # transposed at once: their pages and cache lines stay in the cache
_SMALL = 2**20  # numbers in dy up to which transposing x costs more than reading it across


def transposed(x: Tensor) -> Tensor:
    """x^T, contiguous."""
    y = x.new_empty(x.shape[1], x.shape[0])
    for begin in range(0, len(x), _ROWS):
        y[:, begin : begin + _ROWS].copy_(x[begin : begin + _ROWS].t())
    return y


def weight_gradient(dy: Tensor, x: Tensor, like: Tensor) -> Tensor:
    """dy^T x for dy (N, out) and x (N, in), in the memory order of `like`."""
    if is_column_major(like):
        return ((x.t() if dy.numel() <= _SMALL else transposed(x)) @ dy).t()
    return dy.t() @ x


def cat_rows(parts: Sequence[Tensor]) -> Tensor:
    """Matrices stacked vertically, in the memory order of the first one."""
    if is_column_major(parts[0]):
        return torch.cat([part.t() for part in parts], 1).t()
    return torch.cat(list(parts))
