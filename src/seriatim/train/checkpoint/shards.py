"""Checkpoints of a sharded model: every process writes, and reads, its own rows of each tensor.

    shard-N.R-of-P.safetensors      the rows that rank R of P held at the N-th checkpoint

No process ever holds a whole tensor, and no row goes over the network. The header of a file gives
the whole shape and the first row of each tensor, so any number of processes can resume: each
reads the rows that it needs from the files that hold them. All processes must see the folder.

Knows files and tensors by name; knows no model and no loop. Rows are axis 0, as FSDP2 cuts.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor

from seriatim.core import atomic
from seriatim.train.checkpoint import snapshot, store
from seriatim.train.checkpoint.snapshot import FileChecksum, Snapshot
from seriatim.train.checkpoint.store import DISK_ERRORS, SHARD, checksum, damaged
from seriatim.train.distributed import Ranks

_ROWS = "rows"  # the key of the header: {name: [first row, whole shape]}


def keep(folder: Path, whole: Snapshot, ranks: Ranks) -> Snapshot | None:
    """Write the sharded tensors of a snapshot; the rest is for rank 0 to write. A collective.

    Returns:
        The snapshot without its sharded tensors, but with their files; None: the disk had no
        room for them.
    """
    tensors, sharded = _separate(whole.tensors)
    best, sharded_best = _separate(snapshot.add_prefix(whole.best, "best"))
    head = store.read_head(folder) if ranks.is_main else None
    count = ranks.agreed(1 if head is None else head.count + 1)
    files = _write(folder, count, {**sharded, **sharded_best}, ranks)
    if files is None:
        return None
    return replace(whole, tensors=tensors, best=snapshot.select_prefix(best, "best"), shards=files)


def complete(folder: Path, partial: Snapshot, own: Mapping[str, Tensor]) -> Snapshot:
    """The inverse of `keep`.

    Args:
        folder: the folder of the checkpoint.
        partial: the snapshot without its sharded tensors.
        own: the tensors of this run's model, by name: they say which rows are needed.

    Raises:
        ModelError: if a file is missing or altered, rows are missing, or shapes differ.
    """

    def like(name: str) -> Tensor | None:
        return own.get(name.partition(":")[2].partition("/")[0])  # moments:NAME/KEY

    tensors = _read(folder, partial.shards, like)
    best = snapshot.select_prefix(tensors, "best")
    return replace(partial, tensors={**partial.tensors, **tensors}, best={**partial.best, **best})


def _separate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, DTensor]]:
    """(the tensors that every process holds whole, those of which it holds some rows)."""
    sharded = {name: t for name, t in tensors.items() if isinstance(t, DTensor)}
    return {name: t for name, t in tensors.items() if name not in sharded}, sharded


# ---- writing ------------------------------------------------------------------------------------


def _write(
    folder: Path, count: int, sharded: Mapping[str, DTensor], ranks: Ranks
) -> dict[str, FileChecksum] | None:
    """Write every rank's rows; the checksums of the files by name, None if one could not."""
    own = FileChecksum(0, 0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = _write_rows(folder / _name(count, ranks.rank, ranks.size), sharded)
        has_failed = False
    except DISK_ERRORS:
        has_failed = True
    if ranks.any(has_failed)[0]:
        return None
    sums = torch.zeros(ranks.size, 2, dtype=torch.int64)
    sums[ranks.rank] = torch.tensor([own.bytes, own.crc32])
    return {
        _name(count, rank, ranks.size): FileChecksum(size, crc)
        for rank, (size, crc) in enumerate(ranks.sum(sums).tolist())
    }


def _name(count: int, rank: int, size: int) -> str:
    return f"{SHARD}{count}.{rank}-of-{size}.safetensors"


def _write_rows(path: Path, sharded: Mapping[str, DTensor]) -> FileChecksum:
    rows = {name: [_bounds(t)[0], list(t.shape)] for name, t in sharded.items()}
    local = {name: t.to_local().detach().cpu().contiguous() for name, t in sharded.items()}
    with atomic.write(path) as part:
        with atomic.keep_umask(part):
            safetensors.torch.save_file(local, part, metadata={_ROWS: json.dumps(rows)})
        written = checksum(part)
    atomic.flush(path.parent)
    return written


# ---- reading ------------------------------------------------------------------------------------


def _read(
    folder: Path, files: Mapping[str, FileChecksum], like: Callable[[str], Tensor | None]
) -> dict[str, Tensor]:
    """What this process needs of the stored tensors: its rows, or all rows of a whole tensor.

    `like` returns, for a stored name, a tensor of this run that is held in the same way.
    """
    tensors: dict[str, Tensor] = {}
    missing: dict[str, int] = {}
    for file, expected in files.items():
        path = folder / file
        if not path.is_file():
            raise damaged(folder, f"{file} is missing")
        if path.stat().st_size != expected.bytes:
            raise damaged(folder, f"{file} is not what was written")
        try:
            with safe_open(path, "pt") as stored:
                _take(stored, like, tensors, missing)
        except (*DISK_ERRORS, KeyError, ValueError) as error:
            raise damaged(folder, f"{file} cannot be read ({error})") from None
    short = sorted(name for name, rows in missing.items() if rows)
    if short:
        raise damaged(folder, f"rows of {short[0]} are missing")
    return {name: _as(like(name), rows) for name, rows in tensors.items()}


def _take(
    stored: Any,
    like: Callable[[str], Tensor | None],
    tensors: dict[str, Tensor],
    missing: dict[str, int],
) -> None:
    """Copy the needed rows out of one open file into `tensors`; `missing` counts the others."""
    for name, (first, shape) in json.loads(stored.metadata()[_ROWS]).items():
        own = like(name)
        if own is None or shape != list(own.shape):
            raise ValueError(f"{name} {shape} is no tensor of this model")
        begin, end = _bounds(own)
        source = stored.get_slice(name)
        size = source.get_shape()[0]
        if name not in tensors:
            tensors[name] = torch.empty(end - begin, *shape[1:], dtype=own.dtype)
            missing[name] = end - begin
        low, high = max(begin, first), min(end, first + size)
        if low < high:
            tensors[name][low - begin : high - begin] = source[low - first : high - first]
            missing[name] -= high - low


def _bounds(tensor: Tensor) -> tuple[int, int]:
    """(first, end) of the rows that this process holds of a tensor.

    FSDP2 cuts as torch.chunk does: rank r of P has the r-th part of ceil(N / P) rows.
    """
    num_rows = tensor.shape[0]
    if not isinstance(tensor, DTensor):
        return 0, num_rows
    mesh = tensor.device_mesh
    each = -(-num_rows // mesh.size())
    begin = min(mesh.get_local_rank() * each, num_rows)
    return begin, min(begin + each, num_rows)


def _as(like: Tensor | None, rows: Tensor) -> Tensor:
    """Rows as a tensor that is held as `like` is held."""
    if not isinstance(like, DTensor):
        return rows
    return DTensor.from_local(
        rows.to(like.device),
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )
