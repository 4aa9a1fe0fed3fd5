"""Products with few rows, as in decoding: y = W x + b, by the kernel that reads W fastest.

A step of decoding multiplies every weight with a few rows. Its time is the time of reading the
weights, and torch's product takes two to four times as long as that: it is made for many rows.
`linear` is `F.linear` with another kernel where nothing needs gradients and the rows are few:

    1 row          numpy's BLAS (torch's, if numpy's has several threads), W^T in memory order
    2 to 64 rows   oneDNN, with W packed once
    more           F.linear

This is a table by the number of rows (docs/decisions/2026-11-28-few-rows.md has the measurements),
not a clock: a search that is repeated must find the same. All kernels sum in float32 and agree with
`F.linear` to rounding.

`rounded` makes a copy of a model with its matrices in 8 or 16 bits, for decoding only. There every
product goes through one kernel, whatever the number of rows, so that a symbol has one probability:

    "int8"   w = s k / 127, where s is the greatest weight of an output and k in -127 .. 127; inputs
             are rounded likewise, row by row; sums are exact
    "fp16"   w in IEEE half precision, 11 bits; inputs and sums in float32

Knows tensors and modules; no family.
"""

import copy
import os
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.errors import ConfigError

Rounding: TypeAlias = Literal["int8", "fp16"]
Array: TypeAlias = NDArray[np.float32]
Product: TypeAlias = Callable[[Array], Array]  # (N, in) to a new (N, out)
M = TypeVar("M", bound=nn.Module)

MOST_ROWS = 64  # from here on F.linear is as fast
LEAST_WEIGHTS = 2**16  # numbers in a smaller matrix, which costs less than finding its kernel
SEEN_BEFORE = 2  # products before a weight is packed: packing costs as much as some products
_HALF_MOST = 65504.0  # the greatest number in half precision
_SMALLEST = np.float32(1e-30)  # a row of zeros is divided by this
_ENDS = np.array([1.0, -1.0], np.float32)
_QUANTIZED: Any = torch.ops.quantized


