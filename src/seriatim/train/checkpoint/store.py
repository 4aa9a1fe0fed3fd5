"""A run on disk: all that it takes to go on to the bit after the power has gone.

    checkpoint.json          versions, what the run is, its numbers, the files and their sums
    state-N.safetensors      weights, moments of the optimizer, random generators, carried states
    best-STEP.safetensors    the best weights so far
    given-NAME.json          what the run was begun with, such as its symbols

The files of tensors are written first, under new names; then checkpoint.json is renamed into
place; then files that it does not name are removed. So whoever kills the run at any instant, or
fills the disk, leaves the old checkpoint or the new one, whole. Safetensors and JSON, no pickle.
Knows tensors by name and JSON values; knows no model, no optimizer and no loop.
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
from seriatim.errors import ConfigError, DataError, ModelError, OutputError
from seriatim.train.checkpoint.snapshot import Snapshot

FORMAT = 1
HEAD = "checkpoint.json"
SHARD = "shard-"  # see `shards`
_STATE, _BEST, _GIVEN = "state-", "best-", "given-"
FULL = (OSError, safetensors.SafetensorError)  # what a full or broken disk raises


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Where and how often a run is kept, and what is done with what is found there.

    The last checkpoint, of the finished run, stays too: the model is not saved yet. Whoever has
    saved it removes the folder.

    Attributes:
        folder: of the checkpoint, and of nothing else.
        minutes: between two; 0: after every step.
        resume: go on from what is found (and begin where nothing is).
        allow_changed_data: go on even though the data is not what it was.
        threads: of the processor when going on; None: as many as at first.
        model, data: JSON values that say what is trained, and on what, beyond what the loop sees
            itself; they must not change.
    """

    folder: Path
    minutes: float = 1.0
    resume: bool = False
    allow_changed_data: bool = False
    threads: int | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.minutes < float("inf"):
            raise ConfigError(
                f"a checkpoint every {self.minutes} minutes: give 0 (after every step) or more"
            )


@dataclass(frozen=True)
class CheckpointHead:
    """What checkpoint.json says.

    Attributes:
        about: what the run is, in the sections "model", "options" and "data".
        numbers: of the snapshot.
        files: the size and sum of each file, by name.
        versions: of seriatim and torch when it was written.
        count: how many checkpoints the run has written.
    """

    about: dict[str, Any]
    numbers: dict[str, Any]
    files: dict[str, dict[str, int]]
    versions: dict[str, str]
    count: int

    @property
    def shards(self) -> dict[str, dict[str, int]]:
        """The files in which the processes of a sharded run keep their own rows."""
        return {name: found for name, found in self.files.items() if name.startswith(SHARD)}

    @property
    def best_step(self) -> int | None:
        """Updates behind the best weights."""
        steps = [name for name in self.files if name.startswith(_BEST)]
        return int(Path(steps[0]).stem.removeprefix(_BEST)) if steps else None


# ---- writing ------------------------------------------------------------------------------------


