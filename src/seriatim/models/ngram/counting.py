"""Counting n-grams of every order up to n, exactly, with numpy alone.

Two pure functions do it: `count_block` counts a block of text into a sorted run, `merge_counts`
(in `merging`) merges runs. Nothing else is needed for a corpus larger than memory, for a cluster,
or to add text to a count and to remove it again.

A sequence x_1 .. x_T is counted over  b x_1 .. x_T b:  the first boundary b is a context and
never a prediction, the last is a prediction and never a context, and no context crosses into
another sequence, so contexts at the start are shorter than n - 1. A stream s_1 .. s_T is counted
over  b s_1 .. s_T  with nothing after its end; inside it b is an ordinary symbol.

One sort gives all orders (`prefix_doubling`): in sorted order the n-grams of any lower order are
groups of neighbours with a common prefix.

Knows blocks of symbols; no corpora, files or probabilities.

Shapes: V symbols, N n-grams of all orders, N_m of order m, M positions.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from seriatim.core.allocation import give_back_freed_memory
from seriatim.errors import DataError
from seriatim.models.ngram.arrays import CHUNK, Int32s, Ints, Tokens, concatenated, symbol_bits
from seriatim.models.ngram.key_index import KeyIndex, index_keys
from seriatim.models.ngram.prefix_doubling import CorpusBlock, OrderCounts, PrefixDoubling

MOST_NGRAMS = 2**31 - 1  # ids are stored as int32


@dataclass(frozen=True)
class Counts:
    """All n-grams of orders 1 .. n of a corpus, as a trie kept in flat arrays.

    Ids of n-grams rise with the order, and within an order lexicographically. Order 1 lists
    every symbol of the vocabulary, counted or not, so that the id of a single symbol is the
    symbol.

    Attributes:
        num_symbols: V.
        starts: (n + 1,); the ids of order m are starts[m - 1] .. starts[m] - 1, and starts[1] = V.
        key: (N - V,) int64, rising: for each n-gram of orders 2 .. n, the id of its first m - 1
            symbols shifted left by `symbol_bits(V)`, plus its last symbol.
        suffix: (N - V,) int32, the id of its last m - 1 symbols.
        count: (N,) integers, the occurrences of its last symbol as a prediction after the others.
        first: ids of the n-grams of orders 2 .. n - 1 that begin a sequence, rising.
        num_first: how often each of them does.
    """

    num_symbols: int
    starts: Ints
    key: Ints
    suffix: Int32s
    count: Tokens
    first: Ints
    num_first: Ints

    @property
    def order(self) -> int:
        """n."""
        return len(self.starts) - 1

    def size(self, m: int) -> int:
        """N_m; 1 for order 0, which holds only the empty context."""
        return int(self.starts[m] - self.starts[m - 1]) if m else 1

    def ids(self, m: int) -> slice:
        """The ids of order m."""
        return slice(int(self.starts[m - 1]), int(self.starts[m]))

    def stored(self, m: int) -> slice:
        """The indices of order m >= 2 in `key` and `suffix`."""
        return slice(*(int(s) - self.num_symbols for s in self.starts[m - 1 : m + 1]))

    def prefixes(self, m: int, low: int = 0, high: int | None = None) -> Ints:
        """Ranks in order m - 1 of the first m - 1 symbols of n-grams low .. high - 1 of order m;
        0 for order 1."""
        if m == 1:
            return np.zeros(len(range(self.num_symbols)[low:high]), dtype=np.int64)
        prefixes: Ints = self.key[self.stored(m)][low:high] >> symbol_bits(self.num_symbols)
        prefixes -= self.starts[m - 2]
        return prefixes

    def suffixes(self, m: int, low: int = 0, high: int | None = None) -> Ints:
        """As `prefixes`, for the last m - 1 symbols."""
        if m == 1:
            return np.zeros(len(range(self.num_symbols)[low:high]), dtype=np.int64)
        suffixes: Ints = self.suffix[self.stored(m)][low:high] - self.starts[m - 2]
        return suffixes

    def contexts(self, m: int, size: int = 1 << 17) -> list[tuple[int, int]]:
        """Order m in ranges of about `size` n-grams that divide no context's successors."""
        total = self.size(m)
        if m == 1 or total == 0:
            return [(0, total)] if total else []
        bits = symbol_bits(self.num_symbols)
        key = self.key[self.stored(m)]
        prefixes = key[np.arange(size, total, size)] >> bits
        cuts = np.unique([0, *np.searchsorted(key, prefixes << bits), total]).tolist()
        return list(pairwise(cuts))

    def beginnings(self, m: int) -> tuple[Ints, Ints]:
        """Ranks of the n-grams of order m < n that begin a sequence, and how often each does."""
        low, high = np.searchsorted(self.first, self.starts[m - 1 : m + 1])
        return self.first[low:high] - self.starts[m - 1], self.num_first[low:high]


