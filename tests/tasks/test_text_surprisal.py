"""Tables of surprisals: places in the text, sums, unknown words, several models, data frames."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.errors import ConfigError, DataError, MissingExtraError
from seriatim.tasks import SurprisalTable, join_surprisals

LINES = ["the cat sat on the mat", "a dog lay on the unbelievable mat", "the  cat\tsat"] * 20
ODD = "the zebra sat\n  on the mât \nthe mat"
KINDS = ["byte", "char", "word", "bpe:300"]


def _fitted(symbols: str, sequences: Any) -> st.LanguageModel:
    source = st.open_source(LINES, sequences=sequences)
    return st.LanguageModel(st.Markov(order=3), symbols=symbols).fit(source, valid=source)


@pytest.fixture(scope="module")
def models() -> dict[tuple[str, str], st.LanguageModel]:
    """A model for each kind of symbols and of sequences."""
    return {
        (symbols, sequences): _fitted(symbols, sequences)
        for symbols in KINDS
        for sequences in ("line", "document", "stream")
    }


# ---- places and sums ----------------------------------------------------------------------------


def test_every_row_is_where_it_says_it_is(
    models: dict[tuple[str, str], st.LanguageModel],
) -> None:
    lines = ODD.split("\n")
    for key, lm in models.items():
        for row in lm.surprisal(ODD, by="word"):
            written = (lines[row.sentence - 1] + "\n")[row.start : row.end]
            shown = {"\n": "\\n", "": "<end>"}.get(written, written)
            assert row.word in (shown, "<end>"), key
        for row in lm.surprisal(ODD):
            assert row.start <= row.end <= len(lines[row.sentence - 1]) + 1, key


def test_words_sum_to_symbols_and_to_the_score_with_its_spelling(
    models: dict[tuple[str, str], st.LanguageModel],
) -> None:
    for key, lm in models.items():
        words, symbols = lm.surprisal(ODD, by="word"), lm.surprisal(ODD)
        assert words.bits == pytest.approx(symbols.bits, rel=1e-6), key
        score = lm.score(st.open_source([ODD], sequences=lm.sequences), allow_unknown=True)
        spelled = sum(row.spelling_bits for row in symbols)
        ends = 0.0
        if key[1] == "stream":  # as a record, a stream is ended by a line end
            ends = lm.surprisal(ODD + "\n").bits - symbols.bits
        expected = symbols.bits - spelled + ends
        assert score.nats / np.log(2) == pytest.approx(expected, rel=1e-4), key


def test_streams_and_tables_and_sequences_charge_unknown_words_alike() -> None:
    lm = _fitted("word", "line")
    table = lm.surprisal("the zebra sat", by="word")
    stream = lm.stream()
    pushed = [stream.push(word) for word in ("the", "zebra", "sat")] + [stream.end()]
    assert [row.bits for row in table] == pytest.approx(pushed, abs=1e-4)
    (each,) = lm.score_each(["the zebra sat"], allow_unknown=True)
    assert each.bits == pytest.approx(table.bits, abs=1e-4)
    assert (each.unknown, each.symbol) == (1, "zebra")
    assert [row.unknown for row in table] == [False, True, False, False]
    assert not stream.knows("zebra")
    assert stream.knows("cat")


def test_an_unknown_word_costs_more_the_stranger_it_is_spelled() -> None:
    lm = _fitted("word", "line")
    near, far = lm.surprisal(["matt", "xq&%zjw"], by="word")[::2]
    assert near.unknown and far.unknown
    assert near.bits - near.spelling_bits == pytest.approx(far.bits - far.spelling_bits)
    assert far.spelling_bits > near.spelling_bits > 0
    assert "1 unknown word, of whose bits" in repr(lm.surprisal("the zebra", by="word"))


# ---- what is given ------------------------------------------------------------------------------


def test_each_text_of_a_list_is_read_by_itself(
    models: dict[tuple[str, str], st.LanguageModel],
) -> None:
    texts = ["the cat", "sat", "the mat"]
    for key, lm in models.items():
        table = lm.surprisal(texts, by="word")
        for i, text in enumerate(texts, 1):
            own = [row.bits for row in table if row.sentence == i]
            assert own == pytest.approx([r.bits for r in lm.surprisal(text, by="word")]), key


def test_a_path_is_a_file_and_reads_as_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("the cat\nthe mat\n")
    for sequences in ("line", "document", "stream"):
        lm = _fitted("char", sequences)
        expected = lm.surprisal(path.read_text(), by="word")
        assert lm.surprisal(path, by="word") == expected, sequences
        assert {row.sentence for row in expected} == {1, 2}


class _Frame:
    """What every package's data frame can do."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]


