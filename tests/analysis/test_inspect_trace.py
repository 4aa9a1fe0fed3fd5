"""Traces of texts and pairs: every position of a tap belongs to the right symbol."""

import math

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.analysis.inspect import trace
from seriatim.analysis.recorder import record
from seriatim.errors import ConfigError, DataError
from seriatim.tasks.translator import Translator
from seriatim.tasks.translator_defaults import configured
from seriatim.train.options import TrainingOptions

TEXT = "the cat sat on the mat\nthe dog sat on the cat\na dog and a cat\n" * 20
ASKED = "the dog\na cat"
QUICK = TrainingOptions(steps=5, batch_size=4, length=16)


def fitted(
    config: st.LanguageModel | object, sequences: str, symbols: str = "char"
) -> st.LanguageModel:
    texts = TEXT.splitlines() if sequences == "line" else [TEXT]
    source = st.open_source(texts, sequences=sequences)
    lm = st.LanguageModel(config, symbols=symbols, device="cpu")
    return lm.fit(source, options=QUICK)


@pytest.fixture(scope="module")
def lines() -> st.LanguageModel:
    config = st.Transformer(model_size=16, num_layers=2, num_heads=2, context=8)
    return fitted(config, "line")


@pytest.fixture(scope="module")
def stream() -> st.LanguageModel:
    return fitted(st.LSTM(hidden_size=16), "stream")


def test_bits_equal_surprisal_and_taps_have_the_same_positions(
    lines: st.LanguageModel, stream: st.LanguageModel
) -> None:
    for lm in (lines, stream):
        trace, expected = lm.trace(ASKED), lm.surprisal(ASKED)
        named = ["<unk>" if s.unknown else s.symbol.replace(" ", "␣") for s in expected]
        assert trace.symbols == named
        # Of an unknown symbol a trace has the bits of `<unk>` alone, without its spelling.
        bits = [s.bits - s.spelling_bits for s in expected]
        np.testing.assert_allclose(trace.bits, bits, atol=1e-5)
        size = len(trace.symbols)
        assert len(trace.inputs) == len(trace.alternatives) == size
        assert trace.taps["layers.0.hidden"].shape == (1, size, 16)


def test_each_line_begins_anew_and_attends_only_to_itself(lines: st.LanguageModel) -> None:
    trace = lines.trace(ASKED + "\n")
    assert trace.starts == [0, 8] and len(trace.symbols) == 14
    assert trace.inputs[0] == trace.inputs[8] == trace.symbols[7] == trace.symbols[13]
    alone = [lines.trace(line) for line in ASKED.splitlines()]
    maps = trace.taps["layers.1.attention.self"]
    own = [t.taps["layers.1.attention.self"] for t in alone]
    assert maps.shape == (1, 2, 14, 14)
    torch.testing.assert_close(maps[:, :, :8, :8], own[0])
    torch.testing.assert_close(maps[:, :, 8:, 8:], own[1])
    assert bool((maps[:, :, 8:, :8] == 0).all())


def test_a_stream_is_read_as_one_sequence(stream: st.LanguageModel) -> None:
    trace = stream.trace(ASKED)
    assert trace.starts == [0] and "".join(trace.symbols[:3]) == "the"
    assert trace.inputs[1:] == trace.symbols[:-1]


def test_alternatives_are_the_most_probable_symbols_of_each_position(
    stream: st.LanguageModel,
) -> None:
    trace = stream.trace("the", top=4)
    for t, prompt in enumerate(["", "t", "th"]):
        expected = stream.next(prompt, top=4)
        assert [a.symbol for a in trace.alternatives[t]] == [p.symbol for p in expected]
        found = [a.probability for a in trace.alternatives[t]]
        np.testing.assert_allclose(found, [p.probability for p in expected], atol=1e-6)
    everything = stream.trace("t", top=10_000).alternatives[0]
    assert math.isclose(sum(p for _, p in everything), 1.0, abs_tol=1e-5)
    assert stream.trace("the", top=0).alternatives == [[], [], []]


