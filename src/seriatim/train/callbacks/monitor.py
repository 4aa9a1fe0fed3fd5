"""Whether gradients or carried states explode or vanish: said once each, in a sentence.

Knows numbers, one after another; knows no model. What it says depends on the numbers alone and
not on when they are brought, so a run that was resumed says the same.
"""

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from seriatim.core import tree
from seriatim.core.tree import Tree

WINDOW = 100  # values that make up what is usual
ENOUGH = 20  # values before anything is said, and values in a row that count as vanished
EXPLODED = 100.0  # times the median
VANISHED = 1e-7


class Monitor:
    """Watches the norm of the gradient at every step, and that of the state now and then."""

    def __init__(self, clip: float | None) -> None:
        """
        Args:
            clip: the norm to which a gradient is cut, for the advice.
        """
        self._clip = clip
        self._gradients = _Watched()
        self._states = _Watched()

    def see_gradients(self, norms: Iterable[float], last_step: int) -> list[str]:
        """What the norms of the updates up to `last_step`, in order, give to say."""
        norms = list(norms)
        said = []
        for step, norm in enumerate(norms, last_step - len(norms) + 1):
            kind = self._gradients.see(norm, ENOUGH)
            if kind == "exploded":
                said.append(self._exploding(step, norm))
            elif kind == "vanished":
                said.append(
                    f"the gradient has vanished: its norm is {norm:.1e} at step {step:,}; unless "
                    "all is learnt, raise learning_rate, or lower the length or the layers"
                )
        return said

    def _exploding(self, step: int, norm: float) -> str:
        advice = "set clip" if self._clip is None else f"clip cut it to {self._clip:g}"
        return (
            f"the gradient exploded: its norm is {norm:.3g} at step {step:,}, over "
            f"{EXPLODED:g} times what is usual; {advice}, or lower learning_rate if it comes again"
        )

    def see_state(self, size: float | None, step: int) -> list[str]:
        """What the size of the carried state, if there is one, gives to say."""
        if size is None:
            return []
        kind = self._states.see(size, 2)
        if kind is None:
            return []
        verb = "grows without bound" if kind == "exploded" else "has vanished"
        return [
            f"the carried state {verb}: its root mean square is {size:.1e} at step {step:,}; lower "
            "learning_rate, or take another cell or a norm"
        ]

    def state(self) -> dict[str, Any]:
        """JSON values from which `restore` goes on."""
        return {"gradients": self._gradients.state(), "states": self._states.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._gradients.restore(state["gradients"])
        self._states.restore(state["states"])


class _Watched:
    """One series of sizes: each kind of trouble is told once."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._small = 0
        self._told: set[str] = set()

    def see(self, value: float, enough: int) -> str | None:
        kind = None
        if len(self._recent) >= enough and value > EXPLODED * statistics.median(self._recent) > 0:
            kind = "exploded"
        self._small = self._small + 1 if value < VANISHED else 0
        if self._small >= enough:
            kind = "vanished"
        self._recent.append(value)
        if kind is None or kind in self._told:
            return None
        self._told.add(kind)
        return kind

    def state(self) -> dict[str, Any]:
        return {"recent": list(self._recent), "small": self._small, "told": sorted(self._told)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._recent = deque(state["recent"], maxlen=WINDOW)
        self._small, self._told = state["small"], set(state["told"])


def state_size(carry: Tree) -> float | None:
    """The root mean square of the numbers in a carried state; None where there are none."""
    found = [leaf for leaf in tree.leaves(carry) if leaf.is_floating_point() and leaf.numel()]
    if not found:
        return None
    squares = torch.stack([leaf.double().square().sum() for leaf in found]).sum()
    return math.sqrt(float(squares) / sum(leaf.numel() for leaf in found))