def test_a_data_frame_is_read_by_its_column() -> None:
    lm = _fitted("word", "line")
    frame = _Frame({"id": [1, 2], "text": ["the cat", "the mat"]})
    assert lm.surprisal(frame, by="word") == lm.surprisal(["the cat", "the mat"], by="word")
    other = _Frame({"id": [1, 2], "sentence": ["the cat", "the mat"]})
    expected = lm.surprisal(frame)
    assert lm.surprisal(other, column="sentence") == expected
    with pytest.raises(ConfigError, match=r"has the columns id, sentence: say which"):
        lm.surprisal(other)
    with pytest.raises(ConfigError, match=r"no column 'sentense', only id, sentence; did you"):
        lm.surprisal(other, column="sentense")


def test_a_table_of_pyarrow_is_a_data_frame() -> None:
    arrow = pytest.importorskip("pyarrow")
    lm = _fitted("word", "line")
    table = arrow.table({"text": ["the cat", "the mat"]})
    assert lm.surprisal(table) == lm.surprisal(["the cat", "the mat"])
    assert lm.score(table).nats == lm.score(["the cat", "the mat"]).nats


def test_a_text_that_looks_like_a_file_is_refused_unless_it_is_in_a_list() -> None:
    lm = _fitted("char", "line")
    with pytest.raises(DataError, match=r"'a.txt' is read as a text here.*give \['a.txt'\]"):
        lm.surprisal("a.txt")
    assert lm.surprisal(["a.txt"]).bits > 0
    assert lm.surprisal("the end of a.txt").bits > 0


def test_what_is_no_text_is_refused() -> None:
    lm = _fitted("word", "line")
    for wrong in (3, [3], None, ["the cat", None]):
        with pytest.raises(DataError, match="give a text, a list of texts, a Path or a data frame"):
            lm.surprisal(wrong)  # type: ignore[arg-type]


def test_words_and_symbols_are_the_only_units() -> None:
    with pytest.raises(ConfigError, match='by=\'words\': choose "symbol" or "word"'):
        _fitted("char", "line").surprisal("the", by="words")  # type: ignore[arg-type]


# ---- tables -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> SurprisalTable:
    """A table of words, one of them unknown."""
    return _fitted("word", "line").surprisal("the zebra, sat", by="word")


def test_a_table_is_a_sequence_of_records(table: SurprisalTable) -> None:
    assert table.columns == ("sentence", "word", "start", "end", "bits", "unknown")
    assert len(table) == 4
    assert table[1].word == "zebra,"
    assert table.column("word") == ["the", "zebra,", "sat", "\\n"]
    assert table.to_json()[0] == {"sentence": 1, "word": "the", "start": 0, "end": 3,
                                  "bits": table[0].bits, "unknown": False}  # fmt: skip
    with pytest.raises(ConfigError, match="unknown column 'wrod': choose from sentence, word"):
        table.column("wrod")