class Linear(nn.Linear):
    """y = W x + b as `nn.Linear`, by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """y (..., out) for x (..., in)."""
        return linear(x, self.weight, self.bias)


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, begin: int = 0, end: int | None = None
) -> Tensor:
    """`F.linear`, by the fastest kernel for the number of rows.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out,).
        begin, end: the rows of `weight` and `bias` to use; all by default.
    """
    # In a graph the number of rows is a symbol, which no condition may bound.
    is_traced = torch.is_grad_enabled() or torch.compiler.is_compiling()
    product = None if is_traced else _product(x, weight, begin, end)
    if product is None:
        if begin or end is not None:
            weight, bias = weight[begin:end], None if bias is None else bias[begin:end]
        return F.linear(x, weight, bias)
    y = torch.from_numpy(product(x.reshape(-1, x.shape[-1]).numpy()))
    if bias is not None:
        y = y.add_(bias if end is None and not begin else bias[begin:end])
    return y.view(*x.shape[:-1], y.shape[-1])


def array_product(weight: Tensor, bias: Tensor | None, *, is_one_row: bool) -> Product:
    """The map from x (N, in) to a new x W^T + b (N, out), of arrays, by the kernel for so few rows.

    It is valid until the weight or the bias changes, which the caller has to notice.

    Args:
        weight: (out, in) in float32 on a CPU.
        bias: (out,).
        is_one_row: whether N = 1; else N is 2 to 64.
    """
    prepared = _prepared_now(weight)
    product = _kernel(prepared, weight, prepared.kind(1 if is_one_row else 2))
    if bias is None:
        return product
    b = bias.detach().numpy()

    def with_bias(x: Array) -> Array:
        y = product(x)
        y += b
        return y

    return with_bias


# ---- which kernel -------------------------------------------------------------------------------


@dataclass
class _Prepared:
    """What is known of one weight while it does not change.

    Attributes:
        weight: the weight, which this must not keep alive.
        version: what identifies its values.
        rounding: how its values are rounded; None: they are not.
        seen: the number of products with few rows so far.
        products: the kernels by (number of rows or 0 for any, begin, end).
    """

    weight: "weakref.ref[Tensor]"
    version: tuple[int, int]
    rounding: Rounding | None = None
    seen: int = 0
    products: dict[tuple[int, int, int | None], Product] = field(default_factory=dict)

    def is_of(self, weight: Tensor) -> bool:
        """Whether this is what is known of the weight, with its present values."""
        return self.weight() is weight and self.version == _version(weight)

    def kind(self, num_rows: int) -> int:
        """Which kernel takes so many rows: 0 any number, 1 one, 2 a few."""
        return 0 if self.rounding is not None else min(num_rows, 2)


_PREPARED: dict[int, _Prepared] = {}  # by id of the weight


def _product(x: Tensor, weight: Tensor, begin: int, end: int | None) -> Product | None:
    """The kernel for x and these rows of the weight; None: F.linear."""
    prepared = _PREPARED.get(id(weight))
    if prepared is not None and not prepared.is_of(weight):
        _PREPARED.pop(id(weight), None)  # its values have changed
        prepared = None
    rounding = None if prepared is None else prepared.rounding
    num_rows = x.numel() // x.shape[-1]
    if rounding is None and (num_rows > MOST_ROWS or weight.numel() < LEAST_WEIGHTS):
        return None
    if not num_rows or not is_plain(x, weight):
        return None
    if prepared is None:
        prepared = _prepared_now(weight)
    prepared.seen += 1
    if prepared.seen <= SEEN_BEFORE and rounding is None:
        return None
    return _kernel(prepared, weight, prepared.kind(num_rows), begin, end)


def _prepared_now(weight: Tensor) -> _Prepared:
    """What is known of a weight with its present values."""
    prepared = _PREPARED.get(id(weight))
    if prepared is None or not prepared.is_of(weight):
        prepared = _PREPARED[id(weight)] = _prepared(weight)
    return prepared


def _kernel(
    prepared: _Prepared, weight: Tensor, kind: int, begin: int = 0, end: int | None = None
) -> Product:
    """The kernel of a kind for these rows of the weight, made once."""
    product = prepared.products.get((kind, begin, end))
    if product is None:
        rounding = prepared.rounding
        make = _KERNELS[rounding] if rounding else (_one_row if kind == 1 else _few_rows)
        product = prepared.products[kind, begin, end] = make(weight.detach()[begin:end])
    return product


def is_plain(x: Tensor, weight: Tensor) -> bool:
    """Whether these are float32 tensors on a CPU that nothing watches, casts or compiles."""
    return (
        x.dtype == torch.float32 == weight.dtype
        and x.device.type == "cpu" == weight.device.type
        and type(x) is Tensor
        and type(weight) in (Tensor, nn.Parameter)
        and not weight.is_inference()
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._len_torch_dispatch_stack()
        and not torch.compiler.is_compiling()
    )


def _version(weight: Tensor) -> tuple[int, int]:
    return weight.data_ptr(), weight._version


def _prepared(weight: Tensor, rounding: Rounding | None = None) -> _Prepared:
    key = id(weight)

    def forget(_: object) -> None:
        _PREPARED.pop(key, None)

    return _Prepared(weakref.ref(weight, forget), _version(weight), rounding)


# ---- float32 ------------------------------------------------------------------------------------


def _one_row(weight: Tensor) -> Product:
    """With W^T in memory order, in which a column-major weight has it already."""
    return one_row_product(weight.t().contiguous())


def one_row_product(transposed: Tensor) -> Product:
    """The map x -> x W^T for one row, W^T (in, out) contiguous.

    By numpy's BLAS if that has one thread, else by torch's. OpenBLAS's own threads wait for one
    another actively: where others use the processor too, a product of 20 us takes a time slice.
    """
    if has_one_blas_thread():
        array = transposed.numpy()
        return lambda x: x @ array
    return lambda x: torch.mm(torch.from_numpy(x), transposed).numpy()


def has_one_blas_thread() -> bool:
    """Whether numpy's BLAS was told to use one thread, as the command line does."""
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    return os.cpu_count() == 1 or "1" in map(os.environ.get, names)


def _few_rows(weight: Tensor) -> Product:
    """By oneDNN, whose own order of the weight is made once."""
    if not _has_onednn():
        return _by_torch(weight)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), MOST_ROWS // 2)
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: multiply(torch.from_numpy(x), packed, None, "none", [], "").numpy()


def _by_torch(weight: Tensor) -> Product:
    return lambda x: F.linear(torch.from_numpy(x), weight).numpy()


def _has_onednn() -> bool:
    return bool(
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch._C._dispatch_has_kernel_for_dispatch_key("mkldnn::_linear_pointwise", "CPU")
    )


# ---- rounded weights ----------------------------------------------------------------------------


