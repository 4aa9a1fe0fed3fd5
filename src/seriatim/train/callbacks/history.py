"""What a training run tells: its progress while it goes on, its history when it has ended.

Plain numbers that go to JSON; knows no torch, no model. Losses are nats per scored symbol.
A step is one update of the weights; step k of an evaluation means: after k updates.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from seriatim.core.records import Json

Stopped = Literal["finished", "patience", "stopped", "interrupted"]


@dataclass(frozen=True)
class Progress:
    """Where a run stands, told a few times a second and at every evaluation.

    Attributes:
        step: updates done, of `steps`.
        epoch: passes over the training corpus done, with their fraction.
        loss: training loss since the last evaluation, nats.
        valid: loss of the last evaluation, nats; None before the first.
        gradient_norm: of the last update, before clipping.
        tokens_per_second: targets trained on, evaluations not counted.
        seconds: since the start.
        seconds_left: until the last step, evaluations included.
        is_best: whether an evaluation has just found the best weights so far.
        is_evaluation: whether an evaluation has just been made.
        notes: sentences for the user that were not told before.
    """

    step: int
    steps: int
    epoch: float
    loss: float | None
    valid: float | None
    learning_rate: float
    gradient_norm: float | None
    tokens_per_second: float
    seconds: float
    seconds_left: float
    is_best: bool
    is_evaluation: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """One look at the validation corpus.

    Attributes:
        step: updates done.
        epoch: passes over the training corpus done.
        train_nats: training loss since the evaluation before; None at step 0.
        valid_nats: validation loss; None without a validation corpus.
        learning_rate: of the last update (at step 0: of the first).
        gradient_norm: of the last update, before clipping.
        seconds: since the start.
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
    """The record of a run, for training.json.

    Attributes:
        options: the training options, with defaults filled in.
        steps: updates planned: run again with this many, the same weights come out, also where
            the budget was in minutes.
        steps_done: updates done.
        steps_per_epoch: updates of one pass over the training corpus.
        evaluate_every: steps between evaluations.
        evaluate_symbols: the most validation targets read by one evaluation.
        carried: whether the state was carried from batch to batch.
        stopped: "finished"; "patience": validation had stopped improving; "stopped": the
            caller asked for it; "interrupted": Ctrl-C.
        evaluations: in order; the first is of the weights before training.
        best_step: updates behind the weights that the model has now.
        best_valid_nats: their validation loss; None where it was not measured.
        num_targets: targets trained on.
        padding_fraction: share of the places of all batches that held padding.
        seconds: of the whole run.
        tokens_per_second: targets trained on per second of training, evaluations not counted.
        notes: sentences for the user: what could not be done as asked, and what looked wrong.
        resumed_at: the steps from which the run went on after it had been cut short.
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
    notes: tuple[str, ...] = ()
    resumed_at: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {
            **asdict(self),
            "evaluations": [asdict(e) for e in self.evaluations],
            "notes": list(self.notes),
            "resumed_at": list(self.resumed_at),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        evaluations = tuple(Evaluation(**e) for e in record["evaluations"])
        told = {
            "evaluations": evaluations,
            "notes": tuple(record["notes"]),
            "resumed_at": tuple(record.get("resumed_at", ())),
        }
        return cls(**{**record, **told})
