"""What a run remembers at one instant, as tensors by name and JSON values.

Knows modules, torch's generators and trees; knows no file, no optimizer and no loop.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.tree import Tree

_OWNER = "a training run"


@dataclass(frozen=True)
class Snapshot:
    """One instant of a run.

    Attributes:
        numbers: JSON values.
        tensors: by name.
        best: the best weights, by name; the same values as long as `best_step` is the same.
        best_step: updates behind them; None: there are none yet.
        shards: files already on disk that hold more of both, with their sizes and sums.
    """

    numbers: dict[str, Any]
    tensors: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    best_step: int | None
    shards: Mapping[str, dict[str, int]] = field(default_factory=dict)


class Copies:
    """Room on the processor for the tensors of a snapshot, used again for the next one.

    Fresh memory costs more than the copying: its pages are first touched while training waits.
    """

    def __init__(self) -> None:
        self._room: dict[str, Tensor] = {}

    def __call__(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same values, which training no longer changes; they stand until the next call."""
        old, self._room = self._room, {}
        for name, tensor in tensors.items():
            room = old.get(name)
            if room is None or room.shape != tensor.shape or room.dtype != tensor.dtype:
                room = torch.empty(tensor.shape, dtype=tensor.dtype)
            self._room[name] = room.copy_(tensor.detach())
        return self._room


def select_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with "prefix:", without it."""
    start = f"{prefix}:"
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def add_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The inverse of `select_prefix`."""
    return {f"{prefix}:{name}": tensor for name, tensor in tensors.items()}


def tree_to_tensors(value: Tree) -> dict[str, Tensor]:
    """A tree as one tensor of bytes; nothing for None."""
    if value is None:
        return {}
    data = tree.to_bytes(value, owner=_OWNER)
    return {"tree": torch.frombuffer(bytearray(data), dtype=torch.uint8)}


def tensors_to_tree(tensors: Mapping[str, Tensor]) -> Tree:
    """The inverse of `tree_to_tensors`, on the processor."""
    if not tensors:
        return None
    return tree.from_bytes(tensors["tree"].numpy().tobytes(), owner=_OWNER)


def unique_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module by name, tied ones once."""
    seen: set[int] = set()
    found = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach()
    return found


def load_unique_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Fill a module with what `unique_tensors` gave.

    Raises:
        RuntimeError: these are other tensors than the module has; the last line says which.
    """
    names = unique_tensors(module).keys()
    found = module.load_state_dict(dict(tensors), strict=False)
    missing = [f"no {name}" for name in found.missing_keys if name in names]
    wrong = missing + [f"{name} too many" for name in found.unexpected_keys]
    if wrong:
        raise RuntimeError(", ".join(wrong))


def digest(value: Tree) -> str:
    """16 hexadecimal digits that change with any number in a tree."""
    found = hashlib.blake2b(digest_size=8)
    for leaf in tree.leaves(value):
        found.update(f"{tuple(leaf.shape)} {leaf.dtype}".encode())
        numbers = leaf.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
        found.update(numbers.tobytes())
    return found.hexdigest()


def shapes(module: nn.Module) -> dict[str, str]:
    """The sizes and types of a module's tensors, as JSON values."""
    return {
        name: f"{'x'.join(map(str, t.shape)) or 'one'} {str(t.dtype).removeprefix('torch.')}"
        for name, t in unique_tensors(module).items()
    }


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Torch's generators, of the processor and of the device."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def set_random_states(device: torch.device, found: Mapping[str, Tensor]) -> None:
    """The inverse of `random_states`; a device that was not there keeps its own."""
    torch.set_rng_state(found["cpu"])
    if device.type == "cuda" and "cuda" in found:
        torch.cuda.set_rng_state(found["cuda"], device)
