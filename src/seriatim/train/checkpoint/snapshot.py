"""A snapshot: the state of a run at one instant, as tensors by name and numbers.

Knows modules, torch's generators and trees; writes no file, knows no optimizer and no loop.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.tree import Tree
from seriatim.train.checkpoint.numbers import RunNumbers

_OWNER = "a training run"


@dataclass(frozen=True)
class FileChecksum:
    """The size of a file and its CRC-32: it detects accidents, not attackers."""

    bytes: int
    crc32: int


@dataclass(frozen=True)
class Snapshot:
    """The state of a run at one instant.

    Attributes:
        numbers: the numbers of the run.
        tensors: the tensors of the run, by name.
        best: the best weights, by name; they change only with `best_step`.
        best_step: the number of updates behind them; None: there are none yet.
        shards: files already on disk that hold more of both, by name.
    """

    numbers: RunNumbers
    tensors: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    best_step: int | None
    shards: Mapping[str, FileChecksum] = field(default_factory=dict)


def copy_into(buffers: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors on the CPU, in the buffers of their names where they fit.

    Fresh memory costs more than the copying: its pages are first touched while training waits.
    """
    copies = {}
    for name, tensor in tensors.items():
        buffer = buffers.get(name)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = torch.empty(tensor.shape, dtype=tensor.dtype)
        copies[name] = buffer.copy_(tensor.detach())
    return copies


def select_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with "prefix:", with the prefix removed."""
    start = f"{prefix}:"
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def add_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors with "prefix:" put before their names."""
    return {f"{prefix}:{name}": tensor for name, tensor in tensors.items()}


def tree_to_tensors(value: Tree) -> dict[str, Tensor]:
    """A tree as one tensor of bytes; no tensor for None."""
    if value is None:
        return {}
    data = tree.to_bytes(value, owner=_OWNER)
    return {"tree": torch.frombuffer(bytearray(data), dtype=torch.uint8)}


def tensors_to_tree(tensors: Mapping[str, Tensor]) -> Tree:
    """The inverse of `tree_to_tensors`, on the CPU."""
    if not tensors:
        return None
    return tree.from_bytes(tensors["tree"].numpy().tobytes(), owner=_OWNER)


def unique_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module by name, tied ones once."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor.detach()
    return tensors


def load_unique_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors that `unique_tensors` returned into a module.

    Raises:
        RuntimeError: if the module has other tensors; the last line of the message says which.
    """
    names = unique_tensors(module).keys()
    keys = module.load_state_dict(dict(tensors), strict=False)
    missing = [f"{name} is missing" for name in keys.missing_keys if name in names]
    problems = missing + [f"{name} is unexpected" for name in keys.unexpected_keys]
    if problems:
        raise RuntimeError(", ".join(problems))


def digest(value: Tree) -> str:
    """16 hexadecimal digits that change with any number in a tree."""
    hashed = hashlib.blake2b(digest_size=8)
    for leaf in tree.leaves(value):
        hashed.update(f"{tuple(leaf.shape)} {leaf.dtype}".encode())
        numbers = leaf.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
        hashed.update(numbers.tobytes())
    return hashed.hexdigest()


def shapes(module: nn.Module) -> dict[str, str]:
    """The shape and type of each tensor of a module, as text."""
    return {
        name: f"{'x'.join(map(str, t.shape)) or 'one'} {str(t.dtype).removeprefix('torch.')}"
        for name, t in unique_tensors(module).items()
    }


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators, of the CPU and of the device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    """The inverse of `random_states`; a device without a stored state keeps its own."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
