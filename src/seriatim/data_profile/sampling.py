"""A part of large files that stands for all of it: pieces from everywhere, cut at line ends.

Files of lines are sampled in evenly spread pieces; packed files, and files in which a record may
go over several lines, from their beginning; of many small files, evenly spread ones are taken
whole. What was taken is written to a temporary folder under the same names, so that everything
else reads it as it reads any file. The share is always stated.

Knows bytes and line ends. Does not know records or symbols.
"""

import codecs
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seriatim.data.files import open_bytes

PIECES = 64  # of a large file
_GZIP_GROWTH = 4  # how much larger unpacked text is, about


@dataclass(frozen=True)
class Sample:
    """Files to look at.

    Attributes:
        paths: the files, or what was taken of them.
        share: about how much of all bytes that is; 1.0: everything.
        how: a clause that says what was taken; "": everything.
    """

    paths: tuple[Path, ...]
    share: float = 1.0
    how: str = ""


@contextmanager
def sampled(paths: Sequence[Path], formats: Sequence[str], limit: int) -> Iterator[Sample]:
    """At most about `limit` bytes of some files, for the time of the context.

    Args:
        paths: the files.
        formats: of each, as `open_source` says; text and jsonl are cut at any line end.
        limit: bytes, unpacked.

    Raises:
        DataError: a file cannot be read.
    """
    sizes = [_size(path) for path in paths]
    total = sum(sizes)
    if total <= limit:
        yield Sample(tuple(paths))
        return
    folder = Path(tempfile.mkdtemp(prefix="seriatim-look-"))
    try:
        yield _taken(list(zip(paths, formats, sizes, strict=True)), limit, total, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mended(paths: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    """Copies of files of damaged UTF-8, without the bytes that are none, for as long as needed.

    Raises:
        DataError: a file cannot be read.
    """
    folder = Path(tempfile.mkdtemp(prefix="seriatim-look-"))
    try:
        found = []
        for i, path in enumerate(paths):
            target = folder / str(i) / path.name.removesuffix(".gz")
            target.parent.mkdir()
            decoder = codecs.getincrementaldecoder("utf-8")("ignore")
            with open_bytes(path) as file, target.open("wb") as out:
                while data := file.read(1 << 20):
                    out.write(decoder.decode(data).encode())
            found.append(target)
        yield tuple(found)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _size(path: Path) -> int:
    size = path.stat().st_size
    return size * _GZIP_GROWTH if path.suffix == ".gz" else size


def _taken(files: list[tuple[Path, str, int]], limit: int, total: int, folder: Path) -> Sample:
    mean = total / len(files)
    if len(files) > PIECES and mean < limit / PIECES:  # many small files: some of them, whole
        step = len(files) / max(1, int(limit / mean))
        chosen = [files[int(i * step)] for i in range(max(1, int(limit / mean)))]
        taken = sum(size for *_, size in chosen)
        return Sample(
            tuple(path for path, *_ in chosen),
            taken / total,
            f"{len(chosen):,} of {len(files):,} files, evenly spread",
        )
    paths, taken, is_spread = [], 0, True
    for i, (path, format, size) in enumerate(files):
        own = max(1, limit * size // total)
        if size <= own or format == "parquet":
            paths.append(path)
            taken += size
            continue
        target = folder / str(i) / path.name.removesuffix(".gz")
        target.parent.mkdir()
        can_spread = format in ("text", "jsonl") and path.suffix != ".gz"
        is_spread = is_spread and can_spread
        (_spread if can_spread else _beginning)(path, target, own)
        taken += target.stat().st_size
        paths.append(target)
    how = f"{PIECES} pieces from everywhere" if is_spread else "the beginning"
    return Sample(tuple(paths), min(taken / total, 1.0), f"{how}, {taken / 1e6:,.0f} MB")


def _spread(path: Path, target: Path, limit: int) -> None:
    """Pieces of whole lines; of a line longer than a piece, a part."""
    size, piece = path.stat().st_size, max(1, limit // PIECES)
    end = 0
    with path.open("rb") as file, target.open("wb") as out:
        for i in range(PIECES):
            start = max(size * i // PIECES, end)
            file.seek(start)
            data = file.read(piece)
            if start > end:  # the piece begins within a line, which is left out
                data = data[data.find(b"\n", 0, len(data) - 1) + 1 :]
            data += file.readline(piece)
            end = file.tell()
            if not data.endswith(b"\n"):
                data = _whole_characters(data) + b"\n"
            out.write(data)


def _beginning(path: Path, target: Path, limit: int) -> None:
    with open_bytes(path) as file, target.open("wb") as out:
        left = limit
        while left > 0 and (data := file.read(min(left, 1 << 20))):
            out.write(data)
            left -= len(data)
        out.write(_whole_characters(file.readline(limit)))


def _whole_characters(data: bytes) -> bytes:
    """Without half a character of UTF-8 at either end."""
    start, stop = 0, len(data)
    while start < min(stop, 3) and data[start] & 0xC0 == 0x80:
        start += 1
    for back in range(1, min(4, stop - start + 1)):
        byte = data[stop - back]
        if byte & 0xC0 == 0xC0:  # the first byte of a character; how long is it?
            wanted = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            stop -= back if wanted > back else 0
            break
        if byte < 0x80:
            break
    return data[start:stop]
