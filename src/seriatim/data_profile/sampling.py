"""A representative sample of large files: pieces from everywhere, cut at line ends.

Files of lines are sampled in evenly spaced pieces; packed files, and files whose records may span
several lines, from their beginning; of many small files, evenly spaced ones are taken whole. The
sample is written to a temporary folder under the same names, so that it is read as any files are.
The sampled fraction is always stated.

Knows bytes and line ends; no records or symbols.
"""

import codecs
import gzip
import math
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from seriatim.data.files import is_gzip, open_bytes, plain_name

T = TypeVar("T")

PIECES = 64  # of a large file
_GZIP_RATIO = 4  # about how much larger unpacked text is
_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True)
class Sample:
    """The files to examine.

    Attributes:
        paths: the files, or temporary files with a part of them.
        fraction: about the fraction of all bytes; 1.0: everything.
        description: a phrase that says what was sampled; "": everything.
    """

    paths: tuple[Path, ...]
    fraction: float = 1.0
    description: str = ""


@contextmanager
def sample_files(paths: Sequence[Path], formats: Sequence[str], limit: int) -> Iterator[Sample]:
    """At most about `limit` bytes of files; the sample is deleted when the context ends.

    Args:
        paths: the files.
        formats: the format of each, as in `open_source`; text and jsonl are cut at line ends.
        limit: the bytes, unpacked.

    Raises:
        DataError: a file cannot be read.
    """
    sizes = _unpacked_sizes(paths, limit)
    total = sum(sizes)
    if total <= limit:
        yield Sample(tuple(paths))
        return
    with _temporary_folder() as folder:
        yield _sample(list(zip(paths, formats, sizes, strict=True)), limit, total, Path(folder))


@contextmanager
def without_invalid_bytes(paths: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    """Copies of UTF-8 files without invalid bytes; they are deleted when the context ends.

    Raises:
        DataError: a file cannot be read.
    """
    with _temporary_folder() as folder:
        copies = []
        for i, path in enumerate(paths):
            target = _in_folder(Path(folder), i, path)
            decoder = codecs.getincrementaldecoder("utf-8")("ignore")
            with open_bytes(path) as file, target.open("wb") as out:
                while data := file.read(1 << 20):
                    out.write(decoder.decode(data).encode())
            copies.append(target)
        yield tuple(copies)


def _unpacked_sizes(paths: Sequence[Path], limit: int) -> list[int]:
    """About the bytes of each file, unpacked; few packed bytes can be very many.

    Packed files are unpacked to count them, until there are more than `limit` bytes.
    """
    sizes: list[int] = []
    for path in paths:
        size = path.stat().st_size
        if is_gzip(path):
            left = limit - sum(sizes)
            size = _unpacked_size(path, left) if size < left else size * _GZIP_RATIO
        sizes.append(size)
    return sizes


def _unpacked_size(path: Path, limit: int) -> int:
    size, num_unpacked = path.stat().st_size, 0
    with path.open("rb") as packed:
        try:
            with gzip.GzipFile(fileobj=packed) as file:
                while data := file.read(_BLOCK_BYTES):
                    num_unpacked += len(data)
                    if num_unpacked > limit:
                        estimate = num_unpacked * size // max(packed.tell(), 1)
                        packed.seek(-4, os.SEEK_END)  # RFC 1952: the size of the last member
                        return max(estimate, int.from_bytes(packed.read(4), "little"))
        except (OSError, EOFError, zlib.error):
            return size * _GZIP_RATIO  # who reads it says what is wrong
    return num_unpacked


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="seriatim-look-", ignore_cleanup_errors=True)


def _in_folder(folder: Path, number: int, path: Path) -> Path:
    """The path of the copy of a file, in a new subfolder."""
    target = folder / str(number) / plain_name(path)
    target.parent.mkdir()
    return target


def _sample(files: list[tuple[Path, str, int]], limit: int, total: int, folder: Path) -> Sample:
    mean = total / len(files)
    if len(files) > PIECES and mean < limit / PIECES:  # many small files: some are taken whole
        count = max(1, int(limit / mean))
        step = len(files) / count
        chosen = [files[int(i * step)] for i in range(count)]
        taken = sum(size for *_, size in chosen)
        return Sample(
            tuple(path for path, *_ in chosen),
            taken / total,
            f"{len(chosen):,} of {len(files):,} files, evenly spaced",
        )
    paths, taken, is_spread = [], 0, True
    for i, (path, format, size) in enumerate(files):
        quota = max(1, limit * size // total)
        if size <= quota or format == "parquet":
            paths.append(path)
            taken += size
            continue
        target = _in_folder(folder, i, path)
        has_free_lines = format in ("text", "jsonl") and not is_gzip(path)
        is_spread = is_spread and has_free_lines
        (_write_pieces if has_free_lines else _write_beginning)(path, target, quota)
        taken += target.stat().st_size
        paths.append(target)
    which = f"{PIECES} pieces from everywhere" if is_spread else "the beginning"
    return Sample(tuple(paths), min(taken / total, 1.0), f"{which}, {taken / 1e6:,.0f} MB")


def _write_pieces(path: Path, target: Path, limit: int) -> None:
    """Write pieces of whole lines; of a line longer than a piece, a part."""
    size, piece = path.stat().st_size, max(1, limit // PIECES)
    end = 0
    with path.open("rb") as file, target.open("wb") as out:
        for i in range(PIECES):
            start = max(size * i // PIECES, end)
            file.seek(start)
            data = file.read(piece)
            if start > end:  # the piece begins inside of a line, which is dropped
                data = data[data.find(b"\n", 0, len(data) - 1) + 1 :]
            data += file.readline(piece)
            end = file.tell()
            if not data.endswith(b"\n"):
                data = _whole_characters(data) + b"\n"
            out.write(data)


def _write_beginning(path: Path, target: Path, limit: int) -> None:
    with open_bytes(path) as file, target.open("wb") as out:
        left = limit
        while left > 0 and (data := file.read(min(left, 1 << 20))):
            out.write(data)
            left -= len(data)
        out.write(_whole_characters(file.readline(limit)))


def _whole_characters(data: bytes) -> bytes:
    """The bytes without a partial UTF-8 character at either end."""
    start, stop = 0, len(data)
    while start < min(stop, 3) and data[start] & 0xC0 == 0x80:
        start += 1
    for back in range(1, min(4, stop - start + 1)):
        byte = data[stop - back]
        if byte & 0xC0 == 0xC0:  # the first byte of a character, which says its length
            length = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            stop -= back if length > back else 0
            break
        if byte < 0x80:
            break
    return data[start:stop]


def evenly_spaced(items: Sequence[T], count: int) -> Iterator[T]:
    """At most `count` of the items, evenly spaced, in order."""
    step = max(1.0, len(items) / max(count, 1))
    return (items[int(i * step)] for i in range(math.ceil(len(items) / step)))
