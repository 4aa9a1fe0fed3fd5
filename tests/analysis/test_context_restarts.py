"""Restarts: elements as fed, runs from the empty state, and the prediction without context."""

import numpy as np
import pytest
import torch

from seriatim.analysis.context import restarts
from seriatim.analysis.context.restarts import (
    choose_runs,
    flat_index,
    read_elements,
    score_runs,
    unconditioned,
)
from seriatim.core.batch import Batch
from seriatim.errors import DataError
from tests.laws.toys import ToyAttention
from tests.oracles.memories import Chain, ExactChain, Text, lines, stream


def _ragged(sizes: list[int], seed: int = 0) -> Text:
    rng = np.random.default_rng(seed)
    return lines([rng.choice([0, 2], n) for n in sizes])


def test_sequences_are_fed_with_their_boundary_first_and_last() -> None:
    data = read_elements(
        ToyAttention(), lines([np.array([2, 0]), np.array([], int), np.array([0])])
    )
    assert data.inputs.tolist() == [1, 2, 0, 1, 1, 0]
    assert data.targets.tolist() == [2, 0, 1, 1, 0, 1]
    assert data.bounds.tolist() == [0, 3, 4, 6]
    assert data.depth.tolist() == [0, 1, 2, 0, 0, 1]
    assert data.ends.tolist() == [3, 3, 3, 4, 6, 6]


def test_a_stream_is_fed_with_the_boundary_before_it_and_has_no_end() -> None:
    data = read_elements(ToyAttention(), stream(np.array([2, 0, 2])))
    assert data.inputs.tolist() == [1, 2, 0]
    assert data.targets.tolist() == [2, 0, 2]


@pytest.mark.parametrize(("limit", "kept"), [(4, 4), (5, 5), (8, 5), (3, 3), (100, 9)])
def test_a_limit_keeps_whole_sequences_and_cuts_only_the_first(limit: int, kept: int) -> None:
    model, text = ToyAttention().double(), _ragged([5, 4])
    whole, part = read_elements(model, text), read_elements(model, text, limit=limit)
    has_end = limit >= 5
    ends = 2 if limit == 100 else 1 if has_end else 0
    assert len(part) == kept + ends
    np.testing.assert_array_equal(part.targets, whole.targets[: len(part)])
    np.testing.assert_array_equal(part.inputs, whole.inputs[: len(part)])
    np.testing.assert_allclose(part.nats, whole.nats[: len(part)], rtol=1e-6)


@pytest.mark.parametrize("positions", [1, 7, 1000])
def test_runs_fold_their_own_elements_from_the_empty_state(
    positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "_POSITIONS", (positions, positions))
    model = ToyAttention().double()
    data = read_elements(model, _ragged([7, 3, 12]))
    begins, sizes = np.array([1, 4, 13, 2]), np.array([6, 1, 9, 3])
    nats = score_runs(model, data.inputs, data.targets, begins, sizes)
    at = 0
    for begin, size in zip(begins.tolist(), sizes.tolist(), strict=True):
        own = slice(begin, begin + size)
        x, y = (torch.from_numpy(a[own])[None] for a in (data.inputs, data.targets))
        expected = -model.log_prob(Batch(x, y))[0].detach().numpy()
        np.testing.assert_allclose(nats[at : at + size], expected, rtol=1e-10)
        at += size


def test_every_element_of_every_run_is_named() -> None:
    index, k = flat_index(np.array([4, 9]), np.array([3, 1]))
    assert index.tolist() == [4, 5, 6, 9]
    assert k.tolist() == [1, 2, 3, 1]


def test_runs_begin_all_over_the_text_and_never_at_a_beginning() -> None:
    data = read_elements(ToyAttention(), _ragged([400, 3, 2, 900, 1]))
    begins, sizes = choose_runs(data, 100, 50, depth=1, seed=0)
    assert len(begins) == 50
    assert (np.diff(begins) > 0).all()
    assert (data.depth[begins] >= 1).all()
    assert (begins + sizes <= data.ends[begins]).all()
    parts = np.histogram(begins, bins=10, range=(0, len(data)))[0]
    assert (parts >= 4).all()


def test_half_of_the_runs_are_short_and_the_longest_are_few() -> None:
    data = read_elements(ToyAttention(), stream(np.zeros(5000, int)))
    _, sizes = choose_runs(data, 512, 1024, depth=1, seed=0)
    inner = sizes[:900]  # the last ones end with the text
    fractions = [(inner >= 32 * 2**i).mean() for i in range(5)]
    assert fractions == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16], abs=0.01)
    assert inner.max() == 512


def test_a_short_text_is_restarted_everywhere() -> None:
    data = read_elements(ToyAttention(), stream(np.zeros(40, int)))
    begins, _ = choose_runs(data, 8, 1000, depth=1, seed=0)
    assert begins.tolist() == list(range(1, 40))


def test_nothing_seen_is_the_mean_over_what_may_have_been() -> None:
    chain = Chain.random(2, seed=5)
    model, text = ExactChain(chain), stream(chain.sample(500))
    data = read_elements(model, text)
    one = chain.conditional(1)  # p(x | s)
    expected = np.log(one[data.inputs].mean(0))
    np.testing.assert_allclose(unconditioned(model, data), expected, rtol=1e-10)


def test_symbols_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(DataError, match="symbols 0 to 7, and the model knows 0 to 2"):
        read_elements(ToyAttention(), stream(np.array([0, 7, 1])))
