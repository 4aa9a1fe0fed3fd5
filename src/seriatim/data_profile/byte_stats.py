"""What is odd about the bytes of files, before anything is read as text.

Byte-order marks, line ends of every kind, bytes that are no UTF-8 and what they may be instead,
control characters, text that was decoded wrongly once, files that are no text at all. One pass
over the bytes in blocks; counts are exact for what was seen, and how much that was is stated.

Knows bytes. Does not know records, sequences or symbols.
"""

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.data.files import open_bytes
from seriatim.errors import DataError

_BLOCK = 1 << 20
_SCANNED = 1 << 28  # bytes; of larger data the beginning of each file is seen

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))

# The beginnings of files that are no text, and what to do.
_BINARY: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip file", "name it .gz, so that it is unpacked"),
    (b"BZh", "a bzip2 file", "unpack it"),
    (b"\xfd7zXZ", "an xz file", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it"),
    (b"PK\x03\x04", "a zip file, or a document of an office program", "take the text out of it"),
    (b"PAR1", "a parquet file", "name it .parquet, or give --format parquet"),
    (b"%PDF", "a PDF", "take the text out of it"),
    (b"\x89PNG", "a PNG image", "give text"),
    (b"\xff\xd8\xff", "a JPEG image", "give text"),
    (b"GIF8", "a GIF image", "give text"),
    (b"SQLite format 3", "an SQLite data base", "write a table of it as .csv"),
    (b"\x93NUMPY", "a numpy array", "write it as .csv"),
    (b"\x89HDF", "an HDF5 file", "write a table of it as .csv"),
    (b"\x80\x04", "a pickle", "write its content as .jsonl"),
    (b"\x80\x05", "a pickle", "write its content as .jsonl"),
    (b"\x7fELF", "a program", "give text"),
)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What is counted wherever it stands, by the name that people see.
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
    "twice encoded": b"\xc3\x83\xc2",  # what UTF-8 of a letter like é becomes, read as Latin-1
    "twice encoded quotes": b"\xc3\xa2\xc2\x80",
    "cp1252 quotes": b"\xc3\xa2\xe2\x82\xac",
}
# Controls that `str.splitlines` takes for line ends, and seriatim does not.
SPLITLINES = ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")


@dataclass
class ByteFacts:
    """What was counted.

    Attributes:
        num_files: in all.
        num_bytes: of the files as they are.
        num_seen: bytes seen, unpacked.
        is_whole: whether that was everything.
        marked: files that begin with a byte-order mark.
        crlf_files: files with a CRLF.
        unended: files whose last line has no end.
        counts: of the patterns.
        histogram: (256,) of all bytes seen.
        num_invalid: bytes that are no UTF-8.
        first_invalid: file, offset and line (from 1) of the first one, and its value.
        invalid: (256,) which values those had.
        mark: the encoding that a byte-order mark names.
        longest: bytes, file and line of the longest line.
        binary: file, what it is and what to do, of the first file that is no text.
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
    first_invalid: tuple[str, int, int, int] | None = None
    invalid: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    mark: str | None = None
    longest: tuple[int, str, int] = (0, "", 0)
    binary: tuple[str, str, str] | None = None

    @property
    def encoding(self) -> str:
        """The encoding by which the files are most likely to be read.

        Bytes that are no UTF-8 say Latin-1 if they are letters there, and Windows' cp1252 if
        some are 0x80 to 0x9F, which Latin-1 has only control characters for; but 0x85 alone, a
        line end of old machines, stays Latin-1 where nothing else speaks for cp1252.
        """
        if self.mark is not None:
            return self.mark
        if not self.num_invalid:
            return "utf-8"
        others = int(self.invalid[0x80:0xA0].sum() - self.invalid[0x85])
        undefined = int(self.invalid[[0x81, 0x8D, 0x8F, 0x90, 0x9D]].sum())
        return "cp1252" if others and not undefined else "latin-1"

    @property
    def is_mostly_utf8(self) -> bool:
        """Whether bytes that are no UTF-8 stand among many more that are."""
        return 0 < self.num_invalid * 10 < int(self.histogram[128:].sum())

    @property
    def num_lines(self) -> int:
        """Lines by LF, a last one without an end included."""
        return self.counts["line feed"] + self.unended

    @property
    def controls(self) -> dict[str, int]:
        """Control characters other than tab, LF and CR, by their code."""
        codes = [c for c in (*range(32), 127) if c not in (9, 10, 13)]
        return {f"U+{c:04X}": int(self.histogram[c]) for c in codes if self.histogram[c]}

    @property
    def lone_cr(self) -> int:
        """CR that no LF follows."""
        return self.counts["CR"] - self.counts["CRLF"]

    @property
    def splitlines_extra(self) -> int:
        """By how many more lines `str.splitlines` would cut the text."""
        codes = [ord(c) for c in SPLITLINES if ord(c) < 128]
        patterns = ("U+0085 next line", "U+2028 line separator", "U+2029 paragraph separator")
        extra = int(self.histogram[codes].sum()) + sum(self.counts[p] for p in patterns)
        return extra + self.lone_cr


def scan_files(
    paths: Sequence[Path], *, report: Callable[[int, int], None] | None = None
) -> ByteFacts:
    """Look at the bytes of text files, unpacked where they end in .gz.

    Args:
        paths: the files.
        report: told the bytes seen so far and those of all files.

    Raises:
        DataError: a file cannot be read.
    """
    facts = ByteFacts(num_files=len(paths), num_bytes=sum(p.stat().st_size for p in paths))
    share = _SCANNED // max(len(paths), 1)
    left = 0  # what shorter files leave to the others
    for path in paths:
        before = facts.num_seen
        _scan(path, facts, max(share + left, _BLOCK), report)
        left += share - (facts.num_seen - before)
        if facts.binary is not None:
            break
    return facts


def _scan(
    path: Path, facts: ByteFacts, limit: int, report: Callable[[int, int], None] | None
) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    seen, line, width = 0, 1, 0
    tail, has_crlf, last = b"", False, b"\n"
    with open_bytes(path) as file:
        while data := file.read(_BLOCK):
            if not seen:
                _begin(path, data, facts)
                if facts.binary is not None:
                    return
            found = _count(facts, tail, data)
            has_crlf = has_crlf or found > 0
            if facts.mark in (None, "utf-8"):
                _decode(facts, decoder, data, path, seen, line)
            width, line = _lines(facts, path, data, width, line)
            seen += len(data)
            facts.num_seen += len(data)
            tail, last = (tail + data[-8:])[-8:], data[-1:]
            if report is not None:
                report(facts.num_seen, facts.num_bytes)
            if seen >= limit:
                facts.is_whole = facts.is_whole and not file.read(1)
                break
    facts.crlf_files += has_crlf
    facts.unended += last != b"\n"


def _begin(path: Path, data: bytes, facts: ByteFacts) -> None:
    """What the first bytes of a file say."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            facts.marked += 1
            facts.mark = encoding if encoding != "utf-8" else facts.mark
            return
    for prefix, what, advice in _BINARY:
        if data.startswith(prefix):
            facts.binary = (str(path), what, advice)
            return
    zeros = data.count(0)
    if zeros * 5 > len(data) and len(data) > 8:
        even = data[::2].count(0)
        if even > 4 * (zeros - even) or zeros - even > 4 * even:
            facts.mark = "utf-16-be" if even * 2 > zeros else "utf-16-le"
            return
    if zeros * 100 > len(data):
        what = f"no text: {zeros:,} of its first {len(data):,} bytes are NUL"
        facts.binary = (str(path), what, "give text, or a table")
        return
    controls = len(data) - len(data.translate(None, _CONTROLS))
    if controls * 20 > len(data) and len(data) > 100:
        what = f"no text: {controls:,} of its first {len(data):,} bytes are control characters"
        facts.binary = (str(path), what, "give text, or a table")


