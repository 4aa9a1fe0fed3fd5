"""What Python shows of an object is one informative line, without an address."""

import pytest

import seriatim as st

TEXTS = [f"the {a} sat on {b}" for a in ("cat", "dog", "rat", "mat") for b in "abcdefghijkl"]
PAIRS = [(f"{a} {b}", f"{b} {a}") for a in "abcd" for b in "hijk"]
LABELLED = [(f"so {a} {b}", "good" if a < b else "bad") for a in "abcdef" for b in "abcdef"]
TINY = {"batch_size": 4, "length": 8}


@pytest.fixture(scope="module")
def lm() -> st.LanguageModel:
    model = st.LanguageModel(st.LSTM(hidden_size=8), device="cpu")
    return model.fit(TEXTS, steps=2, options=TINY)


def test_a_language_model_says_what_it_is(lm: st.LanguageModel) -> None:
    assert repr(st.LanguageModel()) == "LanguageModel(not fitted yet)"
    assert repr(lm).startswith("LanguageModel(lstm: ")
    assert repr(lm).endswith("char symbols)")
    assert repr(lm.vocabulary) == f"CharVocabulary({lm.vocabulary.num_symbols} symbols)"  # type: ignore[union-attr]


def test_reprs_are_one_line_without_addresses(lm: st.LanguageModel) -> None:
    labeller = st.Labeller("lstm", device="cpu").fit(LABELLED, steps=1)
    translator = st.Translator("lstm", symbols="char", device="cpu").fit(PAIRS, steps=1)
    assert lm.model is not None
    with st.record(lm.model) as trace:
        lm.surprisal("the")
    state = lm.model.start(1)
    shown = [
        *(lm, lm.score(TEXTS), lm.training, lm.stream(), lm.next("the", 1)[0], lm.check(seconds=0)),
        *(lm.effective_context(TEXTS, contexts=(1,)), lm.robustness(TEXTS, limit=50, seeds=1)),
        *(labeller, labeller.label("so a b"), labeller.score(LABELLED), labeller.labels),
        *(translator, translator.translate("a h"), translator.evaluate(PAIRS[:2])),
        *(st.compare(TEXTS, {"a": st.Markov(order=2)}, sequences="line"), st.look(TEXTS)),
        *(st.open_source(TEXTS), st.open_pairs(PAIRS), st.open_labelled(LABELLED)),
        *(st.inspect(lm, "the cat"), st.Stream(lm.model), lm.model.predict(state), trace),
        *(st.Sampling(), st.Decoding(), st.TrainingOptions(), st.Callbacks(), st.GRU()),
    ]
    for one in shown:
        text = repr(one)
        assert "\n" not in text, type(one)
        assert " at 0x" not in text, type(one)
        assert type(one).__name__ in text
        assert len(text) < 1200, type(one)
