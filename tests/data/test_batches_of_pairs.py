"""Batches of pairs: every pair once an epoch, whole, with its own source, within the budget."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seriatim.core.batch import Batch
from seriatim.data.batches.pairs import (
    PairBatches,
    PairBoundaries,
    PairPass,
    PairReader,
    cut_batches,
    source_batch,
)
from seriatim.data.pairs import PairCorpus
from seriatim.errors import DataError

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("steady")

ENDS = PairBoundaries(source=1, target=9)


def corpus_of(sizes: list[tuple[int, int]]) -> PairCorpus:
    """Pairs of given sizes; every symbol tells its pair, so that a mix-up shows."""
    return PairCorpus.from_tokens(([100 + i] * s, [100 + i] * t) for i, (s, t) in enumerate(sizes))


def random_sizes(count: int, seed: int = 0) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 30, count)
    target = np.maximum(source + rng.integers(-3, 4, count), 0)
    return list(zip(source.tolist(), target.tolist(), strict=True))


def rows_of(batch: Batch) -> list[tuple[list[int], list[int], list[int]]]:
    """(source, inputs, targets) of every row, without padding."""
    found = []
    source = batch.source
    assert source is not None
    for i in range(batch.shape[0]):
        own = slice(None if batch.lengths is None else int(batch.lengths[i]))
        its = slice(None if source.lengths is None else int(source.lengths[i]))
        found.append(
            (
                source.inputs[i, its].tolist(),
                batch.inputs[i, own].tolist(),
                batch.targets[i, own].tolist(),
            )
        )
    return found


sizes = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=40)


@given(sizes, st.integers(1, 60), st.integers(0, 3))
def test_an_epoch_has_every_pair_once_with_its_own_source(
    found: list[tuple[int, int]], budget: int, seed: int
) -> None:
    batches = PairBatches(corpus_of(found), ENDS, seed=seed, token_budget=budget)
    for epoch in (0, 1):
        seen = []
        for step in range(batches.steps_per_epoch):
            batch = batches.batch(epoch * batches.steps_per_epoch + step)
            places = batch.inputs.numel() + batch.source.inputs.numel()  # type: ignore[union-attr]
            assert places <= budget or batch.shape[0] == 1
            seen += rows_of(batch)
        expected = []
        for i, (s, t) in enumerate(found):
            source, target = [100 + i] * s, [100 + i] * t
            expected.append(([*source, 1], [9, *target], [*target, 9]))
        assert sorted(seen) == sorted(expected)


def test_a_batch_is_a_pure_function_of_seed_and_step() -> None:
    corpus = corpus_of(random_sizes(200))
    first, second = (PairBatches(corpus, ENDS, seed=3, token_budget=200) for _ in range(2))
    steps = first.steps_per_epoch
    for step in (2 * steps + 1, 0, steps, 1):  # in any order
        a, b = first.batch(step), second.batch(step)
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.source.inputs, b.source.inputs)  # type: ignore[union-attr]
    other = PairBatches(corpus, ENDS, seed=4, token_budget=200)
    assert any(
        rows_of(other.batch(step)) != rows_of(first.batch(step))
        for step in range(first.steps_per_epoch)
    )


def test_epochs_differ_in_order_and_mix_pairs_of_equal_length() -> None:
    batches = PairBatches(corpus_of([(5, 5)] * 64), ENDS, seed=0, token_budget=96)
    steps = batches.steps_per_epoch
    together = [
        {frozenset(r[0][0] for r in rows_of(batches.batch(e * steps + i))) for i in range(steps)}
        for e in (0, 1)
    ]
    assert together[0] != together[1]


def test_batches_have_little_padding_and_its_fraction_is_right() -> None:
    batches = PairBatches(corpus_of(random_sizes(4000)), ENDS, seed=0, token_budget=1000)
    places = valid = 0
    for step in range(batches.steps_per_epoch):
        batch = batches.batch(step)
        for side in (batch, batch.source):
            assert side is not None
            places += side.inputs.numel()
            valid += int(side.num_targets())
    assert batches.padding_fraction == pytest.approx(1 - valid / places, abs=0.01)
    assert batches.padding_fraction < 0.08


def test_without_a_budget_batches_are_counted_in_rows() -> None:
    batches = PairBatches(corpus_of(random_sizes(100)), ENDS, seed=0, batch_size=25)
    assert {batches.batch(i).shape[0] for i in range(4)} == {25}


def test_a_pair_longer_than_the_budget_is_a_batch_of_its_own_with_a_note() -> None:
    batches = PairBatches(corpus_of([(50, 50), (2, 2), (3, 3)]), ENDS, seed=0, token_budget=30)
    assert batches.steps_per_epoch == 2
    assert batches.notes == (
        "1 pair is longer than token_budget 30 (the longest has 102 positions): each is used as a "
        "whole, in a batch of its own",
    )


@given(sizes)
def test_a_pass_has_every_pair_once_and_counts_its_targets(found: list[tuple[int, int]]) -> None:
    data = PairPass(corpus_of(found), ENDS, token_budget=40)
    seen = [row for reading in data.batches() for row in rows_of(reading.batch)]
    assert sorted(len(targets) for _, _, targets in seen) == sorted(t + 1 for _, t in found)
    assert data.num_targets == sum(t + 1 for _, t in found)
    assert all(reading.is_first and not reading.continues for reading in data.batches())


def test_a_limited_pass_samples_targets_from_everywhere() -> None:
    found = random_sizes(1000)
    data = PairPass(corpus_of(found), ENDS)
    chosen = [int(row) for rows, _ in data.indexed_batches(1000) for row in rows]
    count = sum(found[i][1] + 1 for i in chosen)
    assert 800 <= count <= 1200
    assert min(chosen) < 50
    assert max(chosen) > 900


def test_padding_of_empty_sides_is_the_boundary_and_no_row_is_empty() -> None:
    reader = PairReader(corpus_of([(0, 0), (2, 1)]), ENDS)
    batch = reader.batch(np.array([0, 1]))
    assert batch.source is not None
    assert batch.source.inputs.tolist() == [[1, 1, 1], [101, 101, 1]]
    assert batch.source.lengths is not None
    assert batch.source.lengths.tolist() == [1, 3]
    assert batch.targets.tolist() == [[9, 9], [101, 9]]
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [1, 2]


def test_batches_of_sources_alone_are_those_of_training() -> None:
    reader = PairReader(corpus_of([(3, 1), (0, 2)]), ENDS)
    own = source_batch([np.array([100, 100, 100]), np.array([], np.int64)], boundary=1)
    theirs = reader.source(np.array([0, 1]))
    assert torch.equal(own.inputs, theirs.inputs)
    assert own.lengths is not None
    assert theirs.lengths is not None
    assert torch.equal(own.lengths, theirs.lengths)


def test_batches_have_as_many_rows_as_the_wider_side_allows() -> None:
    source, target = np.array([2, 5, 1, 1]), np.array([4, 4, 4, 4])
    assert cut_batches(source, target, batch_size=9, token_budget=18).tolist() == [0, 2, 4]
    assert cut_batches(source, target, batch_size=9, token_budget=17).tolist() == [0, 1, 2, 4]


def test_an_empty_list_of_pairs_is_refused() -> None:
    with pytest.raises(DataError, match="there are no pairs"):
        PairReader(PairCorpus.from_tokens([]), ENDS)


def test_few_distinct_shapes_recur_with_little_padding() -> None:
    corpus = corpus_of(random_sizes(12_000))
    batches = PairBatches(corpus, ENDS, seed=0, token_budget=1_500)
    shapes = [
        (tuple(b.shape), None if b.source is None else tuple(b.source.shape))
        for b in (batches.batch(step) for step in range(batches.steps_per_epoch))
    ]
    assert len(shapes) > 200
    assert len(set(shapes)) < 85
    # What products see are rows times positions, of one side.
    assert len({b * length for (b, length), _ in shapes}) < 35
    assert batches.padding_fraction < 0.08
