"""Words by the million, against the plain way: the same numbers, whatever the text."""

from pathlib import Path

import numpy as np
import pytest

from seriatim.data import word_corpus
from seriatim.data.corpus import build_corpus, corpus_fingerprint
from seriatim.data.sources import open_source
from seriatim.data.splits import split_source
from seriatim.data.vocab import word_index as words_module
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.data.vocab.word_index import WordIndex, cut_ahead, cut_words, split_words
from seriatim.data.word_corpus import begin_reading_words, can_read_words, read_words
from seriatim.errors import DataError, DecodingError

ODD = [
    "",
    " ",
    "\n\n",
    "one",
    " leading and  double\tspaces \n\n and trailing \n",
    "exactly7 bytes_8 thirteen-byte sixteen-bytes-ok seventeen-bytes-o\n" * 3,
    "\u00e9t\u00e9 na\u00efve \u4f60\u597d\u4e16\u754c \u00a0no-break\u00a0space\u00a0 \x85\n",
    "carriage \r\n lone\rreturn\n",
    "nul\0nul nul a\0 a \0\0\0\0\0\0\0\0 \0\n",
    "x" * 100 + " " + "x" * 99 + "y " + "x" * 100 + "\n",
    "\t\n a\t\tb \n\n\t",
    *("".join(f"{'abcdefgh' * 5}"[:n] + end for n in range(1, 40)) for end in (" ", "\n", "-\n\n")),
    " ".join(f"eight-by{i % 7}middle-{i % 5}{'-' * (i % 4)}eight-by" for i in range(40)),
]


def plain(text: str) -> list[str]:
    return [word for word in split_words(text) if word != "\n"]


@pytest.mark.parametrize("text", ODD)
def test_the_word_index_agrees_with_the_plain_implementation(text: str) -> None:
    index = WordIndex()
    found = index.add(cut_words(text))
    assert [index.words[i] for i in found] == plain(text)
    assert len(set(index.words)) == len(index.words)
    ends = cut_words(text).line_ends.tolist()
    assert ends == [len(plain(text[:i])) for i, c in enumerate(text) if c == "\n"]


def test_numbers_stay_the_same_from_text_to_text() -> None:
    texts = [f"w{i} w{i + 1} common a-longer-word-{i % 7}\n" for i in range(3000)]
    index = WordIndex()
    found = np.concatenate([index.add(text) for text in cut_ahead(texts)])
    assert [index.words[i] for i in found] == plain("".join(texts))
    np.testing.assert_array_equal(
        index.find(cut_words("common never w5")), [2, -1, index.words.index("w5")]
    )


@pytest.mark.parametrize("bits", [0, 1, 3])
def test_words_whose_hashes_collide_stay_apart(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hashes of a few bits nearly all long words collide, and only comparing tells them."""
    keep = np.uint64((1 << bits) - 1)
    monkeypatch.setattr(words_module, "_mixed", lambda h: (h ^ (h >> np.uint64(7))) & keep)
    texts = [" ".join(f"longer-word-{(i * j) % 41}-" for i in range(50)) for j in range(5)]
    texts += ["short words too", "longer-word-1- longer-word-1-x longer-word-1"]
    index = WordIndex()
    for text in texts:
        assert [index.words[i] for i in index.add(cut_words(text))] == plain(text)
    assert len(set(index.words)) == len(index.words)
    for text in texts:
        assert [index.words[i] for i in index.find(cut_words(text))] == plain(text)
    assert index.find(cut_words("longer-word-99-")).tolist() == [-1]
    assert WordIndex(index.words).words == index.words


@pytest.mark.parametrize("min_count", [1, 2])
@pytest.mark.parametrize("sequences", ["line", "stream"])
def test_one_pass_gives_the_symbols_and_the_corpus_of_two(
    sequences: str, min_count: int, tmp_path: Path
) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_bytes(b"\xef\xbb\xbfthe cat\r\nthe <unk> mat\r\n\r\nlast")
    (tmp_path / "text" / "b.txt").write_text("".join(ODD), encoding="utf-8", newline="")
    source = open_source(tmp_path / "text", sequences=sequences)
    symbols, corpus = read_words(source, min_count=min_count)
    texts = source.texts()
    expected = fit_vocabulary("word", texts, sequences=sequences, min_count=min_count)
    assert symbols.to_json() == expected.to_json()
    other = build_corpus(source, expected, tmp_path / "cache")
    np.testing.assert_array_equal(corpus.tokens, other.tokens)
    np.testing.assert_array_equal(corpus.offsets, other.offsets)
    assert corpus.tokens.dtype == other.tokens.dtype
    assert corpus.fingerprint == other.fingerprint
    ours, theirs = vars(corpus.statistics).copy(), vars(other.statistics).copy()
    assert (ours.pop("lossless_reason") is None) == (theirs.pop("lossless_reason") is None)
    assert ours == theirs


def test_parts_of_a_split_are_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"line {i} of many\n" for i in range(200)))
    parts, _ = split_source(open_source(path, sequences="line"), (0.8, 0.1, 0.1))
    assert can_read_words(parts[0])
    symbols, corpus = read_words(parts[0], max_symbols=20)
    assert symbols.num_symbols == 20
    assert symbols.decode(corpus.sequence(0)).startswith("line")
    np.testing.assert_array_equal(
        corpus.tokens, build_corpus(parts[0], symbols, tmp_path / "cache").tokens
    )


@pytest.mark.parametrize("is_apart", [False, True])
def test_words_that_are_begun_ahead_are_the_same_and_so_are_errors(
    is_apart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_apart:  # read by another process
        monkeypatch.setattr(word_corpus, "_LARGE", 0)
        monkeypatch.setattr(word_corpus, "_read_here", None)
    path = tmp_path / "text.txt"
    path.write_text("a b a\nc\n")
    source = open_source(path, sequences="line")
    begin_reading_words(source)
    symbols, corpus = read_words(source)
    assert corpus.fingerprint == corpus_fingerprint(source, symbols)
    path.write_text("other words\n")  # the result was that of the thread, and is given once
    if not is_apart:
        assert read_words(open_source(path, sequences="line"))[0].num_symbols == 4
    assert symbols.num_symbols == 5
    np.testing.assert_array_equal(corpus.tokens, [2, 3, 2, 4])
    begin_reading_words(source, min_count=9)
    with pytest.raises(DataError, match="lower min_count"):
        read_words(source, min_count=9)
    path.write_bytes(b"\xff a")
    begin_reading_words(source)
    with pytest.raises(DecodingError, match="byte"):
        read_words(source)


def test_tables_and_lists_are_read_without_the_word_index(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a b"}\n')
    assert not can_read_words(open_source(tmp_path / "t.jsonl", sequences="line"))
    assert not can_read_words(open_source(["a b", "c"], sequences="line"))


@pytest.mark.parametrize(("text", "min_count"), [("\n \n", 1), ("a b c\n", 2)])
def test_a_text_without_words_is_refused(text: str, min_count: int, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(DataError, match=r"nothing to learn|lower min_count"):
        read_words(open_source(tmp_path / "t.txt", sequences="line"), min_count=min_count)
