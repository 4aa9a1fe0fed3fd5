"""Effective context and robustness of fitted models on texts and pairs."""

from pathlib import Path

import pytest

import seriatim as st
from seriatim.analysis.context.text import summary
from seriatim.errors import ConfigError, DataError, SymbolError

TEXT = "the cat sat on the mat. the dog sat on the cat, 12 times!\n" * 60


@pytest.fixture(scope="module")
def lm() -> st.LanguageModel:
    source = st.open_source([TEXT], sequences="stream")
    return st.LanguageModel(st.Markov(order=4, smoothing="witten-bell")).fit(source, valid=source)


@pytest.fixture(scope="module")
def translator() -> st.Translator:
    result = st.Translator(st.Seq2Seq(encoder="gru", decoder="gru", model_size=16), symbols="char")
    return result.fit(PAIRS, valid=PAIRS, steps=3)


WORDS = ["".join("abcd"[n // 4**i % 4] for i in range(4)) for n in range(0, 256, 3)]
PAIRS = [(w, w[::-1]) for w in WORDS]


def test_a_language_model_measures_how_far_back_it_looks(lm: st.LanguageModel) -> None:
    result = lm.effective_context([TEXT], contexts=(1, 2, 3, 8), categories=True)
    assert result.reach == 3
    assert result.seen_reach == 3
    assert result.effective is not None
    assert 1 <= result.effective <= 3
    assert {"ends", "letters", "spaces", "digits", "punctuation"} == set(result.categories)
    assert "Its declared reach is 3" in summary(result)
    score = lm.score([TEXT])
    assert result.curve.full == pytest.approx(score.bits_per_symbol, rel=1e-6)


def test_the_bits_are_those_of_the_score_up_to_the_limit(lm: st.LanguageModel) -> None:
    result = lm.effective_context([TEXT], contexts=(1, 3), limit=1000)
    assert result.curve.targets == 1000


def test_a_language_model_measures_what_perturbations_do(lm: st.LanguageModel) -> None:
    result = lm.robustness([TEXT], strengths={"omitted": (0.0, 0.2)})
    unharmed, harmed = result.perturbations
    assert unharmed.bits == pytest.approx(unharmed.intact)
    assert not unharmed.is_significant
    assert harmed.bits > harmed.intact
    assert harmed.is_significant


def test_text_of_another_kind_is_refused(lm: st.LanguageModel) -> None:
    with pytest.raises(SymbolError, match="unknown to the model"):
        lm.effective_context(["РУССКИЙ ТЕКСТ " * 30])
    with pytest.raises(DataError, match="give at least 100"):
        lm.robustness(["the cat"])


def test_a_model_that_is_not_fitted_has_no_effective_context() -> None:
    with pytest.raises(ConfigError, match="not fitted"):
        st.LanguageModel("lstm").effective_context(["abc"])


@pytest.mark.parametrize("metric", ["exact-match", "character-errors", "chrf", "bleu"])
def test_for_a_translator_a_metric_of_the_output_is_measured(
    translator: st.Translator, metric: str
) -> None:
    if metric in ("chrf", "bleu"):
        pytest.importorskip("sacrebleu")
    strengths = {"omitted": (0.3,), "trimmed-end": (0.5,)}
    result = translator.robustness(PAIRS, metric=metric, strengths=strengths, limit=20)
    assert [t.targets for t in result.perturbations] == [20, 20]
    quality = translator.evaluate(
        [PAIRS[i] for i in _spread(len(PAIRS), 20)], decoding=st.Decoding(beam=1)
    )
    known = {
        "exact-match": quality.exact_match,
        "character-errors": quality.character_error_rate,
        "chrf": quality.chrf,
        "bleu": quality.bleu,
    }
    assert result.intact == pytest.approx(known[metric], rel=1e-6)
    assert result.is_loss == (metric == "character-errors")


def _spread(count: int, some: int) -> list[int]:
    return [i * (count - 1) // (some - 1) for i in range(some)]


def test_unknown_metrics_are_refused(translator: st.Translator, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose one of chrf, bleu, exact-match"):
        translator.robustness(PAIRS, metric="beauty")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least 10"):
        translator.robustness(PAIRS, metric="exact-match", limit=5)
