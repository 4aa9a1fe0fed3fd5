"""Examples in memory as batches: padded, weighted, each once an epoch."""

import pytest
import torch

from seriatim.data.batches.examples import (
    Example,
    ExampleBatches,
    ExamplePass,
    collate,
    longest_first,
)
from seriatim.errors import DataError


def example(length: int, first: int = 0) -> Example:
    x = torch.arange(first, first + length)
    return Example(x, x + 100)


def test_rows_are_padded_at_the_end_and_lengths_give_the_position() -> None:
    batch = collate([example(3), example(1, 7)])
    assert batch.inputs.tolist() == [[0, 1, 2], [7, 0, 0]]
    assert batch.targets.tolist() == [[100, 101, 102], [107, 0, 0]]
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [3, 1]
    assert batch.num_targets() == 4


def test_rows_of_equal_length_have_no_lengths() -> None:
    assert collate([example(2), example(2)]).lengths is None


def test_records_of_several_components_keep_their_shape() -> None:
    x = torch.zeros(4, 3)
    assert collate([Example(x, x), Example(x[:2], x[:2])]).inputs.shape == (2, 4, 3)


def test_examples_without_weights_have_weight_one() -> None:
    weighted = Example(torch.zeros(3), torch.zeros(3), torch.tensor([0.0, 0.5, 1.0]))
    batch = collate([weighted, example(2)])
    assert batch.target_weights().tolist() == [[0.0, 0.5, 1.0], [1.0, 1.0, 0.0]]


def test_sources_are_padded_on_their_own() -> None:
    y = torch.zeros(1)
    batch = collate([Example(y, y, source=torch.arange(4)), Example(y, y, source=torch.arange(2))])
    assert batch.source is not None
    assert batch.source.inputs.shape == (2, 4)
    assert batch.source.lengths is not None
    assert batch.source.lengths.tolist() == [4, 2]
    assert batch.lengths is None


def test_every_example_occurs_once_an_epoch_in_a_new_order() -> None:
    examples = [example(1 + i % 5, 10 * i) for i in range(23)]
    source = ExampleBatches(examples, batch_size=4, seed=1)
    epochs = []
    for epoch in range(2):
        steps = range(epoch * source.steps_per_epoch, (epoch + 1) * source.steps_per_epoch)
        epochs.append([int(x) for s in steps for x in source.batch(s).inputs[:, 0]])
    assert sorted(epochs[0]) == sorted(epochs[1]) == [10 * i for i in range(23)]
    assert epochs[0] != epochs[1]
    assert source.targets_per_step * source.steps_per_epoch == sum(1 + i % 5 for i in range(23))


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    examples = [example(1 + i % 3, 10 * i) for i in range(9)]
    one, two = (ExampleBatches(examples, batch_size=2, seed=5) for _ in range(2))
    two.batch(7)
    assert torch.equal(one.batch(3).inputs, two.batch(3).inputs)


def test_a_pass_reads_everything_once_and_a_limit_spreads_over_the_whole() -> None:
    examples = [example(2, 10 * i) for i in range(10)]
    whole = ExamplePass(examples, batch_size=3)
    found = [int(x) for r in whole.batches() for x in r.batch.inputs[:, 0]]
    assert sorted(found) == [10 * i for i in range(10)]
    some = [int(x) for r in whole.batches(limit=10) for x in r.batch.inputs[:, 0]]
    assert sorted(some) == [0, 20, 40, 60, 80]


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="no target"):
        ExampleBatches([], batch_size=2, seed=0)


def test_a_long_row_shares_a_batch_with_few() -> None:
    sizes = [3, 1_000_000, 5, 2_048, 1_024, 2_000]
    assert longest_first(sizes, 4) == [[1], [3, 5], [4, 2, 0]]
    assert longest_first([1, 2, 3], 2) == [[2, 1], [0]]
    assert longest_first([0, 0], 2) == [[0, 1]]
    assert longest_first([], 2) == []
