"""Where a task keeps its run, and what must be the same for the run to go on.

Knows checkpoints; knows no text and no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from seriatim.train.checkpoint import store
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.distributed import current

Kept: TypeAlias = Checkpoints | str | PathLike[str] | None


def found_run(
    asked: Kept,
    resume: bool,
    *,
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    documents: Sequence[str],
) -> tuple[Checkpoints | None, list[Any] | None]:
    """Where the run is kept, and what it was begun with, if it stands there and goes on.

    Args:
        asked: a folder, or more to say; None: nowhere.
        resume: whether a run in a folder goes on; `Checkpoints` say so themselves.
        model: JSON values that make it another run when they change.
        data: likewise, but such a change may be allowed.
        documents: the names of what `keep` wrote.

    Raises:
        OutputError, ConfigError, DataError: see `checkpoint.standing`; here it is asked before
            anything is read.
    """
    if asked is None:
        return None, None
    where = asked
    if not isinstance(where, Checkpoints):
        where = Checkpoints(folder=Path(where), resume=resume)
    where = replace(where, model=model, data=data)
    if store.find_resumable(where, {"model": model, "data": data}) is None:
        return where, None
    return where, [store.read_document(where.folder, name) for name in documents]


def keep(where: Checkpoints | None, documents: Mapping[str, Any]) -> None:
    """Write down what a run is begun with, JSON values, for `found_run`; on rank 0 only."""
    if where is not None and current().is_main:
        for name, document in documents.items():
            store.write_document(where.folder, name, document)