def _count(facts: ByteFacts, tail: bytes, data: bytes) -> int:
    """Patterns that end in this block; the number of CRLF among them."""
    histogram = np.bincount(np.frombuffer(tail + data, np.uint8), minlength=256)
    facts.histogram += histogram - np.bincount(np.frombuffer(tail, np.uint8), minlength=256)
    before = facts.counts["CRLF"]
    for name, pattern in _PATTERNS.items():
        if not all(histogram[byte] for byte in pattern):
            continue
        keep = tail[len(tail) - (len(pattern) - 1) :] if len(pattern) > 1 else b""
        facts.counts[name] += (keep + data).count(pattern)
    return facts.counts["CRLF"] - before


def _lines(facts: ByteFacts, path: Path, data: bytes, width: int, line: int) -> tuple[int, int]:
    """Follow the longest line; the bytes of the line that goes on, and its number."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    if not len(ends):
        width += len(data)
        if width > facts.longest[0]:
            facts.longest = (width, str(path), line)
        return width, line
    widths = np.diff(ends, prepend=-1) - 1
    widths[0] += width
    longest = int(widths.argmax())
    rest = len(data) - int(ends[-1]) - 1
    for size, at in ((int(widths[longest]), line + longest), (rest, line + len(ends))):
        if size > facts.longest[0]:
            facts.longest = (size, str(path), at)
    return rest, line + len(ends)


def _decode(
    facts: ByteFacts,
    decoder: codecs.IncrementalDecoder,
    data: bytes,
    path: Path,
    seen: int,
    line: int,
) -> None:
    """Count the bytes that are no UTF-8; a character that goes on in the next block waits."""
    waiting = decoder.getstate()[0]
    if not waiting and data.isascii():
        return
    rest, origin = data, seen
    while True:
        try:
            decoder.decode(rest)
            return
        except UnicodeDecodeError as error:
            held = len(decoder.getstate()[0]) or len(waiting)
            decoder.reset()
            at = origin - held + error.start
            facts.num_invalid += 1
            facts.invalid[error.object[error.start]] += 1
            if facts.first_invalid is None:
                number = line + data[: max(at - seen, 0)].count(b"\n")
                facts.first_invalid = (str(path), at, number, error.object[error.start])
            rest, origin, waiting = error.object[error.start + 1 :], at + 1, b""


def refuse_binary(facts: ByteFacts) -> None:
    """Refuse what is no text.

    Raises:
        DataError: a file is of another kind; the message says which, and what to do.
    """
    if facts.binary is not None:
        path, what, advice = facts.binary
        raise DataError(f"{path} is {what}, and not text: {advice}")
