"""torch.compile with a fallback: where it fails, the model runs as it is, and a note says why.

Knows a callable model; knows no family and no data.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch

Called = Callable[..., Any]


class Compiled:
    """A model compiled by torch.compile; after a failure, the model itself.

    Attributes:
        note: the reason of the failure, for the user; None: there was none.
    """

    def __init__(self, model: Called) -> None:
        self.note: str | None = None
        self._model = model
        self._called = torch.compile(model) if self._works() else model

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if self._called is self._model:
            return self._model(*inputs, **named)
        try:
            return self._called(*inputs, **named)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            self._give_up(error)
            return self._model(*inputs, **named)

    def _works(self) -> bool:
        """Whether anything can be compiled on this machine, tested on a small function."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler's warnings about itself
                torch.compile(_probe)(torch.ones(2))
        except Exception as error:  # whatever a missing or broken compiler raises
            self._give_up(error)
            return False
        return True

    def _give_up(self, error: Exception) -> None:
        self._called = self._model
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        self.note = (
            f"compile: torch.compile failed ({type(error).__name__}: {reason}), so training "
            "continues without it: install a C++ compiler, or leave out compile"
        )


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + x
