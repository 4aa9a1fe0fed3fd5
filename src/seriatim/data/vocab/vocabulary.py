"""What every vocabulary can do: text to symbols and back, names of symbols, sizes of texts.

A symbol is an integer 0 .. V-1. One symbol is the boundary, fed before a sequence and predicted
at its end. For lines and streams the boundary *is* the line end, "\\n". A document may contain
line ends as ordinary symbols, so it has a separate boundary, `<end>`, which decodes to "".
The boundary is never id 0.

Characters and words have an unknown symbol, `<unk>`, with id 0, and boundary id 1; the other
symbols follow by decreasing frequency, ties in the order of their text. Bytes and byte-pair
encoding can represent every text.

Knows texts that fit in memory. Does not know files or models.
"""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seriatim.core.records import Json
from seriatim.errors import ConfigError, SymbolError

Ids: TypeAlias = NDArray[np.int64]
Text: TypeAlias = str | Sequence[str]

LINE_END = "\n"
UNKNOWN = "<unk>"
END = "<end>"
BATCH_CHARACTERS = 1 << 18
_WORDS = re.compile(r"[ \t]*([^ \t\n]+|\n)|[ \t]+")
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", " ": "␣"}


class TextDecoder(ABC):
    """Decodes symbols that arrive one at a time."""

    @abstractmethod
    def push(self, symbol: int) -> str:
        """The text that this symbol completes; "" while a character is incomplete."""

    def flush(self) -> str:
        """The remainder once no more symbols come: U+FFFD for an incomplete character."""
        return ""


@dataclass(frozen=True)
class VocabularyRecord:
    """A vocabulary as it is saved in `symbols.json`.

    Attributes:
        kind: byte, char, nfd, word or bpe.
        is_document: whether sequences are documents.
        symbols: the characters or words in the order of their ids, from id 2; words without
            white space may be saved as one text with a space between two words.
        tokenizer: the tokenizer's own JSON, of byte-pair encoding.
        is_events: whether the words came as lists of events; None: not recorded.
    """

    kind: str
    is_document: bool
    symbols: list[str] | str | None = None
    tokenizer: Json | None = None
    is_events: bool | None = None


