"""A source as symbols, in memory-mapped files that are built once and cached.

    <cache>/<fingerprint>/tokens    V <= 256: uint8, <= 65,536: uint16, else uint32, little-endian
                          offsets   int64, N + 1: where each sequence begins and ends
                          corpus.json

Sequences follow one another without boundaries; a stream is one sequence. A corpus is built in
bounded memory, under a temporary name, flushed and renamed, so that an entry of the cache is
always complete; it is looked up by a fingerprint of the content, of how it is read, and of the
vocabulary. A damaged entry is built again.

Knows sources and vocabularies. Does not know batches or models.
"""

import hashlib
import itertools
import json
import os
import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.core import atomic
from seriatim.core.records import read_record
from seriatim.data.sources import Source
from seriatim.data.vocab.vocabulary import LINE_END, Ids, Text, Vocabulary, join_texts
from seriatim.errors import ConfigError, DataError, OutputError

Tokens: TypeAlias = NDArray[Any]

FORMAT_VERSION = 2
_FILES = ("tokens", "offsets")
_HEADER = "corpus.json"


@dataclass(frozen=True)
class CorpusStatistics:
    """Counts made while a corpus is built.

    Attributes:
        num_sequences: N; 1 for a stream.
        num_tokens: the number of symbols, without the boundaries of sequences.
        num_characters: the number of code points of the text; the end of a line counts as one
            and the end of a document as none; symbols that came already cut count with a space
            between them.
        num_bytes: the same in bytes of UTF-8.
        num_unknown: the number of symbols that are `<unk>`.
        lossless_reason: None if decode(encode(text)) = text everywhere, otherwise where it is not.
        is_respelled: whether the text is restored once its unknown symbols are spelled.
    """

    num_sequences: int = 0
    num_tokens: int = 0
    num_characters: int = 0
    num_bytes: int = 0
    num_unknown: int = 0
    lossless_reason: str | None = None
    is_respelled: bool = False


@dataclass(frozen=True, kw_only=True)
class _Header(CorpusStatistics):
    """The content of corpus.json.

    Attributes:
        version: the version of the format.
        tokens: the digest of the tokens.
    """

    version: int
    tokens: str

    @property
    def statistics(self) -> CorpusStatistics:
        """The counts alone."""
        return CorpusStatistics(**{f.name: getattr(self, f.name) for f in fields(CorpusStatistics)})


@dataclass(frozen=True, eq=False)
class Corpus:
    """Sequences of symbols, usually memory-mapped and then read-only.

    Attributes:
        tokens: (num_tokens,) all symbols, sequence after sequence.
        offsets: (N + 1,) int64: sequence i is tokens[offsets[i] : offsets[i + 1]].
        is_stream: whether it is one sequence without an end.
        statistics: counts of the text.
        fingerprint: a digest of the content, of how it is read, and of the vocabulary.
    """

    tokens: Tokens
    offsets: NDArray[np.int64]
    is_stream: bool
    statistics: CorpusStatistics
    fingerprint: str

    @classmethod
    def from_tokens(cls, sequences: Iterable[Ids], *, is_stream: bool = False) -> "Corpus":
        """A corpus in memory, of symbols whose text is not known.

        Args:
            sequences: the ids of each sequence; of a stream, any number of pieces.
            is_stream: whether they are one sequence without an end.
        """
        arrays = [np.asarray(s, np.int64).reshape(-1) for s in sequences]
        tokens = np.concatenate([*arrays, np.zeros(0, np.int64)])
        lengths = [len(tokens)] if is_stream else [len(a) for a in arrays]
        statistics = CorpusStatistics(
            num_sequences=len(lengths),
            num_tokens=len(tokens),
            lossless_reason="the corpus was built from symbols, not from text",
        )
        offsets = np.array([0, *itertools.accumulate(lengths)], np.int64)
        digest = hashlib.blake2b(tokens.tobytes() + offsets.tobytes(), digest_size=16)
        return cls(tokens, offsets, is_stream, statistics, digest.hexdigest())

    @property
    def num_sequences(self) -> int:
        """N."""
        return self.statistics.num_sequences

    @property
    def num_tokens(self) -> int:
        """The number of symbols, without the boundaries of sequences."""
        return self.statistics.num_tokens

    @property
    def num_scored(self) -> int:
        """The number of targets: every symbol, and the end of every sequence that has one."""
        return self.num_tokens + (0 if self.is_stream else self.num_sequences)

    @property
    def num_characters(self) -> int:
        """The number of code points of the text."""
        return self.statistics.num_characters

    @property
    def num_bytes(self) -> int:
        """The number of bytes of the text in UTF-8."""
        return self.statistics.num_bytes

    @property
    def num_unknown(self) -> int:
        """The number of symbols that are `<unk>`."""
        return self.statistics.num_unknown

    @property
    def lossless_reason(self) -> str | None:
        """None if decode(encode(text)) = text, otherwise the reason."""
        return self.statistics.lossless_reason

    @property
    def is_respelled(self) -> bool:
        """Whether the text is restored once its unknown symbols are spelled."""
        return self.statistics.is_respelled

    def sequence(self, i: int) -> Tokens:
        """(T,) the symbols of sequence i, as a view."""
        return self.tokens[self.offsets[i] : self.offsets[i + 1]]


