"""What a training run calls while it goes on: functions of whoever started it.

Knows the values that are passed; knows no model, no terminal and no file.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from seriatim.train.callbacks.history import Progress

if TYPE_CHECKING:
    from seriatim.train.estimate import Estimate

Clock: TypeAlias = Callable[[], float]


@dataclass(frozen=True)
class Callbacks:
    """Functions that training calls, each of which may be left out.

    Attributes:
        progress: receives the progress of training, a few times a second and at every evaluation.
        message: receives log messages, such as "scoring the test text".
        note: receives sentences that should be read, such as the fraction of unknown symbols;
            without it, `message` receives them.
        estimate: receives the cost of the run before its first step, measured on a copy of the
            model; without it nothing is measured.
        should_stop: called before every step; the run ends when it returns True.
        clock: returns seconds, from any origin.
    """

    progress: "Callable[[Progress], None] | None" = None
    message: "Callable[[str], None] | None" = None
    note: "Callable[[str], None] | None" = None
    estimate: "Callable[[Estimate], None] | None" = None
    should_stop: "Callable[[], bool] | None" = None
    clock: Clock = time.perf_counter

    def log(self, sentence: str) -> None:
        """Pass a log message on, if anybody listens."""
        if self.message is not None:
            self.message(sentence)

    def remark(self, sentence: str) -> None:
        """Pass a sentence on that should be read."""
        (self.note or self.log)(sentence)
