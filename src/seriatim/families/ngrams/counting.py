"""Counting n-grams of every order up to n, exactly, with numpy alone.

Two pure functions do it: `count_block` counts a block of text into a sorted run, `merge_counts`
(in `merging`) merges runs. Nothing else is needed for a corpus larger than memory, for a cluster,
or to add text to a count and to take it away again.

A sequence x_1 .. x_T is counted over  b x_1 .. x_T b:  the first boundary b is a context and
never a prediction, the last is a prediction and never a context, and no context reaches into
another sequence, so contexts at the start are shorter than n - 1. A stream s_1 .. s_T is counted
over  b s_1 .. s_T  with nothing after its end; inside it b is an ordinary symbol.

Sorting plain 64-bit integers is the fastest thing numpy does to an array (several times faster
than argsort, and faster than one scattered write), so a rank, a symbol and a place are packed
into one integer wherever something is to be grouped or inverted.

Knows blocks of symbols; no corpora, files or probabilities.

Shapes: V symbols, N n-grams of all orders, N_m of order m, M places where a symbol stands.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from seriatim.errors import DataError

Ints = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.integer[Any]]

BYTES_PER_PLACE = 120  # what a block takes while it is counted: order 5, few repetitions
SHARE_PLACES = 1 << 21  # a sort of so many keys stays in the caches
NUM_THREADS = 2
MOST_NGRAMS = 2**31 - 1  # ids are int32 where they are stored


@dataclass(frozen=True)
class Counts:
    """All n-grams of orders 1 .. n of a corpus, as a trie kept in flat arrays.

    An n-gram has an id. Ids rise with the order, and within an order with the n-grams
    themselves, compared symbol by symbol. Order 1 lists every symbol of the alphabet, counted
    or not, so that the id of a symbol alone is the symbol.

    Attributes:
        num_symbols: V.
        starts: (n + 1,) ids of order m are starts[m - 1] .. starts[m] - 1; starts[1] = V.
        key: (N - V,) int64, rising: of each n-gram of orders 2 .. n, the id of its first m - 1
            symbols shifted left by `symbol_bits(V)`, plus its last symbol.
        suffix: (N - V,) int32: the id of its last m - 1 symbols.
        count: (N,) integers: how often it occurs as a prediction after its context.
        first: ids of n-grams of orders 2 .. n - 1 that begin a sequence, rising.
        num_first: how often each does.
    """

    num_symbols: int
    starts: Ints
    key: Ints
    suffix: npt.NDArray[np.int32]
    count: npt.NDArray[np.integer[Any]]
    first: Ints
    num_first: Ints

    @property
    def order(self) -> int:
        """n."""
        return len(self.starts) - 1

    def size(self, m: int) -> int:
        """N_m; 1 for order 0, which has nothing in it but the empty context."""
        return int(self.starts[m] - self.starts[m - 1]) if m else 1

    def ids(self, m: int) -> slice:
        """The ids of order m."""
        return slice(int(self.starts[m - 1]), int(self.starts[m]))

    def stored(self, m: int) -> slice:
        """Where order m >= 2 stands in `key` and `suffix`."""
        return slice(*(int(s) - self.num_symbols for s in self.starts[m - 1 : m + 1]))

    def prefixes(self, m: int, low: int = 0, high: int | None = None) -> Ints:
        """Rank in order m - 1 of the first m - 1 symbols, of n-grams low .. high - 1 of order m;
        0 for order 1."""
        if m == 1:
            return np.zeros(len(range(self.num_symbols)[low:high]), dtype=np.int64)
        prefixes: Ints = self.key[self.stored(m)][low:high] >> symbol_bits(self.num_symbols)
        prefixes -= self.starts[m - 2]
        return prefixes

    def suffixes(self, m: int, low: int = 0, high: int | None = None) -> Ints:
        """The same of the last m - 1 symbols."""
        if m == 1:
            return np.zeros(len(range(self.num_symbols)[low:high]), dtype=np.int64)
        suffixes: Ints = self.suffix[self.stored(m)][low:high] - self.starts[m - 2]
        return suffixes

    def contexts(self, m: int, size: int = 1 << 20) -> list[tuple[int, int]]:
        """Order m in parts of about `size` n-grams that divide no context's followers."""
        total = self.size(m)
        if m == 1 or total == 0:
            return [(0, total)] if total else []
        bits = symbol_bits(self.num_symbols)
        key = self.key[self.stored(m)]
        prefixes = key[np.arange(size, total, size)] >> bits
        cuts = np.unique([0, *np.searchsorted(key, prefixes << bits), total]).tolist()
        return list(pairwise(cuts))

    def beginnings(self, m: int) -> tuple[Ints, Ints]:
        """Ranks of the n-grams of order m < n that begin a sequence, and how often they do."""
        low, high = np.searchsorted(self.first, self.starts[m - 1 : m + 1])
        return self.first[low:high] - self.starts[m - 1], self.num_first[low:high]


