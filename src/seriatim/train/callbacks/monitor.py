"""The monitor of training: reports exploding and vanishing gradients and states, once each.

Knows numbers, one after another; knows no model. What it reports depends on the numbers alone and
not on when they arrive, so a resumed run reports the same.
"""

import math
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from seriatim.core import tree
from seriatim.core.tree import Tree

WINDOW = 100  # values that define what is usual
ENOUGH = 20  # values before anything is reported, and values in a row that count as vanished
EXPLODED = 100.0  # times the median
VANISHED = 1e-7


@dataclass(frozen=True)
class SeriesState:
    """What is remembered of one series of sizes.

    Attributes:
        recent: the last values.
        num_small: the number of values in a row that were vanishingly small.
        reported: what has been reported already, "exploded" or "vanished".
    """

    recent: tuple[float, ...]
    num_small: int
    reported: tuple[str, ...]


@dataclass(frozen=True)
class MonitorState:
    """What a monitor remembers of gradients and of carried states."""

    gradients: SeriesState
    states: SeriesState


class Monitor:
    """Watches the norm of the gradient at every step, and that of the state at evaluations."""

    def __init__(self, clip: float | None) -> None:
        """
        Args:
            clip: the norm to which gradients are clipped, for the advice; None: they are not.
        """
        self._clip = clip
        self._gradients = _Series()
        self._states = _Series()

    def see_gradients(self, norms: Iterable[float], last_step: int) -> list[str]:
        """Warnings about the gradient norms of the updates up to `last_step`, in order."""
        norms = list(norms)
        warnings = []
        for step, norm in enumerate(norms, last_step - len(norms) + 1):
            kind = self._gradients.see(norm, ENOUGH)
            if kind == "exploded":
                warnings.append(self._exploding(step, norm))
            elif kind == "vanished":
                warnings.append(
                    f"the gradient has vanished: its norm is {norm:.1e} at step {step:,}; unless "
                    "training has converged, raise learning_rate, or lower length or num_layers"
                )
        return warnings

    def _exploding(self, step: int, norm: float) -> str:
        advice = "set clip, or lower learning_rate"
        if self._clip is not None:
            advice = f"it was clipped to {self._clip:g}; if it happens again, lower learning_rate"
        return (
            f"the gradient exploded: its norm is {norm:.3g} at step {step:,}, over {EXPLODED:g} "
            f"times the usual norm; {advice}"
        )

    def see_state(self, size: float | None, step: int) -> list[str]:
        """Warnings about the size of the carried state; None: there is no state."""
        if size is None:
            return []
        kind = self._states.see(size, 2)
        if kind is None:
            return []
        verb = "grows without bound" if kind == "exploded" else "has vanished"
        return [
            f"the carried state {verb}: its root mean square is {size:.1e} at step {step:,}; lower "
            "learning_rate, or choose another cell or a norm"
        ]

    def state(self) -> MonitorState:
        """The state from which `restore` resumes."""
        return MonitorState(self._gradients.state(), self._states.state())

    def restore(self, state: MonitorState) -> None:
        """Resume from a state."""
        self._gradients.restore(state.gradients)
        self._states.restore(state.states)


class _Series:
    """One series of sizes; each kind of problem is reported once."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._num_small = 0
        self._reported: set[str] = set()

    def see(self, value: float, enough: int) -> str | None:
        kind = None
        if len(self._recent) >= enough and value > EXPLODED * statistics.median(self._recent) > 0:
            kind = "exploded"
        self._num_small = self._num_small + 1 if value < VANISHED else 0
        if self._num_small >= enough:
            kind = "vanished"
        if math.isfinite(value):  # JSON has no infinity
            self._recent.append(value)
        if kind is None or kind in self._reported:
            return None
        self._reported.add(kind)
        return kind

    def state(self) -> SeriesState:
        return SeriesState(tuple(self._recent), self._num_small, tuple(sorted(self._reported)))

    def restore(self, state: SeriesState) -> None:
        self._recent = deque(state.recent, maxlen=WINDOW)
        self._num_small, self._reported = state.num_small, set(state.reported)


def state_size(carry: Tree) -> float | None:
    """The root mean square of the numbers in a carried state; None where there are none."""
    leaves = [leaf for leaf in tree.leaves(carry) if leaf.is_floating_point() and leaf.numel()]
    if not leaves:
        return None
    squares = torch.stack([leaf.double().square().sum() for leaf in leaves]).sum()
    return math.sqrt(float(squares) / sum(leaf.numel() for leaf in leaves))
