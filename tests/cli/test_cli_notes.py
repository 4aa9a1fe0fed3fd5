"""Notes on stderr where a file does not say how it is to be read, each once; and output."""

import io
import json
import sys
from pathlib import Path

import pytest

import seriatim as st
from seriatim.cli import main

SMALL = ["--encoder-layers", "1", "--model-size", "16", "--dropout", "0", "--steps", "60"]
SMALL += ["--learning-rate", "0.02", "--warmup", "5", "--quiet", "--threads", "1"]
TAGGED = (
    "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nPeter NNP B-NP B-PER\nrejects VBZ B-VP O\n\n"
) * 30
CONLL = "-DOCSTART- -X- -X- O\n\n" + TAGGED
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tagger")
    data, out = folder / "eng.conll", folder / "model"
    data.write_text(CONLL)
    fit = ["fit", str(data), "--task", "label", "--out", str(out), *SMALL]
    assert main([*fit, "--valid", str(data), "--test", str(data)]) == 0
    return out


def test_a_tagger_of_conll_2003_learns_elements_and_labels(tagger: Path, capsys: Capture) -> None:
    data = tagger.parent / "eng.conll"
    assert main(["score", str(tagger), str(data), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["accuracy"] == 1
    assert shown.err.count("column 1 is read as the elements and column 4 as the labels") == 1
    labels = [e.label for e in st.load(tagger).label([["Peter", "rejects"]])[0]]
    assert labels == ["B-PER", "O"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("eng.conll", "-DOCSTART- -X- -X- O\n\nPeter NNP B-NP O\nrejects VBZ B-VP O\n"),
        ("tokens.conll", "Peter\nrejects\n"),
        ("lines.txt", "Peter rejects\n"),
        ("table.csv", "id,text\n1,Peter rejects\n"),
        ("table.jsonl", '{"text": ["Peter", "rejects"]}\n'),
    ],
)
def test_label_reads_files_as_score_does(
    tagger: Path, tmp_path: Path, capsys: Capture, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    assert main(["label", str(tagger), str(tmp_path / name)]) == 0
    assert capsys.readouterr().out == "B-PER O\n"


def test_label_asks_for_the_column_of_a_table(
    tagger: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "a.tsv"
    table.write_text("Peter\trejects\n")
    assert main(["label", str(tagger), str(table)]) == 2
    assert "--source-column" in capsys.readouterr().err
    assert main(["label", str(tagger), str(table), "--format", "text"]) == 0
    assert main(["label", str(tagger), str(table), "--source-column", "1"]) == 0


def test_fit_and_look_say_what_was_taken_as_a_header(tmp_path: Path, capsys: Capture) -> None:
    table, out = tmp_path / "a.tsv", tmp_path / "model"
    rows = [f"text {i}\t{'ab'[i % 2]}\n" for i in range(30)]
    table.write_text("".join(["urgent\tspam\n", *rows]))
    fit = ["fit", str(table), "--task", "label", "--out", str(out), *SMALL]
    assert main(fit) == 0
    note = "the first line (urgent, spam) is taken as the header"
    assert capsys.readouterr().err.count(note) == 1
    assert any(note in sentence for sentence in st.load(out).training.notes)
    assert any(note in finding.message for finding in st.look(table).findings)
    assert main(["score", str(out), str(table)]) == 0
    assert note in capsys.readouterr().err


def test_no_row_is_lost_if_the_columns_are_given_by_number(tmp_path: Path) -> None:
    table = tmp_path / "a.tsv"
    table.write_text("urgent\tspam\n" + "text\ta\ntext\tb\n" * 5)
    pairs = st.open_labelled(table, source_column="1", target_column="2")
    assert next(pairs.pairs()) == ("urgent", "spam")
    assert len(list(pairs.pairs())) == 11


def test_look_names_tagged_columns_and_separators(tmp_path: Path) -> None:
    (tmp_path / "eng.train").write_text(CONLL)
    report = st.look(tmp_path / "eng.train")
    assert "--format conll" in (report.command or "")
    assert any("column 4 as the labels" in finding.message for finding in report.findings)
    (tmp_path / "a.csv").write_text("id;text\n" + "1;Hallo, Welt\n" * 9)
    findings = st.look(tmp_path / "a.csv").findings
    assert any("columns are separated by ';'" in finding.message for finding in findings)


@pytest.mark.slow
def test_compare_says_once_what_was_taken(tmp_path: Path, capsys: Capture) -> None:
    table, out = tmp_path / "a.csv", tmp_path / "compared"
    table.write_text("id;text\n" + "".join(f"{i};Hallo, Welt {i}\n" for i in range(80)))
    assert main(["compare", str(table), "--models", "markov", "--out", str(out), "--quiet"]) == 0
    note = "columns are separated by ';'"
    assert capsys.readouterr().err.count(note) == 1
    record = json.loads((out / "compare.json").read_text())
    assert [note in sentence for sentence in record["data"]["notes"]] == [True]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_that_a_terminal_cannot_encode_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    (tmp_path / "a.txt").write_text("Привет, мир\n" * 20, encoding="utf-8")
    fit = ["fit", str(tmp_path / "a.txt"), "--model", "markov", "--out", str(tmp_path / "m")]
    shown: dict[bool, bytes] = {}
    for as_json in (False, True):
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        if not as_json:
            assert main(fit) == 0
        json_option = ["--json"] if as_json else []
        assert main(["surprisal", str(tmp_path / "m"), "--text", "Привет", *json_option]) == 0
        shown[as_json] = out.buffer.getvalue()  # type: ignore[attr-defined]
    symbols = json.loads(shown[True])["symbols"]
    assert [symbol["symbol"] for symbol in symbols][:6] == list("Привет")
    expected = "Привет".encode(encoding, "replace")
    assert expected[:1] in shown[False]


def test_a_tiny_temperature_is_greedy() -> None:
    lm = st.LanguageModel("markov")
    lm.fit(["the cat sat", "the dog sat"] * 5, split=(1, 0, 0))
    for temperature in (1e-40, 1e-31, 5e-324):
        greedy = lm.generate("th", 9, temperature=0)
        assert lm.generate("th", 9, temperature=temperature) == greedy


def test_a_text_in_place_of_a_folder_is_refused_in_one_sentence(capsys: Capture) -> None:
    text = "But soft! " * 500
    assert main(["info", text]) == 4
    assert main(["surprisal", text, "--text", "a"]) == 4
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith("seriatim: there is no model folder But soft!") and len(line) < 400
