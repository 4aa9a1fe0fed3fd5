"""Checkpoints of a sharded model: every process writes, and reads, its own rows of each tensor.

    shard-N.R-of-P.safetensors      the rows that rank R of P held at the N-th checkpoint

No process ever holds the whole, and no row goes over the network. The header of a file says of
each tensor its whole shape and its first row, so any number of processes can go on: each reads
the rows that it needs from the files that have them. All processes must see the folder.

Knows files and tensors by name; knows no model and no loop. Rows are axis 0, as FSDP2 cuts.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor

from seriatim.core import atomic
from seriatim.train.checkpoint import snapshot, store
from seriatim.train.checkpoint.snapshot import Snapshot
from seriatim.train.checkpoint.store import FULL, SHARD, damaged, seal
from seriatim.train.distributed import Ranks

_ROWS = "rows"  # the key of the header: {name: [first row, whole shape]}


def _separate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, DTensor]]:
    """(the tensors that every process has whole, those of which it has some rows)."""
    shares = {name: t for name, t in tensors.items() if isinstance(t, DTensor)}
    return {name: t for name, t in tensors.items() if name not in shares}, shares


def write(
    folder: Path, count: int, shares: Mapping[str, DTensor], ranks: Ranks
) -> dict[str, dict[str, int]] | None:
    """Put every rank's rows on disk. A collective.

    Args:
        count: the number of this checkpoint, which no file of another one bears.

    Returns:
        The seals of all ranks' files, by name; None: some rank could not write its own, and what
        stood there still stands.
    """
    own = {"bytes": 0, "crc32": 0}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = _write(folder / _name(count, ranks.rank, ranks.size), shares)
        has_failed = False
    except FULL:
        has_failed = True
    if ranks.any(has_failed)[0]:
        return None
    seals = torch.zeros(ranks.size, 2, dtype=torch.int64)
    seals[ranks.rank] = torch.tensor([own["bytes"], own["crc32"]])
    found: list[list[int]] = ranks.sum(seals).tolist()
    return {
        _name(count, rank, ranks.size): {"bytes": size, "crc32": crc}
        for rank, (size, crc) in enumerate(found)
    }


def _name(count: int, rank: int, size: int) -> str:
    return f"{SHARD}{count}.{rank}-of-{size}.safetensors"


def _write(path: Path, shares: Mapping[str, DTensor]) -> dict[str, int]:
    rows = {name: [_bounds(t)[0], list(t.shape)] for name, t in shares.items()}
    local = {name: t.to_local().detach().cpu().contiguous() for name, t in shares.items()}
    with atomic.write(path) as part:
        safetensors.torch.save_file(local, part, metadata={_ROWS: json.dumps(rows)})
        found = seal(part)
    atomic.flush(path.parent)
    return found


def keep(folder: Path, found: Snapshot, ranks: Ranks) -> Snapshot | None:
    """Put the shares in a snapshot on disk; what is left is for rank 0 to write. A collective.

    Returns:
        The snapshot without them, but with their files; None: there was no room for them.
    """
    tensors, shares = _separate(found.tensors)
    best, best_shares = _separate(snapshot.add_prefix(found.best, "best"))
    head = store.read_head(folder) if ranks.is_main else None
    count = ranks.agreed(1 if head is None else head.count + 1)
    files = write(folder, count, {**shares, **best_shares}, ranks)
    if files is None:
        return None
    return replace(found, tensors=tensors, best=snapshot.select_prefix(best, "best"), shards=files)


def complete(folder: Path, found: Snapshot, own: Mapping[str, Tensor]) -> Snapshot:
    """The inverse of `keep`.

    Args:
        own: the tensors of this run's model, by name: they say which rows are needed.
    """

    def like(name: str) -> Tensor | None:
        return own.get(name.partition(":")[2].partition("/")[0])  # moments:NAME/what it is

    tensors = read(folder, found.shards, like)
    best = snapshot.select_prefix(tensors, "best")
    return replace(found, tensors={**found.tensors, **tensors}, best={**found.best, **best})


def read(
    folder: Path,
    files: Mapping[str, Mapping[str, int]],
    like: Callable[[str], Tensor | None],
) -> dict[str, Tensor]:
    """Of the stored tensors, what this process needs: its rows, or all where it holds the whole.

    Args:
        files: the seals of the shards, by name.
        like: a tensor of this run that is held as the one of this name is to be.

    Raises:
        ModelError: a file is missing or altered, or rows are missing, or the shapes differ.
    """
    found: dict[str, Tensor] = {}
    missing: dict[str, int] = {}
    for file, expected in files.items():
        path = folder / file
        if not path.is_file():
            raise damaged(folder, f"{file} is missing")
        if path.stat().st_size != expected["bytes"]:
            raise damaged(folder, f"{file} is not what was written")
        try:
            with safe_open(path, "pt") as stored:
                _take(stored, like, found, missing)
        except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
            raise damaged(folder, f"{file} cannot be read ({error})") from None
    short = sorted(name for name, rows in missing.items() if rows)
    if short:
        raise damaged(folder, f"rows of {short[0]} are missing")
    return {name: _as(like(name), rows) for name, rows in found.items()}


def _take(
    stored: Any,
    like: Callable[[str], Tensor | None],
    found: dict[str, Tensor],
    missing: dict[str, int],
) -> None:
    """Copy what is needed out of one open file."""
    for name, (first, shape) in json.loads(stored.metadata()[_ROWS]).items():
        own = like(name)
        if own is None or shape != list(own.shape):
            raise ValueError(f"{name} {shape} is no tensor of this model")
        begin, end = _bounds(own)
        source = stored.get_slice(name)
        size = source.get_shape()[0]
        if name not in found:
            found[name] = torch.empty(end - begin, *shape[1:], dtype=own.dtype)
            missing[name] = end - begin
        low, high = max(begin, first), min(end, first + size)
        if low < high:
            found[name][low - begin : high - begin] = source[low - first : high - first]
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
