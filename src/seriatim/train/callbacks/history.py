"""The progress of a training run, its evaluations, and its history at the end.

Plain numbers that go to JSON; knows no torch, no model. Losses are nats per scored symbol. A step
is one update of the weights; an evaluation at step k is of the weights after k updates.

A quantity has the same name in `TrainingStep`, in `Progress`, in `Evaluation` (and so in
training.json), as a key in log.jsonl and as a curve in TensorBoard. On the terminal alone losses
are shown in bits.
"""

from dataclasses import astuple, dataclass
from typing import Literal

from seriatim.core.records import Json
from seriatim.train.pace import Stretch

Stopped = Literal["finished", "patience", "stopped", "interrupted"]


@dataclass(frozen=True)
class Progress:
    """The progress of a run, reported a few times a second and at every evaluation.

    Attributes:
        step: the number of updates so far.
        steps: the number of updates planned.
        epoch: the number of passes over the training corpus so far, with its fraction.
        train_nats: the training loss since the last evaluation; None at step 0.
        valid_nats: the validation loss of the last evaluation; None before the first, and without
            a validation corpus.
        learning_rate: the learning rate of the last update.
        gradient_norm: the norm of the gradient of the last update, before clipping.
        tokens_per_second: the number of targets per second of training, without evaluations.
        seconds: the time since the start.
        seconds_left: the time until the last step, evaluations included.
        is_best: whether an evaluation has just found the best weights so far.
        is_evaluation: whether an evaluation has just been made.
        notes: sentences for the user that were not reported before.
    """

    step: int
    steps: int
    epoch: float
    train_nats: float | None
    valid_nats: float | None
    learning_rate: float
    gradient_norm: float | None
    tokens_per_second: float
    seconds: float
    seconds_left: float
    is_best: bool
    is_evaluation: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingStep:
    """One update of the weights.

    Attributes:
        step: the number of updates, this one included.
        epoch: the number of passes over the training corpus so far.
        train_nats: the training loss of this batch alone, before the update.
        learning_rate: the learning rate of this update.
        gradient_norm: the norm of the gradient, before clipping.
        num_targets: the number of targets of the batch.
        seconds: the time since the start.
    """

    step: int
    epoch: float
    train_nats: float
    learning_rate: float
    gradient_norm: float
    num_targets: float
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """One evaluation on the validation corpus.

    Attributes:
        step: the number of updates so far.
        epoch: the number of passes over the training corpus so far.
        train_nats: the training loss since the evaluation before; None at step 0.
        valid_nats: the validation loss; None without a validation corpus.
        learning_rate: the learning rate of the last update (at step 0: of the first).
        gradient_norm: the norm of the gradient of the last update, before clipping.
        seconds: the time since the start.
        is_best: whether these were the best weights so far.
    """

    step: int
    epoch: float
    train_nats: float | None
    valid_nats: float | None
    learning_rate: float
    gradient_norm: float | None
    seconds: float
    is_best: bool


@dataclass(frozen=True)
class History:
    """The history of a run, written to training.json.

    Attributes:
        options: the training options, with defaults filled in.
        steps: the number of updates planned.
        steps_done: the number of updates made.
        steps_per_epoch: the number of updates of one pass over the training corpus.
        evaluate_every: the number of steps between evaluations.
        evaluate_symbols: the largest number of validation targets of an evaluation.
        carried: whether the state was carried from batch to batch.
        stopped: why the run ended: "finished"; "patience": validation had stopped improving;
            "stopped": by the caller; "interrupted": by Ctrl-C.
        evaluations: the evaluations in order; the first is of the weights before training.
        best_step: the number of updates behind the weights that the model has now.
        best_valid_nats: their validation loss; None where it was not measured.
        num_targets: the number of targets trained on.
        padding_fraction: the fraction of the positions of all batches that held padding.
        seconds: the time of the whole run.
        tokens_per_second: the number of targets per second of training, without evaluations.
        evaluating_seconds: the time of evaluations.
        notes: sentences for the user: options that could not be followed, and warnings.
        resumed_at: the steps at which the run was resumed.
        pace: of a run in minutes: how much of its time had passed at which step.
        threads: the number of threads that products were divided among; None: not recorded.
    """

    options: Json
    steps: int
    steps_done: int
    steps_per_epoch: int
    evaluate_every: int
    evaluate_symbols: int
    carried: bool
    stopped: Stopped
    evaluations: tuple[Evaluation, ...]
    best_step: int
    best_valid_nats: float | None
    num_targets: int
    padding_fraction: float
    seconds: float
    tokens_per_second: float
    evaluating_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    resumed_at: tuple[int, ...] = ()
    pace: tuple[Stretch, ...] = ()
    threads: int | None = None

    @property
    def repetition(self) -> Json:
        """Training options with which a run ends with the same weights, without a clock."""
        is_timed = bool(self.pace)
        return {
            **self.options,
            "epochs": None,
            "minutes": None,
            "steps": self.steps_done if is_timed else self.steps,
            "evaluate_symbols": self.evaluate_symbols,
            "pace": [astuple(stretch) for stretch in self.pace],
            **({} if is_timed else {"evaluate_every": self.evaluate_every}),
        }

    def __repr__(self) -> str:
        nats = self.best_valid_nats
        best = "" if nats is None else f", {nats:.4f} nats per symbol"
        return (
            f"<History: {self.steps_done:,} of {self.steps:,} steps ({self.stopped}), best after "
            f"step {self.best_step:,}{best}>"
        )
