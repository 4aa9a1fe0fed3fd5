"""The hidden Markov model of symbols and of numbers: fits, filters, gaps, forecasts, bad input."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.core.forecasting import Ahead, FitsSeries, Smooths
from seriatim.errors import ConfigError, DataError
from seriatim.models.build import build_model, build_number_model
from seriatim.models.hmm import NumberHMM, SymbolHMM
from tests.models.earthquakes import EARTHQUAKES

TEXT = [f"abba cbbc {i:b} " * 6 for i in range(40)]


@dataclass(frozen=True)
class Corpus:
    tokens: np.ndarray
    offsets: np.ndarray
    is_stream: bool


@dataclass(frozen=True)
class Series:
    numbers: np.ndarray
    offsets: np.ndarray
    known: None = None


def series(*parts: np.ndarray) -> Series:
    columns = [part.reshape(len(part), -1).astype(float) for part in parts]
    return Series(np.concatenate(columns), np.cumsum([0, *map(len, parts)]))


def fitted_symbols(corpus: Corpus, num_symbols: int, **options: object) -> SymbolHMM:
    torch.manual_seed(0)
    model = build_model(st.HMM(**options), num_symbols, 0)
    assert isinstance(model, SymbolHMM)
    model.fit_closed_form(corpus)
    return model


def fitted_numbers(
    config: st.HMM, element: st.Numbers, *parts: np.ndarray
) -> tuple[NumberHMM, dict[str, object]]:
    torch.manual_seed(0)
    model = build_number_model(config, element, len(parts))
    assert isinstance(model, NumberHMM) and isinstance(model, FitsSeries)
    return model, model.fit_series(series(*parts))


def switching(seed: int, length: int = 400) -> np.ndarray:
    """Numbers around 0 or around 100, which stay for ten moments on average."""
    rng = np.random.default_rng(seed)
    state = (rng.random(length) < 0.1).cumsum() % 2
    return np.where(state == 0, rng.normal(0, 1, length), rng.normal(100, 5, length))


def test_it_finds_the_chain_that_made_a_stream() -> None:
    rng = np.random.default_rng(0)
    state = (rng.random(3000) < 0.05).cumsum() % 2
    tokens = np.where(state == 0, rng.integers(1, 3, 3000), rng.integers(3, 5, 3000))
    corpus = Corpus(tokens.astype(np.uint8), np.array([0, 3000]), True)
    model = fitted_symbols(corpus, 5, num_states=2, restarts=3)
    halves = model.symbols[:, 1:3].sum(-1).sort().values
    torch.testing.assert_close(halves, torch.tensor([0.0, 1.0]).double(), atol=0.01, rtol=0)
    stays = model.transition.diagonal()
    torch.testing.assert_close(stays, torch.full((2,), 0.95).double(), atol=0.02, rtol=0)
    states, _ = model.best_states(torch.from_numpy(tokens[None].astype(np.int64)))
    agreement = (states[0].numpy() == state).mean()
    assert max(agreement, 1 - agreement) > 0.98


def test_the_log_likelihood_of_the_fit_is_that_of_the_contract() -> None:
    tokens = np.random.default_rng(1).integers(1, 4, 60).astype(np.uint8)
    offsets = np.array([0, 20, 20, 37, 60])
    torch.manual_seed(0)
    model = build_model(st.HMM(num_states=3, restarts=2), 4, 0)
    assert isinstance(model, SymbolHMM)
    facts = model.fit_closed_form(Corpus(tokens, offsets, False))
    total = 0.0
    for start, end in itertools.pairwise(offsets):
        x = torch.from_numpy(tokens[start:end].astype(np.int64))[None]
        zero = torch.zeros(1, 1, dtype=torch.int64)
        total += float(
            model.log_prob(st.Batch(torch.cat([zero, x], 1), torch.cat([x, zero], 1))).sum()
        )
    assert facts["log_likelihood"] == pytest.approx(total, rel=1e-9)


def test_no_symbol_is_impossible_and_the_same_seed_gives_the_same_model() -> None:
    corpus = Corpus(np.array([1, 2, 1, 2, 1], np.uint8), np.array([0, 5]), True)
    models = [fitted_symbols(corpus, 6, num_states=2, restarts=2) for _ in range(2)]
    assert bool((models[0].symbols > 0).all())
    for name, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[name]), name


def test_an_interrupted_fit_keeps_what_it_has() -> None:
    def stop(sentence: str) -> None:
        if "iteration 2" in sentence:
            raise KeyboardInterrupt

    model = build_model(st.HMM(num_states=2), 4, 0)
    assert isinstance(model, SymbolHMM)
    tokens = np.random.default_rng(0).integers(1, 4, 200).astype(np.uint8)
    facts = model.fit_closed_form(Corpus(tokens, np.array([0, 200]), True), stop)
    assert facts["interrupted"] and facts["iterations"] == 2


def test_a_language_model_of_it_is_saved_generates_and_streams(tmp_path: object) -> None:
    lm = st.LanguageModel(st.HMM(num_states=3, restarts=2), symbols="char").fit(TEXT, seed=0)
    lm.save(f"{tmp_path}/m")
    again = st.load(f"{tmp_path}/m")
    assert again.generate("ab", 20, seed=3) == lm.generate("ab", 20, seed=3)
    assert again.score(TEXT[:3]).bits_per_symbol == lm.score(TEXT[:3]).bits_per_symbol
    stream = again.stream()
    stream.push("abb")
    with st.record(again.model) as trace:
        again.score(TEXT[:1])
    assert trace["state"].shape[-1] == 3


def test_poisson_states_of_the_earthquakes() -> None:
    """The figures of Zucchini and MacDonald 2009, and the rates of their two states."""
    config = st.HMM(num_states=2, tolerance=1e-9)
    model, facts = fitted_numbers(config, st.Numbers(support="count"), EARTHQUAKES)
    assert facts["log_likelihood"] == pytest.approx(-341.8787, abs=1e-3)
    torch.testing.assert_close(
        model.rate[:, 0], torch.tensor([15.42, 26.01]).double(), atol=0.01, rtol=0
    )


def test_normal_states_in_the_units_of_the_data_with_gaps() -> None:
    y = np.stack([switching(0), 1e4 + 3 * switching(0)], 1)
    y[np.random.default_rng(1).random(y.shape) < 0.2] = np.nan
    model, facts = fitted_numbers(st.HMM(num_states=2), st.Numbers(2), y)
    torch.testing.assert_close(
        model.mean, torch.tensor([[0.0, 1e4], [100.0, 10_300.0]]).double(), atol=3, rtol=0
    )
    x = st.NumberInput(st.Values.of(torch.from_numpy(y)[None]))
    first = model.first(1).values
    inputs = st.NumberInput(
        st.Values(
            torch.cat([first.numbers, x.values.numbers[:, :-1]], 1),
            torch.cat([first.is_observed, x.values.is_observed[:, :-1]], 1),
        )
    )
    scored = model.log_prob(st.Batch(inputs, x.values)).sum()
    assert facts["log_likelihood"] == pytest.approx(float(scored), rel=1e-9)


def test_forecasts_are_those_of_steps_with_gaps() -> None:
    y = switching(2, 100)
    model, _ = fitted_numbers(st.HMM(num_states=2), st.Numbers(), y)
    assert isinstance(model, Ahead)
    state = model.update(
        model.start(1), st.NumberInput(st.Values.of(torch.from_numpy(y)[None, :, None]))
    )
    found = model.ahead(state, 3)
    missing = st.NumberInput(st.Values.of(torch.full((1, 1), torch.nan).double()))
    for h in range(3):
        torch.testing.assert_close(found.mean[:, h], model.predict(state).mean)
        state = model.step(state, missing)


def test_smoothing_fills_a_gap_from_both_sides() -> None:
    y = switching(4)
    model, _ = fitted_numbers(st.HMM(num_states=2), st.Numbers(), y)
    assert isinstance(model, Smooths)
    low, high = np.zeros(3), np.full(3, 100.0)
    x = torch.from_numpy(np.array([np.nan, *low, np.nan, *low, *high, np.nan, *low, np.nan]))
    inputs = st.NumberInput(st.Values.of(x[None, :, None]))
    found = model.smooth(inputs, None)
    assert found.mean.shape == (1, len(x) - 1, 1)
    mean = found.mean[0, :, 0]
    assert torch.equal(mean[~x[1:].isnan()], x[1:][~x[1:].isnan()])
    assert abs(float(mean[3])) < 5 and 25 < float(mean[10]) < 75
    assert bool((found.variance[0, :3] == 0).all()) and float(found.variance[0, 10]) > 1000
    shorter = model.smooth(inputs, torch.tensor([8]))
    alone = model.smooth(st.NumberInput(st.Values.of(x[None, :8, None])), None)
    torch.testing.assert_close(shorter.mean[:, :7], alone.mean)
    u = torch.full_like(found.mean, 0.5)
    assert bool((found.cdf(found.quantile(u)) >= 0.5 - 1e-9).all())


def test_a_value_that_no_state_explains_leaves_the_belief() -> None:
    model, _ = fitted_numbers(st.HMM(num_states=2), st.Numbers(), switching(3))
    state = model.start(1)
    after = model.step(
        state, st.NumberInput(st.Values.of(torch.full((1, 1), 1e300, dtype=torch.float64)))
    )
    assert bool(model.predict(after).mean.isfinite().all())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="of numbers, and here are symbols"):
        build_model(st.HMM(emission="poisson"), 4, 0)
    with pytest.raises(ConfigError, match="known ahead"):
        build_number_model(st.HMM(), st.Numbers(1, num_known=1), 1)
    model = build_number_model(st.HMM(num_states=2), st.Numbers(support="count"), 2)
    assert isinstance(model, NumberHMM)
    for bad, message in ((np.array([1.5]), "no count"), (np.array([np.nan]), "no observed")):
        with pytest.raises(DataError, match=f"series 1 has .*{message.split()[-1]}"):
            model.fit_series(series(EARTHQUAKES, bad))


def test_a_forecaster_takes_counts_as_counts() -> None:
    found = st.Forecaster(st.HMM(num_states=2, restarts=2)).fit(EARTHQUAKES)
    assert isinstance(found.model, NumberHMM) and found.model.is_poisson
    st.Forecaster(st.LinearGaussian()).fit(EARTHQUAKES)
