"""Reports the progress of a run to a callback: speed, time left, and notes not yet reported.

Knows a clock and numbers; knows no model.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from seriatim.train.callbacks.callbacks import Clock, call
from seriatim.train.callbacks.history import Progress

SECONDS_BETWEEN_REPORTS = 0.25


class ProgressReporter:
    """Measures the time of a run and reports its progress.

    Attributes:
        began: the time at which everything began, planning included.
        started: the time at which the run began.
        evaluating: the time spent on evaluations, in seconds.
    """

    def __init__(self, callback: Callable[[Progress], None] | None, clock: Clock, began: float):
        self._callback, self._clock = callback, clock
        self.began, self.started, self.evaluating = began, clock(), 0.0
        self._reported_at = -math.inf
        self._notes: list[str] = []  # not yet reported

    def add(self, *notes: str) -> None:
        """Add sentences to the next report."""
        self._notes += notes

    @property
    def is_listened_to(self) -> bool:
        """Whether there is a callback."""
        return self._callback is not None

    def is_due(self, now: float) -> bool:
        """Whether it is time for the next report."""
        return self._callback is not None and now - self._reported_at >= SECONDS_BETWEEN_REPORTS

    def tokens_per_second(self, now: float, num_targets: float) -> float:
        """The speed of training, evaluations not counted."""
        training = now - self.started - self.evaluating
        return num_targets / training if training > 0 else 0.0

    def seconds_left(
        self, now: float, step: int, steps: int, evaluate_every: int, num_evaluations: int
    ) -> float:
        """The time until the last step, evaluations included."""
        per_step = (now - self.started - self.evaluating) / max(1, step)
        left = math.ceil((steps - step) / evaluate_every)
        return (steps - step) * per_step + left * self.evaluating / max(1, num_evaluations)

    def report(self, progress: Progress, now: float) -> None:
        """Call the callback with the progress, and the notes not yet reported in it."""
        if self._callback is not None:
            self._reported_at = now
            notes, self._notes = tuple(self._notes), []
            call(self._callback, f"at step {progress.step:,}", replace(progress, notes=notes))
