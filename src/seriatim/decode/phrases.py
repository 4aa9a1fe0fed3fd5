"""Phrase matching: how many symbols of each phrase the last symbols of a row have matched.

Shared by required and forbidden phrases. Knows symbols; no model, no search.

Shapes: N rows, P phrases of a row, L symbols of the longest phrase, M candidates of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.errors import ConfigError

Phrase: TypeAlias = Sequence[int]
Phrases: TypeAlias = Sequence[Sequence[Phrase]]  # a list for each row

_NONE = -1  # no symbol: the padding of phrases, and of tails before the first symbol


@tree.register
@dataclass(frozen=True)
class PhraseProgress:
    """The progress of N rows through their phrases.

    Attributes:
        phrases: (N, P, L) the phrases, padded at the end.
        sizes: (N, P) the number of symbols of each; 0: there is no such phrase.
        tail: (N, L) the last symbols of each row, the newest last.
        done: (N, P) whether the whole phrase has occurred.
    """

    phrases: Tensor
    sizes: Tensor
    tail: Tensor
    done: Tensor

    @classmethod
    def start(cls, phrases: Phrases, rows: int) -> Self:
        """The progress before the first symbol.

        Args:
            phrases: a list for each row, or one list for all rows.
            rows: the number N of rows.

        Raises:
            ConfigError: if there are lists for another number of rows.
        """
        if len(phrases) not in (1, rows):
            raise ConfigError(
                f"{len(phrases)} lists of phrases do not fit {rows} rows: give one for each row, "
                "or one for all"
            )
        lists = [list(row) for row in phrases] * (rows if len(phrases) == 1 else 1)
        count = max((len(row) for row in lists), default=0)
        longest = max((len(p) for row in lists for p in row), default=0)
        table = torch.full((rows, count, max(longest, 1)), _NONE)
        sizes = torch.zeros(rows, count, dtype=torch.int64)
        for n, row in enumerate(lists):
            for i, phrase in enumerate(row):
                table[n, i, : len(phrase)] = torch.tensor(phrase)
                sizes[n, i] = len(phrase)
        return cls(table, sizes, torch.full((rows, table.shape[2]), _NONE), sizes == 0)

    def matched(self, size: Tensor | int, tails: Tensor) -> Tensor:
        """(N, M, P) whether tails (N, M, L) end with the first `size` symbols of each phrase."""
        length = self.phrases.shape[2]
        position = torch.arange(length)
        size = torch.as_tensor(size).expand(self.sizes.shape)
        # Symbol i of the phrase is at L - size + i of the tail.
        at = (position - size[..., None] + length).clamp(max=length - 1)
        rows, m, p = tails.shape[0], tails.shape[1], self.sizes.shape[1]
        tail = tails[:, :, None].expand(rows, m, p, length)
        tail = tail.gather(3, at[:, None].expand(rows, m, p, length).clamp(min=0))
        is_same = tail == self.phrases[:, None]
        return (is_same | (position >= size[..., None])[:, None]).all(-1)

    def into(self, tails: Tensor) -> Tensor:
        """(N, M, P) the length of the longest prefix of each phrase that tails end with."""
        best = torch.zeros(*tails.shape[:2], self.sizes.shape[1], dtype=torch.int64)
        for size in range(1, self.phrases.shape[2] + 1):
            is_match = self.matched(size, tails) & (self.sizes >= size)[:, None]
            best = torch.where(is_match, size, best)
        return best

    def tails_after(self, symbols: Tensor) -> Tensor:
        """(N, M, L) the tails after each candidate (N, M)."""
        old = self.tail[:, None, 1:].expand(-1, symbols.shape[1], -1)
        return torch.cat([old, symbols[..., None]], 2)

    def after(self, x: Tensor) -> Self:
        """The progress after one symbol per row, x (N,)."""
        tails = self.tails_after(x[:, None].cpu())
        done = self.done | (self.into(tails)[:, 0] == self.sizes)
        return replace(self, tail=tails[:, 0], done=done)
