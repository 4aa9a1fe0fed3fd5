"""What a training run calls while it goes on: functions of whoever started it.

    rates = []
    st.Callbacks(on_step=lambda step: rates.append(step.learning_rate))

A callback ends the run in good order by raising `StopTraining`; any other exception of its own
ends it with a `CallbackError` that names the callback, and the model has its best weights.

Knows the values that are passed; knows no model, no terminal and no file.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from seriatim.errors import SeriatimError, TrainingError
from seriatim.train.callbacks.history import Evaluation, History, Progress, TrainingStep

if TYPE_CHECKING:
    from seriatim.train.estimate import Estimate

Clock: TypeAlias = Callable[[], float]
T = TypeVar("T")


class StopTraining(Exception):  # noqa: N818  # not an error, as StopIteration is none
    """Raised in a callback: the run ends as if this were its last step; give the reason."""


class CallbackError(TrainingError):
    """A callback has failed; the message names it, and the error is the cause."""


@dataclass(frozen=True)
class Callbacks:
    """Functions that training calls, each of which may be left out.

    Attributes:
        progress: receives the progress of training, a few times a second and at every evaluation.
        message: receives log messages, such as "scoring the test text".
        counted: receives sentences that say how far anything but training has come, such as
            "scored 20,000 symbols of the test part", many times a second.
        note: receives sentences that should be read, such as the fraction of unknown symbols;
            without it, `message` receives them.
        estimate: receives the cost of the run before its first step, measured on a copy of the
            model; without it nothing is measured.
        should_stop: called before every step; the run ends when it returns True.
        on_step: receives every update of the weights, whose loss is then read at once; on a GPU
            that costs a little time.
        on_evaluation: receives every evaluation, that of step 0 included.
        on_end: receives the history when a run has ended and the model has its best weights.
        clock: returns seconds, from any origin.
        began: the time on the clock from which a budget in minutes counts; None: when training is
            called.
        reserve: the seconds that the caller needs after everything, of a budget in minutes.
    """

    progress: "Callable[[Progress], None] | None" = None
    message: "Callable[[str], None] | None" = None
    counted: "Callable[[str], None] | None" = None
    note: "Callable[[str], None] | None" = None
    estimate: "Callable[[Estimate], None] | None" = None
    should_stop: "Callable[[], bool] | None" = None
    on_step: "Callable[[TrainingStep], None] | None" = None
    on_evaluation: "Callable[[Evaluation], None] | None" = None
    on_end: "Callable[[History], None] | None" = None
    clock: Clock = time.perf_counter
    began: float | None = None
    reserve: float = 0.0

    def begun(self) -> "Callbacks":
        """These callbacks with a beginning: theirs, or now."""
        return self if self.began is not None else replace(self, began=self.clock())

    @property
    def passed(self) -> float:
        """The seconds since the beginning; 0 if there is none."""
        return 0.0 if self.began is None else self.clock() - self.began

    def log(self, sentence: str) -> None:
        """Pass a log message on, if anybody listens."""
        if self.message is not None:
            self.message(sentence)

    def count(self, sentence: str) -> None:
        """Pass a sentence on that says how far something has come."""
        if self.counted is not None:
            self.counted(sentence)

    def remark(self, sentence: str) -> None:
        """Pass a sentence on that should be read."""
        (self.note or self.log)(sentence)


def call(callback: "Callable[..., T]", moment: str, *values: object) -> T:
    """Call a callback, and return what it returns.

    Args:
        callback: a function, or an object that is called.
        moment: when it is called, for the message: "after step 12".
        values: what it receives.

    Raises:
        CallbackError: if the callback raises an exception that is neither `StopTraining` nor an
            error of seriatim.
    """
    try:
        return callback(*values)
    except (SeriatimError, StopTraining):
        raise
    except Exception as error:
        name = getattr(callback, "__qualname__", type(callback).__name__)
        raise CallbackError(
            f"the callback {name} failed {moment}: {type(error).__name__}: {error}; the model has "
            "its best weights until then"
        ) from error
