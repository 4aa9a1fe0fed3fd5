"""What a law is: a claim with a test that says how far it went, or that the claim is broken.

Every law is tested with and without autograd, because layers choose their kernels by it, and by
length, raggedness and device.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

import torch
from torch import Tensor

from seriatim.laws.cases import Case

TOLERANCE = 1e-9  # absolute and relative, in float64
_NARROW = 2e-4  # the same in float32, after the steps of a whole sequence
_MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "with autograd": torch.enable_grad,
    "without": torch.no_grad,
    "in inference mode": torch.inference_mode,
}


class BrokenLawError(Exception):
    """A law is broken; the message says where and by how much."""


Law: TypeAlias = Callable[[Case], str]
LAWS: list[tuple[str, Law]] = []


def law(f: Law) -> Law:
    """Decorator: add a law to `LAWS`, to be tested in every mode of autograd."""

    def in_every_mode(case: Case) -> str:
        note = ""
        for mode, context in _MODES.items():
            try:
                with context():
                    note = f(case)
            except BrokenLawError as broken:
                raise BrokenLawError(f"{mode}, {broken}") from None
        return note

    LAWS.append(((f.__doc__ or "").removesuffix("."), in_every_mode))
    return f


def equal(what: str, actual: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    """
    Raises:
        BrokenLawError: if the shapes differ, or values differ by more than the tolerance (two
            -inf are equal).
    """
    if actual.shape != expected.shape:
        raise BrokenLawError(
            f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
        )
    if actual.dtype != torch.float64:
        tolerance = max(tolerance, _NARROW)
    close = torch.isclose(actual, expected, rtol=tolerance, atol=tolerance)
    if not bool(close.all()):
        worst = float((actual - expected).detach()[~close].abs().nan_to_num(float("inf")).max())
        raise BrokenLawError(f"{what}: differs by {worst:.2g}")
