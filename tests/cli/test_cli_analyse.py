"""`seriatim context` and `seriatim robustness` as a user types them."""

import json
from pathlib import Path
from typing import Any

import pytest

from seriatim.cli import main

TEXT = "the cat sat on the mat\nthe dog sat on the cat\na dog and a cat\n" * 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a counted model of it, and a recurrent one."""
    folder = tmp_path_factory.mktemp("understand")
    (folder / "text.txt").write_text(TEXT)
    for name, options in (
        ("markov", ["--order", "3"]),
        ("lstm", ["--hidden-size", "8", "--steps", "3", "--batch-size", "4", "--length", "8"]),
    ):
        command = ["fit", str(folder / "text.txt"), "--model", name, *options, "-q"]
        assert main([*command, "--out", str(folder / name)]) == 0
    return folder


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    out = capsys.readouterr().out.strip()
    assert "\n" not in out, "one JSON value, nothing else"
    return json.loads(out)


def test_the_effective_context_is_a_table_and_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["context", str(folder / "markov"), str(folder / "text.txt")]
    assert main([*command, "--contexts", "1", "2", "5", "--categories", "--shuffled"]) == 0
    out = capsys.readouterr().out
    head, *_ = out.splitlines()
    assert head.startswith("symbols seen")
    assert [line.split()[0] for line in out.splitlines()[1:5]] == ["none", "1", "2", "5"]
    assert "letters" in out
    assert "rest shuffled" in out
    assert out.splitlines()[-1].startswith("The model looks ")
    assert out.splitlines()[-1].endswith("Its declared reach is 2.")


def test_the_effective_context_as_json_with_gradients(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    command = ["context", str(folder / "lstm"), str(folder / "text.txt"), "--json"]
    assert main([*command, "--contexts", "1", "--contexts", "9", "--gradients"]) == 0
    record = _json(capsys)
    assert record["curve"]["contexts"] == [1, 9]
    assert record["reach"] is None
    assert record["influence"]["method"] == "gradient"
    assert len(record["gradient_decay"]["layers"]["0"]) == 128


def test_gradients_are_shown_as_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["context", str(folder / "lstm"), str(folder / "text.txt")]
    assert main([*command, "--contexts", "8", "--gradients"]) == 0
    out = capsys.readouterr().out
    assert "influence by gradient" in out
    assert "gradient, layer 0" in out


def test_robustness_is_a_table_and_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["robustness", str(folder / "markov"), str(folder / "text.txt")]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("perturbation")
    for kind in ("trimmed-start", "trimmed-end", "omitted", "swapped", "blocks"):
        assert kind in out
    assert "worse" in out
    assert main([*command, "--seeds", "1", "--limit", "500", "--json"]) == 0
    record = _json(capsys)
    assert {t["kind"] for t in record["perturbations"]} >= {"omitted", "blocks"}


@pytest.mark.slow
def test_the_robustness_of_a_translator_is_that_of_its_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["".join("abcd"[n // 4**i % 4] for i in range(3)) for n in range(60)]
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{w}\t{w[::-1]}\n" for w in words))
    command = ["fit", str(pairs), "--task", "translation", "--model", "gru", "--symbols", "char"]
    shape = ["--model-size", "16", "--encoder-layers", "1", "--steps", "3"]
    assert main([*command, *shape, "--out", str(tmp_path / "m"), "-q"]) == 0
    capsys.readouterr()
    options = ["--metric", "character-errors", "--limit", "12", "--json"]
    assert main(["robustness", str(tmp_path / "m"), str(pairs), *options]) == 0
    record = _json(capsys)
    assert record["metric"] == "edits per character"
    assert record["is_loss"] is True
    assert main(["context", str(tmp_path / "m"), str(pairs)]) == 4
    assert "is a translator; context needs a language model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["context", "MODEL", "TEXT", "--contexts", "0", "2"], 2, "the first at least 1"),
        (["context", "MODEL", "TEXT", "--contexts", "4", "2"], 2, "greater than the one before"),
        (["context", "MODEL", "TEXT", "--limit", "0"], 2, "--limit 0"),
        (["context", "MODEL", "EMPTY"], 3, "empty"),
        (["context", "MODEL", "SHORT"], 3, "give at least 100"),
        (["context", "MODEL", "OTHER"], 3, "unknown to the model"),
        (["context", "TEXT", "TEXT"], 4, ""),
        (["robustness", "MODEL", "EMPTY"], 3, "empty"),
        (["robustness", "MODEL", "SHORT"], 3, "give at least 100"),
        (["robustness", "MODEL", "OTHER"], 3, "unknown to the model"),
        (["robustness", "MODEL", "TEXT", "--seeds", "0"], 2, "--seeds 0: give 1 or more"),
        (["robustness", "MODEL", "TEXT", "--metric", "bleu"], 2, "an option of a translator"),
        (["robustness", "MODEL", "TEXT", "--target", "TEXT"], 2, "not an option of a language"),
    ],
)
def test_mistakes_are_refused_in_one_sentence(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    files = {
        "MODEL": folder / "markov",
        "TEXT": folder / "text.txt",
        "EMPTY": folder / "empty.txt",
        "SHORT": folder / "short.txt",
        "OTHER": folder / "other.txt",
    }
    files["EMPTY"].write_text("")
    files["SHORT"].write_text("the cat")
    files["OTHER"].write_text("ДРУГОЙ ТЕКСТ " * 30)
    assert main([str(files.get(a, a)) for a in arguments]) == code
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert shown.out == ""
