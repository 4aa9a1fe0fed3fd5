"""The kind of data: detected from a small file of each kind, and from real files."""

import json
from pathlib import Path

import pytest

from seriatim.data.sources import FileSource, open_source
from seriatim.data_profile.kind import DataKind, detect_kind


def kind(path: Path, **columns: str) -> DataKind:
    source = open_source(path)
    assert isinstance(source, FileSource)
    return detect_kind(source.paths, source.formats, "utf-8", columns)


def written(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


PROSE = "The cat sat on the mat, and the dog watched it without a word.\nIt rained again.\n" * 30


@pytest.mark.parametrize(
    ("name", "text", "expected", "task", "options"),
    [
        ("a.txt", PROSE, "text", "language", {}),
        (
            "a.log",
            "5 22 11 9\n5 5 26\n22 5 11 9 26\n" * 40,
            "events",
            "language",
            {"sequences": "line", "symbols": "word"},
        ),
        ("a.txt", "3.5\n-2\n1e-3\n7\n12,000.5\n", "numbers", "forecast", {}),
        ("a.txt", "IN: jump OUT: I_JUMP\nIN: run left OUT: I_LEFT I_RUN\n" * 3, "pairs",
         "translation", {}),
        ("a.tsv", "aad\taː t\nalst\taː l s t\nbed\tb ɛ t\n" * 3, "pairs", "translation",
         {"task": "translation"}),
        ("a.tsv", "source\ttarget\na\tb\n", "pairs", "translation",
         {"source-column": "source", "target-column": "target"}),
        ("a.csv", "src,tgt\na,b\n", "pairs", "translation",
         {"source-column": "src", "target-column": "tgt"}),
        ("a.csv", "date,co2\n1958,316.1\n1959,\n1960,317\n", "numbers", "forecast", {}),
        ("a.csv", "id,body\n1,some longer text\n2,another text\n", "documents", "language",
         {"column": "body"}),
        ("a.csv", "text\nsome\nmore\n", "documents", "language", {}),
        ("a.tsv", "text\tlabel\n" + "so good\tpos\nso bad\tneg\n" * 12, "labelled", "label", {}),
        ("a.csv", "comment,class\n" + "so good,pos\nso bad,neg\nodd one,neg\n" * 12, "labelled",
         "label", {"source-column": "comment", "target-column": "class"}),
        ("a.dat", "+,S10, tacta\n-,AMPC, tgcta\n" * 4, "documents", "language",
         {"format": "csv", "column": "3"}),
        ("a.conll", "the DET\ncat NOUN\n\n", "tagged", "label", {}),
        ("a.json", json.dumps(["a", "b"]), "json", None, {}),
        ("a.data", '{"text": "a"}\n{"text": "b"}\n', "documents", "language",
         {"format": "jsonl"}),
        ("a.jsonl", '{"text": "a"}\n{"text": "b"}\n', "documents", "language", {}),
        ("a.jsonl", '{"events": ["a", "b"]}\n{"events": ["b"]}\n', "documents", "language",
         {"symbols": "word"}),
        ("a.txt", "", "text", "language", {}),
    ],
)  # fmt: skip
def test_the_kind_of_a_file_is_detected_by_its_first_records(
    tmp_path: Path, name: str, text: str, expected: str, task: str | None, options: dict[str, str]
) -> None:
    path = written(tmp_path, name, text or "\n")
    detected = kind(path)
    assert (detected.name, detected.task, detected.options) == (expected, task, options)


def test_a_table_of_events_names_its_columns(tmp_path: Path) -> None:
    rows = "".join(f"s{i // 3},{i},{'abc'[i % 3]}\n" for i in range(60))
    detected = kind(written(tmp_path, "a.csv", "session_id,time,event\n" + rows))
    assert detected.name == "event table"
    assert detected.options == {
        "column": "event",
        "sequence-column": "session_id",
        "order-column": "time",
        "symbols": "word",
    }


def test_empty_cells_are_counted_by_column(tmp_path: Path) -> None:
    detected = kind(written(tmp_path, "a.csv", "date,co2\n1958,316.1\n1959,\n1960,317\n1961,\n"))
    assert [(c.name, c.empty, c.values) for c in detected.columns] == [
        ("date", 0, 4),
        ("co2", 2, 4),
    ]


def test_the_users_columns_take_precedence(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "source,target\na,b\n")
    assert kind(path, column="source").name == "documents"


def test_a_folder_of_short_lines_is_labelled_and_one_of_prose_is_text(tmp_path: Path) -> None:
    for name in ("Arabic", "Czech", "Dutch", "Greek", "Irish"):
        written(tmp_path, f"names/{name}.txt", "Khoury\nNahas\n")
        written(tmp_path, f"prose/{name}.txt", PROSE)
    written(tmp_path, "names/LICENSE", "Free.\n")
    assert kind(tmp_path / "names").name == "labelled"
    assert kind(tmp_path / "prose").name == "text"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("blns/blns.txt", "text"),
        ("blns/blns.json", "json"),
        ("cmudict/cmudict.dict", "text"),
        ("deeplog-hdfs/hdfs_train", "events"),
        ("dna-promoters/promoters.data", "documents"),
        ("ett/ETTh1.csv", "numbers"),
        ("names", "labelled"),
        ("novels", "text"),
        ("polyphonic-music/JSB_Chorales.json", "json"),
        ("scan/length_split/tasks_test_length.txt", "pairs"),
        ("sigmorphon2021-g2p/medium/dut_train.tsv", "pairs"),
        ("small_parallel_enja/train.ja", "text"),
        ("statsmodels-series/co2.csv", "numbers"),
        ("tinyshakespeare/input.txt", "text"),
        ("wikitext-2/test.txt", "text"),
    ],
)
def test_the_kind_of_real_data_is_detected(shared_data: Path, place: str, expected: str) -> None:
    assert kind(shared_data / place).name == expected
