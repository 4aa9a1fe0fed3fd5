"""From bytes to text: files are decoded and cut at line ends, without being held as a whole.

The rule of the text, for every format and encoding: a byte-order mark at the beginning is
dropped, CRLF becomes LF, only LF ends a line, and a missing last line end is added. Every other
character is ordinary: a lone CR, a form feed, NUL, U+0085 (at which `str.splitlines` would split).

Knows files, gzip and encodings. Does not know records, sequences or symbols.
"""

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from seriatim.data.binary import no_text, signature
from seriatim.data.encodings import around, guess_encoding, marked_encoding, unmarked_utf16
from seriatim.errors import ConfigError, DataError, DecodingError

BLOCK_BYTES = 1 << 18  # read at once
PIECE_CHARACTERS = 1 << 20  # a longer line is cut


def check_encoding(encoding: str) -> None:
    """Refuse names that are not text encodings.

    Raises:
        ConfigError: if there is no such encoding.
    """
    try:
        "a".encode(encoding)
    except LookupError:
        raise ConfigError(
            f"unknown text encoding {encoding!r}: give a name such as utf-8, latin-1, cp1252 or "
            "utf-16"
        ) from None


def is_gzip(path: Path) -> bool:
    """Whether the name of a file says that it is compressed by gzip."""
    return path.suffix.lower() == ".gz"


def plain_name(path: Path) -> str:
    """The name of a file without .gz."""
    return path.stem if is_gzip(path) else path.name


def path_suffix(path: Path) -> str:
    """The suffix of a file in lower case, .gz apart: .csv of A.CSV and of a.csv.gz."""
    return Path(plain_name(path)).suffix.lower()


_HEAD_BYTES = 1 << 16  # that show whether a file is text


@contextmanager
def open_bytes(path: Path, *, unpack: bool = True) -> Iterator[BufferedIOBase]:
    """The bytes of a file, unpacked when its name ends in .gz unless `unpack` is False.

    Raises:
        DataError: if it cannot be opened or read, or the gzip data is truncated or damaged.
    """
    try:
        with gzip.open(path) if unpack and is_gzip(path) else path.open("rb") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path} is not a complete gzip file ({error}): fetch or compress it again, or, if it "
            "is not compressed, rename it without .gz"
        ) from None
    except FileNotFoundError:
        raise DataError(f"there is no file {str(path)!r}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: give a file") from None
    except OSError as error:
        name = str(path) if len(str(path)) <= 80 else f"{str(path)[:60]}..."
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from None


def read_blocks(path: Path, encoding: str) -> Iterator[str]:
    """The text of a file in blocks of about `BLOCK_BYTES` characters or less, none empty.

    Raises:
        DataError: if the file cannot be read.
        DecodingError: if a byte is not text in this encoding.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    at_start = True
    pending = ""  # a CR at the end of a block waits for an LF after it
    with open_bytes(path) as file:
        while True:
            data = file.read(BLOCK_BYTES)
            if not offset:
                _refuse_utf16(data, path, encoding)
            text = pending + _decode(decoder, data, offset, path, encoding)
            offset += len(data)
            if at_start and text:
                text = text.removeprefix("\ufeff")
                at_start = False
            pending = "\r" if data and text.endswith("\r") else ""
            text = text[: len(text) - len(pending)]
            if "\r" in text:  # found ten times as fast as the pair
                text = text.replace("\r\n", "\n")
            if text:
                yield text
            if not data:
                return


def _refuse_utf16(data: bytes, path: Path, encoding: str) -> None:
    """Refuse UTF-16 without a byte-order mark, which is often valid UTF-8, full of controls."""
    guess = unmarked_utf16(data)
    if guess is not None and not codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        raise DecodingError(
            f"{path} is not {encoding} text: it looks like UTF-16 without a byte-order mark; "
            f"give --encoding {guess}"
        )


def refuse_binary(head: bytes, path: Path) -> None:
    """Refuse a file that is no text in any encoding, rather than guess one.

    Args:
        head: its first bytes.
        path: its name, for the message.

    Raises:
        DecodingError: if it is binary.
    """
    binary = signature(head) or (None if marked_encoding(head) else no_text(head))
    if binary is not None:
        kind, action = binary
        raise DecodingError(f"{path} is not text but {kind}: {action}")


def _decode(
    decoder: codecs.IncrementalDecoder, data: bytes, offset: int, path: Path, encoding: str
) -> str:
    num_waiting = len(decoder.getstate()[0])
    try:
        return decoder.decode(data, final=not data)
    except UnicodeDecodeError as error:
        if offset == 0:
            refuse_binary(data[:_HEAD_BYTES], path)
        position = offset - num_waiting + error.start
        advice = _advise(around(error.object, error.start), encoding)
        raise DecodingError(
            f"{path} is not {encoding} text: byte 0x{error.object[error.start]:02x} at offset "
            f"{position:,} cannot be decoded; {advice}"
        ) from None
    except UnicodeError as error:  # no byte is at fault
        advice = _advise(data, encoding)
        raise DecodingError(f"{path} is not {encoding} text ({error}): {advice}") from None


def _advise(sample: bytes, encoding: str) -> str:
    guess = guess_encoding(sample)
    if codecs.lookup(guess) == codecs.lookup(encoding):
        return "correct it, or give the encoding of the text, for example --encoding latin-1"
    return f"the text seems to be {guess}: give --encoding {guess}"


def split_lines(parts: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in parts, without line ends; the last line needs none."""
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
    """The same text in pieces that can be cut into symbols one by one; the last line is ended.

    A piece ends after a line end. A line longer than `PIECE_CHARACTERS` is cut before a space
    that follows something other than space, which cuts no word and no unit of byte-pair
    encoding; it is cut anywhere only if a whole block has no such space.
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
    """The position of the last space after something other than space; 0 if there is none."""
    cut = text.rfind(" ")
    while cut > 0 and text[cut - 1].isspace():
        cut = text.rfind(" ", 0, cut)
    return max(cut, 0)
