"""What torch.compile must not trace, said without importing the compiler.

`torch.compiler.disable` imports `torch._dynamo` at the time of decoration, which takes as long as
torch itself; nearly no process compiles anything. Knows no function in particular.
"""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def not_compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator as `torch.compiler.disable`, which is taken only where a compiler is loaded."""
    disabled: list[Callable[P, R]] = []

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not disabled:
            disabled.append(torch.compiler.disable(function))  # type: ignore[no-untyped-call]
        return disabled[0](*args, **kwargs)

    call._torchdynamo_disable = True  # type: ignore[attr-defined]  # the mark dynamo looks for
    return call
