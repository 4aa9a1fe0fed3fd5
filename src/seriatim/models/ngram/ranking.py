"""Blocks of symbols, ranked: the n-grams of a block in sorted order, by sorts of packed integers.

The texts of n symbols that begin at every place are put in order; where a sequence ends, they
go on with nothing, which comes before every symbol. As n symbols do not fit in 63 bits, texts
of k symbols are ranked first, for k = 1, 2, 4 .. as far as need be:

    rank of 2k symbols = rank among all pairs (rank of k symbols, rank of the k after them)

and a text of n symbols is two such ranks side by side (which may overlap), and a last symbol if
n = 2k + 1. Where a text of n symbols differs from the one before it in its first m, an n-gram of
order m begins.

Places are shared out by their symbols, so that a share is a range of what is sorted, sorts stay
in the caches, and shares are put end to end without a merge.

Knows blocks; no ids, corpora, files or probabilities.

Shapes: M places, V symbols, K places of a share, U different texts in it.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]

SHARE_PLACES = 1 << 21  # a sort of so many keys stays in the caches
KEY_BITS = 63  # of a sorted integer


class BlockTooLargeError(Exception):
    """What is to be sorted does not fit in 63 bits: the block is to be counted in halves."""


@dataclass(frozen=True)
class RankBlock:
    """A part of a corpus, with boundaries laid out.

    Attributes:
        symbols: (M,) int32.
        begins: the places where sequences begin, rising.
        num_own: n-grams that begin in the first so many places are counted; later places belong
            to another block, and only go on with what began here.
    """

    symbols: Ids
    begins: Ints
    num_own: int


@dataclass
class Found:
    """The n-grams of one order in a share, in order.

    Attributes:
        key: the rank, in the share, of the first m - 1 symbols (for m = 2 the symbol itself),
            shifted left by the bits of a symbol, plus the last symbol.
        count: int32.
        first: how often each begins a sequence; None: none does.
    """

    key: Ints
    count: npt.NDArray[np.int32]
    first: Ints | None


@dataclass(frozen=True)
class _Ranks:
    """Texts of k symbols.

    Attributes:
        at: (M,) the rank of the text at each place.
        size: R.
        halves: texts of k / 2 symbols, and (R + 1,) of each rank the ranks of its left and right
            half, -1 for nothing; at the end stands -1, so that nothing consists of nothing.
            None: k = 1.
    """

    at: Ids
    size: int
    halves: "tuple[_Ranks, Ids, Ids] | None" = None

    def spelled(self, rank: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """k columns of symbols, -1 for nothing."""
        if self.halves is None:
            return [rank]
        half, left, right = self.halves
        return half.spelled(left[rank]) + half.spelled(right[rank])


class Ranking:
    """One block, on its way from symbols to n-grams."""

    def __init__(
        self, block: RankBlock, order: int, num_symbols: int, threads: Executor | None
    ) -> None:
        self.block, self.order = block, order
        self.run = map if threads is None else threads.map
        self.symbol_bits = max(1, (num_symbols - 1).bit_length())
        self.left = _symbols_left(block, order)
        self.shares = _shares(block.symbols, num_symbols)
        self.opening, *self.others = self._pieces(_Ranks(block.symbols, num_symbols))

    def count(self) -> list[list[Found]]:
        """Of every share, in order, its n-grams of orders 2 .. n."""
        bits = sum(r.size.bit_length() for r, _ in self.others) + 1
        follow = np.zeros(len(self.left), dtype=np.int64)
        for ranks, offset in self.others:
            follow <<= ranks.size.bit_length()
            follow |= self._following(ranks, offset)
        follow <<= 1
        follow[self.block.begins] |= 1
        return list(self.run(lambda at: self._count_share(at, follow, bits), self.shares))

    def _pieces(self, symbols: _Ranks) -> list[tuple[_Ranks, int]]:
        """What texts of n symbols are packed of: ranks, and how far on."""
        k, ranks = 1, symbols
        while 2 * k + 1 < self.order:
            ranks, k = self._pairs(ranks, k), 2 * k
        if self.order <= 2 * k:
            return [(ranks, 0), (ranks, self.order - k)]
        return [(ranks, 0), (ranks, k), (symbols, 2 * k)]

    # ---- ranks -----------------------------------------------------------------------------------

    def _pairs(self, half: _Ranks, k: int) -> _Ranks:
        """Texts of 2k symbols from those of k."""
        follow = self._following(half, k)
        bits = half.size.bit_length()
        parts = list(self.run(lambda at: _pair(half.at, follow, bits, at), self.shares))
        ends = np.cumsum([len(left) for _, left, _ in parts]).tolist()
        ranks = np.empty(len(half.at), dtype=np.int32)

        def place(at: Ints, part: tuple[Ids, Ids, Ids], end: int) -> None:
            ranks[at] = part[0] + np.int32(end - len(part[1]))

        list(self.run(place, self.shares, parts, ends))
        nothing = np.full(1, -1, dtype=np.int32)
        left = np.concatenate([*(part[1] for part in parts), nothing])
        right = np.concatenate([*(part[2] for part in parts), nothing])
        return _Ranks(ranks, ends[-1], (half, left, right))

    def _following(self, ranks: _Ranks, offset: int) -> Ids:
        """(M,) the ranks so far on, plus 1; 0 where the sequence has ended before."""
        found = np.zeros(len(ranks.at), dtype=np.int32)
        np.add(ranks.at[offset:], 1, out=found[: max(len(found) - offset, 0)])
        found *= self.left > offset
        return found

    # ---- n-grams ---------------------------------------------------------------------------------

    def _count_share(self, at: Ints, follow: Ints, bits: int) -> list[Found]:
        """The n-grams of orders 2 .. n that begin in a share."""
        packed, low = _packed(self.opening[0].at, follow, bits, at)
        foreign = packed[np.searchsorted(at, self.block.num_own) :].copy()
        packed.sort()
        text, count, first = _grouped(packed, foreign)
        columns: list[npt.NDArray[Any]] = []
        for ranks, offset in reversed(self.others):
            width = ranks.size.bit_length()
            found = ranks.spelled((text & ((1 << width) - 1)) - 1)
            columns = _before(found, columns, self.order - offset)
            text >>= width
        text += low
        columns = _before(self.opening[0].spelled(text), columns, self.order)
        return list(reversed(list(self._orders(columns, count, first))))

    def _orders(
        self, columns: list[npt.NDArray[Any]], count: Ints, first: Ints | None
    ) -> Iterator[Found]:
        """From the texts of a share, different and sorted, its n-grams: order n first.

        A text stands for one n-gram of order m if all of its first m symbols are there, and for
        a new one if they are not those of the text before.
        """
        alike = _alike(columns)
        for m in range(self.order, 1, -1):
            is_real = columns[m - 1] >= 0
            nodes = np.flatnonzero(is_real)
            key = columns[0].take(nodes).astype(np.int64)
            if m > 2:
                prefix = np.cumsum((alike < m - 1) & (columns[m - 2] >= 0), dtype=np.int64)
                prefix -= 1
                key = prefix.take(nodes)
            key <<= self.symbol_bits
            key |= columns[m - 1].take(nodes)
            yield Found(
                key,
                count.take(nodes).astype(np.int32),
                None if first is None else first.take(nodes),
            )
            heads = np.flatnonzero(alike < m - 1)
            count = np.add.reduceat(count, heads)
            first = None if first is None else np.add.reduceat(first, heads)
            columns, alike = [c.take(heads) for c in columns[: m - 1]], alike.take(heads)


def _before(
    found: list[npt.NDArray[Any]], after: list[npt.NDArray[Any]], size: int
) -> list[npt.NDArray[Any]]:
    """Columns before others, `size` in all: where they overlap, those that are there stay."""
    return found[: size - len(after)] + after


def _packed(first: Ids, follow: npt.NDArray[Any], bits: int, at: Ints) -> tuple[Ints, int]:
    """What begins at places and what follows, which takes `bits` bits, in one integer; and what
    is taken from the first to need fewer.

    Raises:
        BlockTooLargeError: they do not fit together.
    """
    packed = first.take(at).astype(np.int64)
    low = int(packed.min())
    packed -= low
    if int(packed.max()).bit_length() + bits > KEY_BITS:
        raise BlockTooLargeError
    packed <<= bits
    packed |= follow.take(at)
    return packed, low


def _pair(half: Ids, follow: Ids, bits: int, at: Ints) -> tuple[Ids, Ids, Ids]:
    """Of the pairs at the places of a share: the rank of each, and the halves of every rank."""
    width = (len(at) - 1).bit_length()
    packed, low = _packed(half, follow, bits, at)
    if packed.max() >> (KEY_BITS - width):
        raise BlockTooLargeError
    packed <<= width
    packed |= np.arange(len(at))
    packed.sort()
    place = packed & ((1 << width) - 1)
    packed >>= width
    is_new = _is_new(packed)
    rank = np.cumsum(is_new, dtype=np.int32)
    rank -= 1
    text = packed.take(np.flatnonzero(is_new))
    place <<= width  # a sort inverts faster than a scattered write
    place |= rank
    place.sort()
    place &= (1 << width) - 1
    left = ((text >> bits) + low).astype(np.int32)
    return place.astype(np.int32), left, ((text & ((1 << bits) - 1)) - 1).astype(np.int32)


def _grouped(packed: Ints, foreign: Ints) -> tuple[Ints, Ints, Ints | None]:
    """Different texts of sorted ones, how often each stands there, and how often as a beginning.

    Args:
        packed: (K,) sorted; the lowest bit says whether a sequence begins.
        foreign: those of them that are not counted, in any order.
    """
    text = packed >> 1
    at = np.flatnonzero(_is_new(text))
    count, first = np.diff(at, append=len(text)), None
    text = text.take(at)
    strange = np.searchsorted(text, foreign >> 1)
    np.subtract.at(count, strange, 1)
    if int(np.bitwise_or.reduce(packed)) & 1:
        first = np.add.reduceat(packed & 1, at)
        np.subtract.at(first, strange, foreign & 1)
    return text, count, first


def _alike(columns: list[npt.NDArray[Any]]) -> npt.NDArray[np.uint8]:
    """(U,) how many of its first symbols a text shares with the one before it."""
    found = np.zeros(len(columns[0]), dtype=np.uint8)
    is_alike = np.ones(max(len(found) - 1, 0), dtype=bool)
    for column in columns:
        is_alike &= column[1:] == column[:-1]
        found[1:] += is_alike
    return found


def _is_new(ordered: Ints) -> npt.NDArray[np.bool_]:
    """Where a value differs from the one before it."""
    found = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=found[1:])
    return found


def _symbols_left(block: RankBlock, most: int) -> npt.NDArray[np.uint8]:
    """(M,) how many symbols there are from a place to the end of its sequence, up to `most`."""
    left = np.full(len(block.symbols), most, dtype=np.uint8)
    ends = np.append(block.begins, len(left))
    for back in range(most - 1, 0, -1):  # an end nearer by is written later
        at = ends - back
        left[at[at >= 0]] = back
    return left


def _shares(symbols: Ids, num_symbols: int) -> list[Ints]:
    """Places by ranges of their symbols, about `SHARE_PLACES` together; a symbol is not divided."""
    until = np.cumsum(np.bincount(symbols, minlength=num_symbols))
    cuts = list(_cuts(until, SHARE_PLACES))
    if len(cuts) == 1:
        return [np.arange(len(symbols))]
    dtype = np.uint8 if len(cuts) <= 1 << 8 else np.uint16 if len(cuts) <= 1 << 16 else np.int32
    share_of = np.repeat(np.arange(len(cuts), dtype=dtype), np.diff([0, *cuts])).take(symbols)
    places = np.argsort(share_of, kind="stable")
    return [at for at in np.split(places, until.take(np.array(cuts[:-1]) - 1)) if len(at)]


def _cuts(until: Ints, most: int) -> Iterable[int]:
    """Where ranges of symbols end: as many as stay within `most` places, one at least."""
    end, done = 0, 0
    while done < until[-1]:
        end = max(int(np.searchsorted(until, done + most, side="right")), end + 1)
        done = int(until[end - 1])
        yield end if done < until[-1] else len(until)
