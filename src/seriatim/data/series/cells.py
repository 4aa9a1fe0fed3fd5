"""Numbers from the cells of a table: gaps, decimal commas, and what is no number.

Knows cells and their places. Does not know series or times.
"""

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.raw_table import Cells, Instants, RawTable
from seriatim.errors import DataError

Decimals: TypeAlias = Literal[".", ","]

# What people write where there is no value, in lower case.
GAP_WORDS = frozenset(
    ("", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "nil", "missing", "-", "--", ".", "?")
)
_HEAD = 1000  # cells that show whether a column holds numbers
_COMMA_NUMBER = re.compile(r"[+-]?[\d.,' \u00a0\u202f]*\d[\d.,]*([eE][+-]?\d+)?", re.ASCII)
_IN_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_OF_COMMAS = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)?(,\d*)?([eE][+-]?\d+)?")


def to_numbers(
    table: RawTable, name: str, decimal: Decimals | None = None, *, what: str = "value"
) -> NDArray[np.float64]:
    """(rows,) the numbers of a column, NaN where there is a gap.

    Args:
        table: the table.
        name: the column.
        decimal: the sign before the fraction; None: as the cells show it.
        what: what the cells are, in messages.

    Raises:
        DataError: if a cell is no number, or commas can be read in two ways; it names the line.
    """
    cells = table.columns[name]
    if isinstance(cells, Instants):
        raise DataError(
            f"{table.name}: the column {name!r} holds times and not numbers: give another one as "
            "target, or this one as time_column"
        )
    if isinstance(cells, np.ndarray):
        return cells.astype(np.float64)
    if decimal != ",":
        try:
            return _plain(cells)
        except (ValueError, TypeError, OverflowError):
            pass
    return _careful(table, name, cells, decimal, what)


def _plain(cells: Sequence[object]) -> NDArray[np.float64]:
    return np.array([math.nan if c is None or c == "" else float(c) for c in cells])  # type: ignore[arg-type]


def _careful(
    table: RawTable, name: str, cells: Sequence[object], decimal: Decimals | None, what: str
) -> NDArray[np.float64]:
    texts = [c.strip() if isinstance(c, str) else c for c in cells]
    decimal = decimal or _decimal_of(table, name, texts)
    numbers = np.full(len(texts), math.nan)
    for row, cell in enumerate(texts):
        if _is_gap(cell):
            continue
        number = _number(cell, decimal)
        if number is None:
            shown = repr(str(cell)[:40])
            raise DataError(
                f"{table.at(row)}: the {what} {shown} in the column {name!r} is not a number: "
                "correct it, or leave the cell empty if the value is missing"
            )
        numbers[row] = number
    return numbers


def _number(cell: object, decimal: Decimals) -> float | None:
    if isinstance(cell, str):
        if decimal == ",":
            if not _OF_COMMAS.fullmatch(cell):
                return _float(cell) if "." not in cell and "," not in cell else None
            cell = cell.replace(".", "").replace(",", ".")
        elif _IN_THOUSANDS.fullmatch(cell):
            cell = cell.replace(",", "")
        return _float(cell)
    if isinstance(cell, (int, float, Decimal, np.number)):
        return _float(cell)
    return None


def _float(cell: object) -> float | None:
    try:
        return float(cell)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return None


def _decimal_of(table: RawTable, name: str, cells: Sequence[object]) -> Decimals:
    """Whether the fraction follows a comma or a point, by the cells that have a comma.

    A comma before three digits alone may be either, and is never guessed.
    """
    unclear = -1
    for row, cell in enumerate(cells):
        if not isinstance(cell, str) or "," not in cell or not _COMMA_NUMBER.fullmatch(cell):
            continue
        head, _, tail = cell.rpartition(",")
        if "." in tail or "," in head:
            return "."  # 1,234.5 or 1,234,567
        is_thousands = _IN_THOUSANDS.fullmatch(cell) and head.lstrip("+-") != "0"
        if "." in head or not is_thousands:
            return ","  # 1.234,5 or 1,5
        unclear = row if unclear < 0 else unclear
    if unclear >= 0:
        raise DataError(
            f"{table.at(unclear)}: {cells[unclear]!r} in the column {name!r} may be a fraction or "
            "thousands: give decimal=',' (--decimal ,) if the comma comes before the fraction, "
            "otherwise decimal='.'"
        )
    return "."


def looks_numeric(cells: Cells) -> bool:
    """Whether most of the first cells of a column are numbers, as far as there are any."""
    if isinstance(cells, Instants):
        return False
    if isinstance(cells, np.ndarray):
        return True
    full = [c for c in cells[:_HEAD] if not _is_gap(c)]
    return 2 * sum(map(_may_be_number, full)) > len(full)


def _is_gap(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in GAP_WORDS)


def _may_be_number(cell: object) -> bool:
    if isinstance(cell, str):
        text = cell.strip()
        return _float(text) is not None or _COMMA_NUMBER.fullmatch(text) is not None
    return isinstance(cell, (int, float, Decimal, np.number))
