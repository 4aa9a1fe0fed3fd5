"""Data of symbols that a model has never seen: reported before training, refused above a half."""

import json
from pathlib import Path

import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.errors import DataError
from seriatim.train.callbacks import Callbacks

TEXT = "the cat sat on the mat\nthe dog sat on the cat\n" * 30
FOREIGN = "ЖЗИЙ ЛМНО\nПРСТ УФХЦ\n" * 30  # 1 of 10 symbols is a known one: the space or line end
MIXED = "the cat ЖЗИЙ\n" * 60  # 4 of 13
QUICK = {"steps": 2, "batch_size": 4, "length": 8}


@pytest.fixture(scope="module")
def lm() -> st.LanguageModel:
    """A model of characters."""
    source = st.open_source([TEXT], sequences="stream")
    return st.LanguageModel(st.RNN(hidden_size=8)).fit(source, valid=source, options=QUICK)


@pytest.fixture
def folder(lm: st.LanguageModel, tmp_path: Path) -> Path:
    """The folder of the model, beside texts."""
    for name, text in {"known": TEXT, "foreign": FOREIGN, "mixed": MIXED}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    lm.save(tmp_path / "model")
    return tmp_path / "model"


def test_training_further_on_symbols_never_seen_is_refused_unless_asked_for(folder: Path) -> None:
    foreign = st.open_source([FOREIGN], sequences="stream")
    with pytest.raises(DataError, match=r"80\.0 % of the symbols of the train part.*allow_unknown"):
        st.LanguageModel.load(folder).fit(foreign, valid=foreign, options=QUICK)
    notes: list[str] = []
    again = st.LanguageModel.load(folder).fit(
        foreign,
        valid=foreign,
        options=QUICK,
        allow_unknown=True,
        callbacks=Callbacks(note=notes.append),
    )
    assert again.training.data["train"].unknown > 0
    assert [note.split(" are")[0] for note in notes] == [
        "80.0 % of the symbols of the train part (480 of 600)",
        "80.0 % of the symbols of the valid part (480 of 600)",
    ]


def test_the_fraction_of_unknown_symbols_is_said_before_training(folder: Path) -> None:
    messages: list[str] = []
    mixed = st.open_source([MIXED], sequences="stream")
    st.LanguageModel.load(folder).fit(
        mixed,
        valid=st.open_source([TEXT], sequences="stream"),
        options=QUICK,
        callbacks=Callbacks(note=messages.append, progress=lambda p: messages.append("a step")),
    )
    assert messages[0].startswith(
        "30.8 % of the symbols of the train part (240 of 780) are unknown"
    )
    assert messages[1] == "a step"


def test_a_score_of_symbols_never_seen_is_refused_unless_asked_for(lm: st.LanguageModel) -> None:
    foreign = st.open_source([FOREIGN], sequences="stream")
    with pytest.raises(DataError, match=r"80\.0 % of the symbols of the list of 1 texts \(480 of"):
        lm.score(foreign)
    score = lm.score(foreign, allow_unknown=True)
    assert score.unknown == 480
    assert score.to_json()["unknown_fraction"] == pytest.approx(0.8)
    assert any("80.0 % of the symbols (480) are unknown" in s for s in lm.describe_score(score))


def test_the_scores_of_sequences_are_refused_too() -> None:
    lines = st.open_source(TEXT.splitlines(), sequences="line")
    lm = st.LanguageModel(st.Markov(order=2)).fit(lines, valid=lines)
    foreign = st.open_source(FOREIGN.splitlines(), sequences="line")
    with pytest.raises(DataError, match="are unknown"):
        list(lm.score_each(foreign))
    assert len(list(lm.score_each(foreign, allow_unknown=True))) == 60


def test_a_model_of_a_few_words_may_be_scored_on_data_like_its_own() -> None:
    lines = st.open_source(TEXT.splitlines(), sequences="line")
    lm = st.LanguageModel(st.Markov(order=2), symbols="word", max_symbols=3).fit(lines, valid=lines)
    assert lm.score(lines).unknown > 0


def test_a_new_model_says_that_its_test_data_is_of_another_kind() -> None:
    said: list[str] = []
    text, foreign = (st.open_source([t], sequences="stream") for t in (TEXT, FOREIGN))
    lm = st.LanguageModel(st.Markov(order=2))
    lm.fit(text, valid=text, test=foreign, callbacks=Callbacks(note=said.append))
    assert said == [
        "80.0 % of the symbols of the test part (480 of 600) are unknown to the model: is it data "
        "like that of training?"
    ]


def test_translators_and_labellers_refuse_them_too() -> None:
    pairs = [("abc", "cba"), ("bca", "acb"), ("cab", "bac")] * 20
    config = st.Seq2Seq(encoder="gru", decoder="gru", model_size=8)
    translator = st.Translator(config, symbols="char").fit(pairs, valid=pairs, options={"steps": 1})
    for foreign in ([("xyz", "cba")] * 4, [("abc", "xyz")] * 4):
        side = "sources" if foreign[0][0] == "xyz" else "targets"
        with pytest.raises(DataError, match=f"100.0 % of the symbols of the {side} of the list"):
            translator.score(foreign)
        with pytest.raises(DataError, match="are unknown"):
            translator.evaluate(foreign)
        assert translator.score(foreign, allow_unknown=True).symbols == 16
    labelled = [("aaab", "a"), ("bbba", "b")] * 20
    labeller = st.Labeller("gru").fit(labelled, valid=labelled, options={"steps": 1})
    with pytest.raises(DataError, match="are unknown"):
        labeller.score([("zzzz", "a"), ("yyyy", "b")])
    assert labeller.score([("zzzz", "a")], allow_unknown=True).num_labelled == 1
    with pytest.raises(DataError, match="are unknown"):
        labeller.fit([("zzzz", "a"), ("yyyy", "b")] * 9, valid=labelled, options={"steps": 1})


@pytest.mark.slow
def test_the_command_line_refuses_them_and_has_the_flag(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, foreign = str(folder), str(tmp_path / "foreign.txt")
    assert main(["score", model, foreign]) != 0
    assert "80.0 % of the symbols" in (error := capsys.readouterr().err)
    assert "--allow-unknown" in error
    assert main(["score", model, foreign, "--allow-unknown", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unknown"] == 480
    fit = ["fit", foreign, "--init", model, "--out", str(tmp_path / "new"), "--steps", "1"]
    fit += ["--split", "0.8", "0.2", "0"]
    assert main(fit) != 0
    assert "--allow-unknown" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main([*fit, "--allow-unknown"]) == 0
    assert "80.0 % of the symbols of the train part" in capsys.readouterr().err


def test_label_says_how_much_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [("aaab", "a"), ("bbba", "b")] * 20
    labeller = st.Labeller("gru").fit(data, valid=data, options={"steps": 1})
    labeller.save(tmp_path / "m")
    (tmp_path / "x.txt").write_text("aazz\nzzzz\n")
    assert main(["label", str(tmp_path / "m"), str(tmp_path / "x.txt")]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "75.0 % of the symbols of" in captured.err
    (tmp_path / "x.txt").write_text("ab\n")
    assert main(["label", str(tmp_path / "m"), str(tmp_path / "x.txt")]) == 0
    assert "unknown" not in capsys.readouterr().err
