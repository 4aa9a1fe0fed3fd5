"""Whether two runs stand at the same bits, from their checkpoints.

Knows checkpoints; knows no model and no loop. What the clock says, and where a run was cut
short, may differ; nothing else may.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from seriatim.errors import ModelError
from seriatim.train.checkpoint import store
from seriatim.train.checkpoint.snapshot import select_prefix

_CLOCK = ("seconds", "resumed_at")
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
        compared: clauses, such as "weights: 12 tensors, 1,234 numbers".
        differences: clauses; none where the runs are the same to the bit.
    """

    compared: tuple[str, ...]
    differences: tuple[str, ...]


def compare(first: Path, second: Path) -> CheckpointDiff:
    """Compare the checkpoints in two folders.

    Raises:
        ModelError: a folder holds none, or a damaged one.
    """
    (numbers, tensors, best), (others, other_tensors, other_best) = _read(first), _read(second)
    compared, differences = [], []
    pairs = [
        (what, select_prefix(tensors, kind), select_prefix(other_tensors, kind))
        for kind, what in _KINDS.items()
    ]
    for what, mine, theirs in [*pairs, ("best weights", best, other_best)]:
        compared.append(
            f"{what}: {len(mine):,} tensors, {sum(t.nbytes for t in mine.values()):,} bytes"
        )
        differences += [f"{what}: {clause}" for clause in _differences(mine, theirs)]
    compared.append(
        f"step {numbers['step']:,} (with the seed, the position in the data), schedule, patience, "
        f"{len(numbers['evaluations']):,} evaluations, plan, options, data"
    )
    change = store.first_change(numbers, others)
    return CheckpointDiff(tuple(compared), (*differences, *([] if change is None else [change])))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    head = store.read_head(folder)
    if head is None:
        raise ModelError(f"there is no checkpoint in {folder}: give a folder that a run has kept")
    tensors, best = store.read_tensors(folder, head)
    numbers = {key: value for key, value in head.numbers.items() if key not in _CLOCK}
    looks = [{k: v for k, v in e.items() if k != "seconds"} for e in numbers["evaluations"]]
    return {**numbers, "evaluations": looks, "best_step": head.best_step}, tensors, best


def _differences(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    found = [f"{name} is in one of them only" for name in first.keys() ^ second.keys()]
    for name in first.keys() & second.keys():
        mine, theirs = first[name], second[name]
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            found.append(f"{name} has another shape or type")
        elif mine.numpy().tobytes() != theirs.numpy().tobytes():
            found.append(f"{name} differs")
    return sorted(found)
