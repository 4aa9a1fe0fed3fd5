"""The pace of a run in minutes: how much of its time had passed at which step.

The schedule of the learning rate of such a run follows its time, not its steps, of which nobody
knows how many there will be. At each evaluation a stretch begins, on which time passes evenly up
to an expected last step:

    f(t) = f_i + (1 - f_i) (t - t_i) / (T_i - t_i)      for t_i <= t < t_{i+1}

with the step t_i, the fraction f_i of the time that had passed and the expected number of steps
T_i. The stretches are recorded, so the run can be repeated without a clock. Knows numbers only.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stretch:
    """A part of a run, up to the next stretch.

    Attributes:
        step: the number of updates before it.
        fraction: the fraction of the time for training that had passed.
        steps: the number of updates that the whole run was expected to have.
    """

    step: int
    fraction: float
    steps: int


def read_pace(pace: Sequence[tuple[int, float, int]]) -> tuple[Stretch, ...]:
    """The stretches of the training option `pace`."""
    return tuple(Stretch(*stretch) for stretch in pace)


def fraction_at(pace: Sequence[Stretch], step: int) -> float:
    """f(step), by a pace with at least one stretch."""
    i = max(0, bisect_right(pace, step, key=lambda stretch: stretch.step) - 1)
    stretch = pace[i]
    part = (step - stretch.step) / max(1, stretch.steps - stretch.step)
    return min(1.0, stretch.fraction + (1.0 - stretch.fraction) * part)