def bytes_per_position(order: int) -> int:
    """Bytes per position that counting a block takes if few n-grams repeat.

    Measured: 172 (5.6 M positions) to 216 (1.7 M) for order 5, and 251 for order 8.
    """
    return 120 + 24 * order


def count_block(
    block: CorpusBlock, *, order: int, num_symbols: int, threads: Executor | None = None
) -> Counts:
    """The sorted run of one block; time O(M log M).

    An n-gram belongs to the block in which it begins. Those that begin after the block's own
    positions are listed, because longer ones of the block end with them, with a count of 0.

    Args:
        block: the symbols.
        order: n.
        num_symbols: V.
        threads: the executor that sorts partitions in parallel; None: this thread.

    Raises:
        DataError: there are more n-grams than ids.
    """
    doubling = PrefixDoubling(block, order, num_symbols, threads)
    del block
    parts = doubling.count()
    del doubling
    counts: list[npt.NDArray[Any]] = [_predicted(parts, num_symbols)]
    bits = symbol_bits(num_symbols)
    starts, keys = [0, num_symbols], []
    first, num_first = [], []
    offsets = [0] * len(parts)  # of the ids of the order below, by partition
    for _ in range(2, order + 1):
        end = starts[-1]
        for i, orders in enumerate(parts):
            part = orders.pop(0)
            part.key += offsets[i] << bits
            offsets[i] = end
            end += len(part.key)
            keys.append(part.key)
            counts.append(part.count)
            first.append(part.first + offsets[i])
            num_first.append(part.num_first)
        starts.append(end)
    if starts[-1] > MOST_NGRAMS:
        raise DataError(f"the corpus has more than {MOST_NGRAMS:,} n-grams: choose a smaller order")
    give_back_freed_memory()
    key = _concatenated_and_freed(keys, np.int64)
    give_back_freed_memory()
    return Counts(
        num_symbols=num_symbols,
        starts=np.array(starts),
        key=key,
        suffix=find_suffixes(np.array(starts), key, threads),
        count=_concatenated_and_freed(counts, np.int32),
        first=concatenated(first),
        num_first=concatenated(num_first),
    )


def find_suffixes(starts: Ints, key: Ints, threads: Executor | None = None) -> Int32s:
    """(N - V,) the ids of all n-grams of orders 2 .. n without their oldest symbols.

    The suffix of  h w  is the suffix of h, an id of the order below, followed by w.
    """
    num_symbols = int(starts[1])
    bits = symbol_bits(num_symbols)
    suffix = np.empty(len(key), dtype=np.int32)
    run = map if threads is None else threads.map
    for m in range(2, len(starts)):
        low, high = (int(s) - num_symbols for s in starts[m - 1 : m + 1])
        if m == 2 or low == high:
            suffix[low:high] = key[low:high] & ((1 << bits) - 1)
            continue
        below = key[int(starts[m - 2]) - num_symbols : low]
        base = int(starts[m - 3]) << bits  # smaller keys take fewer bits
        index = index_keys(below, int(starts[m - 2] - starts[m - 3]).bit_length() + bits, base)

        def fill(
            begin: int, index: KeyIndex = index, base: int = base, m: int = m, high: int = high
        ) -> None:
            keys = key[begin : min(begin + CHUNK, high)]
            sought = suffix.take((keys >> bits) - num_symbols).astype(np.int64)
            sought <<= bits
            sought |= keys & ((1 << bits) - 1)
            sought -= base
            suffix[begin : begin + len(keys)] = index.find(sought) + int(starts[m - 2])

        list(run(fill, range(low, high, CHUNK)))
    return suffix


def _predicted(parts: list[list[OrderCounts]], num_symbols: int) -> Ints:
    """(V,) how often each symbol is predicted; the boundary that begins a sequence never is. The
    first order is taken off the parts."""
    counts = np.zeros(num_symbols, dtype=np.int64)
    for orders in parts:
        single = orders.pop(0)
        counts[single.key] += single.count
        counts[single.key[single.first]] -= single.num_first
    return counts


def _concatenated_and_freed(arrays: list[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    """The arrays end to end; each is released as soon as it is copied."""
    result, end = np.empty(sum(map(len, arrays)), dtype), 0
    arrays.reverse()
    while arrays:
        array = arrays.pop()
        result[end : end + len(array)] = array
        end += len(array)
    return result
