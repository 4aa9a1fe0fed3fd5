"""A tape for rows that branch from a common past: what several rows have seen is kept once.

Beam search lets rows follow other rows at every step. Where every row has keys and values of its
own, all of them are copied then. Here the G rows of one source write into one pool, and each
remembers which slots of it are its past:

    row g of source m sees slot n        iff  seen[m, g, n]

so that a row follows another by taking over a line of `seen`. The queries of a source look at
its pool together, and a bias hides from each what is others' (as SpecInfer verifies a tree of
guesses at once; Miao et al. 2024, section 4.2). A beam soon agrees on all but its last symbols:
the pool is then hardly larger than one row's past, and is read once for all G rows.

Where rows share too little for that, as samples that go separate ways do after a while, they
part: each gets a tape of its own. So do rows of different lengths, and longer chunks.

Knows slots and positions; no model and no search.

Shapes: M sources, G rows of each, B = M G rows, H heads, N slots of a pool, d_k and d_v sizes of
a key and a value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from seriatim.core import taps, tree
from seriatim.core.tree import Node, Tree, register
from seriatim.layers.attention import AttentionMask, as_bias, together
from seriatim.layers.growing_tape import GrowingTape, TapeEnd, reserve
from seriatim.layers.tape_chunk import Chunk, Layers

# A pool of more slots than this many times what one row sees is no gain: rows that go on by
# themselves are better off apart, but rows that follow others would be copied at every step.
_WORTH, _WORTH_FOLLOWING = 3, 8
_SMALL = 64
_STEPS_OF_ROOM = 16


@register
@dataclass(frozen=True, eq=False)
class BranchedTape(Node):
    """A tape of rows that stand at one position.

    Attributes:
        keys, values: of every layer (M, H, room, d), of which this tape uses slots [0, N).
        seen: (M, G, N) which slots are a row's past.
        held: (M, N) the position of the element in each slot.
        context: how many elements a query sees, its own included.
        position: how many elements every row has seen.
        is_following: whether a row has followed another since the pools were last packed.
    """

    keys: Layers
    values: Layers
    seen: Tensor
    held: Tensor
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
            self.held,
        )
        pools = tree.map_leaves(lambda t: t.repeat_interleave(self.group, 0), pools)
        return (*pools, self.seen.flatten(0, 1)), (
            *(self.context, self.position, self.group),
            self.is_following,
        )

    @classmethod
    def build(cls, subtrees: tuple[Tree, ...], static: tuple[Any, ...]) -> Self:
        """Rows that share what they shared before, if they still do; see `Memory.build`."""
        keys, values, held, seen = subtrees
        context, position, group, is_following = static
        if not all(tree.is_in_blocks(t, group) for t in tree.leaves((keys, values, held))):
            group = 1
        keys, values, held = tree.map_leaves(lambda t: t[::group], (keys, values, held))
        tip = TapeEnd(held.shape[1], is_fresh=True)
        seen = seen.view(-1, group, seen.shape[1])
        keys, values = tuple(keys), tuple(values)
        return cls(keys, values, seen, held, context, position, tip, is_following)

    @classmethod
    def cat_rows(cls, nodes: Sequence[Any]) -> Any:
        """Rows of any tapes that grow, each on its own."""
        return GrowingTape.cat_rows(nodes)

    def select_rows(self, index: Tensor) -> Any:
        """The rows `index`; where they come in blocks of one source each, nothing is copied."""
        if torch.is_grad_enabled():
            return super().select_rows(index)
        sources, group = tree.regroup_blocks(index, self.group)
        if group == 1:
            return self.parted().select_rows(index)
        index = index.to(self.seen.device)
        seen = self.seen.flatten(0, 1).index_select(0, index).view(-1, group, self.seen.shape[2])
        if torch.equal(sources, torch.arange(len(self.held))):
            return replace(self, seen=seen, is_following=True)
        return self._packed(seen, sources.to(seen.device), group)

    def repeat_rows(self, n: int) -> Any:
        """Every row n times: more rows of the same sources."""
        if torch.is_grad_enabled():
            return super().repeat_rows(n)
        return replace(self, seen=self.seen.repeat_interleave(n, 1))

    # ---- as a tape ----

    def append(self, length: int, lengths: Tensor | None, *, keep: bool = True) -> Chunk:
        """Begin a chunk; anything but one element of every row parts the rows."""
        is_single = length == 1 and (lengths is None or bool((lengths == 1).all()))
        tape = self
        if is_single and not torch.is_grad_enabled() and not taps.is_on():
            end = self.seen.shape[2]
            if reserve(self.keys[0], self.tip, end, self.group):
                return _Branching(self)
            if self._is_worth_it():
                everyone = torch.arange(len(self.held), device=self.held.device)
                tape = self._packed(self.seen, everyone, self.group)
                reserve(tape.keys[0], tape.tip, tape.seen.shape[2], self.group)
                return _Branching(tape)
        return tape.parted().append(length, lengths, keep=keep)

    def parted(self) -> GrowingTape:
        """The same rows with keys and values of their own."""
        seen = self.seen_now()
        slots = seen.nonzero()[:, 2].view(*seen.shape[:2], -1)  # rows have seen equally many
        sources = torch.arange(len(seen), device=seen.device)[:, None].expand(-1, self.group)
        keys, values = self._picked(sources.flatten(), slots.flatten(0, 1), 0)
        end = slots.shape[2]
        return GrowingTape(keys, values, None, self.context, self.position, end, TapeEnd(end))

    def seen_now(self) -> Tensor:
        """(M, G, N) `seen` without what the next element no longer sees."""
        if self.position < self.context:
            return self.seen
        return self.seen & (self.held > self.position - self.context)[:, None]

    # ---- room ----

    def _is_worth_it(self) -> bool:
        size = int(self.seen_now().any(1).sum(1).max())
        worth = _WORTH_FOLLOWING if self.is_following else _WORTH
        return size <= max(_SMALL, worth * min(self.position, self.context))

    def _packed(self, seen: Tensor, sources: Tensor, group: int) -> Self:
        """Pools of these sources without the slots that no row sees, and with room for more.

        Args:
            seen: (M', G', N) of the rows that are left.
            sources: (M',) which pools.
            group: G'.
        """
        seen = replace(self, seen=seen, held=self.held[sources]).seen_now()
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
            held=self.held[sources].gather(1, slots),
            tip=TapeEnd(size),
            is_following=False,
        )

    def _picked(self, sources: Tensor, slots: Tensor, room: int) -> tuple[Layers, Layers]:
        """Of the pools `sources` (R,) the slots (R, n), in buffers (R, H, n + room, d)."""
        size = slots.shape[1]

        def pick(pool: Tensor) -> Tensor:
            heads, capacity, features = pool.shape[1:]
            first = sources[:, None] * heads + torch.arange(heads, device=slots.device)
            index = first[:, :, None] * capacity + slots[:, None]
            found = pool.reshape(-1, features).index_select(0, index.flatten())
            new = pool.new_empty(len(sources), heads, size + room, features)
            new[:, :, :size] = found.view(len(sources), heads, size, features)
            return new

        return tuple(map(pick, self.keys)), tuple(map(pick, self.values))


def branched(tape: GrowingTape, group: int) -> BranchedTape:
    """`group` rows for every row of a level tape; nothing is copied."""
    rows, end, device = tape.keys[0].shape[0], tape.end, tape.keys[0].device
    held = torch.arange(tape.position - end, tape.position, device=device)
    is_seen = held > tape.position - tape.context
    return BranchedTape(
        tape.keys,
        tape.values,
        is_seen.expand(rows, group, end),
        held.expand(rows, end),
        tape.context,
        tape.position,
        tape.tip,
    )


class _Branching(Chunk):
    """One element of every row, in a pool that has a slot for each."""

    def __init__(self, tape: BranchedTape) -> None:
        sources, group, end = tape.seen.shape
        device = tape.seen.device
        self.positions = torch.tensor([tape.position], device=device)
        self.lengths = None
        self.group, self.begin, self.end = group, end, end + group
        own = torch.eye(group, dtype=torch.bool, device=device).expand(sources, -1, -1)
        visible = torch.cat([tape.seen_now(), own], 2)
        self.sight = AttentionMask(as_bias(visible[:, None], tape.keys[0].dtype), group=group)
        now = self.positions.expand(sources, group)
        self.after = replace(
            tape,
            seen=visible,
            held=torch.cat([tape.held, now], 1),
            position=tape.position + 1,
        )

    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return self._written(self.after.keys[layer], keys), self._written(
            self.after.values[layer], values
        )

    def _written(self, pool: Tensor, new: Tensor) -> Tensor:
        pool[:, :, self.begin : self.end] = together(new, self.group)
        return pool[:, :, : self.end]

    def keep(self) -> BranchedTape:
        return self.after

    def offsets(self) -> Tensor:
        raise NotImplementedError("rows part where a recorder is at work")
