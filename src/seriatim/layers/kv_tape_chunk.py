"""What all tapes share: chunks of new elements, their masks, and the tips of shared buffers.

Knows slots and positions; not how a tape keeps them.

Shapes: B rows, H heads, L elements of a chunk, S slots, d_k and d_v sizes of a key and a value.
"""

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.taps import NO_POSITION as NO_POSITION
from seriatim.layers.attention import AttentionMask, as_bias, band, block_size

Array: TypeAlias = NDArray[np.float32]
Layers: TypeAlias = tuple[Tensor, ...]  # for every layer (B, H, S, d_k) or (B, H, S, d_v)

_LOCK = threading.Lock()  # guards every tip; taken for one addition, so one lock serves them all


@dataclass(eq=False)
class TapeEnd:
    """Where the written part of shared buffers ends."""

    written: int
    # Nothing was appended yet: a branch may be short-lived, so no spare room.
    is_fresh: bool = False


def reserve(buffer: Tensor, tip: TapeEnd, end: int, length: int) -> bool:
    """Reserve `length` slots after the first `end` of shared buffers; whether that succeeded.

    It does if nothing is written there and the buffers are long enough.

    Args:
        buffer: one of the buffers, (B, H, room, d).
        tip: the end of the written part of the buffers.
        end: the number of slots that the tape uses.
        length: the number of slots to reserve.
    """
    if buffer.is_inference() and not torch.is_inference_mode_enabled():
        return False  # torch refuses to write to it outside of inference mode
    with _LOCK:
        if tip.written != end or end + length > buffer.shape[2]:
            return False
        tip.written += length
        return True


@dataclass(frozen=True, eq=False)
class Ragged:
    """The positions of rows that have seen different numbers of elements.

    Attributes:
        slot_pos: (B, S) the position of the element in each slot, or NO_POSITION.
        seen: (B,) the number of elements that each row has seen.
    """

    slot_pos: Tensor
    seen: Tensor

    def after(self, positions: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """`slot_pos` of the slots of a chunk at `positions` (B, L), and `seen` after the chunk."""
        length = positions.shape[1]
        if lengths is None:
            return positions, self.seen + length
        n = lengths.to(positions.device)
        valid = torch.arange(length, device=n.device) < n[:, None]
        return torch.where(valid, positions, NO_POSITION), self.seen + n


class Chunk(ABC):
    """L new elements on their way through the layers.

    Attributes:
        positions: (L,) or (B, L) logical positions of the elements.
        mask: which of the slots that `view` returns each element sees.
        lengths: (B,) on the CPU, the number of valid elements of each row; None: all.
    """

    positions: Tensor
    mask: AttentionMask
    lengths: Tensor | None

    @abstractmethod
    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys (B, H, L, d_k) and values (B, H, L, d_v); those of all slots of `mask`."""

    def view_arrays(self, layer: int, keys: Array, values: Array) -> tuple[Array, Array]:
        """`view` of arrays, for steps in numpy."""
        k, v = self.view(layer, torch.from_numpy(keys), torch.from_numpy(values))
        return k.numpy(), v.numpy()

    @abstractmethod
    def keep(self) -> "Tape":
        """The tape after the chunk, once every layer has had its `view`."""

    @abstractmethod
    def offsets(self) -> Tensor:
        """(S,) or (B, S) positions of the slots that `view` returns, relative to the chunk's first
        element; below `NO_POSITION` / 2 for empty slots."""


class Tape(Protocol):
    """The keys and values of past elements."""

    def append(self, length: int, lengths: Tensor | None, *, keep: bool = True) -> Chunk:
        """Begin a chunk.

        Args:
            length: L.
            lengths: (B,) on the CPU, the number of valid elements of each row; None: all.
            keep: whether `Chunk.keep` will be called.
        """
        ...


def mask_by_position(
    queries: Tensor, slot_pos: Tensor, context: int, dtype: torch.dtype
) -> AttentionMask:
    """The mask of queries at positions (B, L) on slots `slot_pos` (B, S) and on their own chunk."""
    length = queries.shape[1]
    block = block_size(length, context)
    at = queries[:, :block, None]
    slots = torch.cat([slot_pos, queries[:, :block]], 1)[:, None]
    # Padding comes last and has later positions: valid elements do not see it, and it sees
    # itself, so no row of the softmax is empty.
    visible = (slots <= at) & (slots > at - context)
    return AttentionMask(
        as_bias(visible[:, None], dtype), band=later_band(length, context, slot_pos, dtype)
    )


def join_offsets(old: Tensor, length: int, lengths: Tensor | None) -> Tensor:
    """`Chunk.offsets` of old slots, (S,) or (B, S), and of the chunk's own L slots."""
    own = torch.arange(length, device=old.device)
    if lengths is not None:
        own = torch.where(own < lengths.to(own.device)[:, None], own, NO_POSITION)
    rows = own.shape[:-1] or old.shape[:-1]
    return torch.cat([old.expand(*rows, -1), own.expand(*rows, -1)], -1)


def later_band(length: int, context: int, like: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The bias of all blocks of a long chunk but the first; None: there is one block."""
    block = block_size(length, context)
    if block == length:
        return None
    return as_bias(band(block, context - 1 + block, context, like.device), dtype)
