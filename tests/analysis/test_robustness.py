"""Perturbations do what they say, intact is what was not touched, and the figures follow.

What perturbations do to models of known memory is in `oracles/test_memory.py`.
"""

import json
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch

from seriatim.analysis.robustness import perturbations
from seriatim.analysis.robustness.measure import measure_robustness, pair_robustness
from seriatim.analysis.robustness.perturbations import PERTURBATIONS, Perturbation
from seriatim.analysis.robustness.result import Robustness
from seriatim.analysis.robustness.text import summary
from seriatim.core.batch import Batch
from seriatim.core.records import from_json
from seriatim.errors import ConfigError, DataError
from seriatim.metrics.bootstrap import ratio
from tests.laws.toys import ToyAttention
from tests.oracles.memories import Chain, ExactChain, Text, lines, stream

RNG = np.random.default_rng(0)


# ---- the perturbations ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PERTURBATIONS)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 64])
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_a_perturbation_leaves_elements_each_at_most_once(
    kind: str, size: int, strength: float
) -> None:
    order = PERTURBATIONS[kind].order(size, strength, RNG)
    assert len(set(order.tolist())) == len(order)
    assert all(0 <= i < size for i in order)
    if strength == 0:
        assert order.tolist() == list(range(size))


def test_trimming_takes_a_fraction_from_one_end_and_leaves_something() -> None:
    assert perturbations.trimmed_start(10, 0.25, RNG).tolist() == list(range(2, 10))
    assert perturbations.trimmed_end(10, 0.25, RNG).tolist() == list(range(8))
    assert perturbations.trimmed_start(3, 0.1, RNG).tolist() == [1, 2], "at least one is cut"
    assert perturbations.trimmed_end(1, 0.5, RNG).tolist() == [0], "and at least one is left"


def test_elements_are_omitted_at_the_given_rate() -> None:
    remaining = len(perturbations.omitted(20_000, 0.2, RNG))
    assert remaining == pytest.approx(16_000, abs=4 * np.sqrt(20_000 * 0.16))


def test_swapped_neighbours_move_one_place_and_at_the_given_rate() -> None:
    order = perturbations.swapped(20_000, 0.2, RNG)
    moved = order - np.arange(20_000)
    assert set(np.unique(moved)) == {-1, 0, 1}
    assert (moved != 0).mean() == pytest.approx(0.2, abs=0.02)
    assert sorted(order.tolist()) == list(range(20_000))


def test_blocks_stay_whole_and_every_chosen_one_moves() -> None:
    order = perturbations.exchanged_blocks(64, 1.0, RNG)
    parts = order.reshape(8, 8)
    assert (np.diff(parts, axis=1) == 1).all()
    assert sorted(order.tolist()) == list(range(64))
    assert (parts[:, 0] != np.arange(0, 64, 8)).all()


# ---- intact targets -----------------------------------------------------------------------------


def _by_hand(
    model: ToyAttention, text: Text, damage: Callable[[list[int]], list[int]]
) -> tuple[float, float, int]:
    """Bits of the intact targets damaged and whole, and their number, one sequence at a time."""
    totals = [0.0, 0.0, 0.0]
    for begin, end in zip(text.offsets[:-1], text.offsets[1:], strict=True):
        x = text.tokens[begin:end].tolist()
        order = damage(list(range(len(x))))
        before = [-1, *order]
        after = [*order, len(x)]
        bits = []
        for which in (range(len(x)), order):
            own = [x[i] for i in which]
            inputs, targets = torch.tensor([[1, *own]]), torch.tensor([[*own, 1]])
            bits.append(-model.log_prob(Batch(inputs, targets))[0].detach().numpy() / np.log(2))
        for j, (b, a) in enumerate(zip(before, after, strict=True)):
            if a == b + 1:
                totals[0] += bits[1][j]
                totals[1] += bits[0][a]
                totals[2] += 1
    return totals[0] / totals[2], totals[1] / totals[2], int(totals[2])


@pytest.mark.parametrize(
    ("kind", "strength", "damage"),
    [
        ("trimmed-start", 0.5, lambda i: i[max(1, round(len(i) / 2)) :] if len(i) > 1 else i),
        ("trimmed-end", 0.5, lambda i: i[: len(i) - max(1, round(len(i) / 2))] if i[1:] else i),
        ("omitted", 1.0, lambda i: []),
    ],
)
def test_intact_targets_are_those_that_follow_what_they_followed(
    kind: str, strength: float, damage: Callable[[list[int]], list[int]]
) -> None:
    rng = np.random.default_rng(1)
    model, text = ToyAttention().double(), lines([rng.choice([0, 2], n % 5) for n in range(80)])
    (result,) = measure_robustness(
        model, text, strengths={kind: (strength,)}, seeds=1
    ).perturbations
    bits, whole, count = _by_hand(model, text, damage)
    assert result.targets == count
    assert result.bits == pytest.approx(bits, rel=1e-6)
    assert result.intact == pytest.approx(whole, rel=1e-6)


