"""From text to symbols and back: bytes, characters and words; byte-pair encoding is in `bpe`.

A symbol is an integer 0 .. V-1. One symbol is the boundary, fed before a sequence and predicted
at its end. For lines and streams the boundary *is* the line end, "\\n". A document may contain
line ends as ordinary symbols, so its boundary is one of its own, `<end>`, which decodes to "".
The boundary is never id 0.

Characters and words have an unknown symbol, `<unk>`, id 0, and boundary id 1; the others follow
by falling frequency, equal ones by their order as text. Bytes and byte-pair encoding know every
text.

Knows texts of any size as long as one fits in memory. Does not know files or models.
"""

import codecs
import hashlib
import itertools
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seriatim.data.vocab.word_index import CutText, WordIndex, cut_ahead, split_parts, split_words
from seriatim.errors import ConfigError, SymbolError

Ids: TypeAlias = NDArray[np.int64]
Text: TypeAlias = str | Sequence[str]

LINE_END = "\n"
UNKNOWN = "<unk>"
END = "<end>"
BATCH_CHARACTERS = 1 << 18
_LONG_TEXT = 1 << 13  # characters from which cutting a whole text at once pays
_SHOWN = {"\n": "\\n", "\t": "\\t", "\r": "\\r", " ": "␣"}


class TextDecoder(ABC):
    """Text from symbols that come one at a time."""

    @abstractmethod
    def push(self, symbol: int) -> str:
        """The text that is final after this symbol: "" while a character is incomplete."""

    def flush(self) -> str:
        """What is left when no more symbols come: U+FFFD for a character never completed."""
        return ""


