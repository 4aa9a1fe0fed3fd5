"""Batches of pairs: which sources and targets stand side by side at which step of training.

As in `seriatim.data.batches.corpus`, every batch is a pure function of (seed, step). No pair is
ever cut: the source goes in as x_1 .. x_S and its boundary, the target is scored through the pairs
(b, y_1) .. (y_T, b) of input and target, and both sides of a batch are padded to their longest.
A place is one position of either side, padding included.

Knows pairs of symbols and their lengths; knows no model and no text.

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
    """The boundary of the sources' symbols, which ends a source, and that of the targets'."""

    source: int
    target: int


class PairBatches(BatchSource):
    """Pairs of similar lengths side by side, in another order every epoch.

    Pairs are sorted by the length class of the target and, within one, by that of the source
    (2, 4 .. 16, 18 .. 30, 32, 36 .. : an eighth wide; up and down by turns, so that
    neighbours are alike), by chance among equals, and the sorted row is cut into batches. The
    cuts depend on the classes alone, so every epoch has as many batches; they come in random
    order. Every pair comes once an epoch.

    Attributes:
        padding_fraction: share of the places of an epoch that hold padding.
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
            batch_size: rows of a batch, unless there is a budget.
            token_budget: source and target places of a batch, padding included. A pair that
                alone has more makes a batch of its own.
        """
        self._read = PairReader(corpus, boundaries)
        self._seed = seed
        sizes = self._read.source_sizes, self._read.target_sizes
        # Few classes make few shapes, and oneDNN compiles every product of new sizes: of both
        # sides together there would be hundreds, more than it keeps compiled.
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
        """The batch of a step, its sources with it."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        which = self._batches[position]
        return self._read.batch(self._pairs[self._cuts[which] : self._cuts[which + 1]])

    def _shuffle(self, epoch: int) -> None:
        # Ranks are whole numbers, so adding a uniform shuffles among equals only.
        within = uniforms(self._seed, np.arange(len(self._rank)), 2 * epoch).numpy()
        self._pairs = np.argsort(self._rank + within, kind="stable")
        order = uniforms(self._seed, np.arange(self.steps_per_epoch), 2 * epoch + 1).numpy()
        self._batches = np.argsort(order, kind="stable")
        self._epoch = epoch

    def _padding(self, order: Ints) -> float:
        """Of one epoch; the others differ by the lengths within a class only."""
        rows = np.diff(self._cuts)
        places = 0
        for sizes in (self._read.source_sizes, self._read.target_sizes):
            places += int((np.maximum.reduceat(sizes[order], self._cuts[:-1]) * rows).sum())
        return 1.0 - self._read.num_places / places


class PairPass(EvaluationPass):
    """Every pair once, those of similar length side by side, longest first: for evaluation."""

    def __init__(
        self, corpus: PairCorpus, boundaries: PairBoundaries, *, token_budget: int = 8192
    ) -> None:
        """
        Args:
            token_budget: source and target places of a batch, padding included.
        """
        self._read = PairReader(corpus, boundaries)
        self._budget = token_budget
        self.num_targets = int(self._read.target_sizes.sum())

    def batches(self, limit: int | None = None) -> Iterator[EvaluationBatch]:
        """Every pair, each with a fresh state; or about `limit` targets, spread over the whole."""
        for _, batch in self.indexed_batches(limit):
            yield EvaluationBatch(batch, is_first=True, continues=False)

    def indexed_batches(self, limit: int | None = None) -> Iterator[tuple[Ints, Batch]]:
        """Which pairs (B,) are in each batch, and the batch."""
        count = len(self._read.target_sizes)
        chosen = np.arange(count)
        if limit is not None and limit < self.num_targets:
            num_chosen = max(1, round(count * limit / self.num_targets))
            chosen = np.arange(num_chosen) * count // num_chosen
        source, target = self._read.source_sizes[chosen], self._read.target_sizes[chosen]
        order = np.lexsort((source, target))[::-1]
        cuts = cut_batches(source[order], target[order], batch_size=1, token_budget=self._budget)
        for begin, end in pairwise(cuts.tolist()):
            pairs = chosen[order[begin:end]]
            yield pairs, self._read.batch(pairs)


