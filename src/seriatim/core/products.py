"""Products with few rows, as in decoding: y = W x + b, by the kernel that reads W fastest.

A step of decoding multiplies every weight with a few rows. Its time is the time of reading the
weights, and torch's product takes two to four times as long as that: it is made for many rows.
`linear` is `F.linear` with another kernel where nothing needs gradients and the rows are few:

    1 row          strips of columns, one for each thread, or numpy's BLAS
    2 to 64 rows   oneDNN, with W packed once
    more           F.linear

This is a table by the number of rows (docs/decisions/2026-11-28-few-rows.md has the measurements),
not a clock: a search that is repeated must find the same. `core.product_kernels` has the kernels;
all sum in float32 and agree with `F.linear` to rounding.

`rounded` makes a copy of a model with its matrices in 8 or 16 bits, for decoding only. Only weights
are rounded, so whatever the kernel, a symbol has one probability, scored or sampled:

    "int8"   w = s k / 127, where s is the greatest weight of an output and k in -127 .. 127
    "fp16"   w in IEEE half precision, 11 bits

Knows tensors and modules; no family.
"""

import copy
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core.product_kernels import (
    LEAST_WEIGHTS,
    MOST_ROWS,
    Array,
    Product,
    few_rows,
    half_product,
    int8_few_rows,
    int8_one_row,
    int8_scales,
    one_row,
)
from seriatim.errors import ConfigError

Rounding: TypeAlias = Literal["int8", "fp16"]
M = TypeVar("M", bound=nn.Module)

SEEN_BEFORE = 2  # products before a weight is packed: packing costs as much as some products
_HALF_MOST = 65504.0  # the greatest number in half precision


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
    product = _kernel(prepared, weight, 1 if is_one_row else 2)
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
        products: the kernels by (1 for one row and 2 for a few, begin, end).
    """

    weight: "weakref.ref[Tensor]"
    version: tuple[int, int]
    rounding: Rounding | None = None
    seen: int = 0
    products: dict[tuple[int, int, int | None], Product] = field(default_factory=dict)

    def is_of(self, weight: Tensor) -> bool:
        """Whether this is what is known of the weight, with its present values."""
        return self.weight() is weight and self.version == _version(weight)


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
    return _kernel(prepared, weight, min(num_rows, 2), begin, end)


def _prepared_now(weight: Tensor) -> _Prepared:
    """What is known of a weight with its present values."""
    prepared = _PREPARED.get(id(weight))
    if prepared is None or not prepared.is_of(weight):
        prepared = _PREPARED[id(weight)] = _prepared(weight)
    return prepared


def _kernel(
    prepared: _Prepared, weight: Tensor, kind: int, begin: int = 0, end: int | None = None
) -> Product:
    """The kernel for one row (1) or a few (2) and these rows of the weight, made once."""
    product = prepared.products.get((kind, begin, end))
    if product is None:
        make = _KERNELS[prepared.rounding][kind - 1]
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


def _to_int8(weight: Tensor) -> Tensor:
    scale = int8_scales(weight)
    return (weight / scale).round_().mul_(scale)


def _to_half(weight: Tensor) -> Tensor:
    return weight.clamp(-_HALF_MOST, _HALF_MOST).half().float()


_ROUND: dict[Rounding, Callable[[Tensor], Tensor]] = {"int8": _to_int8, "fp16": _to_half}

_KERNELS: dict[Rounding | None, tuple[Callable[[Tensor], Product], Callable[[Tensor], Product]]] = {
    None: (one_row, few_rows),
    "int8": (int8_one_row, int8_few_rows),
    "fp16": (half_product, half_product),
}
