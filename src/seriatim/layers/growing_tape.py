"""The tape that takes room as it needs it, twice the context at most.

Appending leaves the old tape as it was, and both may go on. Behind this, the tapes of one line of
steps share buffers. Each sees its own first slots of them, and whoever appends at the tip, the
end of what is written, writes there in place. Appending anywhere else is a branch and copies
once.

Knows slots and positions; no model.

Shapes: B rows, H heads, L elements of a chunk, S slots, d_k and d_v sizes of a key and a value.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from seriatim.core import tree
from seriatim.core.tree import Node, Tree, register
from seriatim.layers.attention import EVERYTHING, AttentionMask, as_bias, band, block_size
from seriatim.layers.tape_chunk import (
    NOWHERE,
    Chunk,
    Layers,
    join_offsets,
    later_blocks,
    sight_by_position,
)

_SMALLEST_ROOM = 16
_ROOM_AFTER_SELECT = 4
_LOCK = threading.Lock()  # guards every tip; held for one addition, so one lock serves them all


@dataclass(eq=False)
class TapeEnd:
    """Where the written part of shared buffers ends."""

    written: int
    is_fresh: bool = False  # nothing was appended yet: a branch may be short-lived, take no spare


def reserve(buffer: Tensor, tip: TapeEnd, end: int, length: int) -> bool:
    """Take `length` slots behind the first `end` of shared buffers, if nothing is written there.

    Args:
        buffer: one of them, slots in axis 2.
        tip: theirs.
        end: how many slots the tape uses.
        length: how many more it wants.
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
    """Where rows stand that have seen different numbers of elements.

    Attributes:
        held: (B, S) the position of the element in each slot, or NOWHERE.
        seen: (B,) how many elements each row has seen.
    """

    held: Tensor
    seen: Tensor

    def after(self, positions: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the slots of a chunk at `positions` (B, L) hold, and `seen` after it."""
        length = positions.shape[1]
        if lengths is None:
            return positions, self.seen + length
        n = lengths.to(positions.device)
        valid = torch.arange(length, device=n.device) < n[:, None]
        return torch.where(valid, positions, NOWHERE), self.seen + n


@register
@dataclass(frozen=True, eq=False)
class GrowingTape(Node):
    """A tape that takes room as it needs it.

    Attributes:
        keys, values: buffers of every layer, of which this tape sees slots [0, end).
        ragged: where each row stands; None while the rows are level, that is every slot holds
            an element of every row, in order: then no layer needs a mask for a single step.
        context: how many elements a query sees, its own included.
        position: how many elements every row has seen, while level.
        end: slots in use.
    """

    keys: Layers
    values: Layers
    ragged: Ragged | None
    context: int
    position: int
    end: int
    tip: TapeEnd = field(default_factory=lambda: TapeEnd(0, is_fresh=True), repr=False)

    # ---- as a node of trees ----

    def parts(self) -> tuple[tuple[Tree, ...], tuple[Any, ...]]:
        """Only the slots that a later query can see."""
        first, end = self._first(), self.end
        keys = tuple(k[:, :, first:end] for k in self.keys)
        values = tuple(v[:, :, first:end] for v in self.values)
        ragged = None if self.ragged is None else (self.ragged.held[:, :end], self.ragged.seen)
        return (keys, values, ragged), (self.context, self.position, end - first)

    @classmethod
    def build(cls, subtrees: tuple[Tree, ...], static: tuple[Any, ...]) -> Self:
        """A tape that shares its tip with no other."""
        keys, values, ragged = subtrees
        context, position, end = static
        ragged = None if ragged is None else Ragged(*ragged)
        return cls(tuple(keys), tuple(values), ragged, context, position, end, TapeEnd(end, True))

    @classmethod
    def cat_rows(cls, nodes: Sequence[Self]) -> Self:
        """Rows of tapes of any lengths: in the shorter ones some slots will hold nothing."""
        nodes = [node.parted() for node in nodes]
        if any(node.ragged or node.position != nodes[0].position for node in nodes):
            nodes = [node._apart() for node in nodes]
        trees, statics = zip(*(node.parts() for node in nodes), strict=True)
        context, position, _ = statics[0]
        slots = max(end for *_, end in statics)
        gaps = [slots - end for *_, end in statics]

        def join(layers: Sequence[Layers]) -> Layers:
            padded = (
                [F.pad(t, (0, 0, g, 0)) for t in ts] for ts, g in zip(layers, gaps, strict=True)
            )
            return tuple(torch.cat(ts) for ts in zip(*padded, strict=True))

        ragged = None
        if trees[0][2] is not None:
            held = [F.pad(t[2][0], (g, 0), value=NOWHERE) for t, g in zip(trees, gaps, strict=True)]
            ragged = torch.cat(held), torch.cat([t[2][1] for t in trees])
        subtrees = join([t[0] for t in trees]), join([t[1] for t in trees]), ragged
        return cls.build(subtrees, (context, position, slots))

    def select_rows(self, index: Tensor) -> Any:
        """The rows `index`, with room for a few steps; where they come in blocks, branched."""
        if torch.is_grad_enabled():
            return super().select_rows(index)
        sources, group = tree.regroup_blocks(index, 1)
        if group > 1 and self.ragged is None:
            is_whole = torch.equal(sources, torch.arange(self.keys[0].shape[0]))
            return (self if is_whole else self.select_rows(sources)).repeat_rows(group)
        (keys, values, ragged), (context, position, end) = self.parts()
        index = index.to(self.keys[0].device)
        room = end + _ROOM_AFTER_SELECT

        def pick(old: Tensor, axis: int) -> Tensor:
            new = old.new_empty(len(index), *old.shape[1:axis], room, *old.shape[axis + 1 :])
            torch.index_select(old, 0, index, out=new.narrow(axis, 0, end))
            return new

        if ragged is not None:
            ragged = Ragged(pick(ragged[0], 1), ragged[1].index_select(0, index))
        keys, values = (tuple(pick(t, 2) for t in layers) for layers in (keys, values))
        return type(self)(keys, values, ragged, context, position, end, TapeEnd(end))

    def repeat_rows(self, n: int) -> Any:
        """Every row n times, branched: nothing is copied until the rows part."""
        from seriatim.layers.branched_tape import branched  # either kind of tape makes the other

        if n == 1 or self.ragged is not None or torch.is_grad_enabled():
            return super().repeat_rows(n)
        return branched(self, n)

    def parted(self) -> Self:
        """Itself: every row has keys and values of its own."""
        return self

    # ---- as a tape ----

    def append(self, length: int, lengths: Tensor | None, *, keep: bool = True) -> Chunk:
        """Begin a chunk. `lengths` matters only to what is kept: padding comes last, unseen."""
        is_ragged = lengths is not None and bool((lengths < length).any())
        valid = lengths if is_ragged else None
        # What autograd has recorded must not be written over, and a chunk as long as the
        # context replaces the tape anyway.
        if keep and length < self.context and not torch.is_grad_enabled():
            return _InPlace(self, length, valid)
        return _OutOfPlace(self, length, valid, is_kept=keep)

    def _first(self) -> int:
        """The first slot that a later query can see."""
        return max(0, self.end - (self.context - 1)) if self.ragged is None else 0

    def _old_offsets(self) -> Tensor:
        """(S,) or (B, S) of slots [first, end), counted from the next element."""
        if self.ragged is not None:
            return self.ragged.held[:, : self.end] - self.ragged.seen[:, None]
        return torch.arange(self._first() - self.end, 0, device=self.keys[0].device)

    def _positions(self, length: int) -> Tensor:
        device = self.keys[0].device
        if self.ragged is None:
            return torch.arange(self.position, self.position + length, device=device)
        return self.ragged.seen[:, None] + torch.arange(length, device=device)

    def _sight(self, positions: Tensor) -> AttentionMask:
        """What new elements see of slots [first, end) and of themselves."""
        like, context, length = self.keys[0], self.context, positions.shape[-1]
        if self.ragged is not None:
            return sight_by_position(
                positions, self.ragged.held[:, : self.end], context, like.dtype
            )
        old = self.end - self._first()
        block = block_size(length, context)
        later = later_blocks(length, context, like, like.dtype)
        if length == 1:
            return EVERYTHING
        if old == 0 and block <= context:
            return AttentionMask(is_causal=True, band=later)
        return AttentionMask(
            as_bias(band(block, old + block, context, like.device), like.dtype), band=later
        )

    def _apart(self) -> Self:
        """The same tape with a position for each row, even while they are level."""
        if self.ragged is not None:
            return self
        rows, _, slots, _ = self.keys[0].shape
        device = self.keys[0].device
        held = torch.arange(slots, device=device) + (self.position - self.end)
        seen = torch.full((rows,), self.position, device=device)
        return replace(self, ragged=Ragged(held.repeat(rows, 1), seen), position=0)

    # ---- room at the tip ----

    def _with_room(self, length: int) -> Self:
        """An equal tape with `length` slots after `end` that only the caller writes to."""
        if reserve(self.keys[0], self.tip, self.end, length):
            return self
        is_full = self.end + length > 2 * self.context
        tape = self._packed() if is_full and self.ragged is not None else self
        first = tape._first()
        end = tape.end - first
        room = end + length
        if not self.tip.is_fresh:
            room = max(room, min(max(2 * room, _SMALLEST_ROOM), 2 * self.context))

        def copy(old: Tensor, axis: int) -> Tensor:
            new = old.new_empty(*old.shape[:axis], room, *old.shape[axis + 1 :])
            new.narrow(axis, 0, end).copy_(old.narrow(axis, first, end))
            return new

        return replace(
            tape,
            keys=tuple(copy(k, 2) for k in tape.keys),
            values=tuple(copy(v, 2) for v in tape.values),
            ragged=tape.ragged and replace(tape.ragged, held=copy(tape.ragged.held, 1)),
            end=end,
            tip=TapeEnd(end + length),
        )

    def _packed(self) -> Self:
        """Each row's last context - 1 elements, without the slots between that hold nothing.

        So a tape stays bounded even if one row never advances while others do.
        """
        if self.ragged is None:
            return self
        slots = min(self.end, self.context - 1)
        held, order = self.ragged.held[:, : self.end].sort(-1)  # what holds nothing goes first
        held, order = (t.narrow(1, self.end - slots, slots) for t in (held, order))

        def pick(t: Tensor) -> Tensor:
            return t.gather(2, order[:, None, :, None].expand(-1, t.shape[1], -1, t.shape[3]))

        keys, values = tuple(map(pick, self.keys)), tuple(map(pick, self.values))
        ragged = replace(self.ragged, held=held)
        return replace(self, keys=keys, values=values, ragged=ragged, end=slots, tip=TapeEnd(slots))


class _InPlace(Chunk):
    """A chunk written into the shared buffers, at their tip."""

    def __init__(self, tape: GrowingTape, length: int, lengths: Tensor | None) -> None:
        self.positions, self.lengths = tape._positions(length), lengths
        tape = tape._with_room(length)
        self.before = tape
        self.sight = tape._sight(self.positions)
        self.first, self.begin, self.end = tape._first(), tape.end, tape.end + length
        if lengths is not None:
            tape = tape._apart()  # after the sight: a ragged prompt after level rows needs no mask
        self.after = replace(tape, position=tape.position + length, end=self.end)
        if tape.ragged is not None:
            held, seen = tape.ragged.after(
                self.positions.expand(len(tape.ragged.seen), -1), lengths
            )
            tape.ragged.held[:, self.begin : self.end] = held
            ragged = replace(tape.ragged, seen=seen)
            self.after = replace(self.after, ragged=ragged, position=0)

    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        all_keys, all_values = self.after.keys[layer], self.after.values[layer]
        all_keys[:, :, self.begin : self.end] = keys
        all_values[:, :, self.begin : self.end] = values
        return all_keys[:, :, self.first : self.end], all_values[:, :, self.first : self.end]

    def keep(self) -> GrowingTape:
        return self.after

    def offsets(self) -> Tensor:
        return join_offsets(self.before._old_offsets(), self.end - self.begin, self.lengths)


class _OutOfPlace(Chunk):
    """A chunk put behind what the tape holds in new tensors, which autograd may record."""

    def __init__(
        self, tape: GrowingTape, length: int, lengths: Tensor | None, *, is_kept: bool
    ) -> None:
        self.tape, self.lengths, self.first, self.is_kept = tape, lengths, tape._first(), is_kept
        self.positions = tape._positions(length)
        self.sight = tape._sight(self.positions)
        self.written: list[tuple[Tensor, Tensor]] = []

    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.tape.end > self.first:
            old = slice(self.first, self.tape.end)
            keys = torch.cat([self.tape.keys[layer][:, :, old], keys], 2)
            values = torch.cat([self.tape.values[layer][:, :, old], values], 2)
        if self.is_kept:  # else every layer's would live until the last layer is done
            self.written.append((keys, values))
        return keys, values

    def keep(self) -> GrowingTape:
        tape = self.tape if self.lengths is None else self.tape._apart()
        dtype = tape.keys[0].dtype  # under autocast the layers may have given a narrower one
        end = self.written[0][0].shape[2]
        after = replace(
            tape,
            keys=tuple(k.to(dtype) for k, _ in self.written),
            values=tuple(v.to(dtype) for _, v in self.written),
            position=tape.position + self.positions.shape[-1],
            end=end,
            tip=TapeEnd(end),
        )
        if tape.ragged is None:
            return _trimmed(after)
        positions = self.positions.expand(len(tape.ragged.seen), -1)
        held, seen = tape.ragged.after(positions, self.lengths)
        held = torch.cat([tape.ragged.held[:, self.first : tape.end], held], 1)
        after = replace(after, ragged=Ragged(held, seen), position=0)
        return after._packed() if end > 2 * tape.context else after

    def offsets(self) -> Tensor:
        return join_offsets(self.tape._old_offsets(), self.positions.shape[-1], self.lengths)


def _trimmed(tape: GrowingTape) -> GrowingTape:
    """A level tape without the slots that no later query sees, in memory of its own."""
    (keys, values, _), (_, _, end) = tape.parts()
    if not torch.is_grad_enabled():  # else the graph holds the whole chunk in any case
        keys, values = (tuple(t.clone() for t in layers) for layers in (keys, values))
    return replace(tape, keys=keys, values=values, end=end, tip=TapeEnd(end))
