"""The tape: the keys and values of the last `context` elements of every row, for all layers.

A tape is data: appending leaves the old one as it was, and both can be continued.

    tape.append(L, lengths)        begins a chunk of L elements
    chunk.view(layer, k, v)        appends a layer's keys and values, and returns all that the
                                   chunk attends to, under chunk.mask
    chunk.keep()                   is the tape after the chunk

Any object with this `append` is a `Tape`. `GrowingTape` takes room as it needs it, twice the
context at most, and becomes a `BranchedTape` where rows share a past. `FixedTape` has tensors of
constant shape, for compilation and export.

Each row has its own positions, while slots are common to all rows: a ragged chunk leaves slots
that hold no element of some rows, and the tape records which. Knows no model.

Shapes: B rows, H heads, L elements of a chunk, S slots, d_k and d_v sizes of a key and a value.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seriatim.core.tree import register
from seriatim.errors import ConfigError
from seriatim.layers.attention import AttentionMask, as_bias
from seriatim.layers.growing_kv_tape import BranchedTape as BranchedTape
from seriatim.layers.growing_kv_tape import GrowingTape as GrowingTape
from seriatim.layers.kv_tape_chunk import NO_POSITION, Layers, join_offsets, mask_by_position
from seriatim.layers.kv_tape_chunk import Chunk as Chunk
from seriatim.layers.kv_tape_chunk import Tape as Tape


def empty_tape(
    batch_size: int,
    *,
    num_layers: int,
    num_heads: int,
    key_size: int,
    value_size: int,
    context: int,
    like: Tensor,
    capacity: int | None = None,
) -> "GrowingTape | FixedTape":
    """A tape before the first element.

    Args:
        batch_size: B.
        num_layers: the number of layers that attend.
        num_heads: H.
        key_size: d_k.
        value_size: d_v.
        context: the number of elements that a query sees, its own included; older ones are
            dropped.
        like: a tensor of the precision and on the device of the tape.
        capacity: the number of elements for which tensors of constant shape have room. Any number
            can be appended, since old ones are dropped; a capacity below the context drops them
            as if the context were that short. None: the tape grows.

    Raises:
        ConfigError: if the capacity is below 1.
    """
    if capacity is not None and capacity < 1:
        raise ConfigError(f"capacity = {capacity}: give 1 or more, or None")
    slots = 0 if capacity is None else min(capacity, context)

    def layers(size: int) -> Layers:
        return tuple(like.new_zeros(batch_size, num_heads, slots, size) for _ in range(num_layers))

    if capacity is None:
        return GrowingTape(layers(key_size), layers(value_size), None, context, position=0, end=0)
    seen = torch.zeros(batch_size, dtype=torch.int64, device=like.device)
    return FixedTape(layers(key_size), layers(value_size), seen)


# ---- the tape of constant shape -----------------------------------------------------------------


@register
@dataclass(frozen=True, eq=False)
class FixedTape:
    """A ring of S slots: the element at position p lies in slot p mod S. The context is S.

    Nothing is shared, no shape changes and no Python number depends on the past, so it works with
    `torch.compile`, CUDA graphs and `torch.export`. An append makes new tensors.

    Attributes:
        keys, values: the rings of every layer, (B, H, S, d_k) and (B, H, S, d_v).
        seen: (B,) the number of elements that each row has seen.
    """

    keys: Layers
    values: Layers
    seen: Tensor

    def append(self, length: int, lengths: Tensor | None, *, keep: bool = True) -> Chunk:
        """Begin a chunk."""
        return _InRing(self, length, lengths)

    def positions_at(self, seen: Tensor) -> Tensor:
        """(B, S) the position in each slot after `seen` (B,) elements, or NO_POSITION."""
        slots = self.keys[0].shape[2]
        last = seen[:, None] - 1
        slot_pos = last - (last - torch.arange(slots, device=seen.device)) % slots
        return torch.where(slot_pos >= 0, slot_pos, NO_POSITION)


class _InRing(Chunk):
    """A chunk for a tape of constant shape.

    A single element is written first and then attends to the ring. A longer chunk attends to the
    old ring and to itself, since its end may overwrite what its beginning still sees.
    """

    def __init__(self, tape: FixedTape, length: int, lengths: Tensor | None) -> None:
        self.tape, self.lengths = tape, lengths
        self.positions = tape.seen[:, None] + torch.arange(length, device=tape.seen.device)
        self.seen = tape.seen + (length if lengths is None else lengths.to(tape.seen.device))
        slot_pos = tape.positions_at(self.seen)
        # (B, S) the new element of each slot; < 0: none.
        self.source = slot_pos - tape.seen[:, None]
        self.is_single = length == 1 and lengths is None
        dtype = tape.keys[0].dtype
        if self.is_single:
            self.mask = AttentionMask(as_bias((slot_pos >= 0)[:, None, None], dtype))
        else:
            before = tape.positions_at(tape.seen)
            self.mask = mask_by_position(self.positions, before, slot_pos.shape[1], dtype)
        self.written: list[tuple[Tensor, Tensor]] = []

    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        ring = self.tape.keys[layer], self.tape.values[layer]
        after = self._overwrite(ring[0], keys), self._overwrite(ring[1], values)
        self.written.append(after)
        if self.is_single:
            return after
        return torch.cat([ring[0], keys], 2), torch.cat([ring[1], values], 2)

    def keep(self) -> FixedTape:
        keys, values = zip(*self.written, strict=True)
        return replace(self.tape, keys=keys, values=values, seen=self.seen)

    def offsets(self) -> Tensor:
        if self.is_single:
            return self.source
        old = self.tape.positions_at(self.tape.seen) - self.tape.seen[:, None]
        return join_offsets(old, self.positions.shape[1], self.lengths)

    def _overwrite(self, ring: Tensor, new: Tensor) -> Tensor:
        new = new.to(ring.dtype)
        if new.shape[2] > 1:
            index = self.source.clamp(min=0)[:, None, :, None]
            new = new.gather(2, index.expand(-1, new.shape[1], -1, new.shape[3]))
        return torch.where((self.source >= 0)[:, None, :, None], new, ring)
