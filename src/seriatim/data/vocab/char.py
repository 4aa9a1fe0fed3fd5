"""The vocabulary of characters: Unicode code points.

Knows characters and their ids. Does not know how often they occur.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from seriatim.core.records import Json
from seriatim.data.vocab.vocabulary import (
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
    make_visible,
)
from seriatim.errors import ConfigError


class _CharDecoder(TextDecoder):
    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def push(self, symbol: int) -> str:
        return self._texts[symbol]


class CharVocabulary(Vocabulary):
    """Unicode code points; an unknown one decodes to U+FFFD.

    Args:
        characters: the characters with ids 2 .. V-1, in order, without the boundary.
        is_document: whether sequences are documents.

    Raises:
        ConfigError: if an item is not one character, or occurs twice.
        SymbolError: if one is half of a surrogate pair.
    """

    kind: ClassVar[str] = "char"

    def __init__(self, characters: Sequence[str], *, is_document: bool) -> None:
        check_distinct(characters, is_document)
        for character in characters:
            if len(character) != 1:
                raise ConfigError(f"{character!r:.40} is not one character")
            check_characters(character)
        end = "" if is_document else LINE_END
        self._texts = ["\ufffd", end, *characters]
        known = [*characters, *end]
        codes = [ord(c) for c in known]
        self._ids = np.zeros(max(codes, default=0) + 2, np.int32)  # the last: all codes above
        self._ids[codes] = [*range(2, len(characters) + 2), *([1] if end else [])]
        self._codes = np.array([ord(text or "\0") for text in self._texts], "<u4")
        super().__init__(
            boundary=1,
            unknown=0,
            is_document=is_document,
            num_symbols=len(self._texts),
        )

    def _compute_sizes(self) -> tuple[ArrayLike, ArrayLike]:
        texts = ["", *self._texts[1:]]  # the size of an unknown character is not known
        return [len(text) for text in texts], [len(text.encode()) for text in texts]

    def _encode(self, text: str) -> Ids:
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        ids: Ids = self._ids[np.minimum(codes, len(self._ids) - 1)].astype(np.int64)
        return ids

    def _spans(self, text: str) -> Ids:
        begins = np.arange(len(text))
        return np.stack([begins, begins + 1], 1)

    def _decode(self, ids: Ids) -> str:
        ids = ids[ids != 1] if self.is_document else ids
        return self._codes[ids].tobytes().decode("utf-32-le")

    def decoder(self) -> TextDecoder:
        """A decoder that returns every character at once."""
        return _CharDecoder(self._texts)

    def name(self, symbol: int) -> str:
        """The character, or an escape."""
        return UNKNOWN if symbol == 0 else make_visible(self._texts[symbol]) or END

    def unknown_symbols(self, text: Text) -> list[str]:
        """The characters outside the vocabulary, each once."""
        return list(dict.fromkeys(self.spellings(text)))

    def spellings(self, text: Text) -> list[str]:
        """The characters outside the vocabulary, in order."""
        return [text[int(i)] for i in np.flatnonzero(self.encode(text) == 0)]

    def respell(self, ids: Ids, spellings: Sequence[str]) -> str:
        """`decode`, with these characters in place of the unknown ones."""
        codes = self._codes[ids]
        codes[ids == 0] = [ord(c) for c in spellings]
        codes = codes[ids != 1] if self.is_document else codes
        return codes.tobytes().decode("utf-32-le")

    def to_json(self) -> Json:
        """The characters in the order of their ids, from id 2."""
        return {"kind": self.kind, "is_document": self.is_document, "symbols": self._texts[2:]}

    @classmethod
    def from_record(cls, record: VocabularyRecord) -> "CharVocabulary":
        """The vocabulary of these characters."""
        if not isinstance(record.symbols, list):
            raise ConfigError("it has no list of characters")
        return cls(record.symbols, is_document=record.is_document)