class PairReader:
    """Copies pairs out of a corpus.

    Attributes:
        source_sizes: (N,) S of every source, its boundary included.
        target_sizes: (N,) L of every target, its end included.
    """

    def __init__(self, corpus: PairCorpus, boundaries: PairBoundaries) -> None:
        """
        Raises:
            DataError: there is no pair.
        """
        if corpus.num_pairs == 0:
            raise DataError("there is no pair: training and evaluation need at least one")
        self._source = _Padded(corpus.source, boundaries.source)
        self._target = _Padded(corpus.target, boundaries.target)
        self.source_sizes = self._source.sizes
        self.target_sizes = self._target.sizes

    @property
    def num_places(self) -> int:
        """Positions of both sides, without padding."""
        return int(self.source_sizes.sum() + self.target_sizes.sum())

    def batch(self, pairs: Ints) -> Batch:
        """The pairs (B,) side by side; targets (B, L) with their source (B, S)."""
        target = self._target.rows(pairs)
        inputs = target.targets.roll(1, 1)
        inputs[:, 0] = self._target.boundary
        return replace(target, inputs=inputs, source=self.source(pairs))

    def source(self, pairs: Ints) -> Batch:
        """The sources of the pairs (B,), (B, S)."""
        return self._source.rows(pairs)


def source_batch(sources: "list[NDArray[np.int64]]", boundary: int) -> Batch:
    """Sources x_1 .. x_S side by side, each with its boundary at the end: what a model encodes."""
    corpus = Corpus.from_tokens(sources)
    return _Padded(corpus, boundary).rows(np.arange(len(sources)))


class _Padded:
    """Sequences with their boundary at the end, padded with it."""

    def __init__(self, corpus: Corpus, boundary: int) -> None:
        # A plain view of the memory map: indexing a memmap object costs more than the copy.
        self._tokens: NDArray[Any] = np.asarray(corpus.tokens)
        self._offsets = np.asarray(corpus.offsets, dtype=np.int64)
        self.boundary = boundary
        self.sizes: Ints = np.diff(self._offsets) + 1

    def rows(self, which: Ints) -> Batch:
        """x_1 .. x_T, boundary of each row, as inputs and as targets."""
        begin, sizes = self._offsets[which], self.sizes[which]
        length = int(sizes.max())
        place = np.arange(length)
        inside = place < (sizes - 1)[:, None]
        symbols = np.full((len(which), length), self.boundary, np.int64)
        if len(self._tokens):
            at = np.minimum(begin[:, None] + place, len(self._tokens) - 1)
            np.copyto(symbols, self._tokens[at], where=inside, casting="unsafe")
        values = torch.from_numpy(symbols)
        is_ragged = bool((sizes != length).any())
        return Batch(values, values, torch.from_numpy(sizes.copy()) if is_ragged else None)


# ---- where batches are cut ----------------------------------------------------------------------


def _ranks(source: Ints, target: Ints) -> NDArray[np.float64]:
    """(N,) whole numbers that sort pairs: long targets first, sources down and up by turns."""
    _, turn = np.unique(-target, return_inverse=True)
    width = int(source.max()) + 1
    within = np.where(turn % 2 == 0, width - 1 - source, source)
    ranks: NDArray[np.float64] = (turn * width + within).astype(np.float64)
    return ranks


def cut_batches(source: Ints, target: Ints, *, batch_size: int, token_budget: int | None) -> Ints:
    """Where a sorted row of N pairs is cut into batches; begins with 0, ends with N.

    With a budget a batch takes as many rows B as B (max S + max L) places allow, one at least,
    rounded down to a leading bit and two more: shapes of batches are to come again.

    Args:
        source, target: (N,) widths of the two sides.
    """
    cuts, count = [0], len(source)
    while cuts[-1] < count:
        begin = cuts[-1]
        rows = batch_size
        if token_budget is not None:
            most = max(1, token_budget // int(source[begin] + target[begin]))
            widest = [np.maximum.accumulate(s[begin : begin + most]) for s in (source, target)]
            places = np.arange(1, len(widest[0]) + 1) * (widest[0] + widest[1])
            rows = max(1, int(np.searchsorted(places, token_budget, side="right")))
            if begin + rows < count:
                rows -= rows % max(1, 2 ** (rows.bit_length() - 3))
        cuts.append(min(begin + rows, count))
    if len(cuts) > 2 and cuts[-1] - cuts[-2] < cuts[-2] - cuts[-3] and token_budget is None:
        cuts[-2] = (cuts[-1] + cuts[-3]) // 2  # a left-over row or two would make a noisy step
    return np.array(cuts)


def _too_long(places: Ints, token_budget: int | None) -> tuple[str, ...]:
    if token_budget is None or not (places > token_budget).any():
        return ()
    count = int((places > token_budget).sum())
    whose = "pair is" if count == 1 else "pairs are"
    return (
        f"{count:,} {whose} longer than token_budget {token_budget:,} (the longest has "
        f"{int(places.max()):,} places): each is trained on whole, in a batch of its own",
    )