def test_a_table_is_written_as_csv(table: SurprisalTable, tmp_path: Path) -> None:
    head, first, second, *_ = table.to_csv(tmp_path / "t.csv").read_text().splitlines()
    assert head == "sentence,word,start,end,bits,unknown"
    assert first == f"1,the,0,3,{round(table[0].bits, 6)},false"
    assert second.startswith('1,"zebra,",4,10,')
    assert second.endswith(",true")


def test_tables_are_handed_to_pandas_and_polars(
    table: SurprisalTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, convert in {"pandas": table.to_pandas, "polars": table.to_polars}.items():
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match=f"to_{name} needs {name}: pip install {name}"):
            convert()
        package = types.SimpleNamespace(DataFrame=dict)
        monkeypatch.setitem(sys.modules, name, package)
        assert convert()["word"] == ["the", "zebra,", "sat", "\\n"]


def test_a_long_table_is_shown_by_its_ends_here_and_in_notebooks() -> None:
    lm = _fitted("char", "line")
    table = lm.surprisal("the cat sat on the <b>mat</b>")
    shown = repr(table).splitlines()
    assert len(shown) == 1 + 20 + 1 + 1
    assert "... 10 more rows" in shown[11]
    assert shown[4].split()[1] == "␣"
    html = table._repr_html_()
    assert "&lt;" in html
    assert "<b>" not in html
    assert html.count("<tr>") == 22


def test_several_models_are_joined_word_by_word(
    models: dict[tuple[str, str], st.LanguageModel],
) -> None:
    lines = {kind: models[kind, "line"] for kind in KINDS}
    tables = {kind: lm.surprisal("the cat sat\nthe zebra", by="word") for kind, lm in lines.items()}
    joined = join_surprisals(tables)
    assert joined.columns[:4] == ("sentence", "word", "start", "end")
    assert [row.text for row in joined] == ["the", "cat", "sat", "\\n", "the", "zebra", "\\n"]
    for kind in KINDS:
        column = "word_bits" if kind == "word" else kind  # the words are in the column `word`
        assert joined.column(column) == [row.bits for row in tables[kind]]
    assert joined.column("word_unknown")[5] is True
    stream = models["char", "stream"].surprisal("the cat sat\nthe zebra\n", by="word")
    mixed = join_surprisals({"line": tables["word"], "stream": stream})
    assert None not in mixed.column("line") + mixed.column("stream")
    with pytest.raises(ConfigError, match="some tables are by word and some by symbol"):
        join_surprisals({"a": tables["char"], "b": lines["char"].surprisal("the")})


# ---- the command line ---------------------------------------------------------------------------


def test_the_command_line_compares_models_word_by_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("char", "word"):
        _fitted(kind, "line").save(tmp_path / kind)
    (tmp_path / "a.txt").write_text("the cat sat\nthe zebra sat\n")
    folders = [str(tmp_path / "char"), str(tmp_path / "word")]
    command = ["surprisal", *folders, "--file", str(tmp_path / "a.txt"), "--by", "word"]
    assert main([*command, "--csv"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "sentence,word,start,end,char,word_bits,char_unknown,word_unknown"
    assert len(rows) == 8
    assert rows[5].startswith("2,zebra,4,9,")
    assert rows[5].endswith(",true,true")  # z is no character of the training text
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["words"][0].keys() == set(head.split(","))
    assert result["bits"]["word"] == pytest.approx(sum(r["word_bits"] for r in result["words"]))
    assert main(command) == 0
    assert "bits in total: char " in capsys.readouterr().out


def test_a_column_of_a_table_is_read_text_by_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = _fitted("word", "line")
    lm.save(tmp_path / "m")
    (tmp_path / "a.csv").write_text("id,sentence\n1,the cat\n2,the mat\n")
    command = ["surprisal", str(tmp_path / "m"), "--file", str(tmp_path / "a.csv")]
    assert main([*command, "--column", "sentence", "--json"]) == 0
    expected = lm.surprisal(["the cat", "the mat"]).to_json()
    assert json.loads(capsys.readouterr().out)["symbols"] == expected