def rounded(model: M, rounding: Rounding) -> M:
    """A copy of a model whose matrices are rounded, for decoding and scoring on a CPU.

    Vectors (biases and gains) stay as they are. Its weights hold the rounded values in float32, so
    whatever does not use `linear`, such as a look-up in an embedding, sees the same values.

    Raises:
        ConfigError: if the model is not in float32 on a CPU.
    """
    if any(p.dtype != torch.float32 or p.device.type != "cpu" for p in model.parameters()):
        raise ConfigError(f"precision {rounding} is for models in float32 on a CPU")
    made = copy.deepcopy(model).eval()
    for weight in _matrices(made):
        with torch.no_grad():
            weight.copy_(_ROUND[rounding](weight))
        _PREPARED[id(weight)] = _prepared(weight, rounding)
    return made


def is_rounded(weight: Tensor) -> bool:
    """Whether a weight was rounded by `rounded`."""
    prepared = _PREPARED.get(id(weight))
    return prepared is not None and prepared.rounding is not None and prepared.weight() is weight


def refuse_rounded(model: nn.Module) -> None:
    """Raise a ConfigError if a model has rounded weights: it is for decoding, not for training."""
    if any(is_rounded(weight) for weight in _matrices(model)):
        raise ConfigError(
            "a model with rounded weights is neither trained nor saved: use the one that it was "
            "made from"
        )


def _matrices(model: nn.Module) -> Iterator[nn.Parameter]:
    return (p for p in model.parameters() if p.ndim == 2)


def _scales(weight: Tensor) -> Tensor:
    """(out, 1) the value of one step of each output's weights; 1 where all are zero."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    return torch.where(scale > 0, scale, 1.0)


def _to_int8(weight: Tensor) -> Tensor:
    scale = _scales(weight)
    return (weight / scale).round_().mul_(scale)


def _to_half(weight: Tensor) -> Tensor:
    return weight.clamp(-_HALF_MOST, _HALF_MOST).half().float()


_ROUND: dict[Rounding, Callable[[Tensor], Tensor]] = {"int8": _to_int8, "fp16": _to_half}


def _int8_product(weight: Tensor) -> Product:
    """Inputs in 8 bits, each row in steps of its own: no row depends on the others.

    The kernel measures the range of all inputs together. Rows are divided by their greatest input,
    and two more inputs, whose weights are 0, hold both ends of the range, which is then the same
    for every batch.
    """
    if not _has_fbgemm():
        return _by_torch(weight)
    size = weight.shape[1]
    packed, multiply = _packed_int8(F.pad(weight, (0, 2))), _QUANTIZED.linear_dynamic.default
    # Without VNNI, sums of two products of 8 bits overflow 16: inputs then get 7 bits.
    is_narrow = not torch.cpu._is_vnni_supported()

    def product(x: Array) -> Array:
        most = np.maximum.reduce(np.abs(x), 1, keepdims=True, initial=_SMALLEST)
        scaled = np.empty((len(x), size + 2), np.float32)
        np.divide(x, most, scaled[:, :size])
        scaled[:, size:] = _ENDS
        y: Array = multiply(torch.from_numpy(scaled), packed, is_narrow).numpy()
        y *= most
        return y

    return product


def _packed_int8(weight: Tensor) -> Any:
    scale = _scales(weight)[:, 0].double()
    zero = torch.zeros(len(weight), dtype=torch.int64)
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        with warnings.catch_warnings():
            # Quantized tensors are to leave torch; the packed weight that is made here is kept.
            warnings.simplefilter("ignore", UserWarning)
            quantized = torch.quantize_per_channel(weight, scale, zero, 0, torch.qint8)
            return _QUANTIZED.linear_prepack(quantized, None)
    finally:
        torch.backends.quantized.engine = before


def _half_product(weight: Tensor) -> Product:
    if not _has_fbgemm():
        return _by_torch(weight)
    packed = _QUANTIZED.linear_prepack_fp16(weight, None)
    multiply = _QUANTIZED.linear_dynamic_fp16.default
    return lambda x: multiply(torch.from_numpy(x), packed).numpy()


_KERNELS: dict[Rounding, Callable[[Tensor], Product]] = {
    "int8": _int8_product,
    "fp16": _half_product,
}


def _has_fbgemm() -> bool:
    has_quantized = hasattr(torch, "quantize_per_channel")
    return has_quantized and "fbgemm" in torch.backends.quantized.supported_engines
