"""What `translate` and `label` read: lines, records of a table, or sequences of elements.

Knows files and formats; no model.
"""

import codecs
import io
import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeVar

from seriatim.cli.fit_request import FileOptions
from seriatim.cli.output import print_notes
from seriatim.data.encodings import unmarked_utf16
from seriatim.errors import ConfigError, DecodingError

if TYPE_CHECKING:
    from seriatim.data.sources import Source

GROUP = 1024  # lines of a file that are read at once; sorted by length, so the more the faster
WAITING = 256  # lines of stdin, which somebody may be waiting for
T = TypeVar("T")
Text: TypeAlias = "str | list[str]"
_USUAL = (
    "source",
    "src",
    "input",
    "text",
    "sentence",
    "sequence",
)  # columns of sources, in lower case


def open_input(file: str, *, files: FileOptions | None, column: str | None) -> Iterator[list[Text]]:
    """The sources of a file in groups; of a table those of one column, otherwise the lines.

    Args:
        file: the file; -: stdin.
        files: how the file is read; a format of None: by its name.
        column: the column or field of the sources; None: source, text or the like, or the only
            one; of elements the first.

    Raises:
        ConfigError: if a column is given for lines, or must be chosen.
        DataError: if there is no such file, or it cannot be read.
    """
    from seriatim.data import tables, tagged
    from seriatim.data.files import check_encoding, path_suffix
    from seriatim.data.sources import check_path

    files = files or FileOptions()
    path, format, encoding = Path(file), files.format, files.encoding
    suffix = "" if file == "-" else path_suffix(path)
    format = (format and format.lower()) or (
        "conll" if suffix in tagged.SUFFIXES else tables.SUFFIXES.get(suffix)
    )
    if format in (None, "text"):
        if column is not None:
            raise ConfigError(
                f"--source-column {column}: {file} is read as lines, which have no columns; leave "
                "it out, or name the format"
            )
        for lines in line_groups(file, encoding):
            yield [*lines]
        return
    if file == "-":
        raise ConfigError(f"stdin is read as lines, not as {format}: give a file")
    check_path(path)
    check_encoding(encoding)
    if format == "conll":
        columns = tagged.tagged_columns(path, encoding, column, needs_labels=False)
        sequences = tagged.tagged_sequences(columns, encoding)
        if column is None:
            print_notes(columns)
        for group in _grouped(elements for elements, _ in sequences):
            yield [*group]
        return
    source = _open_table(path, format, column, encoding)
    print_notes(source)
    yield from _grouped(source.texts())


def _open_table(path: Path, format: str, column: str | None, encoding: str) -> "Source":
    from seriatim.data import tables
    from seriatim.data.sources import open_source

    if column is None:
        known = tables.known_columns(path, format, encoding)
        named = {name.strip().lower(): name for name in reversed(known)}
        column = next((named[name] for name in _USUAL if name in named), None)
        if column is None and len(known) > 1:
            raise ConfigError(
                f"{path} is read as {format}, with the columns {', '.join(known)!s:.60}: say which "
                "one holds the sources (--source-column), or give --format text to read its lines"
            )
    is_jsonl = format == "jsonl"
    return open_source(
        path,
        format=format,
        sequences="document",
        field=column if is_jsonl else None,
        column=None if is_jsonl else column,
        encoding=encoding,
    )


def line_groups(file: str, encoding: str) -> Iterator[list[str]]:
    """The lines in groups: of a file full ones, of stdin whatever has come."""
    from seriatim.data.files import check_encoding, read_blocks, split_lines
    from seriatim.data.sources import check_path

    check_encoding(encoding)
    if file == "-":
        yield from _arriving(sys.stdin.buffer, encoding)
        return
    path = Path(file)
    check_path(path)
    yield from _grouped(split_lines(read_blocks(path, encoding)))


def _grouped(items: Iterable[T]) -> Iterator[list[T]]:
    items = iter(items)
    while group := list(islice(items, GROUP)):
        yield group


def _arriving(stream: BinaryIO, encoding: str) -> Iterator[list[str]]:
    """Lines of a stream as they come: a group is what waits when the one before is done."""
    waiting: queue.Queue[bytes | None] = queue.Queue(maxsize=4 * WAITING)
    failures: list[UnicodeError] = []
    is_wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))

    def read() -> None:
        try:
            for line in _wide_lines(stream, encoding) if is_wide else stream:
                waiting.put(line)
        except UnicodeError as error:
            failures.append(error)
        waiting.put(None)

    # A daemon: whoever stops listening must not wait for a line that never comes.
    threading.Thread(target=read, daemon=True).start()
    number = 0
    while (line := waiting.get()) is not None:
        group = [line]
        is_last = False
        while len(group) < WAITING and not waiting.empty():
            more = waiting.get()
            if more is None:
                is_last = True
                break
            group.append(more)
        known = "utf-8" if is_wide else encoding
        yield [_decoded(raw, number + i, known) for i, raw in enumerate(group)]
        number += len(group)
        if is_last:
            break
    if failures:
        raise DecodingError(
            f"stdin is not {encoding} text from line {number + 1:,} on ({failures[0]}): name its "
            "encoding with --encoding"
        )


def _wide_lines(stream: BinaryIO, encoding: str) -> Iterator[bytes]:
    """The lines of UTF-16 or UTF-32 as UTF-8; a byte of LF may be part of a character there."""
    text = io.TextIOWrapper(stream, encoding=encoding, newline="\n")
    for line in text:
        yield line.encode("utf-8", "surrogatepass")
    text.detach()


def _decoded(line: bytes, number: int, encoding: str) -> str:
    guess = unmarked_utf16(line) if number == 0 else None
    if guess is not None:
        raise DecodingError(
            f"stdin is not {encoding} text: it looks like UTF-16 without a byte-order mark; give "
            f"--encoding {guess}"
        )
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError as error:
        raise DecodingError(
            f"line {number + 1:,} of stdin is not {encoding} text (byte {error.start + 1}): name "
            "its encoding with --encoding"
        ) from None
    text = text.removeprefix("\ufeff") if number == 0 else text
    return text.removesuffix("\n").removesuffix("\r")
