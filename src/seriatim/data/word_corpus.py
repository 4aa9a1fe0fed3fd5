"""The alphabet of words and the corpus in one pass over a file, at the speed of counting.

What comes out is what `fit_vocabulary("word", ...)` and `build_corpus` give together, in memory,
with numbers given to words as they come and sorted by frequency in the end. Knows text files in
lines or streams; everything else goes the ordinary way.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seriatim.data.corpus import Corpus, CorpusStatistics, _difference, _dtype, _fingerprint
from seriatim.data.files import read_blocks, split_pieces
from seriatim.data.sources import FileSource, Source
from seriatim.data.splits import SequencePart, StreamPart
from seriatim.data.vocab.vocabulary import (
    LINE_END,
    UNKNOWN,
    WordVocabulary,
    check_characters,
    join_texts,
)
from seriatim.data.vocab.word_index import CutText, Ids, Ints, WordIndex, by_frequency, cut_ahead
from seriatim.errors import ConfigError, DataError


def can_read_words(source: Source) -> bool:
    """Whether a source is text files, or a part of them, in lines or as a stream."""
    whole = source
    while isinstance(whole, (SequencePart, StreamPart)):
        whole = whole.source
    return (
        isinstance(whole, FileSource)
        and set(whole.formats) == {"text"}
        and source.sequences in ("line", "stream")
    )


def read_words(
    source: Source, *, min_count: int = 1, max_size: int | None = None
) -> tuple[WordVocabulary, Corpus]:
    """The words of a source by falling frequency, and the source in these words.

    Args:
        source: one that `can_read_words`.
        min_count: words seen fewer times are unknown.
        max_size: at most this many words, `<unk>` and the boundary included.

    Raises:
        ConfigError: numbers out of range.
        DataError: the source cannot be read, or has no word often enough.
    """
    if min_count < 1 or (max_size is not None and max_size < 3):
        raise ConfigError(
            f"min_count = {min_count} and max_size = {max_size}: expected at least 1 and 3"
        )
    threading.Thread(target=source.fingerprint, daemon=True).start()  # remembered; wanted below
    reading = _Reading()
    for text in cut_ahead(_texts(source)):
        reading.take(text)
    words, new = reading.number_words(min_count, max_size)
    vocabulary = WordVocabulary(words, is_document=False)
    dtype = _dtype(vocabulary.num_symbols)
    parts = [new[ids].astype(dtype) for ids in reading.ids]
    reading.ids.clear()
    tokens = np.concatenate([np.zeros(0, dtype), *parts])
    is_stream = source.sequences == "stream"
    ends = np.concatenate(reading.line_ends)
    figures = reading.figures(vocabulary, tokens, is_stream)
    if is_stream:
        tokens = np.insert(tokens, ends, dtype.type(vocabulary.boundary))
        ends = np.array([len(tokens)])
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    return vocabulary, Corpus(tokens, offsets, is_stream, figures, _fingerprint(source, vocabulary))


def _texts(source: Source) -> Iterator[str]:
    """Large pieces that end with lines, wherever lines are not enormous."""
    if isinstance(source, FileSource) and not source.skip_empty:
        for path in source.paths:
            yield from join_texts(split_pieces(read_blocks(path, source.encoding)), "", "word")
    elif source.sequences == "line":
        yield from (text + LINE_END for text in join_texts(source.texts(), LINE_END, "word"))
    else:
        yield from join_texts(source.texts(), "", "word")


@dataclass
class _Reading:
    """What was read so far."""

    index: WordIndex = field(default_factory=WordIndex)
    ids: list[Ids] = field(default_factory=list)
    line_ends: list[Ints] = field(default_factory=list)
    counts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    num_words: int = 0
    num_bytes: int = 0
    num_continued: int = 0  # bytes of UTF-8 that begin no character
    odd: str | None = None  # the first piece that its words do not give back

    def take(self, text: CutText) -> None:
        """Number the words of a piece."""
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
        if self.odd is None and not text.is_plain:
            self.odd = body.tobytes().decode()

    def number_words(
        self, min_count: int, max_size: int | None
    ) -> tuple[list[str], NDArray[np.int64]]:
        """The words of ids 2 and up, and the final id of every word."""
        found = self.index.words
        order = by_frequency(found, self.counts)
        own = np.array([w for w in order.tolist() if found[w] == UNKNOWN], np.int64)
        order = order[(self.counts[order] >= min_count) & ~np.isin(order, own)]
        if not len(found) or not len(order):
            raise DataError(
                "the text has no word that comes often enough"
                if len(found)
                else "the text has no symbol in it but line ends: there is nothing to learn"
            )
        order = order if max_size is None else order[: max_size - 2]
        new = np.zeros(len(found), np.int64)
        new[order] = np.arange(2, len(order) + 2)
        words = [found[w] for w in order.tolist()]
        check_characters(LINE_END.join(words))
        return words, new

    def figures(
        self, vocabulary: WordVocabulary, tokens: NDArray[np.integer], is_stream: bool
    ) -> CorpusStatistics:
        """As `build_corpus` counts them."""
        num_lines = sum(map(len, self.line_ends))
        unknown = int((tokens == vocabulary.unknown).sum())
        reason = None
        if unknown:
            reason = _difference("", "", True)
        elif self.odd is not None:
            reason = _difference(self.odd, vocabulary.decode(vocabulary.encode(self.odd)), False)
        return CorpusStatistics(
            num_sequences=1 if is_stream else num_lines,
            num_tokens=len(tokens) + (num_lines if is_stream else 0),
            num_characters=self.num_bytes - self.num_continued,
            num_bytes=self.num_bytes,
            num_unknown=unknown,
            lossless_reason=reason,
            is_respelled=self.odd is None,
        )
