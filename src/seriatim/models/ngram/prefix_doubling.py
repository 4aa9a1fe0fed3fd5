"""The n-grams of a block in lexicographic order, by prefix doubling (Manber, Myers 1993).

The strings of n symbols that begin at every position are sorted; past the end of its sequence a
string is padded with nothing, which sorts before every symbol. As n symbols do not fit in 63 bits,
strings of k symbols are ranked first, for k = 1, 2, 4 .. as far as needed:

    rank of 2k symbols = rank among all pairs (rank of k symbols, rank of the k after them)

and a string of n symbols is two such ranks side by side (which may overlap), and a last symbol if
n = 2k + 1. Where a string of n symbols differs from the one before it in its first m, an n-gram of
order m begins. Sorting plain 64-bit integers is the fastest thing numpy does to an array (several
times faster than argsort, and as fast as one random read).

Positions are partitioned by their symbols, so that a partition is a range of the sorted order,
its sorts stay in the caches, and partitions are put end to end without a merge.

Knows blocks; no ids, corpora, files or probabilities.

Shapes: M positions, V symbols, K positions of a partition, U different strings in it.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seriatim.models.ngram.arrays import Int32s, Ints, is_group_start, symbol_bits

PARTITION_SIZE = 1 << 21  # a sort of so many keys stays in the caches
KEY_BITS = 63  # of a sorted integer


class BlockTooLargeError(Exception):
    """The sort keys of a block do not fit in 63 bits: the block is to be counted in halves."""


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
    """The n-grams of one order in a partition, in lexicographic order.

    Attributes:
        key: the rank in the partition of the first m - 1 symbols (for m = 2 the symbol itself),
            shifted left by the bits of a symbol, plus the last symbol.
        count: int32.
        first: how often each begins a sequence; None: none does.
    """

    key: Ints
    count: Int32s
    first: Ints | None


@dataclass(frozen=True)
class _Ranks:
    """Ranks of strings of k symbols.

    Attributes:
        at: (M,) the rank of the string at each position.
        size: R, the number of ranks.
        halves: the ranks of k / 2 symbols, and (R + 1,) for each rank the ranks of its left and
            right half, -1 for nothing; the last entry is -1, so that nothing consists of
            nothing. None: k = 1.
    """

    at: Int32s
    size: int
    halves: "tuple[_Ranks, Int32s, Int32s] | None" = None

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
            threads: the executor that works on partitions in parallel; None: this thread.

        Raises:
            BlockTooLargeError: ranks of so many positions do not fit in 63 bits.
        """
        self.block, self.order = block, order
        self.run = map if threads is None else threads.map
        self.symbol_bits = symbol_bits(num_symbols)
        self.left = _symbols_left(block, order)
        self.partitions = _partitions(block.symbols, num_symbols)
        self.opening, *self.others = self._pieces(_Ranks(block.symbols, num_symbols))

    def count(self) -> list[list[OrderCounts]]:
        """For every partition, in order, its n-grams of orders 2 .. n."""
        bits = sum(r.size.bit_length() for r, _ in self.others) + 1
        rest = np.zeros(len(self.left), dtype=np.int64)
        for ranks, offset in self.others:
            rest <<= ranks.size.bit_length()
            rest |= self._following(ranks, offset)
        rest <<= 1
        rest[self.block.begins] |= 1
        return list(self.run(lambda at: self._count_partition(at, rest, bits), self.partitions))

    def _pieces(self, symbols: _Ranks) -> list[tuple[_Ranks, int]]:
        """The ranks that a string of n symbols is packed from, and the offset of each."""
        k, ranks = 1, symbols
        while 2 * k + 1 < self.order:
            ranks, k = self._doubled(ranks, k), 2 * k
        if self.order <= 2 * k:
            return [(ranks, 0), (ranks, self.order - k)]
        return [(ranks, 0), (ranks, k), (symbols, 2 * k)]

    # ---- ranks -----------------------------------------------------------------------------------

    def _doubled(self, half: _Ranks, k: int) -> _Ranks:
        """Ranks of 2k symbols from those of k."""
        following = self._following(half, k)
        bits = half.size.bit_length()
        parts = list(
            self.run(lambda at: _ranked_pairs(half.at, following, bits, at), self.partitions)
        )
        ends = np.cumsum([len(left) for _, left, _ in parts]).tolist()
        ranks = np.empty(len(half.at), dtype=np.int32)

        def write(at: Ints, part: tuple[Int32s, Int32s, Int32s], end: int) -> None:
            ranks[at] = part[0] + np.int32(end - len(part[1]))

        list(self.run(write, self.partitions, parts, ends))
        nothing = np.full(1, -1, dtype=np.int32)
        left = np.concatenate([*(part[1] for part in parts), nothing])
        right = np.concatenate([*(part[2] for part in parts), nothing])
        return _Ranks(ranks, ends[-1], (half, left, right))

    def _following(self, ranks: _Ranks, offset: int) -> Int32s:
        """(M,) the ranks `offset` positions later, plus 1; 0 if the sequence has ended before."""
        following = np.zeros(len(ranks.at), dtype=np.int32)
        np.add(ranks.at[offset:], 1, out=following[: max(len(following) - offset, 0)])
        following *= self.left > offset
        return following

    # ---- n-grams ---------------------------------------------------------------------------------

    def _count_partition(self, at: Ints, rest: Ints, bits: int) -> list[OrderCounts]:
        """The n-grams of orders 2 .. n that begin at the positions of a partition."""
        packed, low = _packed(self.opening[0].at, rest, bits, at)
        foreign = packed[np.searchsorted(at, self.block.num_own) :].copy()
        packed.sort()
        string, count, first = _grouped(packed, foreign)
        columns: list[npt.NDArray[Any]] = []
        for ranks, offset in reversed(self.others):
            width = ranks.size.bit_length()
            symbols = ranks.spelled((string & ((1 << width) - 1)) - 1)
            columns = _prepended(symbols, columns, self.order - offset)
            string >>= width
        string += low
        columns = _prepended(self.opening[0].spelled(string), columns, self.order)
        return list(reversed(list(self._orders(columns, count, first))))

    def _orders(
        self, columns: list[npt.NDArray[Any]], count: Ints, first: Ints | None
    ) -> Iterator[OrderCounts]:
        """The n-grams of a partition's distinct sorted strings, order n first.

        A string holds an n-gram of order m if all of its first m symbols exist, and a new one if
        they are not those of the string before.
        """
        common = _common_prefix(columns)
        for m in range(self.order, 1, -1):
            exists = columns[m - 1] >= 0
            nodes = np.flatnonzero(exists)
            key = columns[0].take(nodes).astype(np.int64)
            if m > 2:
                prefix = np.cumsum((common < m - 1) & (columns[m - 2] >= 0), dtype=np.int64)
                prefix -= 1
                key = prefix.take(nodes)
            key <<= self.symbol_bits
            key |= columns[m - 1].take(nodes)
            yield OrderCounts(
                key,
                count.take(nodes).astype(np.int32),
                None if first is None else first.take(nodes),
            )
            heads = np.flatnonzero(common < m - 1)
            count = np.add.reduceat(count, heads)
            first = None if first is None else np.add.reduceat(first, heads)
            columns, common = [c.take(heads) for c in columns[: m - 1]], common.take(heads)