def test_a_long_text_is_read_in_chunks(
    stream: st.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stream.trace(ASKED)
    monkeypatch.setattr(trace, "_CHUNK", 4)
    parts = stream.trace(ASKED)
    np.testing.assert_allclose(parts.bits, whole.bits, atol=1e-5)
    for name in whole.taps.names:
        torch.testing.assert_close(parts.taps[name], whole.taps[name], rtol=1e-5, atol=1e-5)


def test_only_the_requested_taps_are_recorded(stream: st.LanguageModel) -> None:
    assert stream.trace("cat", only=["*.forget"]).taps.names == ["layers.0.forget"]


def test_counts_of_a_markov_model_show_their_match_and_their_bits() -> None:
    lm = fitted(st.Markov(order=4), "stream")
    trace = lm.trace("the cat")
    assert trace.taps["order"].shape == (1, 7) and trace.taps["backoff"].shape == (1, 7, 4)
    bits = -trace.taps["backoff"].sum(-1)[0].numpy() / math.log(2)
    np.testing.assert_allclose(bits, trace.bits, rtol=1e-10)
    assert trace.taps["order"][0].tolist()[-1] == 3, "'cat' after ' ca' was seen often"


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_text_is_refused(text: str, lines: st.LanguageModel) -> None:
    with pytest.raises(DataError, match="the text is empty"):
        lines.trace(text)


def test_a_negative_number_of_alternatives_is_refused(lines: st.LanguageModel) -> None:
    with pytest.raises(ConfigError, match="-1 alternatives cannot be listed"):
        lines.trace("cat", top=-1)


def test_a_model_that_was_never_fitted_is_refused() -> None:
    with pytest.raises(ConfigError, match="not fitted yet"):
        st.LanguageModel("lstm").trace("cat")


# ---- pairs --------------------------------------------------------------------------------------

PAIRS = [(w, w[::-1]) for w in ("ab", "abc", "cab", "ba", "c", "bca", "acb", "cc") * 8]


@pytest.fixture(scope="module", params=["transformer", "gru"])
def translator(request: pytest.FixtureRequest) -> Translator:
    sizes = {"model_size": 16, "encoder_layers": 1, "decoder_layers": 2, "dropout": 0.0}
    found = Translator(configured(request.param, sizes), symbols="char", device="cpu")
    return found.fit(PAIRS, valid=PAIRS[:8], steps=20, seed=0, options={"learning_rate": 1e-2})


def test_a_pair_has_bits_of_its_target_and_maps_over_its_source(translator: Translator) -> None:
    trace = translator.trace("abc", "cba")
    assert trace.text == "cba" and trace.source[:3] == ["a", "b", "c"] and len(trace.source) == 4
    assert trace.symbols[:3] == ["c", "b", "a"] and trace.inputs[1:] == trace.symbols[:-1]
    (expected,) = translator.log_probs([("abc", "cba")])
    assert math.isclose(trace.bits.sum() * math.log(2), -expected, rel_tol=1e-4)
    cross = [name for name in trace.taps.names if name.endswith("attention.cross")]
    assert cross and cross[0] == "decoder.layers.0.attention.cross"
    assert trace.taps[cross[0]].shape[2:] == (4, 4)
    torch.testing.assert_close(
        trace.taps[cross[0]].sum(-1), torch.ones(1, 1, 1).expand_as(trace.taps[cross[0]].sum(-1))
    )
    assert any(name.startswith("encoder.layers.0.") for name in trace.taps.names)


def test_without_a_target_the_translation_is_traced(translator: Translator) -> None:
    trace = translator.trace("abc", beam=1)
    expected = translator.translate("abc", beam=1)
    assert trace.text == expected.text
    assert len(trace.symbols) == len(expected.symbols) + expected.is_ended
    assert math.isclose(trace.bits.sum() * math.log(2), -expected.log_prob, rel_tol=1e-4)


def test_a_translation_can_be_recorded_from_outside_as_well(translator: Translator) -> None:
    assert translator.model is not None
    expected = translator.translate(["abc", "ca"], beam=3, num_best=2, alignment=True)
    with record(translator.model) as trace:
        found = translator.translate(["abc", "ca"], beam=3, num_best=2, alignment=True)
    assert [t.symbols for t in found] == [t.symbols for t in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert math.isclose(ours.log_prob, theirs.log_prob, rel_tol=1e-5)
        assert ours.alignment is not None and theirs.alignment is not None
        np.testing.assert_allclose(ours.alignment.weights, theirs.alignment.weights, atol=1e-5)
    for name in trace.names:
        if "attention" in name and "decoder" in name:
            for part in trace.parts(name):
                torch.testing.assert_close(part.sum(-1), torch.ones(part.shape[:-1]))


def test_a_text_too_long_to_be_recorded_is_refused(stream: st.LanguageModel) -> None:
    with pytest.raises(ConfigError, match="record a shorter text or fewer names"):
        stream.trace("the cat" * 50, max_gigabytes=1e-5)
