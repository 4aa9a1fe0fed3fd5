"""Labels on the command line: fit, label, score, info, and what is refused."""

import json
from pathlib import Path

import pytest

from seriatim.cli import main

SMALL = ["--encoder-layers", "1", "--model-size", "16", "--dropout", "0", "--steps", "60"]
SMALL += ["--learning-rate", "0.02", "--warmup", "5", "--quiet", "--threads", "1"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "cases.tsv"
    cases = ["so good\tpos", "so bad\tneg", "not bad\tpos", "not good\tneg"] * 30
    path.write_text("\n".join(cases) + "\n")
    return path


@pytest.fixture(scope="module")
def model(table: Path) -> Path:
    out = table.parent / "model"
    fit = ["fit", str(table), "--task", "label", "--symbols", "word", "--valid", str(table)]
    assert main([*fit, "--test", str(table), "--out", str(out), *SMALL]) == 0
    return out


def test_each_line_gives_one_label_in_order(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("not bad\nso bad\n\nso good\n")
    assert main(["label", str(model), str(lines), "--quiet"]) == 0
    found = capsys.readouterr().out.splitlines()
    assert len(found) == 4
    assert [found[0], found[1], found[3]] == ["pos", "neg", "pos"]
    assert main(["label", str(model), str(lines), "--quiet", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert records[0]["label"] == "pos"
    assert 0.5 < records[0]["probability"] <= 1


def test_score_and_info_describe_labels(
    model: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(model), str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1.0
    assert main(["score", str(model), str(table)]) == 0
    assert "100.00 % right of 120" in capsys.readouterr().out
    assert main(["info", str(model), "--verify"]) == 0
    shown = capsys.readouterr().out
    assert "labelling, a label for each sequence" in shown
    assert "2: neg, pos" in shown


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["--hidden-size", "8"],
            "is not an option of the lstm encoder; use --model-size",
        ),
        (["--model", "markov"], "no such encoder 'markov'; choose from transformer"),
        (["--sequences", "line"], "sequences"),
        (["--source-symbols", "char"], "--source-symbols is not an option of a labeller"),
    ],
)
def test_options_of_other_tasks_are_refused(
    table: Path,
    tmp_path: Path,
    arguments: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit = ["fit", str(table), "--task", "label", "--out", str(tmp_path / "m"), *arguments]
    assert main(fit) == 2
    assert reason in capsys.readouterr().err


def test_a_labeller_does_not_generate_and_a_language_model_does_not_label(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(model)]) == 4
    assert "is a labeller; generate needs a language model" in capsys.readouterr().err
    text = tmp_path / "text.txt"
    text.write_text("abab " * 200)
    out = tmp_path / "lm"
    assert main(["fit", str(text), "--model", "markov", "--out", str(out), "--quiet"]) == 0
    assert main(["label", str(out), str(text)]) == 4
    assert "label needs a labeller" in capsys.readouterr().err
