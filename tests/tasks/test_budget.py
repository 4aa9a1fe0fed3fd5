"""What is chosen for a number of minutes, and what is said of counting."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.data.corpus import build_corpus
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.models.build import build_model
from seriatim.models.options.base import ModelConfig
from seriatim.tasks.budget_policy import (
    BudgetChoice,
    TextLength,
    Timed,
    choose,
    format_epochs,
    leaves_size_open,
)
from seriatim.tasks.counting import (
    beside_counting,
    counted_nats,
    counting_seconds,
    crossing_seconds,
)
from seriatim.train.callbacks.history import Evaluation, History
from seriatim.train.closed_form import ClosedForm
from seriatim.train.evaluation import mean_nats
from seriatim.train.loop import validation_pass
from seriatim.train.options import TrainingOptions, configure_training

TEXT = TextLength(symbols=1_000_000, sequences=1, is_stream=True)


def probe(config: ModelConfig, options: TrainingOptions) -> Timed:
    """A machine on which a step takes 1 us for each row and squared hidden unit, and 1 ms."""
    size = config.hidden_size  # type: ignore[attr-defined]
    rows, targets = options.batch_size, options.batch_size * options.length
    return Timed(1e-3 + 1e-8 * rows * size**2, targets, 8 * size**2)


def chosen(
    seconds: float,
    given: Mapping[str, Any] | None = None,
    text: TextLength = TEXT,
    *,
    may_resize: bool = True,
) -> BudgetChoice:
    return choose(
        st.LSTM(), configure_training, given or {}, text, seconds, probe, may_resize=may_resize
    )


def test_more_time_takes_larger_models_then_larger_batches_and_smaller_rates() -> None:
    short, minute, long = (chosen(seconds) for seconds in (5.0, 60.0, 1200.0))
    sizes = [choice.model["hidden_size"] for choice in (short, minute, long)]
    assert sizes == [128, 512, 512]  # of 1024 there would be 8 weights for each symbol
    rows = [choice.training["batch_size"] for choice in (short, minute, long)]
    assert rows == [16, 16, 128]
    assert short.training["learning_rate"] > long.training["learning_rate"]


def test_small_texts_keep_models_small() -> None:
    text = replace(TEXT, symbols=20_000)
    assert chosen(1200.0, text=text).model["hidden_size"] == 64


def test_what_was_given_is_never_touched() -> None:
    given = {"batch_size": 7, "learning_rate": 0.1, "warmup": 3, "length": 20}
    choice = chosen(60.0, given, may_resize=False)
    assert (choice.model, choice.training) == ({}, {})
    assert "batches of 7 x 20, learning rate 0.1, warm-up 3" in choice.sentence
    assert not leaves_size_open(st.LSTM(), {"hidden_size": 8})
    assert leaves_size_open(st.LSTM(), {"dropout": 0.1})


def test_lines_get_as_many_rows_as_hold_a_thousand_targets() -> None:
    text = TextLength(symbols=200_000, sequences=10_000, is_stream=False)
    choice = chosen(2.0, text=text)
    assert choice.training["batch_size"] == 64
    assert "length" not in choice.training


def test_a_pass_over_few_lines_or_symbols_has_some_updates() -> None:
    lines = TextLength(symbols=1_100, sequences=120, is_stream=False)
    assert chosen(20.0, text=lines).training["batch_size"] == 8  # 120 / 8 = 15 at most
    stream = TextLength(symbols=20_000, sequences=1, is_stream=True)
    assert chosen(1200.0, text=stream).training["batch_size"] == 32  # 64 x 64 symbols are a fifth


def test_numbers_of_epochs_are_written_as_people_do() -> None:
    assert [format_epochs(n) for n in (0.00019, 0.153, 1.53, 40.2, 2166.3)] == [
        "less than 0.01 epochs",
        "0.15 epochs",
        "1.5 epochs",
        "40 epochs",
        "2,166 epochs",
    ]


def test_a_fit_in_minutes_records_its_choice_and_is_repeated_bit_for_bit(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("so it goes and goes and so it ends, not so; " * 200)
    lm = st.LanguageModel("rnn", symbols="char").fit(text, minutes=0.05, seed=3)
    assert lm.training.choice is not None
    assert lm.training.choice["model"] == {"hidden_size": lm.config.hidden_size}  # type: ignore[attr-defined]
    fit = lm.training.fit
    assert fit is not None
    assert fit.options["learning_rate"] == lm.training.choice["training"]["learning_rate"]
    judging = lm.training.judging_fraction
    assert judging is not None
    assert 0.0 < judging < 1.0
    assert judging * lm.training.seconds == pytest.approx(
        fit.evaluating_seconds + lm.training.scoring_seconds
    )
    lm.save(tmp_path / "model")
    assert st.load(tmp_path / "model").training.judging_fraction == pytest.approx(judging)
    again = st.LanguageModel.unfitted(tmp_path / "model")
    assert again.model is None
    again.fit(text, options=fit.repetition)
    assert lm.model is not None
    assert again.model is not None
    weights = lm.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_options_as_they_are_choose_nothing(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("so it goes and goes and so it ends, not so; " * 100)
    lm = st.LanguageModel(st.RNN(hidden_size=8), symbols="char")
    lm.fit(text, options=TrainingOptions(minutes=0.01, batch_size=4))
    assert lm.training.choice is None


# ---- symbols -------------------------------------------------------------------------------------


def test_auto_symbols_are_those_that_look_advises(tmp_path: Path) -> None:
    sessions = tmp_path / "sessions.txt"
    rng = np.random.default_rng(0)
    lines = (" ".join(f"e{i}" for i in rng.integers(9, size=8)) for _ in range(100))
    sessions.write_text("\n".join(lines))
    model = st.Markov(order=2)
    events = st.LanguageModel(model, symbols="auto", sequences="line").fit(sessions)
    assert events.training.vocabulary is not None
    assert events.training.vocabulary.kind == "word"
    prose = tmp_path / "prose.txt"
    prose.write_text("It was late, and nobody came. The door, as ever, was open.\n" * 40)
    letters = st.LanguageModel(st.Markov(order=2), symbols="auto").fit(prose)
    assert letters.training.vocabulary is not None
    assert letters.training.vocabulary.kind == "char"


# ---- counting ------------------------------------------------------------------------------------


def history(level: float, power: float, noise: float = 0.0) -> History:
    """A run of 100 s whose validation loss is level t^-power."""
    rng = np.random.default_rng(1)
    evaluations = tuple(
        Evaluation(
            step=10 * i,
            epoch=0.1 * i,
            train_nats=1.0,
            valid_nats=level * (5.0 * i) ** -power * math.exp(noise * rng.normal()),
            learning_rate=0.1,
            gradient_norm=1.0,
            seconds=5.0 * i,
            is_best=True,
        )
        for i in range(1, 21)
    )
    return History(
        options={},
        steps=200,
        steps_done=200,
        steps_per_epoch=100,
        evaluate_every=10,
        evaluate_symbols=100,
        carried=True,
        stopped="finished",
        evaluations=evaluations,
        best_step=200,
        best_valid_nats=evaluations[-1].valid_nats,
        num_targets=1000,
        padding_fraction=0.0,
        seconds=100.0,
        tokens_per_second=1.0,
    )


def test_the_budget_that_turns_it_is_where_the_curve_meets_counting() -> None:
    run = history(2.0, 0.1)
    nats = 2.0 * 200.0**-0.1
    # By its own power after 200 s; by that of budgets, half of it, after four times its 100 s.
    assert crossing_seconds(run, nats) == pytest.approx((200.0, 400.0))
    sentence = beside_counting(run, nats)
    assert sentence is not None
    assert "it would catch up with a budget of 3.3 to 6.7 minutes" in sentence


def test_noise_widens_the_interval() -> None:
    nats = 2.0 * 200.0**-0.1
    quiet, noisy = (crossing_seconds(history(2.0, 0.1, noise), nats) for noise in (0.0, 0.005))
    assert quiet is not None
    assert noisy is not None
    assert noisy[0] < quiet[0]


@pytest.mark.parametrize("run", [history(2.0, 0.0), history(2.0, 0.01), history(2.0, -0.1)])
def test_a_flat_or_rising_curve_foretells_nothing(run: History) -> None:
    assert crossing_seconds(run, 1.0) is None
    sentence = beside_counting(run, 1.0)
    assert sentence is not None
    assert sentence.endswith("does not tell what budget it would need to catch up")


def test_a_run_that_overfits_is_said_to_need_text_and_not_time() -> None:
    sentence = beside_counting(replace(history(2.0, 0.0), best_step=20), 1.0)
    assert sentence is not None
    assert "rises from step 20 of 200 on: more text or --dropout would help" in sentence


def test_few_symbols_are_counted_by_a_shorter_order_too() -> None:
    """A hundred sessions of events, whose contexts of six are nearly all new."""
    rng = np.random.default_rng(0)
    words = ["read", "write", "seek"]
    lines = [" ".join(["open", *rng.choice(words, size=5), "close"]) for _ in range(120)]
    train, held_out = (st.open_source(part, sequences="line") for part in (lines[20:], lines[:20]))
    vocabulary = fit_vocabulary("word", train.texts(), sequences="line")
    corpora = [build_corpus(part, vocabulary, is_kept=False) for part in (train, held_out)]
    size = vocabulary.num_symbols, vocabulary.boundary
    valid = validation_pass(build_model(st.Markov(), *size), corpora[1], TrainingOptions())
    assert valid is not None
    found = counted_nats(corpora[0], valid, *size, limit=1000)
    for order in (3, 6):
        model = build_model(st.Markov(order=order), *size)
        assert isinstance(model, ClosedForm)
        model.fit_closed_form(corpora[0])
        assert found <= mean_nats(model, valid, limit=1000)


def test_nothing_is_said_where_the_network_wins() -> None:
    assert beside_counting(history(10.0, 0.4), 9.9) is None


def test_counting_takes_no_more_than_its_part_of_the_budget() -> None:
    class Corpus:
        num_tokens = 1_500_000

    corpus: Any = Corpus()
    assert counting_seconds(corpus, 1.0) == pytest.approx(1.0)
    assert counting_seconds(corpus, 0.1) == 0.0
    assert counting_seconds(corpus, None) == 0.0


# ---- pairs and labels ----------------------------------------------------------------------------


class Step(torch.nn.Module):
    """A step that takes as long as its batch is large."""


@pytest.mark.parametrize(
    ("seconds", "given", "training"),
    [
        (10.0, {}, {"token_budget": 512, "warmup": 85}),
        (1000.0, {}, {}),
        (10.0, {"token_budget": 4096, "warmup": 400}, {}),
    ],
)
def test_pairs_get_smaller_batches_and_less_warm_up_in_little_time(
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    given: Mapping[str, Any],
    training: Mapping[str, Any],
) -> None:
    from seriatim.tasks import budget_batches

    monkeypatch.setattr(budget_batches, "timed_step", lambda model, source, options: source)
    choice = budget_batches.choose_batches(
        lambda more: configure_training({"token_budget": 4096, "warmup": 400, **more}),
        given,
        seconds,
        lambda seed, corpus: Step(),  # type: ignore[arg-type, return-value]
        lambda options: (options.token_budget or 0) / 5e4,  # type: ignore[arg-type, return-value]
        "cpu",
    )
    assert choice.training == training


def test_a_labeller_and_a_translator_record_what_was_chosen(tmp_path: Path) -> None:
    pairs = [("ab" * (i % 5 + 1), "ba" * (i % 5 + 1)) for i in range(60)]
    translator = st.Translator("gru", symbols="char").fit(pairs, valid=pairs, minutes=0.02)
    assert translator.training.choice is not None
    assert "batches of" in translator.training.choice["sentence"]
    labelled = [("ab" * (i % 5 + 1), "even" if i % 2 else "odd") for i in range(60)]
    labeller = st.Labeller("rnn", symbols="char").fit(labelled, valid=labelled, minutes=0.02)
    assert labeller.training.choice is not None
