"""The models of a comparison, and what each of them may spend."""

from typing import Any

import numpy as np
import pytest

import seriatim as st
from seriatim.comparison.entrants import (
    Budget,
    Entrant,
    Prepared,
    TooSmallError,
    name_entrants,
    prepare,
)
from seriatim.data.corpus import Corpus, build_corpus
from seriatim.data.sources import open_source
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError
from seriatim.metrics.cost import operations_per_symbol
from seriatim.models import ModelConfig
from seriatim.models.build import build_model
from seriatim.train.estimate import Estimate
from seriatim.train.loop import batches_of


@pytest.fixture(scope="module")
def text() -> tuple[Vocabulary, Corpus]:
    letters = np.random.default_rng(0).choice(list("abcdefgh\n"), 20_000)
    source = open_source(["".join(letters)], sequences="stream")
    vocabulary = fit_vocabulary("char", source.texts(), sequences="stream")
    return vocabulary, build_corpus(source, vocabulary)


def prepared(text: tuple[Vocabulary, Corpus], config: ModelConfig, **budget: Any) -> Prepared:
    symbols, corpus = text
    return prepare(
        Entrant(config=config),
        Budget(**budget),
        symbols,
        corpus,
        epochs_of_tokens=budget.get("tokens", 0) / corpus.num_scored,
        training={"batch_size": 4, "length": 32},
        seed=1,
        device="cpu",
    )


def trained_on(text: tuple[Vocabulary, Corpus], result: Prepared) -> float:
    """Symbols of all steps that the options ask for."""
    symbols, corpus = text
    model = build_model(result.lm.config, symbols.num_symbols, symbols.boundary)
    source = batches_of(model, corpus, result.options)
    assert result.options.steps is not None
    return result.options.steps * source.targets_per_step


def test_all_families_are_compared_unless_some_are_named() -> None:
    families = ["markov", "autoregressive", "rnn", "lstm", "gru", "transformer"]
    assert list(name_entrants(None)) == families
    assert list(name_entrants(["gru", "markov"])) == ["gru", "markov"]
    result = name_entrants({"small": st.LSTM(hidden_size=8), "large": Entrant(config=st.LSTM())})
    assert result["small"].config == st.LSTM(hidden_size=8)
    assert result["large"].config == st.LSTM()


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\\b", "x" * 101, "a\nb"])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a model"):
        name_entrants({name: st.LSTM()})


def test_no_model_and_an_unknown_family_are_refused() -> None:
    with pytest.raises(ConfigError, match="no model was given"):
        name_entrants({})
    with pytest.raises(ConfigError, match="no such model 'lsmt'; did you mean lstm"):
        name_entrants(["lsmt"])


def test_one_budget_is_given_or_it_is_two_minutes() -> None:
    assert Budget.of(minutes=None).minutes == 2.0
    assert Budget.of(tokens=100, parameters=10).kind == "tokens"
    assert Budget.of(parameters=10).kind == "parameters"
    with pytest.raises(ConfigError, match="minutes and tokens are two budgets"):
        Budget.of(minutes=1, tokens=1)
    for amount in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="give a number above 0"):
            Budget.of(operations=amount)


def test_a_budget_in_words() -> None:
    assert Budget(minutes=1).sentence() == "1 minute of training each"
    assert Budget(minutes=2, parameters=50_000).sentence() == (
        "2 minutes of training and 50,000 parameters each"
    )
    assert Budget(tokens=2_000_000).sentence() == "2,000,000 tokens each"
    assert Budget(parameters=50_000).sentence() == "50,000 parameters each"


@pytest.mark.parametrize(
    "config", [st.LSTM(hidden_size=8), st.Transformer(model_size=8, num_heads=2, context=16)]
)
def test_a_budget_of_tokens_is_spent_to_the_nearest_step(
    text: tuple[Vocabulary, Corpus], config: ModelConfig
) -> None:
    result = prepared(text, config, tokens=50_000)
    assert abs(trained_on(text, result) - 50_000) <= 4 * 32


def test_a_budget_of_operations_is_spent_to_the_nearest_step(
    text: tuple[Vocabulary, Corpus],
) -> None:
    """A step back costs twice a step forward, so a symbol is paid three times."""
    result = prepared(text, st.GRU(hidden_size=16), operations=3e8)
    symbols, _ = text
    model = build_model(result.lm.config, symbols.num_symbols, symbols.boundary)
    each = 3 * operations_per_symbol(model)
    assert abs(trained_on(text, result) * each - 3e8) <= 4 * 32 * each


def test_a_budget_of_parameters_sizes_what_is_trained_and_not_what_is_counted(
    text: tuple[Vocabulary, Corpus],
) -> None:
    symbols, _ = text
    result = prepared(text, st.LSTM(), parameters=9000).lm.config
    model = build_model(result, symbols.num_symbols, symbols.boundary)
    assert abs(sum(p.numel() for p in model.parameters()) - 9000) <= 180
    assert prepared(text, st.Markov(order=3), parameters=9000).lm.config == st.Markov(order=3)


@pytest.mark.parametrize("budget", [{"tokens": 100}, {"operations": 1e5}])
def test_a_budget_too_small_for_one_step_is_refused_with_both_numbers(
    text: tuple[Vocabulary, Corpus], budget: dict[str, float]
) -> None:
    with pytest.raises(TooSmallError, match=r"holds \d+ symbols, and one step .* takes 127"):
        prepared(text, st.LSTM(hidden_size=16), **budget)
    assert prepared(text, st.Markov(), **budget).estimate is None  # counting takes no steps


def test_minutes_that_one_step_takes_longer_than_are_refused_before_it(
    text: tuple[Vocabulary, Corpus],
) -> None:
    check = prepared(text, st.LSTM(hidden_size=8), minutes=0.01).estimate
    assert check is not None
    check(Estimate(10, 2, 1.1, 0, 0, 0))  # 0.55 seconds for a step, of 0.6
    with pytest.raises(TooSmallError, match=r"one step of training takes 0.7 seconds.* 0.6"):
        check(Estimate(10, 1, 0.7, 0, 0, 0))


def test_training_options_of_a_model_come_before_those_of_all(
    text: tuple[Vocabulary, Corpus],
) -> None:
    symbols, corpus = text
    entrant = Entrant(config=st.LSTM(), training={"learning_rate": 0.5})
    result = prepare(
        entrant,
        Budget(steps=7),
        symbols,
        corpus,
        epochs_of_tokens=0.0,
        training={"learning_rate": 0.1, "batch_size": 2},
        seed=3,
        device="cpu",
    )
    options = result.options
    assert (options.learning_rate, options.batch_size) == (0.5, 2)
    assert (options.steps, options.seed) == (7, 3)
