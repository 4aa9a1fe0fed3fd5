"""Batches of pairs: which sources and targets are in which batch at which step of training.

As in `seriatim.data.batches.corpus`, every batch is a pure function of (seed, step). Pairs are
never cut: the source is x_1 .. x_S followed by its boundary, the target is scored through the
pairs (b, y_1) .. (y_T, b) of input and target, and both sides of a batch are padded to their
longest row. A budget counts the positions of both sides, padding included.

Knows pairs of symbols and their lengths. Does not know models or texts.

Shapes: B rows, S source positions (boundary included), L target positions (end included), N pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core.batch import Batch
from seriatim.core.distributions import uniforms
from seriatim.data.batches.corpus import (
    BatchSource,
    EvaluationBatch,
    EvaluationPass,
    Ints,
    length_class,
)
from seriatim.data.corpus import Corpus
from seriatim.data.pairs import PairCorpus
from seriatim.errors import DataError


@dataclass(frozen=True)
class PairBoundaries:
    """The ids of the boundaries that end sources and targets.

    Attributes:
        source: the boundary of the vocabulary of sources.
        target: the boundary of the vocabulary of targets.
    """

    source: int
    target: int


class PairBatches(BatchSource):
    """Pairs batched by similar lengths, in a different order every epoch.

    Pairs are sorted by the length class of the target and, within one, by that of the source
    (2, 4 .. 16, 18 .. 30, 32, 36 .. : an eighth wide; alternately up and down, so that neighbors
    are similar), in random order among equals, and the sorted list is cut into batches. The cuts
    depend on the classes alone, so every epoch has the same number of batches, which come in
    random order. Every pair occurs once per epoch.

    Attributes:
        padding_fraction: the fraction of positions in an epoch that are padding.
    """

    def __init__(
        self,
        corpus: PairCorpus,
        boundaries: PairBoundaries,
        *,
        seed: int,
        batch_size: int = 32,
        token_budget: int | None = None,
    ) -> None:
        """
        Args:
            corpus: the pairs.
            boundaries: the boundaries of both sides.
            seed: the seed of the random order.
            batch_size: the number of rows in a batch, unless there is a budget.
            token_budget: the number of source and target positions in a batch, padding
                included. A pair with more makes a batch of its own.
        """
        self._reader = PairReader(corpus, boundaries)
        self._seed = seed
        sizes = self._reader.source_sizes, self._reader.target_sizes
        # Few classes mean few shapes, and oneDNN compiles a product for every new shape: both
        # sides together would have hundreds, more than it caches.
        classes = [length_class(side, is_even=True) for side in sizes]
        self._rank = _ranks(*classes)
        order = np.argsort(self._rank, kind="stable")
        widths = classes[0][order], classes[1][order]
        self._cuts = cut_batches(*widths, batch_size=batch_size, token_budget=token_budget)
        self.num_targets = int(sizes[1].sum())
        self.steps_per_epoch = len(self._cuts) - 1
        self.targets_per_step = self.num_targets / self.steps_per_epoch
        self.padding_fraction = self._padding(order)
        self.notes = _too_long(sizes[0] + sizes[1], token_budget)
        self._epoch = -1
        self._pairs: Ints = np.empty(0, np.int64)
        self._batches: Ints = np.empty(0, np.int64)

    def batch(self, step: int) -> Batch:
        """The batch of a step, with its sources."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        which = self._batches[position]
        return self._reader.batch(self._pairs[self._cuts[which] : self._cuts[which + 1]])

    def _shuffle(self, epoch: int) -> None:
        # Ranks are integers, so adding a uniform shuffles only among equals.
        within = uniforms(self._seed, np.arange(len(self._rank)), 2 * epoch).numpy()
        self._pairs = np.argsort(self._rank + within, kind="stable")
        order = uniforms(self._seed, np.arange(self.steps_per_epoch), 2 * epoch + 1).numpy()
        self._batches = np.argsort(order, kind="stable")
        self._epoch = epoch

    def _padding(self, order: Ints) -> float:
        """The fraction in one epoch; others differ only by the lengths within a class."""
        rows = np.diff(self._cuts)
        positions = 0
        for sizes in (self._reader.source_sizes, self._reader.target_sizes):
            positions += int((np.maximum.reduceat(sizes[order], self._cuts[:-1]) * rows).sum())
        return 1.0 - self._reader.num_positions / positions


class PairPass(EvaluationPass):
    """Every pair once, batched by similar length, longest first, for evaluation."""

    def __init__(
        self, corpus: PairCorpus, boundaries: PairBoundaries, *, token_budget: int = 8192
    ) -> None:
        """
        Args:
            corpus: the pairs.
            boundaries: the boundaries of both sides.
            token_budget: the number of source and target positions in a batch, padding included.
        """
        self._reader = PairReader(corpus, boundaries)
        self._budget = token_budget
        self.num_targets = int(self._reader.target_sizes.sum())

    def batches(self, limit: int | None = None) -> Iterator[EvaluationBatch]:
        """Every pair with a fresh state, or about `limit` targets, spread over the data."""
        for _, batch in self.indexed_batches(limit):
            yield EvaluationBatch(batch, is_first=True, continues=False)

    def indexed_batches(
        self, limit: int | None = None, chosen: Ints | None = None
    ) -> Iterator[tuple[Ints, Batch]]:
        """The indices (B,) of the pairs in each batch, and the batch.

        Args:
            limit: about how many targets to read; None: all.
            chosen: the pairs to read, without a limit; None: all.
        """
        count = len(self._reader.target_sizes)
        chosen = np.arange(count) if chosen is None else chosen
        if limit is not None and limit < self.num_targets:
            num_chosen = max(1, round(count * limit / self.num_targets))
            chosen = np.arange(num_chosen) * count // num_chosen
        source, target = self._reader.source_sizes[chosen], self._reader.target_sizes[chosen]
        order = np.lexsort((source, target))[::-1]
        cuts = cut_batches(source[order], target[order], batch_size=1, token_budget=self._budget)
        for begin, end in pairwise(cuts.tolist()):
            pairs = chosen[order[begin:end]]
            yield pairs, self._reader.batch(pairs)


