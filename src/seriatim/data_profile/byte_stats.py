"""Statistics of the bytes of files, before anything is read as text.

Byte-order marks, line ends of every kind, bytes that are not UTF-8 and what they may be instead,
control characters, text that was once decoded wrongly, files that are no text. One pass over the
bytes in blocks; counts are exact for the bytes scanned, whose number is stated.

Knows bytes; no records, sequences or symbols.
"""

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.data.binary import no_text, signature
from seriatim.data.encodings import around, guess_encoding, marked_encoding, unmarked_utf16
from seriatim.data.files import open_bytes
from seriatim.errors import DataError

_BLOCK = 1 << 20
_MOST_SCANNED = 1 << 28  # bytes; of larger data the beginning of each file is scanned


# Signatures of files that are no text, what the files are, and what to do.
# Byte patterns that are counted everywhere, by name.
_PATTERNS = {
    "line feed": b"\n",
    "CRLF": b"\r\n",
    "CR": b"\r",
    "NUL": b"\0",
    "U+0085 next line": b"\xc2\x85",
    "U+2028 line separator": b"\xe2\x80\xa8",
    "U+2029 paragraph separator": b"\xe2\x80\xa9",
    "U+00A0 no-break space": b"\xc2\xa0",
    "U+200B zero-width space": b"\xe2\x80\x8b",
    "U+FEFF byte-order mark": b"\xef\xbb\xbf",
    "U+FFFD replacement character": b"\xef\xbf\xbd",
    "twice encoded": b"\xc3\x83\xc2",  # a letter like é in UTF-8, decoded as Latin-1
    "twice encoded quotes": b"\xc3\xa2\xc2\x80",
    "cp1252 quotes": b"\xc3\xa2\xe2\x82\xac",
}
# Characters that are line ends for `str.splitlines` and not for seriatim.
SPLITLINES = ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")


@dataclass(frozen=True)
class InvalidByte:
    """A byte that is not UTF-8: its file, offset, line (from 1) and value."""

    file: str
    offset: int
    line: int
    byte: int


@dataclass(frozen=True)
class BinaryFile:
    """A file that is no text: its path, what it is, and what to do."""

    path: str
    kind: str
    action: str


@dataclass
class ByteStats:
    """Counts over the bytes of files.

    Attributes:
        num_files: the number of files.
        num_bytes: the size of the files, packed ones as they are.
        num_seen: the number of bytes scanned, unpacked.
        is_whole: whether these are all bytes.
        marked: the number of files that begin with a byte-order mark.
        crlf_files: the number of files with a CRLF.
        unended: the number of files whose last line has no line end.
        counts: the occurrences of the patterns.
        histogram: (256,) the occurrences of each byte.
        num_invalid: the number of bytes that are not UTF-8.
        first_invalid: the first of them.
        sample: the bytes around the first of them.
        invalid: (256,) the occurrences of each byte among them.
        mark: the encoding that a byte-order mark names.
        longest: the longest line: its bytes, file and number.
        binary: the first file that is no text.
    """

    num_files: int = 0
    num_bytes: int = 0
    num_seen: int = 0
    is_whole: bool = True
    marked: int = 0
    crlf_files: int = 0
    unended: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_PATTERNS, 0))
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    num_invalid: int = 0
    first_invalid: InvalidByte | None = None
    invalid: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    sample: bytes = b""
    mark: str | None = None
    longest: tuple[int, str, int] = (0, "", 0)
    binary: BinaryFile | None = None

    @property
    def encoding(self) -> str:
        """The most likely encoding of the files; see `guess_encoding`.

        All bytes decide between Latin-1 and Windows-1252: those from 0x80 to 0x9F are control
        characters in Latin-1; but 0x85 alone, a line end of old machines, does not indicate
        Windows-1252.
        """
        if self.mark is not None:
            return self.mark
        if not self.num_invalid:
            return "utf-8"
        guess = guess_encoding(self.sample)
        if guess not in ("utf-8", "latin-1", "cp1252"):
            return guess
        others = int(self.invalid[0x80:0xA0].sum() - self.invalid[0x85])
        undefined = int(self.invalid[[0x81, 0x8D, 0x8F, 0x90, 0x9D]].sum())
        return "cp1252" if others and not undefined else "latin-1"

    @property
    def is_mostly_utf8(self) -> bool:
        """Whether the bytes that are not UTF-8 are few among many that are."""
        return 0 < self.num_invalid * 10 < int(self.histogram[128:].sum())

    @property
    def num_lines(self) -> int:
        """Lines by LF, including a last one without a line end."""
        return self.counts["line feed"] + self.unended

    @property
    def controls(self) -> dict[str, int]:
        """Control characters other than tab, LF and CR, by their code."""
        codes = [c for c in (*range(32), 127) if c not in (9, 10, 13)]
        return {f"U+{c:04X}": int(self.histogram[c]) for c in codes if self.histogram[c]}

    @property
    def lone_cr(self) -> int:
        """The number of CR that no LF follows."""
        return self.counts["CR"] - self.counts["CRLF"]

    @property
    def splitlines_extra(self) -> int:
        """The number of additional lines by `str.splitlines`."""
        codes = [ord(c) for c in SPLITLINES if ord(c) < 128]
        patterns = ("U+0085 next line", "U+2028 line separator", "U+2029 paragraph separator")
        extra = int(self.histogram[codes].sum()) + sum(self.counts[p] for p in patterns)
        return extra + self.lone_cr