def build_corpus(
    source: Source, vocabulary: Vocabulary, cache: Path | None = None, *, is_kept: bool = True
) -> Corpus:
    """The source as symbols, from the cache or built there.

    A source in memory stays in memory. If the cache cannot be written, a temporary folder is
    used as long as the corpus lives.

    Args:
        source: the sequences to encode.
        vocabulary: a vocabulary fitted for the same kind of sequences.
        cache: the folder of the cache; None: $SERIATIM_CACHE, else $XDG_CACHE_HOME/seriatim,
            else ~/.cache/seriatim.
        is_kept: whether the symbols are kept in the cache; if not, they are temporary, as suits
            data that is read once, such as a day's log.

    Raises:
        ConfigError: if the vocabulary is for documents and the source is not, or vice versa.
        DataError: if the source cannot be read.
        OutputError: if the tokens cannot be written anywhere.
    """
    if vocabulary.is_document != (source.sequences == "document"):
        made_for = "documents" if vocabulary.is_document else "lines and streams"
        raise ConfigError(
            f"the vocabulary was fitted for {made_for}, and {source.name} is read as "
            f"{source.sequences}: read it as the training text was read, or fit again"
        )
    fingerprint = corpus_fingerprint(source, vocabulary)
    if source.is_in_memory:
        return _build_in_memory(source, vocabulary, fingerprint)
    entry = (_default_cache() if cache is None else cache) / fingerprint
    corpus = _open(entry, source, vocabulary, fingerprint)
    if corpus is not None:
        return corpus
    if not is_kept:
        return _build_temporarily(source, vocabulary, fingerprint)
    try:
        _build_entry(entry, source, vocabulary)
        corpus = _open(entry, source, vocabulary, fingerprint)
    except OSError:
        corpus = None
    return corpus or _build_temporarily(source, vocabulary, fingerprint)


def corpus_fingerprint(source: Source, vocabulary: Vocabulary) -> str:
    """A digest of the content, of how it is read, and of the vocabulary."""
    parts = [FORMAT_VERSION, source.sequences, source.fingerprint(), vocabulary.fingerprint()]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _default_cache() -> Path:
    folder = os.environ.get("SERIATIM_CACHE")
    if folder:
        return Path(folder)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "seriatim"


# ---- building -----------------------------------------------------------------------------------


class _Sink(ABC):
    """The destination of tokens."""

    @abstractmethod
    def write(self, tokens: Ids, lengths: Sequence[int]) -> None:
        """Append tokens, and the lengths of sequences that end here."""


class _Memory(_Sink):
    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.tokens: list[Tokens] = [np.zeros(0, dtype)]
        self.lengths: list[int] = []

    def write(self, tokens: Ids, lengths: Sequence[int]) -> None:
        self.tokens.append(tokens.astype(self.tokens[0].dtype))
        self.lengths += lengths


class _Disk(_Sink):
    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        self._files = [(folder / name).open("wb") for name in _FILES]
        self._digest = hashlib.blake2b(digest_size=16)
        self._dtype = dtype
        self._end = 0
        self._files[1].write(np.zeros(1, "<i8").tobytes())

    def write(self, tokens: Ids, lengths: Sequence[int]) -> None:
        data = tokens.astype(self._dtype).tobytes()
        self._digest.update(data)
        self._files[0].write(data)
        if len(lengths):
            ends = np.cumsum(lengths, dtype="<i8") + self._end
            self._end = int(ends[-1])
            self._files[1].write(ends.tobytes())

    def close(self) -> str:
        """Close and flush to the disk itself; returns the digest of the tokens."""
        self.abandon()
        for file in self._files:
            atomic.flush(Path(file.name))
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def token_dtype(num_symbols: int) -> np.dtype[Any]:
    """The smallest type that holds all ids, little-endian in files as in memory."""
    return np.dtype("<u1" if num_symbols <= 1 << 8 else "<u2" if num_symbols <= 1 << 16 else "<u4")


