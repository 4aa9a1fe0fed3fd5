"""Windows of series: which moments are read, which are scored, and that every value counts once."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seriatim.core.batch import Batch
from seriatim.data.batches.series import SeriesPass, SeriesWindows
from seriatim.errors import DataError

SIZES = (7, 3, 0, 12)


@dataclass(frozen=True)
class Made:
    """Series whose values are 100 s + t, so that a number tells where it is from."""

    numbers: NDArray[np.float64]
    known: NDArray[np.float64] | None
    offsets: NDArray[np.int64]


def made(*, gaps: bool = True) -> Made:
    parts = [100.0 * s + np.arange(size) for s, size in enumerate(SIZES, 1)]
    numbers = np.concatenate(parts)[:, None]
    known = numbers + 0.5
    if gaps:
        numbers[[2, 15], 0] = np.nan
    return Made(numbers, known, np.cumsum([0, *SIZES]))


def is_consistent(batch: Batch) -> None:
    """Inputs are one moment behind the targets, and hold the known inputs of the targets."""
    inputs, known = batch.inputs.values, batch.inputs.known
    assert not inputs.numbers.isnan().any() and not batch.targets.numbers.isnan().any()
    lengths = batch.lengths if batch.lengths is not None else [batch.shape[1]] * batch.shape[0]
    for row, length in enumerate(lengths):
        known_row = known[row, :length, 0]
        targets = batch.targets.with_nan()[row, :length, 0]
        before = inputs.with_nan()[row, :length, 0]
        seen = ~targets.isnan()
        torch.testing.assert_close(known_row[seen], targets[seen] + 0.5)
        torch.testing.assert_close(before[1:], targets[:-1], equal_nan=True)
        if not before[0].isnan():
            torch.testing.assert_close(before[0], known_row[0] - 1.5)


def test_windows_are_pieces_of_one_series_with_their_past() -> None:
    source = SeriesWindows(made(), batch_size=16, length=4, context=3, seed=5)
    begins = set()
    for step in range(30):
        batch = source.batch(step)
        is_consistent(batch)
        weights = batch.target_weights()
        for row in range(16):
            scored = batch.inputs.known[row, :, 0][weights[row] > 0] - 0.5
            read = batch.inputs.known[row, :, 0][
                : int(batch.lengths[row]) if batch.lengths is not None else None
            ]
            begin = int(scored[0]) % 100
            begins.add(int(scored[0]))
            size = SIZES[int(scored[0]) // 100 - 1]
            assert len(scored) == min(4, size)
            assert len(read) - len(scored) == min(begin, 3)
            # What is read begins with nothing only where the series does.
            first_is_seen = bool(batch.inputs.values.is_observed[row, 0, 0])
            assert begin > 3 or not first_is_seen
    assert begins == {100, 101, 102, 103, 200, *range(400, 409)}


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    one, other = (SeriesWindows(made(), batch_size=4, length=4, context=3, seed=5) for _ in "12")
    torch.testing.assert_close(one.batch(7).targets.numbers, other.batch(7).targets.numbers)
    assert not torch.equal(one.batch(7).inputs.known, one.batch(8).inputs.known)


def test_the_mean_number_of_targets_is_right() -> None:
    source = SeriesWindows(made(), batch_size=64, length=4, context=3, seed=5)
    counted = np.mean([source.batch(step).num_targets() for step in range(60)])
    assert counted == pytest.approx(source.targets_per_step, rel=0.01)
    assert source.num_targets == sum(SIZES) - 2


@pytest.mark.parametrize("length", [2, 5, 100])
def test_a_pass_scores_every_value_once(length: int) -> None:
    data = made()
    seen: list[float] = []
    one_pass = SeriesPass(data, batch_size=2, length=length)
    for reading in one_pass.batches():
        is_consistent(reading.batch)
        weights = reading.batch.target_weights()
        targets = reading.batch.targets
        seen += targets.numbers[(weights[..., None] > 0) & targets.is_observed].tolist()
    expected = data.numbers[~np.isnan(data.numbers)].tolist()
    assert sorted(seen) == expected and one_pass.num_targets == len(expected)


def test_a_pass_scores_from_a_moment_on_after_its_past() -> None:
    data = made(gaps=False)
    one_pass = SeriesPass(
        data, batch_size=4, length=100, scored_from=np.array([5, 0, 0, 10]), context=3
    )
    (reading,) = one_pass.batches()
    weights = reading.batch.target_weights() > 0
    assert reading.batch.targets.numbers[weights][:, 0].tolist() == [
        *(105, 106),
        *(410, 411),
        *(200, 201, 202),
    ]
    assert reading.batch.num_targets() == one_pass.num_targets == 7
    assert reading.batch.inputs.values.numbers[0, 0, 0] == 101


def test_a_limit_takes_series_from_all_over() -> None:
    one_pass = SeriesPass(made(), batch_size=1, length=100)
    firsts = [int(r.batch.inputs.known[0, 0, 0]) for r in one_pass.batches(limit=14)]
    assert len(firsts) == 2


def test_series_without_a_value_are_refused() -> None:
    nothing = Made(np.full((3, 1), np.nan), None, np.array([0, 3]))
    with pytest.raises(DataError, match="hold no observed value"):
        SeriesWindows(nothing, batch_size=1, length=2, context=1, seed=0)
    with pytest.raises(DataError, match="no observed value to be scored"):
        SeriesPass(made(), batch_size=1, length=2, scored_from=np.array([9, 9, 9, 99]))
