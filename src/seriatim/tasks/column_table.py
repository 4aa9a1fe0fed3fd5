"""A table of columns: shown, written as CSV or JSON, handed over as the frame that came in.

Knows columns; no model. pandas, polars and pyarrow are imported when asked for.
"""

import csv
import html
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.core.extras import import_extra
from seriatim.core.records import Json
from seriatim.data.series.output import time_texts, to_native
from seriatim.data.series.raw_table import Backend
from seriatim.errors import ConfigError, OutputError
from seriatim.report.terminal import text_table

_SHOWN = 20  # rows of a longer table that a notebook or the interpreter shows, half at each end


class ColumnTable:
    """Named columns of equal length.

    Attributes:
        table: the columns by name, in order.
    """

    def __init__(self, table: Mapping[str, NDArray[Any]], zone: str | None = None) -> None:
        """
        Args:
            table: the columns by name.
            zone: the name of the time zone of times, which are stored in UTC.
        """
        self.table, self._zone = dict(table), zone

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.table)

    def __len__(self) -> int:
        return len(next(iter(self.table.values()))) if self.table else 0

    def column(self, name: str) -> NDArray[Any]:
        """One column.

        Raises:
            ConfigError: if there is no such column.
        """
        if name not in self.table:
            raise ConfigError(f"unknown column {name!r}: choose from {', '.join(self.columns)}")
        return self.table[name]

    def summary(self) -> str:
        """A line about the whole table."""
        return f"{len(self):,} rows"

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame`.

        Raises:
            MissingExtraError: if pandas or narwhals is not installed.
        """
        return self._native("pandas")

    def to_polars(self) -> Any:
        """A `polars.DataFrame`.

        Raises:
            MissingExtraError: if polars or narwhals is not installed.
        """
        return self._native("polars")

    def to_arrow(self) -> Any:
        """A `pyarrow.Table`.

        Raises:
            MissingExtraError: if pyarrow or narwhals is not installed.
        """
        return self._native("pyarrow")

    def _native(self, backend: Backend) -> Any:
        import_extra(backend, f"{backend} is not installed: pip install {backend}")
        return to_native(self.table, backend, self._zone)

    def to_json(self) -> list[Json]:
        """The rows as JSON objects; a missing number is null."""
        shown = [_json_values(values, self._zone) for values in self.table.values()]
        return [dict(zip(self.table, row, strict=True)) for row in zip(*shown, strict=True)]

    def to_csv(self, path: str | PathLike[str]) -> Path:
        """Write a .csv file with a header; returns its path.

        Raises:
            OutputError: if the file cannot be written.
        """
        path = Path(path)
        try:
            with path.open("w", encoding="utf-8", newline="") as file:
                self.write_csv(file)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from None
        return path

    def write_csv(self, file: Any) -> None:
        """Write the table with a header to an open file."""
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        shown = [_json_values(values, self._zone) for values in self.table.values()]
        for row in zip(*shown, strict=True):
            writer.writerow(["" if cell is None else cell for cell in row])

    def _rows(self, chosen: Sequence[int]) -> list[list[str]]:
        shown = [
            [_for_people(v) for v in _json_values(values[list(chosen)], self._zone)]
            for values in self.table.values()
        ]
        return [list(row) for row in zip(*shown, strict=True)]

    def _ends(self) -> tuple[list[list[str]], int]:
        """The first and last rows as text, and after how many of them some are left out."""
        count = len(self)
        if count <= _SHOWN:
            return self._rows(range(count)), 0
        half = _SHOWN // 2
        return self._rows([*range(half), *range(count - half, count)]), half

    def text(self, rows: int | None = None) -> str:
        """The table in aligned columns, at most so many rows of it.

        Args:
            rows: the number of rows; None: all.
        """
        count = len(self) if rows is None else min(rows, len(self))
        left = [i for i, v in enumerate(self.table.values()) if v.dtype.kind in "OUMi"]
        lines = text_table([[*self.columns], *self._rows(range(count))], left=left)
        more = len(self) - count
        return f"{lines}\n... {more:,} more rows" if more else lines

    def __repr__(self) -> str:
        rows, gap = self._ends()
        left = [i for i, v in enumerate(self.table.values()) if v.dtype.kind in "OUMi"]
        lines = text_table([[*self.columns], *rows], left=left).split("\n")
        if gap:
            lines.insert(gap + 1, f"... {len(self) - _SHOWN:,} more rows")
        return "\n".join([*lines, self.summary()])

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        rows, gap = self._ends()
        body = [
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        ]
        if gap:
            more = f"... {len(self) - _SHOWN:,} more rows"
            body.insert(gap, f'<tr><td colspan="{len(self.columns)}">{more}</td></tr>')
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        return f"{table}<p>{html.escape(self.summary())}</p>"


def _json_values(values: NDArray[Any], zone: str | None) -> list[Any]:
    """The values of a column as JSON values; what is not finite becomes None."""
    if values.dtype.kind == "M":
        return time_texts(values, zone)
    if values.dtype.kind == "f":
        return [float(v) if np.isfinite(v) else None for v in values]
    return list(values.tolist())


def _for_people(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    return str(value)
