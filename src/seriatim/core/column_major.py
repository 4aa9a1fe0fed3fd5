"""Weights that lie column after column in memory while they are trained on a CPU.

A layer y = x W^T reads W (out, in) in three products: y itself, dx = dy W and dW = dy^T x. Rows lie
one after the other as torch makes them; then W^T and dy^T are read across their rows, which
matrix units do badly: with 700 x 650 features in bfloat16 such a product takes two to three times
as long as one whose factors both lie as they are read. Columns one after the other make y the
quick kind, leave dx as it was, and turn dW into (x^T dy)^T, for which only x, the smaller, is
copied across. Shapes and values are those of before; only strides differ.

Knows tensors and modules; knows no model and no training.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class PrefersColumns(Protocol):
    """A module that has its own road for weights by columns."""

    def column_weights(self) -> Iterable[Tensor]:
        """Matrices that it multiplies by faster when they lie by columns."""


def to_column_major(model: nn.Module) -> list[Tensor]:
    """Lay the weights by columns for which a module of the model asks, and say which those are."""
    found = [
        weight
        for module in model.modules()
        if isinstance(module, PrefersColumns)
        for weight in module.column_weights()
    ]
    for weight in found:
        weight.data = transposed(weight.data).t()
    return found


def to_row_major(weights: Iterable[Tensor]) -> None:
    """The inverse: weights as torch makes them."""
    for weight in weights:
        weight.data = weight.data.contiguous()


@contextmanager
def transposed_weights(weights: Sequence[Tensor]) -> Iterator[None]:
    """Inside, W^T (in, out) stands in the place of every W that lies by columns, its gradient too.

    For kernels that go through memory and look at no stride, as those of optimizers do: by rows
    W^T is contiguous.
    """
    _transpose(weights)
    try:
        yield
    finally:
        _transpose(weights)


def _transpose(weights: Sequence[Tensor]) -> None:
    for weight in weights:
        gradient, weight.grad = weight.grad, None  # it must have the shape of its weight
        weight.data = weight.data.t()
        weight.grad = None if gradient is None else gradient.t()


def is_column_major(weight: Tensor) -> bool:
    """Whether a matrix lies by columns."""
    return weight.ndim == 2 and weight.stride(0) == 1 and weight.stride(1) >= weight.shape[0] > 1


_ROWS = 128  # copied across at once: their pages and lines stay at hand


def transposed(x: Tensor) -> Tensor:
    """x^T, contiguous."""
    y = x.new_empty(x.shape[1], x.shape[0])
    for begin in range(0, len(x), _ROWS):
        y[:, begin : begin + _ROWS].copy_(x[begin : begin + _ROWS].t())
    return y


def weight_gradient(dy: Tensor, x: Tensor, like: Tensor) -> Tensor:
    """dy^T x of dy (N, out) and x (N, in), which lies as `like` does."""
    if is_column_major(like):
        return (transposed(x) @ dy).t()
    return dy.t() @ x


def cat_rows(parts: Sequence[Tensor]) -> Tensor:
    """Matrices of as many columns one below the other, which lie as the first does."""
    if is_column_major(parts[0]):
        return torch.cat([part.t() for part in parts], 1).t()
    return torch.cat(list(parts))
