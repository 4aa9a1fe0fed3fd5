"""Scores of a fitted model cost little: of a sample that is stated, or of all of the text."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import seriatim as st
from seriatim.metrics.pieces import Coverage, SampleLimit
from seriatim.tasks import scoring
from seriatim.tasks.scoring import final_limit
from seriatim.tasks.text import coverage_line
from seriatim.train.callbacks.history import History
from seriatim.train.options import TrainingOptions

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "a", "mat", "and", "then"]


def _lines(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, 8)) for _ in range(count)]


@pytest.fixture(scope="module")
def lm() -> st.LanguageModel:
    config = st.LSTM(hidden_size=8, embedding_size=8)
    text = _lines(300)
    return st.LanguageModel(config, sequences="stream").fit(text, valid=text, test=text, steps=3)


def test_a_sample_of_the_text_has_its_own_characters_and_says_so(lm: st.LanguageModel) -> None:
    text = _lines(1500)
    whole = lm.score(text)
    sample = lm.score(text, limit=whole.symbols // 2)
    assert whole.coverage.every == 1
    assert sample.coverage.every == 2
    assert sample.symbols == sample.characters < whole.symbols
    assert sample.coverage.fraction == pytest.approx(sample.symbols / whole.symbols)
    assert sample.bits_per_character == pytest.approx(sample.bits_per_symbol)
    assert sample.bits_per_symbol == pytest.approx(whole.bits_per_symbol, rel=0.02)
    assert any("of the text, in" in line for line in lm.describe_score(sample))


def test_pieces_say_nearly_what_one_state_says(lm: st.LanguageModel) -> None:
    text = _lines(1500)
    pieces, exact = lm.score(text), lm.score(text, exact=True)
    assert pieces.coverage.pieces is not None
    assert not pieces.coverage.is_exact
    assert exact.coverage == Coverage()
    assert pieces.bits_per_symbol == pytest.approx(exact.bits_per_symbol, abs=1e-4)


def test_fit_scores_a_sample_unless_all_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "AT_LEAST", 500)
    text = _lines(300)
    config = st.LSTM(hidden_size=8, embedding_size=8)
    lm = st.LanguageModel(config).fit(text, valid=text, test=text, steps=3)
    assert {s.coverage.every for s in lm.training.scores.values()} == {32}
    full = st.LanguageModel(config).fit(text, valid=text, test=text, steps=3, full_scores=True)
    assert full.training.scores["valid"].coverage == Coverage()
    counted = st.LanguageModel(st.Markov(order=2)).fit(text, valid=text, test=text)
    assert counted.training.scores["test"].coverage == Coverage()


def test_what_was_scored_is_saved(
    lm: st.LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm.training = lm.training.with_score("test", lm.score(_lines(1500), limit=20_000))
    lm.save(tmp_path / "model")
    loaded = st.LanguageModel.load(tmp_path / "model")
    assert loaded.training.scores["test"].coverage == lm.training.scores["test"].coverage
    assert loaded.training.scores["test"].coverage.every > 1


def test_scoring_takes_a_twentieth_of_the_minutes_or_a_tenth_of_what_was_trained_on() -> None:
    history = History(
        **{f.name: None for f in dataclasses.fields(History)} | {"num_targets": 10**7}
    )
    assert final_limit(TrainingOptions(minutes=2), history, 2) == SampleLimit(seconds=3)
    assert final_limit(TrainingOptions(steps=9), history, 2) == SampleLimit(symbols=10**6)
    assert final_limit(TrainingOptions(), None, 2) is None


def test_coverage_is_one_line_for_people() -> None:
    assert coverage_line(Coverage()) == "on all of the text (exact)"
    part = Coverage(fraction=0.0412, every=16, pieces=100, warmup=256, is_exact=False)
    assert coverage_line(part, "validation text") == (
        "on 4 % of the validation text, in 100 pieces, each read after a warm-up of 256 symbols"
    )
