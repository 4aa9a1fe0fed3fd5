"""Precision: what a device does best, chosen once for a run and applied around its steps.

Two things are kept apart. `choose_precision` decides whether products are computed in float32 or
in bfloat16, and says why; its answer is recorded, and a resumed run takes the recorded one.
`process_settings` and `autocast` put it into effect for a time and restore everything after.

- "float32": products exact to float32's rounding, by the fastest exact method. On a CPU torch's
  "medium" is oneDNN: two to three times faster and still float32, unless the processor has matrix
  units for bfloat16, where it rounds every factor to 8 bits. So the error of a product is measured.
- "bf16": products in bfloat16 under autocast; weights, sums, softmax and norms in float32.

Knows torch and its process-wide settings, whose one owner it is; knows no family and no data.
"""

import ctypes
import os
import platform
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import nn

Products = Literal["float32", "bf16"]

EXACT = 1e-5  # the greatest relative error of a product in float32 (rounding is 6e-8 a sum)
WIDE = 400_000  # weights in matrices above which a step is mostly products
WORTH = 1.5  # times as fast as float32 must bfloat16 be, when measured
_SIZE = 512  # rows of the product whose error or time is measured
_TRIALS = 12


@dataclass(frozen=True)
class PrecisionChoice:
    """How products are computed, and a sentence that says why ("" if there was no choice)."""

    products: Products
    why: str


def choose_precision(
    precision: Literal["auto", "float32", "bf16", "measure"], model: nn.Module
) -> PrecisionChoice:
    """The precision to train a model with: the given one, or what its device does best.

    With "auto" it follows from the device and the model alone, so that a seed chooses the same
    weights again. "measure" times products and may choose otherwise another time.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if precision == "float32" or precision == "bf16":
        return PrecisionChoice(precision, f"precision {precision}, as requested")
    if any(p.dtype != torch.float32 for p in model.parameters() if p.is_floating_point()):
        return PrecisionChoice("float32", "")  # there is nothing to choose
    width = sum(p.numel() for p in model.parameters() if p.ndim >= 2 and p.requires_grad)
    if width < WIDE:
        exact = exact_float32(device)
        return PrecisionChoice(
            "float32",
            f"precision float32 ({exact.why}): with {width:,} weights in matrices, casting to "
            "bfloat16 would cost more than it gains",
        )
    return _fastest(device) if precision == "auto" else _measured(device)


@lru_cache
def _measured(device: torch.device) -> PrecisionChoice:
    """By the clock, once for a process."""
    with process_settings(device):
        ratio = _seconds(device, torch.float32) / _seconds(device, torch.bfloat16)
    products: Products = "bf16" if ratio >= WORTH else "float32"
    return PrecisionChoice(
        products, f"precision {products}, as measured: bf16 products are {ratio:.1f} times as fast"
    )


def _seconds(device: torch.device, dtype: torch.dtype) -> float:
    """The least time of a product."""
    a = torch.ones(_SIZE, _SIZE, dtype=dtype, device=device)
    times = []
    for _ in range(_TRIALS):
        began = time.perf_counter()
        total = (a @ a).sum()
        total.item()  # a GPU has computed it only then
        times.append(time.perf_counter() - began)
    return min(times)


@lru_cache
def _fastest(device: torch.device) -> PrecisionChoice:
    reason = ""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return PrecisionChoice("bf16", "precision bf16: this GPU has matrix units for bfloat16")
        reason = ": this GPU has no bfloat16"
    elif device.type == "cpu":
        if (unit := bfloat16_unit()) is not None:
            return PrecisionChoice("bf16", f"precision bf16: this processor has {unit}")
        reason = ": this processor cannot multiply in bfloat16"
    return PrecisionChoice("float32", f"precision float32 ({exact_float32(device).why}){reason}")


def bfloat16_unit() -> str | None:
    """The instructions of this processor that multiply in bfloat16; None: it has none.

    Read off the processor and not off a clock: products measured under load would choose another
    precision, and so other weights, for the same seed on the same machine. oneDNN can be told to
    do without them (DNNL_MAX_CPU_ISA), and then does.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "ALL")).upper()
    is_limited = limit not in ("ALL", "DEFAULT")
    if torch.cpu._is_amx_tile_supported() and (not is_limited or "AMX" in limit):
        return "AMX matrix units for bfloat16"
    if torch.cpu._is_avx512_bf16_supported() and (
        not is_limited or "BF16" in limit or "FP16" in limit or "AMX" in limit
    ):
        return "AVX-512 instructions for bfloat16"
    return None


@dataclass(frozen=True)
class Exact:
    """The value of torch's float32_matmul_precision that is fast and exact, and why."""

    setting: Literal["highest", "high", "medium"]
    why: str


@lru_cache
def exact_float32(device: torch.device) -> Exact:
    """The fastest setting with exact float32 products on a device."""
    if device.type != "cpu":
        return Exact("highest", "without TF32, which keeps 10 bits")
    with _float32_products("medium"):
        error = _error()
    if error <= EXACT:
        return Exact("medium", f"through oneDNN, relative error {error:.0e}")
    return Exact("highest", f'torch\'s default; "medium" has a relative error of {error:.0e}')


def _error() -> float:
    """The relative error of a float32 product, in the Frobenius norm."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(_SIZE, _SIZE, generator=generator, dtype=torch.float32) for _ in range(2))
    exact = a.double() @ b.double()
    return float((a @ b - exact).norm() / exact.norm())


# ---- in effect ----------------------------------------------------------------------------------


@contextmanager
def process_settings(device: torch.device) -> Iterator[None]:
    """Context with the process-wide settings of torch and the C library that suit training.

    Products of float32 use the fastest exact method, and freed memory is kept for the next step.
    (Measured: 164 MB newly taken from the system cost twice as much as computing their contents,
    since every page is zeroed first.)
    """
    with _float32_products(exact_float32(device).setting), _kept_memory():
        yield


def apply_process_settings(device: torch.device) -> None:
    """Apply `process_settings` for good: for a command or a server, at its start."""
    global _depth  # noqa: PLW0603
    torch.set_float32_matmul_precision(exact_float32(device).setting)
    _keep_memory()
    _depth += 1  # no inner scope gives the memory back


def autocast(products: Products, device: torch.device) -> AbstractContextManager[object]:
    """Context of a forward pass: autocast to bfloat16 if that was chosen."""
    if products == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@contextmanager
def _float32_products(setting: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


# Parameters of mallopt(3), and what they are set to afterwards. glibc raises its thresholds to
# these by itself as large blocks are freed, but no longer once mallopt was called: with those that
# it starts with, plain PyTorch trains a GRU of 200 at about 0.7 of its speed in such a process.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_AFTERWARDS = {_TRIM_THRESHOLD: 2**26, _MMAP_THRESHOLD: 2**25, _MMAP_MAX: 65536}
_depth = 0  # the depth of nested scopes; only the outermost sets and restores


@contextmanager
def _kept_memory() -> Iterator[None]:
    global _depth  # noqa: PLW0603
    library = _glibc() if _depth == 0 else None
    _depth += 1
    try:
        if library is not None:
            _keep_memory()
        yield
    finally:
        _depth -= 1
        if library is not None:
            for parameter, value in _AFTERWARDS.items():
                library.mallopt(parameter, value)
            library.malloc_trim(0)


def _keep_memory() -> None:
    """Take large blocks from the heap, not from mappings; never shrink the heap."""
    library = _glibc()
    if library is not None:
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc with its default allocator and settings."""
    is_tuned = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if is_tuned or "LD_PRELOAD" in os.environ or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)
