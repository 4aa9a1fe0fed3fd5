"""Kernels of products with few rows: maps x -> x W^T of arrays, made for the values of one weight.

One row is a sum of the rows of W^T, each times one input. That is what a bag of embeddings is, and
FBGEMM's kernel for it reads memory at the full rate of every core, where a BLAS gives one core the
whole product or takes threads that wait for one another. So W^T is cut into strips of columns, a
bag for each:

    y[j] = sum_i x_i S[j, i]      S[j, i] the part of row i of W^T that lies in strip j

Each sum goes over i in order, so the number of threads changes no bit. With one thread, and for
matrices that stay in its cache, numpy's BLAS is faster.

Matrices rounded to 8 bits, w = s k, go the same way with bytes k; for several rows the integers k,
which half precision holds exactly, take FBGEMM's product in 16 bits. Inputs and sums are float32.

Knows tensors and arrays; no module.

Shapes: N rows, a bag for each of J strips.
"""

import os
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = NDArray[np.float32]
Product: TypeAlias = Callable[[Array], Array]  # (N, in) to a new (N, out)

MOST_ROWS = 64  # from here on F.linear is as fast
LEAST_WEIGHTS = 2**16  # numbers in a smaller matrix, for which numpy's BLAS or F.linear is faster
LEAST_IN_STRIPS = 2**18  # numbers that stay in a core's cache
_WIDEST, _STEP = 384, 16  # columns of a strip, and what they are a multiple of
_QUANTIZED: Any = torch.ops.quantized


# ---- float32 ------------------------------------------------------------------------------------


def one_row(weight: Tensor) -> Product:
    """The product for N = 1, of a weight (out, in)."""
    return one_row_product(weight.t(), LEAST_WEIGHTS - 1)


def one_row_product(transposed: Tensor, least: int = LEAST_IN_STRIPS) -> Product:
    """The map x -> x W^T for one row, of W^T (in, out).

    In strips, or by numpy's BLAS if that has one thread, or else by torch's. OpenBLAS's own threads
    wait for one another actively: where others use the processor too, a product of 20 us takes a
    time slice.

    Args:
        transposed: W^T.
        least: the number of numbers above which a matrix is in strips; by default the most that
            stay in a core's cache, if few other matrices are read between two steps.
    """
    is_large = transposed.numel() > least and transposed.dtype == torch.float32
    if is_large and torch.get_num_threads() > 1 and _has_fbgemm():
        return _strips_product(transposed)
    transposed = transposed.contiguous()  # a column-major weight is, transposed
    if has_one_blas_thread():
        array = transposed.numpy()
        return lambda x: x @ array
    return lambda x: torch.mm(torch.from_numpy(x), transposed).numpy()


def has_one_blas_thread() -> bool:
    """Whether numpy's BLAS was told to use one thread, as the command line does."""
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    return os.cpu_count() == 1 or "1" in map(os.environ.get, names)


def few_rows(weight: Tensor) -> Product:
    """By oneDNN, whose own order of the weight is made once."""
    if not _has_onednn():
        return _by_torch(weight)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), MOST_ROWS // 2)
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: multiply(torch.from_numpy(x), packed, None, "none", [], "").numpy()


def _by_torch(weight: Tensor) -> Product:
    return lambda x: F.linear(torch.from_numpy(x), weight).numpy()


def _strips_product(transposed: Tensor) -> Product:
    size = transposed.shape[1]
    strips = torch.from_numpy(_in_strips(transposed.numpy()))
    num_strips, width = strips.shape[0], strips.shape[2]
    strips = strips.view(-1, width)
    bags = _Bags(num_strips, len(transposed))

    def product(x: Array) -> Array:
        factors = bags.factors(x)
        y = torch.embedding_bag(strips, bags.rows, bags.offsets, False, 0, False, factors, False)[0]
        return y.numpy().reshape(1, -1)[:, :size]

    return product