class Vocabulary(ABC):
    """The alphabet of a model.

    Attributes:
        kind: byte, char, nfd, word or bpe.
        separator: what stands between two symbols in a text: a space between words.
        boundary: the id fed before a sequence and predicted at its end; never 0.
        unknown: the id of `<unk>`, or None where every text is known.
        is_document: made for documents, with a boundary of its own.
        num_symbols: V, all ids included.
        num_characters: (V,) code points of a text that each symbol stands for. They sum to
            those of the text where decode(encode(text)) = text; see `text_sizes` for words.
            Those of `<unk>` are not known and count 0.
        num_bytes: (V,) the same in bytes of UTF-8.
    """

    kind: ClassVar[str]
    separator: ClassVar[str] = ""

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
        """(V,) code points, made when first asked for: a model may open without them."""
        return self._both_sizes[0]

    @property
    def num_bytes(self) -> Ids:
        """(V,) bytes of UTF-8."""
        return self._both_sizes[1]

    @cached_property
    def _both_sizes(self) -> tuple[Ids, Ids]:
        characters, in_bytes = self._sizes()
        return np.asarray(characters, np.int64), np.asarray(in_bytes, np.int64)

    @abstractmethod
    def _sizes(self) -> tuple[ArrayLike, ArrayLike]:
        """What `num_characters` and `num_bytes` are."""

    def encode(self, text: Text) -> Ids:
        """The ids of a text (T,), without boundaries; a list gives its symbols already cut.

        Raises:
            SymbolError: the text holds half of a surrogate pair, which is no character.
            ConfigError: a list, and the symbols are not words.
        """
        if not isinstance(text, str):
            for item in text:
                check_characters(item)
            return self._encode_items(text)
        check_characters(text)
        return self._encode(text)

    def decode(self, ids: ArrayLike) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD.

        Raises:
            SymbolError: an id is not in 0 .. V-1.
        """
        array = np.asarray(ids, np.int64).reshape(-1)
        if array.size and (array.min() < 0 or array.max() >= self.num_symbols):
            raise SymbolError(
                f"ids from {array.min()} to {array.max()} were given, and there are symbols 0 to "
                f"{self.num_symbols - 1}"
            )
        return self._decode(array)

    @abstractmethod
    def _encode(self, text: str) -> Ids: ...

    @abstractmethod
    def _decode(self, ids: Ids) -> str: ...

    def _encode_items(self, items: Sequence[str]) -> Ids:
        raise ConfigError(
            f"a list of symbols was given ({', '.join(items[:3])}, ...) and the symbols of this "
            f"model are of kind {self.kind}: use words for events, or give a text"
        )

    @abstractmethod
    def decoder(self) -> TextDecoder:
        """A decoder whose pieces, put together, are `decode` of the same ids."""

    @abstractmethod
    def name(self, symbol: int) -> str:
        """A symbol for people: spaces, line ends and odd bytes made visible."""

    def unknown_symbols(self, text: Text) -> list[str]:
        """What of a text is unknown, each once, in order."""
        return []

    def spellings(self, text: Text) -> list[str]:
        """The text behind every unknown symbol of `encode(text)`, in order."""
        return []

    def respell(self, ids: Ids, spellings: Sequence[str]) -> str:
        """`decode`, with these texts in the places of the unknown symbols."""
        return self.decode(ids)

    def is_known(self, text: Text) -> bool:
        """Whether every symbol of a text is known."""
        return not self.unknown_symbols(text)

    def text_sizes(self, ids: Ids) -> tuple[Ids, Ids]:
        """(characters, bytes) of the text behind each id (T,) of whole sequences.

        Exact in sum where the text is restored exactly, and where boundaries stand at the ends
        of documents; the line ends of lines are counted if they are among the ids.
        """
        return self.num_characters[ids], self.num_bytes[ids]

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""

    def fingerprint(self) -> str:
        """Equal for equal symbols."""
        text = json.dumps([self.kind, self.to_json()], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @classmethod
    @abstractmethod
    def restored(cls, data: dict[str, Any], is_document: bool) -> "Vocabulary":
        """What `symbols_from_json` calls; raises ConfigError, KeyError or TypeError."""


def make_visible(text: str) -> str:
    """A text on one line, with everything that cannot be seen made visible."""
    return "".join(c if c.isprintable() and c != " " else _shown(c) for c in text)


def _shown(character: str) -> str:
    code = ord(character)
    digits = 2 if code < 0x100 else 4 if code < 0x10000 else 8
    prefix = {2: "x", 4: "u", 8: "U"}[digits]
    return _SHOWN.get(character, f"\\{prefix}{code:0{digits}x}")


def check_characters(text: str) -> None:
    """No half of a surrogate pair, which JSON can smuggle in and UTF-8 cannot write."""
    if not isinstance(text, str):
        raise SymbolError(f"{text!r:.40} is a {type(text).__name__}: expected text (str)")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SymbolError(
            f"character {error.start:,} of the text is U+{ord(text[error.start]):04X}, half of a "
            "surrogate pair and no character: remove it, or decode the text anew"
        ) from None


# ---- bytes --------------------------------------------------------------------------------------


class Utf8Decoder(TextDecoder):
    """Text from symbols that are bytes: a character is final when its last byte came."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, symbol: int) -> str:
        """The characters that this symbol completes."""
        return self._decoder.decode(self._pieces[symbol])

    def flush(self) -> str:
        """U+FFFD if a character is incomplete."""
        return self._decoder.decode(b"", final=True)


def name_of_bytes(piece: bytes) -> str:
    """A symbol made of bytes, for people: <0x80> where it is not UTF-8."""
    try:
        return make_visible(piece.decode())
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in piece)


