"""The n-grams of a block in lexicographic order, by prefix doubling (Manber, Myers 1993).

The strings of n symbols that begin at every position are sorted; past the end of its sequence a
string is padded with nothing, which sorts before every symbol. As n symbols do not fit in 63 bits,
strings of k symbols are ranked first, for k = 1, 2, 4 .. as far as needed:

    rank of 2k symbols = rank among all pairs (rank of k symbols, rank of the k after them)

and a string of n symbols is two such ranks side by side (which may overlap), and a last symbol if
n = 2k + 1. Where a string of n symbols differs from the one before it in its first m, an n-gram of
order m begins. Sorting plain 64-bit integers is the fastest thing numpy does to an array (several
times faster than argsort, and as fast as one random read), so nothing is sorted with its position:
the rank of a pair is looked up among the distinct ones, in a hash table (`key_index`).

Arrays of positions are read in order, some at a time; the sorted strings are divided where their
first symbol changes, so that every part is a range of the n-grams and is put before the next one
without a merge.

Knows blocks; no ids, corpora, files or probabilities.

Shapes: M positions, V symbols, U different strings of a part.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from seriatim.core.allocation import give_back_freed_memory
from seriatim.models.ngram.arrays import CHUNK, Int32s, Ints, is_group_start, symbol_bits
from seriatim.models.ngram.key_index import index_keys

PARTITION_SIZE = 1 << 21  # strings of a part, unless one symbol begins more
KEY_BITS = 63  # of a sorted integer
_MERGED = 4  # parts of distinct pairs


@dataclass(frozen=True)
class CorpusBlock:
    """A part of a padded corpus.

    Attributes:
        symbols: (M,) int32, boundaries included.
        begins: the positions where sequences begin, rising.
        num_own: the number of positions whose n-grams are counted; later positions belong to
            another block and only complete the n-grams that begin here.
    """

    symbols: Int32s
    begins: Ints
    num_own: int


@dataclass
class OrderCounts:
    """The n-grams of one order in a part, in lexicographic order.

    Attributes:
        key: the rank in the part of the first m - 1 symbols (for m = 2 the symbol itself),
            shifted left by the bits of a symbol, plus the last symbol; for m = 1 the symbol.
        count: int32.
        first: those that begin a sequence, rising; none of the highest order is listed, unless that
            is 1.
        num_first: how often each of these does.
    """

    key: Ints
    count: Int32s
    first: Ints
    num_first: Ints


@dataclass
class _Ranks:
    """Ranks of strings of k symbols.

    Attributes:
        at: (M,) the rank of the string at each position, until it is forgotten.
        size: R, the number of ranks.
        halves: the ranks of k / 2 symbols, and (R + 1,) for each rank the ranks of its left and
            right half, -1 for nothing; the last entry is -1, so that nothing consists of
            nothing. None: k = 1.
    """

    at: Int32s
    size: int
    halves: "tuple[_Ranks, Int32s, Int32s] | None" = None

    def forget_positions(self) -> None:
        """Free the arrays of positions; `spelled` needs none."""
        self.at = np.zeros(0, dtype=np.int32)  # a view would keep them
        if self.halves is not None:
            self.halves[0].forget_positions()

    def spelled(self, rank: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """The symbols of ranks as k columns, -1 for nothing."""
        if self.halves is None:
            return [rank]
        half, left, right = self.halves
        return half.spelled(left[rank]) + half.spelled(right[rank])


class PrefixDoubling:
    """Sorts one block into the counts of its n-grams."""

    def __init__(
        self, block: CorpusBlock, order: int, num_symbols: int, threads: Executor | None
    ) -> None:
        """
        Args:
            block: the symbols.
            order: n.
            num_symbols: V.
            threads: the executor that works on parts in parallel; None: this thread.
        """
        self.order, self.num_own, self.begins = order, block.num_own, block.begins
        self.run = map if threads is None else threads.map
        self.symbol_bits = symbol_bits(num_symbols)
        self.left = _symbols_left(block, order)
        self.opening, *self.others = self._pieces(_Ranks(block.symbols, num_symbols))

    def count(self) -> list[list[OrderCounts]]:
        """For every part, in order, its n-grams of orders 1 .. n; to be called once."""
        bits = sum(ranks.size.bit_length() for ranks, _ in self.others) + 1
        give_back_freed_memory()  # of ranking
        packed = np.empty(len(self.left), dtype=np.int64)
        list(self.run(partial(self._pack, packed), range(0, len(packed), CHUNK)))
        packed[self.begins] |= 1
        del self.left
        for ranks, _ in (self.opening, *self.others):
            ranks.forget_positions()
        foreign = packed[self.num_own :].copy()
        self._sort(packed)
        parts = [packed[low:high] for low, high in pairwise(self._cuts(packed, bits))]
        grouped = list(self.run(lambda part: _grouped(part, foreign), parts))
        parts.clear()
        del packed
        grouped.reverse()
        in_order = (grouped.pop() for _ in range(len(grouped)))
        return list(self.run(lambda strings: self._count_part(*strings), in_order))

    def _pack(self, packed: Ints, begin: int) -> None:
        """The strings of a chunk of positions, each in one integer; the lowest bit is free."""
        part = packed[begin : begin + CHUNK]
        end = begin + len(part)
        part[:] = self.opening[0].at[begin:end]
        for ranks, offset in self.others:
            part <<= ranks.size.bit_length()
            part |= self._following(ranks, offset, begin, end)
        part <<= 1

    def _sort(self, packed: Ints) -> None:
        """Sort in place, halves in parallel."""
        middle = len(packed) // 2 if len(packed) > PARTITION_SIZE else 0
        if middle:
            packed.partition(middle)
        list(self.run(lambda part: part.sort(), [packed[:middle], packed[middle:]]))

    def _cuts(self, packed: Ints, bits: int) -> list[int]:
        """The bounds of parts of about `PARTITION_SIZE` strings that divide no first symbol."""
        if len(packed) <= PARTITION_SIZE:
            return [0, len(packed)]
        ranks = self.opening[0]
        first = ranks.spelled(np.arange(ranks.size, dtype=np.int32))[0]
        picked = packed[PARTITION_SIZE:-1:PARTITION_SIZE] >> bits
        lowest = np.searchsorted(first, first.take(picked)) << bits
        cuts = np.searchsorted(packed, lowest)
        return [0, *np.unique(cuts[cuts > 0]).tolist(), len(packed)]

    def _pieces(self, symbols: _Ranks) -> list[tuple[_Ranks, int]]:
        """The ranks that a string of n symbols is packed from, and the offset of each."""
        if self.order == 1:
            return [(symbols, 0)]
        k, ranks = 1, symbols
        while 2 * k + 1 < self.order:
            ranks, k = self._doubled(ranks, k), 2 * k
        if self.order <= 2 * k:
            return [(ranks, 0), (ranks, self.order - k)]
        pieces = [(ranks, 0), (ranks, k), (symbols, 2 * k)]
        if sum(piece.size.bit_length() for piece, _ in pieces) + 1 <= KEY_BITS:
            return pieces
        return [(self._doubled(ranks, k), 0), (symbols, 2 * k)]

    # ---- ranks -----------------------------------------------------------------------------------

    def _doubled(self, half: _Ranks, k: int) -> _Ranks:
        """Ranks of 2k symbols from those of k."""
        size, bits = len(half.at), half.size.bit_length()

        def pairs(begin: int, end: int) -> Ints:
            pairs = half.at[begin:end].astype(np.int64)
            pairs <<= bits
            pairs |= self._following(half, k, begin, end)
            return pairs

        def distinct(begin: int) -> Ints:
            return _distinct(pairs(begin, min(begin + PARTITION_SIZE, size)))

        parts = list(self.run(distinct, range(0, size, PARTITION_SIZE)))
        while len(parts) > 1:  # some at a time: most pairs are in several parts
            groups = [parts[i : i + _MERGED] for i in range(0, len(parts), _MERGED)]
            parts.clear()
            parts = list(self.run(lambda g: _distinct(_concatenated_and_freed(g)), groups))
        (pair,) = parts
        index = index_keys(pair, 2 * bits)
        ranks = np.empty(size, dtype=np.int32)

        def rank(begin: int) -> None:
            end = min(begin + CHUNK, size)
            ranks[begin:end] = index.find(pairs(begin, end))

        list(self.run(rank, range(0, size, CHUNK)))
        left, right = np.full((2, len(pair) + 1), -1, dtype=np.int32)
        left[:-1] = pair >> bits
        pair &= (1 << bits) - 1
        pair -= 1
        right[:-1] = pair
        return _Ranks(ranks, len(pair), (half, left, right))

    def _following(self, ranks: _Ranks, offset: int, begin: int, end: int) -> Int32s:
        """The ranks `offset` positions after begin .. end - 1, plus 1; 0 if the sequence has
        ended before."""
        following = np.zeros(end - begin, dtype=np.int32)
        later = ranks.at[begin + offset : end + offset]
        np.add(later, 1, out=following[: len(later)])
        following *= self.left[begin:end] > offset
        return following

    # ---- n-grams ---------------------------------------------------------------------------------

    def _count_part(self, string: Ints, count: Int32s, first: Int32s | None) -> list[OrderCounts]:
        """The n-grams of orders 1 .. n with which the distinct sorted strings of a part begin."""
        columns: list[npt.NDArray[Any]] = []
        for ranks, offset in reversed(self.others):
            width = ranks.size.bit_length()
            symbols = ranks.spelled((string & ((1 << width) - 1)) - 1)
            columns = _prepended(symbols, columns, self.order - offset)
            string >>= width
        columns = _prepended(self.opening[0].spelled(string), columns, self.order)
        return list(reversed(list(self._orders(columns, count, first))))

    def _orders(
        self, columns: list[npt.NDArray[Any]], count: Int32s, first: Int32s | None
    ) -> Iterator[OrderCounts]:
        """The n-grams of a part's distinct sorted strings, order n first.

        A string holds an n-gram of order m if all of its first m symbols exist, and a new one if
        they are not those of the string before.
        """
        common = _common_prefix(columns)
        for m in range(self.order, 0, -1):
            exists = columns[m - 1] >= 0
            nodes = np.flatnonzero(exists)
            key = columns[0].take(nodes).astype(np.int64)
            if m > 2:
                prefix = np.cumsum((common < m - 1) & (columns[m - 2] >= 0), dtype=np.int64)
                prefix -= 1
                key = prefix.take(nodes)
            if m > 1:
                key <<= self.symbol_bits
                key |= columns[m - 1].take(nodes)
            begins, times = np.zeros(0, np.int64), np.zeros(0, np.int32)
            if first is not None and (m < self.order or m == 1):
                times = first.take(nodes)
                begins = np.flatnonzero(times)
                times = times.take(begins)
            yield OrderCounts(key, count.take(nodes), begins, times.astype(np.int64))
            if m == 1:
                return
            heads = np.flatnonzero(common < m - 1)
            count = np.add.reduceat(count, heads, dtype=np.int32)
            first = None if first is None else np.add.reduceat(first, heads, dtype=np.int32)
            columns, common = [c.take(heads) for c in columns[: m - 1]], common.take(heads)


def _prepended(
    columns: list[npt.NDArray[Any]], after: list[npt.NDArray[Any]], size: int
) -> list[npt.NDArray[Any]]:
    """Columns before others, `size` in all; where they overlap, `after` is taken."""
    return columns[: size - len(after)] + after


def _distinct(values: Ints) -> Ints:
    """The distinct values, rising; the argument is sorted in place."""
    values.sort()
    return values.take(np.flatnonzero(is_group_start(values)))


def _concatenated_and_freed(arrays: list[Ints]) -> Ints:
    result = np.concatenate(arrays)
    arrays.clear()
    return result


def _grouped(packed: Ints, foreign: Ints) -> tuple[Ints, Int32s, Int32s | None]:
    """The distinct strings, how often each occurs, and how often it begins a sequence.

    Args:
        packed: (K,) sorted; the lowest bit is set where a sequence begins.
        foreign: strings that are not counted, in any order; those of other parts are ignored.
    """
    string = packed >> 1
    at = np.flatnonzero(is_group_start(string))
    count: Int32s = np.diff(at, append=len(string)).astype(np.int32)
    first: Int32s | None = None
    string = string.take(at)
    foreign = foreign[(foreign >= packed[0]) & (foreign <= packed[-1])]
    uncounted = np.searchsorted(string, foreign >> 1)
    np.subtract.at(count, uncounted, 1)
    if int(np.bitwise_or.reduce(packed)) & 1:
        first = np.add.reduceat((packed & 1).astype(np.int32), at, dtype=np.int32)
        np.subtract.at(first, uncounted, foreign & 1)
    return string, count, first


def _common_prefix(columns: list[npt.NDArray[Any]]) -> npt.NDArray[np.uint8]:
    """(U,) the length of the common prefix of each string and the one before it."""
    length = np.zeros(len(columns[0]), dtype=np.uint8)
    is_equal = np.ones(max(len(length) - 1, 0), dtype=bool)
    for column in columns:
        is_equal &= column[1:] == column[:-1]
        length[1:] += is_equal
    return length


def _symbols_left(block: CorpusBlock, most: int) -> npt.NDArray[np.uint8]:
    """(M,) the number of symbols from a position to the end of its sequence, at most `most`."""
    left = np.full(len(block.symbols), most, dtype=np.uint8)
    ends = np.append(block.begins, len(left))
    for back in range(most - 1, 0, -1):  # a nearer end is written later
        at = ends - back
        left[at[at >= 0]] = back
    return left
