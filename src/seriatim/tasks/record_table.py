"""A table of records: iterated, indexed, shown, written as CSV, handed to pandas or polars.

Knows rows and columns; no model and no text. pandas and polars are imported when asked for.
"""

import csv
import html
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from seriatim.core.extras import import_extra
from seriatim.core.records import Json
from seriatim.errors import ConfigError, OutputError
from seriatim.report.terminal import text_table

RowT = TypeVar("RowT")
_SHOWN = 20  # rows of a longer table that a notebook or the interpreter shows, half at each end


class RecordTable(ABC, Sequence[RowT], Generic[RowT]):
    """Rows, each a frozen record, and their columns.

    Attributes:
        rows: the records, in order.
    """

    def __init__(self, rows: Sequence[RowT]) -> None:
        self.rows = tuple(rows)

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""

    def cells(self, row: RowT) -> tuple[Any, ...]:
        """The values of a row, its attributes of the columns' names; None: there is none."""
        return tuple(getattr(row, name) for name in self.columns)

    @abstractmethod
    def summary(self) -> str:
        """A line about the whole table."""

    def all_cells(self) -> Iterator[tuple[Any, ...]]:
        """The values of every row."""
        return map(self.cells, self.rows)

    def column(self, name: str) -> list[Any]:
        """The values of one column.

        Raises:
            ConfigError: if there is no such column.
        """
        if name not in self.columns:
            raise ConfigError(f"unknown column {name!r}: choose from {', '.join(self.columns)}")
        i = self.columns.index(name)
        return [self.cells(row)[i] for row in self.rows]

    def to_json(self) -> list[Json]:
        """The rows as JSON objects by the names of the columns."""
        return [dict(zip(self.columns, self.cells(row), strict=True)) for row in self.rows]

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` of the columns.

        Raises:
            MissingExtraError: if pandas is not installed.
        """
        return _package("pandas").DataFrame({name: self.column(name) for name in self.columns})

    def to_polars(self) -> Any:
        """A `polars.DataFrame` of the columns.

        Raises:
            MissingExtraError: if polars is not installed.
        """
        return _package("polars").DataFrame({name: self.column(name) for name in self.columns})

    def to_csv(self, path: str | PathLike[str]) -> Path:
        """Write a .csv file with a header; returns its path.

        Raises:
            OutputError: if the file cannot be written.
        """
        path = Path(path)
        try:
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(self.columns)
                writer.writerows(csv_cells(self.cells(row)) for row in self.rows)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from None
        return path

    def text(self) -> str:
        """All rows as an aligned table, and the summary."""
        return "\n".join([text_table(self._shown(self.rows), left=self._left()), self.summary()])

    def _left(self) -> tuple[int, ...]:
        first = self.cells(self.rows[0]) if self.rows else ()
        return tuple(i for i, cell in enumerate(first) if isinstance(cell, str))

    def _shown(self, rows: Sequence[RowT]) -> list[list[str]]:
        return [[*self.columns], *(list(map(shown_cell, self.cells(row))) for row in rows)]

    def _ends(self) -> tuple[list[list[str]], int]:
        """The head and the first and last rows as text, and after which row some are left out."""
        if len(self.rows) <= _SHOWN:
            return self._shown(self.rows), 0
        half = _SHOWN // 2
        return self._shown([*self.rows[:half], *self.rows[-half:]]), half + 1

    def __repr__(self) -> str:
        rows, gap = self._ends()
        lines = text_table(rows, left=self._left()).split("\n")
        if gap:
            lines.insert(gap, f"... {len(self.rows) - _SHOWN:,} more rows")
        return "\n".join([*lines, self.summary()])

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        rows, gap = self._ends()
        body = [
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows[1:]
        ]
        if gap:
            more = f"... {len(self.rows) - _SHOWN:,} more rows"
            body.insert(gap - 1, f'<tr><td colspan="{len(self.columns)}">{more}</td></tr>')
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        return f"{table}<p>{html.escape(self.summary())}</p>"

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[RowT]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> RowT: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RowT, ...]: ...
    def __getitem__(self, index: int | slice) -> RowT | tuple[RowT, ...]:
        return self.rows[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordTable):
            return NotImplemented
        return self.columns == other.columns and self.rows == other.rows

    __hash__ = None  # type: ignore[assignment]


def shown_cell(value: object) -> str:
    """A value for people: three decimals, yes or nothing, spaces at the ends made visible."""
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    bare = text.strip(" ")
    if bare == text:
        return text
    before, _, after = text.partition(bare) if bare else (text, "", "")
    return "␣" * len(before) + bare + "␣" * len(after)


def tabbed(values: Sequence[object]) -> str:
    """Values for people in a line, separated by tabs; what would break the line is escaped."""
    cells = (shown_cell(value).translate(_BREAKS) for value in values)
    return "\t".join(cells)


_BREAKS = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})


def csv_cells(values: Sequence[object]) -> list[object]:
    """Values for CSV: numbers in six significant decimals, true and false in lower case."""
    return [
        str(v).lower() if isinstance(v, bool) else round(v, 6) if isinstance(v, float) else v
        for v in values
    ]


def _package(name: str) -> Any:
    return import_extra(
        name, f"to_{name} needs {name}: pip install {name}, or write a file with to_csv"
    )
