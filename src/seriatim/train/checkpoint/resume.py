"""Where a task writes the checkpoints of its run, and what an interrupted run was begun with.

Knows checkpoints; knows no text and no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from seriatim.core.records import Json
from seriatim.train.checkpoint import store
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.distributed import current

CheckpointFolder: TypeAlias = Checkpoints | str | PathLike[str] | None


def open_run(
    checkpoints: CheckpointFolder,
    resume: bool,
    *,
    model: Json,
    data: Json,
    documents: Sequence[str],
) -> tuple[Checkpoints | None, list[Any] | None]:
    """The checkpoints of a run, and the documents of an interrupted run that is resumed.

    Args:
        checkpoints: a folder, or `Checkpoints`; None: no checkpoints are written.
        resume: whether to resume the run in a folder; `Checkpoints` have their own `resume`.
        model: the description of the model; a run of another model is refused.
        data: the description of the data; a run on other data is refused unless it is allowed.
        documents: the names of what `write_documents` wrote.

    Raises:
        OutputError, ConfigError, DataError: as `store.find_resumable` raises them, before any
            data is read.
    """
    if checkpoints is None:
        return None, None
    if not isinstance(checkpoints, Checkpoints):
        checkpoints = Checkpoints(folder=Path(checkpoints), resume=resume)
    run = replace(checkpoints, model=model, data=data)
    if store.find_resumable(run, {"model": model, "data": data}) is None:
        return run, None
    return run, [store.read_document(run.folder, name) for name in documents]


def write_documents(run: Checkpoints | None, documents: Mapping[str, Json]) -> None:
    """Write what a run is begun with, such as its vocabulary, for `open_run`; on rank 0 only."""
    if run is not None and current().is_main:
        for name, document in documents.items():
            store.write_document(run.folder, name, document)
