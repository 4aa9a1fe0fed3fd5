"""Labelled sequences: where they come from, and what is refused."""

from pathlib import Path

import pytest

from seriatim.data.labels import LabelSet, check_labelled, open_labelled
from seriatim.data_profile import look
from seriatim.errors import ConfigError, DataError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_has_a_file_for_each_label(tmp_path: Path) -> None:
    write(tmp_path / "names" / "Greek.txt", "Zeno\n\nPlato\n")
    write(tmp_path / "names" / "Czech.txt", "Dvořák\r\n")
    pairs = open_labelled(tmp_path / "names")
    assert list(pairs.pairs()) == [("Dvořák", "Czech"), ("Zeno", "Greek"), ("Plato", "Greek")]
    assert LabelSet.of(pairs) == LabelSet(("Czech", "Greek"), "sequence")


def test_a_table_has_a_text_and_its_label(tmp_path: Path) -> None:
    pairs = open_labelled(write(tmp_path / "a.tsv", "so good\tpos\nso bad\tneg\n"))
    assert list(pairs.pairs()) == [("so good", "pos"), ("so bad", "neg")]
    assert LabelSet.of(pairs).numbers("pos") == [1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "label\ttext\npos\tso good\n"),
        ("a.csv", "text,label\nso good,pos\n"),
        ("a.jsonl", '{"text": "so good", "label": "pos"}\n'),
        ("b.tsv", "source\ttarget\nso good\tpos\n"),
    ],
)
def test_a_header_of_text_and_label_is_not_a_row(tmp_path: Path, name: str, text: str) -> None:
    assert list(open_labelled(write(tmp_path / name, text)).pairs()) == [("so good", "pos")]


def test_fields_of_other_names_must_be_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"review": "so good", "stars": "5"}\n')
    with pytest.raises(ConfigError, match="which one holds the text and which the label"):
        open_labelled(file)


def test_tagged_lines_are_sequences_of_elements(tmp_path: Path) -> None:
    text = "the\tDET\ncat\tNOUN\n\n\nNew York\tNAME\n"
    pairs = open_labelled(write(tmp_path / "a.conll", text))
    assert list(pairs.pairs()) == [(["the", "cat"], ["DET", "NOUN"]), (["New York"], ["NAME"])]
    labels = LabelSet.of(pairs)
    assert labels.per == "element"
    assert labels.numbers(["NOUN", "DET"]) == [2, 0]


def test_a_line_without_a_label_is_named(tmp_path: Path) -> None:
    pairs = open_labelled(write(tmp_path / "a.conll", "the\tDET\ncat\n"))
    with pytest.raises(DataError, match=r"a\.conll, line 2: 'cat'"):
        LabelSet.of(pairs)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([("a", "x"), ("b", "x")], "only the label 'x'"),
        ([("a", "x"), ("b", "")], "empty label"),
        ([("a", "x"), (["b"], ["y"])], "some sequences and some elements"),
        ([(["a", "b"], ["x"]), (["b"], ["y"])], "2 elements has 1 labels"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(
    data: list[tuple[str, str]], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        LabelSet.of(open_labelled(data))


def test_a_folder_has_a_subfolder_for_each_label(tmp_path: Path) -> None:
    for name, text in {"pos/1.txt": "good\nfilm\n", "pos/0.txt": "fine", "pos/2.txt": ""}.items():
        write(tmp_path / "films" / name, text)
    write(tmp_path / "films" / "neg" / "1.TXT", "bad\r\n")
    write(tmp_path / "films" / "neg" / "2.md", "not read")
    write(tmp_path / "films" / ".git" / "x.txt", "hidden")
    write(tmp_path / "films" / "empty" / "x.md", "no text")
    pairs = open_labelled(tmp_path / "films")
    found = [("bad", "neg"), ("fine", "pos"), ("good\nfilm", "pos")]
    assert list(pairs.pairs()) == found
    assert pairs.notes == ()
    before = pairs.fingerprint()
    for name in ("urls_pos.txt", "urls_neg.txt"):  # as in the IMDb films of Maas et al. 2011
        write(tmp_path / "films" / name, "http://example.org\n")
    pairs = open_labelled(tmp_path / "films")
    assert list(pairs.pairs()) == found
    assert "2 text files beside them are not read (urls_neg.txt, urls_pos.txt)" in pairs.notes[0]
    (tmp_path / "films" / "neg" / "1.TXT").rename(tmp_path / "films" / "pos" / "3.txt")
    write(tmp_path / "films" / "neg" / "9.txt", "worse")
    assert open_labelled(tmp_path / "films").fingerprint() != before


def test_look_sees_that_subfolders_are_labels(tmp_path: Path) -> None:
    for label in ("pos", "neg"):
        for i in range(12):
            write(tmp_path / "films" / label / f"{i}.txt", f"a {label} film of {i} words\n")
    report = str(look(tmp_path / "films"))
    assert "each subfolder is a label" in report
    assert "--task label" in report


def test_a_folder_with_one_label_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "only.txt", "a\n")
    with pytest.raises(DataError, match=r"1 \.txt files"):
        open_labelled(tmp_path)


def test_a_label_that_training_did_not_have_is_named() -> None:
    labels = LabelSet.of(open_labelled([("a", "x"), ("b", "y")]))
    with pytest.raises(DataError, match="'z' was not in the training data, which has x, y"):
        check_labelled(open_labelled([("c", "z")]), labels)
    with pytest.raises(DataError, match="does not have a label for each sequence"):
        check_labelled(open_labelled([(["c"], ["x"])]), labels)


def test_the_fingerprint_changes_with_the_content(tmp_path: Path) -> None:
    before = open_labelled(write(tmp_path / "a.conll", "a\tx\n")).fingerprint()
    after = open_labelled(write(tmp_path / "a.conll", "a\ty\n")).fingerprint()
    assert before != after
