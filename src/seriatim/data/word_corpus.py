"""The vocabulary of words and the corpus in a single pass over text files.

The result equals that of `fit_vocabulary("word", ...)` and `build_corpus`, in memory: words are
numbered as they come, and renumbered by frequency at the end. Knows text files read as lines or
streams; other sources take the two separate steps.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.core.apart import NextJob, ask
from seriatim.core.records import Json
from seriatim.data.corpus import (
    Corpus,
    CorpusStatistics,
    Tokens,
    corpus_fingerprint,
    describe_loss,
    token_dtype,
)
from seriatim.data.files import read_blocks, split_pieces
from seriatim.data.sources import FileSource, Source
from seriatim.data.splits import SequencePart, StreamPart
from seriatim.data.tables import Columns
from seriatim.data.vocab.fit import check_any, check_limits
from seriatim.data.vocab.vocabulary import LINE_END, UNKNOWN, join_texts
from seriatim.data.vocab.word import WordVocabulary
from seriatim.data.vocab.word_index import Ids, Ints, WordIndex, WordSpans, by_frequency, cut_ahead

# All words with a space between two, and the corpus.
_Words: TypeAlias = tuple[str, Tokens, NDArray[np.int64], CorpusStatistics]
_LARGE = 1 << 23  # bytes of text
_BEGUN: "dict[tuple[Source, int, int | None], Future[tuple[WordVocabulary, Corpus]]]" = {}


def can_read_words(source: Source) -> bool:
    """Whether a source is text files, or a part of them, read as lines or as a stream."""
    whole = source
    while isinstance(whole, (SequencePart, StreamPart)):
        whole = whole.source
    return (
        isinstance(whole, FileSource)
        and set(whole.formats) == {"text"}
        and source.sequences in ("line", "stream")
    )


def read_words(
    source: Source, *, min_count: int = 1, max_symbols: int | None = None
) -> tuple[WordVocabulary, Corpus]:
    """The vocabulary of the words of a source, and the source as a corpus.

    Args:
        source: a source for which `can_read_words` is true.
        min_count: the least number of occurrences; words with fewer are unknown.
        max_symbols: the largest number of symbols, `<unk>` and the boundary included; None: no
            limit.

    Raises:
        ConfigError: if a limit is too small.
        DataError: if the source cannot be read, or has no word often enough.
    """
    check_limits(min_count, max_symbols)
    begun = _BEGUN.pop((source, min_count, max_symbols), None)
    return _read(source, min_count, max_symbols) if begun is None else begun.result()


def begin_reading_words(
    source: Source,
    *,
    min_count: int = 1,
    max_symbols: int | None = None,
    then: tuple[str, Json] | None = None,
) -> None:
    """Begin `read_words` in another thread; the next call with the same arguments has its result,
    or its error.

    Args:
        source: as for `read_words`.
        min_count: likewise.
        max_symbols: likewise.
        then: the job and facts of the work on the symbols and the bounds of sequences that is to be
            begun as well, in the process that has read them; see `core.apart`. Its facts are
            completed by `num_symbols`, `boundary` and `is_stream`.
    """
    begun: Future[tuple[WordVocabulary, Corpus]] = Future()

    def read() -> None:
        try:
            begun.set_result(_read(source, min_count, max_symbols, may_be_apart=True, then=then))
        except BaseException as error:  # raised where the result is wanted
            begun.set_exception(error)

    _BEGUN[source, min_count, max_symbols] = begun
    threading.Thread(target=read, daemon=True).start()


def _read(
    source: Source,
    min_count: int,
    max_symbols: int | None,
    *,
    may_be_apart: bool = False,
    then: tuple[str, Json] | None = None,
) -> tuple[WordVocabulary, Corpus]:
    threading.Thread(target=source.fingerprint, daemon=True).start()  # cached; needed below
    found = _read_apart(source, min_count, max_symbols, then) if may_be_apart else None
    found = found or _read_here(source, min_count, max_symbols)
    words, tokens, offsets, statistics = found
    vocabulary = WordVocabulary(words, is_document=False)
    is_stream = source.sequences == "stream"
    fingerprint = corpus_fingerprint(source, vocabulary)
    return vocabulary, Corpus(tokens, offsets, is_stream, statistics, fingerprint)


def _read_apart(
    source: Source, min_count: int, max_symbols: int | None, then: tuple[str, Json] | None
) -> _Words | None:
    """`_read_here` in another process, while this one imports torch; None if there can be none, or
    the text is too small for it to pay."""
    if not isinstance(source, FileSource) or source.columns != Columns():
        return None
    if sum(path.stat().st_size for path in source.paths if path.exists()) < _LARGE:
        return None
    options = {
        "paths": [str(path) for path in source.paths],
        "sequences": source.sequences,
        "encoding": source.encoding,
        "skip_empty": source.skip_empty,
        "min_count": min_count,
        "max_symbols": max_symbols,
    }
    next_job = None if then is None else NextJob(*then, (1, 2))
    answer = ask(f"{__name__}:read_job", options, keep=True, then=next_job)
    if answer is None:
        return None
    facts, (text, tokens, offsets) = answer
    return text.tobytes().decode(), tokens, offsets, CorpusStatistics(**facts["statistics"])


def read_job(facts: Json, arrays: list[NDArray[Any]]) -> tuple[Json, list[NDArray[Any]]]:
    """What `_read_apart` asks for: files, to the words in one text, the tokens and the offsets."""
    paths = tuple(Path(path) for path in facts["paths"])
    source = FileSource(
        paths,
        ("text",) * len(paths),
        facts["sequences"],
        encoding=facts["encoding"],
        skip_empty=facts["skip_empty"],
    )
    words, tokens, offsets, statistics = _read_here(
        source, facts["min_count"], facts["max_symbols"]
    )
    vocabulary = WordVocabulary(words, is_document=False)
    text = np.frombuffer(words.encode(), np.uint8)
    corpus = {
        "num_symbols": vocabulary.num_symbols,
        "boundary": vocabulary.boundary,
        "is_stream": source.sequences == "stream",
    }
    return {"statistics": asdict(statistics), "next": corpus}, [text, tokens, offsets]


def _read_here(source: Source, min_count: int, max_symbols: int | None) -> _Words:
    """The words, the tokens, the offsets and the statistics."""
    counter = _WordCounter()
    for piece in cut_ahead(_texts(source)):
        counter.add(piece)
    words, new_ids = counter.number_words(min_count, max_symbols)
    text = " ".join(words)
    vocabulary = WordVocabulary(text, is_document=False)
    dtype = token_dtype(vocabulary.num_symbols)
    tokens = counter.renumbered(new_ids.astype(dtype))
    is_stream = source.sequences == "stream"
    ends = np.concatenate(counter.line_ends)
    statistics = counter.statistics(vocabulary, tokens, is_stream)
    if is_stream:
        tokens = np.insert(tokens, ends, dtype.type(vocabulary.boundary))
        ends = np.array([len(tokens)])
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    return text, tokens, offsets, statistics


def _texts(source: Source) -> Iterator[str]:
    """Large pieces that end with line ends, unless lines are enormous."""
    if isinstance(source, FileSource) and not source.skip_empty:
        for path in source.paths:
            yield from join_texts(split_pieces(read_blocks(path, source.encoding)), "", "word")
    elif source.sequences == "line":
        yield from (text + LINE_END for text in join_texts(source.texts(), LINE_END, "word"))
    else:
        yield from join_texts(source.texts(), "", "word")


@dataclass
class _WordCounter:
    """The words read so far, numbered and counted."""

    index: WordIndex = field(default_factory=WordIndex)
    ids: list[Ids] = field(default_factory=list)
    line_ends: list[Ints] = field(default_factory=list)
    counts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    num_words: int = 0
    num_bytes: int = 0
    num_continued: int = 0  # bytes of UTF-8 that continue a character
    irregular: str | None = None  # the first piece that its words do not restore

    def add(self, text: WordSpans) -> None:
        """Number and count the words of a piece."""
        ids = self.index.add(text)
        counts = np.bincount(ids, minlength=len(self.index.words))
        counts[: len(self.counts)] += self.counts
        self.counts = counts
        self.ids.append(ids)
        self.line_ends.append(text.line_ends + self.num_words)
        self.num_words += len(ids)
        body = text.body
        self.num_bytes += len(body)
        self.num_continued += text.num_continued
        if self.irregular is None and not text.is_plain:
            self.irregular = body.tobytes().decode()

    def number_words(
        self, min_count: int, max_symbols: int | None
    ) -> tuple[list[str], NDArray[np.int64]]:
        """The words with ids 2 and up, and the final id of every word."""
        words = self.index.words
        order = by_frequency(words, self.counts)
        if UNKNOWN in words:
            order = order[order != words.index(UNKNOWN)]
        check_any(int(self.counts[order].max(initial=0)), min_count)
        order = order[self.counts[order] >= min_count]
        order = order if max_symbols is None else order[: max_symbols - 2]
        new_ids = np.zeros(len(words), np.int64)
        new_ids[order] = np.arange(2, len(order) + 2)
        words = [words[w] for w in order.tolist()]
        return words, new_ids

    def renumbered(self, new_ids: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """(num_words,) the final ids of all words; the first ones are freed piece by piece."""
        tokens, end = np.empty(self.num_words, new_ids.dtype), 0
        self.ids.reverse()
        while self.ids:
            ids = self.ids.pop()
            new_ids.take(ids, out=tokens[end : end + len(ids)])
            end += len(ids)
        return tokens

    def statistics(
        self, vocabulary: WordVocabulary, tokens: NDArray[np.integer], is_stream: bool
    ) -> CorpusStatistics:
        """The statistics that `build_corpus` would compute."""
        num_lines = sum(map(len, self.line_ends))
        unknown = int((tokens == vocabulary.unknown).sum())
        reason = None
        if unknown:
            reason = describe_loss("", "", has_unknown=True)
        elif self.irregular is not None:
            restored = vocabulary.decode(vocabulary.encode(self.irregular))
            reason = describe_loss(self.irregular, restored, has_unknown=False)
        return CorpusStatistics(
            num_sequences=1 if is_stream else num_lines,
            num_tokens=len(tokens) + (num_lines if is_stream else 0),
            num_characters=self.num_bytes - self.num_continued,
            num_bytes=self.num_bytes,
            num_unknown=unknown,
            lossless_reason=reason,
            is_respelled=self.irregular is None,
        )
