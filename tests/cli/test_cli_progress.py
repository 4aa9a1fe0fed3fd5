"""Every command that may take long says what it is doing, on stderr and never on stdout."""

from pathlib import Path

import numpy as np
import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.train.callbacks.console import Reporter

WORDS = "".join(f"the {a} sat on the {b}\n" for a in ("cat", "dog", "hen") for b in "abcdefg") * 2


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "text.txt").write_text(WORDS)
    (folder / "values.csv").write_text("y\n" + "".join(f"{t % 7}\n" for t in range(60)))
    (folder / "labels.tsv").write_text(
        "".join(f"a good film {n}\tpos\na bad film {n}\tneg\n" for n in range(20))
    )
    lm = st.LanguageModel(st.Markov(order=2), sequences="line").fit(folder / "text.txt")
    lm.save(folder / "lm")
    lm.threshold(folder / "text.txt", false_alarms=0.1)
    lm.save_threshold(folder / "lm")
    labeller = st.Labeller(st.EncoderConfig(encoder="gru", model_size=8))
    labeller.fit(folder / "labels.tsv", steps=1).save(folder / "labeller")
    st.Forecaster("naive").fit(np.arange(60.0) % 7).save(folder / "forecaster")
    return folder


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("label labeller text.txt", "labelling"),
        ("label labeller text.txt", "42 lines labelled"),
        ("score lm text.txt", "scored"),
        ("surprisal lm --file text.txt", "scoring with lm"),
        ("detect lm text.txt", "scored"),
        ("threshold lm text.txt --false-alarms 0.1", "scored"),
        ("generate lm the cat", "continuing prompt 1 and on"),
        ("generate lm the --beam 2", "searching after prompt 1"),
        ("export lm --to arpa --out out.arpa", "exporting to arpa"),
        ("forecast forecaster --horizon 3", "predicting"),
        ("forecast forecaster --horizon 3", "1 series predicted"),
        ("impute forecaster values.csv", "filling gaps"),
        ("inspect forecaster values.csv", "reading"),
        ("inspect lm text.txt", "reading"),
        ("context forecaster values.csv", "measuring"),
        ("context lm text.txt --contexts 1 2 --limit 100", "measuring"),
        ("robustness lm text.txt --limit 100", "measuring"),
    ],
)
def test_what_is_done_is_said(
    command: str,
    says: str,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Reporter, "doing", lambda self, sentence: said.append(sentence))
    monkeypatch.setattr(Reporter, "counted", lambda self, sentence: said.append(sentence))
    monkeypatch.chdir(models)
    Path("out.arpa").unlink(missing_ok=True)
    assert main(command.split()) == 0
    assert said[0] == "reading" or "--to" in command
    assert any(sentence.startswith(says) for sentence in said), said
    printed = capsys.readouterr().out
    assert not any(sentence in printed for sentence in said)
