"""Tables whose date is spread over columns: year and quarter, year and month, a column each month.

Knows columns and their names; no series.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.cells import looks_numeric
from seriatim.data.series.column_roles import TIME_NAMES
from seriatim.data.series.raw_table import Cells, Instants, RawTable

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LIMITS = {"quarter": 4, "month": 12, "day": 31}


def join_date_parts(table: RawTable, time_column: str | None) -> RawTable:
    """The table with one column `ds` in place of year and quarter, year and month, or with days.

    A table with one row a year and a column each month becomes one with a row each month. Others
    stay as they are.
    """
    lower = {name.strip().lower(): name for name in table.columns}
    if time_column is not None or "year" not in lower or any(n in lower for n in TIME_NAMES):
        return table
    year = _whole(table.columns[lower["year"]])
    if year is None or year.min() < 1678 or year.max() > 2261:
        return table
    months = [n for n in table.columns if n.strip().lower()[:3] in _MONTHS]
    if len(table.columns) == 13 and len(months) == 12:
        return _months_in_rows(table, year, lower["year"], months)
    names = ["quarter"] if "quarter" in lower else ["month", "day"]
    parts = {n: _whole(table.columns[lower[n]]) for n in names if n in lower}
    values = {n: v for n, v in parts.items() if v is not None and _fits(n, v)}
    if not values or len(values) < len(parts) or ("day" in values and "month" not in values):
        return table
    month = values.get("month", 3 * values.get("quarter", np.ones(1, np.int64)) - 2)
    times = ((year - 1970) * 12 + month - 1).astype("datetime64[M]").astype("datetime64[D]")
    if "day" in values:
        times = times + (values["day"] - 1).astype("timedelta64[D]")
        if (times.astype("datetime64[M]").astype(np.int64) % 12 != month - 1).any():
            return table
    replaced = {"year": lower["year"], **{n: lower[n] for n in values}}
    columns: dict[str, Cells] = {"ds": Instants(times.astype("datetime64[ns]"), None)}
    columns |= {n: c for n, c in table.columns.items() if n not in replaced.values()}
    return replace(table, columns=columns)


def _fits(name: str, values: NDArray[np.int64]) -> bool:
    return bool((values >= 1).all() and (values <= _LIMITS[name]).all())


def _whole(cells: Cells) -> NDArray[np.int64] | None:
    if isinstance(cells, Instants):
        return None
    try:
        numbers = np.array([float(cell) for cell in cells])
    except (ValueError, TypeError, OverflowError):
        return None
    if not np.isfinite(numbers).all() or (numbers != np.floor(numbers)).any():
        return None
    return numbers.astype(np.int64) if np.abs(numbers).max() < 2**53 else None


def _months_in_rows(
    table: RawTable, year: NDArray[np.int64], year_name: str, months: list[str]
) -> RawTable:
    order = sorted(months, key=lambda name: _MONTHS.index(name.strip().lower()[:3]))
    if {name.strip().lower()[:3] for name in months} != set(_MONTHS):
        return table
    if not all(looks_numeric(table.columns[name]) for name in months):
        return table
    cells: list[object] = []
    for row in range(table.num_rows):
        cells += [table.columns[name][row] for name in order]  # type: ignore[index]
    times = ((year[:, None] - 1970) * 12 + np.arange(12)).ravel().astype("datetime64[M]")
    columns: dict[str, Cells] = {
        "ds": Instants(times.astype("datetime64[ns]"), None),
        "value": [None if c != c else c for c in cells],
    }
    return replace(table, columns=columns, place=lambda row: table.place(row // 12))
