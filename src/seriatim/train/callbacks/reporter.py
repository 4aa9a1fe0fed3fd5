"""Reports the progress of a run to a callback: speed, time left, and notes not yet reported.

Knows a clock and numbers; knows no model.
"""

import math
from collections.abc import Callable

from seriatim.train.callbacks.callbacks import Clock
from seriatim.train.callbacks.history import Evaluation, Progress

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

    def report(
        self,
        now: float,
        *,
        step: int,
        steps: int,
        epoch: float,
        loss: float | None,
        learning_rate: float,
        gradient_norm: float | None,
        num_targets: float,
        evaluate_every: int,
        evaluations: list[Evaluation],
        is_evaluation: bool,
    ) -> None:
        """Call the callback with the progress and the notes not yet reported."""
        if self._callback is None:
            return
        self._reported_at = now
        notes, self._notes = tuple(self._notes), []
        last = evaluations[-1] if evaluations else None
        self._callback(
            Progress(
                step=step,
                steps=steps,
                epoch=epoch,
                loss=loss,
                valid=None if last is None else last.valid_nats,
                learning_rate=learning_rate,
                gradient_norm=gradient_norm,
                tokens_per_second=self.tokens_per_second(now, num_targets),
                seconds=now - self.began,
                seconds_left=self.seconds_left(now, step, steps, evaluate_every, len(evaluations)),
                is_best=is_evaluation and last is not None and last.is_best,
                is_evaluation=is_evaluation,
                notes=notes,
            )
        )
