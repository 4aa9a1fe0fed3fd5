"""What describes a series as a whole: numbers, and words as one number for each.

Knows columns and rows; no times.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.cells import looks_numeric, to_numbers
from seriatim.data.series.raw_table import Instants, RawTable
from seriatim.errors import DataError

_MOST_WORDS = 1000


def read_static(
    table: RawTable, names: tuple[str, ...], ids: list[str], series: NDArray[np.int64]
) -> dict[str, Any]:
    """The fields `static` and `static_names` of a collection.

    A column of words becomes one for each word, 1 where it is that of the series: `region=north`.

    Raises:
        DataError: if a column is not constant within a series, or has a gap; it names the line.
    """
    first = np.full(len(ids), -1, np.int64)
    first[series[::-1]] = np.arange(len(series))[::-1]
    columns: list[NDArray[np.float64]] = []
    found: list[str] = []
    for name in names:
        cells = table.columns[name]
        if isinstance(cells, Instants):
            raise DataError(f"{table.name}: the static column {name!r} holds times: give numbers")
        if looks_numeric(cells):
            values = to_numbers(table, name, what="static input")
            _check_constant(table, name, values, first, ids, series)
            columns.append(values[first])
            found.append(name)
            continue
        words = np.array([str(cell).strip() for cell in cells])
        _check_constant(table, name, words, first, ids, series)
        kinds = sorted(set(words[first].tolist()))
        if len(kinds) > _MOST_WORDS:
            raise DataError(
                f"{table.name}: the static column {name!r} has {len(kinds):,} distinct words: give "
                f"one with at most {_MOST_WORDS:,}"
            )
        columns += [(words[first] == kind).astype(np.float64) for kind in kinds]
        found += [f"{name}={kind}" for kind in kinds]
    return {"static": np.stack(columns, 1), "static_names": tuple(found)}


def _check_constant(
    table: RawTable,
    name: str,
    values: NDArray[Any],
    first: NDArray[np.int64],
    ids: list[str],
    series: NDArray[np.int64],
) -> None:
    if values.dtype.kind == "f":
        broken = np.flatnonzero(~np.isfinite(values))
        if len(broken):
            raise DataError(f"{table.at(int(broken[0]))}: the static input {name!r} is missing")
    changed = np.flatnonzero(values != values[first[series]])
    if len(changed):
        row = int(changed[0])
        raise DataError(
            f"{table.at(row)}: the static column {name!r} of series {ids[int(series[row])]!r} is "
            f"{values[row]!s} here and {values[first[series[row]]]!s} before: give it as known"
        )
