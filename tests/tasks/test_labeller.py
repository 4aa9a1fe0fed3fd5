"""The labeller: it learns, keeps the order, gives calibrated probabilities, and is saved."""

from pathlib import Path

import pytest

import seriatim as st
from seriatim.data.labels import open_labelled
from seriatim.data.pairs import split_pairs
from seriatim.errors import ConfigError, DataError

CASES = [("so good", "pos"), ("so bad", "neg"), ("not bad", "pos"), ("not good", "neg")] * 40
TAGGED = [
    (["the", "cat", "sat"], ["DET", "NOUN", "VERB"]),
    (["a", "dog"], ["DET", "NOUN"]),
    (["dog", "sat"], ["NOUN", "VERB"]),
] * 30


def labeller(data: object = CASES, encoder: str = "lstm", steps: int = 60) -> st.Labeller:
    model = st.Labeller(
        st.EncoderConfig(encoder=encoder, encoder_layers=1, model_size=16, dropout=0.0),
        symbols="word",
    )
    options = model.training_options({"steps": steps, "learning_rate": 0.02, "warmup": 5})
    return model.fit(data, valid=data, options=options)


@pytest.mark.parametrize("encoder", ["rnn", "lstm", "gru", "transformer"])
def test_it_learns_labels_that_no_single_word_determines(encoder: str) -> None:
    score = labeller(encoder=encoder).score(CASES)
    assert score.accuracy == score.macro_f1 == 1.0
    assert score.confusion == ((80, 0), (0, 80))


def test_labels_come_in_the_order_of_the_texts_whatever_their_lengths() -> None:
    model = labeller()
    texts = ["so good", "not bad", "so bad", "not good", "so"]
    labels = model.label(texts)
    assert [f.label for f in labels[:4]] == ["pos", "pos", "neg", "neg"]
    for text, together in zip(texts, labels, strict=True):
        alone = model.label(text)
        assert alone.label == together.label
        assert alone.probability == pytest.approx(together.probability, abs=1e-6)
    assert all(f.probability + f.others[0][1] == pytest.approx(1.0, abs=1e-6) for f in labels)


def test_each_element_has_a_label_of_its_own() -> None:
    model = labeller(TAGGED)
    rows = model.label([["a", "cat", "sat"], ["the", "dog"], []])
    labels = [[element.label for element in row] for row in rows]
    assert labels == [["DET", "NOUN", "VERB"], ["DET", "NOUN"], []]
    assert model.score(TAGGED).num_labelled == 30 * 7


def test_the_temperature_makes_the_validation_likelihood_best() -> None:
    noisy = [*CASES, *[("so good", "neg"), ("so bad", "pos")] * 15]
    model = labeller(noisy, steps=80)
    nats = {}
    for factor in (0.5, 1.0, 2.0):
        fitted, model.temperature = model.temperature, model.temperature * factor
        nats[factor] = model.score(noisy).nats
        model.temperature = fitted
    assert nats[1.0] <= min(nats.values())


def test_a_validation_part_without_errors_does_not_make_probabilities_extreme() -> None:
    assert labeller().temperature >= 0.5


def test_a_saved_labeller_is_loaded_unchanged(tmp_path: Path) -> None:
    model = labeller()
    model.save(tmp_path / "model")
    loaded = st.load(tmp_path / "model")
    assert isinstance(loaded, st.Labeller)
    assert loaded.label(["so good", "not good"]) == model.label(["so good", "not good"])
    assert loaded.info()["labels"] == ["neg", "pos"]


def test_a_label_of_the_test_that_training_did_not_have_is_named() -> None:
    with pytest.raises(DataError, match="'new' was not in the training data"):
        labeller().score([("so good", "new")])


def test_a_label_that_a_split_puts_only_in_the_test_part_is_counted_as_missed() -> None:
    data = [(f"so good {i}", "pos") for i in range(20)] + [
        (f"so bad {i}", "neg") for i in range(20)
    ]
    test = split_pairs(open_labelled(data))[0][2]
    assert test is not None
    rare = min(str(text) for text, _ in test.pairs())
    data = [(text, "rare" if text == rare else label) for text, label in data]
    messages: list[str] = []
    model = st.Labeller("gru", symbols="word")
    model.fit(
        data,
        options=model.training_options({"steps": 2}),
        callbacks=st.Callbacks(message=messages.append),
    )
    assert any(
        "no sequence labelled rare is in the training part" in sentence for sentence in messages
    )
    row = model.training.scores["test"].labels.index("rare")
    assert sum(model.training.scores["test"].confusion[row]) == 1
    assert model.training.scores["test"].confusion[row][row] == 0


def test_a_labeller_must_be_fitted_first() -> None:
    with pytest.raises(ConfigError, match="not fitted"):
        st.Labeller().label(["a"])


def test_an_unknown_encoder_is_named() -> None:
    with pytest.raises(ConfigError, match="no such encoder 'lstmm'; did you mean lstm"):
        st.Labeller("lstmm")