def _fill(sink: _Sink, source: Source, vocabulary: Vocabulary) -> CorpusStatistics:
    """Encode the whole source into the sink, compare it with its decoding, and count."""
    encoder = {"line": _encode_lines, "document": _encode_each, "stream": _encode_stream}
    sequences = tokens = characters = in_bytes = unknown = 0
    reason, is_respelled = None, True
    texts: Iterable[Text] = source.texts()
    if vocabulary.has_spaces:
        texts = _only_lists(texts, source.name)
    for part in encoder[source.sequences](texts, vocabulary):
        sink.write(part.ids, part.lengths)
        sequences += len(part.lengths)
        tokens += len(part.ids)
        characters += len(part.text)
        in_bytes += len(part.text) if part.text.isascii() else len(part.text.encode())
        missed = 0 if vocabulary.unknown is None else int((part.ids == vocabulary.unknown).sum())
        unknown += missed
        if part.restored != part.text:
            reason = reason or describe_loss(part.text, part.restored, has_unknown=missed > 0)
            is_respelled = is_respelled and part.respelled(vocabulary) == part.text
    if source.sequences == "stream":
        sink.write(np.zeros(0, np.int64), [tokens])
        sequences = 1
    return CorpusStatistics(sequences, tokens, characters, in_bytes, unknown, reason, is_respelled)


@dataclass(frozen=True)
class _Encoded:
    """A piece of text and its symbols.

    Attributes:
        text: the text with line ends, for counting and comparing.
        encoded: the text, or list of symbols, that was encoded.
        ids: the ids to store.
        restored: the text that decoding returns.
        lengths: the lengths of the sequences in it.
        before, after: the texts around `encoded` in `text`.
        all_ids: the ids of `encoded` where not all are stored: the ends of lines are not.
    """

    text: str
    encoded: Text
    ids: Ids
    restored: str
    lengths: Sequence[int]
    before: str = ""
    after: str = ""
    all_ids: Ids | None = None

    def respelled(self, vocabulary: Vocabulary) -> str:
        """The text that decoding returns once the unknown symbols are spelled."""
        ids = self.ids if self.all_ids is None else self.all_ids
        return (
            self.before + vocabulary.respell(ids, vocabulary.spellings(self.encoded)) + self.after
        )


def _encode_each(
    texts: Iterable[Text], vocabulary: Vocabulary, after: str = ""
) -> Iterator[_Encoded]:
    """Every text as one sequence."""
    for text in texts:
        ids = vocabulary.encode(text)
        whole = text if isinstance(text, str) else vocabulary.separator.join(text)
        restored = vocabulary.decode(ids) + after
        yield _Encoded(whole + after, text, ids, restored, [len(ids)], after=after)


def _encode_lines(texts: Iterable[Text], vocabulary: Vocabulary) -> Iterator[_Encoded]:
    """Many lines at once, separated by the boundary, which is the line end."""
    for is_text, group in itertools.groupby(texts, key=_is_text):
        if not is_text:
            yield from _encode_each(group, vocabulary, after=LINE_END)
            continue
        for joined in join_texts(group, LINE_END, vocabulary.kind):
            text = joined + LINE_END
            ids = vocabulary.encode(text)
            ends = np.flatnonzero(ids == vocabulary.boundary)
            lengths = (np.diff(ends, prepend=-1) - 1).tolist()
            inner = np.delete(ids, ends)
            yield _Encoded(text, text, inner, vocabulary.decode(ids), lengths, all_ids=ids)


def _encode_stream(texts: Iterable[Text], vocabulary: Vocabulary) -> Iterator[_Encoded]:
    """Pieces of one sequence; one inside a line also restores the separator before it."""
    is_inside_line = False
    for is_text, group in itertools.groupby(texts, key=_is_text):
        for piece in join_texts(group, "", vocabulary.kind) if is_text else group:
            ids = vocabulary.encode(piece)
            before = ""
            if isinstance(piece, str):
                before = vocabulary.separator * is_inside_line
                is_inside_line = not piece.endswith(LINE_END)
                text = piece
            else:
                text = vocabulary.separator.join(piece[:-1]) + LINE_END
            yield _Encoded(text, piece, ids, before + vocabulary.decode(ids), [], before=before)


def _only_lists(texts: Iterable[Text], name: str) -> Iterator[Text]:
    """The texts, which must be lists of events.

    Raises:
        DataError: if one is a text, which cannot be cut into events that contain spaces.
    """
    for text in texts:
        if isinstance(text, str) and text.strip():
            raise DataError(
                f"{name} holds texts ({text.strip()[:40]!r}), and the symbols of this model are "
                "events that contain spaces: give each sequence as a list of events, or name the "
                "columns of a table with --column and --sequence-column"
            )
        yield text


