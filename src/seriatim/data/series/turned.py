"""Tables with a series in each row: its name first, then a column for each moment.

    V1,V2,V3,..     as M4 is written: names, then values, and rows end where a series does
    id,d_1,d_2,..   as M5 is
    Page,2015-07-01,2015-07-02,..

They become one long table. Knows columns and their names; no series.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seriatim.data.series.cells import looks_numeric
from seriatim.data.series.raw_table import Cells, RawTable

_LEAST = 8  # columns of moments
_NUMBERED = re.compile(r"(\D*?)(\d+)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d)?)?)?", re.ASCII)


def moment_columns(names: Sequence[str]) -> int | None:
    """How many columns come before those of moments, at least one; None: there are no such."""
    count = len(names)
    for form in (_are_dates, _are_counted):
        first = count
        while first > 0 and form(names[first - 1 : first + 1]):
            first -= 1
        first += form is _are_counted and first == 0 and count > 0  # V1 holds the names
        if 1 <= first <= count - _LEAST:
            return first
    return None


def _are_dates(pair: Sequence[str]) -> bool:
    return _DATE.fullmatch(pair[0].strip()) is not None


def _are_counted(pair: Sequence[str]) -> bool:
    """Whether names are alike but for a number, the next one greater by 1."""
    found = [_NUMBERED.fullmatch(name.strip()) for name in pair]
    first, last = found[0], found[-1]
    if first is None or last is None or first[1] != last[1] or not first[1]:
        return False
    return len(pair) == 1 or int(last[2]) == int(first[2]) + 1


def turn_rows(table: RawTable) -> RawTable:
    """The long table of one with a series in each row; others stay as they are."""
    names = [*table.columns]
    before = None if table.arrays else moment_columns(names)
    if before is None:
        return table
    ids = table.columns[names[0]]
    if not isinstance(ids, list) or looks_numeric(ids):
        return table
    texts = ["" if cell is None else str(cell).strip() for cell in ids]
    if len(set(texts)) < len(texts) or "" in texts:
        return table
    if not all(isinstance(table.columns[n], list) for n in names[before:]):
        return table
    if not any(looks_numeric(table.columns[n]) for n in names[before:]):
        return table
    return _turned(table, texts, names, before)


def _turned(table: RawTable, texts: list[str], names: list[str], before: int) -> RawTable:
    moments = names[before:]
    has_dates = _are_dates(moments[:1])
    grid = np.array([table.columns[name] for name in moments], dtype=object).T  # (S, T)
    is_there = ~np.isin(grid, np.array([None, "", "NA", "NaN", "nan"], dtype=object))
    width = grid.shape[1]
    begin = np.argmax(is_there, 1)
    end = np.full(len(grid), width) if has_dates else width - np.argmax(is_there[:, ::-1], 1)
    end = np.where(is_there.any(1), end, np.maximum(width, 1))
    at = np.arange(width)
    row, moment = np.nonzero((at >= begin[:, None]) & (at < end[:, None]))
    times: Cells = (
        [moments[i].strip() for i in moment.tolist()]
        if has_dates
        else (moment - begin[row]).astype(np.int64)
    )
    columns: dict[str, Cells] = {
        "unique_id": np.array(texts, object)[row].tolist(),
        "ds": times,
        "y": grid[row, moment].tolist(),
    }
    note = (
        f"each row is read as a series, named by the column {names[0]!r}, with a moment in each "
        f"column from {moments[0]!r} on"
    )
    if before > 1:
        note += f"; columns that are not used: {', '.join(names[1:before])}"
    return replace(
        table,
        columns=columns,
        place=lambda i: f"{table.place(int(row[i]))}, column {moments[int(moment[i])]!r}",
        notes=(*table.notes, note),
    )
