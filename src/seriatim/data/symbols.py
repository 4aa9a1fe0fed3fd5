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
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seriatim.errors import ConfigError, SymbolError

Ids: TypeAlias = NDArray[np.int64]
Text: TypeAlias = str | Sequence[str]

LINE_END = "\n"
UNKNOWN = "<unk>"
END = "<end>"
BATCH_CHARACTERS = 1 << 18
_SHOWN = {"\n": "\\n", "\t": "\\t", "\r": "\\r", " ": "␣"}


class Decoder(ABC):
    """Text from symbols that come one at a time."""

    @abstractmethod
    def push(self, symbol: int) -> str:
        """The text that is final after this symbol: "" while a character is incomplete."""

    def flush(self) -> str:
        """What is left when no more symbols come: U+FFFD for a character never completed."""
        return ""


class Symbols(ABC):
    """The alphabet of a model.

    Attributes:
        kind: byte, char, word or bpe.
        separator: what stands between two symbols in a text: a space between words.
        boundary: the id fed before a sequence and predicted at its end; never 0.
        unknown: the id of `<unk>`, or None where every text is known.
        is_document: made for documents, with a boundary of its own.
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
        num_characters: ArrayLike,
        num_bytes: ArrayLike,
    ) -> None:
        self.boundary = boundary
        self.unknown = unknown
        self.is_document = is_document
        self.num_characters: Ids = np.asarray(num_characters, np.int64)
        self.num_bytes: Ids = np.asarray(num_bytes, np.int64)

    @property
    def num_symbols(self) -> int:
        """V, all ids included."""
        return len(self.num_characters)

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
    def decoder(self) -> Decoder:
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
    def restored(cls, data: dict[str, Any], is_document: bool) -> "Symbols":
        """What `symbols_from_json` calls; raises ConfigError, KeyError or TypeError."""


def printable(text: str) -> str:
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


class Utf8Decoder(Decoder):
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
        return printable(piece.decode())
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in piece)


class ByteSymbols(Symbols):
    """The bytes of UTF-8: V = 256, boundary 10; of documents V = 257, boundary 256."""

    kind: ClassVar[str] = "byte"

    def __init__(self, *, is_document: bool) -> None:
        is_lead = [1 if byte & 0xC0 != 0x80 else 0 for byte in range(256)]
        end = [0] if is_document else []
        super().__init__(
            boundary=256 if is_document else ord(LINE_END),
            unknown=None,
            is_document=is_document,
            num_characters=is_lead + end,
            num_bytes=[1] * 256 + end,
        )
        self._pieces = [bytes([byte]) for byte in range(256)] + [b""]

    def _encode(self, text: str) -> Ids:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def _decode(self, ids: Ids) -> str:
        return ids[ids < 256].astype(np.uint8).tobytes().decode("utf-8", "replace")

    def decoder(self) -> Decoder:
        """Completes characters of several bytes."""
        return Utf8Decoder(self._pieces)

    def name(self, symbol: int) -> str:
        """The ASCII character, or <0x80>."""
        return END if symbol == 256 else name_of_bytes(self._pieces[symbol])

    def to_json(self) -> dict[str, Any]:
        """Nothing but what they are."""
        return {"kind": self.kind, "is_document": self.is_document}

    @classmethod
    def restored(cls, data: dict[str, Any], is_document: bool) -> "Symbols":
        """From `to_json`."""
        return cls(is_document=is_document)


# ---- characters ---------------------------------------------------------------------------------


class _TableDecoder(Decoder):
    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def push(self, symbol: int) -> str:
        return self._texts[symbol]


class CharSymbols(Symbols):
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
            num_characters=[0, len(own), *(1 for _ in characters)],
            num_bytes=[0, len(own), *(len(c.encode()) for c in characters)],
        )

    def _encode(self, text: str) -> Ids:
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        ids: Ids = self._ids[np.minimum(codes, len(self._ids) - 1)].astype(np.int64)
        return ids

    def _decode(self, ids: Ids) -> str:
        ids = ids[ids != 1] if self.is_document else ids
        return self._codes[ids].tobytes().decode("utf-32-le")

    def decoder(self) -> Decoder:
        """Every character is final at once."""
        return _TableDecoder(self._texts)

    def name(self, symbol: int) -> str:
        """The character, or an escape."""
        return {0: UNKNOWN, 1: printable(self._texts[1]) or END}.get(
            symbol, printable(self._texts[symbol])
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
    def restored(cls, data: dict[str, Any], is_document: bool) -> "Symbols":
        """From `to_json`."""
        return cls(_strings(data["symbols"]), is_document=is_document)


# ---- words --------------------------------------------------------------------------------------


def words_of(text: str) -> Iterator[str]:
    """What stands between ASCII spaces, tabs and line ends, and every line end.

    Nothing else separates words: a no-break space or U+0085 is part of one.
    """
    return filter(None, text.replace("\t", " ").replace("\n", " \n ").split(" "))


class _Lookup(dict[str, int]):
    def __missing__(self, word: str) -> int:
        return 0


class _WordDecoder(Decoder):
    def __init__(self, symbols: "WordSymbols") -> None:
        self._symbols = symbols
        self._is_after_word = False

    def push(self, symbol: int) -> str:
        text, is_word = self._symbols.part(symbol)
        if not text and not is_word:  # the end of a document
            return ""
        space = " " if is_word and self._is_after_word else ""
        self._is_after_word = is_word
        return space + text


class WordSymbols(Symbols):
    """Words, or whatever a list of symbols holds: events may contain spaces.

    In a text one space stands between two words and none beside a line end. A word's size
    includes the space or line end after it, so the line end itself counts 0; `text_sizes` adds
    what the constants cannot know: 1 for the end of an empty line, and -1 for the end of a
    document whose last word nothing follows.

    Args:
        words: ids 2 .. V-1, in order, without the boundary.
        is_document: made for documents.
    """

    kind: ClassVar[str] = "word"
    separator: ClassVar[str] = " "

    def __init__(self, words: Sequence[str], *, is_document: bool) -> None:
        _check_distinct(words, is_document)
        whole = "".join(map(_checked, words))
        check_characters(whole)
        own = "" if is_document else LINE_END
        self._texts = [UNKNOWN, own, *words]
        self._ids = _Lookup(zip([UNKNOWN, own, *words], itertools.count()))
        if is_document:
            del self._ids[own]
        self._is_line_end = np.zeros(len(self._texts), bool)
        self._is_line_end[[i for i, text in enumerate(self._texts) if text == LINE_END]] = True
        self._is_word = ~self._is_line_end
        self._is_word[1] = False
        self._spaced = [" " * bool(w) + t for w, t in zip(self._is_word, self._texts, strict=True)]
        self._has_inner_ends = "\n" in whole and any("\n" in w for w in words if w != LINE_END)
        sizes = np.array([len(t) for t in self._texts]) + 1
        sizes_in_bytes = sizes
        if not whole.isascii():
            sizes_in_bytes = np.array([len(t.encode()) for t in self._texts]) + 1
        characters = np.where(self._is_word, sizes, 0)
        in_bytes = np.where(self._is_word, sizes_in_bytes, 0)
        characters[0] = in_bytes[0] = 0
        super().__init__(
            boundary=1,
            unknown=0,
            is_document=is_document,
            num_characters=characters,
            num_bytes=in_bytes,
        )

    def part(self, symbol: int) -> tuple[str, bool]:
        """The text of a symbol, and whether a space stands between it and a word before it."""
        return self._texts[symbol], bool(self._is_word[symbol])

    def _encode(self, text: str) -> Ids:
        return self._encode_items(list(words_of(text)))

    def _encode_items(self, items: Sequence[str]) -> Ids:
        return np.fromiter(map(self._ids.__getitem__, items), np.int64, len(items))

    def _decode(self, ids: Ids) -> str:
        if self._has_inner_ends:
            return "".join(map(self.decoder().push, ids.tolist()))
        text = "".join(map(self._spaced.__getitem__, ids.tolist())).replace("\n ", "\n")
        return text.removeprefix(" ")

    def decoder(self) -> Decoder:
        """Every word is final at once, with the space before it."""
        return _WordDecoder(self)

    def name(self, symbol: int) -> str:
        """The word."""
        return printable(self._texts[symbol]) or END

    def unknown_symbols(self, text: Text) -> list[str]:
        """The words never seen, or seen too seldom, each once; not `<unk>` itself."""
        items = list(words_of(text)) if isinstance(text, str) else text
        return [item for item in dict.fromkeys(items) if item not in self._ids]

    def spellings(self, text: Text) -> list[str]:
        """The words never seen, or seen too seldom, and `<unk>` itself."""
        items = words_of(text) if isinstance(text, str) else text
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
        """The words in the order of their ids, from id 2."""
        return {"kind": self.kind, "is_document": self.is_document, "symbols": self._texts[2:]}

    @classmethod
    def restored(cls, data: dict[str, Any], is_document: bool) -> "Symbols":
        """From `to_json`."""
        return cls(_strings(data["symbols"]), is_document=is_document)


def _checked(word: str) -> str:
    """The word, if it is text: what joins them would say less of one that is not."""
    if not isinstance(word, str):
        check_characters(word)
    return word


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


def batches(texts: Iterable[Text], separator: str, kind: str) -> Iterator[str]:
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
