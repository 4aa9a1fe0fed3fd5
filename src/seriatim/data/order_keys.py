"""Sort keys of events: numbers, dates and times, read from the cells of an order column.

A column that mixes kinds, or whose cells are neither numbers nor ISO 8601 dates or times, is
refused: sorted as text, 10 would come before 9 and 10/1/2023 before 9/30/2023.

Knows cells and their lines. Does not know events.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from seriatim.errors import DataError


class Instant(int):
    """A point in time as a count of some unit since 1970, as parquet files store it."""


@dataclass
class OrderKeys:
    """The keys of one order column, all of one kind.

    Attributes:
        path: the file.
        column: the name of the column.
    """

    path: Path
    column: str | None
    _first: tuple[str, str, Any] | None = field(default=None, init=False)  # kind, place, cell

    def parse(self, cell: Any, place: str) -> Any:
        """The key of a cell; keys of one column can be compared.

        Raises:
            DataError: if the cell is empty, is no number, date or time, or is of another kind
                than the first one; the message names the place.
        """
        kind, key = _parse(cell)
        if kind == "":
            empty = cell is None or cell != cell or str(cell).strip() == ""
            what = "is empty" if empty else f"is {cell!r:.40}"
            raise DataError(
                f"{self.path}, {place}: the order column {self.column!r} {what}, and events can "
                "only be ordered by numbers or by ISO 8601 dates and times (2023-09-30T09:05:00Z): "
                "convert the column"
            )
        if self._first is None:
            self._first = kind, place, cell
        elif self._first[0] != kind:
            other, where, first = self._first
            raise DataError(
                f"{self.path}, {place}: the order column {self.column!r} has a {kind} "
                f"({cell!s:.40}) and, in {where}, a {other} ({first!s:.40}): write all in one form"
            )
        return key


def _parse(cell: Any) -> tuple[str, Any]:
    """The kind of a cell and its key; ("", None) if it has none."""
    if isinstance(cell, Instant):
        return "time in parquet", int(cell)
    if isinstance(cell, (int, float, Decimal)) and not isinstance(cell, bool):
        return ("", None) if cell != cell else ("number", cell)
    if isinstance(cell, (datetime, date, time)):
        cell = cell.isoformat()
    if not isinstance(cell, str):
        return "", None
    text = cell.strip()
    if _NUMBER.match(text):
        return "number", Decimal(text)  # exact: a float of 1700000000.123456789 is rounded
    return _parse_time(text)


def _parse_time(text: str) -> tuple[str, Any]:
    """The kind of a date or time and its key, exact in every digit of the seconds."""
    match = _FRACTION.match(text)
    fraction = Decimal(f"0.{match[2]}") if match else Decimal(0)
    if match:
        text = match[1] + match[3]
    for name, parse_time in _TIMES:
        try:
            value = parse_time(text)
        except ValueError:
            continue
        if name == "date":
            return name, value
        is_aware = value.utcoffset() is not None
        if is_aware and isinstance(value, datetime):
            value = value.astimezone(UTC)
        return f"{name} with an offset" if is_aware else name, (value, fraction)
    return "", None


# Numbers as Python writes them; inf and nan have no place in an order.
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?$", re.ASCII)
_FRACTION = re.compile(r"^(.*\d\d:\d\d:\d\d)[.,](\d+)(.*)$")
_TIMES: tuple[tuple[str, Any], ...] = (
    ("date", date.fromisoformat),
    ("date and time", datetime.fromisoformat),
    ("time of day", time.fromisoformat),
)