class ByteVocabulary(Vocabulary):
    """The bytes of UTF-8: V = 256, boundary 10; of documents V = 257, boundary 256."""

    kind: ClassVar[str] = "byte"

    def __init__(self, *, is_document: bool) -> None:
        super().__init__(
            boundary=256 if is_document else ord(LINE_END),
            unknown=None,
            is_document=is_document,
            num_symbols=257 if is_document else 256,
        )
        self._pieces = [bytes([byte]) for byte in range(256)] + [b""]

    def _sizes(self) -> tuple[ArrayLike, ArrayLike]:
        is_lead = [1 if byte & 0xC0 != 0x80 else 0 for byte in range(256)]
        end = [0] if self.is_document else []
        return is_lead + end, [1] * 256 + end

    def _encode(self, text: str) -> Ids:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def _decode(self, ids: Ids) -> str:
        return ids[ids < 256].astype(np.uint8).tobytes().decode("utf-8", "replace")

    def decoder(self) -> TextDecoder:
        """Completes characters of several bytes."""
        return Utf8Decoder(self._pieces)

    def name(self, symbol: int) -> str:
        """The ASCII character, or <0x80>."""
        return END if symbol == 256 else name_of_bytes(self._pieces[symbol])

    def to_json(self) -> dict[str, Any]:
        """Nothing but what they are."""
        return {"kind": self.kind, "is_document": self.is_document}

    @classmethod
    def restored(cls, data: dict[str, Any], is_document: bool) -> "Vocabulary":
        """From `to_json`."""
        return cls(is_document=is_document)


# ---- characters ---------------------------------------------------------------------------------


class _TableDecoder(TextDecoder):
    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def push(self, symbol: int) -> str:
        return self._texts[symbol]


class CharVocabulary(Vocabulary):
    """Unicode code points; an unknown one decodes to U+FFFD.

    Args:
        characters: ids 2 .. V-1, in order, without the boundary.
        is_document: made for documents.
    """

    kind: ClassVar[str] = "char"

    def __init__(self, characters: Sequence[str], *, is_document: bool) -> None:
        _check_distinct(characters, is_document)
        for character in characters:
            if len(character) != 1:
                raise ConfigError(f"{character!r} is not one character")
            check_characters(character)
        own = "" if is_document else LINE_END
        self._texts = ["\ufffd", own, *characters]
        known = [*characters, *own]
        codes = [ord(c) for c in known]
        self._ids = np.zeros(max(codes, default=0) + 2, np.int32)  # the last: all codes above
        self._ids[codes] = [*range(2, len(characters) + 2), *([1] if own else [])]
        self._codes = np.array([ord(text or "\0") for text in self._texts], "<u4")
        super().__init__(
            boundary=1,
            unknown=0,
            is_document=is_document,
            num_symbols=len(self._texts),
        )

    def _sizes(self) -> tuple[ArrayLike, ArrayLike]:
        own, *characters = self._texts[1:]
        in_bytes = [0, len(own), *(len(c.encode()) for c in characters)]
        return [0, len(own), *(1 for _ in characters)], in_bytes

    def _encode(self, text: str) -> Ids:
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        ids: Ids = self._ids[np.minimum(codes, len(self._ids) - 1)].astype(np.int64)
        return ids

    def _decode(self, ids: Ids) -> str:
        ids = ids[ids != 1] if self.is_document else ids
        return self._codes[ids].tobytes().decode("utf-32-le")

    def decoder(self) -> TextDecoder:
        """Every character is final at once."""
        return _TableDecoder(self._texts)

    def name(self, symbol: int) -> str:
        """The character, or an escape."""
        return {0: UNKNOWN, 1: make_visible(self._texts[1]) or END}.get(
            symbol, make_visible(self._texts[symbol])
        )

    def unknown_symbols(self, text: Text) -> list[str]:
        """The characters never seen, each once."""
        return list(dict.fromkeys(self.spellings(text)))

    def spellings(self, text: Text) -> list[str]:
        """The characters never seen."""
        return [text[int(i)] for i in np.flatnonzero(self.encode(text) == 0)]

    def respell(self, ids: Ids, spellings: Sequence[str]) -> str:
        """Characters, one for one."""
        codes = self._codes[ids]
        codes[ids == 0] = [ord(c) for c in spellings]
        kept = codes[ids != 1] if self.is_document else codes
        return kept.tobytes().decode("utf-32-le")

    def to_json(self) -> dict[str, Any]:
        """The characters in the order of their ids, from id 2."""
        return {"kind": self.kind, "is_document": self.is_document, "symbols": self._texts[2:]}

    @classmethod
    def restored(cls, data: dict[str, Any], is_document: bool) -> "Vocabulary":
        """From `to_json`."""
        return cls(_strings(data["symbols"]), is_document=is_document)


