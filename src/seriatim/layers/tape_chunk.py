"""What every tape has: chunks of new elements, and which slots they may look at.

Knows slots and positions; not how a tape keeps them.

Shapes: B rows, H heads, L elements of a chunk, S slots, d_k and d_v sizes of a key and a value.
"""

from abc import ABC, abstractmethod
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from seriatim.layers.attention import AttentionMask, as_bias, band, block_size

Layers: TypeAlias = tuple[Tensor, ...]  # for every layer (B, H, S, d_k) or (B, H, S, d_v)

NOWHERE = -(2**62)  # the position of a slot that holds no element of the row: before any context


class Chunk(ABC):
    """L new elements on their way through the layers.

    Attributes:
        positions: (L,) or (B, L) logical positions of the elements.
        sight: which of the slots that `view` returns each element may see.
        lengths: (B,) on the CPU, how many elements of each row are valid; None: all.
    """

    positions: Tensor
    sight: AttentionMask
    lengths: Tensor | None

    @abstractmethod
    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys (B, H, L, d_k) and values (B, H, L, d_v); return what may be seen."""

    @abstractmethod
    def keep(self) -> "Tape":
        """The tape after the chunk, once every layer has had its `view`."""

    @abstractmethod
    def offsets(self) -> Tensor:
        """(S,) or (B, S) where the elements in the slots that `view` returns stand, counted from
        the chunk's first; far below 0, `taps.NOWHERE`, for slots of nothing."""


class Tape(Protocol):
    """What was seen, in the form in which attention needs it."""

    def append(self, length: int, lengths: Tensor | None, *, keep: bool = True) -> Chunk:
        """Begin a chunk of `length` elements, of which `lengths` (B,) are valid in each row.

        With keep=False the tape after it is not wanted and `Chunk.keep` is not called.
        """
        ...


def sight_by_position(
    queries: Tensor, held: Tensor, context: int, dtype: torch.dtype
) -> AttentionMask:
    """What queries at positions (B, L) see of slots that hold (B, S) and of their own chunk."""
    length = queries.shape[1]
    block = block_size(length, context)
    at = queries[:, :block, None]
    slots = torch.cat([held, queries[:, :block]], 1)[:, None]
    # Padding comes last and has later positions: valid elements do not see it, and it sees
    # itself, so no row of the softmax is empty.
    visible = (slots <= at) & (slots > at - context)
    return AttentionMask(
        as_bias(visible[:, None], dtype), band=later_blocks(length, context, held, dtype)
    )


def join_offsets(old: Tensor, length: int, lengths: Tensor | None) -> Tensor:
    """Those of slots from before, (S,) or (B, S), and those of the chunk's own."""
    own = torch.arange(length, device=old.device)
    if lengths is not None:
        own = torch.where(own < lengths.to(own.device)[:, None], own, NOWHERE)
    rows = own.shape[:-1] or old.shape[:-1]
    return torch.cat([old.expand(*rows, -1), own.expand(*rows, -1)], -1)


def later_blocks(length: int, context: int, like: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The bias of every block of a long chunk but the first; None: there is one block."""
    block = block_size(length, context)
    if block == length:
        return None
    return as_bias(band(block, context - 1 + block, context, like.device), dtype)
