"""The monitor of training: reports exploding and vanishing gradients and states, once each.

Knows numbers, one after another; knows no model. What it reports depends on the numbers alone and
not on when they arrive, so a resumed run reports the same.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace

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

    def after(self, value: float, enough: int) -> "tuple[SeriesState, str | None]":
        """The state after a value, and the kind of problem, once, if there is one.

        Args:
            value: the value.
            enough: the number of values before anything is reported.
        """
        kind = None
        if len(self.recent) >= enough and value > EXPLODED * statistics.median(self.recent) > 0:
            kind = "exploded"
        num_small = self.num_small + 1 if value < VANISHED else 0
        if num_small >= enough:
            kind = "vanished"
        recent = self.recent
        if math.isfinite(value):  # JSON has no infinity
            recent = (*recent, value)[-WINDOW:]
        kind = None if kind in self.reported else kind
        reported = self.reported if kind is None else tuple(sorted((*self.reported, kind)))
        return SeriesState(recent, num_small, reported), kind


@dataclass(frozen=True)
class MonitorState:
    """What a monitor remembers of gradients and of carried states."""

    gradients: SeriesState
    states: SeriesState


class Monitor:
    """Watches the norm of the gradient at every step, and that of the state at evaluations.

    Attributes:
        state: what it remembers; to resume, set it.
    """

    def __init__(self, clip: float | None) -> None:
        """
        Args:
            clip: the norm to which gradients are clipped, for the advice; None: they are not.
        """
        self._clip = clip
        nothing = SeriesState(recent=(), num_small=0, reported=())
        self.state = MonitorState(gradients=nothing, states=nothing)

    def see_gradients(self, norms: Iterable[float], last_step: int) -> list[str]:
        """Warnings about the gradient norms of the updates up to `last_step`, in order."""
        norms = list(norms)
        warnings, series = [], self.state.gradients
        for step, norm in enumerate(norms, last_step - len(norms) + 1):
            series, kind = series.after(norm, ENOUGH)
            if kind == "exploded":
                warnings.append(self._exploding(step, norm))
            elif kind == "vanished":
                warnings.append(
                    f"the gradient has vanished: its norm is {norm:.1e} at step {step:,}; unless "
                    "training has converged, raise learning_rate, or lower length or num_layers"
                )
        self.state = replace(self.state, gradients=series)
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
        series, kind = self.state.states.after(size, 2)
        self.state = replace(self.state, states=series)
        if kind is None:
            return []
        verb = "grows without bound" if kind == "exploded" else "has vanished"
        return [
            f"the carried state {verb}: its root mean square is {size:.1e} at step {step:,}; lower "
            "learning_rate, or choose another cell or a norm"
        ]


def state_size(carry: Tree) -> float | None:
    """The root mean square of the numbers in a carried state; None where there are none."""
    leaves = [leaf for leaf in tree.leaves(carry) if leaf.is_floating_point() and leaf.numel()]
    if not leaves:
        return None
    squares = torch.stack([leaf.double().square().sum() for leaf in leaves]).sum()
    return math.sqrt(float(squares) / sum(leaf.numel() for leaf in leaves))
