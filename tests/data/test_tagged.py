"""Files with one element and its label per line: which columns are read, and what is skipped."""

from collections.abc import Callable
from pathlib import Path

import pytest

from seriatim.data.labels import open_labelled
from seriatim.data.tagged import looks_tagged
from seriatim.errors import ConfigError, DataError

Write = Callable[[str, str], Path]

CONLL_2003 = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

-DOCSTART- -X- -X- O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""

GERMEVAL = """#\thttp://de.wikipedia.org/wiki/Manfred_Korfmann [2009-10-17]
1\tAufgrund\tO\tO
2\tseiner\tO\tO

#\thttp://de.wikipedia.org/wiki/Schartau [2009-10-17]
1\tSchartau\tB-PER\tO
2\tUni\tB-ORG\tB-LOC
"""

CONLLU = """# sent_id = 1
# text = Vamos al mar
1\tVamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2-3\tal\t_\t_\t_\t_\t_\t_\t_\t_
2\ta\ta\tADP\t_\t_\t4\tcase\t_\t_
3\tel\tel\tDET\t_\t_\t4\tdet\t_\t_
3.1\t_\t_\t_\t_\t_\t_\t_\t_\t_
4\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\t_
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(name: str, content: str) -> Path:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return to_file


def test_conll_2003_has_its_elements_first_and_its_labels_last(write: Write) -> None:
    pairs = open_labelled(write("eng.conll", CONLL_2003))
    assert list(pairs.pairs()) == [
        (["EU", "rejects"], ["B-ORG", "O"]),
        (["Peter", "Blackburn"], ["B-PER", "I-PER"]),
    ]
    (note,) = pairs.notes
    assert "column 1 is read as the elements and column 4 as the labels" in note


def test_germeval_has_its_elements_after_their_numbers(write: Write) -> None:
    pairs = open_labelled(write("de.tsv", GERMEVAL), format="conll")
    assert list(pairs.pairs()) == [
        (["Aufgrund", "seiner"], ["O", "O"]),
        (["Schartau", "Uni"], ["O", "B-LOC"]),
    ]
    outer = open_labelled(write("de.tsv", GERMEVAL), format="conll", target_column="3")
    assert [labels for _, labels in outer.pairs()] == [["O", "O"], ["B-PER", "B-ORG"]]


def test_conllu_gives_words_with_their_upos(write: Write) -> None:
    pairs = open_labelled(write("es.conllu", CONLLU))
    assert list(pairs.pairs()) == [
        (["Vamos", "a", "el", "mar"], ["VERB", "ADP", "DET", "NOUN"]),
    ]
    assert "column 2 (FORM)" in pairs.notes[0] and "column 4 (UPOS)" in pairs.notes[0]


def test_columns_of_conllu_are_chosen_by_name_or_number(write: Write) -> None:
    path = write("es.conllu", CONLLU)
    chosen = open_labelled(path, source_column="lemma", target_column="8")
    assert list(chosen.pairs()) == [(["ir", "a", "el", "mar"], ["root", "case", "det", "obl"])]
    assert chosen.notes == ()
    assert chosen.fingerprint() != open_labelled(path).fingerprint()
    with pytest.raises(ConfigError, match=r"no column 'DEPRELS', only ID, FORM.*mean DEPREL"):
        list(open_labelled(path, target_column="DEPRELS").pairs())


def test_conllu_plus_names_its_columns_itself(write: Write) -> None:
    text = "# global.columns = ID UPOS FORM\n1\tNOUN\tcat\n2\tVERB\tsat\n"
    pairs = open_labelled(write("a.conllu", text))
    assert list(pairs.pairs()) == [(["cat", "sat"], ["NOUN", "VERB"])]


def test_two_columns_need_no_note(write: Write) -> None:
    pairs = open_labelled(write("a.bio", "New York\tB\nis\tO\n"))
    assert list(pairs.pairs()) == [(["New York", "is"], ["B", "O"])]
    assert pairs.notes == ()


def test_no_break_spaces_are_part_of_an_element(write: Write) -> None:
    pairs = open_labelled(write("a.conll", "10\u00a0000 NUM\nans NOUN\n"))
    assert list(pairs.pairs()) == [(["10\u00a0000", "ans"], ["NUM", "NOUN"])]


def test_a_number_sign_with_a_known_label_is_an_element(write: Write) -> None:
    pairs = open_labelled(write("a.conll", "# SYM\n1 NUM\n\n# SYM\n\n$ SYM\n"))
    assert list(pairs.pairs())[1] == (["#"], ["SYM"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the DT\nNew York NAME\n", "line 2: 'New York NAME' has 3 columns and the first line 2"),
        ("the\tDT\ncat NN\n", "line 2: 'cat NN' has 1 column"),
        ("the\tDT\ncat\t\n", "line 2: .* has 1 column"),
        ("the\tDT\n\tNN\n", "line 2: .* has no element"),
        ("the\tx\tDT\ncat\t\tNN\n", None),
        ("# doc1\nthe DT\n", "line 1: '# doc1' begins with # like a comment"),
        ("the DT\n# a comment within\n", "line 2: .* has 4 columns"),
        ("# only\n\n", "no line with an element"),
        ("the\ncat\n", "line 1: 'the' is not an element with its label"),
    ],
)
def test_lines_of_another_width_are_refused(write: Write, text: str, message: str | None) -> None:
    pairs = open_labelled(write("a.conll", text))
    if message is None:
        assert list(pairs.pairs()) == [(["the", "cat"], ["DT", "NN"])]
        return
    with pytest.raises(DataError, match=message.replace("first line 2", "first line has 2")):
        list(pairs.pairs())


def test_a_column_cannot_hold_both_elements_and_labels(write: Write) -> None:
    with pytest.raises(ConfigError, match="both the elements and the labels"):
        list(open_labelled(write("a.conll", "a x\nb y\n"), target_column="1").pairs())


def test_tagged_lines_are_told_from_other_text() -> None:
    for tagged in (CONLL_2003, GERMEVAL, CONLLU):
        assert looks_tagged("\n".join([tagged] * 3).splitlines())
    assert not looks_tagged(["open read close", "", "open close", "a", "b", "c d"])
    assert not looks_tagged(["a line", "of text", "has many", "other words", "than these"])