def _in_strips(transposed: NDArray[Any]) -> NDArray[Any]:
    """(J, in, width) of W^T (in, out), with zeros after the last column; J is even."""
    num_inputs = len(transposed)
    size: int = transposed.shape[1]
    least = -2 * (-size // (2 * _WIDEST))

    def width(num_strips: int) -> int:
        return _STEP * -(-size // (num_strips * _STEP))

    num_strips = min(range(least, least + 6, 2), key=lambda count: count * width(count))
    missing = num_strips * width(num_strips) - size
    padded = np.pad(transposed, ((0, 0), (0, missing)))
    cut = padded.reshape(num_inputs, num_strips, -1).swapaxes(0, 1)
    return np.ascontiguousarray(cut)


class _Bags:
    """The rows of all strips, one bag after another.

    Attributes:
        rows: (J in,) the rows.
        offsets: (J,) where those of each bag begin.
    """

    def __init__(self, num_strips: int, size: int) -> None:
        self.rows = torch.arange(num_strips * size, dtype=torch.int32)
        self.offsets = self.rows[::size].clone()
        self._shape = num_strips, size

    def factors(self, x: Array) -> Tensor:
        """(J in,) x (1, in) for every bag; numpy copies it in half the time of torch."""
        factors = np.empty(self._shape, np.float32)
        factors[:] = x
        return torch.from_numpy(factors.reshape(-1))


# ---- rounded weights ----------------------------------------------------------------------------


def int8_scales(weight: Tensor) -> Tensor:
    """(out, 1) the value s of one step of each output's weights; 1 where all are zero."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    return torch.where(scale > 0, scale, 1.0)


def int8_one_row(weight: Tensor) -> Product:
    """By bags of rows of bytes k + 128, each with a factor 1 and a summand -128."""
    if not _has_fbgemm():
        return _by_torch(weight)
    steps, scales = _steps(weight)
    size = len(weight)
    strips = _in_strips(steps.t().numpy())
    num_strips, _, width = strips.shape
    packed = np.empty((num_strips * weight.shape[1], width + 8), np.uint8)
    packed[:, :width] = strips.reshape(-1, width) + 128
    packed[:, width:] = np.array([1.0, -128.0], np.float32).view(np.uint8)
    table, bags = torch.from_numpy(packed), _Bags(num_strips, weight.shape[1])
    add = _QUANTIZED.embedding_bag_byte_rowwise_offsets.default

    def product(x: Array) -> Array:
        factors = bags.factors(x)
        y = add(table, bags.rows, bags.offsets, False, 0, False, factors, None, False)
        scaled: Array = y.numpy().reshape(1, -1)[:, :size]
        scaled *= scales
        return scaled

    return product


def int8_few_rows(weight: Tensor) -> Product:
    """By FBGEMM's product of weights in half precision."""
    if not _has_fbgemm():
        return _by_torch(weight)
    steps, scales = _steps(weight)
    multiply = half_product(steps)

    def product(x: Array) -> Array:
        y = multiply(x)
        y *= scales
        return y

    return product


def _steps(weight: Tensor) -> tuple[Tensor, Array]:
    """k (out, in), and s (out,)."""
    scales = int8_scales(weight)
    return (weight / scales).round_(), scales[:, 0].numpy()


def half_product(weight: Tensor) -> Product:
    """By FBGEMM's product of weights in half precision, for any number of rows."""
    if not _has_fbgemm():
        return _by_torch(weight)
    packed = _QUANTIZED.linear_prepack_fp16(weight, None)
    multiply = _QUANTIZED.linear_dynamic_fp16.default
    return lambda x: multiply(torch.from_numpy(x), packed).numpy()


# ---- what this torch has ------------------------------------------------------------------------


def _has_fbgemm() -> bool:
    return "fbgemm" in torch.backends.quantized.supported_engines


def _has_onednn() -> bool:
    return bool(
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch._C._dispatch_has_kernel_for_dispatch_key("mkldnn::_linear_pointwise", "CPU")
    )
