"""A model on disk: a folder of JSON and safetensors, written whole or not at all.

    config.json          format, version, task, model and symbols in brief, sizes and checksums
    symbols.json         the alphabet
    weights.safetensors  every weight and buffer
    training.json        data, splits, options, history

and beside them, of a run that goes on or was cut short, checkpoints/; of any that kept them,
log.jsonl, loss.png and tensorboard/. The first four are written under a temporary name, flushed
and renamed, so that a reader sees the old model or the new one and a full disk costs nothing. No
pickle anywhere. Knows files; no model, no text.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from seriatim._version import __version__
from seriatim.core import atomic
from seriatim.errors import ModelError, OutputError

FORMAT = 1
_CONFIG, _WEIGHTS = "config.json", "weights.safetensors"
CHECKPOINTS, LOG, CURVE, TENSORBOARD = "checkpoints", "log.jsonl", "loss.png", "tensorboard"
_OF_RUN = (CHECKPOINTS, LOG, CURVE, TENSORBOARD)


def save(
    path: Path,
    *,
    config: Mapping[str, Any],
    documents: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    overwrite: bool = False,
) -> None:
    """Write a model folder.

    Args:
        path: the folder; its parent is made if need be.
        config: goes into config.json beside format, version, sizes and checksums.
        documents: further JSON files, by name without the ending.
        modules: whose weights are stored, each under its name as a prefix.
        overwrite: whether a model that stands at `path` may be replaced (nothing else may).

    Raises:
        OutputError: something stands at `path`, or the disk cannot hold the folder; what stood
            there before still stands.
    """
    check_free(path, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own = path / CHECKPOINTS  # what is left there by a kill goes with it
        place = own if own.is_dir() else path.parent
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=place))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another --out") from None
    try:
        _fill(temporary, config, documents, modules)
        _put(temporary, path)
    except (OSError, safetensors.SafetensorError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise OutputError(
            f"could not write {path}: {reason}; nothing was changed there: free some space or "
            "choose another --out"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: Path, *, overwrite: bool) -> None:
    """Whether a model may be written at `path`: to be asked before hours of training.

    Raises:
        OutputError: something stands there that may not be replaced.
    """
    if not path.exists() or is_unfinished(path):
        return
    if not path.is_dir() or not (path / _CONFIG).exists():
        raise OutputError(f"{path} exists and is no model folder: choose another place")
    if not overwrite:
        raise OutputError(
            f"{path} holds a model already: choose another place, or allow its replacement with "
            "--overwrite"
        )


def is_unfinished(path: Path) -> bool:
    """Whether a folder holds nothing but what a run writes before there is a model."""
    return path.is_dir() and all(file.name in _OF_RUN for file in path.iterdir())


def is_cut_short(path: Path) -> bool:
    """Whether a run stands in a folder that may go on, with a model beside it or without."""
    return (path / CHECKPOINTS).is_dir()


def is_model(path: Path) -> bool:
    """Whether a folder holds a model."""
    return (path / _CONFIG).is_file()


def clear_run(path: Path) -> None:
    """Remove what a run has left beside its model: checkpoints, log and pictures."""
    for name in _OF_RUN:
        place = path / name
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)


def _fill(
    folder: Path,
    config: Mapping[str, Any],
    documents: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
) -> None:
    tensors = {
        f"{prefix}.{name}": tensor
        for prefix, module in modules.items()
        for name, tensor in _distinct(module).items()
    }
    safetensors.torch.save_file(tensors, folder / _WEIGHTS)
    for name, content in documents.items():
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    files = {file.name: _seal(file) for file in sorted(folder.iterdir())}
    head = {"format": FORMAT, "seriatim": __version__, **config, "files": files}
    (folder / _CONFIG).write_text(json.dumps(head, indent=1), encoding="utf-8")
    for file in folder.iterdir():
        atomic.flush(file)
    atomic.flush(folder)


def _distinct(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module with tied tensors once: safetensors stores no aliases."""
    seen: dict[tuple[int, tuple[int, ...]], str] = {}
    found = {}
    for name, tensor in module.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() == 0 or key not in seen:
            seen[key] = name
            found[name] = tensor.detach().cpu().contiguous()
    return found


def _seal(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16))
    return {"bytes": file.stat().st_size, "blake2b": digest.hexdigest()}


def _put(temporary: Path, path: Path) -> None:
    """Rename into place. A folder cannot replace another in one step, so the old steps aside.

    Where a run stands, the files come to it, config.json last: until then there is no model, and
    the checkpoint is there to make it again.
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
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    os.rename(path, aside / "model")
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(aside / "model", path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


# ---- reading ------------------------------------------------------------------------------------


def read_config(path: Path, *, task: str | None = None) -> dict[str, Any]:
    """config.json of a model folder, after a look at the sizes of its files.

    Args:
        path: the folder.
        task: that it must be of; None: any.

    Raises:
        ModelError: no such folder, no model in it, a newer format, another task, or a file that
            is missing or of another size than was written.
    """
    if not path.is_dir():
        raise ModelError(f"there is no model folder {path}: give one that fit or save has written")
    if not is_model(path) and is_cut_short(path):
        raise ModelError(
            f"{path} holds a run that was cut short, and no model yet: go on with it by the same "
            "fit with --resume"
        )
    config = read_document(path, "config")
    found = config.get("format")
    if not isinstance(found, int) or "files" not in config:
        raise ModelError(f"{path / _CONFIG} is no configuration of a seriatim model")
    if found > FORMAT:
        raise ModelError(
            f"{path} has format {found} (written by seriatim {config.get('seriatim')}) and this "
            f"is seriatim {__version__}, which reads up to {FORMAT}: update seriatim"
        )
    if task is not None and config.get("task") != task:
        raise ModelError(
            f"{path} holds a model of the task {config.get('task')!r}, and one of {task!r} is "
            "needed here: seriatim info tells what it is, seriatim --help what can be done with it"
        )
    for name, seal in config["files"].items():
        file = path / name
        size = file.stat().st_size if file.is_file() else None
        if size != seal["bytes"]:
            state = "is missing" if size is None else f"has {size:,} bytes"
            raise ModelError(
                f"the model folder {path} is damaged: {name} {state} where {seal['bytes']:,} "
                "bytes were written; restore the folder or fit again"
            )
    return config


def read_document(path: Path, name: str) -> dict[str, Any]:
    """One JSON file of a model folder.

    Raises:
        ModelError: it is missing or no JSON object.
    """
    file = path / f"{name}.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is no model folder: it has no {file.name}") from None
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{file} cannot be read ({error}): restore the folder or fit again"
        ) from None
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object: restore the folder or fit again")
    return content


def read_weights(path: Path, modules: Mapping[str, nn.Module]) -> None:
    """Fill modules with the stored weights.

    Raises:
        ModelError: the file is damaged, or holds other weights than the modules have.
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
    found = module.load_state_dict(tensors, strict=False)
    missing = [name for name in found.missing_keys if name in distinct]
    if missing or found.unexpected_keys:
        wrong = [f"no {name}" for name in missing] + [
            f"{name} too many" for name in found.unexpected_keys
        ]
        raise RuntimeError(", ".join(wrong))


def verify(path: Path) -> None:
    """Read every file of a model folder and compare it with the checksum of when it was written.

    Raises:
        ModelError: a file was altered.
    """
    for name, seal in read_config(path)["files"].items():
        if _seal(path / name) != seal:
            raise ModelError(f"{path / name} was altered since it was written: do not trust it")
