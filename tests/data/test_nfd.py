"""Characters taken apart: equivalent texts read alike, and only what is read may be so."""

import unicodedata
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seriatim
from seriatim.data.vocab.fit import fit_vocabulary, vocabulary_from_json
from seriatim.data.vocab.nfd import DecomposedVocabulary
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError

any_text = st.text(st.characters(exclude_categories=["Cs"]))
SYLLABLES = [chr(c) for c in range(0xAC00, 0xAC00 + 300)]


def fitted(*texts: str, min_count: int = 1) -> Vocabulary:
    return fit_vocabulary(
        "nfd", texts, sequences="document", min_count=min_count, is_only_read=True
    )


@given(any_text)
def test_equivalent_texts_have_the_same_symbols(text: str) -> None:
    symbols = fitted(text + "x")
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    ids = symbols.encode(text)
    assert all(symbols.encode(form).tolist() == ids.tolist() for form in forms)
    assert symbols.decode(ids) == forms[1]
    assert symbols.is_known(text)


def test_syllables_never_seen_are_read_by_their_parts() -> None:
    symbols, whole = fitted("각난"), fit_vocabulary("char", ["각난"], sequences="document")
    assert symbols.is_known("간낙") and not whole.is_known("간낙")
    assert fitted(*SYLLABLES).num_symbols < 50 < whole.num_symbols + len(SYLLABLES)


def test_unknown_parts_are_named_one_for_one() -> None:
    symbols = fitted("각e")
    ids = symbols.encode("é각x")
    assert (ids == symbols.unknown).sum() == 2
    assert symbols.spellings("é각x") == ["\u0301", "x"]
    assert symbols.unknown_symbols("ééx") == ["\u0301", "x"]
    assert symbols.respell(ids, symbols.spellings("é각x")) == unicodedata.normalize("NFD", "é각x")


def test_rare_parts_can_be_left_out_and_json_restores_the_rest() -> None:
    symbols = fitted("áéx", min_count=2)
    assert symbols.num_symbols == 3  # only the accent comes twice
    again = vocabulary_from_json(symbols.to_json())
    assert isinstance(again, DecomposedVocabulary)
    assert again.fingerprint() == symbols.fingerprint() != fitted("áéx").fingerprint()
    assert again.encode("é").tolist() == symbols.encode("é").tolist()


def test_predicted_text_cannot_be_decomposed() -> None:
    with pytest.raises(ConfigError, match="can be read but not predicted"):
        fit_vocabulary("nfd", ["a"], sequences="line")
    with pytest.raises(ConfigError, match="choose byte, char, nfd, word, or bpe:N"):
        fit_vocabulary("nfc", ["a"], sequences="line", is_only_read=True)
    pairs = [("á", "b")]
    model = seriatim.Seq2Seq(encoder="gru", decoder="gru", model_size=8)
    with pytest.raises(ConfigError, match="can be read but not predicted"):
        seriatim.Translator(model, symbols="nfd").fit(pairs, valid=pairs, steps=1)


@cache
def translator() -> seriatim.Translator:
    pairs = [(f"{a}{b}", f"{i} {j}") for i, a in enumerate("각난닫") for j, b in enumerate("밥산")]
    model = seriatim.Seq2Seq(encoder="gru", decoder="gru", model_size=16, dropout=0.0)
    made = seriatim.Translator(model, symbols="word", source_symbols="nfd")
    return made.fit(pairs * 5, valid=pairs, steps=3)


def test_a_translator_reads_both_forms_alike() -> None:
    composed = "난밥"
    found = translator().translate([composed, unicodedata.normalize("NFD", composed)])
    assert found[0].text == found[1].text
    assert found[0].log_prob == pytest.approx(found[1].log_prob, abs=1e-5)


def test_a_labeller_reads_both_forms_alike() -> None:
    labelled = [("á", "yes"), ("a", "no"), ("xy", "no")]
    config = seriatim.EncoderConfig(encoder="gru", model_size=8, encoder_layers=1)
    labeller = seriatim.Labeller(config, symbols="nfd")
    options = labeller.training_options({"steps": 2})
    labeller.fit(labelled * 5, valid=labelled, test=labelled, options=options)
    one, other = labeller.label(["á", "a\u0301"])
    assert one == other
