"""The rows of a table that grows while it is read, or that comes on stdin, judged one by one.

Knows files and tables; the verdicts are made in `tasks.live_detection`.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from seriatim.cli.fit_request import FileOptions, ReadingOptions
from seriatim.cli.stdin_file import STDIN
from seriatim.errors import ConfigError, DecodingError

if TYPE_CHECKING:
    from seriatim.tasks.anomalies import DetectedEvent
    from seriatim.tasks.language_model import LanguageModel

_PAUSE = 0.2  # seconds between two looks at a file that has not grown
_FORMATS = ("csv", "tsv", "jsonl")


def follow_events(
    lm: "LanguageModel",
    file: Path,
    files: FileOptions | None,
    reading: ReadingOptions | None,
    threshold: float,
) -> "Iterator[DetectedEvent]":
    """Every event of a table with its verdict, as soon as its row is complete.

    Ends with stdin; a file is followed until the command is interrupted.

    Args:
        lm: a model of events.
        file: the file; -: stdin.
        files: how the file is read.
        reading: the columns; None: those of the training data.
        threshold: the surprisal, in bits, above which an event is an anomaly.

    Raises:
        ConfigError: if the table has no column of sequences, or cannot be read row by row.
    """
    from seriatim.data import tables
    from seriatim.data.files import path_suffix
    from seriatim.data.sources import check_path
    from seriatim.tasks.live_detection import LiveDetector
    from seriatim.tasks.remembered import SavedReading

    options = files or FileOptions()
    by_name = None if file == STDIN else tables.SUFFIXES.get(path_suffix(file))
    format = options.format or by_name or lm.table_format or "csv"
    if format not in _FORMATS:
        raise ConfigError(
            f"--follow reads rows one by one, of {', '.join(_FORMATS)}, and this is {format}: "
            "leave it out, or give --format"
        )
    columns = lm.reading
    if reading is not None and (reading.column or reading.field):
        columns = SavedReading(
            format, reading.column or reading.field, reading.sequence_column, reading.order_column
        )
    if columns is None or columns.sequence_column is None:
        raise ConfigError(
            "--follow needs to know the sequence of each event: give --column and --sequence-column"
        )
    if file != STDIN:
        check_path(file)
    wanted = [columns.column, columns.sequence_column]
    wanted += [] if columns.order_column is None else [columns.order_column]
    detector = LiveDetector(lm.stream, threshold)
    name = Path("stdin") if file == STDIN else file
    lines = _lines(file, options.encoding)
    for place, (event, sequence, *order) in tables.records(
        name, format, wanted, options.encoding, lines
    ):
        yield detector.push(
            tables.to_event(sequence, name, place, "sequence id"),
            tables.to_event(event, name, place, "event"),
            str(order[0]) if order else None,
        )


def _lines(file: Path, encoding: str) -> Iterator[str]:
    """The lines of a file that grows, or of stdin, each once it is complete."""
    is_stdin = file == STDIN
    with sys.stdin.buffer if is_stdin else file.open("rb") as stream:
        pending = b""
        while True:
            piece = stream.readline()
            pending += piece
            if pending.endswith(b"\n") or (is_stdin and pending and not piece):
                try:
                    text = pending.decode(encoding)
                except UnicodeDecodeError as error:
                    raise DecodingError(
                        f"{file} is not {encoding} text ({error}): name its encoding with "
                        "--encoding"
                    ) from None
                yield text.removeprefix("\ufeff").rstrip("\n").removesuffix("\r")
                pending = b""
            elif not piece:
                if is_stdin:
                    return
                time.sleep(_PAUSE)
