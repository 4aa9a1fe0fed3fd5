"""A checkpoint on disk: all that it takes to resume a run bit for bit after a power failure.

    checkpoint.json          versions, what the run is, its numbers, the files and their checksums
    state-N.safetensors      weights, moments of the optimizer, random generators, carried states
    best-STEP.safetensors    the best weights so far
    given-NAME.json          what the run was begun with, such as its symbols

The files of tensors are written first, under new names; then checkpoint.json is renamed into
place; then files that it does not name are removed. So a run that is killed at any instant, or
fills the disk, leaves the old checkpoint or the new one, whole. Safetensors and JSON, no pickle.
Knows tensors by name and records; knows no model, no optimizer and no loop.
"""

import contextlib
import json
import mmap
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from seriatim._version import __version__
from seriatim.core import atomic
from seriatim.core.records import Json, from_json, read_json, to_json
from seriatim.errors import ConfigError, DataError, ModelError, OutputError
from seriatim.train.checkpoint.numbers import RunNumbers
from seriatim.train.checkpoint.snapshot import FileChecksum, Snapshot

FORMAT = 2
HEAD = "checkpoint.json"
SHARD = "shard-"  # see `shards`
_STATE, _BEST, _DOCUMENT = "state-", "best-", "given-"
DISK_ERRORS = (OSError, safetensors.SafetensorError)  # what a full or broken disk raises


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Where and how often checkpoints are written, and how a run is resumed.

    The last checkpoint, of the finished run, stays as well: the model is not saved yet. The
    caller removes the folder after saving the model.

    Attributes:
        folder: the folder of the checkpoint, which holds nothing else.
        minutes: the minutes between two checkpoints; 0: one after every step.
        resume: whether to resume the run in the folder, if there is one.
        allow_changed_data: whether to resume although the data has changed.
        threads: the number of threads when resuming; None: as many as before.
        model: JSON values that say what is trained, beyond what the loop sees itself; they must
            not change.
        data: JSON values that say what it is trained on, in the same way.
    """

    folder: Path
    minutes: float = 1.0
    resume: bool = False
    allow_changed_data: bool = False
    threads: int | None = None
    model: Json = field(default_factory=dict)
    data: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.minutes < float("inf"):
            raise ConfigError(
                f"a checkpoint every {self.minutes} minutes: give 0 (after every step) or more"
            )


@dataclass(frozen=True)
class CheckpointHead:
    """The content of checkpoint.json.

    Attributes:
        format: the version of the format.
        about: what the run is, in the sections "model", "options" and "data".
        numbers: the numbers of the snapshot.
        files: the size and checksum of each file, by name.
        versions: the versions of seriatim and torch that wrote it.
        count: the number of checkpoints that the run has written.
    """

    format: int
    about: dict[str, dict[str, Any]]
    numbers: RunNumbers
    files: dict[str, FileChecksum]
    versions: dict[str, str]
    count: int

    @property
    def shards(self) -> dict[str, FileChecksum]:
        """The files in which the processes of a sharded run keep their own rows."""
        return {name: sums for name, sums in self.files.items() if name.startswith(SHARD)}

    @property
    def best_step(self) -> int | None:
        """The number of updates behind the best weights; None: there are none yet."""
        steps = [name for name in self.files if name.startswith(_BEST)]
        return int(Path(steps[0]).stem.removeprefix(_BEST)) if steps else None


# ---- writing ------------------------------------------------------------------------------------


def write(folder: Path, snapshot: Snapshot, about: Mapping[str, Json]) -> None:
    """Replace the checkpoint on disk by a snapshot; best weights that have not changed stay.

    Raises:
        OSError, SafetensorError: if the disk cannot hold it; the old checkpoint is then still
            there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = read_head(folder)
    count = 1 if before is None else before.count + 1
    files = dict(snapshot.shards)
    try:
        name = f"{_STATE}{count}.safetensors"
        files[name] = _write_tensors(folder / name, snapshot.tensors)
        if snapshot.best_step is not None:
            name = f"{_BEST}{snapshot.best_step}.safetensors"
            old = {} if before is None else before.files
            files[name] = old.get(name) or _write_tensors(folder / name, snapshot.best)
        versions = {"seriatim": __version__, "torch": torch.__version__}
        sections = {name: dict(section) for name, section in about.items()}
        head = CheckpointHead(FORMAT, sections, snapshot.numbers, files, versions, count)
        _write_json(folder / HEAD, to_json(head))
        atomic.flush(folder)
        remove_others(folder, files)
    except BaseException:
        with contextlib.suppress(OSError, ModelError):
            current = read_head(folder)  # the new one, if only the last flush failed
            remove_others(folder, () if current is None else current.files)
        raise


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> FileChecksum:
    with atomic.write(path) as part:
        with atomic.keep_umask(part):
            safetensors.torch.save_file(dict(tensors), part)
        return checksum(part)


def _write_json(path: Path, content: object) -> None:
    with atomic.write(path) as part:
        part.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def checksum(path: Path) -> FileChecksum:
    """The size and checksum of a file."""
    size = path.stat().st_size
    if size == 0:
        return FileChecksum(0, 0)
    # In one call, which releases Python's lock: training continues beside it.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return FileChecksum(size, zlib.crc32(content))


def remove_others(folder: Path, files: Iterable[str]) -> None:
    """Remove the files of other checkpoints; only files with names that `write` gives."""
    current = {HEAD, *files}
    for path in folder.iterdir():
        is_ours = path.name.startswith((_STATE, _BEST, SHARD, HEAD))
        if is_ours and path.name not in current:
            with contextlib.suppress(OSError):
                path.unlink()