# ---- words --------------------------------------------------------------------------------------


class _Lookup(dict[str, int]):
    def __missing__(self, word: str) -> int:
        return 0


class _WordDecoder(TextDecoder):
    def __init__(self, vocabulary: "WordVocabulary") -> None:
        self._symbols = vocabulary
        self._is_after_word = False

    def push(self, symbol: int) -> str:
        text, is_word = self._symbols.part(symbol)
        if not text and not is_word:  # the end of a document
            return ""
        space = " " if is_word and self._is_after_word else ""
        self._is_after_word = is_word
        return space + text


class WordVocabulary(Vocabulary):
    """Words, or whatever a list of symbols holds: events may contain spaces.

    In a text one space stands between two words and none beside a line end. A word's size
    includes the space or line end after it, so the line end itself counts 0; `text_sizes` adds
    what the constants cannot know: 1 for the end of an empty line, and -1 for the end of a
    document whose last word nothing follows.

    Args:
        words: ids 2 .. V-1, in order, without the boundary; or all in one text, with one space
            between two, which is cut when it is first needed.
        is_document: made for documents.
    """

    kind: ClassVar[str] = "word"
    separator: ClassVar[str] = " "
    _may_have_inner_ends = False

    def __init__(self, words: Sequence[str] | str, *, is_document: bool) -> None:
        self._given = words
        if isinstance(words, str) and ("  " in words or LINE_END in words or not words.strip(" ")):
            raise ConfigError("the text of all words has a gap in it that is not one space")
        number = words.count(" ") + 1 if isinstance(words, str) else len(words)
        super().__init__(boundary=1, unknown=0, is_document=is_document, num_symbols=number + 2)
        if isinstance(words, str):
            check_characters(words)
        else:
            self._may_have_inner_ends = "\n" in self._joined(words)

    def _joined(self, words: Sequence[str]) -> str:
        """All words in one text, if they are texts, and different."""
        try:
            whole = "".join(words)
        except TypeError:
            check_characters(next(word for word in words if not isinstance(word, str)))
            raise
        _check_distinct(words, self.is_document)
        check_characters(whole)
        return whole

    @cached_property
    def _texts(self) -> list[str]:
        words = self._given.split(" ") if isinstance(self._given, str) else self._given
        _check_distinct(words, self.is_document)
        return [UNKNOWN, "" if self.is_document else LINE_END, *words]

    # Tables of all words are made when they are first needed: a model opens without them.

    @cached_property
    def _ids(self) -> dict[str, int]:
        ids = _Lookup(zip(self._texts, itertools.count()))
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
        return self._may_have_inner_ends and any("\n" in w for w in self._given if w != LINE_END)

    def _sizes(self) -> tuple[ArrayLike, ArrayLike]:
        sizes = np.array([len(t) for t in self._texts]) + 1
        in_bytes = np.array([len(t.encode()) for t in self._texts]) + 1
        counts = self._is_word & (np.arange(self.num_symbols) > 0)
        return sizes * counts, in_bytes * counts

    def part(self, symbol: int) -> tuple[str, bool]:
        """The text of a symbol, and whether a space stands between it and a word before it."""
        text = self._texts[symbol]
        return text, symbol != 1 and text != LINE_END

    def _encode(self, text: str) -> Ids:
        if len(text) < _LONG_TEXT:
            return self._encode_items(list(split_words(text)))
        line_end = self._ids.get(LINE_END, 0)
        parts = [
            self._looked_up(part, line_end)
            for part in cut_ahead(split_parts(text, BATCH_CHARACTERS))
        ]
        return np.concatenate(parts)

    def _looked_up(self, text: CutText, line_end: int) -> Ids:
        """`_encode` of a text that is cut."""
        found = self._index.find(text)
        ids = np.full(len(found) + len(text.line_ends), line_end, np.int64)
        is_word = np.ones(len(ids), bool)
        is_word[text.line_ends + np.arange(len(text.line_ends))] = False
        ids[is_word] = (found + 2) * (found >= 0)
        return ids

    def _encode_items(self, items: Sequence[str]) -> Ids:
        return np.fromiter(map(self._ids.__getitem__, items), np.int64, len(items))

    def _decode(self, ids: Ids) -> str:
        if self._has_inner_ends:
            return "".join(map(self.decoder().push, ids.tolist()))
        text = "".join(map(self._spaced.__getitem__, ids.tolist())).replace("\n ", "\n")
        return text.removeprefix(" ")

    def decoder(self) -> TextDecoder:
        """Every word is final at once, with the space before it."""
        return _WordDecoder(self)

    def name(self, symbol: int) -> str:
        """The word."""
        return make_visible(self._texts[symbol]) or END

    def unknown_symbols(self, text: Text) -> list[str]:
        """The words never seen, or seen too seldom, each once; not `<unk>` itself."""
        items = list(split_words(text)) if isinstance(text, str) else text
        return [item for item in dict.fromkeys(items) if item not in self._ids]

    def spellings(self, text: Text) -> list[str]:
        """The words never seen, or seen too seldom, and `<unk>` itself."""
        items = split_words(text) if isinstance(text, str) else text
        return [item for item in items if self._ids[item] == 0]

    def respell(self, ids: Ids, spellings: Sequence[str]) -> str:
        """Words, one for one, with the spaces of `decode`."""
        texts = list(map(self._spaced.__getitem__, ids.tolist()))
        for place, word in zip(np.flatnonzero(ids == 0).tolist(), spellings, strict=True):
            texts[place] = " " + word
        return "".join(texts).replace("\n ", "\n").removeprefix(" ")

    def text_sizes(self, ids: Ids) -> tuple[Ids, Ids]:
        """The constants, and the corrections that the class describes."""
        is_after_word = np.zeros(len(ids), bool)
        is_after_word[1:] = self._is_word[ids[:-1]]
        extra: Ids = (self._is_line_end[ids] & ~is_after_word).astype(np.int64)
        if self.is_document:
            extra -= (ids == self.boundary) & is_after_word
        return self.num_characters[ids] + extra, self.num_bytes[ids] + extra

    def to_json(self) -> dict[str, Any]:
        """The words in the order of their ids, from id 2: as one text, if they have no spaces."""
        words: list[str] | str = self._texts[2:]
        whole = " ".join(words)
        if words and all(words) and LINE_END not in whole and whole.count(" ") == len(words) - 1:
            words = whole
        return {"kind": self.kind, "is_document": self.is_document, "symbols": words}

    @classmethod
    def restored(cls, data: dict[str, Any], is_document: bool) -> "Vocabulary":
        """From `to_json`."""
        words = data["symbols"]
        return cls(words if isinstance(words, str) else _strings(words), is_document=is_document)


def _check_distinct(symbols: Sequence[str], is_document: bool) -> None:
    if len(set(symbols)) < len(symbols):
        twice = next(s for s, n in Counter(symbols).items() if n > 1)
        raise ConfigError(f"the symbol {twice!r} is given twice")
    if LINE_END in symbols and not is_document:
        raise ConfigError("the line end is the boundary already")


def _strings(symbols: Any) -> list[str]:
    if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
        raise ConfigError("the list of symbols is not a list of texts")
    return symbols


def join_texts(texts: Iterable[Text], separator: str, kind: str) -> Iterator[str]:
    """The texts joined into larger ones, of about `BATCH_CHARACTERS`.

    Raises:
        ConfigError: a list of symbols is among them.
    """
    held: list[str] = []
    size = 0
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(
                f"the data gives symbols already cut, such as {', '.join(text[:3])}: they need "
                f"--symbols word, not {kind}"
            )
        held.append(text)
        size += len(text) + 1
        if size > BATCH_CHARACTERS:
            yield separator.join(held)
            held, size = [], 0
    if held:
        yield separator.join(held)
