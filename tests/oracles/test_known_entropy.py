"""Every family on sources of known entropy: never below the true entropy, and close to it.

Model and source are compared symbol by symbol on the same held-out text, so that the randomness of
the text cancels: the mean of model minus source is a divergence, which is not negative.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import seriatim as st
from seriatim.data.corpus import Corpus
from seriatim.metrics.likelihood import surprisals
from seriatim.models import ModelConfig
from seriatim.models.build import build_model
from seriatim.train.closed_form import ClosedForm
from seriatim.train.loop import fit
from seriatim.train.options import configure_training
from seriatim.train.seeding import seeded
from tests.oracles.sources import Arma, Source, markov_chain, markov_entropy_rate, two_coins

TRAIN, VALID, TEST = 60_000, 2_000, 6_000
BOUNDARY = 1  # an ordinary symbol, like the line end of a stream

CONFIGS: dict[str, ModelConfig] = {
    "markov": st.Markov(order=5),
    "autoregressive": st.Autoregressive(window=6, embedding_size=8, hidden_size=64),
    "rnn": st.RNN(hidden_size=48),
    "lstm": st.LSTM(hidden_size=48),
    "gru": st.GRU(hidden_size=48),
    "transformer": st.Transformer(model_size=32, num_layers=1, num_heads=2, context=16),
}


@dataclass(frozen=True, eq=False)
class Sampled:
    """A source, and samples from it for training, validation and test."""

    truth: Source
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]


def _sampled(name: str) -> Sampled:
    arma = Arma()
    truth = {"chain": markov_chain(2), "coins": two_coins(), "arma": arma.on_grid()}[name]
    origin: Any = arma if name == "arma" else truth
    return Sampled(truth, *(origin.sample(n, i) for i, n in enumerate((TRAIN, VALID, TEST))))


SOURCES = {name: _sampled(name) for name in ("chain", "coins", "arma")}


def bits_above_truth(config: ModelConfig, data: Sampled, steps: int = 150) -> NDArray[np.float64]:
    """(N,) bits of a fitted model minus bits of the source, for every symbol of the test text."""
    train, valid, test = (
        Corpus.from_tokens([part], is_stream=True) for part in (data.train, data.valid, data.test)
    )
    with seeded(torch.device("cpu"), 0):
        model = build_model(config, max(data.truth.num_symbols, 2), BOUNDARY)
    if isinstance(model, ClosedForm):
        model.fit_closed_form(train)
    else:
        budget = {"steps": steps, "batch_size": 16, "length": 64, "evaluate_every": steps}
        options = configure_training({"learning_rate": 5e-3, "precision": "float32", **budget})
        fit(model, train, valid, options)
    nats, _ = surprisals(model, test)
    return nats.astype(np.float64) / np.log(2) - data.truth.bits(data.test)


def _mean_and_error(values: NDArray[np.float64], block: int = 200) -> tuple[float, float]:
    """The mean, and its standard error from block means."""
    means = values[: len(values) // block * block].reshape(-1, block).mean(1)
    return float(values.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))


# ---- families -----------------------------------------------------------------------------------

# Bits per symbol above the optimum after so short a training; attention learns more slowly.
CLOSE = dict.fromkeys(CONFIGS, 0.02) | {"transformer": 0.06}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SOURCES))
@pytest.mark.parametrize("family", list(CONFIGS))
def test_no_family_beats_the_source_and_each_comes_close(family: str, name: str) -> None:
    mean, error = _mean_and_error(bits_above_truth(CONFIGS[family], SOURCES[name]))
    assert mean > -4 * error
    assert mean < CLOSE[family]


@cache
def _deep() -> Sampled:
    """A long sample of a chain of order four."""
    truth = markov_chain(4)
    return Sampled(truth, *(truth.sample(n, i) for i, n in enumerate((300_000, 1, 30_000))))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
def test_an_n_gram_reaches_the_conditional_entropy_of_its_context(
    order: int,
) -> None:
    data = _deep()
    truth = data.truth
    above = bits_above_truth(st.Markov(order=order), data)
    expected = truth.conditional_entropy(order - 1) - markov_entropy_rate(truth)
    mean, error = _mean_and_error(above)
    assert mean == pytest.approx(expected, abs=4 * error + 0.004)
    if order > 4:
        assert mean < 0.005  # the estimation error of 81 rows


def test_a_model_with_too_short_a_memory_is_measurably_worse_than_the_source() -> None:
    data = SOURCES["chain"]
    mean, error = _mean_and_error(bits_above_truth(st.Markov(order=2), data))
    expected = data.truth.conditional_entropy(1) - markov_entropy_rate(data.truth)
    assert mean > 10 * error
    assert mean == pytest.approx(expected, abs=0.02)


# ---- the sources themselves ---------------------------------------------------------------------


@pytest.mark.parametrize("order", range(5))
def test_the_entropy_rate_of_a_chain_agrees_with_enumeration(order: int) -> None:
    chain = markov_chain(order)
    exact = markov_entropy_rate(chain)
    assert chain.block_bounds(order + 1) == pytest.approx((exact, exact), abs=1e-9)
    entropies = [chain.conditional_entropy(k) for k in range(order + 2)]
    assert entropies[order] == pytest.approx(exact) == entropies[order + 1]
    assert all(a > b + 1e-3 for a, b in pairwise(entropies[: order + 1]))


def test_a_chain_of_order_one_has_the_textbook_entropy() -> None:
    source = Source(np.array([[[0.9, 0.0], [0.2, 0.0]], [[0.0, 0.1], [0.0, 0.8]]]))
    h = [-(p * np.log2(p) + (1 - p) * np.log2(1 - p)) for p in (0.1, 0.2)]
    assert source.stationary == pytest.approx([2 / 3, 1 / 3])
    assert markov_entropy_rate(source) == pytest.approx(2 / 3 * h[0] + 1 / 3 * h[1])


def test_the_bounds_of_a_hidden_source_converge() -> None:
    source = two_coins()
    bounds = [source.block_bounds(n) for n in (2, 4, 8, 12)]
    for (lower, upper), (below, above) in pairwise(bounds):
        assert lower < below <= above < upper
    lower, upper = source.rate_bounds()
    assert upper - lower < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SOURCES))
def test_samples_have_the_entropy_rate_of_their_source(name: str) -> None:
    data = SOURCES[name]
    mean, error = _mean_and_error(data.truth.bits(data.test))
    low, high = (
        (data.truth.conditional_entropy(7),) * 2 if name == "arma" else data.truth.rate_bounds(1e-5)
    )
    assert low - 4 * error < mean < high + 4 * error


def test_a_quantized_arma_lies_between_its_bounds_and_the_grid_is_fine_enough() -> None:
    arma = Arma()
    entropies = [arma.on_grid().conditional_entropy(k) for k in range(5)]
    assert all(a > b for a, b in pairwise(entropies))
    assert arma.known_past_entropy() < entropies[-1]
    rough, fine = (arma.on_grid(cells).bits(SOURCES["arma"].test[:2000]) for cells in (160, 320))
    assert abs(rough.mean() - fine.mean()) < 1e-4


def test_finer_cuts_approach_the_differential_entropy() -> None:
    """H(symbol | past) + log2(cell) tends to the differential entropy of e, 2.047 bits."""
    fine = Arma(cuts=tuple(np.arange(-14, 14.01, 0.25)))
    assert fine.known_past_entropy() + np.log2(0.25) == pytest.approx(fine.entropy_rate, abs=0.01)
