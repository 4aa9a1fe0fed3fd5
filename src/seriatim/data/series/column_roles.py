"""Which column is which: the id, the time, the values, by the names that people use.

Knows columns and their names; no times or numbers.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.core.validation import did_you_mean
from seriatim.data.series.cells import looks_numeric
from seriatim.data.series.raw_table import Cells, Instants, RawTable, TableRoles
from seriatim.errors import ConfigError, DataError

Names: TypeAlias = str | Sequence[str]
ID_NAMES = ("unique_id", "item_id", "series_id", "series", "id")
TIME_NAMES = ("ds", "timestamp", "datetime", "date", "time", "date_time")
_LATER_TIME_NAMES = ("period", "year", "quarter", "month", "week", "day", "hour", "t", "step")
_DATE = re.compile(  # years, months and days as numbers, then nothing or a clock
    r"(\d{4}([-/.])\d\d?\2\d\d?|\d\d?([-/.])\d\d?\3(\d{4}|\d\d))([T ]\d\d?:\d\d.*)?$", re.ASCII
)
VALUE_NAMES = ("y", "target", "value")


@dataclass(frozen=True)
class ColumnRoles:
    """The columns of a table of series.

    Attributes:
        ids: the columns that name the series of a row, in a long table; (): one series, or a wide
            table.
        time: the column of times; None: rows are counted.
        targets: the columns of values.
        known: the columns of inputs that are known ahead.
        static: the columns that are constant for each series.
        is_wide: whether each target is a series of its own.
        notes: what was taken, as sentences for people.
    """

    ids: tuple[str, ...]
    time: str | None
    targets: tuple[str, ...]
    known: tuple[str, ...]
    static: tuple[str, ...]
    is_wide: bool
    notes: tuple[str, ...] = ()


def as_names(names: Names | None) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(str(name) for name in names)


def find_roles(
    table: RawTable,
    *,
    id_column: Names | None,
    time_column: str | None,
    target: Names | None,
    known: Names,
    static: Names,
    multivariate: bool | None,
) -> ColumnRoles:
    """The columns of a table, as they are given or named.

    Raises:
        ConfigError: if a column does not exist, or is given twice.
        DataError: if there is no column of values.
    """
    given_known, given_static = as_names(known), as_names(static)
    ids, targets = as_names(id_column), as_names(target)
    if table.roles is not None:
        given_known, given_static, targets = _sure(table.roles, given_known, given_static, targets)
    chosen = [*ids, *as_names(time_column), *targets, *given_known, *given_static]
    _check_names(table, chosen)
    notes: list[str] = []
    time = time_column or _find_time(table, chosen)
    if not ids:
        ids = _find_ids(table, [*chosen, *as_names(time)], notes)
    taken = {*ids, *as_names(time), *given_known, *given_static}
    is_named = bool(targets)
    if not targets:
        targets, is_named = _find_targets(table, taken, has_ids=bool(ids))
    if not targets:
        raise DataError(
            f"{table.name} has no column of numbers beside {', '.join(sorted(taken)) or 'others'} "
            f"(columns: {_shown(table.columns)}): name the column of values, as "
            "target='y'"
        )
    is_wide = not ids and (len(targets) > 1 or not is_named)
    if multivariate and len(targets) > 1:
        is_wide = False
    if multivariate is False and ids and len(targets) > 1:
        raise ConfigError(
            f"{table.name} is a long table with {len(targets)} targets, which are the channels of "
            "a series: give one target, or leave multivariate out"
        )
    rest = [n for n in table.columns if n not in taken and n not in targets]
    if rest and not table.arrays:
        notes.append(f"columns that are not used: {_shown(rest)}")
    return ColumnRoles(ids, time, targets, given_known, given_static, is_wide, tuple(notes))


def _sure(
    roles: TableRoles, known: tuple[str, ...], static: tuple[str, ...], targets: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The known, static and value columns: those that were given, or that the format names."""
    targets = targets or roles.targets
    if {*targets} != {*roles.targets}:
        return known, static, targets
    return known or roles.known, static or roles.static, targets


def _shown(names: Iterable[str]) -> str:
    listed = [str(name) for name in names]
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def _check_names(table: RawTable, chosen: Sequence[str]) -> None:
    for name in chosen:
        if name not in table.columns:
            names = [*table.columns]
            raise ConfigError(
                f"{table.name} has no column {name!r}, only {_shown(names)}"
                f"{did_you_mean(name, names)}"
            )
        if chosen.count(name) > 1:
            raise ConfigError(f"the column {name!r} is given twice: give it one role")


def _num_distinct(cells: NDArray[Any] | list[Any]) -> int:
    return len(np.unique(cells)) if isinstance(cells, np.ndarray) else len({str(c) for c in cells})


def _by_name(table: RawTable, names: Sequence[str], taken: Sequence[str]) -> str | None:
    lower = {n.strip().lower(): n for n in reversed([*table.columns]) if n not in taken}
    return next((lower[name] for name in names if name in lower), None)


def _find_time(table: RawTable, taken: Sequence[str]) -> str | None:
    found = _by_name(table, TIME_NAMES, taken)
    if found is not None:
        return found
    instants = [n for n, c in table.columns.items() if isinstance(c, Instants) and n not in taken]
    if len(instants) == 1:
        return instants[0]
    if len(table.columns) - len(taken) < 2:
        return None
    named = _by_name(table, _LATER_TIME_NAMES, taken)
    if named is not None:
        return named
    dated = [n for n, c in table.columns.items() if n not in taken and hold_dates(c)]
    return dated[0] if len(dated) == 1 else None


def hold_dates(cells: Cells) -> bool:
    """Whether the first cells of a column are all dates as text: 2024-10-27, 31.12.2020 23:00."""
    some = [str(c).strip() for c in cells[:20]] if isinstance(cells, list) else []
    return bool(some) and all(_DATE.match(text) for text in some)


def _find_ids(table: RawTable, taken: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    name = _by_name(table, ID_NAMES, taken)
    if name is None:
        return ()
    cells = table.columns[name]
    if name.strip().lower() not in ("id", "series") or isinstance(cells, Instants):
        return (name,)
    if _num_distinct(cells) < table.num_rows or table.num_rows == 1:
        return (name,)
    notes.append(  # it numbers the rows
        f"the column {name!r} differs in every row, so it does not name series; if it does, give "
        f"id_column={name!r}"
    )
    return ()


def _find_targets(
    table: RawTable, taken: set[str], *, has_ids: bool
) -> tuple[tuple[str, ...], bool]:
    """The columns of values, and whether their name says that they are."""
    named = _by_name(table, VALUE_NAMES, [*taken])
    if named is not None:
        return (named,), True
    free = [n for n in table.columns if n not in taken]
    skipped = {n for n in free if n.strip().lower() in ("id", "index") and len(free) > 1}
    numeric = tuple(n for n in free if n not in skipped and looks_numeric(table.columns[n]))
    if has_ids and len(numeric) > 1 and not table.arrays:
        raise ConfigError(
            f"{table.name} has the columns of numbers {_shown(numeric)}: say which holds the "
            f"values, as target={numeric[0]!r}, and which are known ahead, as known={numeric[1]!r}"
        )
    if not numeric and len(free) == 1:  # reading it says what is wrong
        return (free[0],), False
    return numeric, False
