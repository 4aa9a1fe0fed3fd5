"""Tapes that take room as they need it: for rows that go on by themselves, and for branches.

Appending leaves the old tape as it was, and both can be continued. Behind this, the tapes of one
line of steps share buffers. Each sees the first slots of them, and an append at the tip, the end
of the written part, writes in place. An append anywhere else is a branch and copies once.

A `GrowingTape` has keys and values for each row, and takes twice the context at most. In beam
search rows follow other rows at every step, which would copy all of them each time. There the G
rows of one source share a pool, a `BranchedTape`, that records which slots each row has seen:

    row g of source m sees slot n        iff  seen[m, g, n]

so a row follows another by copying a line of `seen`. The queries of a source attend to its pool
together, and a mask hides from each what belongs to others (as SpecInfer verifies a tree of
guesses at once; Miao et al. 2024, section 4.2). A beam soon agrees on all but its last symbols:
the pool is then hardly larger than the past of one row, and is read once for all G rows. Rows
that share too little for that, such as samples that diverge, are separated: each gets a tape of
its own. So are rows of different lengths, and rows that append longer chunks.

Knows slots and positions; no model and no search.

Shapes: B rows, H heads, L elements of a chunk, S slots, d_k and d_v sizes of a key and a value; of
branched tapes M sources, G rows of each, B = M G rows, N slots of a pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from seriatim.core import taps, tree
from seriatim.core.tree import Node, Tree, register
from seriatim.layers.attention import (
    EVERYTHING,
    AttentionMask,
    as_bias,
    band,
    block_size,
    join_groups,
)
from seriatim.layers.kv_tape_chunk import (
    NO_POSITION,
    Array,
    Chunk,
    Layers,
    Ragged,
    TapeEnd,
    join_offsets,
    later_band,
    mask_by_position,
    reserve,
)
from seriatim.layers.slotted_kv_tape import SlottedTape

_SMALLEST_ROOM = 16
_ROOM_AFTER_SELECT = 4
# A pool is worth it while it has at most _SMALL slots, or this many times what one row sees: rows
# that go on by themselves are soon better off separated, but rows that follow others would then be
# copied at every step.
_WORTH, _WORTH_FOLLOWING = 3, 8
_SMALL = 64
_STEPS_OF_ROOM = 16


# ---- rows that go on by themselves --------------------------------------------------------------


@register
@dataclass(frozen=True, eq=False)
class GrowingTape(Node):
    """A tape whose rows have keys and values of their own.

    Attributes:
        keys, values: the buffers of every layer, of which this tape sees slots [0, end).
        ragged: the positions of each row; None while the rows are level, that is every slot holds
            an element of every row, in order: then no layer needs a mask for a single step.
        context: the number of elements that a query sees, its own included.
        position: the number of elements that every row has seen, while level.
        end: the number of slots in use.
        tip: the end of the written part of the buffers.
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
        ragged = None if self.ragged is None else (self.ragged.slot_pos[:, :end], self.ragged.seen)
        return (keys, values, ragged), (self.context, self.position, end - first)

    @classmethod
    def build(cls, subtrees: tuple[Tree, ...], static: tuple[Any, ...]) -> Self:
        """A tape whose buffers no other tape shares."""
        keys, values, ragged = subtrees
        context, position, end = static
        ragged = None if ragged is None else Ragged(*ragged)
        return cls(tuple(keys), tuple(values), ragged, context, position, end, TapeEnd(end, True))

    @classmethod
    def cat_rows(cls, nodes: Sequence[Self]) -> Self:
        """Rows of tapes of any lengths: the shorter ones get slots that hold nothing."""
        nodes = [node.separated() for node in nodes]
        if any(node.ragged or node.position != nodes[0].position for node in nodes):
            nodes = [node._as_ragged() for node in nodes]
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
            slot_pos, seen = zip(*(t[2] for t in trees), strict=True)
            padded = [
                F.pad(t, (g, 0), value=NO_POSITION) for t, g in zip(slot_pos, gaps, strict=True)
            ]
            ragged = torch.cat(padded), torch.cat(seen)
        subtrees = join([t[0] for t in trees]), join([t[1] for t in trees]), ragged
        return cls.build(subtrees, (context, position, slots))

    def select_rows(self, index: Tensor) -> Any:
        """The rows `index`, with room for a few steps; branched if they come in blocks."""
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

    def put_rows(self, index: Tensor, node: Any) -> SlottedTape:
        """The rows of another tape in place of the rows `index`, in slots of their own."""
        return self.in_slots().put_rows(index, node)

    def in_slots(self) -> SlottedTape:
        """The same rows as a slotted tape of their own."""
        (keys, values, ragged), (context, position, end) = self.parts()
        if ragged is None:
            rows, device = keys[0].shape[0], keys[0].device
            slot_pos = torch.arange(position - end, position, device=device).expand(rows, -1)
            ragged = slot_pos, torch.full((rows,), position, device=device)
        slot_pos, seen = ragged
        return SlottedTape.of(keys, values, slot_pos, seen, context)

    def repeat_rows(self, n: int) -> Any:
        """Every row n times, branched: nothing is copied until the rows are separated."""
        if n == 1 or self.ragged is not None or torch.is_grad_enabled():
            return super().repeat_rows(n)
        return branched(self, n)

    def separated(self) -> Self:
        """This tape: every row has keys and values of its own."""
        return self

    # ---- as a tape ----

    def append(self, length: int, lengths: Tensor | None, *, keep: bool = True) -> Chunk:
        """Begin a chunk; only the tape after it depends on `lengths`, as padding is never seen."""
        is_ragged = lengths is not None and bool((lengths < length).any())
        valid = lengths if is_ragged else None
        # Tensors that autograd has recorded must not be overwritten, and a chunk as long as the
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
            return self.ragged.slot_pos[:, : self.end] - self.ragged.seen[:, None]
        return torch.arange(self._first() - self.end, 0, device=self.keys[0].device)

    def _positions(self, length: int) -> Tensor:
        device = self.keys[0].device
        if self.ragged is None:
            return torch.arange(self.position, self.position + length, device=device)
        return self.ragged.seen[:, None] + torch.arange(length, device=device)

    def _mask(self, positions: Tensor) -> AttentionMask:
        """The mask of new elements on slots [first, end) and on themselves."""
        like, context, length = self.keys[0], self.context, positions.shape[-1]
        if self.ragged is not None:
            return mask_by_position(
                positions, self.ragged.slot_pos[:, : self.end], context, like.dtype
            )
        if length == 1:
            return EVERYTHING
        old = self.end - self._first()
        block = block_size(length, context)
        later = later_band(length, context, like, like.dtype)
        if old == 0 and block <= context:
            return AttentionMask(is_causal=True, band=later)
        return AttentionMask(
            as_bias(band(block, old + block, context, like.device), like.dtype), band=later
        )

    def _as_ragged(self) -> Self:
        """An equal tape with positions for each row, even while they are level."""
        if self.ragged is not None:
            return self
        rows, _, slots, _ = self.keys[0].shape
        device = self.keys[0].device
        slot_pos = torch.arange(slots, device=device) + (self.position - self.end)
        seen = torch.full((rows,), self.position, device=device)
        return replace(self, ragged=Ragged(slot_pos.repeat(rows, 1), seen), position=0)

    # ---- room at the tip ----

    def _with_room(self, length: int) -> Self:
        """An equal tape with `length` slots after `end` that are reserved for the caller."""
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
            ragged=tape.ragged and replace(tape.ragged, slot_pos=copy(tape.ragged.slot_pos, 1)),
            end=end,
            tip=TapeEnd(end + length),
        )

    def _packed(self) -> Self:
        """Each row's last context - 1 elements, without empty slots in between.

        This bounds a tape even if one row never advances while others do.
        """
        if self.ragged is None:
            return self
        slots = min(self.end, self.context - 1)
        slot_pos, order = self.ragged.slot_pos[:, : self.end].sort(-1)  # empty slots come first
        slot_pos, order = (t.narrow(1, self.end - slots, slots) for t in (slot_pos, order))

        def pick(t: Tensor) -> Tensor:
            return t.gather(2, order[:, None, :, None].expand(-1, t.shape[1], -1, t.shape[3]))

        keys, values = tuple(map(pick, self.keys)), tuple(map(pick, self.values))
        ragged = replace(self.ragged, slot_pos=slot_pos)
        return replace(self, keys=keys, values=values, ragged=ragged, end=slots, tip=TapeEnd(slots))


