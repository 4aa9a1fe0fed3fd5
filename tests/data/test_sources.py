"""Reading: the rule of the text, the three kinds of sequences, every format, every refusal."""

import gzip
import json
import tracemalloc
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seriatim.data import files as text_lines
from seriatim.data.sources import Source, open_source
from seriatim.errors import ConfigError, DataError, DecodingError, MissingExtraError

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to


def read(source: Source) -> list[str | list[str]]:
    return list(source.texts())


def stream(path: Path, **options: str) -> str:
    return "".join(map(str, open_source(path, sequences="stream", **options).texts()))


# ---- the rule of the text -----------------------------------------------------------------------


def test_byte_order_mark_is_dropped_only_at_the_beginning(write: Write) -> None:
    assert stream(write("a.txt", b"\xef\xbb\xbfab\xef\xbb\xbfc\n")) == "ab\ufeffc\n"


def test_crlf_becomes_lf_and_a_lone_cr_stays(write: Write) -> None:
    assert stream(write("a.txt", b"a\r\nb\rc\r\r\n\r")) == "a\nb\rc\r\n\r\n"


def test_crlf_across_the_blocks_of_reading_is_one_line_end(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.txt", "ä\r\nb\r\r\nc\r")
    whole = stream(path)
    for size in range(1, 12):
        monkeypatch.setattr(text_lines, "BLOCK_BYTES", size)
        assert stream(path) == whole == "ä\nb\r\nc\r\n"


@pytest.mark.parametrize("kind", ["line", "document", "stream"])
def test_missing_last_line_end_is_added(write: Write, kind: str) -> None:
    without, with_end = write("a.txt", "a\nb"), write("b.txt", "a\nb\n")
    for path in (without, with_end):
        texts = read(open_source(path, sequences=kind))
        assert texts == ["a", "b"] if kind == "line" else "".join(map(str, texts)) == "a\nb\n"


def test_only_lf_ends_a_line(write: Write) -> None:
    odd = "a\x0bb\x0cc\x1cd\x85e\u2028f\x00g"
    assert read(open_source(write("a.txt", odd + "\nh"), sequences="line")) == [odd, "h"]


def test_empty_lines_are_sequences_unless_skipped(write: Write) -> None:
    path = write("a.txt", "\na\n\n\n")
    assert read(open_source(path, sequences="line")) == ["", "a", "", ""]
    assert read(open_source(path, sequences="line", skip_empty=True)) == ["a"]


@given(st.text(st.sampled_from("ab \r\n\x85"), min_size=1))
def test_every_kind_of_sequence_holds_the_same_text(text: str) -> None:
    source = {kind: open_source([text], sequences=kind) for kind in ("line", "document", "stream")}
    normal = text.replace("\r\n", "\n")
    ended = normal if normal.endswith("\n") else normal + "\n"
    assert read(source["document"]) == [normal]
    assert read(source["stream"]) == [ended]
    assert "".join(f"{line}\n" for line in read(source["line"])) == ended


@given(st.lists(st.text(st.sampled_from("ab \n\t"), min_size=1, max_size=9), min_size=1))
def test_pieces_make_up_the_text(parts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_lines, "PIECE_CHARACTERS", 3)
        found = list(text_lines.split_pieces(parts))
    text = "".join(parts)
    assert "".join(found) == (text if text.endswith("\n") else text + "\n")
    at_ends = set(accumulate(map(len, parts)))  # of blocks, the last resort
    for (before, after), end in zip(pairwise(found), accumulate(map(len, found)), strict=False):
        is_between_words = not before[-1].isspace() and after[0] == " "
        assert before[-1] == "\n" or is_between_words or end in at_ends


def test_a_long_line_is_cut_between_words() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_lines, "PIECE_CHARACTERS", 8)
        found = list(text_lines.split_pieces(["ab  cd", " ef g", "h ij  ", "kl\nm"]))
    assert found == ["ab  cd ef", " gh ij  kl\n", "m\n"]


