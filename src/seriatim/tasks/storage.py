"""A model on disk: a folder of JSON and safetensors, written whole or not at all.

    config.json          format, version, task, model, and the sizes and checksums of the files
    symbols.json         the vocabulary
    weights.safetensors  every weight and buffer
    training.json        data, splits, options, history

and beside them what a run writes: checkpoints/ until the run is over, log.jsonl, loss.png and
tensorboard/. The first four are written under a temporary name, flushed and renamed, so that a
reader sees the old model or the new one and a full disk costs nothing. No pickle anywhere. Knows
files; no model, no text.
"""

import contextlib
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from seriatim._version import __version__
from seriatim.core import atomic, records
from seriatim.core.products import refuse_rounded
from seriatim.core.records import Json
from seriatim.core.tensor_file import write_tensors
from seriatim.core.validation import did_you_mean
from seriatim.errors import ModelError, OutputError, SeriatimError

T = TypeVar("T")

FORMAT = 2  # format 1 was written by seriatim 0.1.0 and is still read
_CONFIG, _WEIGHTS = "config.json", "weights.safetensors"
CHECKPOINTS, LOG, CURVE, TENSORBOARD = "checkpoints", "log.jsonl", "loss.png", "tensorboard"
CHECKED_AT_LOAD = 1 << 25  # bytes, which take less than 0.05 s; `verify` reads larger files too
_MAX_SHOWN = 200  # characters of a path
_OF_RUN = (CHECKPOINTS, LOG, CURVE, TENSORBOARD)


