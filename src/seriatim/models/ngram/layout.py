"""A corpus as places to count: boundaries laid out, blocks cut, runs merged.

Knows corpora and the two functions that count; no files and no probabilities.

Shapes: V symbols, M places where a symbol stands.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from seriatim.errors import DataError
from seriatim.models.ngram.counting import NUM_THREADS, Counts, Tokens, count_block
from seriatim.models.ngram.merging import merge_counts
from seriatim.models.ngram.ranking import BlockTooLargeError, RankBlock

BLOCK_PLACES = 32_000_000  # a corpus of fewer places is counted at once


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
    return count_layout(layout, order=order, num_symbols=num_symbols)


def count_layout(layout: "Layout", *, order: int, num_symbols: int) -> Counts:
    """`count_ngrams` of a corpus that is laid out."""
    layout.check(num_symbols)
    with ThreadPoolExecutor(NUM_THREADS) as threads:

        def count(begin: int, end: int) -> Counts:
            return count_span(layout, begin, end, order, num_symbols, threads)

        runs = [count(begin, end) for begin, end in layout.spans(BLOCK_PLACES)]
        return merge_counts(runs, threads=threads)


def count_span(
    layout: "Layout", begin: int, end: int, order: int, num_symbols: int, threads: Executor
) -> Counts:
    """The run of places begin .. end - 1; in halves if it is too large to be sorted."""
    try:
        block = layout.block(begin, end, order)
        return count_block(block, order=order, num_symbols=num_symbols, threads=threads)
    except BlockTooLargeError:
        del block
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
        self.num_beginnings = len(self._begins) - 1

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

    def fingerprint(self) -> str:
        """Of the symbols, the sequences and their boundary."""
        found = hashlib.blake2b(digest_size=16)
        found.update(f"{self._num_edges} {self._boundary} {self._tokens.dtype.str}".encode())
        tokens = self._tokens[self._offsets[0] : self._offsets[-1]]
        for array in (self._offsets - self._offsets[0], tokens):
            for low in range(0, len(array), 1 << 24):
                found.update(np.ascontiguousarray(array[low : low + (1 << 24)]).data)
        return found.hexdigest()

    def spans(self, size: int) -> Iterator[tuple[int, int]]:
        """The places in blocks of nearly equal size, none larger than `size`."""
        num_blocks = -(-self.num_places // size)
        cuts = [self.num_places * i // num_blocks for i in range(num_blocks + 1)]
        return iter(pairwise(cuts))

    def block(self, begin: int, end: int, order: int) -> RankBlock:
        """Places begin .. end - 1, and the order - 1 after them, in which their n-grams end."""
        last = min(end + order - 1, self.num_places)
        i, j = np.searchsorted(self._begins, [begin, last])
        is_token = np.ones(last - begin, dtype=bool)
        for edge in range(self._num_edges):  # the first place of a sequence, and its last
            at = self._begins[i : j + 1] - edge
            is_token[at[(at >= begin) & (at < last)] - begin] = False
        symbols = np.full(last - begin, self._boundary, dtype=np.int32)
        first = self._token_at(begin)
        symbols[is_token] = self._tokens[first : first + int(is_token.sum())]
        return RankBlock(symbols, self._begins[i:j] - begin, end - begin)

    def _token_at(self, place: int) -> int:
        """The index of the first token at a place or after it."""
        i = int(np.searchsorted(self._begins, place, side="right")) - 1
        inside = place - int(self._begins[i])
        size = int(self._offsets[i + 1] - self._offsets[i])
        return int(self._offsets[i]) + min(max(inside - 1, 0), size)
