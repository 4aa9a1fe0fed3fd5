"""Two small models that obey the laws; every mutant is a mutation of one of them.

They are independent of the families, so that the laws are tested even if a family is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.distributions import Categorical, Distribution
from seriatim.core.elements import Symbols
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.core.tree import Tree


class ToyWindow(SequenceModel):
    """A table over the last two symbols: carry (B, 2), reach 2."""

    def __init__(self, num_symbols: int = 3, boundary: int = 1) -> None:
        super().__init__(Symbols(num_symbols, boundary))
        torch.manual_seed(0)
        self.table = nn.Parameter(torch.randn((num_symbols + 1) ** 2, num_symbols))

    @property
    def reach(self) -> int | None:
        return 2

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        return torch.full((batch_size, 2), self.num_symbols)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        windows = torch.cat([carry, x], 1).unfold(1, 2, 1)
        n = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
        return windows[:, 1:], windows[torch.arange(len(x)), n]

    def emit(self, features: Features) -> Distribution:
        row = features[..., 0] * (self.num_symbols + 1) + features[..., 1]
        return Categorical(self.table[row])


@tree.register
@dataclass(frozen=True)
class Notes(tree.Node):
    """The carry of the toy attention: everything seen, and which of it is valid."""

    seen: Tensor  # (B, n, D)
    valid: Tensor  # (B, n)
    position: Tensor  # (B,)

    def parts(self) -> tuple[tuple[Tree, ...], tuple[Any, ...]]:
        return (self.seen, self.valid, self.position), ()

    @classmethod
    def build(cls, subtrees: tuple[Tree, ...], static: tuple[Any, ...]) -> Self:
        return cls(*subtrees)

    @classmethod
    def cat_rows(cls, nodes: Sequence[Self]) -> Self:
        longest = max(n.valid.shape[1] for n in nodes)
        gaps = [longest - n.valid.shape[1] for n in nodes]
        return cls(
            torch.cat([F.pad(n.seen, (0, 0, 0, g)) for n, g in zip(nodes, gaps, strict=True)]),
            torch.cat([F.pad(n.valid, (0, g)) for n, g in zip(nodes, gaps, strict=True)]),
            torch.cat([n.position for n in nodes]),
        )


class ToyAttention(SequenceModel):
    """Attention over the whole past, kept as a growing tensor: unbounded reach, any length."""

    D = 6

    def __init__(self, num_symbols: int = 3, boundary: int = 1) -> None:
        super().__init__(Symbols(num_symbols, boundary))
        torch.manual_seed(1)
        self.embed = nn.Embedding(num_symbols, self.D)
        self.qkv = nn.Linear(self.D, 3 * self.D)
        self.head = nn.Linear(self.D, num_symbols)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        w = self.head.weight
        return Notes(
            w.new_zeros(batch_size, 0, 2 * self.D),
            torch.zeros(batch_size, 0, dtype=torch.bool),
            torch.zeros(batch_size, dtype=torch.int64),
        )

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        length = x.shape[1]
        n = torch.full((len(x),), length) if lengths is None else lengths
        valid = torch.arange(length) < n[:, None]
        h = self.embed(x) + self.positions(carry.position, length)
        q, kv = self.qkv(h).split([self.D, 2 * self.D], -1)
        notes = self.note(carry, kv, valid, n)
        k, v = notes.seen.chunk(2, -1)
        slot = torch.arange(notes.seen.shape[1])
        mask = self.mask(notes.valid, slot, slot[-length:, None])
        scores = (q @ k.transpose(1, 2)).masked_fill(~mask, -torch.inf)
        return h + scores.softmax(-1) @ v, notes

    # The parts that mutants change.

    def positions(self, position: Tensor, length: int) -> Tensor:
        """(B, L, D): every row counts its own elements."""
        at = position[:, None] + torch.arange(length)
        angle = at[..., None] * torch.tensor([1.0, 0.3, 0.1]).to(self.head.weight.dtype)
        return torch.cat([angle.sin(), angle.cos()], -1)

    def note(self, carry: Notes, new: Tensor, valid: Tensor, n: Tensor) -> Notes:
        """The carry after a chunk: padding is stored, and marked as padding."""
        seen, real = torch.cat([carry.seen, new], 1), torch.cat([carry.valid, valid], 1)
        return Notes(seen, real, carry.position + n)

    def mask(self, valid: Tensor, slot: Tensor, own: Tensor) -> Tensor:
        """(B, L, n): valid and not later; a padded query attends to itself."""
        return (valid[:, None] & (slot <= own)) | (slot == own)

    def emit(self, features: Features) -> Distribution:
        return Categorical(self.head(features))
