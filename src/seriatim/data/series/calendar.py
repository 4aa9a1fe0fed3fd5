"""What a date says of itself, as inputs that are always known ahead: hours, weekdays, months.

A cycle of P is the two numbers sin(2 pi p / P), cos(2 pi p / P), so that 23:00 is near 00:00, or
P numbers of which one is 1. All are read on the clock of the time zone. Knows times; no values.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.collection import SeriesCollection
from seriatim.data.series.frequency import DAY, Frequency, Moments
from seriatim.data.series.time_zones import to_local
from seriatim.errors import ConfigError

Coding: TypeAlias = Literal["cycle", "one-hot"]
_HOUR = DAY // 24


def _hour_of_day(local: Moments) -> NDArray[np.float64]:
    return np.asarray((local - local.astype("M8[D]")).astype(np.int64) / _HOUR)


def _minute_of_hour(local: Moments) -> NDArray[np.float64]:
    return np.asarray((local - local.astype("M8[h]")).astype(np.int64) / (_HOUR // 60))


def _day_of_week(local: Moments) -> NDArray[np.float64]:
    return np.asarray((local.astype("M8[D]").astype(np.int64) + 3) % 7, np.float64)


def _day_of_month(local: Moments) -> NDArray[np.float64]:
    days = local.astype("M8[D]")
    return np.asarray(days - days.astype("M8[M]").astype("M8[D]")).astype(np.float64)


def _day_of_year(local: Moments) -> NDArray[np.float64]:
    days = local.astype("M8[D]")
    return np.asarray(days - days.astype("M8[Y]").astype("M8[D]")).astype(np.float64)


def _month_of_year(local: Moments) -> NDArray[np.float64]:
    return np.asarray(local.astype("M8[M]").astype(np.int64) % 12, np.float64)


def _quarter_of_year(local: Moments) -> NDArray[np.float64]:
    return np.floor(_month_of_year(local) / 3)


# The days of a cycle, of which series must have two to be told from their trend.
_DAYS = {"minute": 1 / 24, "hour": 1, "weekday": 7, "day": 31}
_YEAR = 365

# The position in each cycle, counted from 0, and its period.
CYCLES: dict[str, tuple[Callable[[Moments], NDArray[np.float64]], float]] = {
    "minute": (_minute_of_hour, 60),
    "hour": (_hour_of_day, 24),
    "weekday": (_day_of_week, 7),
    "day": (_day_of_month, 31),
    "yearday": (_day_of_year, 365.2425),
    "month": (_month_of_year, 12),
    "quarter": (_quarter_of_year, 4),
}


def usual_cycles(freq: Frequency) -> tuple[str, ...]:
    """The cycles that series of a frequency may follow: the hour, weekday and season of hours."""
    if freq.unit == "nanosecond":
        short = ("minute",) if freq.count < _HOUR else ()
        return (*short, "hour", "weekday", "yearday")
    if freq.unit in ("day", "business day"):
        return ("weekday", "day", "yearday") if freq.count < 7 else ("yearday",)
    if freq.unit == "month":
        return ("month",) if freq.count < 3 else ("quarter",) if freq.count < 12 else ()
    return ()


def calendar_values(
    times: Moments,
    time_zone: str | None,
    cycles: Sequence[str],
    *,
    coding: Coding = "cycle",
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The calendar of moments: (..., K) numbers, and their K names.

    Args:
        times: (...) datetime64[ns], UTC if there is a time zone.
        time_zone: the zone on whose clock hours and days are.
        cycles: names among minute, hour, weekday, day, yearday, month, quarter.
        coding: sines and cosines, or a number for each whole position in a cycle.

    Raises:
        ConfigError: if there is no such cycle, or the times are no dates.
    """
    if times.dtype.kind != "M":
        raise ConfigError("whole numbers have no calendar: give dates as times")
    local = to_local(times.ravel(), time_zone)
    columns: list[Any] = []
    names: list[str] = []
    for name in cycles:
        if name not in CYCLES:
            raise ConfigError(f"there is no cycle {name!r}: give some of {', '.join(CYCLES)}")
        position, period = CYCLES[name][0](local), CYCLES[name][1]
        if coding == "cycle":
            angle = 2 * np.pi * position / period
            columns += [np.sin(angle), np.cos(angle)]
            names += [f"sin {name}", f"cos {name}"]
        else:
            whole = np.floor(position).astype(np.int64)
            last = int(np.ceil(period))
            columns += [(whole == at).astype(np.float64) for at in range(last)]
            names += [f"{name}={at}" for at in range(last)]
    stacked = np.stack(columns, -1) if columns else np.zeros((local.size, 0))
    return stacked.reshape(*times.shape, len(names)), tuple(names)


def chosen_cycles(calendar: bool | Sequence[str], series: SeriesCollection) -> tuple[str, ...]:
    """The cycles that were asked for.

    Args:
        calendar: names of cycles; True: those usual for the frequency of which the longest series
            has two; False: none.
        series: the series.

    Raises:
        ConfigError: if there is no such cycle, or the times are no dates.
    """
    if calendar is False or (calendar is not True and not calendar):
        return ()
    if series.times.dtype.kind != "M":
        raise ConfigError(
            f"{series.origin.name} has whole numbers as times, which have no calendar: give dates, "
            "or leave out the calendar"
        )
    if calendar is True:
        there = _cycles_among(series.known_names)
        if there:
            return there
        starts = series.times[series.offsets[:-1]]
        days = (series.last_times - starts).max().astype("m8[s]").astype(int) / 86_400
        usual = usual_cycles(series.freq)
        return tuple(name for name in usual if days >= 2 * _DAYS.get(name, _YEAR))
    cycles = tuple(calendar)
    for name in cycles:
        if name not in CYCLES:
            raise ConfigError(f"there is no cycle {name!r}: give some of {', '.join(CYCLES)}")
    return cycles


def _cycles_among(names: Sequence[str]) -> tuple[str, ...]:
    """The cycles that are the last known inputs of series already."""
    found: list[str] = []
    for at in range(len(names) - 2, -1, -2):
        cycle = names[at].removeprefix("sin ")
        if cycle not in CYCLES or tuple(names[at : at + 2]) != (f"sin {cycle}", f"cos {cycle}"):
            break
        found.append(cycle)
    return tuple(reversed(found))


def calendar_names(cycles: Sequence[str]) -> tuple[str, ...]:
    """The names of the known inputs of cycles, as of `calendar_values`."""
    return calendar_values(np.zeros(0, "datetime64[ns]"), None, cycles)[1]


def with_calendar(
    series: SeriesCollection,
    cycles: Sequence[str] | None = None,
    *,
    coding: Coding = "cycle",
) -> SeriesCollection:
    """Series whose calendar is among their known inputs, after those that they have.

    Args:
        series: the series.
        cycles: as of `calendar_values`; None: those usual for their frequency, none for whole
            numbers.
        coding: as of `calendar_values`.
    """
    chosen = usual_cycles(series.freq) if cycles is None else tuple(cycles)
    if not chosen:
        return series
    values, names = calendar_values(series.times, series.time_zone, chosen, coding=coding)
    known = values if series.known is None else np.concatenate([series.known, values], 1)
    return replace(series, known=known, known_names=(*series.known_names, *names))
