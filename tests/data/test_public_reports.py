"""Files from public reports about other toolkits, each read right or refused by line.

docs/decisions/2026-11-28-faults-readers.md lists them with their results.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seriatim.data.labels import open_labelled
from seriatim.data.pairs import open_pairs
from seriatim.data.sources import open_source
from seriatim.errors import DataError

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(name: str, content: str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode())
        return path

    return to_file


def texts(path: Path, **options: Any) -> list[Any]:
    return list(open_source(path, **options).texts())


def test_a_hashtag_is_an_element(write: Write) -> None:  # flair 940
    path = write("wnut.conll", "@paul\tO\n#iphone\tB-product\n\n#now\tO\nbuy\tO\n")
    assert list(open_labelled(path).pairs()) == [
        (["@paul", "#iphone"], ["O", "B-product"]),
        (["#now", "buy"], ["O", "O"]),
    ]


def test_the_start_of_a_document_is_no_element_of_a_sentence(write: Write) -> None:  # flair 2060
    path = write("ned.conll", "-DOCSTART- -DOCSTART- O\nDat Pron O\nis V O\n")
    assert list(open_labelled(path).pairs()) == [(["Dat", "is"], ["O", "O"])]


def test_sentences_of_one_element_keep_their_labels(write: Write) -> None:  # flair 3306
    path = write("a.conll", "Test\tO\n\nLoad\tO\n\nHi\tO\nJohn\tNAME\n")
    assert [labels for _, labels in open_labelled(path).pairs()] == [["O"], ["O"], ["O", "NAME"]]


def test_spaces_within_an_element_of_conll_2003_are_refused(write: Write) -> None:  # spaCy 8737
    path = write("a.conll", "Name _ O I-PER\t\t\nLast Name _ O I-PER\n")
    with pytest.raises(DataError, match=r"line 2: 'Last Name .* has 5 columns"):
        list(open_labelled(path).pairs())


def test_a_line_of_conllu_without_columns_is_refused(write: Write) -> None:  # spaCy 11469
    row = "\t".join(["1", "a", "a", "X", *"______"])
    with pytest.raises(DataError, match="line 2: 'oops' has 1 column"):
        list(open_labelled(write("a.conllu", f"{row}\noops\n")).pairs())


def test_a_quote_at_the_beginning_of_a_line_joins_no_rows(write: Write) -> None:  # torchtext 349
    path = write("a.tsv", 'source\ttarget\na " c\tb\n" b c\ta\n"Second\tsecond\n')
    assert list(open_pairs(path).pairs()) == [
        ('a " c', "b"),
        ('" b c', "a"),
        ('"Second', "second"),
    ]


def test_a_value_may_have_line_ends(write: Write) -> None:  # torchtext 210
    path = write("a.csv", 'text,label\n"one\ntwo",pos\nthree,neg\n')
    assert list(open_labelled(path).pairs()) == [("one\ntwo", "pos"), ("three", "neg")]


def test_a_format_is_known_in_any_case(write: Write) -> None:  # torchtext 351
    path = write("a.txt", "so , unless\tof course it is .\n")
    assert list(open_pairs(path, format="TSV").pairs()) == [("so , unless", "of course it is .")]


def test_a_quoted_comma_needs_no_header(write: Write) -> None:  # pytext 747
    assert texts(write("a.csv", '1,"hello, there"\n'), column="2") == ["hello, there"]


def test_a_field_may_change_its_type_between_records(write: Write) -> None:  # FlashRAG 132
    path = write("a.jsonl", '{"text": "a"}\n{"text": 1984}\n{"text": ["a", 3]}\n')
    assert texts(path) == ["a", "1984", ["a", "3"]]


def test_only_line_feeds_end_lines_of_parallel_files(write: Write) -> None:  # tensorflow 2633
    source = write("a.fr", "Horaires.\r Planifier le\u2028travail\nfin\x00\n")
    target = write("a.en", "Hours. Plan the work\nend\n")
    assert len(list(open_pairs(source, target).pairs())) == 2


def test_an_empty_line_in_a_csv_is_no_row(write: Write) -> None:  # gpt-2-simple 235
    assert texts(write("a.csv", "text\na\n\nb\n")) == ["a", "b"]


def test_more_fields_than_the_header_are_refused_by_line(write: Write) -> None:  # ludwig 201
    with pytest.raises(DataError, match="line 3, has 3 columns and the first row has 2"):
        texts(write("a.csv", "n,text\n1,a\n2,b,c\n"))


def test_a_tab_within_a_passage_is_refused_by_line(write: Write) -> None:  # ColBERT 381
    with pytest.raises(DataError, match="line 2, has 3 columns"):
        texts(write("a.tsv", "id\ttext\n1\ta\tpassage\n"))
