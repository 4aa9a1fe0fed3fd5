"""Rows with times put on the regular grid of each series: sorted, gaps filled in, doubles refused.

Knows rows, series numbers and times. Does not know columns or files beyond the place of a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.frequency import (
    Frequency,
    Moments,
    infer_frequency,
    parse_frequency,
)
from seriatim.data.series.time_zones import to_local, to_utc
from seriatim.errors import ConfigError, DataError

_MOST_MOMENTS = 20  # of a grid, for each row, before a large grid is refused
_LARGE = 1_000_000
_LEAST_REGULAR = 8  # values that show the step of a series of its own
_MONTHS_APART = 1.2  # the longest over the shortest month in days, and a little more


@dataclass(frozen=True)
class Rows:
    """The rows of a table, each of a series and a moment.

    Attributes:
        ids: (S,) the names of the series.
        series: (rows,) the number of the series of each row.
        times: (rows,) the times.
        time_zone: their zone.
        name: the table, for messages.
        place: the place of a row, for messages.
        hint: what to do if two rows of a series have one time.
    """

    ids: Sequence[str]
    series: NDArray[np.int64]
    times: Moments
    time_zone: str | None
    name: str
    place: Callable[[int], str]
    hint: str = ""

    def show(self, row: int) -> str:
        """The time of a row, for people."""
        return show_time(self.times[row], self.time_zone)

    @property
    def local(self) -> Moments:
        """(rows,) the times on the clock of their zone."""
        return to_local(self.times, self.time_zone) if self.times.dtype.kind == "M" else self.times


@dataclass(frozen=True)
class Grid:
    """Where each row belongs.

    Attributes:
        offsets: (S + 1,) where each series begins.
        times: (N,) the moments of all series.
        positions: (rows,) the moment of each row.
        freq: the step.
        notes: sentences for people.
    """

    offsets: NDArray[np.int64]
    times: Moments
    positions: NDArray[np.int64]
    freq: Frequency
    notes: tuple[str, ...]


def show_time(time: np.generic, time_zone: str | None) -> str:
    """A time for people, on the clock of its zone."""
    if time.dtype.kind != "M":
        return str(time)
    local = to_local(np.array([time]), time_zone)[0]
    text = str(local.astype("datetime64[s]")).replace("T", " ").removesuffix(":00")
    return text.removesuffix(" 00:00")


def localize(rows: Rows, time_zone: str) -> Rows:
    """Rows whose times are on the clock of a zone, as instants.

    Where the clock shows an hour twice, the second row of a series with one time is the later one.

    Raises:
        DataError: if the clock never shows a time.
    """
    earliest, latest, skipped = to_utc(np.asarray(rows.times, "datetime64[ns]"), time_zone)
    if skipped.any():
        row = int(np.flatnonzero(skipped)[0])
        raise DataError(
            f"{rows.name}, {rows.place(row)}: the clock of {time_zone} never shows "
            f"{rows.show(row)}, which is skipped in spring: correct it, or leave out the time zone"
        )
    times = earliest.copy()
    unclear = np.flatnonzero(latest != earliest)
    seen: set[tuple[int, int]] = set()
    for row in unclear.tolist():
        key = int(rows.series[row]), int(earliest[row].astype(np.int64))
        if key in seen:
            times[row] = latest[row]
        seen.add(key)
    return Rows(rows.ids, rows.series, times, time_zone, rows.name, rows.place, rows.hint)


def put_on_grid(rows: Rows, freq: str | int | Frequency | None) -> Grid:
    """The grid of each series.

    Raises:
        ConfigError: if the frequency does not suit the times.
        DataError: if times repeat, or fit no grid; the message names the series and the line.
    """
    order, notes = _sort(rows)
    series, times = rows.series[order], rows.times[order]
    is_first = np.concatenate([[True], series[1:] != series[:-1]])
    _refuse_doubles(rows, order, times, is_first)
    step, more = _frequency(rows, order, is_first, freq)
    starts = np.flatnonzero(is_first)
    on_clock = step.is_on_clock and times.dtype.kind == "M"
    moments = to_local(times, rows.time_zone) if on_clock else times
    first = np.repeat(moments[starts], np.diff([*starts, len(series)]))
    steps, fits = step.steps(first, moments)
    if not fits.all():
        raise _off_grid(rows, order, int(np.flatnonzero(~fits)[0]), step)
    if freq is None:
        _refuse_other_steps(rows, series, steps, is_first, step)
    lengths = steps[np.append(starts[1:], len(series)) - 1] + 1
    _refuse_outlier(rows, order, lengths, starts)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    positions = np.empty(len(series), np.int64)
    positions[order] = offsets[series] + steps
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    full = np.asarray(step.after(np.repeat(moments[starts], lengths), within))
    if on_clock:
        full = to_utc(full, rows.time_zone)[0]
    return Grid(offsets, full, positions, step, (*notes, *more))


def _sort(rows: Rows) -> tuple[NDArray[np.int64], list[str]]:
    order = np.lexsort((rows.times, rows.series))
    earlier = np.lexsort((np.arange(len(rows.series)), rows.series))  # as the rows came
    moved = np.flatnonzero(np.asarray(order) != earlier)
    if not len(moved):
        return order, []
    same = rows.series[earlier][1:] == rows.series[earlier][:-1]
    back = np.flatnonzero(same & (rows.times[earlier][1:] < rows.times[earlier][:-1])) + 1
    row = int(earlier[back[0]])
    name, several = rows.ids[rows.series[row]], len(np.unique(rows.series[earlier][back]))
    others = f" and of {several - 1:,} others" if several > 1 else ""
    return order, [
        f"the rows of series {name!r}{others} are not in the order of time (first {rows.place(row)}"
        "): they are sorted"
    ]


def _refuse_doubles(
    rows: Rows, order: NDArray[np.int64], times: Moments, is_first: NDArray[np.bool_]
) -> None:
    double = np.flatnonzero((times[1:] == times[:-1]) & ~is_first[1:])
    if not len(double):
        return
    one, other = sorted((int(order[double[0]]), int(order[double[0] + 1])))
    raise DataError(
        f"{rows.name}: series {rows.ids[rows.series[one]]!r} has two values at {rows.show(one)} "
        f"({rows.place(one)} and {rows.place(other)}): {rows.hint or 'remove one'}"
    )


def _frequency(
    rows: Rows,
    order: NDArray[np.int64],
    is_first: NDArray[np.bool_],
    freq: str | int | Frequency | None,
) -> tuple[Frequency, list[str]]:
    times, local = rows.times[order], rows.local[order]
    has_dates = times.dtype.kind == "M"
    if freq is not None:
        dates = local if has_dates else None
        step = freq if isinstance(freq, Frequency) else parse_frequency(freq, dates)
        if (step.unit == "number") == has_dates:
            kinds = ("dates", "h or D") if has_dates else ("whole numbers", "1")
            raise ConfigError(
                f"freq {step.name!r} does not suit {rows.name}, whose times are {kinds[0]}: give "
                f"one such as {kinds[1]}, or leave it out"
            )
        return step, []
    found = infer_frequency(times, local, is_first)
    if found.frequency is not None:
        if not found.is_irregular:
            return found.frequency, []
        return found.frequency, [
            f"times are irregular: they are put on a grid of {found.frequency.phrase()}, and "
            "moments without a value are gaps"
        ]
    if is_first.all():
        alone = "each series has" if len(rows.ids) > 1 else f"series {rows.ids[0]!r} has"
        raise DataError(
            f"{rows.name}: {alone} one moment only, which shows no frequency: give more values, or "
            "freq (such as h, D or MS)"
        )
    raise DataError(
        f"{rows.name}: the times of series {_first_irregular(rows, order, is_first)!r} are "
        "irregular and fit no grid of which a quarter would be filled: resample them, or give the "
        "step, as freq='h'"
    )


def _first_irregular(rows: Rows, order: NDArray[np.int64], is_first: NDArray[np.bool_]) -> str:
    """The first series that has no step of its own; the first of all if each has one."""
    begins, local = np.flatnonzero(is_first), rows.local
    for begin, end in zip(begins, [*begins[1:], len(order)], strict=True):
        own = order[begin:end]
        if infer_frequency(rows.times[own], local[own], is_first[begin:end]).is_irregular:
            return str(rows.ids[int(rows.series[own[0]])])
    return str(rows.ids[int(rows.series[order[0]])])


def _off_grid(rows: Rows, order: NDArray[np.int64], at: int, step: Frequency) -> DataError:
    row = int(order[at])
    series = int(rows.series[row])
    start = int(order[np.flatnonzero(rows.series[order] == series)[0]])
    return DataError(
        f"{rows.name}, {rows.place(row)}: the time {rows.show(row)} of series "
        f"{rows.ids[series]!r} is not a whole number of steps of {step.phrase()} after its first, "
        f"{rows.show(start)}: round the times, or give another step, as freq='h'"
    )


def _refuse_other_steps(
    rows: Rows,
    series: NDArray[np.int64],
    steps: NDArray[np.int64],
    is_first: NDArray[np.bool_],
    step: Frequency,
) -> None:
    """Refuse a collection whose series have different steps: days among hours."""
    if len(rows.ids) == 1:
        return
    starts = np.flatnonzero(is_first)
    counts = np.diff([*starts, len(series)])
    apart = np.diff(steps, prepend=0)
    low, high = apart.copy(), apart.copy()
    low[starts], high[starts] = np.iinfo(np.int64).max, 0
    least, most = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    is_regular = most <= _MONTHS_APART * least  # of months and years in days too
    other = np.flatnonzero((counts >= _LEAST_REGULAR) & is_regular & (least > 1))
    if len(other):
        name, shortest, longest = rows.ids[int(other[0])], int(least[other[0]]), int(most[other[0]])
        size = f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
        raise DataError(
            f"{rows.name}: series {name!r} has a value every {size} steps, while others have "
            f"one each step of {step.phrase()}: forecast series of different frequencies apart, "
            f"or give freq={step.name!r} to read what is between as gaps"
        )


def _refuse_outlier(
    rows: Rows,
    order: NDArray[np.int64],
    lengths: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> None:
    """Refuse a grid that one wrong time makes enormous."""
    counts = np.diff([*starts, len(order)])
    wrong = np.flatnonzero((lengths > _MOST_MOMENTS * counts) & (lengths > _LARGE))
    if not len(wrong):
        return
    series = int(wrong[0])
    first, last = order[starts[series]], order[starts[series] + counts[series] - 1]
    raise DataError(
        f"{rows.name}: series {rows.ids[series]!r} has {counts[series]:,} rows and would have "
        f"{lengths[series]:,} moments from {rows.show(int(first))} ({rows.place(int(first))}) to "
        f"{rows.show(int(last))} ({rows.place(int(last))}): correct the times"
    )
