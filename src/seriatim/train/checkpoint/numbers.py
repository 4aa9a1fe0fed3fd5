"""The numbers of a run at one instant: all that it takes to resume it, apart from the tensors.

Frozen records, written as JSON and checked when they are read back; knows no file.
"""

from dataclasses import dataclass
from typing import Literal

from seriatim.train.budget import Plan
from seriatim.train.callbacks.history import Evaluation
from seriatim.train.callbacks.monitor import MonitorState
from seriatim.train.trainer import TrainerNumbers


@dataclass(frozen=True)
class RunSeconds:
    """The seconds that a run has taken so far.

    Attributes:
        total: since the beginning, planning included.
        running: since the first step.
        evaluating: spent in evaluations.
    """

    total: float
    running: float
    evaluating: float


@dataclass(frozen=True)
class RunNumbers:
    """The numbers of a run at one instant.

    Attributes:
        step: the number of updates done.
        plan: the length of the run and when it is evaluated.
        accumulate: the number of parts into which a batch is cut.
        precision: how products are computed.
        threads: the number of threads of torch.
        processes: the number of processes.
        evaluations: the evaluations so far.
        best_nats: the validation loss of the best weights; None: not measured.
        monitor: what the monitor of gradients and states has seen.
        notes: the messages for the user so far.
        resumed_at: the steps at which the run was resumed.
        seconds: the time taken so far.
        trainer: the numbers that updates change.
    """

    step: int
    plan: Plan
    accumulate: int
    precision: Literal["auto", "float32", "bf16", "measure"]
    threads: int
    processes: int
    evaluations: tuple[Evaluation, ...]
    best_nats: float | None
    monitor: MonitorState
    notes: tuple[str, ...]
    resumed_at: tuple[int, ...]
    seconds: RunSeconds
    trainer: TrainerNumbers
