"""Token files: what is written is what was encoded, found again, and built again when damaged."""

import errno
import json
import os
import re
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seriatim.data import corpus as corpora
from seriatim.data.corpus import FORMAT_VERSION, Corpus, build_corpus
from seriatim.data.sources import Source, open_source
from seriatim.data.vocab import vocabulary as vocabularies
from seriatim.data.vocab.byte import ByteVocabulary
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, DecodingError, OutputError

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")

LINES = ["to be", "", "or not to be", "ça va", "", "🐈 là"]
SPECS = ["byte", "char", "word", "bpe:270"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes("\n".join(LINES).encode())
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fitted(source: Source, spec: str) -> Vocabulary:
    return fit_vocabulary(spec, source.texts(), sequences=source.sequences)


def same(first: Corpus, second: Corpus) -> bool:
    return (
        np.array_equal(first.tokens, second.tokens)
        and np.array_equal(first.offsets, second.offsets)
        and first.statistics == second.statistics
        and first.fingerprint == second.fingerprint
    )


# ---- contents -----------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
def test_lines_are_encoded_each_without_its_end(text: Path, cache: Path, spec: str) -> None:
    source = open_source(text, sequences="line")
    symbols = fitted(source, spec)
    corpus = build_corpus(source, symbols, cache)
    assert [corpus.sequence(i).tolist() for i in range(6)] == [
        symbols.encode(line).tolist() for line in LINES
    ]
    assert corpus.num_sequences == 6 and not corpus.is_stream
    assert corpus.num_scored == corpus.num_tokens + 6 == len(corpus.tokens) + 6
    assert corpus.num_characters == sum(map(len, LINES)) + 6
    assert corpus.num_bytes == len("\n".join(LINES).encode()) + 1
    assert corpus.num_unknown == 0 and corpus.lossless_reason is None


@pytest.mark.parametrize("spec", SPECS)
def test_a_stream_is_one_sequence_with_every_line_end(text: Path, cache: Path, spec: str) -> None:
    source = open_source(text)
    symbols = fitted(source, spec)
    corpus = build_corpus(source, symbols, cache)
    whole = "\n".join(LINES) + "\n"
    assert corpus.tokens.tolist() == symbols.encode(whole).tolist()
    assert corpus.is_stream and corpus.num_sequences == 1
    assert corpus.offsets.tolist() == [0, corpus.num_tokens]
    assert corpus.num_scored == corpus.num_tokens
    assert (corpus.num_characters, corpus.num_bytes) == (len(whole), len(whole.encode()))
    assert corpus.lossless_reason is None


@pytest.mark.parametrize("spec", SPECS)
def test_documents_keep_their_line_ends_as_symbols(tmp_path: Path, cache: Path, spec: str) -> None:
    texts = ["a b\nc", "", "d\n"]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    source = open_source(path)
    symbols = fitted(source, spec)
    corpus = build_corpus(source, symbols, cache)
    assert [symbols.decode(corpus.sequence(i)) for i in range(3)] == texts
    assert symbols.boundary not in corpus.tokens
    assert corpus.num_characters == sum(map(len, texts)) and corpus.lossless_reason is None


@given(
    st.lists(st.text(st.sampled_from("ab é\n🐈"), max_size=8), min_size=1, max_size=12),
    st.sampled_from(["line", "document", "stream"]),
    st.integers(1, 9),
)
def test_batching_of_texts_changes_nothing(texts: list[str], sequences: str, size: int) -> None:
    source = open_source([*texts, "x"], sequences=sequences)
    symbols = fitted(source, "char")
    whole = build_corpus(source, symbols)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabularies, "BATCH_CHARACTERS", size)
        assert same(build_corpus(source, symbols), whole)
    encoded = [symbols.encode(t) for t in source.texts()]
    assert whole.tokens.tolist() == np.concatenate(encoded).tolist()
    if sequences != "stream":
        assert np.diff(whole.offsets).tolist() == [len(e) for e in encoded]


