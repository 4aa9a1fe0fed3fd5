"""`seriatim inspect`: what it prints and writes, and one clear sentence for what it cannot do."""

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
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a model of each kind."""
    folder = tmp_path_factory.mktemp("inspect")
    (folder / "text.txt").write_text(TEXT)
    for name, options in SMALL.items():
        budget = ["--quiet"] if name == "markov" else FIT
        out = ["--out", str(folder / name)]
        assert main(["fit", str(folder / "text.txt"), *options, *out, *budget]) == 0
    return folder


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("gru", ["layers.0.hidden", "layers.0.update", "median half-life"]),
        ("markov", ["symbols matched", "of which backing off"]),
        ("transformer", ["layers.0.attention.self", "entropy"]),
    ],
)
def test_it_says_what_each_model_lets_be_seen(
    place: Path, name: str, wanted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["inspect", str(place / name), TEXT[:400]]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: 400 symbols")
    assert "Most surprising" in said
    assert "\x1b[" not in said
    for words in wanted:
        assert words in said


def test_a_file_is_read_where_its_name_is_given(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["inspect", str(place / "gru"), str(place / "text.txt"), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert len(whole["passages"][0]["symbols"]) == len(TEXT)
    arguments = ["inspect", str(place / "gru"), str(place / "text.txt"), "--json"]
    assert main([*arguments, "--start", "36", "--length", "14", "--top", "2"]) == 0
    part = json.loads(capsys.readouterr().out)
    symbols = part["passages"][0]["symbols"]
    assert [s["symbol"] for s in symbols] == ["␣" if c == " " else c for c in "the dog saw it"]
    assert all(len(s["alternatives"]) == 2 for s in symbols)


def test_a_folder_gets_the_page_and_the_figures(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    capsys.readouterr()
    out = tmp_path / "found"
    assert main(["inspect", str(place / "gru"), TEXT[:400], "--out", str(out)]) == 0
    assert f"the report is {out / 'report.html'}" in capsys.readouterr().err
    page = (out / "report.html").read_text()
    assert "Inside gru" in page
    assert "layers.0.update over time" in page
    assert json.loads((out / "inspection.json").read_text())["gates"]
    assert len(page) < 5_000_000


def test_labels_from_a_file_are_followed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    labels = tmp_path / "vowel.txt"
    labels.write_text("\n".join("vowel" if c in "aeiou" else "other" for c in TEXT[:500]) + "\n")
    arguments = ["inspect", str(place / "gru"), TEXT[:500], "--json"]
    assert main([*arguments, "--labels", str(labels)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "vowel" in {p["label"] for p in found["states"][0]["probes"]}
    several = tmp_path / "both.json"
    several.write_text(json.dumps({"place": list(range(500)), "sound": ["a", "b"] * 250}))
    assert main([*arguments, "--labels", str(several)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"place", "sound"} <= {p["label"] for p in found["states"][0]["probes"]}


def test_symbols_are_shaded_in_a_terminal_and_not_where_colour_is_unwanted(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["inspect", str(place / "markov"), "the cat xylophone"]) == 0
    assert "\x1b[38;5;16;48;5;" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["inspect", str(place / "markov"), "the cat xylophone"]) == 0
    assert "\x1b[" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason", "code"),
    [
        (["gru", ""], "the text is empty, so there is nothing to inspect", 3),
        (["gru", "the cat", "--start", "7"], "has 7 symbols, none of them from 7 on", 3),
        (["gru", "the cat", "--length", "0"], "length of 1 or more", 2),
        (["gru", "the cat", "--top", "0"], "--top 0: give 1 or more", 2),
        (["gru", "the cat", "--layer", "5"], "nothing is recorded under layers.5", 2),
        (["gru", "the cat", "--target", "x"], "--target is an option of translators", 2),
        (["gru", "the cat", "--labels", "{place}/text.txt"], "give one for each symbol", 3),
        (["nothing", "the cat"], "nothing", 4),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    place: Path,
    arguments: list[str],
    reason: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    model, *others = arguments
    others = [other.format(place=place) for other in others]
    assert main(["inspect", str(place / model), *others]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert reason in said.err
    assert said.err.count("\n") == 1


def test_a_page_that_cannot_be_written_is_said(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    (tmp_path / "taken").write_text("")
    out = tmp_path / "taken" / "report.html"
    assert main(["inspect", str(place / "markov"), "the cat", "--out", str(out)]) == 5
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
    assert main(["inspect", out, "abc\tcba", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (passage,) = found["passages"]
    assert passage["source"][:3] == ["a", "b", "c"]
    assert [s["symbol"] for s in passage["symbols"]][:3] == ["c", "b", "a"]
    assert any(m["name"].endswith(".cross") for m in found["attention"])
    assert main(["inspect", out, "abc", "--target", "ab"]) == 0
    assert "attention.cross" in capsys.readouterr().out
    assert main(["inspect", out, "abc", "--labels", str(pairs)]) == 2
    assert "--labels is an option of language models" in capsys.readouterr().err
