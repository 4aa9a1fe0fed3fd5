"""Sampling and beam search, on models with known results."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import Categorical
from seriatim.core.ensembles import Mixture, Product, em_weights
from seriatim.decode.beam import beam_search
from seriatim.decode.hypotheses import length_penalty
from seriatim.decode.sampling import Sampling, sample
from seriatim.decode.stream import Stream
from seriatim.errors import ConfigError
from tests.laws.toys import ToyAttention, ToyWindow


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


def test_a_stream_returns_the_surprisal_of_each_symbol() -> None:
    model = ToyWindow().double()
    stream = Stream(model)
    other = stream.fork()
    total = sum(stream.push(s) for s in (0, 2, 1, 0))
    with torch.no_grad():
        state, expected = model.start(1), 0.0
        for s in (0, 2, 1, 0):
            x = torch.tensor([s])
            expected -= float(model.predict(state).log_prob(x))
            state = model.step(state, x)
    assert total == pytest.approx(expected)
    assert other.push(0) == Stream(model).push(0), "a fork is independent"


def _no_bound(rank: NDArray[np.float64], *_: object) -> NDArray[np.float64]:
    return np.where(rank > -np.inf, np.inf, -np.inf)


def test_early_stopping_is_exact_under_a_length_penalty() -> None:
    """The bound by which the search stops must hold under a length penalty too."""
    for seed in range(20):
        model = ToyAttention().double()
        torch.manual_seed(seed)
        for p in model.parameters():
            torch.nn.init.normal_(p, std=1.5)
        for alpha in (0.0, 0.6, 1.0):
            few = beam_search(model, model.start(1), width=2, max_length=8, end=1, alpha=alpha)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("seriatim.decode.search.bounds", _no_bound)
                all_ = beam_search(model, model.start(1), width=2, max_length=8, end=1, alpha=alpha)
            assert [h.symbols for h in few] == [h.symbols for h in all_]
            assert [h.score for h in few] == pytest.approx([h.score for h in all_])


def test_a_result_cut_by_max_length_says_so() -> None:
    results = beam_search(ToyWindow(), ToyWindow().start(1), width=27, max_length=3, end=1)
    assert {h.is_ended for h in results} == {True, False}
    assert all(h.is_ended or len(h.symbols) == 3 for h in results)
    assert all(1 not in h.symbols for h in results)


def test_the_length_penalty_is_that_of_wu_et_al() -> None:
    assert length_penalty(1, 0.6) == 1.0
    assert length_penalty(7, 1.0) == pytest.approx(2.0)


class Forbid:
    """A scorer that forbids a symbol and rewards another."""

    def start(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size)

    def update(self, state: Tensor, x: Tensor) -> Tensor:
        return state + 1

    def scores(self, state: Tensor) -> Tensor:
        return torch.tensor([-math.inf, 0.0, 5.0]).expand(len(state), 3)

    def ceiling(self) -> float:
        return 5.0


def test_a_scorer_ranks_but_never_enters_log_prob() -> None:
    model = ToyWindow().double()
    results = beam_search(model, model.start(1), width=4, max_length=4, scorers=[(Forbid(), 1.0)])
    assert results
    for h in results:
        assert 0 not in h.symbols
        assert h.score == pytest.approx(h.log_prob + 5 * h.symbols.count(2))


def test_em_finds_the_weights_of_greatest_likelihood() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(2, 500).double() - torch.tensor([[1.0], [1.2]])
    best = em_weights(log_probs, steps=2000)

    def likelihood(w: float) -> float:
        mixed = torch.logsumexp(log_probs + torch.tensor([[w], [1 - w]]).log(), 0)
        return float(mixed.mean())

    grid = max((i / 1000 for i in range(1, 1000)), key=likelihood)
    assert float(best[0]) == pytest.approx(grid, abs=2e-3)


def test_members_must_share_their_symbols() -> None:
    for composed in (Mixture, Product):
        with pytest.raises(ConfigError, match="share their symbols"):
            composed([ToyWindow(3), ToyWindow(4)])
    with pytest.raises(ConfigError, match="not a distribution"):
        Mixture([ToyWindow(), ToyWindow()], [0.5, 0.6])


def test_the_state_of_a_mixture_is_the_states_of_its_members() -> None:
    mixture = Mixture([ToyWindow(), ToyAttention()])
    assert mixture.reach is None
    assert Mixture([ToyWindow(), ToyWindow()]).reach == 2
    assert tree.rows(mixture.start(4).carry) == 4