def scan_files(
    paths: Sequence[Path], *, progress: Callable[[int, int], None] | None = None
) -> ByteStats:
    """Scan the bytes of text files, unpacked if their names end in .gz.

    Args:
        paths: the files.
        progress: callback that receives the bytes scanned so far and those of all files.

    Raises:
        DataError: a file cannot be read.
    """
    stats = ByteStats(num_files=len(paths), num_bytes=sum(p.stat().st_size for p in paths))
    quota = _MOST_SCANNED // max(len(paths), 1)
    left = 0  # the quota that shorter files leave to later ones
    for path in paths:
        before = stats.num_seen
        _scan(path, stats, max(quota + left, _BLOCK), progress)
        left += quota - (stats.num_seen - before)
        if stats.binary is not None:
            break
    return stats


def _scan(
    path: Path, stats: ByteStats, limit: int, progress: Callable[[int, int], None] | None
) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    seen, line, width = 0, 1, 0
    tail, has_crlf, last = b"", False, b"\n"
    with open_bytes(path) as file:
        while data := file.read(_BLOCK):
            if not seen:
                _begin(path, data, stats)
                if stats.binary is not None:
                    return
            num_crlf = _count(stats, tail, data)
            has_crlf = has_crlf or num_crlf > 0
            if stats.mark in (None, "utf-8"):
                _decode(stats, decoder, data, path, seen, line)
            width, line = _lines(stats, path, data, width, line)
            seen += len(data)
            stats.num_seen += len(data)
            tail, last = (tail + data[-8:])[-8:], data[-1:]
            if progress is not None:
                progress(stats.num_seen, max(stats.num_seen, stats.num_bytes))
            if seen >= limit:
                stats.is_whole = stats.is_whole and not file.read(1)
                break
    stats.crlf_files += has_crlf
    stats.unended += last != b"\n"


def _begin(path: Path, data: bytes, stats: ByteStats) -> None:
    """Detect a byte-order mark or a binary file by the first bytes."""
    marked = marked_encoding(data)
    if marked is not None:
        stats.marked += 1
        stats.mark = marked if marked != "utf-8" else stats.mark
        return
    binary = signature(data)
    if binary is None:
        unmarked = unmarked_utf16(data)
        if unmarked is not None:
            stats.mark = unmarked
            return
        binary = no_text(data)
    if binary is not None:
        stats.binary = BinaryFile(str(path), *binary)


def _count(stats: ByteStats, tail: bytes, data: bytes) -> int:
    """Count the patterns that end in this block; returns the number of CRLF among them."""
    histogram = np.bincount(np.frombuffer(tail + data, np.uint8), minlength=256)
    stats.histogram += histogram - np.bincount(np.frombuffer(tail, np.uint8), minlength=256)
    before = stats.counts["CRLF"]
    for name, pattern in _PATTERNS.items():
        if not all(histogram[byte] for byte in pattern):
            continue
        keep = tail[len(tail) - (len(pattern) - 1) :] if len(pattern) > 1 else b""
        stats.counts[name] += (keep + data).count(pattern)
    return stats.counts["CRLF"] - before


def _lines(stats: ByteStats, path: Path, data: bytes, width: int, line: int) -> tuple[int, int]:
    """Track the longest line; returns the bytes and the number of the unfinished line."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    if not len(ends):
        width += len(data)
        if width > stats.longest[0]:
            stats.longest = (width, str(path), line)
        return width, line
    widths = np.diff(ends, prepend=-1) - 1
    widths[0] += width
    longest = int(widths.argmax())
    rest = len(data) - int(ends[-1]) - 1
    for size, at in ((int(widths[longest]), line + longest), (rest, line + len(ends))):
        if size > stats.longest[0]:
            stats.longest = (size, str(path), at)
    return rest, line + len(ends)


def _decode(
    stats: ByteStats,
    decoder: codecs.IncrementalDecoder,
    data: bytes,
    path: Path,
    seen: int,
    line: int,
) -> None:
    """Count the bytes that are not UTF-8; a character cut by the block's end waits."""
    waiting = decoder.getstate()[0]
    if not waiting and data.isascii():
        return
    rest, origin = data, seen
    while True:
        try:
            decoder.decode(rest)
            return
        except UnicodeDecodeError as error:
            num_waiting = len(decoder.getstate()[0]) or len(waiting)
            decoder.reset()
            at = origin - num_waiting + error.start
            stats.num_invalid += 1
            stats.invalid[error.object[error.start]] += 1
            if stats.first_invalid is None:
                number = line + data[: max(at - seen, 0)].count(b"\n")
                byte = error.object[error.start]
                stats.first_invalid = InvalidByte(str(path), at, number, byte)
                stats.sample = around(data, at - seen)
            rest, origin, waiting = error.object[error.start + 1 :], at + 1, b""


def require_text(stats: ByteStats) -> None:
    """
    Raises:
        DataError: a file is no text; the message says what it is, and what to do.
    """
    if stats.binary is not None:
        file = stats.binary
        raise DataError(f"{file.path} is {file.kind}, not text: {file.action}")