class PairReader:
    """Copies pairs out of a corpus.

    Attributes:
        source_sizes: (N,) the length of every source, its boundary included.
        target_sizes: (N,) the length of every target, its end included.
    """

    def __init__(self, corpus: PairCorpus, boundaries: PairBoundaries) -> None:
        """
        Raises:
            DataError: if there is no pair.
        """
        if corpus.num_pairs == 0:
            raise DataError("there are no pairs: give at least one to train or to evaluate")
        self._source = _Padded(corpus.source, boundaries.source)
        self._target = _Padded(corpus.target, boundaries.target)
        self.source_sizes = self._source.sizes
        self.target_sizes = self._target.sizes

    @property
    def num_positions(self) -> int:
        """The number of positions of both sides, without padding."""
        return int(self.source_sizes.sum() + self.target_sizes.sum())

    def batch(self, pairs: Ints) -> Batch:
        """The pairs with these indices (B,): targets (B, L) with their sources (B, S)."""
        target = self._target.rows(pairs)
        inputs = target.targets.roll(1, 1)
        inputs[:, 0] = self._target.boundary
        return replace(target, inputs=inputs, source=self.source(pairs))

    def source(self, pairs: Ints) -> Batch:
        """The sources (B, S) of the pairs with these indices (B,)."""
        return self._source.rows(pairs)


def source_batch(sources: "list[NDArray[np.int64]]", boundary: int) -> Batch:
    """A batch of sources x_1 .. x_S for an encoder, each followed by its boundary."""
    corpus = Corpus.from_tokens(sources)
    return _Padded(corpus, boundary).rows(np.arange(len(sources)))


class _Padded:
    """Sequences followed by their boundary, and padded with it."""

    def __init__(self, corpus: Corpus, boundary: int) -> None:
        # A plain view of the memory map: indexing a memmap object costs more than the copy.
        self._tokens: NDArray[Any] = np.asarray(corpus.tokens)
        self._offsets = np.asarray(corpus.offsets, dtype=np.int64)
        self.boundary = boundary
        self.sizes: Ints = np.diff(self._offsets) + 1

    def rows(self, which: Ints) -> Batch:
        """x_1 .. x_T and the boundary of each row, as inputs and as targets."""
        begin, sizes = self._offsets[which], self.sizes[which]
        length = int(sizes.max())
        position = np.arange(length)
        inside = position < (sizes - 1)[:, None]
        symbols = np.full((len(which), length), self.boundary, np.int64)
        if len(self._tokens):
            at = np.minimum(begin[:, None] + position, len(self._tokens) - 1)
            np.copyto(symbols, self._tokens[at], where=inside, casting="unsafe")
        values = torch.from_numpy(symbols)
        is_ragged = bool((sizes != length).any())
        return Batch(values, values, torch.from_numpy(sizes.copy()) if is_ragged else None)


# ---- cutting a list of pairs into batches -------------------------------------------------------


def _ranks(source: Ints, target: Ints) -> NDArray[np.float64]:
    """(N,) integers that sort pairs: long targets first, sources alternately down and up."""
    _, turn = np.unique(-target, return_inverse=True)
    width = int(source.max()) + 1
    within = np.where(turn % 2 == 0, width - 1 - source, source)
    ranks: NDArray[np.float64] = (turn * width + within).astype(np.float64)
    return ranks


def cut_batches(source: Ints, target: Ints, *, batch_size: int, token_budget: int | None) -> Ints:
    """Where a sorted list of N pairs is cut into batches, from 0 to N.

    With a budget, a batch takes as many rows B as B (max S + max L) positions allow, at least
    one, rounded down to a leading bit and two more, so that shapes of batches recur.

    Args:
        source, target: (N,) the lengths of the two sides.
        batch_size: the number of rows in a batch, unless there is a budget.
        token_budget: the number of positions of both sides in a batch, padding included.
    """
    cuts, count = [0], len(source)
    while cuts[-1] < count:
        begin = cuts[-1]
        rows = batch_size
        if token_budget is not None:
            most = max(1, token_budget // int(source[begin] + target[begin]))
            widest = [np.maximum.accumulate(s[begin : begin + most]) for s in (source, target)]
            positions = np.arange(1, len(widest[0]) + 1) * (widest[0] + widest[1])
            rows = max(1, int(np.searchsorted(positions, token_budget, side="right")))
            if begin + rows < count:
                rows -= rows % max(1, 2 ** (rows.bit_length() - 3))
        cuts.append(min(begin + rows, count))
    if len(cuts) > 2 and cuts[-1] - cuts[-2] < cuts[-2] - cuts[-3] and token_budget is None:
        cuts[-2] = (cuts[-1] + cuts[-3]) // 2  # a left-over row or two would make a noisy step
    return np.array(cuts)


def _too_long(sizes: Ints, token_budget: int | None) -> tuple[str, ...]:
    if token_budget is None or not (sizes > token_budget).any():
        return ()
    count = int((sizes > token_budget).sum())
    whose = "pair is" if count == 1 else "pairs are"
    return (
        f"{count:,} {whose} longer than token_budget {token_budget:,} (the longest has "
        f"{int(sizes.max()):,} positions): each is used as a whole, in a batch of its own",
    )
