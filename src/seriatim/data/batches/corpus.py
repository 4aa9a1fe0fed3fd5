"""Batches of a corpus: which symbols stand side by side at which step of training.

Knows token files and boundaries; knows no model and no optimizer. Every batch is a pure
function of (seed, step): whoever knows the two can make it again, in any order, after a
restart, or share its rows among processes. Randomness comes from counters (seed, row, step).
Tokens stay where they are, on disk; only the batch is copied, in bulk. What grows with a corpus
is a few integers per sequence.

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

Ints: TypeAlias = NDArray[np.int64]


class BatchSource(ABC):
    """The batches of a training run, one for every step, for ever.

    Attributes:
        num_targets: targets of one epoch.
        steps_per_epoch: batches of one epoch.
        targets_per_step: their mean number in a batch.
        notes: sentences for the user: what was asked and could not be done as asked.
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
        """Whether the rows of a batch go on where those of the batch before ended."""
        return False

    def restarts(self, step: int) -> bool:
        """Whether the batch of this step begins with a fresh state."""
        return True


class StreamWindows(BatchSource):
    """Random windows of a stream, each with a fresh state.

    The B starts of a step are drawn uniformly, with replacement, from the N - L + 1 places
    where a window fits; an epoch is as many steps as it takes to see N symbols.
    """

    def __init__(
        self, corpus: TokenSequences, boundary: int, *, batch_size: int, length: int, seed: int
    ) -> None:
        self._read = _Reader(corpus, boundary)
        self._seed = seed
        size = self._read.num_tokens
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
        return self._read.pieces(rows, (u * self._starts).astype(np.int64), self.length)


class StreamChunks(BatchSource):
    """B contiguous parts of a stream side by side, read chunk after chunk with a carried state.

    Truncated backpropagation through time (Williams, Peng 1990): values flow from chunk to
    chunk, gradients stop between them. Parts differ in size by one symbol at most, and so do
    the chunks of a part, none longer than `length`: an epoch reads every symbol once, and no
    step rests on a few left-over symbols. The state restarts with every epoch.
    """

    def __init__(
        self, corpus: TokenSequences, boundary: int, *, batch_size: int, length: int
    ) -> None:
        self._read = _Reader(corpus, boundary)
        size = self._read.num_tokens
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
        return self._read.pieces(rows, self._begins[:-1] + begin, end - begin, lengths)