def _is_text(text: Text) -> bool:
    return isinstance(text, str)


def describe_loss(text: str, restored: str, *, has_unknown: bool) -> str:
    """Where a text first differs from the decoding of its symbols, for people."""
    if has_unknown:
        return "some of its symbols are unknown, and <unk> does not spell them"
    pairs = zip(text.split("\n"), restored.split("\n"), strict=False)
    line, got = next(((a, b) for a, b in pairs if a != b), (text, restored))
    at = next((i for i, (a, b) in enumerate(zip(line, got, strict=False)) if a != b), len(got))
    start = max(at - 10, 0)
    return (
        f"its symbols do not spell it: {line[start : at + 20]!r} is decoded as "
        f"{got[start : at + 20]!r}"
    )


def _build_in_memory(source: Source, vocabulary: Vocabulary, fingerprint: str) -> Corpus:
    sink = _Memory(token_dtype(vocabulary.num_symbols))
    statistics = _fill(sink, source, vocabulary)
    offsets = np.array([0, *itertools.accumulate(sink.lengths)], np.int64)
    is_stream = source.sequences == "stream"
    return Corpus(np.concatenate(sink.tokens), offsets, is_stream, statistics, fingerprint)


def _build_entry(entry: Path, source: Source, vocabulary: Vocabulary) -> None:
    """Build beside the entry and move it into place; of several processes, the first one wins.

    Raises:
        OSError: if the cache cannot be written.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    unfinished = atomic.make_folder(entry.parent, f".{entry.name}-")
    try:
        _write(unfinished, source, vocabulary)
        if entry.exists():  # it is damaged, or it would have been used
            shutil.rmtree(entry, ignore_errors=True)
        try:
            unfinished.rename(entry)
        except OSError:
            if not entry.exists():
                raise
        atomic.flush(entry.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(folder: Path, source: Source, vocabulary: Vocabulary) -> None:
    sink = _Disk(folder, token_dtype(vocabulary.num_symbols))
    try:
        statistics = _fill(sink, source, vocabulary)
        digest = sink.close()
    finally:
        sink.abandon()
    header = _Header(version=FORMAT_VERSION, tokens=digest, **asdict(statistics))
    (folder / _HEADER).write_text(json.dumps(asdict(header)), "utf-8")
    atomic.flush(folder / _HEADER)
    atomic.flush(folder)


def _build_temporarily(source: Source, vocabulary: Vocabulary, fingerprint: str) -> Corpus:
    """Build in a temporary folder that is removed with the corpus."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="seriatim-"))
        entry = folder / fingerprint
        try:
            _build_entry(entry, source, vocabulary)
            corpus = _open(entry, source, vocabulary, fingerprint)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise OutputError(
            f"the symbols of {source.name} can be written neither to the cache nor to "
            f"{tempfile.gettempdir()} ({error.strerror or error}): free some space, or set "
            "SERIATIM_CACHE to a folder that has room"
        ) from None
    if corpus is None:
        raise OutputError(
            f"the corpus just written to {folder} cannot be read back: check the disk"
        )
    weakref.finalize(corpus, shutil.rmtree, folder, ignore_errors=True)
    return corpus


# ---- opening ------------------------------------------------------------------------------------


def _open(entry: Path, source: Source, vocabulary: Vocabulary, fingerprint: str) -> Corpus | None:
    """The corpus of a cache entry; None if there is none, or it is damaged."""
    try:
        header = read_record(_Header, entry / _HEADER)
        tokens = _map_tokens(entry / "tokens", token_dtype(vocabulary.num_symbols))
        offsets = np.fromfile(entry / "offsets", "<i8")
    except (OSError, ValueError):  # a ModelError among them
        return None
    is_whole = (
        header.version == FORMAT_VERSION
        and len(offsets) == header.num_sequences + 1 > 0
        and len(tokens) == header.num_tokens == offsets[-1]
        and bool((np.diff(offsets) >= 0).all())
        and hashlib.blake2b(tokens.data, digest_size=16).hexdigest() == header.tokens
    )
    is_stream = source.sequences == "stream"
    return Corpus(tokens, offsets, is_stream, header.statistics, fingerprint) if is_whole else None


def _map_tokens(path: Path, dtype: np.dtype[Any]) -> Tokens:
    if path.stat().st_size == 0:  # empty lines only; an empty file cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")
