"""The difference of two runs, from their checkpoints, bit by bit.

Knows checkpoints; knows no model and no loop. Only the times, and the steps at which a run was
resumed, may differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from seriatim.core.records import to_json
from seriatim.errors import ModelError
from seriatim.report.terminal import count_noun
from seriatim.train.checkpoint import store
from seriatim.train.checkpoint.numbers import RunNumbers, RunSeconds
from seriatim.train.checkpoint.snapshot import select_prefix

_KINDS = {
    "weights": "weights",
    "moments": "moments of the optimizer",
    "average": "averages of the weights",
    "carry": "carried states",
    "random": "random generators",
}


@dataclass(frozen=True)
class CheckpointDiff:
    """What was compared, and what differs.

    Attributes:
        compared: clauses, such as "weights: 12 tensors, 1,234 bytes".
        differences: clauses; none where the runs are equal to the bit.
    """

    compared: tuple[str, ...]
    differences: tuple[str, ...]


@dataclass(frozen=True)
class _Content:
    numbers: RunNumbers  # without times
    tensors: dict[str, Tensor]
    best: dict[str, Tensor]
    best_step: int | None

    @classmethod
    def read(cls, folder: Path) -> "_Content":
        head = store.read_head(folder)
        if head is None:
            raise ModelError(f"there is no checkpoint in {folder}: give the folder of a run")
        evaluations = tuple(replace(e, seconds=0.0) for e in head.numbers.evaluations)
        numbers = replace(
            head.numbers,
            plan=head.numbers.plan.without_clock(),
            seconds=RunSeconds(0.0, 0.0, 0.0),
            resumed_at=(),
            notes=(),  # such as why a precision was taken, which a repetition is told
            evaluations=evaluations,
        )
        return cls(numbers, *store.read_tensors(folder, head), head.best_step)


def compare(first: Path, second: Path) -> CheckpointDiff:
    """Compare the checkpoints in two folders.

    Raises:
        ModelError: if a folder holds no checkpoint, or a damaged one.
    """
    mine, other = _Content.read(first), _Content.read(second)
    pairs = [
        (what, select_prefix(mine.tensors, kind), select_prefix(other.tensors, kind))
        for kind, what in _KINDS.items()
    ]
    compared, differences = [], []
    for what, a, b in [*pairs, ("best weights", mine.best, other.best)]:
        compared.append(
            f"{what}: {count_noun(len(a), 'tensor')}, {sum(t.nbytes for t in a.values()):,} bytes"
        )
        differences += [f"{what}: {clause}" for clause in _differences(a, b)]
    compared.append(
        f"step {mine.numbers.step:,} (with the seed, the position in the data), schedule, "
        f"patience, {count_noun(len(mine.numbers.evaluations), 'evaluation')}, plan, options, data"
    )
    change = store.first_change(
        {**to_json(mine.numbers), "best_step": mine.best_step},
        {**to_json(other.numbers), "best_step": other.best_step},
    )
    return CheckpointDiff(tuple(compared), (*differences, *([] if change is None else [change])))


def _differences(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    clauses = [f"{name} is in one of them only" for name in first.keys() ^ second.keys()]
    for name in first.keys() & second.keys():
        a, b = first[name], second[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            clauses.append(f"{name} has another shape or type")
        elif a.numpy().tobytes() != b.numpy().tobytes():
            clauses.append(f"{name} differs")
    return sorted(clauses)
