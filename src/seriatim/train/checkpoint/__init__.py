"""Checkpoints of runs: where they are written, what they hold, and how two of them differ."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.train.checkpoint.diff import CheckpointDiff as CheckpointDiff
    from seriatim.train.checkpoint.diff import compare as compare
    from seriatim.train.checkpoint.numbers import RunNumbers as RunNumbers
    from seriatim.train.checkpoint.store import CheckpointHead as CheckpointHead
    from seriatim.train.checkpoint.store import Checkpoints as Checkpoints
    from seriatim.train.checkpoint.store import read_head as read_head
    from seriatim.train.checkpoint.store import remove as remove

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "diff": ["CheckpointDiff", "compare"],
        "numbers": ["RunNumbers"],
        "store": ["CheckpointHead", "Checkpoints", "read_head", "remove"],
    },
)
