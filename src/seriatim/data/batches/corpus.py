"""Batches of a corpus: which symbols are in which batch at which step of training.

Knows token files and boundaries. Does not know models or optimizers. Every batch is a pure
function of (seed, step): it can be computed again in any order, after a restart, or with its rows
divided among processes. Randomness comes from counters (seed, row, step). Tokens stay on disk;
only the batch is copied, in bulk. Memory grows with a corpus by a few integers per sequence.

A sequence x_1 .. x_T is scored through the pairs (input, target)

    (b, x_1), (x_1, x_2) .. (x_{T-1}, x_T), (x_T, b)      line and document: T + 1 pairs
    (b, x_1), (x_1, x_2) .. (x_{T-1}, x_T)                stream: T pairs, no end

with the boundary b. A *piece* is a run of pairs; its first input is the element before it.

Shapes: B rows, L pairs of the longest row, N sequences or symbols.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core.batch import Batch, TokenSequences
from seriatim.core.distributions import uniforms
from seriatim.errors import ConfigError, DataError
from seriatim.report.terminal import count_noun

Ints: TypeAlias = NDArray[np.int64]


class BatchSource(ABC):
    """The batches of a training run, one for every step, without end.

    Attributes:
        num_targets: the number of targets in one epoch.
        steps_per_epoch: the number of batches in one epoch.
        targets_per_step: the mean number of targets in a batch.
        notes: sentences for the user about options that could not be followed exactly.
    """

    num_targets: int
    steps_per_epoch: int
    targets_per_step: float
    notes: tuple[str, ...] = ()

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The batch of step 0, 1, 2 ..; the same one at every call."""

    @property
    def carries(self) -> bool:
        """Whether the rows of a batch continue those of the batch before."""
        return False

    def restarts(self, step: int) -> bool:
        """Whether the batch of this step begins with a fresh state."""
        return True


