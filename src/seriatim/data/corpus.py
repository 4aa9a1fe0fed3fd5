"""Token files: a source as symbols on disk, memory-mapped, built once.

    <cache>/<fingerprint>/tokens    V <= 256: uint8, <= 65,536: uint16, else uint32, little-endian
                          offsets   int64, N + 1: where each sequence begins and ends
                          corpus.json

Sequences stand without boundaries, one after another; a stream is one sequence. A corpus is
built in bounded memory, under a temporary name, flushed and renamed, so that what is found is
whole; it is looked up by a fingerprint of the content, of how it is read, and of the symbols.
A damaged entry is built again.

Knows sources and symbols. Does not know batches or models.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.core import atomic
from seriatim.data.sources import Source
from seriatim.data.vocab.vocabulary import LINE_END, Ids, Text, Vocabulary, join_texts
from seriatim.errors import ConfigError, OutputError

Tokens: TypeAlias = NDArray[Any]

FORMAT_VERSION = 2
_FILES = ("tokens", "offsets")


@dataclass(frozen=True)
class CorpusStatistics:
    """What is counted while a corpus is built.

    Attributes:
        num_sequences: N; 1 for a stream.
        num_tokens: symbols, without boundaries of sequences.
        num_characters: code points of the text; the end of every line is one, the end of a
            document none; a space stands between symbols that came already cut.
        num_bytes: the same in UTF-8.
        num_unknown: symbols that are `<unk>`.
        lossless_reason: None if decode(encode(text)) = text everywhere, else where it was not.
        is_respelled: whether the text is had back once its unknown symbols are spelled.
    """

    num_sequences: int = 0
    num_tokens: int = 0
    num_characters: int = 0
    num_bytes: int = 0
    num_unknown: int = 0
    lossless_reason: str | None = None
    is_respelled: bool = False


@dataclass(frozen=True, eq=False)
class Corpus:
    """Sequences of symbols, usually memory-mapped and then read-only.

    Attributes:
        tokens: (num_tokens,) all symbols, sequence after sequence.
        offsets: (N + 1,) int64: sequence i is tokens[offsets[i] : offsets[i + 1]].
        is_stream: one sequence without an end.
        figures: of the text.
        fingerprint: of content, reading and symbols.
    """

    tokens: Tokens
    offsets: NDArray[np.int64]
    is_stream: bool
    figures: CorpusStatistics
    fingerprint: str

    @classmethod
    def from_tokens(cls, sequences: Iterable[Ids], *, is_stream: bool = False) -> "Corpus":
        """A corpus in memory, of symbols whose text is not known.

        A stream is given in any number of pieces.
        """
        arrays = [np.asarray(s, np.int64).reshape(-1) for s in sequences]
        tokens = np.concatenate([*arrays, np.zeros(0, np.int64)])
        lengths = [len(tokens)] if is_stream else [len(a) for a in arrays]
        figures = CorpusStatistics(
            num_sequences=len(lengths),
            num_tokens=len(tokens),
            lossless_reason="it was made of symbols, not of text",
        )
        offsets = np.array([0, *itertools.accumulate(lengths)], np.int64)
        digest = hashlib.blake2b(tokens.tobytes() + offsets.tobytes(), digest_size=16)
        return cls(tokens, offsets, is_stream, figures, digest.hexdigest())

    @property
    def num_sequences(self) -> int:
        """N."""
        return self.figures.num_sequences

    @property
    def num_tokens(self) -> int:
        """Symbols, without the boundaries of sequences."""
        return self.figures.num_tokens

    @property
    def num_scored(self) -> int:
        """Targets: every symbol, and the end of every sequence that has one."""
        return self.num_tokens + (0 if self.is_stream else self.num_sequences)

    @property
    def num_characters(self) -> int:
        """Code points of the text."""
        return self.figures.num_characters

    @property
    def num_bytes(self) -> int:
        """Bytes of the text in UTF-8."""
        return self.figures.num_bytes

    @property
    def num_unknown(self) -> int:
        """Symbols that are `<unk>`."""
        return self.figures.num_unknown

    @property
    def lossless_reason(self) -> str | None:
        """None if decode(encode(text)) = text, else why not."""
        return self.figures.lossless_reason

    @property
    def is_respelled(self) -> bool:
        """Whether the text is had back once its unknown symbols are spelled."""
        return self.figures.is_respelled

    def sequence(self, i: int) -> Tokens:
        """(T,) the symbols of sequence i, a view."""
        return self.tokens[self.offsets[i] : self.offsets[i + 1]]


def build_corpus(source: Source, vocabulary: Vocabulary, cache: Path | None = None) -> Corpus:
    """The source as symbols: found in the cache, or built there.

    A source in memory stays in memory. If the cache cannot be written, a temporary folder takes
    its place for the life of the corpus.

    Args:
        source: what to read.
        vocabulary: made for sequences of the same kind.
        cache: a folder; None: $SERIATIM_CACHE, else $XDG_CACHE_HOME/seriatim, else
            ~/.cache/seriatim.

    Raises:
        ConfigError: the symbols are of documents and the source is not, or the other way.
        DataError: the source cannot be read.
        OutputError: there is no room for the tokens anywhere.
    """
    if vocabulary.is_document != (source.sequences == "document"):
        made_for = "documents" if vocabulary.is_document else "lines and streams"
        raise ConfigError(
            f"the symbols were made for {made_for} and {source.name} is read as "
            f"{source.sequences}: read it as the model was fitted, or fit the symbols anew"
        )
    fingerprint = _fingerprint(source, vocabulary)
    if source.is_in_memory:
        return _build_in_memory(source, vocabulary, fingerprint)
    entry = (_default_cache() if cache is None else cache) / fingerprint
    found = _open(entry, source, vocabulary, fingerprint)
    if found is not None:
        return found
    try:
        _build_entry(entry, source, vocabulary)
        found = _open(entry, source, vocabulary, fingerprint)
    except OSError:
        found = None
    return found or _build_for_now(source, vocabulary, fingerprint)


def _fingerprint(source: Source, vocabulary: Vocabulary) -> str:
    parts = [FORMAT_VERSION, source.sequences, source.fingerprint(), vocabulary.fingerprint()]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _default_cache() -> Path:
    own = os.environ.get("SERIATIM_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "seriatim"


# ---- building -----------------------------------------------------------------------------------


class _Sink(ABC):
    """Where tokens go."""

    @abstractmethod
    def write(self, tokens: Ids, lengths: Sequence[int]) -> None:
        """Take the tokens of sequences that end here; a stream's pieces end nothing."""


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
        """Flush to the disk itself; the digest of the tokens."""
        self.abandon()
        for file in self._files:
            atomic.flush(Path(file.name))
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Give the files back."""
        for file in self._files:
            file.close()


def _dtype(num_symbols: int) -> np.dtype[Any]:
    """The smallest that holds the ids, little-endian on disk as on every machine we meet."""
    return np.dtype("<u1" if num_symbols <= 1 << 8 else "<u2" if num_symbols <= 1 << 16 else "<u4")


def _fill(sink: _Sink, source: Source, vocabulary: Vocabulary) -> CorpusStatistics:
    """Encode the whole source into the sink, compare it with its decoding, and count."""
    encoder = {"line": _encoded_lines, "document": _encoded, "stream": _encoded_stream}
    sequences = tokens = characters = in_bytes = unknown = 0
    reason, is_respelled = None, True
    for part in encoder[source.sequences](source.texts(), vocabulary):
        sink.write(part.ids, part.lengths)
        sequences += len(part.lengths)
        tokens += len(part.ids)
        characters += len(part.text)
        in_bytes += len(part.text) if part.text.isascii() else len(part.text.encode())
        missed = 0 if vocabulary.unknown is None else int((part.ids == vocabulary.unknown).sum())
        unknown += missed
        if part.restored != part.text:
            reason = reason or _difference(part.text, part.restored, missed > 0)
            is_respelled = is_respelled and part.respelled(vocabulary) == part.text
    if source.sequences == "stream":
        sink.write(np.zeros(0, np.int64), [tokens])
        sequences = 1
    return CorpusStatistics(sequences, tokens, characters, in_bytes, unknown, reason, is_respelled)


@dataclass(frozen=True)
class _Part:
    """What was encoded together.

    Attributes:
        text: with line ends.
        given: what was encoded.
        ids: what is kept of it.
        restored: what decoding gives back.
        lengths: of the sequences in it.
        before, after: what decoding adds around `given`.
        all_ids: of `given`, where some are not kept: the ends of lines.
    """

    text: str
    given: Text
    ids: Ids
    restored: str
    lengths: Sequence[int]
    before: str = ""
    after: str = ""
    all_ids: Ids | None = None

    def respelled(self, vocabulary: Vocabulary) -> str:
        """What decoding gives back once the unknown symbols are spelled."""
        ids = self.ids if self.all_ids is None else self.all_ids
        return self.before + vocabulary.respell(ids, vocabulary.spellings(self.given)) + self.after


def _encoded(texts: Iterable[Text], vocabulary: Vocabulary, after: str = "") -> Iterator[_Part]:
    """Every text a sequence."""
    for text in texts:
        ids = vocabulary.encode(text)
        whole = text if isinstance(text, str) else vocabulary.separator.join(text)
        restored = vocabulary.decode(ids) + after
        yield _Part(whole + after, text, ids, restored, [len(ids)], after=after)


def _encoded_lines(texts: Iterable[Text], vocabulary: Vocabulary) -> Iterator[_Part]:
    """Many lines at once, found again by the boundary, which is the line end."""
    for is_text, group in itertools.groupby(texts, key=_is_text):
        if not is_text:
            yield from _encoded(group, vocabulary, after=LINE_END)
            continue
        for joined in join_texts(group, LINE_END, vocabulary.kind):
            text = joined + LINE_END
            ids = vocabulary.encode(text)
            ends = np.flatnonzero(ids == vocabulary.boundary)
            lengths = (np.diff(ends, prepend=-1) - 1).tolist()
            inner = np.delete(ids, ends)
            yield _Part(text, text, inner, vocabulary.decode(ids), lengths, all_ids=ids)


def _encoded_stream(texts: Iterable[Text], vocabulary: Vocabulary) -> Iterator[_Part]:
    """Pieces of one sequence. One that goes on in a line restores what separates symbols too."""
    is_inside_line = False
    for is_text, group in itertools.groupby(texts, key=_is_text):
        for given in join_texts(group, "", vocabulary.kind) if is_text else group:
            ids = vocabulary.encode(given)
            before = ""
            if isinstance(given, str):
                before = vocabulary.separator * is_inside_line
                is_inside_line = not given.endswith(LINE_END)
                text = given
            else:
                text = vocabulary.separator.join(given[:-1]) + LINE_END
            yield _Part(text, given, ids, before + vocabulary.decode(ids), [], before=before)


def _is_text(text: Text) -> bool:
    return isinstance(text, str)


def _difference(text: str, restored: str, has_unknown: bool) -> str:
    """The first place where a text is not had back from its symbols."""
    if has_unknown:
        return "some of it is unknown to the symbols, and <unk> does not spell it"
    pairs = zip(text.split("\n"), restored.split("\n"), strict=False)
    line, got = next(((a, b) for a, b in pairs if a != b), (text, restored))
    at = next((i for i, (a, b) in enumerate(zip(line, got, strict=False)) if a != b), len(got))
    start = max(at - 10, 0)
    return (
        f"the symbols do not spell it: {line[start : at + 20]!r} comes back as "
        f"{got[start : at + 20]!r}"
    )


def _build_in_memory(source: Source, vocabulary: Vocabulary, fingerprint: str) -> Corpus:
    sink = _Memory(_dtype(vocabulary.num_symbols))
    figures = _fill(sink, source, vocabulary)
    offsets = np.array([0, *itertools.accumulate(sink.lengths)], np.int64)
    is_stream = source.sequences == "stream"
    return Corpus(np.concatenate(sink.tokens), offsets, is_stream, figures, fingerprint)


def _build_entry(entry: Path, source: Source, vocabulary: Vocabulary) -> None:
    """Build beside the entry and put it in place; whoever comes first wins.

    Raises:
        OSError: the cache cannot be written.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        _write(unfinished, source, vocabulary)
        if entry.exists():  # damaged, or it would have been used
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
    sink = _Disk(folder, _dtype(vocabulary.num_symbols))
    try:
        figures = _fill(sink, source, vocabulary)
        digest = sink.close()
    finally:
        sink.abandon()
    record = {"version": FORMAT_VERSION, "tokens": digest, **asdict(figures)}
    (folder / "corpus.json").write_text(json.dumps(record))
    atomic.flush(folder / "corpus.json")
    atomic.flush(folder)