class _InPlace(Chunk):
    """A chunk that is written into the shared buffers, at their tip."""

    def __init__(self, tape: GrowingTape, length: int, lengths: Tensor | None) -> None:
        self.positions, self.lengths = tape._positions(length), lengths
        tape = tape._with_room(length)
        self.before = tape
        self.mask = tape._mask(self.positions)
        self.first, self.begin, self.end = tape._first(), tape.end, tape.end + length
        if lengths is not None:
            tape = tape._as_ragged()  # after the mask: a ragged prompt after level rows needs none
        self.after = replace(tape, position=tape.position + length, end=self.end)
        if tape.ragged is not None:
            slot_pos, seen = tape.ragged.after(
                self.positions.expand(len(tape.ragged.seen), -1), lengths
            )
            tape.ragged.slot_pos[:, self.begin : self.end] = slot_pos
            ragged = replace(tape.ragged, seen=seen)
            self.after = replace(self.after, ragged=ragged, position=0)

    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        all_keys, all_values = self.after.keys[layer], self.after.values[layer]
        return self._written(all_keys, keys), self._written(all_values, values)

    def view_arrays(self, layer: int, keys: Array, values: Array) -> tuple[Array, Array]:
        all_keys, all_values = self.after.keys[layer].numpy(), self.after.values[layer].numpy()
        return self._written(all_keys, keys), self._written(all_values, values)

    def _written(self, buffer: Any, new: Any) -> Any:
        """All slots of a buffer that the chunk sees, after writing its own."""
        buffer[:, :, self.begin : self.end] = new
        return buffer[:, :, self.first : self.end]

    def keep(self) -> GrowingTape:
        return self.after

    def offsets(self) -> Tensor:
        return join_offsets(self.before._old_offsets(), self.end - self.begin, self.lengths)