def write(folder: Path, snapshot: Snapshot, about: Mapping[str, Any]) -> CheckpointHead:
    """Put a snapshot on disk in the place of the one before; equal best weights are left there.

    Raises:
        OSError, SafetensorError: the disk cannot hold it; what stood there still stands.
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
        head = CheckpointHead(dict(about), snapshot.numbers, files, versions, count)
        _write_head(folder / HEAD, head)
        remove_others(folder, files)
    except BaseException:
        with contextlib.suppress(OSError, ModelError):
            standing = read_head(folder)  # the new one, if only the last flush failed
            remove_others(folder, () if standing is None else standing.files)
        raise
    return head


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    with atomic.write(path) as part:
        safetensors.torch.save_file(dict(tensors), part)
        return seal(part)


def _write_head(path: Path, head: CheckpointHead) -> None:
    content = {
        "format": FORMAT,
        "versions": head.versions,
        "count": head.count,
        "about": head.about,
        "numbers": head.numbers,
        "files": head.files,
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    with atomic.write(path) as part:
        part.write_text(text, encoding="utf-8")
    atomic.flush(path.parent)


def seal(path: Path) -> dict[str, int]:
    """The size of a file and its CRC-32: it finds accidents, not attackers."""
    size = path.stat().st_size
    if size == 0:
        return {"bytes": 0, "crc32": 0}
    # In one call, which lets go of Python's lock: training goes on beside it.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return {"bytes": size, "crc32": zlib.crc32(content)}


def remove_others(folder: Path, files: Iterable[str]) -> None:
    """Remove what was left by other checkpoints; only names that `write` gives."""
    kept = set(files)
    for path in folder.iterdir():
        is_ours = path.name.startswith((_STATE, _BEST, SHARD, HEAD))
        if is_ours and path.name not in kept and path.name != HEAD:
            with contextlib.suppress(OSError):
                path.unlink()


def remove(folder: Path) -> None:
    """Remove a checkpoint; the folder goes too if nothing else is in it."""
    with contextlib.suppress(OSError):
        (folder / HEAD).unlink(missing_ok=True)  # first: without it the rest is no checkpoint
        remove_others(folder, ())
        for path in folder.glob(f"{_GIVEN}*"):
            path.unlink()
        folder.rmdir()


# ---- reading ------------------------------------------------------------------------------------


def read_head(folder: Path) -> CheckpointHead | None:
    """What checkpoint.json says; None if there is none.

    Raises:
        ModelError: it is damaged, or of a newer format.
    """
    path = folder / HEAD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["format"]
        if found > FORMAT:
            raise ModelError(
                f"{path} has format {found} (written by seriatim "
                f"{content['versions']['seriatim']}) and this is seriatim "
                f"{__version__}, which reads up to {FORMAT}: update seriatim"
            )
        names = ("about", "numbers", "files", "versions", "count")
        return CheckpointHead(**{name: content[name] for name in names})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        if isinstance(error, ModelError):
            raise
        raise damaged(folder, f"{HEAD} cannot be read") from None


def read_tensors(folder: Path, head: CheckpointHead) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(the tensors of the state, the best weights).

    Raises:
        ModelError: a file is missing, truncated or altered.
    """
    found: dict[str, dict[str, Tensor]] = {_STATE: {}, _BEST: {}}
    for name, expected in head.files.items():
        if name.startswith(SHARD):
            continue
        path = folder / name
        if not path.is_file():
            raise damaged(folder, f"{name} is missing")
        if seal(path) != expected:
            raise damaged(folder, f"{name} is not what was written")
        try:
            found[_BEST if name.startswith(_BEST) else _STATE] = safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise damaged(folder, f"{name} cannot be read ({error})") from None
    return found[_STATE], found[_BEST]


def damaged(folder: Path, what: str) -> ModelError:
    """The error of a checkpoint that is not as it was written."""
    return ModelError(
        f"the checkpoint in {folder} is damaged: {what}; restore it, or remove it and begin anew"
    )


def write_document(folder: Path, name: str, content: Any) -> None:
    """Put a JSON value beside the checkpoint, whole or not at all: what a run was begun with."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.write(folder / f"{_GIVEN}{name}.json") as part:
        part.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def read_document(folder: Path, name: str) -> Any:
    """What `write_document` wrote.

    Raises:
        ModelError: it is missing or damaged.
    """
    path = folder / f"{_GIVEN}{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        raise damaged(folder, f"{path.name} cannot be read") from None


# ---- whether it is the same run -----------------------------------------------------------------


def find_resumable(where: Checkpoints, about: Mapping[str, Any]) -> CheckpointHead | None:
    """The head of the checkpoint to go on from, if there is one.

    Args:
        about: what is asked for, in the sections "model", "options" and "data", as far as it is
            known yet.

    Raises:
        OutputError: a checkpoint stands there, and nobody said to go on with it.
        ConfigError: it is of another model or was begun with other options.
        DataError: it is of other data, and that is not allowed.
    """
    head = read_head(where.folder)
    if head is None:
        return None
    if not where.resume:
        raise OutputError(
            f"{where.folder} holds a run that has come to step {head.numbers.get('step', 0):,}: "
            "go on with it (--resume, or resume=True), or choose another place"
        )
    for section, other in (("model", "another model"), ("options", "other options")):
        change = _change(head, about, section)
        if change is not None:
            raise ConfigError(
                f"the run in {where.folder} was begun with {other}: {change}; ask for "
                "what it was begun with, or begin anew in another place (or with --overwrite)"
            )
    change = _change(head, about, "data")
    if change is not None and not where.allow_changed_data:
        raise DataError(
            f"the run in {where.folder} was begun on other data ({change}): give the data it was "
            "begun on, or go on with this with --allow-changed-data"
        )
    return head


def _change(head: CheckpointHead, about: Mapping[str, Any], section: str) -> str | None:
    """The first difference in what is asked for."""
    asked, found = about.get(section, {}), head.about.get(section, {})
    return first_change({key: found.get(key) for key in asked}, asked)


def first_change(old: Any, new: Any, name: str = "") -> str | None:
    """The first difference of two JSON values as a clause; None if they are equal."""
    if isinstance(new, (tuple, list)) and isinstance(old, (tuple, list)):
        old, new = list(old), list(new)  # a tuple comes back from JSON as a list
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            clause = first_change(old.get(key), new.get(key), f"{name}.{key}" if name else key)
            if clause is not None:
                return clause
        return None
    return None if old == new else f"{name} was {_shown(old)} and is {_shown(new)}"


def _shown(value: Any) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