class StreamWindows(BatchSource):
    """Random windows of a stream, each with a fresh state.

    The B starts of a step are drawn uniformly, with replacement, from the N - L + 1 positions
    where a window fits; an epoch is as many steps as it takes to read N symbols.
    """

    def __init__(
        self, corpus: TokenSequences, boundary: int, *, batch_size: int, length: int, seed: int
    ) -> None:
        self._reader = _Reader(corpus, boundary)
        self._seed = seed
        size = self._reader.num_tokens
        self.length = min(length, size)
        self.batch_size = min(batch_size, size - self.length + 1)
        self._starts = size - self.length + 1
        self.num_targets = size
        self.steps_per_epoch = -(-size // (self.batch_size * self.length))
        self.targets_per_step = self.batch_size * self.length
        self.notes = _shrunk(size, (batch_size, length), (self.batch_size, self.length))

    def batch(self, step: int) -> Batch:
        u = uniforms(self._seed, np.arange(self.batch_size), step).numpy()
        rows = np.zeros(self.batch_size, np.int64)
        return self._reader.pieces(rows, (u * self._starts).astype(np.int64), self.length)


class StreamChunks(BatchSource):
    """B contiguous parts of a stream in parallel, read chunk after chunk with a carried state.

    Truncated backpropagation through time (Williams, Peng 1990): values flow from chunk to
    chunk, gradients stop between them. Parts differ in size by at most one symbol, and so do
    the chunks of a part, none of them longer than `length`: an epoch reads every symbol once, and
    no step has only a few left-over symbols. The state is reset at every epoch.
    """

    def __init__(
        self, corpus: TokenSequences, boundary: int, *, batch_size: int, length: int
    ) -> None:
        self._reader = _Reader(corpus, boundary)
        size = self._reader.num_tokens
        self.length = min(length, size)
        self.batch_size = max(1, min(batch_size, size // self.length))
        self._begins = np.arange(self.batch_size + 1) * size // self.batch_size
        self._longest = int(np.diff(self._begins).max())
        self.num_targets = size
        self.steps_per_epoch = -(-self._longest // self.length)
        self.targets_per_step = size / self.steps_per_epoch
        self.notes = _shrunk(size, (batch_size, length), (self.batch_size, self.length))

    @property
    def carries(self) -> bool:
        return True

    def restarts(self, step: int) -> bool:
        return step % self.steps_per_epoch == 0

    def batch(self, step: int) -> Batch:
        chunk = step % self.steps_per_epoch
        begin = chunk * self._longest // self.steps_per_epoch
        end = (chunk + 1) * self._longest // self.steps_per_epoch
        lengths = np.minimum(np.diff(self._begins), end) - begin
        rows = np.zeros(self.batch_size, np.int64)
        return self._reader.pieces(rows, self._begins[:-1] + begin, end - begin, lengths)


class LengthBuckets:
    """Batches of pieces of similar length, in a different order every epoch.

    Pieces are sorted by length class (1, 2 .. 15, 16, 18 .. 30, 32, 36 .. : an eighth wide), in
    random order within a class, and the sorted list is cut into batches. The cuts depend on the
    classes alone, so every epoch has the same number of batches, which come in random order.
    Every piece occurs once per epoch.

    Attributes:
        steps_per_epoch: the number of batches in an epoch.
    """

    def __init__(
        self,
        sizes: Ints,
        *,
        batch_size: int,
        seed: int,
        token_budget: int | None = None,
        longest: int | None = None,
    ) -> None:
        """
        Args:
            sizes: (N,) the number of positions that each piece takes.
            batch_size: the number of pieces in a batch, unless there is a budget.
            seed: the seed of the random order.
            token_budget: the number of positions in a batch, padding included.
            longest: an upper bound on all sizes, to which the widest class is cut.
        """
        classes = length_class(sizes)
        if longest is not None:
            classes = np.minimum(classes, longest)
        self._seed = seed
        self._rank = -classes.astype(np.float64)  # the longest first, which simplifies the cuts
        self._cuts = _batch_cuts(-np.sort(-classes), batch_size, token_budget)
        self.steps_per_epoch = len(self._cuts) - 1
        self._epoch = -1
        self._pieces: Ints = np.empty(0, np.int64)
        self._batches: Ints = np.empty(0, np.int64)

    def pieces(self, step: int) -> Ints:
        """The pieces in the batch of step 0, 1, 2 ..; the same ones at every call."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        which = self._batches[position]
        return self._pieces[self._cuts[which] : self._cuts[which + 1]]

    def _shuffle(self, epoch: int) -> None:
        # Ranks are integers, so adding a uniform shuffles only within a class.
        within = uniforms(self._seed, np.arange(len(self._rank)), 2 * epoch).numpy()
        self._pieces = np.argsort(self._rank + within, kind="stable")
        order = uniforms(self._seed, np.arange(self.steps_per_epoch), 2 * epoch + 1).numpy()
        self._batches = np.argsort(order, kind="stable")
        self._epoch = epoch


class SequenceBatches(BatchSource):
    """Lines or documents, batched by similar length; see `LengthBuckets`.

    A sequence of more than `length` pairs is cut into pieces of nearly equal size, each with a
    fresh state that has read one input, the element before it. Every pair occurs once per epoch.
    """

    def __init__(
        self,
        corpus: TokenSequences,
        boundary: int,
        *,
        batch_size: int,
        length: int,
        seed: int,
        token_budget: int | None = None,
    ) -> None:
        """
        Args:
            corpus: the sequences.
            boundary: the id of the boundary.
            batch_size: the number of rows in a batch, unless there is a budget.
            length: the largest number of pairs in a row.
            seed: the seed of the random order.
            token_budget: the number of positions in a batch, padding included, at least `length`.
        """
        self._reader = _Reader(corpus, boundary)
        pairs = self._reader.num_pairs
        self._sequence, self._first, self._size = _cut(pairs, length)
        self._buckets = LengthBuckets(
            self._size,
            batch_size=batch_size,
            seed=seed,
            token_budget=token_budget,
            longest=length,
        )
        self.num_targets = int(pairs.sum())
        self.steps_per_epoch = self._buckets.steps_per_epoch
        self.targets_per_step = self.num_targets / self.steps_per_epoch

    def batch(self, step: int) -> Batch:
        pieces = self._buckets.pieces(step)
        size = self._size[pieces]
        return self._reader.pieces(
            self._sequence[pieces], self._first[pieces], int(size.max()), size
        )


def check_token_budget(token_budget: int | None, length: int) -> None:
    """Refuse a budget that has no room for a row of `length`.

    Raises:
        ConfigError: if the budget is too small.
    """
    if token_budget is not None and token_budget < length:
        raise ConfigError(
            f"token_budget {token_budget} has no room for one row of length {length}: raise it, "
            "or lower length"
        )


def batch_source(
    corpus: TokenSequences,
    boundary: int,
    *,
    batch_size: int,
    length: int,
    carry: bool,
    seed: int,
    token_budget: int | None = None,
) -> BatchSource:
    """The batches that suit a corpus.

    Args:
        corpus: the sequences, or a stream.
        boundary: the id of the boundary.
        batch_size: the number of rows in a batch, unless there is a budget.
        length: the number of pairs in a row, at most.
        carry: whether a stream is read in order with a carried state, not in random windows.
        seed: the seed of the random order.
        token_budget: the number of positions in a batch of sequences, padding included.

    Raises:
        DataError: if the corpus holds no symbol.
        ConfigError: if there is a budget for a stream, or one without room for a row.
    """
    if not corpus.is_stream:
        check_token_budget(token_budget, length)
        return SequenceBatches(
            corpus,
            boundary,
            batch_size=batch_size,
            length=length,
            seed=seed,
            token_budget=token_budget,
        )
    if token_budget is not None:
        raise ConfigError(
            f"token_budget {token_budget} applies to lines and documents, and this corpus is a "
            "stream: leave it out, and set batch_size and length"
        )
    if carry:
        return StreamChunks(corpus, boundary, batch_size=batch_size, length=length)
    return StreamWindows(corpus, boundary, batch_size=batch_size, length=length, seed=seed)


@dataclass(frozen=True)
class EvaluationBatch:
    """One chunk of a pass over a corpus.

    Attributes:
        batch: the chunk; its rows continue the first rows of the chunk before.
        is_first: whether the state is fresh.
        continues: whether the next chunk needs the state after this one.
    """

    batch: Batch
    is_first: bool
    continues: bool


class EvaluationPass(ABC):
    """Data for evaluation, read in one pass, as often as needed.

    Attributes:
        num_targets: the number of scored targets in a whole pass.
    """

    num_targets: int

    @abstractmethod
    def batches(self, limit: int | None = None) -> Iterator[EvaluationBatch]:
        """Every target once, or about `limit` of them, spread over the data."""


class CorpusPass(EvaluationPass):
    """A corpus as `one_pass` reads it."""

    def __init__(
        self, corpus: TokenSequences, boundary: int, *, batch_size: int, length: int
    ) -> None:
        self.num_targets = num_targets(corpus)
        self._corpus, self._boundary = corpus, boundary
        self._size = (batch_size, length)

    def batches(self, limit: int | None = None) -> Iterator[EvaluationBatch]:
        batch_size, length = self._size
        return one_pass(
            self._corpus, self._boundary, batch_size=batch_size, length=length, limit=limit
        )


def one_pass(
    corpus: TokenSequences, boundary: int, *, batch_size: int, length: int, limit: int | None = None
) -> Iterator[EvaluationBatch]:
    """Every target of a corpus once, with a carried state, for evaluation.

    A stream is read like `StreamChunks`. Sequences are read in parallel, longest first, in groups
    of at most batch_size * length positions per chunk, each as a whole, chunk after chunk; rows
    that have ended drop out at the bottom, so a batch may have fewer rows than the carry.

    Args:
        corpus: the sequences, or a stream.
        boundary: the id of the boundary.
        batch_size: the number of parts of a stream, or the number of sequences at full length.
        length: the largest number of pairs in a chunk.
        limit: about how many targets to read: the beginnings of the parts of a stream, or
            sequences chosen at equal distances; None: all.

    Raises:
        DataError: if the corpus holds no symbol.
    """
    if corpus.is_stream:
        source = StreamChunks(corpus, boundary, batch_size=batch_size, length=length)
        fraction = 1.0 if limit is None else min(1.0, limit / source.num_targets)
        steps = max(1, round(source.steps_per_epoch * fraction))
        for step in range(steps):
            yield EvaluationBatch(source.batch(step), step == 0, step + 1 < steps)
        return
    read = _Reader(corpus, boundary)
    pairs = read.num_pairs
    chosen = np.arange(len(pairs))
    if limit is not None and limit < pairs.sum():
        num_chosen = max(1, round(len(pairs) * limit / int(pairs.sum())))
        chosen = np.arange(num_chosen) * len(pairs) // num_chosen
    order = chosen[np.argsort(-pairs[chosen], kind="stable")]
    while len(order):
        width = min(length, int(pairs[order[0]]))
        group, order = np.split(order, [batch_size * length // width])
        yield from _side_by_side(read, group, pairs[group], length)


def _side_by_side(
    read: "_Reader", group: Ints, pairs: Ints, length: int
) -> Iterator[EvaluationBatch]:
    """A group of sequences of decreasing length, chunk after chunk."""
    for first in range(0, int(pairs[0]), length):
        rows = int((pairs > first).sum())
        sizes = np.minimum(pairs[:rows] - first, length)
        batch = read.pieces(group[:rows], np.full(rows, first), int(sizes[0]), sizes)
        yield EvaluationBatch(batch, first == 0, first + length < int(pairs[0]))


def num_targets(corpus: TokenSequences) -> int:
    """The number of targets in one pass: the symbols, and the ends of lines or documents."""
    num_symbols = int(corpus.offsets[-1] - corpus.offsets[0])
    return num_symbols if corpus.is_stream else num_symbols + len(corpus.offsets) - 1


class _Reader:
    """Copies pieces of sequences out of a corpus."""

    def __init__(self, corpus: TokenSequences, boundary: int) -> None:
        # A plain view of the memory map: indexing a memmap object costs more than the copy.
        self._tokens = np.asarray(corpus.tokens)
        self._offsets = np.asarray(corpus.offsets, dtype=np.int64)
        self._boundary = boundary
        self.num_tokens = int(self._offsets[-1] - self._offsets[0])
        if self.num_tokens == 0:
            raise DataError(
                "the corpus holds no symbols, and training and evaluation need at least one: give "
                "data that is not empty"
            )

    @property
    def num_pairs(self) -> Ints:
        """(N,) the number of pairs of every line or document, its end included."""
        sizes: Ints = np.diff(self._offsets)
        return sizes + 1

    def pieces(self, rows: Ints, first: Ints, length: int, lengths: Ints | None = None) -> Batch:
        """The pairs first[i] .. first[i] + lengths[i] - 1 of each sequence rows[i].

        Args:
            rows: (B,) the index of each sequence.
            first: (B,) the first pair of each.
            length: the number of pairs L.
            lengths: (B,) the number of pairs of each, at most L; None: all have L.
        """
        begin, end = self._offsets[rows, None], self._offsets[rows + 1, None]
        # Element j of b x_1 .. x_T b is at begin + j - 1 of the token file.
        at = begin + first[:, None] + np.arange(-1, length)
        inside = (at >= begin) & (at < end)
        symbols = self._tokens[np.clip(at, 0, len(self._tokens) - 1)].astype(np.int64)
        symbols[~inside] = self._boundary
        inputs, targets = symbols[:, :-1].copy(), symbols[:, 1:].copy()
        ragged = lengths is not None and bool((lengths != length).any())
        return Batch(
            torch.from_numpy(inputs),
            torch.from_numpy(targets),
            torch.from_numpy(lengths.astype(np.int64)) if ragged and lengths is not None else None,
        )


def _cut(pairs: Ints, length: int) -> tuple[Ints, Ints, Ints]:
    """Pieces of at most `length` pairs: the sequence, the first pair, and the number of pairs."""
    num_pieces = -(-pairs // length)
    sequence = np.repeat(np.arange(len(pairs)), num_pieces)
    total, parts = pairs[sequence], num_pieces[sequence]
    piece = np.arange(len(sequence)) - np.repeat(np.cumsum(num_pieces) - num_pieces, num_pieces)
    first = piece * total // parts
    return sequence, first, (piece + 1) * total // parts - first


def length_class(size: Ints, *, is_even: bool = False) -> Ints:
    """Sizes rounded up to three bits after the leading one: at most an eighth longer.

    Args:
        size: the sizes, at least 1.
        is_even: whether to round up to even sizes.
    """
    step = 2 ** np.maximum(np.floor(np.log2(size)).astype(np.int64) - 3, int(is_even))
    rounded: Ints = -(-size // step) * step
    return rounded


def _batch_cuts(widths: Ints, batch_size: int, token_budget: int | None) -> Ints:
    """Where a list of N pieces of decreasing width is cut into batches, from 0 to N.

    A piece wider than the budget is a batch of its own.
    """
    cuts = [0]
    while cuts[-1] < len(widths):
        room = batch_size if token_budget is None else token_budget // int(widths[cuts[-1]])
        cuts.append(min(cuts[-1] + max(1, room), len(widths)))
    if len(cuts) > 2 and cuts[-1] - cuts[-2] < cuts[-2] - cuts[-3]:
        cuts[-2] = (cuts[-1] + cuts[-3]) // 2  # a left-over row or two would make a noisy step
    return np.array(cuts)


def _shrunk(size: int, requested: tuple[int, int], taken: tuple[int, int]) -> tuple[str, ...]:
    if requested == taken:
        return ()
    return (
        f"the stream has {count_noun(size, 'symbol')}, too few for batches of "
        f"{requested[0]} x {requested[1]}: "
        f"training uses {taken[0]} x {taken[1]}",
    )