class _OutOfPlace(Chunk):
    """A chunk that is joined to the old elements in new tensors, which autograd may record."""

    def __init__(
        self, tape: GrowingTape, length: int, lengths: Tensor | None, *, is_kept: bool
    ) -> None:
        self.tape, self.lengths, self.first, self.is_kept = tape, lengths, tape._first(), is_kept
        self.positions = tape._positions(length)
        self.mask = tape._mask(self.positions)
        self.written: list[tuple[Tensor, Tensor]] = []

    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.tape.end > self.first:
            old = slice(self.first, self.tape.end)
            keys = torch.cat([self.tape.keys[layer][:, :, old], keys], 2)
            values = torch.cat([self.tape.values[layer][:, :, old], values], 2)
        if self.is_kept:  # else they would stay in memory until the last layer is done
            self.written.append((keys, values))
        return keys, values

    def keep(self) -> GrowingTape:
        tape = self.tape if self.lengths is None else self.tape._as_ragged()
        dtype = tape.keys[0].dtype  # under autocast layers may return a narrower one
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
        slot_pos, seen = tape.ragged.after(positions, self.lengths)
        slot_pos = torch.cat([tape.ragged.slot_pos[:, self.first : tape.end], slot_pos], 1)
        after = replace(after, ragged=Ragged(slot_pos, seen), position=0)
        return after._packed() if end > 2 * tape.context else after

    def offsets(self) -> Tensor:
        return join_offsets(self.tape._old_offsets(), self.positions.shape[-1], self.lengths)


def _trimmed(tape: GrowingTape) -> GrowingTape:
    """A level tape without the slots that no later query sees, in buffers of its own."""
    (keys, values, _), (_, _, end) = tape.parts()
    if not torch.is_grad_enabled():  # else the graph keeps the whole chunk anyway
        keys, values = (tuple(t.clone() for t in layers) for layers in (keys, values))
    return replace(tape, keys=keys, values=values, end=end, tip=TapeEnd(end))


# ---- rows that branch from a common past --------------------------------------------------------


