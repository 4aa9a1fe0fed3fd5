"""A corpus padded with boundaries, cut into blocks, counted and merged.

Knows corpora and the two functions that count; no files and no probabilities.

Shapes: V symbols, M positions of the padded corpus.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from seriatim.errors import DataError
from seriatim.models.ngram.arrays import NUM_THREADS, Ints, Tokens
from seriatim.models.ngram.counting import Counts, count_block
from seriatim.models.ngram.merging import merge_counts
from seriatim.models.ngram.prefix_doubling import CorpusBlock

BLOCK_SIZE = 32_000_000  # positions; a smaller corpus is counted at once


class PaddedCorpus:
    """A corpus with its boundaries, position by position, without ever being written out whole.

    Every sequence is padded to  b x_1 .. x_T b,  a stream to  b s_1 .. s_T.

    Attributes:
        num_positions: M.
        num_beginnings: the number of sequences, 1 for a stream.
    """

    def __init__(self, tokens: Tokens, offsets: Tokens, *, boundary: int, is_stream: bool) -> None:
        """
        Args:
            tokens: the symbols of all sequences end to end.
            offsets: (S + 1,) where the S sequences begin and end in `tokens`.
            boundary: b.
            is_stream: whether it is one sequence without an end; offsets then only bound it.
        """
        offsets = np.asarray(offsets, dtype=np.int64)
        self._offsets = offsets[[0, -1]] if is_stream else offsets
        self._tokens = np.asarray(tokens)  # a plain view: a memmap object is slow to slice
        self._boundary = boundary
        self._num_edges = 1 if is_stream else 2
        # Sequence i begins at position begins[i].
        self._begins = self._offsets - self._offsets[0]
        self._begins = self._begins + self._num_edges * np.arange(len(self._offsets))
        self.num_positions = int(self._begins[-1])
        self.num_beginnings = len(self._begins) - 1

    @property
    def tokens(self) -> Tokens:
        """The symbols of all sequences end to end."""
        return self._tokens[self._offsets[0] : self._offsets[-1]]

    @property
    def offsets(self) -> Ints:
        """(S + 1,) where the sequences begin and end in `tokens`."""
        offsets: Ints = self._offsets - self._offsets[0]
        return offsets

    @property
    def boundary(self) -> int:
        """b."""
        return self._boundary

    @property
    def is_stream(self) -> bool:
        """Whether it is one sequence without an end."""
        return self._num_edges == 1

    def check(self, num_symbols: int) -> None:
        """
        Raises:
            DataError: there is nothing to predict, or a symbol outside 0 .. V - 1.
        """
        if self.num_positions <= self.num_beginnings:
            raise DataError("the corpus has no symbols to count: give at least one sequence")
        tokens = self.tokens
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < num_symbols:
            raise DataError(
                f"the corpus has symbols {tokens.min()} .. {tokens.max()} and the model knows "
                f"0 .. {num_symbols - 1}: encode the text with the vocabulary of this model"
            )

    def fingerprint(self) -> str:
        """A digest of the symbols, the sequences and their boundary."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self._num_edges} {self._boundary} {self._tokens.dtype.str}".encode())
        for array in (self.offsets, self.tokens):
            for low in range(0, len(array), 1 << 24):
                digest.update(np.ascontiguousarray(array[low : low + (1 << 24)]).data)
        return digest.hexdigest()

    def spans(self, size: int) -> Iterator[tuple[int, int]]:
        """The positions in blocks of nearly equal size, none larger than `size`."""
        num_blocks = -(-self.num_positions // size)
        cuts = [self.num_positions * i // num_blocks for i in range(num_blocks + 1)]
        return iter(pairwise(cuts))

    def count_beginnings(self, position: int) -> int:
        """The number of sequences that begin before a position."""
        return int(np.searchsorted(self._begins[:-1], position))

    def block(self, begin: int, end: int, order: int) -> CorpusBlock:
        """Positions begin .. end - 1, and the order - 1 after them, in which their n-grams end."""
        last = min(end + order - 1, self.num_positions)
        i, j = np.searchsorted(self._begins, [begin, last])
        is_token = np.ones(last - begin, dtype=bool)
        for edge in range(self._num_edges):  # the first position of a sequence, and its last
            at = self._begins[i : j + 1] - edge
            is_token[at[(at >= begin) & (at < last)] - begin] = False
        symbols = np.full(last - begin, self._boundary, dtype=np.int32)
        first = self._token_at(begin)
        symbols[is_token] = self._tokens[first : first + int(is_token.sum())]
        return CorpusBlock(symbols, self._begins[i:j] - begin, end - begin)

    def _token_at(self, position: int) -> int:
        """The index of the first token at a position or after it."""
        i = int(np.searchsorted(self._begins, position, side="right")) - 1
        inside = position - int(self._begins[i])
        size = int(self._offsets[i + 1] - self._offsets[i])
        return int(self._offsets[i]) + min(max(inside - 1, 0), size)


def count_corpus(corpus: PaddedCorpus, *, order: int, num_symbols: int) -> Counts:
    """Count the n-grams of orders 1 .. `order` of a corpus over V symbols, in memory.

    Raises:
        DataError: there is nothing to predict, or a symbol outside 0 .. V - 1.
    """
    corpus.check(num_symbols)
    spans = list(corpus.spans(BLOCK_SIZE))
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        if len(spans) == 1:  # neither the corpus nor its symbols are held meanwhile
            (span,) = spans
            block = [corpus.block(*span, order)]
            del corpus
            return count_block(block.pop(), order=order, num_symbols=num_symbols, threads=threads)
        runs = [count_span(corpus, *span, order, num_symbols, threads) for span in spans]
        return merge_counts(runs, threads=threads)


def count_span(
    corpus: PaddedCorpus, begin: int, end: int, order: int, num_symbols: int, threads: Executor
) -> Counts:
    """The run of positions begin .. end - 1."""
    block = [corpus.block(begin, end, order)]  # not held while it is counted
    return count_block(block.pop(), order=order, num_symbols=num_symbols, threads=threads)
