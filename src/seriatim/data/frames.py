"""Data frames as records: pandas, polars, pyarrow tables and whatever else names its columns.

A frame is recognized by what it can do, so none of these packages is needed, or imported. Knows
columns; no files and no symbols.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seriatim.core.validation import did_you_mean
from seriatim.data.tables import Columns, EventSequence, Text, group_events, to_text
from seriatim.errors import ConfigError

_NAME = Path("the data frame")  # in messages


def is_frame(data: object) -> bool:
    """Whether a value is a table with named columns: it has their names, and takes one by name."""
    if isinstance(data, (str, bytes, Sequence, type)) or not hasattr(data, "__getitem__"):
        return False
    return hasattr(data, "columns") or hasattr(data, "column_names")


def frame_columns(frame: Any) -> list[str]:
    """The names of the columns."""
    names = frame.column_names if hasattr(frame, "column_names") else frame.columns
    return [str(name) for name in names]


def frame_texts(frame: Any, columns: Columns) -> list[Text]:
    """The texts of a column, or those of `frame_sequences`.

    Raises:
        ConfigError: if there is no such column, or it must be chosen.
        DataError: if a value is not text.
    """
    if columns.sequence_column is not None:
        return [sequence.events for sequence in frame_sequences(frame, columns)]
    (values,) = _values(frame, [columns.value])
    return [to_text(v, _NAME, f"row {i:,}") for i, v in enumerate(values, 1)]


def frame_sequences(frame: Any, columns: Columns) -> Iterator[EventSequence]:
    """The sequences of a frame with one row per event; raises as `frame_texts` does."""
    rows = zip(*_values(frame, columns.wanted), strict=True)
    places = ((f"row {i:,}", list(row)) for i, row in enumerate(rows, 1))
    return group_events(_NAME, places, columns)


def _values(frame: Any, wanted: Sequence[str | None]) -> list[list[Any]]:
    known = frame_columns(frame)
    found = []
    for name in wanted:
        if name is None:
            lower = {column.strip().lower(): column for column in reversed(known)}
            name = known[0] if len(known) == 1 else lower.get("text")
        if name is None:
            raise ConfigError(
                f"{_NAME} has the columns {', '.join(known)}: say which one holds the text (column)"
            )
        if name not in known:
            raise ConfigError(
                f"{_NAME} has no column {name!r}, only {', '.join(known)}"
                f"{did_you_mean(name, known)}"
            )
        column = frame[name]
        reader = getattr(column, "to_pylist", None) or getattr(column, "to_list", None)
        found.append(list(column) if reader is None else reader())
    return found