def test_swapping_touches_three_targets_for_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """x0 x2 x1 x3 x4: x2, x1 and x3 follow something else; x0, x4 and the end do not."""
    once = Perturbation(lambda size, strength, rng: np.array([0, 2, 1, 3, 4]))
    monkeypatch.setitem(cast(dict[str, Perturbation], PERTURBATIONS), "swapped", once)
    text = lines([np.array([0, 2, 2, 0, 2])] * 30)
    (result,) = measure_robustness(
        ToyAttention(), text, strengths={"swapped": (1.0,)}, seeds=2
    ).perturbations
    assert result.targets == 2 * 30 * 3
    assert result.touched is not None


def test_a_trimmed_sequence_begins_with_the_boundary_and_a_piece_with_what_was_before() -> None:
    """A chain of memory 1 says of the first target of each piece what stood before it."""
    chain = Chain.random(1, seed=2)
    text = stream(chain.sample(600))
    result = measure_robustness(ExactChain(chain), text, strengths={"trimmed-start": (0.5,)})
    (perturbation,) = result.perturbations
    one = -np.log2(chain.conditional(1))
    inputs = np.concatenate([[1], text.tokens[:-1]])
    assert result.intact == pytest.approx(one[inputs, text.tokens].mean(), rel=1e-6)
    starts = np.concatenate([np.arange(15, 600, 30)])  # pieces of 30, of which 15 are missing
    assert perturbation.touched == pytest.approx(one[1, text.tokens[starts]].mean(), rel=1e-6)


# ---- as a whole ---------------------------------------------------------------------------------


def test_the_same_seed_measures_the_same_and_is_read_back_from_json() -> None:
    text, fractions = stream(RNG.integers(0, 3, 2000)), list[float]()
    a = measure_robustness(ToyAttention(), text, progress=fractions.append)
    b, c = (measure_robustness(ToyAttention(), text, seed=s) for s in (0, 1))
    assert a == b
    assert a != c
    record = from_json(Robustness, json.loads(json.dumps(a.to_json())), name="robustness")
    assert record == a
    assert record.metric == "bits per symbol"
    assert {result.kind for result in record.perturbations} == set(PERTURBATIONS)
    assert all(r.chance[0] <= r.intact <= r.chance[1] for r in record.perturbations)
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert summary(a).startswith(("Change in bits per symbol: ", "No more than chance"))


def test_a_limit_looks_at_pieces_from_all_over_the_text() -> None:
    """The first half of this text is what the model expects, the second is not."""
    second = np.random.default_rng(0).choice([1, 2], 20_000)
    text = stream(np.concatenate([np.zeros(20_000, int), second]))
    model = ExactChain(Chain(np.array([0.9, 0.05, 0.05])))
    part, whole = (
        measure_robustness(model, text, strengths={}, limit=n).intact for n in (8000, None)
    )
    assert whole == pytest.approx(-(np.log2(0.9) + np.log2(0.05)) / 2)
    assert part == pytest.approx(whole, rel=0.1)


@pytest.mark.parametrize(
    ("strengths", "seeds", "message"),
    [
        ({"melted": (0.1,)}, 1, "unknown perturbation 'melted': choose one of"),
        ({"omitted": (0.1, 1.5)}, 1, "from 0 to 1"),
        ({"omitted": (0.1,)}, 0, "seeds = 0"),
    ],
)
def test_unknown_settings_are_refused(
    strengths: dict[str, tuple[float, ...]], seeds: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        measure_robustness(
            ToyAttention(), stream(np.zeros(500, int)), strengths=strengths, seeds=seeds
        )


def test_too_little_data_and_other_symbols_are_refused() -> None:
    for tokens in (np.zeros(0, int), np.zeros(99, int)):
        with pytest.raises(DataError, match="give at least 100"):
            measure_robustness(ToyAttention(), stream(tokens))
    with pytest.raises(DataError, match="symbols 0 to 7, and the model knows 0 to 2"):
        measure_robustness(ToyAttention(), stream(np.arange(200) % 8))


# ---- pairs --------------------------------------------------------------------------------------


def test_for_pairs_a_metric_of_the_output_is_measured() -> None:
    """An output that is right as long as no element of its source is missing."""
    sources = [np.arange(n % 7 + 4) for n in range(60)]
    sizes = [len(x) for x in sources]

    def measure(damaged: list[np.ndarray]) -> np.ndarray:
        right = [len(x) == n for x, n in zip(damaged, sizes, strict=True)]
        return np.stack([np.array(right, float), np.ones(60)], 1)

    result = pair_robustness(sources, measure, ratio, name="right")
    assert result.intact == 1.0
    by_kind = {(t.kind, t.strength): t for t in result.perturbations}
    assert by_kind["swapped", 0.2].bits == by_kind["blocks", 1.0].bits == 1.0
    assert not by_kind["swapped", 0.2].is_significant
    assert by_kind["trimmed-end", 0.5].bits == 0.0
    remaining = by_kind["omitted", 0.1]
    assert remaining.bits == pytest.approx(np.mean([0.9**n for n in sizes]), abs=0.15)
    assert remaining.is_significant
    assert remaining.targets == 60
    assert "Change in right: " in summary(result)


def test_a_handful_of_pairs_says_nothing() -> None:
    with pytest.raises(DataError, match="give at least 10"):
        pair_robustness([np.arange(3)] * 9, lambda x: np.ones((9, 2)), ratio, name="right")
