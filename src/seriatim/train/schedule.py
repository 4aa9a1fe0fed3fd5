"""Learning rate schedules.

Knows numbers of steps and, for the plateau, validation losses; knows no optimizer, no model.
A schedule gives the learning rate of update t = 0, 1, 2 .. of `steps`. Every one begins with a
linear warm-up over W steps, peak * (t + 1) / W for t < W.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from seriatim.train.options import TrainingOptions
from seriatim.train.pace import Stretch, fraction_at


@dataclass(frozen=True)
class PlateauState:
    """What the plateau schedule remembers of evaluations.

    Attributes:
        best: the best validation loss; None: there was none.
        waited: the number of evaluations since then.
        falls: the number of times that the rate has fallen.
    """

    best: float | None
    waited: int
    falls: int


class Schedule(ABC):
    """The learning rate of every update.

    Attributes:
        state: what evaluations have changed; to resume, set it. None: nothing.
        pace: the stretches of a run in minutes so far; empty: time passes with the steps.
    """

    state: PlateauState | None = None
    pace: Sequence[Stretch] = ()

    def __init__(self, options: TrainingOptions, steps: int, steps_per_epoch: int) -> None:
        self.options = options
        self.steps = steps
        self.steps_per_epoch = steps_per_epoch

    @property
    def warmup(self) -> int:
        """The steps of the warm-up: at most half of those that were expected at first."""
        expected = self.pace[0].steps if self.pace else self.steps
        return min(self.options.warmup, expected // 2)

    @final
    def rate(self, step: int) -> float:
        """The learning rate of update `step`, counted from 0."""
        if step < self.warmup:
            return self.options.peak_rate * (step + 1) / self.warmup
        return self.options.peak_rate * self.fraction(step)

    @final
    def progress(self, step: int) -> float:
        """The fraction of the run after its warm-up that lies before an update."""
        if not self.pace:
            return (step - self.warmup) / max(1, self.steps - self.warmup)
        before, now = fraction_at(self.pace, self.warmup), fraction_at(self.pace, step)
        return min(1.0, max(0.0, (now - before) / max(1.0 - before, 1e-9)))

    @abstractmethod
    def fraction(self, step: int) -> float:
        """The fraction of the peak rate at an update after the warm-up."""

    def observe(self, valid_nats: float) -> None:  # noqa: B027
        """Take in the validation loss of an evaluation; most schedules ignore it."""


class Constant(Schedule):
    """The peak rate at every step."""

    def fraction(self, step: int) -> float:
        return 1.0


class Cosine(Schedule):
    """f + (1 - f) (1 + cos(pi t / T)) / 2 over the T steps after the warm-up, f the final fraction.

    In a run in minutes, t / T is the fraction of the time after the warm-up.

    Loshchilov, Hutter 2017, equation 5, without restarts.
    """

    def fraction(self, step: int) -> float:
        final_fraction = self.options.final_fraction
        wave = 0.5 * (1.0 + math.cos(math.pi * self.progress(step)))
        return final_fraction + (1.0 - final_fraction) * wave


class Step(Schedule):
    """1 for `decay_after` epochs, then times `decay` at once and after every `decay_every` epochs.

    Zaremba et al. 2014, section 4.1: decay_after 4, decay 0.5, decay_every 1.
    """

    def fraction(self, step: int) -> float:
        late = step // self.steps_per_epoch - self.options.decay_after
        if late < 0:
            return 1.0
        return self.options.decay ** (math.floor(late / self.options.decay_every) + 1)


class Plateau(Schedule):
    """Times `decay` after every `plateau_patience` evaluations in a row without improvement."""

    state = PlateauState(best=None, waited=0, falls=0)

    def fraction(self, step: int) -> float:
        return self.options.decay**self.state.falls

    def observe(self, valid_nats: float) -> None:
        best, waited, falls = self.state.best, self.state.waited + 1, self.state.falls
        if best is None or valid_nats < best:
            best, waited = valid_nats, 0
        elif waited == self.options.plateau_patience:
            waited, falls = 0, falls + 1
        self.state = PlateauState(best, waited, falls)


class InverseSqrt(Schedule):
    """sqrt(W / t): the peak at the end of the warm-up, then falling with the root of the step.

    Vaswani et al. 2017, equation 3, is this with the peak (D W)^-1/2.
    """

    def fraction(self, step: int) -> float:
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
