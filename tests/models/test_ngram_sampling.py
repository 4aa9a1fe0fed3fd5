"""Sampling and top-k without whole rows, against whole rows."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from seriatim.core.distributions import Discrete, inverse_cdf, top_k
from seriatim.models import Markov
from seriatim.models.markov import BackoffDistribution, MarkovModel
from seriatim.models.ngram import table as table_module
from seriatim.models.ngram.backoff_model import BackoffModel
from seriatim.models.ngram.sampling import as_mixture, sample_bisection
from seriatim.models.ngram.table import NgramTable

V, BOUNDARY = 9, 1
METHODS = ["kneser-ney", "witten-bell", "add-k", "stupid-backoff", "maximum-likelihood"]


@dataclass(frozen=True)
class Lines:
    tokens: np.ndarray
    offsets: np.ndarray
    is_stream: bool = False


def fitted(order: int, smoothing: str = "kneser-ney", **options: object) -> MarkovModel:
    rng = np.random.default_rng(order)
    p = 1 / np.arange(1, V)
    lines = [rng.choice(np.delete(np.arange(V), 1), 9, p=p / p.sum()) for _ in range(40)]
    model = MarkovModel(Markov(order=order, smoothing=smoothing, **options), V, BOUNDARY)
    tokens = np.concatenate(lines)
    model.fit_closed_form(Lines(tokens, np.cumsum([0, *map(len, lines)])))
    return model


def contexts(model: MarkovModel, number: int = 40) -> BackoffDistribution:
    """The model after random symbols: contexts seen and not, of every length."""
    x = torch.randint(V, (number, 6), generator=torch.Generator().manual_seed(0))
    return model.emit(model.advance(model.empty(number), x, None)[0])


@pytest.mark.parametrize("smoothing", METHODS)
@pytest.mark.parametrize("order", [1, 2, 4])
def test_each_symbol_is_sampled_on_a_fraction_of_the_unit_interval_equal_to_its_probability(
    order: int, smoothing: str
) -> None:
    model = fitted(order, smoothing)
    grid = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    distribution = contexts(model, 5)
    rows = distribution.dense().exp().flatten(0, 1)
    for nodes, row in list(zip(distribution.nodes.flatten(0, 1), rows, strict=True))[::7]:
        drawn = model.emit(nodes.expand(4000, -1)).sample(grid)
        fraction = torch.bincount(drawn, minlength=V) / 4000
        # Each end of an interval is met to half a step, and a symbol has at most `order` intervals.
        torch.testing.assert_close(fraction.double(), row, rtol=0, atol=(order + 1) / 4000)


VARIANTS = [
    *({"smoothing": smoothing} for smoothing in METHODS),
    {"prune": (0, 1)},
    {"prune_entropy": 1e-2},
    {"quantize_bits": 4},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_every_method_is_sampled_without_rows(
    options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution = contexts(fitted(3, **options))
    monkeypatch.setattr(NgramTable, "rows", None)
    for u in (0.0, 0.3, 1 - 1e-16):
        drawn = distribution.sample(torch.full((40, 6), u, dtype=torch.float64))
        assert bool(((drawn >= 0) & (drawn < V)).all())


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("order", [2, 4])
def test_bisecting_the_vocabulary_gives_the_symbol_of_the_whole_row(
    order: int, options: dict
) -> None:
    model = fitted(order, **options)
    distribution = contexts(model)
    u = torch.rand(40, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    nodes = distribution.nodes.flatten(0, 1).numpy()
    drawn = sample_bisection(model.table, as_mixture(model.table), nodes, u.flatten().numpy())
    np.testing.assert_array_equal(drawn, inverse_cdf(distribution.dense(), u).flatten())


@pytest.mark.parametrize("smoothing", ["kneser-ney", "stupid-backoff"])
def test_a_sample_does_not_depend_on_the_rows_beside_it(smoothing: str) -> None:
    model = fitted(3, smoothing)
    distribution = contexts(model)
    u = torch.rand(40, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = distribution.sample(u)
    pairs = zip(distribution.nodes[:, 0], u[:, 0], strict=True)
    alone = [model.emit(nodes[None]).sample(one[None]) for nodes, one in pairs]
    assert torch.equal(together[:, 0], torch.cat(alone))


def test_an_improper_mixture_is_sampled_by_its_probabilities_and_without_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """p(2 | 0) = 0.1 is less than what the backoff weight 0.8 would give it: 0.8 · 0.4."""
    key = np.array([(0 << 2) | 2, (0 << 2) | 3])
    p = np.log10([0.2, 0.2, 0.4, 0.2, 0.1, 0.42])
    weight = np.log10((1 - 0.52) / (1 - 0.6))
    table = NgramTable(2, 4)
    table.fill(BackoffModel(np.array([0, 4, 6]), key, p, np.array([weight, 0.0, 0.0, 0.0])))
    assert not as_mixture(table).is_proper
    monkeypatch.setattr(NgramTable, "rows", None)
    grid = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn = BackoffDistribution(table, torch.zeros(1000, 1, dtype=torch.int64)).sample(grid)
    fraction = torch.bincount(drawn, minlength=4) / 1000
    torch.testing.assert_close(fraction, torch.tensor([0.24, 0.24, 0.1, 0.42]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("smoothing", ["kneser-ney", "witten-bell", "maximum-likelihood", "add-k"])
def test_interpolated_methods_are_proper_mixtures(smoothing: str) -> None:
    assert as_mixture(fitted(3, smoothing).table).is_proper


@pytest.mark.parametrize("smoothing", METHODS)
@pytest.mark.parametrize("k", [1, 3, V, V + 5])
def test_the_top_k_are_those_of_the_whole_row_ties_included(k: int, smoothing: str) -> None:
    distribution = contexts(fitted(3, smoothing))
    for found, expected in zip(distribution.top(k), top_k(distribution.dense(), k), strict=True):
        assert torch.equal(found, expected)


def test_look_ups_by_bisection_and_by_index_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    table = fitted(4).table
    monkeypatch.setattr(table_module, "_MANY", 0)  # never build an index
    grams = np.array(list(itertools.product(range(V), repeat=2)))
    by_search = table.find(grams[:, 0], grams[:, 1])
    one_by_one = [table.find_one(prefix, symbol) for prefix, symbol in grams.tolist()]
    assert table._index is None
    np.testing.assert_array_equal(by_search, one_by_one)
    monkeypatch.setattr(table_module, "_MANY", 10**9)
    by_index = table.find(grams[:, 0], grams[:, 1])
    assert table._index is not None
    np.testing.assert_array_equal(by_search, by_index)
    assert (by_search < 0).any()


def test_log_prob_of_any_target_agrees_with_the_whole_row() -> None:
    model = fitted(5)
    generator = torch.Generator().manual_seed(2)
    x, y = (torch.randint(V, (30, 8), generator=generator) for _ in range(2))
    distribution: Discrete = model.emit(model.advance(model.empty(30), x, None)[0])
    expected = distribution.dense().gather(-1, y[..., None])[..., 0]
    torch.testing.assert_close(distribution.log_prob(y), expected, rtol=0, atol=1e-13)
