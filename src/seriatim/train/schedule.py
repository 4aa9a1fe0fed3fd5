"""Learning rates, step by step.

Knows numbers of steps and, for the plateau, validation losses; knows no optimizer, no model.
A schedule is asked for the rate of update t = 0, 1, 2 .. of `steps`. Every one begins with a
linear warm-up over W steps, peak * (t + 1) / W for t < W.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, final

from seriatim.train.options import TrainingOptions


class Schedule(ABC):
    """The learning rate of every update."""

    def __init__(self, options: TrainingOptions, steps: int, steps_per_epoch: int) -> None:
        self.options = options
        self.steps = steps
        self.steps_per_epoch = steps_per_epoch
        self.warmup = min(options.warmup, steps // 2)

    @final
    def rate(self, step: int) -> float:
        """The learning rate of update `step`, counted from 0."""
        if step < self.warmup:
            return self.options.peak_rate * (step + 1) / self.warmup
        return self.options.peak_rate * self.share(step)

    @abstractmethod
    def share(self, step: int) -> float:
        """The share of the peak rate at an update after the warm-up."""

    def observe(self, valid_nats: float) -> None:  # noqa: B027
        """Take note of an evaluation; most schedules do not listen."""

    def state(self) -> dict[str, Any]:
        """What evaluations have changed, as JSON values; most schedules remember nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """The inverse of `state`."""


class Constant(Schedule):
    """The peak, always."""

    def share(self, step: int) -> float:
        return 1.0


class Cosine(Schedule):
    """f + (1 - f) (1 + cos(pi t / T)) / 2 over the T steps after the warm-up, f the final share.

    Loshchilov, Hutter 2017, equation 5, without restarts.
    """

    def share(self, step: int) -> float:
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        final_fraction = self.options.final_fraction
        return final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + math.cos(math.pi * progress))


class Step(Schedule):
    """1 for `decay_after` epochs, then times `decay` at once and every `decay_every` epochs.

    Zaremba et al. 2014, section 4.1: decay_after 4, decay 0.5, decay_every 1.
    """

    def share(self, step: int) -> float:
        late = step // self.steps_per_epoch - self.options.decay_after
        if late < 0:
            return 1.0
        return self.options.decay ** (math.floor(late / self.options.decay_every) + 1)


class Plateau(Schedule):
    """Times `decay` at every `plateau_patience`-th evaluation in a row that is no improvement."""

    def __init__(self, options: TrainingOptions, steps: int, steps_per_epoch: int) -> None:
        super().__init__(options, steps, steps_per_epoch)
        self.best = math.inf
        self.waited = 0
        self.falls = 0

    def share(self, step: int) -> float:
        return self.options.decay**self.falls

    def observe(self, valid_nats: float) -> None:
        self.waited = 0 if valid_nats < self.best else self.waited + 1
        self.best = min(self.best, valid_nats)
        if self.waited == self.options.plateau_patience:
            self.falls, self.waited = self.falls + 1, 0

    def state(self) -> dict[str, Any]:
        best = self.best if math.isfinite(self.best) else None  # JSON has no infinity
        return {"best": best, "waited": self.waited, "falls": self.falls}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.best = math.inf if state["best"] is None else state["best"]
        self.waited, self.falls = state["waited"], state["falls"]


class InverseSqrt(Schedule):
    """sqrt(W / t): the peak at the end of the warm-up, then falling with the root of the step.

    Vaswani et al. 2017, equation 3, is this with the peak (D W)^-1/2.
    """

    def share(self, step: int) -> float:
        warmup = max(1, self.warmup)
        return math.sqrt(warmup / max(warmup, step + 1))


SCHEDULES: Mapping[str, type[Schedule]] = {
    "cosine": Cosine,
    "constant": Constant,
    "plateau": Plateau,
    "step": Step,
    "inverse-sqrt": InverseSqrt,
}


def make_schedule(options: TrainingOptions, steps: int, steps_per_epoch: int) -> Schedule:
    """The schedule that the options name, for a run of `steps` updates."""
    return SCHEDULES[options.schedule](options, steps, steps_per_epoch)
