"""Batches of examples in memory: records of any shape, each with its own targets.

For tasks whose targets are not the next symbol: vectors, labels, copying. Knows arrays and
batches. Does not know models or files.

Shapes: T elements of an example, B rows, L elements of the longest row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seriatim.core.batch import Batch
from seriatim.data.batches.corpus import BatchSource, EvaluationBatch, EvaluationPass, LengthBuckets
from seriatim.errors import DataError

USUAL = 1_024  # the length up to which rows are batched together however long they are


@dataclass(frozen=True)
class Example:
    """One sequence of inputs with a target for each of them.

    Attributes:
        inputs: (T, ...) the inputs.
        targets: (T, ...) the target scored after each input.
        weights: (T,) the weight of each target; None: all 1.
        source: (S, ...) the source of an encoder-decoder; None: there is none.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    source: Tensor | None = None

    @property
    def num_positions(self) -> int:
        """The number of positions that it takes in a batch."""
        return len(self.inputs) + (0 if self.source is None else len(self.source))

    @property
    def num_targets(self) -> float:
        """The sum of the weights."""
        return float(len(self.inputs) if self.weights is None else self.weights.sum())


class ExampleBatches(BatchSource):
    """Examples batched by similar length, in a new order every epoch; see `LengthBuckets`."""

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int,
        seed: int,
        token_budget: int | None = None,
    ) -> None:
        """
        Raises:
            DataError: if there is no target.
        """
        _check(examples)
        self._examples = examples
        sizes = np.array([e.num_positions for e in examples])
        self._buckets = LengthBuckets(
            sizes, batch_size=batch_size, seed=seed, token_budget=token_budget
        )
        self.num_targets = round(sum(e.num_targets for e in examples))
        self.steps_per_epoch = self._buckets.steps_per_epoch
        self.targets_per_step = self.num_targets / self.steps_per_epoch

    def batch(self, step: int) -> Batch:
        return collate([self._examples[i] for i in self._buckets.pieces(step)])


class ExamplePass(EvaluationPass):
    """Every example once, the longest first."""

    def __init__(self, examples: Sequence[Example], *, batch_size: int) -> None:
        """
        Raises:
            DataError: if there is no target.
        """
        _check(examples)
        self._examples, self._batch_size = examples, batch_size
        self.num_targets = round(sum(e.num_targets for e in examples))

    def batches(self, limit: int | None = None) -> Iterator[EvaluationBatch]:
        for rows in self.rows(limit):
            batch = collate([self._examples[i] for i in rows])
            yield EvaluationBatch(batch, is_first=True, continues=False)

    def rows(self, limit: int | None = None) -> list[list[int]]:
        """The indices of the examples in each batch."""
        num, total = len(self._examples), self.num_targets
        if limit is not None and limit < total:
            num = max(1, round(num * limit / total))
        chosen = np.arange(num) * len(self._examples) // num
        sizes = [self._examples[i].num_positions for i in chosen.tolist()]
        rows = longest_first(sizes, self._batch_size)
        return [[int(chosen[i]) for i in each] for each in rows]


def longest_first(sizes: Sequence[int], batch_size: int) -> list[list[int]]:
    """The numbers of rows in batches that waste little on padding, the longest rows first.

    Rows longer than `USUAL` share a batch with so few that it has no more positions than one of
    rows of that length: a row of a million symbols among short ones would make a million columns.

    Args:
        sizes: the length of each row.
        batch_size: the most rows of a batch.
    """
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    batches, at = [], 0
    while at < len(order):
        most = batch_size * USUAL // max(1, sizes[order[at]])
        batches.append(order[at : at + max(1, min(batch_size, most))])
        at += len(batches[-1])
    return batches


def collate(examples: Sequence[Example]) -> Batch:
    """Examples as the rows of one batch, padded with zeros."""
    inputs, lengths = pad([e.inputs for e in examples])
    targets, _ = pad([e.targets for e in examples])
    weights = None
    if any(e.weights is not None for e in examples):
        ones = [torch.ones(len(e.inputs)) if e.weights is None else e.weights for e in examples]
        weights, _ = pad(ones)
    source = None
    if examples[0].source is not None:
        padded, sizes = pad([e.source for e in examples if e.source is not None])
        source = Batch(padded, padded, sizes)
    return Batch(inputs, targets, lengths, weights, source)


def pad(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Sequences (T_i, ...) as rows (B, L, ...) padded with zeros; lengths, None if all are L."""
    lengths = torch.tensor([len(p) for p in parts])
    rows = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
    return rows, None if bool((lengths == lengths[0]).all()) else lengths


def _check(examples: Sequence[Example]) -> None:
    if not sum(e.num_targets for e in examples):
        raise DataError(
            f"{len(examples)} examples have no target: give at least one to learn or to score"
        )
