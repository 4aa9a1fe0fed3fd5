"""The vocabulary of bytes, and decoding of symbols that are made of bytes.

Knows UTF-8. Does not know merges of bytes, which are in `bpe`.
"""

import codecs
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from seriatim.core.records import Json
from seriatim.data.vocab.vocabulary import (
    END,
    LINE_END,
    Ids,
    TextDecoder,
    Vocabulary,
    VocabularyRecord,
    make_visible,
)


class Utf8Decoder(TextDecoder):
    """Decodes symbols made of bytes: a character is complete when its last byte has come."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, symbol: int) -> str:
        """The characters that this symbol completes."""
        return self._decoder.decode(self._pieces[symbol])

    def flush(self) -> str:
        """U+FFFD if a character is incomplete."""
        return self._decoder.decode(b"", final=True)


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in a tokenizer's JSON.

    Bytes that Latin-1 prints stand for themselves, the others for U+0100 and on, in order
    (Radford et al. 2019).
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def name_bytes(piece: bytes) -> str:
    """A readable name of a symbol made of bytes: <0x80> where it is not UTF-8."""
    try:
        return make_visible(piece.decode())
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in piece)


class ByteVocabulary(Vocabulary):
    """The bytes of UTF-8: V = 256 with boundary 10; for documents V = 257 with boundary 256."""

    kind: ClassVar[str] = "byte"

    def __init__(self, *, is_document: bool) -> None:
        super().__init__(
            boundary=256 if is_document else ord(LINE_END),
            unknown=None,
            is_document=is_document,
            num_symbols=257 if is_document else 256,
        )
        self._pieces = [bytes([byte]) for byte in range(256)] + [b""]

    def _compute_sizes(self) -> tuple[ArrayLike, ArrayLike]:
        is_lead = [1 if byte & 0xC0 != 0x80 else 0 for byte in range(256)]
        end = [0] if self.is_document else []
        return is_lead + end, [1] * 256 + end

    def _encode(self, text: str) -> Ids:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def _decode(self, ids: Ids) -> str:
        return ids[ids < 256].astype(np.uint8).tobytes().decode("utf-8", "replace")

    def decoder(self) -> TextDecoder:
        """A decoder that completes characters of several bytes."""
        return Utf8Decoder(self._pieces)

    def name(self, symbol: int) -> str:
        """The ASCII character, or <0x80>."""
        return END if symbol == 256 else name_bytes(self._pieces[symbol])

    def to_json(self) -> Json:
        """The kind alone: it determines everything."""
        return {"kind": self.kind, "is_document": self.is_document}

    @classmethod
    def from_record(cls, record: VocabularyRecord) -> "ByteVocabulary":
        """The bytes."""
        return cls(is_document=record.is_document)
