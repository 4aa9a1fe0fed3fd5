"""`seriatim inspect`: what it prints and writes, and one clear sentence for every refusal."""

import json
import sys
from pathlib import Path

import pytest

from seriatim.cli import main

TEXT = "the cat (a grey one) sat on the mat\nthe dog saw it\n" * 40
FIT = ["--steps", "3", "--batch-size", "4", "--length", "16", "--quiet", "--threads", "1"]
SMALL = {
    "gru": ["--model", "gru", "--hidden-size", "8"],
    "markov": ["--model", "markov"],
    "transformer": ["--model", "transformer", "--num-layers", "1", "--model-size", "16"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a model of each kind."""
    folder = tmp_path_factory.mktemp("inspect")
    (folder / "text.txt").write_text(TEXT)
    for name, options in SMALL.items():
        budget = ["--quiet"] if name == "markov" else FIT
        out = ["--out", str(folder / name)]
        assert main(["fit", str(folder / "text.txt"), *options, *out, *budget]) == 0
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gru", ["layers.0.hidden", "layers.0.update", "median half-life"]),
        ("markov", ["symbols matched", "of which backing off"]),
        ("transformer", ["layers.0.attention.self", "entropy"]),
    ],
)
def test_the_text_shows_what_each_model_records(
    folder: Path, name: str, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["inspect", str(folder / name), "--text", TEXT[:400]]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{name}: 400 symbols")
    assert "Most surprising" in output
    assert "\x1b[" not in output
    for words in expected:
        assert words in output


def test_a_file_is_read_if_its_name_is_given(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["inspect", str(folder / "gru"), str(folder / "text.txt"), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert len(whole["passages"][0]["symbols"]) == len(TEXT)
    arguments = ["inspect", str(folder / "gru"), str(folder / "text.txt"), "--json"]
    assert main([*arguments, "--start", "36", "--length", "14", "--top", "2"]) == 0
    part = json.loads(capsys.readouterr().out)
    symbols = part["passages"][0]["symbols"]
    assert [s["symbol"] for s in symbols] == ["␣" if c == " " else c for c in "the dog saw it"]
    assert all(len(s["alternatives"]) == 2 for s in symbols)


def test_a_folder_gets_the_page_and_the_json(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    capsys.readouterr()
    out = tmp_path / "record"
    assert main(["inspect", str(folder / "gru"), "--text", TEXT[:400], "--out", str(out)]) == 0
    assert f"the report is in {out / 'report.html'}" in capsys.readouterr().err
    page = (out / "report.html").read_text()
    assert "Inside gru" in page
    assert "layers.0.update over time" in page
    assert json.loads((out / "inspection.json").read_text())["gates"]
    assert len(page) < 5_000_000


def test_labels_from_a_file_are_used(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    labels = tmp_path / "vowel.txt"
    labels.write_text("\n".join("vowel" if c in "aeiou" else "other" for c in TEXT[:500]) + "\n")
    arguments = ["inspect", str(folder / "gru"), "--text", TEXT[:500], "--json"]
    assert main([*arguments, "--labels", str(labels)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert "vowel" in {p["label"] for p in record["states"][0]["probes"]}
    several = tmp_path / "both.json"
    several.write_text(json.dumps({"folder": list(range(500)), "sound": ["a", "b"] * 250}))
    assert main([*arguments, "--labels", str(several)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {"folder", "sound"} <= {p["label"] for p in record["states"][0]["probes"]}


def test_symbols_are_shaded_in_a_terminal_unless_no_color_is_set(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["inspect", str(folder / "markov"), "--text", "the cat xylophone"]) == 0
    assert "\x1b[38;5;16;48;5;" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["inspect", str(folder / "markov"), "--text", "the cat xylophone"]) == 0
    assert "\x1b[" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason", "code"),
    [
        (["gru", ""], "the text is empty, so there is nothing to inspect", 3),
        (["gru", "the cat", "--start", "7"], "has 7 symbols, none of them from 7 on", 3),
        (["gru", "the cat", "--length", "0"], "--length 0: give 1 or more", 2),
        (["gru", "the cat", "--top", "0"], "--top 0: give 1 or more", 2),
        (["gru", "the cat", "--only", "5"], "nothing is recorded under layers.5", 2),
        (["gru", "the cat", "--target", "x"], "--target is an option of translators", 2),
        (["gru", "the cat", "--labels", "{folder}/text.txt"], "give one for each symbol", 3),
        (["nothing", "the cat"], "nothing", 4),
    ],
)
def test_invalid_requests_are_refused_in_one_sentence(
    folder: Path,
    arguments: list[str],
    reason: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    model, *others = arguments
    others = [other.format(folder=folder) for other in others]
    assert main(["inspect", str(folder / model), "--text", *others]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert reason in output.err
    assert output.err.count("\n") == 1


def test_a_page_that_cannot_be_written_is_an_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    (tmp_path / "taken").write_text("")
    out = tmp_path / "taken" / "report.html"
    assert main(["inspect", str(folder / "markov"), "--text", "the cat", "--out", str(out)]) == 5
    assert "cannot be written" in capsys.readouterr().err


def test_a_translator_is_inspected_with_its_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("abc\tcba\nbca\tacb\ncab\tbac\nbbc\tcbb\n" * 10)
    fit = ["fit", str(pairs), "--task", "translation", "--model", "gru", "--valid", str(pairs)]
    fit += ["--symbols", "char"]
    out = str(tmp_path / "model")
    assert main([*fit, "--model-size", "8", "--out", out, "--steps", "2", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["inspect", out, "--text", "abc\tcba", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    (passage,) = record["passages"]
    assert passage["source"][:3] == ["a", "b", "c"]
    assert [s["symbol"] for s in passage["symbols"]][:3] == ["c", "b", "a"]
    assert any(m["name"].endswith(".cross") for m in record["attention"])
    assert main(["inspect", out, "--text", "abc", "--target", "ab"]) == 0
    assert "attention.cross" in capsys.readouterr().out
    assert main(["inspect", out, "--text", "abc", "--labels", str(pairs)]) == 2
    assert "--labels is an option of language models" in capsys.readouterr().err
