"""Files as people have them: read right, or refused by line, never cut or reordered in silence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seriatim.data.labels import open_labelled
from seriatim.data.pairs import open_pairs
from seriatim.data.sources import open_source
from seriatim.errors import ConfigError, DataError, SeriatimError

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to_file


def texts(path: Path, **options: Any) -> list[Any]:
    return list(open_source(path, **options).texts())


def events(path: Path) -> list[Any]:
    return texts(path, column="event", sequence_column="id", order_column="t")


# ---- rows and separators ------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_the_separator_of_a_csv_is_seen_in_its_header(write: Write, separator: str) -> None:
    rows = [("id", "text"), ("1", "Hallo, Welt"), ("2", "Na, dann")]
    path = write("a.csv", "".join(separator.join(row) + "\n" for row in rows))
    assert texts(path) == ["Hallo, Welt", "Na, dann"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "id,text\n1,Hello, world\n", "line 2, has 3 columns and the first row has 2"),
        ("a.csv", "text\nOne, two, three\n", "line 2, has 3 columns and the first row has 1"),
        ("a.csv", 'id,text\n1, "a"\n', "line 2, has a space before a quote"),
        ("a.tsv", "id\ttext\n1\tsay\tit\n", "line 2, has 3 columns"),
        ("a.csv", "id,text\n1,a\rb\n", "carriage return without a line feed.*convert"),
        ("a.csv", "text,text\na,b\n", "2 columns named 'text'"),
    ],
)
def test_a_row_whose_columns_have_shifted_is_refused(
    write: Write, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        texts(write(name, content))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "source\ttarget\nI\tsay\tIch sage\n", "line 2, has 3 columns"),
        ("a.csv", 'source, target\n"a, b", "c, d"\n', "line 2, has 3 columns"),
        ("a.csv", "Hello, you;Hallo, du\n", "separated by ';'"),
        ("a.csv", "Hello, you;Hallo du\nYes, sir;Jawohl\n", "separated by ';'"),
        ("a.tsv", "Hello, you;Hallo, du\n", "has columns 1 to 1"),
    ],
)
def test_pairs_whose_columns_have_shifted_are_refused(
    write: Write, name: str, content: str, message: str
) -> None:
    with pytest.raises(SeriatimError, match=message):
        list(open_pairs(write(name, content)).pairs())


def test_labels_whose_columns_have_shifted_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match="line 2, has 3 columns"):
        list(open_labelled(write("l.csv", "text,label\nHello, you,pos\nno,neg\n")).pairs())
    path = write("l.csv", "text;label\nHello, you;pos\nno;neg\n")
    assert list(open_labelled(path).pairs()) == [("Hello, you", "pos"), ("no", "neg")]
    assert "columns are separated by ';'" in open_labelled(path).notes[0]


def test_separators_inside_of_quotes_do_not_count(write: Write) -> None:
    path = write("a.csv", '"id";"text, long"\n"1";"Hallo, Welt"\n')
    assert texts(path, column="text, long") == ["Hallo, Welt"]


def test_a_header_may_be_quoted_over_several_lines(write: Write) -> None:
    path = write("a.csv", '"text\nof it",n\na,1\n')
    assert texts(path, column="text\nof it") == ["a"]


def test_a_comma_beside_another_separator_is_noted(write: Write) -> None:
    notes = open_source(write("a.csv", "id,text; long\n1,a\n"), column="id").notes
    assert "separated by ',', though its first line also has ';'" in notes[0]


def test_quotes_in_a_tsv_are_noted(write: Write) -> None:
    path = write("a.tsv", 'id\ttext\n1\t"so ""good"" it is"\n')
    assert texts(path) == ['"so ""good"" it is"']
    assert "quotes around values are read as part of them" in open_source(path).notes[0]
    assert texts(path, format="csv") == ['so "good" it is']


def test_a_quoted_separator_is_part_of_the_value(write: Write) -> None:
    assert texts(write("a.csv", 'id,text\n1,"Hello, world"\n')) == ["Hello, world"]


# ---- the order of events ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        ["9", "10", "100"],
        ["9.5", "10", "10.25"],
        ["2023-09-30", "2023-10-01", "2023-10-02"],
        ["10:00:00+02:00", "08:30Z", "09:30Z"],
        ["10:00:00Z", "10:00:00.500Z", "10:00:01Z"],
        ["2023-01-01T10:00:00Z", "2023-01-01T10:00:00.500Z", "2023-01-01T10:00:01Z"],
        ["2023-01-01T10:00:00+02:00", "2023-01-01T08:30:00Z", "2023-01-01T09:30:00Z"],
        ["2023-01-01 09:05:00", "2023-01-01 10:05:00", "2023-01-02 09:05:00"],
        # Finer than a float or a datetime can hold.
        ["1700000000.000000001", "1700000000.000000002", "1700000000.1"],
        ["2023-01-01T00:00:00Z", "2023-01-01T00:00:00.000000001Z", "2023-01-01T00:00:00.1Z"],
        ["00:00:00", "00:00:00.0000001", "00:00:00.0000002"],
    ],
)
def test_events_are_sorted_by_numbers_and_by_instants(write: Write, keys: list[str]) -> None:
    rows = [f'a,e{i},"{key}"\n' for i, key in enumerate(keys)]
    path = write("e.csv", "id,event,t\n" + "".join(reversed(rows)))
    assert events(path) == [["e0", "e1", "e2"]]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["9,5", "10,5"], "line 2: the order column 't' is '9,5'.*ISO 8601"),
        (["9:05", "10:05"], "line 2: the order column 't' is '9:05'"),
        (["9/30/2023", "10/1/2023"], "line 2: .*ISO 8601"),
        (["20171224-0:0:0:215"], "line 2: .*ISO 8601"),
        (["1", ""], "line 3: the order column 't' is empty"),
        (["1", "nan"], "line 3: the order column 't' is 'nan'"),
        (["1", "inf"], "line 3: the order column 't' is 'inf'"),
        (["1", " "], "line 3: the order column 't' is empty"),
        (["1", "2023-09-30"], "line 3: .*a date .2023-09-30. and, in line 2, a number"),
        (["2023-01-01T10:00:00", "2023-01-01T10:00:00Z"], "line 3: .*write all in one form"),
    ],
)
def test_keys_that_cannot_be_ordered_are_refused_by_line(
    write: Write, keys: list[str], message: str
) -> None:
    rows = "".join(f'a,e,"{key}"\n' for key in keys)
    with pytest.raises(DataError, match=message):
        events(write("e.csv", "id,event,t\n" + rows))


def test_an_empty_sequence_id_is_refused_by_line(write: Write) -> None:
    with pytest.raises(DataError, match="line 3, has an empty sequence id"):
        events(write("e.csv", "id,event,t\na,x,1\n,y,2\n"))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_parquet_are_sorted_as_instants(tmp_path: Path, unit: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "id": ["a", "a", "a"],
        "event": ["e2", "e0", "e1"],
        "t": arrow.array([10_000_000_001, 9, 9_999_999_999], arrow.timestamp(unit)),
    }
    parquet.write_table(arrow.table(columns), tmp_path / "e.parquet")
    assert events(tmp_path / "e.parquet") == [["e0", "e1", "e2"]]


# ---- headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Source\tTarget", "SRC\tTGT", "n\tInput\tOutput"])
def test_usual_headers_are_known_in_any_case(write: Write, header: str) -> None:
    row = "7\ta\tb" if header.startswith("n") else "a\tb"
    assert list(open_pairs(write("p.tsv", f"{header}\n{row}\n")).pairs()) == [("a", "b")]


@pytest.mark.parametrize("header", ["Text,Label", "sentence\tlabel", "Title\tArea"])
def test_the_header_of_labelled_texts_is_not_a_text(write: Write, header: str) -> None:
    separator = "," if "," in header else "\t"
    rows = [header, *(f"text {i}{separator}{'ab'[i % 2]}" for i in range(8))]
    path = write("l.csv" if separator == "," else "l.tsv", "".join(row + "\n" for row in rows))
    assert next(iter(open_labelled(path).pairs())) == ("text 0", "a")


def test_labels_without_a_header_lose_no_row(write: Write) -> None:
    path = write("l.tsv", "".join(f"text {i}\t{'ab'[i % 2]}\n" for i in range(8)))
    assert len(list(open_labelled(path).pairs())) == 8


def test_a_csv_of_one_column_without_a_header_loses_no_row(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"first line, 'one', is a header.*--column 1"):
        texts(write("a.csv", "one\ntwo\n"))
    assert texts(write("a.csv", "one\ntwo\n"), column="1") == ["one", "two"]
    assert texts(write("a.csv", "one\ntwo\n"), column="one") == ["two"]
    assert texts(write("a.csv", "Text\ntwo\n")) == ["two"]


def test_the_column_text_is_known_in_any_case(write: Write) -> None:
    assert texts(write("a.csv", "ID,Text\n1,a\n")) == ["a"]


@pytest.mark.parametrize("first", ["urgent\tspam", "Title\tArea"])
def test_a_first_row_that_may_be_a_header_is_never_dropped_in_silence(
    write: Write, first: str
) -> None:
    path = write("l.tsv", first + "\n" + "a text\ta\nb text\tb\n" * 4)
    (note,) = open_labelled(path).notes
    assert "is taken as the header" in note and "--source-column 1 --target-column 2" in note
    assert len(list(open_labelled(path).pairs())) == 8
    kept = open_labelled(path, source_column="1", target_column="2")
    assert len(list(kept.pairs())) == 9


def test_a_first_row_that_is_read_as_data_is_noted(write: Write) -> None:
    (note,) = open_pairs(write("p.tsv", "English\tGerman\na\tb\n")).notes
    assert "the first line (English, German) is read as a pair" in note
    (note,) = open_pairs(write("p.tsv", "Hi.\tHallo!\tCC-BY\n")).notes
    assert "of its 3 columns only the first two" in note
    (note,) = open_source(write("a.csv", "id,text\n1,a\n"), column="2").notes
    assert "read as data and not as a header, since columns are given by number" in note
    (note,) = open_source(write("a.csv", "Sentence\na\n")).notes
    assert "(Sentence) is taken as the header" in note


@pytest.mark.parametrize("content", ["text\na\n", "text,n\na,1\n", "n,Text\n1,a\n"])
def test_a_usual_header_needs_no_note(write: Write, content: str) -> None:
    assert open_source(write("a.csv", content)).notes == ()


# ---- one number, one symbol ---------------------------------------------------------------------


def test_a_number_is_one_symbol_however_it_is_written(write: Write, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    whole = events(write("e.csv", "id,event,t\n1,17,1\n1,4,2\n"))
    gaps = events(write("f.csv", "id,event,t\n1.0,17.0,1.0\n1.0,4.0,2.0\n"))
    lines = '{"id": 1, "event": 17.0, "t": 1}\n{"id": "1", "event": "4", "t": 2}\n'
    fields = texts(write("e.jsonl", lines), field="event", sequence_column="id", order_column="t")
    table = arrow.table({"id": [1.0, 1.0], "event": [17.0, 4.0], "t": [1, 2]})
    parquet.write_table(table, tmp_path / "e.parquet")
    assert whole == gaps == fields == events(tmp_path / "e.parquet") == [["17", "4"]]


def test_a_label_is_one_class_however_it_is_written(write: Write) -> None:
    path = write("l.csv", "text,label\na,1\nb,1.0\nc,0.0\nd, 1\n")
    assert [label for _, label in open_labelled(path).pairs()] == ["1", "1", "0", "1"]
    lines = "".join(f'{{"text": "a", "label": {label}}}\n' for label in ("1", "1.0", '"1"'))
    assert [label for _, label in open_labelled(write("l.jsonl", lines)).pairs()] == ["1"] * 3


def test_an_empty_label_is_refused_by_line(write: Write) -> None:
    with pytest.raises(DataError, match="line 3, has an empty label"):
        list(open_labelled(write("l.csv", "text,label\na,x\nb,\n")).pairs())


def test_numbers_that_are_not_whole_stay_as_they_are(write: Write) -> None:
    path = write("e.csv", "id,event,t\na,17.5,1\na,1.0.0,2\na,v2.0,3\n")
    assert events(path) == [["17.5", "1.0.0", "v2.0"]]


# ---- no foreign exceptions ----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["ROMEO: " + "But soft! " * 400, "ROMEO: some text", "a\0b c"])
def test_a_text_given_for_a_path_is_said_to_be_one(text: str) -> None:
    for opened in (open_source, open_pairs, open_labelled):
        with pytest.raises(
            DataError, match=r"no file .*to score a text itself, pass a list: \[text\]"
        ):
            opened(text)  # type: ignore[operator]


@pytest.mark.parametrize("text", ["plain text here\n", "Привет, мир, и снова привет\n"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_refused_by_name(write: Write, text: str, encoding: str) -> None:
    path = write("a.txt", text.encode(encoding))
    with pytest.raises(DataError, match=f"give --encoding {encoding}"):
        texts(path)
    assert texts(path, encoding=encoding, sequences="line") == [text[:-1]]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (
            "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
            "cp932",
        ),
        ("人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。", "gb18030"),
        ("Все люди рождаются свободными и равными в своём достоинстве и правах.", "cp1251"),
        ("Die Straße war lang, und überall blühten schöne Bäume; Äpfel, Öl.", "latin-1"),
        ("“One” – “two” – “three” – “four”, and so on.", "cp1252"),
    ],
)
def test_the_encoding_of_other_text_is_named(write: Write, text: str, encoding: str) -> None:
    with pytest.raises(DataError, match=f"--encoding {encoding}$"):
        texts(write("a.txt", text.encode(encoding)))


def test_one_bad_byte_in_utf8_is_to_be_corrected(write: Write) -> None:
    with pytest.raises(DataError, match=r"0xff at offset 250 cannot be decoded; correct it"):
        texts(
            write("a.txt", "schöne Bäume\n".encode() * 16 + b"aaaaaaaaaa\xff" + "ä\n".encode() * 9)
        )


def test_a_list_for_an_id_and_no_value_are_refused(write: Write) -> None:
    options = {"field": "event", "sequence_column": "id"}
    with pytest.raises(DataError, match="line 1: the sequence id is a list"):
        texts(write("e.jsonl", '{"id": ["a"], "event": "x"}\n'), **options)
    with pytest.raises(DataError, match="line 1: no value"):
        texts(write("e.jsonl", '{"id": NaN, "event": "x"}\n'), **options)


def test_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table([["a"], ["b"]], names=["text", "text"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="2 columns named 'text'"):
        texts(tmp_path / "a.parquet")


def test_a_damaged_parquet_file_and_text_read_as_utf16_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match="cannot be read as parquet"):
        open_pairs(write("a.parquet", b"PAR1" + bytes(30) + b"PAR1"))
    with pytest.raises(DataError, match="give --encoding utf-8"):
        texts(write("a.txt", "plain text\n"), encoding="utf-16")


def test_lone_carriage_returns_are_refused_by_name(write: Write) -> None:
    with pytest.raises(DataError, match="carriage return without a line feed"):
        texts(write("a.jsonl", '{"text": "a"}\r{"text": "b"}\r'))
    with pytest.raises(DataError, match="carriage return without a line feed"):
        list(open_pairs(write("a.tsv", "source\ttarget\ra\tb\r")).pairs())


# ---- suffixes -----------------------------------------------------------------------------------


def test_suffixes_count_in_any_case(write: Write) -> None:
    import gzip

    assert texts(write("A.CSV", "text,n\na,1\n")) == ["a"]
    assert texts(write("A.JSONL", '{"text": "a"}\n')) == ["a"]
    assert texts(write("A.TXT.GZ", gzip.compress(b"a\nb\n")), sequences="line") == ["a", "b"]
    assert texts(write("A.Tsv.Gz", gzip.compress(b"text\tn\na\t1\n"))) == ["a"]
    compressed = write("A.CONLL.GZ", gzip.compress(b"the D\ncat N\n\n"))
    assert list(open_labelled(compressed).pairs()) == [(["the", "cat"], ["D", "N"])]
    path = write("A.CONLL", "the D\ncat N\n\n")
    assert list(open_labelled(path).pairs()) == [(["the", "cat"], ["D", "N"])]
