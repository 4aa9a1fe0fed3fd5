"""Batches of series: which moments are in which batch at which step of training.

Knows numbers end to end with gaps. Does not know models or optimizers. Every batch is a pure
function of (seed, step), as those of corpora.

A moment t of a series is scored after the input of moment t - 1; after nothing if it is the first.
With inputs that are known ahead, the input of a moment holds those of the next. Values are float64:
a model that computes with less subtracts a level first, beside which changes may be small.

Shapes: B rows, L moments of the longest row, D channels, K known inputs; N moments of S series.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core.batch import Batch
from seriatim.core.distributions import uniforms
from seriatim.core.values import NumberInput, NumberSequences, Values
from seriatim.data.batches.corpus import BatchSource, EvaluationBatch, EvaluationPass, Ints
from seriatim.errors import DataError


class SeriesWindows(BatchSource):
    """Random windows of many series, each with a fresh state, and its past before it.

    The `length` scored moments of a row begin anywhere in any series, all places being equally
    probable; the `context` moments before them are read and not scored. Where fewer moments came
    before, all of them are read, so that a model also learns to begin with nothing. A series
    shorter than `length` is a row as it is. A missing value has no score.
    """

    def __init__(
        self, data: NumberSequences, *, batch_size: int, length: int, context: int, seed: int
    ) -> None:
        """
        Args:
            data: the series.
            batch_size: B.
            length: the largest number of scored moments in a row.
            context: the largest number of moments that are read before them.
            seed: the seed of the choice of windows.

        Raises:
            DataError: if no value is observed.
        """
        self._reader = _Reader(data)
        self._seed, self._context = seed, context
        self.batch_size = batch_size
        offsets = self._reader.offsets
        sizes = np.diff(offsets)
        self._length = np.minimum(sizes, length)
        places = np.where(sizes > 0, sizes - self._length + 1, 0)
        self._ends = np.cumsum(places)
        series = np.repeat(np.arange(len(sizes)), places)
        begins = np.arange(self._ends[-1]) - (self._ends - places)[series] + offsets[series]
        observed = self._reader.observed_before
        in_window = observed[begins + self._length[series]] - observed[begins]
        self.num_targets = int(observed[-1])
        self.targets_per_step = float(batch_size * in_window.mean())
        self.steps_per_epoch = max(1, -(-int(sizes.sum()) // (batch_size * length)))

    def batch(self, step: int) -> Batch:
        u = uniforms(self._seed, np.arange(self.batch_size), step).numpy()
        place = np.minimum((u * self._ends[-1]).astype(np.int64), self._ends[-1] - 1)
        series = np.searchsorted(self._ends, place, side="right")
        begin = place - np.concatenate([[0], self._ends])[series]
        context = np.minimum(begin, self._context)
        return self._reader.pieces(series, begin - context, context + self._length[series], begin)


class SeriesPass(EvaluationPass):
    """Series from their beginning to their end, chunk after chunk with a carried state.

    Rows are in groups, the longest first; rows that have ended drop out at the bottom, so a batch
    may have fewer rows than the carry.
    """

    def __init__(
        self,
        data: NumberSequences,
        *,
        batch_size: int,
        length: int,
        scored_from: Ints | None = None,
        context: int | None = None,
    ) -> None:
        """
        Args:
            data: the series.
            batch_size: the number of rows.
            length: the largest number of moments in a chunk.
            scored_from: (S,) the first moment of each series that is scored; None: the first.
            context: the number of moments before it that are read; None: all.

        Raises:
            DataError: if no value is to be scored.
        """
        self._reader = _Reader(data)
        self._batch_size, self._length = batch_size, length
        begins, ends = self._reader.offsets[:-1], self._reader.offsets[1:]
        sizes = ends - begins
        first = np.zeros_like(sizes) if scored_from is None else np.minimum(scored_from, sizes)
        self._scored_from = first
        self._begin = np.zeros_like(first) if context is None else np.maximum(first - context, 0)
        self._size = sizes - self._begin
        observed = self._reader.observed_before
        self._targets = observed[ends] - observed[begins + first]
        self.num_targets = int(self._targets.sum())
        if self.num_targets == 0:
            raise DataError(
                "the series hold no observed value to be scored, and evaluation needs at least "
                "one: give data with values"
            )

    def batches(self, limit: int | None = None) -> Iterator[EvaluationBatch]:
        chosen = np.flatnonzero(self._targets)
        if limit is not None and limit < self.num_targets:
            num_chosen = max(1, round(len(chosen) * limit / self.num_targets))
            chosen = chosen[np.arange(num_chosen) * len(chosen) // num_chosen]
        order = chosen[np.argsort(-self._size[chosen], kind="stable")]
        for begin in range(0, len(order), self._batch_size):
            yield from self._side_by_side(order[begin : begin + self._batch_size])

    def _side_by_side(self, group: Ints) -> Iterator[EvaluationBatch]:
        """Series of decreasing size, chunk after chunk."""
        size, begin, scored_from = self._size[group], self._begin[group], self._scored_from[group]
        longest = int(size[0])
        for first in range(0, longest, self._length):
            rows = int((size > first).sum())
            lengths = np.minimum(size[:rows] - first, self._length)
            batch = self._reader.pieces(
                group[:rows], begin[:rows] + first, lengths, scored_from[:rows]
            )
            yield EvaluationBatch(batch, first == 0, first + self._length < longest)


class _Reader:
    """Copies pieces of series out of a collection."""

    def __init__(self, data: NumberSequences) -> None:
        # A plain view of a memory map: indexing a memmap object costs more than the copy.
        self._numbers = np.asarray(data.numbers)
        self._known = None if data.known is None else np.asarray(data.known)
        self.offsets: Ints = np.asarray(data.offsets, dtype=np.int64)
        observed = (~np.isnan(self._numbers)).sum(1)
        # (N + 1,) the number of observed values before each moment.
        self.observed_before: Ints = np.concatenate([[0], np.cumsum(observed)])
        if self.observed_before[-1] == 0:
            raise DataError(
                "the series hold no observed value, and training and evaluation need at least "
                "one: give data with values"
            )

    def pieces(self, series: Ints, first: Ints, lengths: Ints, scored_from: Ints) -> Batch:
        """Moments first[i] .. first[i] + lengths[i] - 1 of each series.

        Args:
            series: (B,) the number of each series.
            first: (B,) the first moment of each row.
            lengths: (B,) the number of moments of each row.
            scored_from: (B,) the first moment of each series that is scored.
        """
        length = int(lengths.max())
        begin, end = self.offsets[series, None], self.offsets[series + 1, None]
        moment = first[:, None] + np.arange(-1, length)
        at = begin + moment
        inside = (at >= begin) & (at < end) & (moment < (first + lengths)[:, None])
        at = np.clip(at, 0, len(self._numbers) - 1)
        numbers: NDArray[np.float64] = np.where(inside[..., None], self._numbers[at], np.nan)
        values = Values.of(torch.from_numpy(numbers))
        known = None
        if self._known is not None:
            ahead = np.where(inside[:, 1:, None], self._known[at[:, 1:]], 0.0)
            known = torch.from_numpy(ahead)
        weights = None
        if (first < scored_from).any():
            weights = torch.from_numpy((moment[:, 1:] >= scored_from[:, None]).astype(np.float32))
        is_ragged = bool((lengths != length).any())
        return Batch(
            NumberInput(Values(values.numbers[:, :-1], values.is_observed[:, :-1]), known),
            Values(values.numbers[:, 1:], values.is_observed[:, 1:]),
            torch.from_numpy(lengths.astype(np.int64)) if is_ragged else None,
            weights,
        )
