"""Scoring and decoding with rounded weights, for every family that has matrices."""

from pathlib import Path

import pytest

import seriatim as st
from seriatim.errors import ConfigError
from seriatim.tasks.precision import DecodingPrecision, as_sequence, rounding_loss

TEXT = ["the cat sat on the mat", "a dog ran to the red house", "and then the cat ran"] * 20
FAMILIES = {
    "autoregressive": st.Autoregressive(window=4, hidden_size=64),
    "rnn": st.RNN(hidden_size=64),
    "lstm": st.LSTM(hidden_size=64),
    "gru": st.GRU(hidden_size=64),
    "transformer": st.Transformer(model_size=64, num_layers=1, num_heads=2, context=32),
}


@pytest.mark.parametrize("precision", ["int8", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rounding_costs_little_and_generates(family: str, precision: DecodingPrecision) -> None:
    lm = st.LanguageModel(FAMILIES[family], device="cpu").fit(TEXT, steps=30, seed=0, score=False)
    made = st.at_precision(lm, precision)
    loss = rounding_loss(lm, made, precision, TEXT[:3])
    assert loss.float32 == lm.score(TEXT[:3]).bits_per_symbol
    assert abs(loss.bits) < 0.05
    text = made.generate("the ", 20, seed=1)
    assert rounding_loss(lm, made, precision, as_sequence(text, [])).rounded > 0
    assert precision in loss.text("this text")


def test_a_translator_is_rounded_too() -> None:
    pairs = [("a b c", "c b a"), ("b c", "c b"), ("c a", "a c")] * 10
    config = st.Seq2Seq(model_size=32, num_heads=2, encoder_layers=1, decoder_layers=1)
    translator = st.Translator(config, device="cpu")
    translator.fit(pairs, steps=20, seed=0, score=False, split=(1, 0, 0))
    made = st.at_precision(translator, "int8")
    assert len(made.translate(["a b", "c"])) == 2
    assert abs(rounding_loss(translator, made, "int8", pairs[:3]).bits) < 0.1


def test_a_rounded_model_is_neither_trained_nor_saved(tmp_path: Path) -> None:
    lm = st.LanguageModel(st.GRU(hidden_size=16), device="cpu").fit(TEXT, steps=2, score=False)
    made = st.at_precision(lm, "int8")
    with pytest.raises(ConfigError, match="neither trained nor saved"):
        made.fit(TEXT, steps=1, score=False)
    with pytest.raises(ConfigError, match="neither trained nor saved"):
        made.save(tmp_path / "model")
    assert st.at_precision(lm, "float32") is lm


def test_what_cannot_be_rounded_says_so() -> None:
    counted = st.LanguageModel(st.Markov(order=2), device="cpu").fit(TEXT, score=False)
    with pytest.raises(ConfigError, match="has none"):
        st.at_precision(counted, "int8")
    with pytest.raises(ConfigError, match="not fitted"):
        st.at_precision(st.LanguageModel("lstm"), "int8")
    with pytest.raises(ConfigError, match="choose float32"):
        st.at_precision(counted, "int4")  # type: ignore[arg-type]