def remove(folder: Path) -> None:
    """Remove a checkpoint, and the folder if nothing else is in it."""
    with contextlib.suppress(OSError):
        (folder / HEAD).unlink(missing_ok=True)  # first: without it the rest is no checkpoint
        remove_others(folder, ())
        for path in folder.glob(f"{_DOCUMENT}*"):
            path.unlink()
        folder.rmdir()


# ---- reading ------------------------------------------------------------------------------------


def read_head(folder: Path) -> CheckpointHead | None:
    """The content of checkpoint.json; None if there is none.

    Raises:
        ModelError: if it is damaged, or of another format.
    """
    path = folder / HEAD
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        number = content.get("format")
        if number == FORMAT:
            return from_json(CheckpointHead, content, name=HEAD)
    except ModelError as error:
        raise damaged(folder, str(error)) from None
    if not isinstance(number, int):
        raise damaged(folder, f"{HEAD} names no format")
    if number > FORMAT:
        raise ModelError(
            f"{path} has format {number}, and seriatim {__version__} reads format {FORMAT}: "
            "update seriatim"
        )
    raise ModelError(
        f"{path} has format {number} of an older version, and seriatim {__version__} resumes "
        f"format {FORMAT}: finish the run with the older version, or start again"
    )


def read_tensors(folder: Path, head: CheckpointHead) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(the tensors of the state, the best weights).

    Raises:
        ModelError: if a file is missing, truncated or altered.
    """
    tensors: dict[str, dict[str, Tensor]] = {_STATE: {}, _BEST: {}}
    for name, expected in head.files.items():
        if name.startswith(SHARD):
            continue
        path = folder / name
        if not path.is_file():
            raise damaged(folder, f"{name} is missing")
        if checksum(path) != expected:
            raise damaged(folder, f"{name} is not what was written")
        try:
            kind = _BEST if name.startswith(_BEST) else _STATE
            # Copies: Windows would not remove the file while its mapping is in use.
            mapped = safetensors.torch.load_file(path)
            tensors[kind] = {key: value.clone() for key, value in mapped.items()}
        except DISK_ERRORS as error:
            raise damaged(folder, f"{name} cannot be read ({error})") from None
    return tensors[_STATE], tensors[_BEST]


def damaged(folder: Path, what: str) -> ModelError:
    """The error of a checkpoint that is not as it was written."""
    return ModelError(
        f"the checkpoint in {folder} is damaged: {what}; restore it, or remove it and start again"
    )


def write_document(folder: Path, name: str, content: object) -> None:
    """Write a JSON value beside the checkpoint, whole or not at all: what a run was begun with."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / f"{_DOCUMENT}{name}.json", content)


def read_document(folder: Path, name: str) -> Any:
    """The JSON value that `write_document` wrote.

    Raises:
        ModelError: if it is missing or damaged.
    """
    path = folder / f"{_DOCUMENT}{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        raise damaged(folder, f"{path.name} cannot be read") from None


# ---- whether it is the same run -----------------------------------------------------------------


def find_resumable(where: Checkpoints, about: Mapping[str, Json]) -> CheckpointHead | None:
    """The head of the checkpoint to resume from, if there is one.

    Args:
        where: the folder, and whether to resume.
        about: what the run is, in the sections "model", "options" and "data", as far as it is
            known yet.

    Raises:
        OutputError: if there is a checkpoint and `resume` is not set.
        ConfigError: if it is of another model or was begun with other options.
        DataError: if it is of other data, and that is not allowed.
    """
    head = read_head(where.folder)
    if head is None:
        return None
    if not where.resume:
        raise OutputError(
            f"{where.folder} holds a run that has come to step {head.numbers.step:,}: resume it "
            "with --resume (resume=True), or choose another folder"
        )
    check_unchanged(where.folder, head.about, about, allow_data=where.allow_changed_data)
    return head


def check_unchanged(
    folder: Path, before: Mapping[str, Json], about: Mapping[str, Json], *, allow_data: bool
) -> None:
    """Refuse to resume a run as another one.

    Args:
        folder: the folder of the run, for the message.
        before: what the run is, in the sections "model", "options" and "data".
        about: what it is resumed as, as far as it is known yet.
        allow_data: whether the data may have changed.

    Raises:
        ConfigError: if it is of another model or was begun with other options.
        DataError: if it is of other data, and that is not allowed.
    """
    for section, other in (("model", "another model"), ("options", "other options")):
        change = _change(before, about, section)
        if change is not None:
            raise ConfigError(
                f"the run in {folder} was begun with {other}: {change}; give what it was "
                "begun with, or start again in another folder (or with --overwrite)"
            )
    change = _change(before, about, "data")
    if change is not None and not allow_data:
        raise DataError(
            f"the run in {folder} was begun on other data ({change}): give that data, or "
            "resume on this with --allow-changed-data"
        )


def _change(before: Mapping[str, Json], about: Mapping[str, Json], section: str) -> str | None:
    """The first difference between a section of the run and that of the checkpoint."""
    new, old = about.get(section, {}), before.get(section, {})
    return first_change({key: old.get(key) for key in new}, new)


def first_change(old: object, new: object, name: str = "") -> str | None:
    """The first difference of two JSON values as a clause; None if they are equal."""
    if isinstance(new, (tuple, list)) and isinstance(old, (tuple, list)):
        old, new = list(old), list(new)  # JSON turns a tuple into a list
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(k for k in new if k not in old)]:
            clause = first_change(old.get(key), new.get(key), f"{name}.{key}" if name else key)
            if clause is not None:
                return clause
        return None
    return None if old == new else f"{name} was {_shortened(old)} and is {_shortened(new)}"


def _shortened(value: object) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