def symbol_bits(num_symbols: int) -> int:
    """Bits that hold every symbol."""
    return max(1, (num_symbols - 1).bit_length())


def most_places(num_symbols: int) -> int:
    """Places of one symbol in a block, so that two ranks of twice as many and a symbol fit in
    63 bits."""
    return 1 << ((63 - symbol_bits(num_symbols)) // 2 - 1)


@dataclass(frozen=True)
class Block:
    """A part of a corpus, with boundaries laid out.

    Attributes:
        symbols: (M,) int32.
        begins: the places where sequences begin, rising, and 0.
        num_context: the first so many places belong to another block, and are only contexts.
    """

    symbols: npt.NDArray[np.int32]
    begins: Ints
    num_context: int

    @cached_property
    def frequency(self) -> Ints:
        """How often each symbol stands here, up to the largest that does."""
        return np.bincount(self.symbols)


def count_block(
    block: Block, *, order: int, num_symbols: int, threads: Executor | None = None
) -> Counts:
    """The sorted run of one block; time O(order · M log M).

    Places before `num_context` add nothing to any count, but the n-grams that end there are
    listed, as contexts of what follows.

    N-grams are shared out by their first symbol: what a worker counts is then a range of ids,
    and nothing has to be merged. All workers finish an order before the next begins.
    """
    counter = _BlockCounter(block, order, num_symbols, threads)
    for m in range(2, order + 1):
        counter.count_order(m, threads)
    return counter.result()


_Found: TypeAlias = tuple[Ints, npt.NDArray[np.int32], Ints]  # key, suffix and count


@dataclass
class _Share:
    """The n-grams of a block whose first symbol is in a range: K places, in place order.

    Attributes:
        at: (K,) where they begin.
        rank: (K,) of the n-gram of the last order, among those of this share.
        offset: what makes such a rank an id.
    """

    at: Ints
    rank: Ints
    offset: int


class _BlockCounter:
    """Counts order after order; `ids` is the id, of the last order, of what begins at a place."""

    def __init__(
        self, block: Block, order: int, num_symbols: int, threads: Executor | None
    ) -> None:
        self.block, self.order, self.num_symbols = block, order, num_symbols
        self.bits = symbol_bits(num_symbols)
        size = len(block.symbols)
        self.starts = [0, num_symbols]
        # Pages that are never written cost nothing, so the most there can be is a fair size.
        self.key = np.empty(size * (order - 1), dtype=np.int64)
        self.suffix = np.empty(size * (order - 1), dtype=np.int32)
        self.count = np.empty(num_symbols + size * (order - 1), dtype=np.int32)
        self.count[:num_symbols] = _predicted(block, num_symbols)
        self.firsts: list[Ints] = []
        self.ids = block.symbols
        self.left = _symbols_left(block, order)
        self.shares = self._divide(threads) if order > 1 else []

    def _divide(self, threads: Executor | None) -> list[_Share]:
        """Shares of about `SHARE_PLACES` places; a symbol is never divided."""
        size = min(SHARE_PLACES, most_places(self.num_symbols))
        symbols = self.block.symbols
        until = np.cumsum(np.pad(self.block.frequency, (0, self.num_symbols))[: self.num_symbols])
        wanted = np.arange(size, until[-1] + size, size)
        cuts = np.unique([0, *np.minimum(np.searchsorted(until, wanted) + 1, self.num_symbols)])
        dtype = np.min_scalar_type(len(cuts))
        share_of = np.repeat(np.arange(len(cuts) - 1, dtype=dtype), np.diff(cuts))[symbols]

        def share(i: int, low: int) -> _Share:
            at = np.flatnonzero(share_of == i)
            return _Share(at, symbols[at].astype(np.int64) - low, low)

        run = map if threads is None else threads.map
        return [s for s in run(share, range(len(cuts) - 1), cuts[:-1].tolist()) if len(s.at)]

    def count_order(self, m: int, threads: Executor | None) -> None:
        """Order m, once all lower orders are done."""
        run = map if threads is None else threads.map
        found = list(run(lambda share: self._count_share(share, m), self.shares))
        ends = (np.cumsum([0, *(len(key) for key, _, _ in found)]) + self.starts[-1]).tolist()
        if ends[-1] > MOST_NGRAMS:
            raise DataError(f"more than {MOST_NGRAMS:,} n-grams: choose a smaller order")
        ids = np.zeros(len(self.ids), dtype=np.int32) if m < self.order else self.ids

        def keep(share: _Share, begin: int, end: int, part: _Found) -> None:
            stored = slice(begin - self.num_symbols, end - self.num_symbols)
            self.key[stored], self.suffix[stored], self.count[begin:end] = part
            share.offset = begin
            if m < self.order:
                ids[share.at] = share.rank + begin

        list(run(keep, self.shares, ends[:-1], ends[1:], found))
        self.ids = ids
        self.starts.append(ends[-1])
        if m < self.order:
            self._note_edges(m)

    def _count_share(self, share: _Share, m: int) -> _Found:
        """Key, suffix and count of the n-grams of order m in a share, whose rank it renews."""
        goes_on = self.left[share.at] >= m
        at, rank = share.at.compress(goes_on), share.rank.compress(goes_on)
        width = max(1, (len(at) - 1).bit_length())
        packed = rank
        packed <<= self.bits
        packed |= self.block.symbols[at + (m - 1)]
        packed <<= width
        packed |= np.arange(len(at))
        packed.sort()
        order = packed & ((1 << width) - 1)
        packed >>= width
        begins, rank = groups(packed)
        key = packed[begins] + (share.offset << self.bits)
        suffix = np.empty(len(begins), dtype=np.int32)
        order <<= width  # a sort inverts faster than a scattered write
        order |= rank
        order.sort()
        order &= (1 << width) - 1
        share.at, share.rank = at, order
        suffix[order] = self.ids[at + 1]
        return key, suffix, np.diff(begins, append=len(at))

    def _note_edges(self, m: int) -> None:
        """What begins a sequence, and what was counted though it belongs to another block."""
        before = np.arange(max(0, self.block.num_context - (m - 1)))
        np.subtract.at(self.count, self.ids[before[self.left[before] >= m]], 1)
        begins = self.block.begins
        begins = begins[(self.left[begins] >= m) & (begins + (m - 1) >= self.block.num_context)]
        self.firsts.append(self.ids[begins].astype(np.int64))

    def result(self) -> Counts:
        """The counts of all orders."""
        size = self.starts[-1]
        first, num_first = np.unique(joined(self.firsts), return_counts=True)
        return Counts(
            num_symbols=self.num_symbols,
            starts=np.array(self.starts),
            key=self.key[: size - self.num_symbols],
            suffix=self.suffix[: size - self.num_symbols],
            count=self.count[:size],
            first=first,
            num_first=num_first,
        )


def _predicted(block: Block, num_symbols: int) -> Ints:
    """(V,) how often each symbol is predicted, which the beginning of a sequence never is."""
    begins = block.begins[block.begins >= block.num_context]
    others = np.concatenate([block.symbols[: block.num_context], block.symbols[begins]])
    counts = -np.bincount(others, minlength=num_symbols)
    counts[: len(block.frequency)] += block.frequency
    return counts


def _symbols_left(block: Block, most: int) -> npt.NDArray[np.uint8]:
    """(M,) how many symbols there are from a place to the end of its sequence, up to `most`."""
    left = np.full(len(block.symbols), most, dtype=np.uint8)
    begins = np.append(block.begins, len(left))
    for back in range(most - 1, 0, -1):
        at = begins[1:] - back
        left[at[at >= begins[:-1]]] = back
    return left


def groups(ordered: Ints) -> tuple[Ints, Ints]:
    """Where runs of equal values begin, and (of every value) which run it is in."""
    is_new = np.empty(len(ordered), dtype=bool)
    is_new[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    rank = np.cumsum(is_new, dtype=np.int64)
    rank -= 1
    return np.flatnonzero(is_new), rank


def joined(arrays: Sequence[npt.NDArray[Any]], dtype: Any = np.int64) -> npt.NDArray[Any]:
    """Arrays end to end; none is an empty one."""
    return np.concatenate([np.zeros(0, dtype), *arrays])
