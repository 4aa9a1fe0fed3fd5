"""A tape for rows that come and go, as in a server: joining, leaving and a step touch one row each.

Every row has a ring of S slots of its own: the element at position p lies in slot p mod S. While no
row has seen S elements, the ring is a plain list and can grow; at S = context it turns. A row is
put into the place of another by writing its slots.

Nothing is copied at a step, so this tape is used up by what is done with it: once it was appended
to, or a row was put into it, only the tape that came of that may be used. (The other tapes keep old
ones usable at the price of a copy for each branch.) `select_rows` and `cat_rows` copy.

Knows slots and positions; no model and no server.

Shapes: B rows, H heads, L elements of a chunk, S slots, d_k and d_v sizes of a key and a value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from seriatim.core import taps
from seriatim.core.tree import Node, Tree, register
from seriatim.errors import ConfigError
from seriatim.layers.attention import AttentionMask, as_bias
from seriatim.layers.kv_tape_chunk import (
    NO_POSITION,
    Chunk,
    Layers,
    TapeEnd,
    join_offsets,
    mask_by_position,
)

_SMALLEST_RING = 16


@runtime_checkable
class Slottable(Protocol):
    """A tape whose rows can be put into slots."""

    def in_slots(self) -> "SlottedTape":
        """The same rows as a slotted tape of their own."""


@register
@dataclass(frozen=True, eq=False)
class SlottedTape(Node):
    """Rows with rings of their own.

    Attributes:
        keys, values: the rings of every layer, (B, H, S, d_k) and (B, H, S, d_v); S is the context,
            or more than every row has seen.
        seen: (B,) the number of elements that each row has seen.
        context: the number of elements that a query sees, its own included.
        age: how often the rings had been written when this was their tape.
        tip: how often they have been written by now.
    """

    keys: Layers
    values: Layers
    seen: Tensor
    context: int
    age: int = 0
    tip: TapeEnd = field(default_factory=lambda: TapeEnd(0), repr=False)

    @classmethod
    def of(cls, keys: Layers, values: Layers, slot_pos: Tensor, seen: Tensor, context: int) -> Self:
        """The rows of a tape that records the position (B, N) in each of its slots.

        Args:
            keys: (B, H, N, d_k) of every layer.
            values: (B, H, N, d_v) of every layer.
            slot_pos: (B, N) the position of the element in each slot, or NO_POSITION.
            seen: (B,) the number of elements that each row has seen.
            context: the number of elements that a query sees.
        """
        size = _ring_size(int(seen.max()), context)
        is_seen = (slot_pos >= 0) & (slot_pos > (seen - context)[:, None])
        rows, slots = is_seen.nonzero(as_tuple=True)
        at = slot_pos[rows, slots] % size

        def place(old: Tensor) -> Tensor:
            new = old.new_zeros(*old.shape[:2], size, old.shape[3])
            new[rows, :, at] = old[rows, :, slots]
            return new

        return cls(tuple(map(place, keys)), tuple(map(place, values)), seen, context)

    @property
    def size(self) -> int:
        """S."""
        return self.keys[0].shape[2]

    # ---- as a node of trees ----

    def parts(self) -> tuple[tuple[Tree, ...], tuple[Any, ...]]:
        """The rings."""
        return (self.keys, self.values, self.seen), (self.context,)

    @classmethod
    def build(cls, subtrees: tuple[Tree, ...], static: tuple[Any, ...]) -> Self:
        """A tape whose rings no other tape writes."""
        keys, values, seen = subtrees
        return cls(tuple(keys), tuple(values), seen, *static)

    @classmethod
    def cat_rows(cls, nodes: Sequence[Any]) -> Self:
        """Rows of tapes of any kind."""
        tapes = [_slotted(node) for node in nodes]
        size = max(tape.size for tape in tapes)
        tapes = [tape._with_size(size) for tape in tapes]
        first = tapes[0]
        keys = tuple(torch.cat(ts) for ts in zip(*(t.keys for t in tapes), strict=True))
        values = tuple(torch.cat(ts) for ts in zip(*(t.values for t in tapes), strict=True))
        return cls(keys, values, torch.cat([tape.seen for tape in tapes]), first.context)

    def put_rows(self, index: Tensor, node: Any) -> Self:
        """The rows of another tape in place of the rows `index`; this tape is used up."""
        other = _slotted(node)
        self._use_up()
        tape = self._with_size(_ring_size(int(other.seen.max()), self.context, self.size))
        index, slots = index.to(self.seen.device), min(tape.size, other.size)
        for old, new in zip((*tape.keys, *tape.values), (*other.keys, *other.values), strict=True):
            old[index, :, :slots] = new[:, :, :slots]
        seen = tape.seen.index_copy(0, index, other.seen)
        return replace(tape, seen=seen, age=self.tip.written)

    def in_slots(self) -> Self:
        """This tape."""
        return self

    # ---- as a tape ----

    def append(self, length: int, lengths: Tensor | None, *, keep: bool = True) -> Chunk:
        """Begin a chunk: an element of every row is written in place, others make a new tape."""
        is_single = length == 1 and (lengths is None or bool((lengths == 1).all()))
        if is_single and not torch.is_grad_enabled() and not taps.is_on():
            return _InSlot(self)
        return _Beside(self, length, lengths)

    def positions(self, slots: int) -> Tensor:
        """(B, S) the position of the element in each of the first slots, or NO_POSITION."""
        last = self.seen[:, None] - 1
        slot_pos = last - (last - torch.arange(slots, device=last.device)) % self.size
        return torch.where(slot_pos >= 0, slot_pos, NO_POSITION)

    def _use_up(self) -> None:
        if self.tip.written != self.age:
            raise ConfigError(
                "this state has gone on in place: go on from the one that came of it, or select "
                "its rows before, which copies them"
            )
        self.tip.written += 1

    def _with_size(self, size: int) -> Self:
        """The same rows with rings of at least `size` slots."""
        if size <= self.size:
            return self

        def grow(t: Tensor) -> Tensor:
            return F.pad(t, (0, 0, 0, size - self.size))

        return replace(self, keys=tuple(map(grow, self.keys)), values=tuple(map(grow, self.values)))


def _slotted(node: Any) -> SlottedTape:
    if not isinstance(node, Slottable):
        raise ConfigError(f"a {type(node).__name__} has no slots to be put into")
    return node.in_slots()


def _ring_size(longest: int, context: int, least: int = 0) -> int:
    """S for rows that have seen up to `longest` elements and go on."""
    if longest < least:
        return least
    return min(context, max(_SMALLEST_RING, longest + 1 + longest // 2))


class _InSlot(Chunk):
    """An element of every row, written into the next slot of its ring."""

    def __init__(self, tape: SlottedTape) -> None:
        tape._use_up()
        longest = int(tape.seen.max())
        self.before = tape._with_size(_ring_size(longest, tape.context, tape.size))
        self.lengths = None
        self.positions = tape.seen[:, None]
        self.after = replace(self.before, seen=tape.seen + 1, age=tape.tip.written)
        self.slots = min(longest + 1, self.after.size)  # none behind them holds anything yet
        is_visible = self.after.positions(self.slots) >= 0
        dtype = tape.keys[0].dtype
        self.mask = AttentionMask(as_bias(is_visible[:, None, None], dtype))
        self.rows = torch.arange(len(tape.seen), device=tape.seen.device)
        self.at = tape.seen % self.after.size

    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        all_keys, all_values = self.after.keys[layer], self.after.values[layer]
        all_keys[self.rows, :, self.at] = keys[:, :, 0]
        all_values[self.rows, :, self.at] = values[:, :, 0]
        return all_keys[:, :, : self.slots], all_values[:, :, : self.slots]

    def keep(self) -> SlottedTape:
        return self.after

    def offsets(self) -> Tensor:
        return self.after.positions(self.slots) - self.positions


class _Beside(Chunk):
    """A chunk that attends to the rings and to itself; the tape after it has rings of its own."""

    def __init__(self, tape: SlottedTape, length: int, lengths: Tensor | None) -> None:
        self.tape, self.lengths = tape, lengths
        device = tape.seen.device
        self.positions = tape.seen[:, None] + torch.arange(length, device=device)
        self.slot_pos = tape.positions(tape.size)
        dtype = tape.keys[0].dtype
        self.mask = mask_by_position(self.positions, self.slot_pos, tape.context, dtype)
        self.written: list[tuple[Tensor, Tensor]] = []

    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        joined = (
            torch.cat([self.tape.keys[layer], keys], 2),
            torch.cat([self.tape.values[layer], values], 2),
        )
        self.written.append(joined)
        return joined

    def keep(self) -> SlottedTape:
        length = self.positions.shape[1]
        own, seen = self.positions, self.tape.seen + length
        if self.lengths is not None:
            n = self.lengths.to(own.device)
            is_valid = torch.arange(length, device=own.device) < n[:, None]
            own, seen = torch.where(is_valid, own, NO_POSITION), self.tape.seen + n
        keys, values = zip(*self.written, strict=True)
        slot_pos = torch.cat([self.slot_pos, own], 1)
        return SlottedTape.of(keys, values, slot_pos, seen, self.tape.context)

    def offsets(self) -> Tensor:
        old = self.slot_pos - self.tape.seen[:, None]
        return join_offsets(old, self.positions.shape[1], self.lengths)
