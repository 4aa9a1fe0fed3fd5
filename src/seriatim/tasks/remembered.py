"""The columns of the training data, remembered so that other data of its shape needs no options.

Knows columns and formats; no model.
"""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

from seriatim.core.validation import did_you_mean
from seriatim.data import frames, tables
from seriatim.data.files import path_suffix
from seriatim.data.sources import FileSource, Sequences, Source, open_source
from seriatim.data.tables import Columns
from seriatim.errors import ConfigError


@dataclass(frozen=True)
class SavedReading:
    """How a table of training data was read.

    Attributes:
        format: jsonl, csv, tsv, parquet or fasta; None: it was a data frame.
        column: the column or field of the text, or of the event.
        sequence_column: the column that names the sequence of an event.
        order_column: the column by which the events of a sequence are sorted.
    """

    format: str | None
    column: str | None
    sequence_column: str | None = None
    order_column: str | None = None

    @classmethod
    def of(cls, source: Source) -> Self | None:
        """How a source is read; None: it has no columns."""
        columns = source.columns
        if columns == Columns():
            return None
        format = source.formats[0] if isinstance(source, FileSource) else None
        return cls(format, columns.value, columns.sequence_column, columns.order_column)

    def describe(self) -> str:
        """The columns in words."""
        roles = {
            "event" if self.sequence_column else "text": self.column,
            "sequence": self.sequence_column,
            "order": self.order_column,
        }
        return ", ".join(f"{role} column {name}" for role, name in roles.items() if name)

    def refuse_text(self, data: Any) -> None:
        """Refuse a text file in place of a table of events, of which it would be one sequence.

        Raises:
            ConfigError: if it is one.
        """
        if self.sequence_column and isinstance(data, str | PathLike) and Path(data).is_file():
            raise ConfigError(
                f"{data} is a text by its name, and the model was fitted to a table with "
                f"{self.describe()}: give a table (.csv, .tsv, .jsonl, .parquet), or say with "
                "format what the file is"
            )

    def check(self, known: list[str], name: str) -> None:
        """Refuse data that lacks a column.

        Raises:
            ConfigError: if one is not among the known columns of the data of this name.
        """
        wanted = [self.column, self.sequence_column, self.order_column]
        missing = [c for c in wanted if c is not None and c not in known]
        is_numbered = all(c is None or c.isdecimal() for c in wanted)  # there is no header
        if missing and known and not is_numbered:
            raise ConfigError(
                f"{name} has no column {missing[0]!r}, only {', '.join(known)!s:.80}"
                f"{did_you_mean(missing[0], known)}; the model was fitted to a table with "
                f"{self.describe()}: name the columns of this one (--column, --sequence-column, "
                "--order-column), or rename them"
            )


def open_as_trained(
    data: Any,
    sequences: Sequences | None,
    reading: SavedReading | None,
    *,
    format: str | None = None,
    encoding: str = "utf-8",
    skip_empty: bool = False,
) -> Source:
    """The source of data; of a table, by the columns of the training data.

    Args:
        data: as for `open_source`.
        sequences: what one sequence is.
        reading: how the training data was read; None: it had no columns.
        format: the format of the files; None: by their names.
        encoding: the encoding of the files.
        skip_empty: whether empty lines or documents are left out.

    Raises:
        ConfigError: if the table lacks a column, or as `open_source` does.
        DataError: as `open_source` does.
    """
    options: dict[str, Any] = {"skip_empty": skip_empty, "encoding": encoding}
    if isinstance(data, Source):
        return data
    found = _table_format(data, format, reading)
    if reading is not None and found is None and format is None:
        reading.refuse_text(data)
    if reading is None or found is None:
        return open_source(data, sequences=sequences, format=format, **options)
    if found == "frame":
        reading.check(frames.frame_columns(data), "the data frame")
    elif Path(data).is_file():
        known = tables.known_columns(Path(data), found, encoding)
        if found == "jsonl" and not known:  # records that are texts or lists, not objects
            return open_source(data, sequences=sequences, format=format, **options)
        reading.check(known, str(data))
    return open_source(
        data,
        sequences=sequences,
        format=format,
        field=reading.column if found == "jsonl" else None,
        column=None if found == "jsonl" else reading.column,
        sequence_column=reading.sequence_column,
        order_column=reading.order_column,
        **options,
    )


def _table_format(data: Any, format: str | None, reading: SavedReading | None) -> str | None:
    """The format of data that has columns, "frame" for a data frame; None: it has none."""
    if frames.is_frame(data):
        return "frame"
    if not isinstance(data, str | PathLike):
        return None
    found = (format and format.lower()) or tables.SUFFIXES.get(path_suffix(Path(data)))
    if found is None and reading is not None and Path(data).is_dir():
        found = reading.format  # a folder of such files
    return None if found == "text" else found