def save(
    path: Path,
    *,
    task: str,
    config: object,
    documents: Mapping[str, Json],
    modules: Mapping[str, nn.Module],
    overwrite: bool = False,
) -> None:
    """Write a model folder.

    Args:
        path: the folder; its parent is created if need be.
        task: the name of the task.
        config: a record that is written to config.json beside the header.
        documents: further JSON files, by name without the ending.
        modules: the modules whose weights are stored, each under its name as a prefix.
        overwrite: whether a model at `path` may be replaced (nothing else may).

    Raises:
        OutputError: if `path` is taken, or the disk cannot hold the folder; what was there before
            is unchanged.
    """
    for module in modules.values():
        refuse_rounded(module)
    check_free(path, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own = path / CHECKPOINTS  # removed with the run, if this process is killed
        place = own if own.is_dir() else path.parent
        temporary = atomic.make_folder(place, f".{path.name}.")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another --out") from None
    try:
        _fill(temporary, task, config, documents, modules)
        _put(temporary, path)
    except (OSError, safetensors.SafetensorError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise OutputError(
            f"could not write {path}: {reason}; nothing was changed there: free some space or "
            "choose another --out"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def rewrite_config(path: Path, config: object) -> None:
    """Replace the record in config.json by another one; all other files stay as they are.

    A reader sees the old record or the new one.

    Args:
        path: the folder of a model.
        config: the record, as for `save`.

    Raises:
        ModelError: if there is no model.
        OutputError: if the folder cannot be written; nothing is changed.
    """
    header = read_header(path)
    head = {**records.to_json(header), **records.to_json(config)}
    head["checksum"] = _checksum(head)
    try:
        with atomic.write(path / _CONFIG) as part:
            part.write_text(json.dumps(head, indent=1), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}; nothing was changed there"
        ) from None


def check_free(path: Path, *, overwrite: bool) -> None:
    """See that a model may be written at `path`, before hours of training.

    Raises:
        OutputError: if something is there that may not be replaced.
    """
    above = next((parent for parent in path.parents if parent.exists()), path)
    if not path.exists() and not above.is_dir():
        raise OutputError(f"{path} cannot be a folder, since {above} is a file: choose another")
    if not path.exists() or is_unfinished(path):
        return
    if not path.is_dir() or not (path / _CONFIG).exists():
        raise OutputError(f"{path} exists and is not a model folder: choose another folder")
    if not overwrite:
        raise OutputError(
            f"{path} already holds a model: choose another folder, or replace the model with "
            "--overwrite"
        )


def is_unfinished(path: Path) -> bool:
    """Whether a folder holds only what a run writes before there is a model."""
    return path.is_dir() and all(file.name in _OF_RUN for file in path.iterdir())


def is_cut_short(path: Path) -> bool:
    """Whether a folder holds a run that can be resumed, with or without a model beside it."""
    return (path / CHECKPOINTS).is_dir()


def is_model(path: Path) -> bool:
    """Whether a folder holds a model."""
    return (path / _CONFIG).is_file()


def clear_run(path: Path) -> None:
    """Remove what a run leaves beside its model: checkpoints, log and plots."""
    for name in _OF_RUN:
        place = path / name
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)


def _fill(
    folder: Path,
    task: str,
    config: object,
    documents: Mapping[str, Json],
    modules: Mapping[str, nn.Module],
) -> None:
    tensors = {
        f"{prefix}.{name}": tensor
        for prefix, module in modules.items()
        for name, tensor in _distinct(module).items()
    }
    checksum = write_tensors(folder / _WEIGHTS, tensors)
    weights = FileDigest((folder / _WEIGHTS).stat().st_size, checksum)
    for name, content in documents.items():
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    files = {
        file.name: weights if file.name == _WEIGHTS else _seal(file)
        for file in sorted(folder.iterdir())
    }
    header = FolderHeader(FORMAT, __version__, task, files)
    head = {**records.to_json(header), **records.to_json(config)}
    head["checksum"] = _checksum(head)
    (folder / _CONFIG).write_text(json.dumps(head, indent=1), encoding="utf-8")
    for file in folder.iterdir():
        atomic.flush(file)
    atomic.flush(folder)


def _distinct(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module with tied tensors once: safetensors stores no aliases."""
    seen: dict[tuple[int, tuple[int, ...]], str] = {}
    distinct = {}
    for name, tensor in module.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() == 0 or key not in seen:
            seen[key] = name
            distinct[name] = tensor.detach().cpu().contiguous()
    return distinct


def _checksum(head: Json) -> str:
    """The checksum of config.json, of every value in it but the checksum itself."""
    content = {key: value for key, value in head.items() if key != "checksum"}
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _seal(file: Path) -> "FileDigest":
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16))
    return FileDigest(file.stat().st_size, digest.hexdigest())


def _put(temporary: Path, path: Path) -> None:
    """Rename into place; a folder cannot replace another in one step, so the old one moves aside.

    Into the folder of a run the files are moved one by one, config.json last: until then there is
    no model, and the checkpoint is there to make it again.
    """
    if not path.exists():
        os.rename(temporary, path)
        return
    if is_cut_short(path) or is_unfinished(path):
        (path / _CONFIG).unlink(missing_ok=True)
        files = sorted(temporary.iterdir(), key=lambda file: file.name == _CONFIG)
        for file in files:
            os.replace(file, path / file.name)
        atomic.flush(path)
        return
    aside = atomic.make_folder(path.parent, f".{path.name}.old.")
    os.rename(path, aside / "model")
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(aside / "model", path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


# ---- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileDigest:
    """The size and the checksum of a file when it was written."""

    bytes: int
    blake2b: str


@dataclass(frozen=True)
class FolderHeader:
    """The part of config.json that every model folder has.

    Attributes:
        format: the version of the layout of the folder.
        seriatim: the version that wrote it.
        task: the name of the task.
        files: the other files, by name.
        checksum: of config.json itself; None: it was written before there was one.
    """

    format: int
    seriatim: str
    task: str
    files: Mapping[str, FileDigest]
    checksum: str | None = None


def _nearby(path: Path) -> str:
    """The end of a message about a folder that is not there: a similar name beside it."""
    if os.path.isfile(path):
        return ": it is a file; give the folder that fit --out has written"
    try:
        beside = [p.name for p in path.parent.iterdir() if p.is_dir()]
    except (OSError, ValueError):  # also a name that cannot be one
        return ""
    return did_you_mean(path.name, beside)


def read_header(path: Path) -> FolderHeader:
    """The head of a model folder, once the sizes of its files are checked.

    Raises:
        ModelError: if there is no such folder or no model in it, if its format is newer, or if a
            file is missing or does not have the size with which it was written.
    """
    if not os.path.isdir(path):  # False also of a name that is too long or has a NUL in it
        aside = _moved_aside(path)
        if aside is not None:
            raise ModelError(
                f"there is no model folder {path}, since saving it anew was interrupted: the old "
                f"model is in {aside}; move it back"
            )
        name = str(path) if len(str(path)) <= _MAX_SHOWN else str(path)[:_MAX_SHOWN] + "..."
        raise ModelError(
            f"there is no model folder {name if name.isprintable() else repr(name)}"
            f"{_nearby(Path(path)) or ': give one that fit or save has written'}"
        )
    if not is_model(path):
        if is_cut_short(path):
            raise ModelError(
                f"{path} holds an interrupted run and no model yet: resume it by the same fit with "
                "--resume"
            )
        raise ModelError(f"{path} is not a model folder: it has no {_CONFIG}")
    content = records.read_json(path / _CONFIG)
    version = content.get("format")
    if type(version) is not int or "files" not in content:
        raise ModelError(f"{path / _CONFIG} is not the configuration of a seriatim model")
    if version > FORMAT:
        raise ModelError(
            f"{path} has format {version} (written by seriatim {content.get('seriatim')}) and this "
            f"is seriatim {__version__}, which reads up to {FORMAT}: update seriatim"
        )
    header = records.from_json(FolderHeader, content, name=str(path / _CONFIG))
    for name, seal in header.files.items():
        file = path / name
        if Path(name).name != name:
            raise ModelError(f"{path / _CONFIG} is damaged: it names the file {name!r}")
        size = file.stat().st_size if file.is_file() else None
        if size != seal.bytes:
            state = "is missing" if size is None else f"has {size:,} bytes"
            raise ModelError(
                f"the model folder {path} is damaged: {name} {state} where {seal.bytes:,} "
                "bytes were written; restore the folder or fit again"
            )
    return header


def check_contents(path: Path, header: FolderHeader, *, most: int | None = None) -> None:
    """Compare the files of a model folder with the checksums of when they were written.

    Args:
        path: the folder.
        header: its header, from `read_header`.
        most: the bytes that are read at most, small files first; None: every file is read.

    Raises:
        ModelError: if a file was altered.
    """
    content = records.read_json(path / _CONFIG)
    if header.checksum is not None and header.checksum != _checksum(content):
        raise _altered(path / _CONFIG)
    for name, seal in sorted(header.files.items(), key=lambda item: item[1].bytes):
        if most is not None:
            most -= seal.bytes
            if most < 0:
                return
        if _seal(path / name) != seal:
            raise _altered(path / name)


def _altered(file: Path) -> ModelError:
    return ModelError(
        f"{file} was altered since it was written: restore it or fit again; if the change was "
        "meant, load the folder in Python with verify=False and save it anew"
    )


def _moved_aside(path: Path) -> Path | None:
    """The old model, if a process was killed while it replaced it, between two renamings."""
    with contextlib.suppress(OSError, ValueError):
        return next(path.parent.glob(f".{glob.escape(path.name)}.old.*/model"), None)
    return None


def read_config(kind: type[T], path: Path) -> T:
    """The configuration of a task, from config.json.

    Raises:
        ModelError: if a key is missing or a value is of the wrong type.
    """
    return records.read_record(kind, path / _CONFIG)


def read_document(path: Path, name: str) -> dict[str, Any]:
    """The JSON object in one file of a model folder.

    Raises:
        ModelError: if the file is missing or damaged.
    """
    return records.read_json(path / f"{name}.json")


@contextlib.contextmanager
def refusing_damage(path: Path, version: str) -> Iterator[None]:
    """Turn whatever goes wrong inside, while a folder is read, into one sentence.

    Values that were altered by hand can have any type and any size, and a model is built from
    them before its weights are read.

    Args:
        path: the folder.
        version: the version of seriatim that wrote it, for the message.
    """
    try:
        yield
        return
    except SeriatimError as error:
        if isinstance(error, ModelError) and str(path) in str(error):
            raise
        raise ModelError(f"cannot load {path}, written by seriatim {version}: {error}") from None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    except (RuntimeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else "not enough memory"
    raise ModelError(
        f"the model folder {path}, written by seriatim {version}, is damaged or altered "
        f"({reason}): restore it or fit again"
    )


def check_size(path: Path, build: Callable[[], object]) -> None:
    """Refuse a configuration of a model that is far larger than its file of weights.

    The model is built without memory for its weights, which may be declared as large as anything.

    Raises:
        ModelError: if the model has several times the bytes of the file.
    """
    file = path / _WEIGHTS
    room = 4 * file.stat().st_size + 2**20

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal room
        room -= 0 if parameter is None else parameter.numel() * parameter.element_size()
        if room < 0:
            raise ModelError(
                f"{path / _CONFIG} describes a larger model than {file.name} holds: restore the "
                "folder or fit again"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), _WithoutValues():
            build()
    except (NotImplementedError, RuntimeError):
        pass  # a model that needs the values of its weights
    finally:
        handle.remove()


class _WithoutValues(TorchFunctionMode):
    """Changes in place of tensors without memory are left out.

    They change nothing, and torch imports its compiler for some, which takes a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        changed = args[0] if args else kwargs.get("tensor")
        is_in_place = name.endswith("_") and not name.endswith("__")
        if is_in_place and isinstance(changed, Tensor) and changed.is_meta:
            return changed
        return func(*args, **kwargs)


def read_weights(path: Path, modules: Mapping[str, nn.Module]) -> None:
    """Fill modules with the stored weights.

    Raises:
        ModelError: if the file is damaged, or holds other weights than the modules have.
    """
    try:
        tensors = safetensors.torch.load_file(path / _WEIGHTS)
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelError(
            f"{path / _WEIGHTS} is damaged ({error}): restore the folder or fit again"
        ) from None
    for prefix, module in modules.items():
        own = {
            name.removeprefix(f"{prefix}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{prefix}.")
        }
        try:
            _load(module, own)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ModelError(f"{path / _WEIGHTS} does not fit {path / _CONFIG}: {reason}") from None


def _load(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    distinct = _distinct(module).keys()
    keys = module.load_state_dict(tensors, strict=False)
    missing = [name for name in keys.missing_keys if name in distinct]
    wrong = [f"{name} is missing" for name in missing]
    wrong += [f"{name} is unknown" for name in keys.unexpected_keys]
    if wrong:
        raise RuntimeError(", ".join(wrong))


def verify(path: Path) -> None:
    """Read every file of a model folder and compare it with the checksum of when it was written.

    Raises:
        ModelError: if a file was altered.
    """
    check_contents(path, read_header(path))
