"""From bytes to text: files are decoded, and cut at line ends, without being held whole.

The rule of the text, for every format and encoding: a byte-order mark at the beginning is
dropped, CRLF becomes LF, only LF ends a line, and a missing last line end is added. Every other
character is ordinary: a lone CR, a form feed, NUL, U+0085 (which `str.splitlines` would split).

Knows files, gzip and encodings. Does not know records, sequences or symbols.
"""

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from io import BufferedIOBase
from pathlib import Path

from seriatim.errors import ConfigError, DataError, DecodingError

BLOCK_BYTES = 1 << 18  # read at once
PIECE_CHARACTERS = 1 << 20  # a line longer than this is cut


def check_encoding(encoding: str) -> None:
    """Refuse what is not the name of a text encoding.

    Raises:
        ConfigError: there is no such encoding.
    """
    try:
        "a".encode(encoding)
    except LookupError:
        raise ConfigError(
            f"there is no text encoding {encoding!r}: expected a name such as utf-8, latin-1, "
            "cp1252 or utf-16"
        ) from None


def suggestion(name: str, known: Iterable[str]) -> str:
    """A clause for messages: "; did you mean 'x'?", or nothing."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


@contextmanager
def open_bytes(path: Path, *, unpack: bool = True) -> Iterator[BufferedIOBase]:
    """The bytes of a file, unpacked when its name ends in .gz unless told otherwise.

    Raises:
        DataError: it cannot be opened or read, or the gzip data is truncated or damaged.
    """
    try:
        with gzip.open(path) if unpack and path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path} is no complete gzip file ({error}): fetch or pack it again, or, if it is "
            "not packed, rename it without .gz"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def read_blocks(path: Path, encoding: str) -> Iterator[str]:
    """The text of a file in blocks of at most `BLOCK_BYTES` characters or so, none empty.

    Raises:
        DataError: the file cannot be read.
        DecodingError: a byte is not text in this encoding.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    at_start = True
    held = ""  # a CR at the end of a block waits for the LF that may follow
    with open_bytes(path) as file:
        while True:
            data = file.read(BLOCK_BYTES)
            text = held + _decode(decoder, data, offset, path, encoding)
            offset += len(data)
            if at_start and text:
                text = text.removeprefix("\ufeff")
                at_start = False
            held = "\r" if data and text.endswith("\r") else ""
            text = text[: len(text) - len(held)].replace("\r\n", "\n")
            if text:
                yield text
            if not data:
                return


def _decode(
    decoder: codecs.IncrementalDecoder, data: bytes, offset: int, path: Path, encoding: str
) -> str:
    waiting = decoder.getstate()[0]
    try:
        return decoder.decode(data, final=not data)
    except UnicodeDecodeError as error:
        where = offset - len(waiting) + error.start
        utf16 = where == 0 and error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        other = "utf-16" if utf16 else "latin-1" if encoding != "latin-1" else "utf-8"
        raise DecodingError(
            f"{path} is not {encoding} text: byte 0x{error.object[error.start]:02x} at offset "
            f"{where:,} cannot be read; if it is text in another encoding, name it, for example "
            f"--encoding {other}"
        ) from None


def split_lines(parts: Iterable[str]) -> Iterator[str]:
    """The lines of a text given in parts, without their line ends; the last needs none."""
    pending: list[str] = []
    for part in parts:
        head, *rest = part.split("\n")
        pending.append(head)
        if rest:
            yield "".join(pending)
            pending = [rest.pop()]
            yield from rest
    last = "".join(pending)
    if last:
        yield last


def split_pieces(parts: Iterable[str]) -> Iterator[str]:
    """The same text in pieces that may be cut into symbols one by one; the last line ends.

    A piece ends after a line end. A line longer than `PIECE_CHARACTERS` is cut before a space
    that follows something other than space, which cuts no word and no unit of byte-pair
    encoding; only where no space comes in a whole block is it cut anywhere.
    """
    pending: list[str] = []
    size = 0
    end = "\n"
    for part in parts:
        end = part[-1]
        cut = part.rfind("\n") + 1
        if not cut and size + len(part) > PIECE_CHARACTERS:
            cut = _last_word_end(part) or len(part)
        if cut:
            yield "".join([*pending, part[:cut]])
            pending, size = [], 0
        pending.append(part[cut:])
        size += len(part) - cut
    last = "".join(pending) + ("" if end == "\n" else "\n")
    if last:
        yield last


def _last_word_end(text: str) -> int:
    """Where the last space after something other than space stands; 0 if there is none."""
    cut = text.rfind(" ")
    while cut > 0 and text[cut - 1].isspace():
        cut = text.rfind(" ", 0, cut)
    return max(cut, 0)