class LengthBuckets:
    """Which pieces of similar length stand side by side, in another order every epoch.

    Pieces are sorted by length class (1, 2 .. 15, 16, 18 .. 30, 32, 36 .. : an eighth wide), by
    chance within a class, and the sorted row is cut into batches; the cuts depend on the classes
    alone, so every epoch has as many batches. The batches themselves come in random order. Every
    piece comes once an epoch.

    Attributes:
        steps_per_epoch: batches of an epoch.
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
            sizes: (N,) places that each piece takes.
            batch_size: pieces of a batch, unless there is a budget.
            seed: of the order.
            token_budget: places of a batch, padding included.
            longest: a bound of all sizes, to which the widest class is cut.
        """
        classes = length_class(sizes)
        if longest is not None:
            classes = np.minimum(classes, longest)
        self._seed = seed
        self._rank = -classes.astype(np.float64)  # the longest first, so that the cuts are simple
        self._cuts = _batch_cuts(-np.sort(-classes), batch_size, token_budget)
        self.steps_per_epoch = len(self._cuts) - 1
        self._epoch = -1
        self._pieces: Ints = np.empty(0, np.int64)
        self._batches: Ints = np.empty(0, np.int64)

    def pieces(self, step: int) -> Ints:
        """The pieces of the batch of step 0, 1, 2 ..; the same ones at every call."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        which = self._batches[position]
        return self._pieces[self._cuts[which] : self._cuts[which + 1]]

    def _shuffle(self, epoch: int) -> None:
        # Ranks are whole numbers, so adding a uniform shuffles within a class only.
        within = uniforms(self._seed, np.arange(len(self._rank)), 2 * epoch).numpy()
        self._pieces = np.argsort(self._rank + within, kind="stable")
        order = uniforms(self._seed, np.arange(self.steps_per_epoch), 2 * epoch + 1).numpy()
        self._batches = np.argsort(order, kind="stable")
        self._epoch = epoch


class SequenceBatches(BatchSource):
    """Lines or documents, of similar length side by side as `Buckets` has them.

    A sequence of more than `length` pairs is cut into pieces of nearly equal size, each with a
    fresh state that has seen one input: the element before it. Every pair comes once an epoch.
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
            batch_size: rows of a batch, unless there is a budget.
            token_budget: places of a batch, padding included, at least `length`.
        """
        self._read = _Reader(corpus, boundary)
        pairs = self._read.num_pairs
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
        return self._read.pieces(self._sequence[pieces], self._first[pieces], int(size.max()), size)


def check_token_budget(token_budget: int | None, length: int) -> None:
    """A row that is cut to `length` must fit into the budget.

    Raises:
        ConfigError: it does not.
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
    """The source that suits a corpus; `carry` chooses between the two ways to read a stream.

    Raises:
        DataError: the corpus holds no symbol.
        ConfigError: a token budget for a stream, or one without room for a row.
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
            f"token_budget {token_budget} is for line and document sequences, and this corpus is "
            "a stream: leave it out, and choose batch_size and length"
        )
    if carry:
        return StreamChunks(corpus, boundary, batch_size=batch_size, length=length)
    return StreamWindows(corpus, boundary, batch_size=batch_size, length=length, seed=seed)


@dataclass(frozen=True)
class EvaluationBatch:
    """One chunk of a pass over a corpus.

    Attributes:
        batch: its first rows go on where those of the batch before ended.
        is_first: the state is fresh.
        continues: the next chunk needs the state after this one.
    """

    batch: Batch
    is_first: bool
    continues: bool


class EvaluationPass(ABC):
    """Something that can be read once through, as often as one likes: what is evaluated.

    Attributes:
        num_targets: scored targets of a whole pass.
    """

    num_targets: int

    @abstractmethod
    def batches(self, limit: int | None = None) -> Iterator[EvaluationBatch]:
        """Every target once, or about `limit` of them, spread over the whole."""


class CorpusPass(EvaluationPass):
    """A corpus, read as `one_pass` reads it."""

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
    """Every target of a corpus once, with the state carried: what an evaluation reads.

    A stream is read as `StreamChunks` reads it. Sequences stand side by side, longest first, in
    groups of at most batch_size * length places a chunk, and are read whole, chunk after chunk;
    rows that have ended leave at the bottom, so a batch may have fewer rows than the carry.

    Args:
        limit: read only about so many targets: the beginnings of a stream's parts, or
            sequences picked at equal distances.

    Raises:
        DataError: the corpus holds no symbol.
    """
    if corpus.is_stream:
        source = StreamChunks(corpus, boundary, batch_size=batch_size, length=length)
        share = 1.0 if limit is None else min(1.0, limit / source.num_targets)
        steps = max(1, round(source.steps_per_epoch * share))
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
    """A group of sequences of falling length, chunk after chunk."""
    for first in range(0, int(pairs[0]), length):
        rows = int((pairs > first).sum())
        sizes = np.minimum(pairs[:rows] - first, length)
        batch = read.pieces(group[:rows], np.full(rows, first), int(sizes[0]), sizes)
        yield EvaluationBatch(batch, first == 0, first + length < int(pairs[0]))


def num_targets(corpus: TokenSequences) -> int:
    """Scored targets of one pass: the symbols, and an end for every line or document."""
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
                "the corpus holds no symbol, and training and evaluation need at least one: is "
                "the file empty?"
            )

    @property
    def num_pairs(self) -> Ints:
        """(N,) pairs of every line or document, its end included."""
        sizes: Ints = np.diff(self._offsets)
        return sizes + 1

    def pieces(self, rows: Ints, first: Ints, length: int, lengths: Ints | None = None) -> Batch:
        """The pairs first[i] .. first[i] + lengths[i] - 1 of each sequence rows[i].

        Args:
            rows: (B,) which sequence.
            first: (B,) its pair to begin with.
            length: L.
            lengths: (B,) at most L; None: all are L.
        """
        begin, end = self._offsets[rows, None], self._offsets[rows + 1, None]
        # Element j of b x_1 .. x_T b stands at begin + j - 1 of the token file.
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
    """Pieces of at most `length` pairs: of which sequence, from which pair on, how many."""
    num_pieces = -(-pairs // length)
    sequence = np.repeat(np.arange(len(pairs)), num_pieces)
    total, parts = pairs[sequence], num_pieces[sequence]
    piece = np.arange(len(sequence)) - np.repeat(np.cumsum(num_pieces) - num_pieces, num_pieces)
    first = piece * total // parts
    return sequence, first, (piece + 1) * total // parts - first


def length_class(size: Ints, *, is_even: bool = False) -> Ints:
    """Sizes rounded up to three bits after the leading one: at most an eighth longer.

    Args:
        is_even: likewise to even ones.
    """
    step = 2 ** np.maximum(np.floor(np.log2(size)).astype(np.int64) - 3, int(is_even))
    rounded: Ints = -(-size // step) * step
    return rounded


def _batch_cuts(widths: Ints, batch_size: int, token_budget: int | None) -> Ints:
    """Where a row of pieces of falling width is cut into batches; begins with 0, ends with N.

    A piece wider than the budget is a batch by itself.
    """
    cuts = [0]
    while cuts[-1] < len(widths):
        room = batch_size if token_budget is None else token_budget // int(widths[cuts[-1]])
        cuts.append(min(cuts[-1] + max(1, room), len(widths)))
    if len(cuts) > 2 and cuts[-1] - cuts[-2] < cuts[-2] - cuts[-3]:
        cuts[-2] = (cuts[-1] + cuts[-3]) // 2  # a left-over row or two would make a noisy step
    return np.array(cuts)


def _shrunk(size: int, asked: tuple[int, int], taken: tuple[int, int]) -> tuple[str, ...]:
    if asked == taken:
        return ()
    return (
        f"the stream has {size:,} symbols, too few for batches of {asked[0]} x {asked[1]}: "
        f"training takes {taken[0]} x {taken[1]} instead",
    )
