"""Sampling, on models with known results."""

import itertools

import pytest
import torch
from torch import Tensor

from seriatim.core.distributions import Categorical
from seriatim.decode.greedy import greedy_search
from seriatim.decode.sampling import Sampling, sample, sample_sequences
from seriatim.errors import ConfigError
from tests.decode.reference import END, assert_same, random_attention, row_of, sources
from tests.laws.toys import ToyAttention


def _draw(model: ToyAttention, rows: int, steps: int, **options: object) -> Tensor:
    with torch.no_grad():
        stream = sample(model, model.start(rows), **options)  # type: ignore[arg-type]
        return torch.stack([x for x, _ in itertools.islice(stream, steps)], 1)


def test_a_row_samples_the_same_in_any_batch() -> None:
    model = ToyAttention().double()
    together = _draw(model, 5, 30, seed=3)
    for row in (0, 4):
        alone = _draw(model, 1, 30, seed=3, row_ids=torch.tensor([row]))
        assert torch.equal(alone[0], together[row])
    assert not torch.equal(together[0], together[1])


def test_samples_have_the_frequencies_of_the_model() -> None:
    """4,000 rows of length 2 against exact probabilities: chi-square at 8 degrees of freedom below
    its 0.9999 quantile, 31.8."""
    model = ToyAttention().double()
    drawn = _draw(model, 4000, 2)
    counts = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9)
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    with torch.no_grad():
        state = model.start(9)
        p = model.predict(state).log_prob(pairs[:, 0])
        p = p + model.predict(model.step(state, pairs[:, 0])).log_prob(pairs[:, 1])
    expected = p.exp() * 4000
    assert float(((counts - expected) ** 2 / expected).sum()) < 31.8


def test_sampling_can_be_continued() -> None:
    model = ToyAttention().double()
    whole = _draw(model, 2, 20, seed=1)
    with torch.no_grad():
        state = model.update(model.start(2), whole[:, :7])
        rest = sample(model, state, seed=1, first_step=7)
        again = torch.stack([x for x, _ in itertools.islice(rest, 13)], 1)
    assert torch.equal(again, whole[:, 7:])


def test_filters_keep_the_documented_symbols() -> None:
    d = Categorical(torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64).log())

    def kept(**options: float) -> list[float]:
        p = Sampling(**options).reshape(d).dense().exp()[0]  # type: ignore[arg-type]
        return [round(v, 6) for v in p.tolist()]

    assert kept(top_k=2) == [round(4 / 7, 6), round(3 / 7, 6), 0, 0]
    assert kept(top_p=0.4) == [1, 0, 0, 0]
    assert kept(top_p=0.41) == [round(4 / 7, 6), round(3 / 7, 6), 0, 0]
    assert kept(min_p=0.49) == [round(4 / 9, 6), round(3 / 9, 6), round(2 / 9, 6), 0]
    assert kept(temperature=0) == [1, 0, 0, 0]
    squared = [0.16, 0.09, 0.04, 0.01]
    assert kept(temperature=0.5) == [round(v / 0.3, 6) for v in squared]
    assert Sampling().reshape(d) is d, "without filters: the lazy distribution itself"


@pytest.mark.parametrize(
    "options", [{"temperature": -1}, {"top_k": 0}, {"top_p": 0.0}, {"min_p": 1.5}]
)
def test_impossible_filters_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Sampling(**options)  # type: ignore[arg-type]


def test_samples_do_not_depend_on_the_batch_or_the_number_of_samples() -> None:
    model = random_attention(0, std=0.5)
    state = sources(model, 6)
    ids = torch.tensor([10, 11, 12, 13, 14, 15])
    limits = torch.tensor([5, 20, 0, 9, 9, 9])
    many = sample_sequences(
        model, state, num_samples=4, max_length=limits, end=END, seed=3, row_ids=ids
    )
    for i in (0, 1, 2, 5):
        one = row_of(state, i)
        few = sample_sequences(
            model,
            one,
            num_samples=2,
            max_length=limits[i : i + 1],
            end=END,
            seed=3,
            row_ids=ids[i : i + 1],
        )
        assert_same(few[0], many[i][:2])
    assert len({h.symbols for h in many[1]}) > 1


def test_a_sample_has_the_log_prob_of_the_model() -> None:
    model = random_attention(5, std=0.5)
    state = model.start(2)
    for row in sample_sequences(
        model, state, num_samples=5, max_length=6, end=END, sampling=Sampling(temperature=2.0)
    ):
        for h in row:
            total, at = 0.0, model.start(1)
            for x in [*h.symbols, END] if h.is_ended else h.symbols:
                with torch.no_grad():
                    total += float(model.predict(at).log_prob(torch.tensor([x])))
                    at = model.step(at, torch.tensor([x]))
            assert h.log_prob == h.score == pytest.approx(total)


def test_samples_of_temperature_zero_are_greedy() -> None:
    model = random_attention(6)
    state = sources(model, 3)
    drawn = sample_sequences(
        model, state, num_samples=2, max_length=7, end=END, sampling=Sampling(temperature=0)
    )
    for h, row in zip(greedy_search(model, state, max_length=7, end=END), drawn, strict=True):
        assert row[0].symbols == row[1].symbols == h.symbols
