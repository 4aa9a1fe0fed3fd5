"""The vocabulary of words, or of events that come as lists.

Knows words and their ids. Does not know how often they occur; `word_index` looks up the words of
a long text at once.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seriatim.core.records import Json
from seriatim.data.vocab.vocabulary import (
    BATCH_CHARACTERS,
    END,
    LINE_END,
    UNKNOWN,
    Ids,
    Text,
    TextDecoder,
    Vocabulary,
    VocabularyRecord,
    check_characters,
    check_distinct,
    make_readable,
)
from seriatim.data.vocab.word_index import WordIndex, WordSpans, cut_ahead, split_parts, split_words
from seriatim.errors import ConfigError, ModelError, SymbolError

_WORDS = re.compile(r"[^ \t\n]+|\n")  # as `split_words` cuts a text
_SPACES = frozenset(" \t\n")
_LONG_TEXT = 1 << 13  # characters from which it pays to cut a whole text at once


class _IdsByWord(dict[str, int]):
    def __missing__(self, word: str) -> int:
        return 0


class _WordDecoder(TextDecoder):
    def __init__(self, vocabulary: "WordVocabulary") -> None:
        self._vocabulary = vocabulary
        self._is_after_word = False

    def push(self, symbol: int) -> str:
        text, is_word = self._vocabulary.part(symbol)
        if not text and not is_word:  # the end of a document
            return ""
        space = " " if is_word and self._is_after_word else ""
        self._is_after_word = is_word
        return space + text


class WordVocabulary(Vocabulary):
    """Words, or the items of lists of symbols: events may contain spaces.

    In a text one space stands between two words and none beside a line end. A word's size
    includes the space or line end after it, so the line end itself counts 0; `text_sizes` adds
    what these constants cannot know: 1 for the end of an empty line, and -1 for the end of a
    document after a word.

    Args:
        words: the words with ids 2 .. V-1, in order, without the boundary; or all of them in one
            text, with one space between two words, which is cut on first use.
        is_document: whether sequences are documents.
        is_events: whether the words came as lists of events; None: if one contains white space.

    Raises:
        ConfigError: if a word occurs twice, or the text of all words has a gap in it.
        SymbolError: if a word is not text.
    """

    kind: ClassVar[str] = "word"
    separator: ClassVar[str] = " "
    _may_have_inner_ends = False

    def __init__(
        self, words: Sequence[str] | str, *, is_document: bool, is_events: bool | None = None
    ) -> None:
        self._words = words
        if isinstance(words, str) and ("  " in words or LINE_END in words or not words.strip(" ")):
            raise ConfigError("the text of all words has a gap in it that is not one space")
        number = words.count(" ") + 1 if isinstance(words, str) else len(words)
        super().__init__(boundary=1, unknown=0, is_document=is_document, num_symbols=number + 2)
        if isinstance(words, str):
            check_characters(words)
        else:
            joined = self._check(words)
            self._may_have_inner_ends = "\n" in joined
            line_ends = joined.count(LINE_END) if self._may_have_inner_ends else 0
            has_ends = line_ends > 0 and line_ends > words.count(LINE_END)
            self.has_spaces = " " in joined or "\t" in joined or has_ends
        self.is_events = self.has_spaces if is_events is None else is_events

    def _check(self, words: Sequence[str]) -> str:
        """All words in one text, after checking that they are texts and distinct."""
        try:
            joined = "".join(words)
        except TypeError:
            check_characters(next(word for word in words if not isinstance(word, str)))
            raise
        check_distinct(words, self.is_document)
        check_characters(joined)
        return joined

    @cached_property
    def _texts(self) -> list[str]:
        words = self._words
        if isinstance(words, str):  # as saved, and not yet checked
            words = words.split(" ")
            if len(set(words)) < len(words):
                raise ModelError(
                    "the vocabulary (symbols.json) is damaged: a word occurs twice in it"
                )
        return [UNKNOWN, "" if self.is_document else LINE_END, *words]

    # Tables of all words are built on first use: a model opens without them.

    @cached_property
    def _ids(self) -> dict[str, int]:
        ids = _IdsByWord(zip(self._texts, itertools.count()))
        if self.is_document:
            del ids[""]
        return ids

    @cached_property
    def _index(self) -> WordIndex:
        return WordIndex(self._texts[2:])

    @cached_property
    def _is_line_end(self) -> NDArray[np.bool_]:
        return np.array([text == LINE_END for text in self._texts])

    @cached_property
    def _is_word(self) -> NDArray[np.bool_]:
        is_word: NDArray[np.bool_] = ~self._is_line_end
        is_word[1] = False
        return is_word

    @cached_property
    def _spaced(self) -> list[str]:
        return [" " * bool(w) + t for w, t in zip(self._is_word, self._texts, strict=True)]

    @cached_property
    def _has_inner_ends(self) -> bool:
        return self._may_have_inner_ends and any("\n" in w for w in self._words if w != LINE_END)

    def _compute_sizes(self) -> tuple[ArrayLike, ArrayLike]:
        sizes = np.array([len(t) for t in self._texts]) + 1
        in_bytes = np.array([len(t.encode()) for t in self._texts]) + 1
        counts = self._is_word & (np.arange(self.num_symbols) > 0)
        return sizes * counts, in_bytes * counts

    def part(self, symbol: int) -> tuple[str, bool]:
        """The text of a symbol, and whether a space separates it from a word before it."""
        text = self._texts[symbol]
        return text, symbol != 1 and text != LINE_END

    def _encode(self, text: str) -> Ids:
        if len(text) < _LONG_TEXT:
            return self._encode_items(list(split_words(text)))
        line_end = self._ids.get(LINE_END, 0)
        parts = cut_ahead(split_parts(text, BATCH_CHARACTERS))
        return np.concatenate([self._look_up(part, line_end) for part in parts])

    def _look_up(self, text: WordSpans, line_end: int) -> Ids:
        """`_encode` of a text that is cut into words."""
        numbers = self._index.find(text)
        ids = np.full(len(numbers) + len(text.line_ends), line_end, np.int64)
        is_word = np.ones(len(ids), bool)
        is_word[text.line_ends + np.arange(len(text.line_ends))] = False
        ids[is_word] = (numbers + 2) * (numbers >= 0)
        return ids

    def encode_prompt(self, text: Text) -> Ids:
        """The ids of a list, of a text of words, or of a single event; see `Vocabulary`."""
        if not self.is_events or not isinstance(text, str):
            return self.encode(text)
        if text in self._ids:
            return self.encode([text])
        if self.has_spaces and not _SPACES.isdisjoint(text):
            raise SymbolError(
                f"{text!r:.60} is none of the events of this model, and some of them contain "
                'spaces: give a list of events, such as ["first event", "second event"]'
            )
        return self.encode(text)

    def encode_element(self, element: Text) -> Ids:
        """The ids of a list or of a text of words; of events, a text is always one event."""
        return self.encode([element] if self.is_events and isinstance(element, str) else element)

    def word_spans(self, text: Text) -> tuple[Ids, Ids]:
        """Every symbol is a word; see `Vocabulary`."""
        spans = self.symbol_spans(text)
        return spans, np.arange(len(spans))

    def _spans(self, text: str) -> Ids:
        if self.is_events and text in self._ids:
            return np.array([[0, len(text)]])
        words = [match.span() for match in _WORDS.finditer(text)]
        return np.array(words, np.int64).reshape(-1, 2)

    def _items(self, text: Text) -> Sequence[str]:
        """The symbols of what a person gives, as `encode_prompt` reads it."""
        if not isinstance(text, str):
            return text
        return [text] if self.is_events and text in self._ids else list(split_words(text))

    def _encode_items(self, items: Sequence[str]) -> Ids:
        return np.fromiter(map(self._ids.__getitem__, items), np.int64, len(items))

    def _decode(self, ids: Ids) -> str:
        if self._has_inner_ends:
            return "".join(map(self.decoder().push, ids.tolist()))
        return _join_spaced(map(self._spaced.__getitem__, ids.tolist()))

    def decoder(self) -> TextDecoder:
        """A decoder that returns every word at once, with the space before it."""
        return _WordDecoder(self)

    def texts(self, symbols: Ids) -> list[str]:
        """The words."""
        return list(map(self._texts.__getitem__, symbols.tolist()))

    def name(self, symbol: int) -> str:
        """The word, or the event with its spaces."""
        return make_readable(self._texts[symbol]) or END

    def unknown_symbols(self, text: Text) -> list[str]:
        """The words outside the vocabulary, each once; not `<unk>` itself."""
        return [item for item in dict.fromkeys(self._items(text)) if item not in self._ids]

    def spellings(self, text: Text) -> list[str]:
        """The words outside the vocabulary, and `<unk>` itself."""
        items = split_words(text) if isinstance(text, str) else text
        return [item for item in items if self._ids[item] == 0]

    def respell(self, ids: Ids, spellings: Sequence[str]) -> str:
        """`decode`, with these words in place of the unknown ones."""
        texts = list(map(self._spaced.__getitem__, ids.tolist()))
        for i, word in zip(np.flatnonzero(ids == 0).tolist(), spellings, strict=True):
            texts[i] = " " + word
        return _join_spaced(texts)

    def text_sizes(self, ids: Ids) -> tuple[Ids, Ids]:
        """The constants, with the corrections that the class describes."""
        is_after_word = np.zeros(len(ids), bool)
        is_after_word[1:] = self._is_word[ids[:-1]]
        extra: Ids = (self._is_line_end[ids] & ~is_after_word).astype(np.int64)
        if self.is_document:
            extra -= (ids == self.boundary) & is_after_word
        return self.num_characters[ids] + extra, self.num_bytes[ids] + extra

    def to_json(self) -> Json:
        """The words in the order of their ids, from id 2: as one text if they have no spaces."""
        words: list[str] | str = self._texts[2:]
        joined = " ".join(words)
        if words and all(words) and LINE_END not in joined and joined.count(" ") == len(words) - 1:
            words = joined
        record = {"kind": self.kind, "is_document": self.is_document, "symbols": words}
        return {**record, "is_events": True} if self.is_events else record

    @classmethod
    def from_record(cls, record: VocabularyRecord) -> "WordVocabulary":
        """The vocabulary of these words."""
        if record.symbols is None:
            raise ConfigError("it has no words")
        return cls(record.symbols, is_document=record.is_document, is_events=record.is_events)


def _join_spaced(texts: Iterable[str]) -> str:
    """Words with a space before each, without those at the beginnings of lines."""
    return "".join(texts).replace("\n ", "\n").removeprefix(" ")
