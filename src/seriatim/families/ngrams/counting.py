"""Counting n-grams of every order up to n, exactly, with numpy alone.

Two pure functions do it: `count_block` counts a block of text into a sorted run, `merge_counts`
merges runs. Nothing else is needed for a corpus larger than memory, for a cluster, or to add
text to a count and to take it away again.

A sequence x_1 .. x_T is counted over  b x_1 .. x_T b:  the first boundary b is a context and
never a prediction, the last is a prediction and never a context, and no context reaches into
another sequence, so contexts at the start are shorter than n - 1. A stream s_1 .. s_T is counted
over  b s_1 .. s_T  with nothing after its end; inside it b is an ordinary symbol.

Sorting plain 64-bit integers is the fastest thing numpy does to an array (several times faster
than argsort, and faster than one scattered write), so a rank, a symbol and a place are packed
into one integer wherever something is to be grouped or inverted.

This module knows nothing of probabilities and nothing of files.

Shapes: V symbols, N n-grams of all orders, N_m of order m, M places where a symbol stands.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from seriatim.errors import DataError

Ints = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.integer[Any]]

BLOCK_PLACES = 20_000_000  # about 80 bytes each while they are counted
SHARE_PLACES = 1 << 22  # a sort of so many keys stays in the caches
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
    count: Ints
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

    def prefixes(self, m: int) -> Ints:
        """(N_m,) rank in order m - 1 of the first m - 1 symbols; 0 for order 1."""
        if m == 1:
            return np.zeros(self.num_symbols, dtype=np.int64)
        return (self.key[self.stored(m)] >> symbol_bits(self.num_symbols)) - self.starts[m - 2]

    def suffixes(self, m: int) -> Ints:
        """(N_m,) rank in order m - 1 of the last m - 1 symbols; 0 for order 1."""
        if m == 1:
            return np.zeros(self.num_symbols, dtype=np.int64)
        return self.suffix[self.stored(m)] - self.starts[m - 2]

    def beginnings(self, m: int) -> tuple[Ints, Ints]:
        """Ranks of the n-grams of order m < n that begin a sequence, and how often they do."""
        low, high = np.searchsorted(self.first, self.starts[m - 1 : m + 1])
        return self.first[low:high] - self.starts[m - 1], self.num_first[low:high]


def symbol_bits(num_symbols: int) -> int:
    """Bits that hold every symbol."""
    return max(1, (num_symbols - 1).bit_length())


# ---- a corpus -----------------------------------------------------------------------------------


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

    def largest(self) -> int:
        """How often the most frequent symbol stands here."""
        return int(np.bincount(self.symbols).max())


def count_ngrams(
    tokens: Tokens,
    offsets: npt.NDArray[np.integer[Any]],
    *,
    order: int,
    num_symbols: int,
    boundary: int,
    is_stream: bool,
) -> Counts:
    """Count the n-grams of orders 1 .. `order` of a corpus, in memory.

    Args:
        tokens: the symbols of all sequences end to end.
        offsets: (N + 1,) where sequences begin and end in `tokens`.
        order: n, the predicted symbol included.
        num_symbols: V.
        boundary: b.
        is_stream: one sequence without an end; offsets then only bound it.

    Raises:
        DataError: nothing to predict, or a symbol outside 0 .. V - 1.
    """
    layout = Layout(tokens, offsets, boundary=boundary, is_stream=is_stream)
    layout.check(num_symbols)
    with ThreadPoolExecutor(NUM_THREADS) as threads:

        def count(begin: int, end: int) -> Counts:
            return count_span(layout, begin, end, order, num_symbols, threads)

        runs = [count(begin, end) for begin, end in layout.spans(BLOCK_PLACES)]
        return merge_counts(runs, threads=threads)


def count_span(
    layout: "Layout", begin: int, end: int, order: int, num_symbols: int, threads: Executor
) -> Counts:
    """The run of places begin .. end - 1; in halves if a symbol is too frequent for one block."""
    block = layout.block(begin, end, order)
    width = (block.largest() - 1).bit_length()
    if 2 * width + symbol_bits(num_symbols) <= 63:
        return count_block(block, order=order, num_symbols=num_symbols, threads=threads)
    middle = (begin + end) // 2
    halves = [
        count_span(layout, low, high, order, num_symbols, threads)
        for low, high in ((begin, middle), (middle, end))
    ]
    return merge_counts(halves, threads=threads)


class Layout:
    """A corpus with its boundaries, place by place, without ever being written out whole."""

    def __init__(
        self,
        tokens: Tokens,
        offsets: npt.NDArray[np.integer[Any]],
        *,
        boundary: int,
        is_stream: bool,
    ) -> None:
        offsets = np.asarray(offsets, dtype=np.int64)
        self._offsets = offsets[[0, -1]] if is_stream else offsets
        self._tokens = np.asarray(tokens)  # a plain view: a memmap object is slow to slice
        self._boundary = boundary
        self._num_edges = 1 if is_stream else 2
        # Sequence i begins at place begins[i].
        self._begins = self._offsets - self._offsets[0]
        self._begins = self._begins + self._num_edges * np.arange(len(self._offsets))
        self.num_places = int(self._begins[-1])

    def check(self, num_symbols: int) -> None:
        """
        Raises:
            DataError: nothing to predict, or a symbol outside 0 .. V - 1.
        """
        num_sequences = len(self._offsets) - 1
        if self.num_places <= num_sequences:  # nothing but beginnings
            raise DataError("the corpus has no symbols to count: expected at least one sequence")
        tokens = self._tokens[self._offsets[0] : self._offsets[-1]]
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < num_symbols:
            raise DataError(
                f"the corpus holds symbols {tokens.min()} .. {tokens.max()} and the model knows "
                f"0 .. {num_symbols - 1}: encode the text with the symbols of this model"
            )

    def spans(self, size: int) -> Iterator[tuple[int, int]]:
        """The places in blocks of nearly equal size, none larger than `size`."""
        num_blocks = -(-self.num_places // size)
        cuts = [self.num_places * i // num_blocks for i in range(num_blocks + 1)]
        return iter(pairwise(cuts))

    def block(self, begin: int, end: int, order: int) -> Block:
        """Places begin .. end - 1, and the order - 1 before them as contexts."""
        low = max(0, begin - max(order - 1, 1))  # one at least tells whether a sequence begins
        i, j = np.searchsorted(self._begins, [low, end - 1], side="right") - 1
        begins = self._begins[i : j + 2]
        is_token = np.ones(end - low, dtype=bool)
        for edge in range(self._num_edges):  # the first place of a sequence, and its last
            at = begins - edge
            is_token[at[(at >= low) & (at < end)] - low] = False
        symbols = np.full(end - low, self._boundary, dtype=np.int32)
        first = self._token_at(low)
        symbols[is_token] = self._tokens[first : first + int(is_token.sum())]
        return Block(symbols, np.maximum(begins[:-1], low) - low, begin - low)

    def _token_at(self, place: int) -> int:
        """The index of the first token at a place or after it."""
        i = int(np.searchsorted(self._begins, place, side="right")) - 1
        inside = place - int(self._begins[i])
        size = int(self._offsets[i + 1] - self._offsets[i])
        return int(self._offsets[i]) + min(max(inside - 1, 0), size)


# ---- count a block ------------------------------------------------------------------------------


def count_block(
    block: Block, *, order: int, num_symbols: int, threads: Executor | None = None
) -> Counts:
    """The sorted run of one block; time O(order · M log M).

    Places before `num_context` add nothing to any count, but the n-grams that end there are
    listed, as contexts of what follows.

    N-grams are shared out by their first symbol: what a worker counts is then a range of ids,
    and nothing has to be merged. All workers finish an order before the next begins.
    """
    counter = _BlockCounter(block, order, num_symbols)
    for m in range(2, order + 1):
        counter.count_order(m, threads)
    return counter.result()


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

    def __init__(self, block: Block, order: int, num_symbols: int) -> None:
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
        self.shares = self._divide() if order > 1 else []

    def _divide(self) -> list[_Share]:
        """Shares of about `SHARE_PLACES` places; a symbol is never divided."""
        until = np.cumsum(np.bincount(self.block.symbols, minlength=self.num_symbols))
        wanted = np.arange(SHARE_PLACES, until[-1] + SHARE_PLACES, SHARE_PLACES)
        cuts = np.unique([0, *np.minimum(np.searchsorted(until, wanted) + 1, self.num_symbols)])
        which = np.repeat(np.arange(len(cuts) - 1, dtype=np.uint16), np.diff(cuts))
        by_share = np.argsort(which[self.block.symbols], kind="stable")  # a radix sort, of 16 bits
        shares = []
        for low, high in pairwise(cuts.tolist()):
            at = by_share[until[low - 1] if low else 0 : until[high - 1]]
            shares.append(_Share(at, self.block.symbols[at].astype(np.int64) - low, low))
        return [share for share in shares if len(share.at)]

    def count_order(self, m: int, threads: Executor | None) -> None:
        """Order m, once all lower orders are done."""
        run = map if threads is None else threads.map
        found = list(run(lambda share: self._count_share(share, m), self.shares))
        begin = self.starts[-1]
        ids = np.zeros(len(self.ids), dtype=np.int32) if m < self.order else self.ids
        for share, (key, suffix, count) in zip(self.shares, found, strict=True):
            end = begin + len(key)
            if end > MOST_NGRAMS:
                raise DataError(f"more than {MOST_NGRAMS:,} n-grams: choose a smaller order")
            stored = slice(begin - self.num_symbols, end - self.num_symbols)
            self.key[stored], self.suffix[stored], self.count[begin:end] = key, suffix, count
            share.offset, begin = begin, end
            if m < self.order:
                ids[share.at] = share.rank + share.offset
        self.ids = ids
        self.starts.append(begin)
        if m < self.order:
            self._note_edges(m)

    def _count_share(self, share: _Share, m: int) -> tuple[Ints, npt.NDArray[np.int32], Ints]:
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
        begins, rank = _groups(packed)
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
        first, num_first = np.unique(_join(self.firsts), return_counts=True)
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
    counts = np.bincount(block.symbols[block.num_context :], minlength=num_symbols)
    return counts - np.bincount(block.symbols[begins], minlength=num_symbols)


def _symbols_left(block: Block, most: int) -> npt.NDArray[np.uint8]:
    """(M,) how many symbols there are from a place to the end of its sequence, up to `most`."""
    left = np.full(len(block.symbols), most, dtype=np.uint8)
    begins = np.append(block.begins, len(left))
    for back in range(most - 1, 0, -1):
        at = begins[1:] - back
        left[at[at >= begins[:-1]]] = back
    return left


def _groups(ordered: Ints) -> tuple[Ints, Ints]:
    """Where runs of equal values begin, and (of every value) which run it is in."""
    is_new = np.empty(len(ordered), dtype=bool)
    is_new[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    rank = np.cumsum(is_new, dtype=np.int64)
    rank -= 1
    return np.flatnonzero(is_new), rank


def _join(arrays: Sequence[npt.NDArray[Any]], dtype: Any = np.int64) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *arrays])


# ---- merge runs ---------------------------------------------------------------------------------


def merge_counts(
    runs: Sequence[Counts], *, signs: Sequence[int] | None = None, threads: Executor | None = None
) -> Counts:
    """The counts of several runs together: equal to counting all their text at once.

    The ids of a run are translated order by order; as the translation rises with the id,
    translated keys are sorted still, and every array is read and written in order.

    Args:
        runs: of one alphabet and one order.
        signs: 1 adds a run, -1 takes it away; None: all are added.
        threads: work on parts of an order at once.

    Raises:
        DataError: a run is taken away whose text was never counted, or there are too many
            n-grams for 32-bit ids.
    """
    signs = [1] * len(runs) if signs is None else signs
    if len(runs) == 1 and signs[0] == 1:
        return runs[0]
    merger = _Merger(runs, signs)
    for m in range(2, runs[0].order + 1):
        merger.merge_order(m, threads)
    merged = merger.result()
    return merged if min(signs) > 0 else _without_zeros(merged)


class _Merger:
    """Translates runs into one, order by order; `maps[b]` turns ids of run b into new ones."""

    def __init__(self, runs: Sequence[Counts], signs: Sequence[int]) -> None:
        self.runs, self.signs = runs, signs
        self.num_symbols = runs[0].num_symbols
        self.bits = symbol_bits(self.num_symbols)
        most = sum(len(run.key) for run in runs)
        # Pages that are never written cost nothing, so the most there can be is a fair size.
        self.key = np.empty(most, dtype=np.int64)
        self.suffix = np.empty(most, dtype=np.int32)
        self.count = np.zeros(most + self.num_symbols, dtype=np.int64)
        self.starts = [0, self.num_symbols]
        self.maps = [np.empty(int(run.starts[-1]), dtype=np.int32) for run in runs]
        for run, sign, new in zip(runs, signs, self.maps, strict=True):
            new[: self.num_symbols] = np.arange(self.num_symbols)
            self.count[: self.num_symbols] += sign * run.count[: self.num_symbols]

    def merge_order(self, m: int, threads: Executor | None) -> None:
        """Order m, in parts by ranges of keys, once all lower orders are done."""
        cuts = self._cuts(m, 1 if threads is None else NUM_THREADS)
        mapped = (map if threads is None else threads.map)(self._merge_part, *zip(*cuts))
        base = self.starts[-1]
        for (lows, highs), (key, ranks) in zip(cuts, mapped, strict=True):
            if base + len(key) > MOST_NGRAMS:
                raise DataError(f"more than {MOST_NGRAMS:,} n-grams: choose a smaller order")
            self.key[base - self.num_symbols : base - self.num_symbols + len(key)] = key
            for new, low, high, rank in zip(self.maps, lows, highs, ranks, strict=True):
                np.add(rank, base, out=new[low:high])
            base += len(key)
        self.starts.append(base)
        list((map if threads is None else threads.map)(self._fill_part, *zip(*cuts)))

    def _cuts(self, m: int, num_parts: int) -> list[tuple[list[int], list[int]]]:
        """For each part, where it begins and where it ends in the ids of every run."""
        largest = max(range(len(self.runs)), key=lambda b: len(self.runs[b].key[self._at(b, m)]))
        key = self.runs[largest].key[self._at(largest, m)]
        picked = [key[len(key) * i // num_parts] for i in range(1, num_parts) if len(key)]
        bounds = [[int(run.starts[m - 1]) for run in self.runs]]
        for prefix in (self.maps[largest][k >> self.bits] for k in picked):
            bounds.append([self._first_of(b, m, int(prefix)) for b in range(len(self.runs))])
        bounds.append([int(run.starts[m]) for run in self.runs])
        return list(pairwise(bounds))

    def _at(self, b: int, m: int) -> slice:
        return self.runs[b].stored(m)

    def _first_of(self, b: int, m: int, prefix: int) -> int:
        """The first id of order m in run b whose context has a new id of at least `prefix`."""
        run, new = self.runs[b], self.maps[b]
        contexts = run.ids(m - 1)
        context = contexts.start + int(np.searchsorted(new[contexts], prefix))
        at = run.stored(m)
        return int(run.starts[m - 1]) + int(np.searchsorted(run.key[at], context << self.bits))

    def _merge_part(self, lows: list[int], highs: list[int]) -> tuple[Ints, list[Ints]]:
        """The new keys of a part, and the rank among them of every n-gram of each run."""
        run_bits = max(1, (len(self.runs) - 1).bit_length())
        symbol_mask = (1 << self.bits) - 1
        packed = np.empty(sum(highs) - sum(lows), dtype=np.int64)
        end = 0
        for b, (low, high) in enumerate(zip(lows, highs, strict=True)):
            key = self.runs[b].key[low - self.num_symbols : high - self.num_symbols]
            part = packed[end : end + len(key)]
            np.copyto(part, self.maps[b][key >> self.bits])
            part <<= self.bits
            part |= key & symbol_mask
            part <<= run_bits
            part |= b
            end += len(key)
        packed.sort()
        which = (packed & ((1 << run_bits) - 1)).astype(np.uint8 if run_bits <= 8 else np.int32)
        packed >>= run_bits
        begins, rank = _groups(packed)
        return packed[begins], [rank.compress(which == b) for b in range(len(self.runs))]

    def _fill_part(self, lows: list[int], highs: list[int]) -> None:
        """Counts and suffixes of a part; parts have no n-gram in common."""
        for run, sign, new, low, high in zip(
            self.runs, self.signs, self.maps, lows, highs, strict=True
        ):
            ids = new[low:high]
            old = slice(low - self.num_symbols, high - self.num_symbols)
            self.count[ids] += sign * run.count[low:high]
            self.suffix[ids - self.num_symbols] = new[run.suffix[old]]

    def result(self) -> Counts:
        """The merged counts."""
        size = self.starts[-1]
        pairs = zip(self.runs, self.maps, self.signs, strict=True)
        firsts = [(new[run.first], sign * run.num_first) for run, new, sign in pairs]
        first, rank = np.unique(_join([ids for ids, _ in firsts]), return_inverse=True)
        times = np.bincount(rank, _join([n for _, n in firsts]), len(first)).astype(np.int64)
        return Counts(
            num_symbols=self.num_symbols,
            starts=np.array(self.starts),
            key=self.key[: size - self.num_symbols],
            suffix=self.suffix[: size - self.num_symbols],
            count=self.count[:size],
            first=first,
            num_first=times,
        )


def _without_zeros(counts: Counts) -> Counts:
    """After a run was taken away: what occurs nowhere any more is gone.

    Raises:
        DataError: something was taken away more often than it was there.
    """
    if len(counts.count) and counts.count.min() < 0:
        raise DataError(
            "text was taken away that was never counted: give exactly the lines or documents "
            "that were added"
        )
    kept = counts.count > 0
    kept[: counts.num_symbols] = True
    return subset(counts, kept)


def subset(counts: Counts, kept: npt.NDArray[np.bool_]) -> Counts:
    """The counts of the n-grams (N,) that are kept: all symbols, and with an n-gram its prefix
    and its suffix."""
    new = np.cumsum(kept, dtype=np.int64) - 1
    bits = symbol_bits(counts.num_symbols)
    stored = np.flatnonzero(kept[counts.num_symbols :])
    key = counts.key[stored]
    is_there = (counts.num_first > 0) & kept[counts.first]
    return Counts(
        num_symbols=counts.num_symbols,
        starts=np.concatenate([[0], new[counts.starts[1:] - 1] + 1]),
        key=(new[key >> bits] << bits) | (key & ((1 << bits) - 1)),
        suffix=new[counts.suffix[stored]].astype(np.int32),
        count=counts.count[kept],
        first=new[counts.first[is_there]],
        num_first=counts.num_first[is_there],
    )