@register
@dataclass(frozen=True, eq=False)
class BranchedTape(Node):
    """A tape of rows at one position that share the pool of their source.

    Attributes:
        keys, values: the pools of every layer, (M, H, room, d), of which this tape uses slots
            [0, N).
        seen: (M, G, N) bool, which slots each row has seen.
        slot_pos: (M, N) the position of the element in each slot.
        context: the number of elements that a query sees, its own included.
        position: the number of elements that every row has seen.
        tip: the end of the written part of the pools.
        is_following: whether a row has followed another since the pools were last packed.
    """

    keys: Layers
    values: Layers
    seen: Tensor
    slot_pos: Tensor
    context: int
    position: int
    tip: TapeEnd = field(repr=False)
    is_following: bool = False

    @property
    def group(self) -> int:
        """G."""
        return self.seen.shape[1]

    # ---- as a node of trees ----

    def parts(self) -> tuple[tuple[Tree, ...], tuple[Any, ...]]:
        """Every row with a copy of its pool."""
        end = self.seen.shape[2]
        pools = (
            tuple(t[:, :, :end] for t in self.keys),
            tuple(t[:, :, :end] for t in self.values),
            self.slot_pos,
        )
        pools = tree.map_leaves(lambda t: t.repeat_interleave(self.group, 0), pools)
        return (*pools, self.seen.flatten(0, 1)), (
            *(self.context, self.position, self.group),
            self.is_following,
        )

    @classmethod
    def build(cls, subtrees: tuple[Tree, ...], static: tuple[Any, ...]) -> Self:
        """Rows that share a pool if their pools are still equal, as in `Memory.build`."""
        keys, values, slot_pos, seen = subtrees
        context, position, group, is_following = static
        if not all(tree.is_in_blocks(t, group) for t in tree.leaves((keys, values, slot_pos))):
            group = 1
        keys, values, slot_pos = tree.map_leaves(lambda t: t[::group], (keys, values, slot_pos))
        tip = TapeEnd(slot_pos.shape[1], is_fresh=True)
        seen = seen.view(-1, group, seen.shape[1])
        keys, values = tuple(keys), tuple(values)
        return cls(keys, values, seen, slot_pos, context, position, tip, is_following)

    @classmethod
    def cat_rows(cls, nodes: Sequence[Any]) -> Any:
        """Rows of any growing or branched tapes, separated."""
        return GrowingTape.cat_rows(nodes)

    def select_rows(self, index: Tensor) -> Any:
        """The rows `index`; if they come in blocks of one source each, nothing is copied."""
        if torch.is_grad_enabled():
            return super().select_rows(index)
        sources, group = tree.regroup_blocks(index, self.group)
        if group == 1:
            return self.separated().select_rows(index)
        index = index.to(self.seen.device)
        seen = self.seen.flatten(0, 1).index_select(0, index).view(-1, group, self.seen.shape[2])
        if torch.equal(sources, torch.arange(len(self.slot_pos))):
            return replace(self, seen=seen, is_following=True)
        return self._packed(seen, sources.to(seen.device), group)

    def repeat_rows(self, n: int) -> Any:
        """Every row n times: more rows of the same sources."""
        if torch.is_grad_enabled():
            return super().repeat_rows(n)
        return replace(self, seen=self.seen.repeat_interleave(n, 1))

    def put_rows(self, index: Tensor, node: Any) -> SlottedTape:
        """The rows of another tape in place of the rows `index`, in slots of their own."""
        return self.in_slots().put_rows(index, node)

    def in_slots(self) -> SlottedTape:
        """The same rows as a slotted tape of their own."""
        return self.separated().in_slots()

    # ---- as a tape ----

    def append(self, length: int, lengths: Tensor | None, *, keep: bool = True) -> Chunk:
        """Begin a chunk; anything but one element of every row separates the rows."""
        is_single = length == 1 and (lengths is None or bool((lengths == 1).all()))
        tape = self
        if is_single and not torch.is_grad_enabled() and not taps.is_on():
            end = self.seen.shape[2]
            if reserve(self.keys[0], self.tip, end, self.group):
                return _InPool(self)
            if self._is_worth_it():
                everyone = torch.arange(len(self.slot_pos), device=self.slot_pos.device)
                tape = self._packed(self.seen, everyone, self.group)
                reserve(tape.keys[0], tape.tip, tape.seen.shape[2], self.group)
                return _InPool(tape)
        return tape.separated().append(length, lengths, keep=keep)

    def separated(self) -> GrowingTape:
        """The same rows with keys and values of their own."""
        seen = self.seen_now()
        slots = seen.nonzero()[:, 2].view(*seen.shape[:2], -1)  # every row has seen equally many
        sources = torch.arange(len(seen), device=seen.device)[:, None].expand(-1, self.group)
        keys, values = self._picked(sources.flatten(), slots.flatten(0, 1), 0)
        end = slots.shape[2]
        return GrowingTape(keys, values, None, self.context, self.position, end, TapeEnd(end))

    def seen_now(self) -> Tensor:
        """(M, G, N) `seen` without the slots that are out of the next element's context."""
        if self.position < self.context:
            return self.seen
        return self.seen & (self.slot_pos > self.position - self.context)[:, None]

    # ---- room ----

    def _is_worth_it(self) -> bool:
        size = int(self.seen_now().any(1).sum(1).max())
        worth = _WORTH_FOLLOWING if self.is_following else _WORTH
        return size <= max(_SMALL, worth * min(self.position, self.context))

    def _packed(self, seen: Tensor, sources: Tensor, group: int) -> Self:
        """A tape of `sources` (M',), without the slots that no row sees and with room for more.

        Its G' rows of each have seen the slots `seen` (M', G', N).
        """
        seen = replace(self, seen=seen, slot_pos=self.slot_pos[sources]).seen_now()
        is_live = seen.any(1)
        size = int(is_live.sum(1).max())
        slots = (~is_live).int().argsort(dim=1, stable=True)[:, :size]
        room = group if self.tip.is_fresh else max(_STEPS_OF_ROOM * group, size // 2)
        keys, values = self._picked(sources, slots, room)
        return replace(
            self,
            keys=keys,
            values=values,
            seen=seen.gather(2, slots[:, None].expand(-1, group, -1)),
            slot_pos=self.slot_pos[sources].gather(1, slots),
            tip=TapeEnd(size),
            is_following=False,
        )

    def _picked(self, sources: Tensor, slots: Tensor, room: int) -> tuple[Layers, Layers]:
        """The slots (R, n) of the pools `sources` (R,), in buffers (R, H, n + room, d)."""
        size = slots.shape[1]

        def pick(pool: Tensor) -> Tensor:
            heads, capacity, features = pool.shape[1:]
            first = sources[:, None] * heads + torch.arange(heads, device=slots.device)
            index = first[:, :, None] * capacity + slots[:, None]
            picked = pool.reshape(-1, features).index_select(0, index.flatten())
            new = pool.new_empty(len(sources), heads, size + room, features)
            new[:, :, :size] = picked.view(len(sources), heads, size, features)
            return new

        return tuple(map(pick, self.keys)), tuple(map(pick, self.values))


def branched(tape: GrowingTape, group: int) -> BranchedTape:
    """`group` rows for every row of a level tape; nothing is copied."""
    rows, end, device = tape.keys[0].shape[0], tape.end, tape.keys[0].device
    slot_pos = torch.arange(tape.position - end, tape.position, device=device)
    is_seen = slot_pos > tape.position - tape.context
    return BranchedTape(
        tape.keys,
        tape.values,
        is_seen.expand(rows, group, end),
        slot_pos.expand(rows, end),
        tape.context,
        tape.position,
        tape.tip,
    )


class _InPool(Chunk):
    """One element of every row, written into a slot of its own in the pool of its source."""

    def __init__(self, tape: BranchedTape) -> None:
        sources, group, end = tape.seen.shape
        device = tape.seen.device
        self.positions = torch.tensor([tape.position], device=device)
        self.lengths = None
        self.group, self.begin, self.end = group, end, end + group
        own = torch.eye(group, dtype=torch.bool, device=device).expand(sources, -1, -1)
        visible = torch.cat([tape.seen_now(), own], 2)
        self.mask = AttentionMask(as_bias(visible[:, None], tape.keys[0].dtype), group=group)
        now = self.positions.expand(sources, group)
        self.after = replace(
            tape,
            seen=visible,
            slot_pos=torch.cat([tape.slot_pos, now], 1),
            position=tape.position + 1,
        )

    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return self._written(self.after.keys[layer], keys), self._written(
            self.after.values[layer], values
        )

    def _written(self, pool: Tensor, new: Tensor) -> Tensor:
        pool[:, :, self.begin : self.end] = join_groups(new, self.group)
        return pool[:, :, : self.end]

    def keep(self) -> BranchedTape:
        return self.after

    def offsets(self) -> Tensor:
        raise NotImplementedError("rows are separated while a recorder is active")