def test_events_are_kept_whole(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("who,what\nb,log in\na,open\nb,close\n")
    source = open_source(path, column="what", sequence_column="who", sequences="line")
    symbols = fitted(source, "word")
    corpus = build_corpus(source, symbols, cache)
    names = [[symbols.name(i) for i in corpus.sequence(k)] for k in range(2)]
    assert names == [["log in", "close"], ["open"]]
    assert corpus.num_characters == len("log in close\nopen\n") and corpus.lossless_reason is None
    stream = open_source(path, column="what", sequence_column="who", sequences="stream")
    corpus = build_corpus(stream, symbols, cache)
    assert symbols.decode(corpus.tokens) == "log in close\nopen\n"
    assert corpus.num_characters == 18 and corpus.lossless_reason is None


@pytest.mark.parametrize(
    ("num_words", "dtype"), [(254, np.uint8), (255, np.uint16), (70_000, np.uint32)]
)
def test_tokens_are_as_small_as_they_can_be(
    tmp_path: Path, cache: Path, num_words: int, dtype: type
) -> None:
    path = tmp_path / "w.txt"
    path.write_text("\n".join(f"w{i}" for i in range(num_words)))
    source = open_source(path)
    symbols = fitted(source, "word")
    assert symbols.num_symbols == num_words + 2
    corpus = build_corpus(source, symbols, cache)
    assert corpus.tokens.dtype == dtype and int(corpus.tokens.max()) == num_words + 1


def test_tokens_are_mapped_and_cannot_be_written(text: Path, cache: Path) -> None:
    corpus = build_corpus(open_source(text), ByteVocabulary(is_document=False), cache)
    assert isinstance(corpus.tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        corpus.tokens[0] = 1


def test_a_corpus_of_empty_lines_has_nothing_but_ends(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_text("\n\n\n")
    source = open_source(path, sequences="line")
    corpus = build_corpus(source, ByteVocabulary(is_document=False), cache)
    assert (corpus.num_sequences, corpus.num_tokens, corpus.num_scored) == (3, 0, 3)
    assert same(build_corpus(source, ByteVocabulary(is_document=False), cache), corpus)


def test_tokens_in_memory_make_a_corpus() -> None:
    corpus = Corpus.from_tokens([np.array([1, 2]), np.array([], np.int64), np.array([3])])
    assert (corpus.num_sequences, corpus.num_tokens, corpus.num_scored) == (3, 3, 6)
    assert corpus.sequence(0).tolist() == [1, 2] and corpus.offsets.tolist() == [0, 2, 2, 3]
    assert corpus.lossless_reason is not None
    stream = Corpus.from_tokens([np.array([1, 2]), np.array([3])], is_stream=True)
    assert stream.offsets.tolist() == [0, 3] and stream.num_scored == 3


# ---- whether the text can be had back -----------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a  b", "'a  b' is decoded as 'a b'"),
        (" a", "' a' is decoded as 'a'"),
        ("b ", "'b ' is decoded as 'b'"),
        ("a\tb", r"'a\\tb' is decoded as 'a b'"),
        ("a z", "unknown"),
    ],
)
def test_the_reason_why_a_text_is_lost_is_given(line: str, message: str) -> None:
    vocabulary = fit_vocabulary("word", ["a b"], sequences="line")
    for sequences in ("line", "stream"):
        source = open_source(["a b", line, "a"], sequences=sequences)
        corpus = build_corpus(source, vocabulary)
        assert corpus.lossless_reason is not None
        assert re.search(message, corpus.lossless_reason)
        assert corpus.num_unknown == ("z" in line)


def test_a_literal_unk_is_counted_and_spells_itself() -> None:
    vocabulary = fit_vocabulary("word", ["a b"], sequences="line")
    corpus = build_corpus(open_source(["a <unk>"], sequences="line"), vocabulary)
    assert corpus.num_unknown == 1 and corpus.lossless_reason is None


def test_words_of_one_long_line_are_restored(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.data import files

    monkeypatch.setattr(files, "BLOCK_BYTES", 16)
    monkeypatch.setattr(files, "PIECE_CHARACTERS", 20)
    monkeypatch.setattr(vocabularies, "BATCH_CHARACTERS", 1)
    path = tmp_path / "long.txt"
    path.write_text(" ".join(["word"] * 100))
    source = open_source(path)
    assert len(list(source.texts())) > 10
    for spec in SPECS:
        corpus = build_corpus(source, fitted(source, spec), cache)
        assert corpus.lossless_reason is None and corpus.num_characters == 500


# ---- the cache ----------------------------------------------------------------------------------


def entries(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.iterdir())


def test_an_unchanged_source_is_not_read_again(
    text: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, symbols = open_source(text), ByteVocabulary(is_document=False)
    first = build_corpus(source, symbols, cache)

    def refuse(*_: object) -> None:
        raise RuntimeError("read again")

    monkeypatch.setattr(corpora, "_fill", refuse)
    assert same(build_corpus(source, symbols, cache), first)
    assert entries(cache) == [first.fingerprint]
    for other in (open_source(text, sequences="line"), open_source(text, encoding="utf-8-sig")):
        with pytest.raises(RuntimeError, match="read again"):
            build_corpus(other, symbols, cache)
    text.write_text("other\n")
    with pytest.raises(RuntimeError, match="read again"):
        build_corpus(open_source(text), symbols, cache)


def test_other_symbols_make_another_corpus(text: Path, cache: Path) -> None:
    source = open_source(text)
    found = {build_corpus(source, fitted(source, spec), cache).fingerprint for spec in SPECS}
    assert len(found) == 4 and entries(cache) == sorted(found)


def damaged(entry: Path) -> Sequence[tuple[Path, bytes]]:
    tokens, offsets, record = (entry / n for n in ("tokens", "offsets", "corpus.json"))
    good = {path: path.read_bytes() for path in (tokens, offsets, record)}
    other = json.loads(good[record])
    return [
        (tokens, good[tokens][:-1]),
        (tokens, b"x" + good[tokens][1:]),
        (tokens, b""),
        (offsets, b""),
        (offsets, good[offsets][:-3]),
        (offsets, good[offsets][:-8]),
        (record, b""),
        (record, good[record][:-5]),
        (record, b"[]"),
        (record, json.dumps({**other, "version": 99}).encode()),
        (record, json.dumps({**other, "more": 1}).encode()),
    ]


def test_a_damaged_entry_is_built_again(text: Path, cache: Path) -> None:
    source, symbols = open_source(text, sequences="line"), ByteVocabulary(is_document=False)
    first = build_corpus(source, symbols, cache)
    good = first.tokens.tolist()
    entry = cache / first.fingerprint
    for path, content in damaged(entry):
        path.unlink()
        path.write_bytes(content)
        again = build_corpus(source, symbols, cache)
        assert again.tokens.tolist() == good and again.num_sequences == 6
        assert json.loads((entry / "corpus.json").read_text())["version"] == FORMAT_VERSION
    (entry / "tokens").unlink()
    assert build_corpus(source, symbols, cache).tokens.tolist() == good
    assert entries(cache) == [first.fingerprint]


def test_a_source_that_cannot_be_read_leaves_nothing_behind(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(b"a\n" * 10 + b"\xff\n")
    with pytest.raises(DecodingError):
        build_corpus(open_source(path), ByteVocabulary(is_document=False), cache)
    assert entries(cache) == []


def test_an_unwritable_cache_is_replaced_by_a_temporary_one(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    taken = tmp_path / "taken"
    taken.write_text("a file where the cache should be")
    corpus = build_corpus(open_source(text), ByteVocabulary(is_document=False), taken)
    assert bytes(corpus.tokens.astype(np.uint8)) == ("\n".join(LINES) + "\n").encode()
    assert len(list(place.iterdir())) == 1
    del corpus
    assert list(place.iterdir()) == []


def test_a_full_disk_is_reported(text: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device.*SERIATIM_CACHE"):
        build_corpus(open_source(text), ByteVocabulary(is_document=False), cache)
    assert entries(cache) == []


def test_the_cache_is_where_the_environment_says(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = ByteVocabulary(is_document=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SERIATIM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    name = build_corpus(open_source(text), vocabulary).fingerprint
    assert entries(tmp_path / "home" / ".cache" / "seriatim") == [name]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    build_corpus(open_source(text), vocabulary)
    assert entries(tmp_path / "xdg" / "seriatim") == [name]
    monkeypatch.setenv("SERIATIM_CACHE", str(tmp_path / "own"))
    build_corpus(open_source(text), vocabulary)
    assert entries(tmp_path / "own") == [name]


def test_texts_in_memory_leave_no_file(cache: Path) -> None:
    corpus = build_corpus(open_source(["ab", "c"]), ByteVocabulary(is_document=True), cache)
    assert corpus.tokens.tolist() == list(b"abc") and not cache.exists()


def test_symbols_of_documents_belong_to_documents(text: Path, cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"fitted for documents, and .* is read as stream"):
        build_corpus(open_source(text), ByteVocabulary(is_document=True), cache)
    with pytest.raises(ConfigError, match="fitted for lines and streams"):
        build_corpus(
            open_source(text, sequences="document"), ByteVocabulary(is_document=False), cache
        )


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("sequences", ["line", "stream"])
def test_building_does_not_hold_the_text(tmp_path: Path, cache: Path, sequences: str) -> None:
    path = tmp_path / "large.txt"
    path.write_text(("a line of one hundred characters".ljust(100, ".") + "\n") * 300_000)
    source = open_source(path, sequences=sequences)
    vocabulary = fit_vocabulary("char", ["a line of one hundred characters."], sequences="line")
    tracemalloc.start()
    corpus = build_corpus(source, vocabulary, cache)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert corpus.num_characters == path.stat().st_size > 30_000_000
    assert corpus.lossless_reason is None
    assert peak < 16_000_000  # of 30 million characters and 2.4 MB of offsets


# ---- real text ----------------------------------------------------------------------------------


def test_tinyshakespeare_has_1_115_394_characters(shared_data: Path, cache: Path) -> None:
    source = open_source(shared_data / "tinyshakespeare" / "input.txt")
    corpus = build_corpus(source, fitted(source, "char"), cache)
    assert corpus.num_tokens == corpus.num_characters == corpus.num_scored == 1_115_394
    assert corpus.tokens.dtype == np.uint8 and corpus.lossless_reason is None


def test_wikitext_2_has_the_tokens_that_the_literature_counts(
    shared_data: Path, cache: Path
) -> None:
    """217,646 in the validation part (Merity et al. 2016, table 1), blank lines as <eos>."""
    source = open_source(shared_data / "wikitext-2" / "valid.txt")
    corpus = build_corpus(source, fitted(source, "word"), cache)
    assert corpus.num_tokens == 217_646
    lines = open_source(shared_data / "wikitext-2" / "valid.txt", sequences="line")
    assert build_corpus(lines, fitted(lines, "word"), cache).num_scored == 217_646


def test_naughty_strings_are_restored(shared_data: Path, cache: Path) -> None:
    source = open_source(shared_data / "blns" / "blns.txt", sequences="line")
    for spec in ("byte", "char", "bpe:400"):
        corpus = build_corpus(source, fitted(source, spec), cache)
        assert corpus.num_sequences == 742 and corpus.lossless_reason is None
        assert corpus.num_bytes == 30_079