def _build_for_now(source: Source, vocabulary: Vocabulary, fingerprint: str) -> Corpus:
    """Build in a temporary folder that goes with the corpus."""
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
            f"the symbols of {source.name} cannot be written to the cache nor to "
            f"{tempfile.gettempdir()} ({error.strerror or error}): make room, or name a folder "
            "with room in SERIATIM_CACHE"
        ) from None
    if corpus is None:
        raise OutputError(f"what was just written to {folder} cannot be read again: check the disk")
    weakref.finalize(corpus, shutil.rmtree, folder, ignore_errors=True)
    return corpus


# ---- opening ------------------------------------------------------------------------------------


def _open(entry: Path, source: Source, vocabulary: Vocabulary, fingerprint: str) -> Corpus | None:
    """The corpus of a cache entry; None if there is none, or a damaged one."""
    try:
        record = json.loads((entry / "corpus.json").read_bytes())
        tokens = _mapped(entry / "tokens", _dtype(vocabulary.num_symbols))
        offsets = np.fromfile(entry / "offsets", "<i8")
        digest, version = record.pop("tokens"), record.pop("version")
        figures = CorpusStatistics(**record)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    is_whole = (
        version == FORMAT_VERSION
        and len(offsets) == figures.num_sequences + 1 > 0
        and len(tokens) == figures.num_tokens == offsets[-1]
        and bool((np.diff(offsets) >= 0).all())
        and hashlib.blake2b(tokens.data, digest_size=16).hexdigest() == digest
    )
    is_stream = source.sequences == "stream"
    return Corpus(tokens, offsets, is_stream, figures, fingerprint) if is_whole else None


def _mapped(path: Path, dtype: np.dtype[Any]) -> Tokens:
    if path.stat().st_size == 0:  # of empty lines only; nothing can be mapped
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")