class Vocabulary(ABC):
    """The symbols of a model.

    Attributes:
        kind: byte, char, nfd, word or bpe.
        separator: the text between two symbols: a space between words, otherwise "".
        boundary: the id fed before a sequence and predicted at its end; never 0.
        unknown: the id of `<unk>`, or None where every text can be represented.
        is_document: whether sequences are documents, with a separate boundary.
        is_events: whether the symbols are events that come as lists, so that a text pushed to a
            stream is one of them whatever it contains.
        has_spaces: whether a symbol contains white space, so that a text cannot be cut into
            symbols: only lists of them can be given.
        joins_freely: whether the symbols of two pieces of text are always those of both together.
        num_symbols: V, the number of ids, all included.
        num_characters: (V,) the code points of text that each symbol stands for. They sum to
            those of the text where decode(encode(text)) = text; see `text_sizes` for words.
            Those of `<unk>` are not known and count 0.
        num_bytes: (V,) the same in bytes of UTF-8.
    """

    kind: ClassVar[str]
    separator: ClassVar[str] = ""
    is_events: bool = False
    has_spaces: bool = False
    joins_freely: ClassVar[bool] = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_symbols:,} symbols)"

    def __init__(
        self,
        *,
        boundary: int,
        unknown: int | None,
        is_document: bool,
        num_symbols: int,
    ) -> None:
        self.boundary = boundary
        self.unknown = unknown
        self.is_document = is_document
        self.num_symbols = num_symbols

    @property
    def num_characters(self) -> Ids:
        """(V,) code points; computed on first use, so that a model opens without them."""
        return self._sizes[0]

    @property
    def num_bytes(self) -> Ids:
        """(V,) bytes of UTF-8."""
        return self._sizes[1]

    @cached_property
    def _sizes(self) -> tuple[Ids, Ids]:
        characters, in_bytes = self._compute_sizes()
        return np.asarray(characters, np.int64), np.asarray(in_bytes, np.int64)

    @abstractmethod
    def _compute_sizes(self) -> tuple[ArrayLike, ArrayLike]:
        """The values of `num_characters` and `num_bytes`."""

    def encode(self, text: Text) -> Ids:
        """The ids of a text (T,), without boundaries; a list is already cut into symbols.

        Raises:
            SymbolError: if the text holds half of a surrogate pair, which is not a character.
            ConfigError: if a list is given and the symbols are not words.
        """
        if not isinstance(text, str):
            for item in text:
                check_characters(item)
            return self._encode_items(text)
        check_characters(text)
        return self._encode(text)

    def encode_prompt(self, text: Text) -> Ids:
        """The ids of what a person gives: `encode`, but of events a text may also be one event.

        Raises:
            SymbolError: if symbols contain spaces, and the text is several of them or unknown.
        """
        return self.encode(text)

    def encode_element(self, element: Text) -> Ids:
        """The ids of an element that a person pushes: of events, a text is always one event."""
        return self.encode(element)

    def is_joined_freely(self, before: str, after: str) -> bool:
        """Whether the symbols of two pieces of text are those of both pieces together."""
        return True

    def symbol_spans(self, text: Text) -> Ids:
        """(T, 2) where each symbol begins and ends: `text[begin:end]` is what it stands for.

        Characters of a text, items of a list. For symbols made of bytes: the characters of which
        a symbol holds bytes, so that symbols inside of one character have the same span.
        """
        if not isinstance(text, str):
            begins = np.arange(len(text))
            return np.stack([begins, begins + 1], 1)
        return self._spans(text)

    def word_spans(self, text: Text) -> tuple[Ids, Ids]:
        """(W, 2) the spans of the words, and the number (T,) of the word of each symbol.

        Words are as `split_words` defines them, every line end by itself. The symbols of white
        space count with the word after it, whose span does not include it; at the end of the
        text white space is an item of its own. Items of a list are words as they are.
        """
        symbols = self.symbol_spans(text)
        if not isinstance(text, str):
            return symbols, np.arange(len(symbols))
        found = list(_WORDS.finditer(text))
        starts = np.array([match.start() for match in found], np.int64)
        begins = [match.start(1) if match[1] else match.start() for match in found]
        words = np.array([begins, [match.end() for match in found]], np.int64).T
        return words, np.searchsorted(starts, symbols[:, 0], side="right") - 1

    def _spans(self, text: str) -> Ids:
        """(T, 2) the characters of the symbols of a text."""
        ids = self.encode(text)
        ends = np.cumsum(self.num_bytes[ids])
        sizes = [len(character.encode()) for character in text]
        first_bytes = np.cumsum(sizes) - sizes
        begins = np.searchsorted(first_bytes, ends - self.num_bytes[ids], side="right") - 1
        return np.stack([begins, np.searchsorted(first_bytes, ends - 1, side="right")], 1)

    def decode(self, ids: ArrayLike) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD.

        Raises:
            SymbolError: if an id is not in 0 .. V-1.
        """
        array = np.asarray(ids, np.int64).reshape(-1)
        if array.size and (array.min() < 0 or array.max() >= self.num_symbols):
            raise SymbolError(
                f"cannot decode ids from {array.min()} to {array.max()}: this vocabulary has the "
                f"ids 0 to {self.num_symbols - 1}"
            )
        return self._decode(array)

    @abstractmethod
    def _encode(self, text: str) -> Ids: ...

    @abstractmethod
    def _decode(self, ids: Ids) -> str: ...

    def _encode_items(self, items: Sequence[str]) -> Ids:
        raise ConfigError(
            f"a list of symbols ({', '.join(items[:3])}, ...) needs a vocabulary of words, and "
            f"this one is of kind {self.kind}: fit with symbols='word', or give the text as str"
        )

    @abstractmethod
    def decoder(self) -> TextDecoder:
        """A decoder whose pieces, concatenated, equal `decode` of the same ids."""

    def texts(self, symbols: Ids) -> list[str]:
        """The text of each symbol, without spaces between words."""
        return [self.decode([symbol]) for symbol in symbols.tolist()]

    @abstractmethod
    def name(self, symbol: int) -> str:
        """A readable name of a symbol: spaces, line ends and invalid bytes made visible."""

    def unknown_symbols(self, text: Text) -> list[str]:
        """The unknown symbols of a text, each once, in order."""
        return []

    def spellings(self, text: Text) -> list[str]:
        """The text behind every unknown symbol of `encode(text)`, in order."""
        return []

    def respell(self, ids: Ids, spellings: Sequence[str]) -> str:
        """`decode`, with these texts in place of the unknown symbols."""
        return self.decode(ids)

    def is_known(self, text: Text) -> bool:
        """Whether every symbol of a text is known."""
        return not self.unknown_symbols(text)

    def text_sizes(self, ids: Ids) -> tuple[Ids, Ids]:
        """(characters, bytes) of the text behind each id (T,) of whole sequences.

        The sums are exact where the text is restored exactly and documents end with their
        boundary; the line ends of lines count if they are among the ids.
        """
        return self.num_characters[ids], self.num_bytes[ids]

    @abstractmethod
    def to_json(self) -> Json:
        """The JSON of a `VocabularyRecord`, without the fields that do not apply."""

    def fingerprint(self) -> str:
        """A digest that is equal for equal vocabularies."""
        text = json.dumps([self.kind, self.to_json()], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @classmethod
    @abstractmethod
    def from_record(cls, record: VocabularyRecord) -> "Vocabulary":
        """The vocabulary of a record.

        Raises:
            ConfigError: if the record lacks what this kind needs, or holds impossible symbols.
        """


def make_visible(text: str) -> str:
    """A text on one line, with everything that cannot be seen escaped."""
    return "".join(c if c.isprintable() and c != " " else _escape(c) for c in text)


def make_readable(text: str) -> str:
    """A text on one line as `make_visible` escapes it, but with its spaces as they are."""
    return " ".join(map(make_visible, text.split(" ")))


def _escape(character: str) -> str:
    code = ord(character)
    digits = 2 if code < 0x100 else 4 if code < 0x10000 else 8
    prefix = {2: "x", 4: "u", 8: "U"}[digits]
    return _ESCAPES.get(character, f"\\{prefix}{code:0{digits}x}")


def check_characters(text: str) -> None:
    """Refuse half of a surrogate pair, which JSON can contain and UTF-8 cannot.

    Raises:
        SymbolError: if the text holds one, or is not a str.
    """
    if not isinstance(text, str):
        raise SymbolError(f"{text!r:.40} is a {type(text).__name__}: expected text (str)")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SymbolError(
            f"character {error.start:,} of the text is U+{ord(text[error.start]):04X}, half of a "
            "surrogate pair and no character: remove it, or decode the text again"
        ) from None


def check_distinct(symbols: Sequence[str], is_document: bool) -> None:
    """Refuse symbols that occur twice.

    Raises:
        ConfigError: if one does, or if the boundary is among them.
    """
    if len(set(symbols)) < len(symbols):
        duplicate = next(s for s, n in Counter(symbols).items() if n > 1)
        raise ConfigError(f"the symbol {duplicate!r} occurs twice in the vocabulary")
    if LINE_END in symbols and not is_document:
        raise ConfigError("the line end is the boundary and cannot be listed as a symbol")


def join_texts(texts: Iterable[Text], separator: str, kind: str) -> Iterator[str]:
    """The texts joined into larger ones of about `BATCH_CHARACTERS`.

    Args:
        texts: the texts to join.
        separator: the text between two of them.
        kind: the kind of vocabulary, for the error message.

    Raises:
        ConfigError: if a list of symbols is among them.
    """
    pending: list[str] = []
    size = 0
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(
                f"the data is already cut into symbols ({', '.join(text[:3])}, ...): use --symbols "
                f"word, not {kind}"
            )
        pending.append(text)
        size += len(text) + 1
        if size > BATCH_CHARACTERS:
            yield separator.join(pending)
            pending, size = [], 0
    if pending:
        yield separator.join(pending)
