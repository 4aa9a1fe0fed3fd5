"""Times from the cells of a table: dates, dates with times and offsets, quarters, whole numbers.

Whole numbers stay whole numbers, unless they spell a date (19580329). Offsets that differ by an
hour are those of one zone in summer and winter; others are mixed time zones, and refused.

Knows cells and their places; no series.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.frequency import Moments
from seriatim.data.series.raw_table import Instants, RawTable, to_nanoseconds
from seriatim.errors import ConfigError, DataError

_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?", re.ASCII)
_ISO_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)
_WITH_OFFSET = re.compile(r"\d\d:?\d\d.*(Z|[+-]\d\d(:?\d\d)?)$", re.ASCII)
_QUARTER = re.compile(r"(\d{4})[-\s]?Q([1-4])", re.ASCII | re.I)
_PARTS = re.compile(r"(\d{1,4})([/.])(\d{1,2})\2(\d{1,4})(?:[T\s]+(\S.*))?", re.ASCII)
_NAMED = (
    "%b %Y",
    "%B %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
)
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_DECIMAL = re.compile(r"\d{9,10}(\.\d{1,9})?", re.ASCII)  # seconds since 1970
# Names of columns whose large numbers count from 1970, and the seconds that do: 2001 to 2103.
_OF_CLOCK = re.compile(r"^(ds|ts|t)$|time|date|epoch|unix|_ts$|_at$", re.I)
_SECONDS = {1: "seconds", 10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}
_EPOCHS = (1e9, 4.2e9)
_MOST_SECONDS_APART = 3600  # summer and winter of a zone
_FIRST, _LAST = np.datetime64("1678-01-01"), np.datetime64("2262-01-01")


@dataclass(frozen=True)
class TimeColumn:
    """Times, one a row.

    Attributes:
        times: (rows,) datetime64[ns], UTC if there is a time zone, or int64.
        time_zone: the name of the time zone; None: they have none.
        notes: what was taken, as sentences for people.
    """

    times: Moments
    time_zone: str | None = None
    notes: tuple[str, ...] = ()


def to_times(
    table: RawTable, name: str, time_format: str | None, *, is_counted: bool = False
) -> TimeColumn:
    """The times of a column.

    Args:
        table: the table.
        name: the column.
        time_format: how times are written, as strptime takes it; None: as they look.
        is_counted: whether whole numbers are just that, and no seconds since 1970.

    Raises:
        DataError: if a cell is no time, or there are several time zones; it names the line.
    """
    cells = table.columns[name]
    if isinstance(cells, Instants):
        gone = np.flatnonzero(np.isnat(cells.times))
        if len(gone):
            raise _no_time(table, int(gone[0]), name)
        return TimeColumn(cells.times, cells.time_zone)
    if isinstance(cells, np.ndarray):
        return _of_numbers(table, name, cells, is_counted)
    for row, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            raise _no_time(table, row, name)
    if time_format is not None:
        return _of_values(table, name, cells, _in_pattern(time_format))
    if not all(isinstance(c, str) for c in cells):
        return _of_objects(table, name, cells, is_counted)
    distinct = {text: row for row, text in zip(range(len(cells))[::-1], cells[::-1], strict=True)}
    if 2 * len(distinct) > len(cells):
        return _of_texts(table, name, [text.strip() for text in cells], is_counted)
    return _of_few(table, name, cells, distinct, is_counted)


def _in_pattern(pattern: str) -> Callable[[Any], datetime]:
    return lambda text: datetime.strptime(text, pattern)


def _of_few(
    table: RawTable, name: str, cells: Sequence[str], distinct: dict[str, int], is_counted: bool
) -> TimeColumn:
    """Times that many series share: each is read once, and is at its first row in messages."""
    rows = sorted(distinct.values())
    part = replace(table, place=lambda row: table.place(rows[row]))
    found = _of_texts(part, name, [cells[row].strip() for row in rows], is_counted)
    number = {cells[row]: i for i, row in enumerate(rows)}
    return replace(found, times=found.times[[number[cell] for cell in cells]])


def _no_time(table: RawTable, row: int, name: str) -> DataError:
    return DataError(
        f"{table.at(row)}: the time column {name!r} is empty: fill it or remove the row"
    )


def _of_numbers(
    table: RawTable, name: str, cells: NDArray[Any], is_counted: bool = False
) -> TimeColumn:
    found = None if is_counted else _since_1970(name, cells)
    if found is not None:
        return found
    broken = np.flatnonzero(~np.isfinite(cells) | (cells != np.floor(cells)))
    if len(broken):
        row = int(broken[0])
        shown = "empty" if np.isnan(cells[row]) else f"{cells[row]:.15g}"
        raise DataError(
            f"{table.at(row)}: the time in the column {name!r} is {shown}: give dates or whole "
            "numbers"
        )
    if float(np.abs(cells).max()) >= 2**62:
        row = int(np.abs(cells).argmax())
        raise DataError(f"{table.at(row)}: the time {cells[row]:.15g} is too large: give dates")
    numbers = cells.astype(np.int64)
    return _dates_in_numbers(numbers) or TimeColumn(numbers)


def _since_1970(name: str, cells: NDArray[Any]) -> TimeColumn | None:
    """Numbers as seconds since 1970, or parts of them, if the column and all of them look so."""
    if not _OF_CLOCK.search(name) or not len(cells) or not np.isfinite(cells).all():
        return None
    low, high = float(cells.min()), float(cells.max())
    for factor, noun in _SECONDS.items():
        if _EPOCHS[0] * factor <= low and high <= _EPOCHS[1] * factor:
            each = 10**9 // factor
            whole = np.floor(cells).astype(np.int64)
            part = np.round((cells - whole) * each).astype(np.int64)
            times = (whole * each + part).astype("datetime64[ns]")
            note = f"the times in {name!r} are read as {noun} since 1970, in UTC"
            return TimeColumn(times, "UTC", (note,))
    return None


def _dates_in_numbers(numbers: NDArray[np.int64]) -> TimeColumn | None:
    """Numbers such as 19580329 as dates, if all of them are dates."""
    if numbers.min() < 17_000_000 or numbers.max() > 22_000_000:
        return None
    try:
        days = [date(n // 10_000, n // 100 % 100, n % 100) for n in numbers.tolist()]
    except ValueError:
        return None
    return TimeColumn(np.array(days, dtype="datetime64[D]").astype("datetime64[ns]"))


def _of_objects(table: RawTable, name: str, cells: Sequence[Any], is_counted: bool) -> TimeColumn:
    """Cells of which some are not text: dates of Python or pandas, or numbers."""
    if all(isinstance(c, (int, float, Decimal, np.number)) for c in cells):
        try:
            numbers = np.array([float(c) for c in cells])
        except OverflowError:
            raise DataError(f"{table.name}: a time in {name!r} is too large: give dates") from None
        if all(isinstance(c, (int, np.integer)) for c in cells) and np.abs(numbers).max() < 2**62:
            whole = np.array([int(c) for c in cells], dtype=np.int64)
            return _of_numbers(table, name, whole, is_counted)
        return _of_numbers(table, name, numbers, is_counted)
    if all(isinstance(c, date) for c in cells):
        return _of_values(table, name, cells, _as_datetime)
    texts = [str(c).strip() for c in cells]  # periods of pandas, and mixtures, which are refused
    return _of_texts(table, name, texts, is_counted)


def _as_datetime(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)


def _of_texts(table: RawTable, name: str, texts: list[str], is_counted: bool) -> TimeColumn:
    first = texts[0]
    if all(_INTEGER.fullmatch(text) for text in texts):
        whole = np.array([int(text) for text in texts], dtype=np.int64)
        return _of_numbers(table, name, whole, is_counted)
    if _DECIMAL.fullmatch(first) and all(_DECIMAL.fullmatch(text) for text in texts):
        return _of_numbers(table, name, np.array([float(text) for text in texts]), is_counted)
    if _ISO.fullmatch(first) and not any(_WITH_OFFSET.search(t) or t[-1:] == "Z" for t in texts):
        for row, text in enumerate(texts):
            if not _ISO.fullmatch(text):
                raise _unreadable(table, row, name, text)
        return _of_iso(table, name, texts)
    if _ISO_MONTH.fullmatch(first):
        return _of_values(table, name, texts, _month)
    if _QUARTER.fullmatch(first):
        return _of_values(table, name, texts, _quarter)
    if _PARTS.fullmatch(first):
        order = _order_of_parts(table, name, texts)
        return _of_values(table, name, texts, lambda text: _by_parts(text, order))
    for pattern in _NAMED:
        try:
            datetime.strptime(first, pattern)
        except ValueError:
            continue
        return _of_values(table, name, texts, _in_pattern(pattern))
    return _of_values(table, name, texts, datetime.fromisoformat)


def _of_iso(table: RawTable, name: str, texts: list[str]) -> TimeColumn:
    try:
        fine = np.array(texts, dtype="datetime64[us]")
    except ValueError:
        return _of_values(table, name, texts, datetime.fromisoformat)  # which names the line
    return TimeColumn(_within_range(table, name, fine, texts))


def _within_range(
    table: RawTable, name: str, times: NDArray[np.datetime64], texts: Sequence[Any]
) -> NDArray[np.datetime64]:
    outside = np.flatnonzero((times < _FIRST) | (times >= _LAST))
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"{table.at(row)}: the time {str(texts[row])[:40]!r} in the column {name!r} is before "
            "1678 or after 2261: correct it, or give years as whole numbers"
        )
    if times.dtype == np.dtype("datetime64[us]") and any("." in str(text)[19:] for text in texts):
        try:
            return np.array([str(t) for t in texts], dtype="datetime64[ns]")
        except (ValueError, TypeError):
            pass
    return to_nanoseconds(times)


def _of_values(
    table: RawTable, name: str, cells: Sequence[Any], read: Callable[[Any], datetime]
) -> TimeColumn:
    """Times that are read one by one."""
    found: list[datetime] = []
    offsets: list[timedelta | None] = []
    for row, cell in enumerate(cells):
        try:
            time = read(cell)
        except (ValueError, TypeError, OverflowError):
            raise _unreadable(table, row, name, cell) from None
        offset = time.utcoffset()
        if offsets and (offset is None) != (offsets[0] is None):
            has, other = ("no offset", "one") if offset is None else ("an offset", "none")
            raise DataError(
                f"{table.at(row)}: the time {str(cell)[:40]!r} has {has} and {table.place(0)} has "
                f"{other}: give all times in one time zone"
            )
        offsets.append(offset)
        found.append(time)
    zone, notes = _zone(table, name, cells, found, offsets)
    try:
        plain = [t if t.tzinfo is None else t.astimezone(UTC).replace(tzinfo=None) for t in found]
    except OverflowError:
        plain = [t.replace(tzinfo=None) for t in found]  # year 1 or 9999, refused below
    times = np.array(plain, dtype="datetime64[us]")
    return TimeColumn(_within_range(table, name, times, cells), zone, notes)


def _zone(
    table: RawTable,
    name: str,
    cells: Sequence[Any],
    times: Sequence[datetime],
    offsets: Sequence[timedelta | None],
) -> tuple[str | None, tuple[str, ...]]:
    """The time zone of times, by the name of their zone or by their offsets."""
    if offsets[0] is None:
        return None, ()
    keys = {
        getattr(time.tzinfo, "key", None) or getattr(time.tzinfo, "zone", None) for time in times
    }
    if len(keys) > 1:
        shown = ", ".join(sorted(str(key) for key in keys)[:3])
        raise DataError(
            f"{table.name}: the times in {name!r} are in several time zones ({shown}): convert "
            "them to one"
        )
    (key,) = keys
    if key is not None:
        return str(key), ()
    known = sorted({offset for offset in offsets if offset is not None})
    apart = (known[-1] - known[0]).total_seconds()
    if len(known) > 2 or apart > _MOST_SECONDS_APART:
        row = next(i for i, offset in enumerate(offsets) if offset != offsets[0])
        raise DataError(
            f"{table.at(row)}: the time {str(cells[row])[:40]!r} is in another time zone than "
            f"{str(cells[0])[:40]!r} in {table.place(0)}: convert all to one"
        )
    if len(known) == 2:
        pair = " and ".join(_offset_name(offset) for offset in known)
        return "UTC", (
            f"the times in {name!r} have the offsets {pair}, as one zone has in winter and summer: "
            "they are kept in UTC; give time_zone (such as Europe/Berlin) to count days there",
        )
    return _fixed_zone(name, known[0])


def _fixed_zone(name: str, offset: timedelta) -> tuple[str, tuple[str, ...]]:
    seconds = int(offset.total_seconds())
    if seconds == 0:
        return "UTC", ()
    if seconds % 3600 == 0 and -12 <= seconds // 3600 <= 14:
        return f"Etc/GMT{-seconds // 3600:+d}", ()  # whose sign is the opposite
    return "UTC", (f"the times in {name!r}, of offset {_offset_name(offset)}, are kept in UTC",)


def _offset_name(offset: timedelta) -> str:
    minutes = int(offset.total_seconds()) // 60
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _unreadable(table: RawTable, row: int, name: str, cell: object) -> DataError:
    return DataError(
        f"{table.at(row)}: {str(cell)[:40]!r} in the time column {name!r} is no time in the form "
        "of the others: give ISO 8601 (2024-10-27T02:00:00+01:00), whole numbers, or time_format"
    )


# ---- forms --------------------------------------------------------------------------------------


def _month(text: str) -> datetime:
    match = _ISO_MONTH.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return datetime(int(match[1]), int(match[2]), 1)


def _quarter(text: str) -> datetime:
    match = _QUARTER.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return datetime(int(match[1]), 3 * int(match[2]) - 2, 1)


def _order_of_parts(table: RawTable, name: str, texts: Sequence[str]) -> str:
    """Whether 3/4/2024 is ymd, dmy or mdy, by all of the column."""
    match = _PARTS.fullmatch(texts[0])
    assert match is not None  # as the caller saw
    if len(match[1]) == 4:
        return "ymd"
    if match[2] == ".":
        return "dmy"
    found = [m for m in map(_PARTS.fullmatch, texts) if m is not None]
    day_first = any(int(m[1]) > 12 for m in found)
    month_first = any(int(m[3]) > 12 for m in found)
    if day_first == month_first:
        raise DataError(
            f"{table.at(0)}: {texts[0]!r} in the time column {name!r} may begin with the day or "
            "the month: give time_format (--time-format %d/%m/%Y or %m/%d/%Y)"
        )
    return "dmy" if day_first else "mdy"


def _by_parts(text: str, order: str) -> datetime:
    match = _PARTS.fullmatch(text)
    if match is None:
        raise ValueError(text)
    values = dict(zip(order, (int(match[1]), int(match[3]), int(match[4])), strict=True))
    year = values["y"]
    if year < 100 and len(match[4]) <= 2:
        year += 2000 if year < 70 else 1900
    day = datetime(year, values["m"], values["d"])
    if match[5] is None:
        return day
    return datetime.fromisoformat(f"{day:%Y-%m-%d}T{match[5].strip()}")


def check_time_format(time_format: str | None) -> None:
    """Refuse what strptime cannot read.

    Raises:
        ConfigError: if it is not a format.
    """
    if time_format is not None and "%" not in time_format:
        raise ConfigError(f"time_format {time_format!r} is no format: give one such as %d/%m/%Y")