def test_a_word_too_long_for_memory_is_cut(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", 4)
    monkeypatch.setattr(text_lines, "PIECE_CHARACTERS", 8)
    found = read(open_source(write("a.txt", "x" * 40)))
    assert "".join(map(str, found)) == "x" * 40 + "\n" and max(map(len, found)) <= 13


# ---- encodings ----------------------------------------------------------------------------------


def test_bytes_that_are_not_utf8_are_named_with_their_offset(write: Write) -> None:
    path = write("a.txt", b"x" * 1_500_000 + b"caf\xe9\n")
    with pytest.raises(DecodingError, match=r"0xe9 at offset 1,500,003 .*--encoding latin-1"):
        read(open_source(path))
    assert stream(path, encoding="latin-1").endswith("café\n")


def test_a_character_cut_off_at_the_end_is_named(write: Write) -> None:
    with pytest.raises(DecodingError, match="0xe2 at offset 2"):
        read(open_source(write("a.txt", b"ab\xe2\x82")))


def test_the_offset_counts_bytes_held_back_from_the_block_before(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", 4)
    with pytest.raises(DecodingError, match="0xe2 at offset 3"):
        read(open_source(write("a.txt", b"abc\xe2x")))


def test_utf16_is_recognized_in_the_message_and_read_when_named(write: Write) -> None:
    path = write("a.txt", "aß\r\nb".encode("utf-16"))
    with pytest.raises(DecodingError, match="--encoding utf-16"):
        read(open_source(path))
    assert stream(path, encoding="utf-16") == "aß\nb\n"


def test_an_unknown_encoding_is_refused(write: Write) -> None:
    for encoding in ("latin-x", "base64"):
        with pytest.raises(ConfigError, match=f"unknown text encoding '{encoding}'"):
            open_source(write("a.txt", "a"), encoding=encoding)


def test_nul_bytes_are_text(write: Write) -> None:
    assert stream(write("a.txt", b"a\0b")) == "a\0b\n"


# ---- files and folders --------------------------------------------------------------------------


def test_gzip_is_decompressed(write: Write) -> None:
    assert stream(write("a.txt.gz", gzip.compress(b"a\r\nb"))) == "a\nb\n"
    packed = write("b.csv.gz", gzip.compress(b"text\nab\n"))
    assert read(open_source(packed)) == ["ab"]


def test_damaged_gzip_is_refused(write: Write) -> None:
    whole = gzip.compress(bytes(range(256)) * 4, mtime=0)
    altered = whole[:-6] + b"\0" + whole[-5:]
    for content in (whole[:-9], whole[:40] + b"\xff" * 9 + whole[49:], altered, b"plain"):
        with pytest.raises(DataError, match="not a complete gzip file"):
            read(open_source(write("a.txt.gz", content), encoding="latin-1"))


def test_a_folder_is_its_files_by_name_without_hidden_ones(write: Write, tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/.hidden", ".git/config", "c.py", "__pycache__/c.pyc"):
        write(f"d/{name}", name)
    source = open_source(tmp_path / "d")
    assert source.sequences == "stream"
    assert "".join(map(str, source.texts())) == "a/z.md\nb.txt\nc.py\n"
    assert read(open_source(tmp_path / "d", sequences="document")) == [
        "a/z.md\n",
        "b.txt\n",
        "c.py\n",
    ]


def test_a_folder_of_records_is_documents(write: Write, tmp_path: Path) -> None:
    write("d/1.jsonl", '{"text": "a"}\n')
    write("d/2.csv", "text\nb\n")
    source = open_source(tmp_path / "d")
    assert source.sequences == "document" and read(source) == ["a", "b"]


def test_empty_files_in_a_folder_give_nothing(write: Write, tmp_path: Path) -> None:
    write("d/a.txt", "")
    write("d/b.txt", "b")
    for kind in ("line", "document", "stream"):
        assert "".join(map(str, open_source(tmp_path / "d", sequences=kind).texts())).strip() == "b"


def test_a_list_of_paths_is_files(write: Write) -> None:
    assert read(open_source([write("b.txt", "b"), write("a.txt", "a")])) == ["b\n", "a\n"]


def test_nothing_to_read_is_refused(write: Write, tmp_path: Path) -> None:
    write("training.txt", "a")
    with pytest.raises(DataError, match=r"no file .*trainig.txt'; did you mean training.txt"):
        open_source(tmp_path / "trainig.txt")
    with pytest.raises(DataError, match="empty"):
        open_source(write("empty.txt", ""))
    with pytest.raises(DataError, match="empty"):
        read(open_source(write("mark.txt", b"\xef\xbb\xbf")))
    with pytest.raises(DataError, match="has a header and no rows"):
        read(open_source(write("header.csv", "text\n")))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="has no files in it"):
        open_source(tmp_path / "none")


# ---- records ------------------------------------------------------------------------------------


def test_jsonl_takes_a_field(write: Write) -> None:
    path = write("a.jsonl", '{"id": 1, "body": "x\\r\\ny"}\n\n{"body": "\\u00e9", "id": 2}\n')
    assert read(open_source(path, field="body")) == ["x\ny", "é"]
    assert read(open_source(path, field="body", sequences="line")) == ["x", "y", "é"]
    assert stream(path, field="body") == "x\ny\né\n"


def test_jsonl_without_a_field_takes_text_the_only_one_or_the_value(write: Write) -> None:
    rows = ['{"n": 1, "text": "a"}', '{"only": "b"}', '"c"', '["d e", 5]']
    assert read(open_source(write("a.jsonl", "\n".join(rows)))) == ["a", "b", "c", ["d e", "5"]]
    with pytest.raises(ConfigError, match="a, b: say which"):
        read(open_source(write("b.jsonl", '{"a": "x", "b": "y"}')))


def test_errors_in_records_name_their_line(write: Write) -> None:
    good = '{"text": "a"}\n'
    with pytest.raises(DataError, match="line 2, is not JSON"):
        read(open_source(write("a.jsonl", good + '{"text": \n')))
    with pytest.raises(DataError, match="line 2: no value"):
        read(open_source(write("b.jsonl", good + '{"text": null}')))
    with pytest.raises(DataError, match="line 2: a value of type bool"):
        read(open_source(write("c.jsonl", good + '{"text": true}')))
    with pytest.raises(ConfigError, match=r"no column 'texts', only text, n; did you mean text"):
        read(open_source(write("d.jsonl", '{"text": "a", "n": 1}'), field="texts"))


def test_csv_takes_a_column_with_quotes_and_line_ends_inside(write: Write) -> None:
    path = write("a.csv", '\ufeffid,said\r\n1,"a, ""b""\r\nc"\r\n2,d\r\n')
    assert read(open_source(path, column="said")) == ['a, "b"\nc', "d"]


def test_a_csv_value_may_be_longer_than_the_modules_own_limit(write: Write) -> None:
    path = write("a.csv", "text\n" + "x" * 200_000 + "\n")
    assert read(open_source(path)) == ["x" * 200_000]


def test_tsv_has_no_quotes_and_a_number_counts_columns_without_a_header(write: Write) -> None:
    path = write("a.tsv", '"a\t1 2\nb"\t3\n')
    assert read(open_source(path, column="1")) == ['"a', 'b"']
    assert read(open_source(path, column="2", sequences="line")) == ["1 2", "3"]
    with pytest.raises(ConfigError, match="columns 1 to 2, and column 3 is needed"):
        read(open_source(path, column="3"))


def test_errors_in_tables_name_their_line(write: Write) -> None:
    with pytest.raises(DataError, match="line 3, has 1 column and the first row has 2"):
        read(open_source(write("a.csv", "n,text\n1,a\n2\n")))
    with pytest.raises(DataError, match="is not csv"):
        read(open_source(write("b.csv", 'text\n"a\nb\n')))
    with pytest.raises(ConfigError, match="no column 'txt', only n, text; did you mean text"):
        read(open_source(write("c.csv", "n,text\n1,a\n"), column="txt"))


def test_one_row_per_event_is_grouped_and_sorted(write: Write) -> None:
    path = write("e.csv", "who,when,what\nb,10,x y\na,2,open\nb,9,w\na,1,start\nb,10,z\n")
    options = {"column": "what", "sequence_column": "who", "order_column": "when"}
    assert read(open_source(path, **options)) == [["w", "x y", "z"], ["start", "open"]]
    del options["order_column"]
    assert read(open_source(path, **options)) == [["x y", "w", "z"], ["open", "start"]]
    assert read(open_source(path, **options, sequences="stream"))[1] == ["open", "start", "\n"]


def test_events_are_ordered_by_exact_numbers_or_by_dates(write: Write) -> None:
    big = 1_700_000_000_000_000_000
    path = write("e.csv", "t,e,s\n" + "".join(f"{big + i},{i},s\n" for i in (2, 0, 1)))
    options = {"column": "e", "sequence_column": "s", "order_column": "t"}
    assert read(open_source(path, **options)) == [["0", "1", "2"]]
    path.write_text("t,e,s\n2024-02-01,b,s\n2024-01-31,a,s\n")
    assert read(open_source(path, **options)) == [["a", "b"]]


def test_an_event_without_a_value_is_refused_by_line(write: Write) -> None:
    path = write("e.csv", "e,s\na,1\n,1\n")
    with pytest.raises(DataError, match="line 3, has an empty event"):
        read(open_source(path, column="e", sequence_column="s"))


def test_parquet_takes_a_column_events_and_lists(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    columns = {"text": ["a\nb", "c"], "n": [2, 1], "s": ["x", "x"], "cut": [["p q", "r"], []]}
    parquet.write_table(arrow.table(columns), path)
    assert read(open_source(path)) == ["a\nb", "c"]
    assert read(open_source(path, column="cut")) == [["p q", "r"], []]
    assert read(open_source(path, column="n", sequence_column="s", order_column="n")) == [
        ["1", "2"]
    ]
    with pytest.raises(
        ConfigError, match="no column 'txt', only text, n, s, cut; did you mean text"
    ):
        read(open_source(path, column="txt"))
    path.write_bytes(b"PAR1 nothing of the kind")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read(open_source(path))


def test_parquet_without_pyarrow_says_what_to_install(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'seriatim\[data\]'"):
        read(open_source(write("a.parquet", b"PAR1")))


# ---- options and memory -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field": "a"}, "field='a' applies to .jsonl"),
        ({"column": "a"}, "column='a' applies to .csv"),
        ({"order_column": "a"}, "order_column='a' applies to tables"),
        ({"sequences": "lines"}, "choose one of line, document, stream"),
        ({"format": "yaml"}, "unknown format 'yaml'"),
        ({"skip_empty": True}, "a stream keeps every line"),
    ],
)
def test_options_that_do_not_belong_are_refused(
    write: Write, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_source(write("a.txt", "a"), **options)


def test_an_event_table_needs_both_names(write: Write) -> None:
    path = write("e.csv", "e,s,t\n")
    with pytest.raises(ConfigError, match="give sequence_column"):
        open_source(path, column="e", order_column="t")
    with pytest.raises(ConfigError, match="needs the column of the events"):
        open_source(path, sequence_column="s")


def test_format_overrides_the_suffix(write: Write) -> None:
    path = write("a.log", '{"text": "a"}\n')
    assert read(open_source(path, format="jsonl")) == ["a"]


def test_a_list_in_memory_is_texts_and_a_str_is_a_path() -> None:
    source = open_source(["abc", "abd"])
    assert source.sequences == "document" and read(source) == ["abc", "abd"]
    assert read(open_source([["a b", "c"], ["d"]])) == [["a b", "c"], ["d"]]
    with pytest.raises(DataError, match="no file 'abc'"):
        open_source("abc")
    with pytest.raises(DataError, match="the list of texts is empty"):
        open_source([])
    with pytest.raises(DataError, match="item 1 of the list is 5"):
        open_source(["a", 5])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="column='a' applies to files"):
        open_source(["a"], column="a")


def test_fingerprint_follows_content_and_options_and_not_the_name(write: Write) -> None:
    first, second = write("a.txt", "a\nb\n"), write("b.txt", "a\nb\n")
    assert open_source(first).fingerprint() == open_source(second).fingerprint()
    assert open_source(first).fingerprint() != open_source(first, sequences="line").fingerprint()
    before = open_source(first).fingerprint()
    first.write_text("a\nb\nc\n")
    assert open_source(first).fingerprint() != before
    assert open_source(["ab"]).fingerprint() != open_source(["a", "b"]).fingerprint()
    assert open_source([["a", "b"]]).fingerprint() != open_source(["ab"]).fingerprint()


@pytest.mark.parametrize("kind", ["line", "stream"])
def test_reading_does_not_hold_the_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "large.txt"
    line = "a line of one hundred characters".ljust(100, ".") + "\n"
    path.write_text(line * 300_000)
    tracemalloc.start()
    total = sum(len(text) for text in open_source(path, sequences=kind).texts())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 300_000 * (len(line) - (kind == "line"))
    assert peak < 4_000_000  # of 30 million bytes


@pytest.mark.slow
def test_records_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    path.write_text((json.dumps({"text": "x" * 1000}) + "\n") * 20_000)
    tracemalloc.start()
    assert sum(1 for _ in open_source(path).texts()) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000  # of 20 million bytes


# ---- real files ---------------------------------------------------------------------------------


def test_blns_has_742_lines(shared_data: Path) -> None:
    path = shared_data / "blns" / "blns.txt"
    assert len(read(open_source(path, sequences="line"))) == 742
    assert stream(path) == path.read_bytes().decode()


def test_novels_lose_their_marks_and_carriage_returns(shared_data: Path) -> None:
    path = shared_data / "novels" / "Eliot_Felix_1866.txt"
    raw = path.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf") and b"\r\n" in raw
    text = stream(path)
    assert "\ufeff" not in text and "\r" not in text and text.endswith("\n")
    assert len(text.encode()) == len(raw) - 3 - raw.count(b"\r\n") + (not raw.endswith(b"\n"))


def test_repeated_names_are_repeated(shared_data: Path) -> None:
    assert len(read(open_source(shared_data / "names" / "Arabic.txt", sequences="line"))) == 2000