def _prepended(
    columns: list[npt.NDArray[Any]], after: list[npt.NDArray[Any]], size: int
) -> list[npt.NDArray[Any]]:
    """Columns before others, `size` in all; where they overlap, `after` is taken."""
    return columns[: size - len(after)] + after


def _packed(first: Int32s, rest: npt.NDArray[Any], bits: int, at: Ints) -> tuple[Ints, int]:
    """What begins at positions and the rest, of `bits` bits, in one integer.

    Returns:
        The integers, and the smallest `first`, which is subtracted to save bits.

    Raises:
        BlockTooLargeError: they do not fit together.
    """
    packed = first.take(at).astype(np.int64)
    low = int(packed.min())
    packed -= low
    if int(packed.max()).bit_length() + bits > KEY_BITS:
        raise BlockTooLargeError
    packed <<= bits
    packed |= rest.take(at)
    return packed, low


def _ranked_pairs(
    half: Int32s, following: Int32s, bits: int, at: Ints
) -> tuple[Int32s, Int32s, Int32s]:
    """The rank of the pair at each position of a partition, and both halves of every rank."""
    width = (len(at) - 1).bit_length()
    packed, low = _packed(half, following, bits, at)
    if packed.max() >> (KEY_BITS - width):
        raise BlockTooLargeError
    packed <<= width
    packed |= np.arange(len(at))
    packed.sort()
    position = packed & ((1 << width) - 1)
    packed >>= width
    is_new = is_group_start(packed)
    rank = np.cumsum(is_new, dtype=np.int32)
    rank -= 1
    pair = packed.take(np.flatnonzero(is_new))
    position <<= width  # a sort inverts faster than a scattered write
    position |= rank
    position.sort()
    position &= (1 << width) - 1
    left = ((pair >> bits) + low).astype(np.int32)
    return position.astype(np.int32), left, ((pair & ((1 << bits) - 1)) - 1).astype(np.int32)


def _grouped(packed: Ints, foreign: Ints) -> tuple[Ints, Ints, Ints | None]:
    """The distinct strings, how often each occurs, and how often it begins a sequence.

    Args:
        packed: (K,) sorted; the lowest bit is set where a sequence begins.
        foreign: those of them that are not counted, in any order.
    """
    string = packed >> 1
    at = np.flatnonzero(is_group_start(string))
    count, first = np.diff(at, append=len(string)), None
    string = string.take(at)
    uncounted = np.searchsorted(string, foreign >> 1)
    np.subtract.at(count, uncounted, 1)
    if int(np.bitwise_or.reduce(packed)) & 1:
        first = np.add.reduceat(packed & 1, at)
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


def _partitions(symbols: Int32s, num_symbols: int) -> list[Ints]:
    """Positions by ranges of their symbols, about `PARTITION_SIZE` each; no symbol is divided."""
    until = np.cumsum(np.bincount(symbols, minlength=num_symbols))
    cuts = list(_cuts(until, PARTITION_SIZE))
    if len(cuts) == 1:
        return [np.arange(len(symbols))]
    dtype = np.uint8 if len(cuts) <= 1 << 8 else np.uint16 if len(cuts) <= 1 << 16 else np.int32
    part_of_symbol = np.repeat(np.arange(len(cuts), dtype=dtype), np.diff([0, *cuts]))
    positions = np.argsort(part_of_symbol.take(symbols), kind="stable")
    return [at for at in np.split(positions, until.take(np.array(cuts[:-1]) - 1)) if len(at)]


def _cuts(until: Ints, most: int) -> Iterable[int]:
    """The ends of ranges of symbols with at most `most` positions, or of a single symbol."""
    end, done = 0, 0
    while done < until[-1]:
        end = max(int(np.searchsorted(until, done + most, side="right")), end + 1)
        done = int(until[end - 1])
        yield end if done < until[-1] else len(until)
