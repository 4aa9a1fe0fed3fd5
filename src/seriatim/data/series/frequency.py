"""The step between the moments of a series: how it is inferred, named and counted.

Steps of days and more are counted on the clock of the time zone, where a day may have 23 or 25
hours; shorter ones are counted on instants. Names are those of pandas: h, 15min, D, W-SUN, B, MS,
ME, QS, YS; 1 for whole numbers.

Knows times on a clock, as datetime64[ns], or whole numbers; no series and no tables.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError

Unit: TypeAlias = Literal["number", "nanosecond", "day", "business day", "month"]
Moments: TypeAlias = NDArray[Any]  # datetime64[ns], or int64
DAY = 86_400_000_000_000
_SHORT = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_WORDS = {
    **dict.fromkeys(("second", "seconds", "sec"), "s"),
    **dict.fromkeys(("t", "minute", "minutes", "minutely"), "min"),
    **dict.fromkeys(("hour", "hours", "hourly"), "h"),
    **dict.fromkeys(("day", "days", "daily"), "D"),
    **dict.fromkeys(("week", "weeks", "weekly"), "W"),
    **dict.fromkeys(("month", "months", "monthly"), "M"),
    **dict.fromkeys(("quarter", "quarters", "quarterly"), "Q"),
    **dict.fromkeys(("year", "years", "yearly", "annual", "a", "as", "ae"), "Y"),
}
_NAME = re.compile(r"(\d*)\s*([A-Za-z]+)(-[A-Za-z]{3})?")
_NOUNS = {"h": "hour", "min": "minute", "s": "second", "ms": "millisecond", "us": "microsecond"}
_NOUNS |= {"D": "day", "B": "business day", "W": "week", "M": "month", "Q": "quarter", "Y": "year"}
_NOUNS |= {"ns": "nanosecond"}


@dataclass(frozen=True)
class Frequency:
    """A step.

    Attributes:
        name: as pandas names it, with the day on which weeks begin or end.
        unit: what is counted.
        count: how many of them make a step.
        is_end: whether months end the step: the last day of each.
    """

    name: str
    unit: Unit
    count: int
    is_end: bool = False

    @property
    def is_on_clock(self) -> bool:
        """Whether steps are counted on the clock of a zone, and not on instants."""
        return self.unit in ("day", "business day", "month")

    @property
    def season_length(self) -> int:
        """The usual number of steps of a season: a day of hours, a week of days, a year of months.

        1 where none is usual.
        """
        if self.unit == "month":
            return max(12 // self.count, 1)
        if self.unit == "business day":
            return 5 if self.count == 1 else 1
        if self.unit == "day":
            return {1: 7, 7: 52}.get(self.count, 1)
        if self.unit == "nanosecond":
            whole = DAY if self.count >= _SHORT["min"] else _SHORT["min"]
            return whole // self.count if whole % self.count == 0 else 1
        return 1

    @property
    def noun(self) -> str:
        """The step after "every": `hour`, `15 minutes`, `week (W-SUN)`, or a whole number."""
        match = _NAME.fullmatch(self.name)
        if match is None:
            return self.name
        unit = match[2] if match[2] in _NOUNS else match[2].removesuffix("S").removesuffix("E")
        if unit not in _NOUNS:
            return self.name
        anchor = f" ({self.name})" if match[3] else ""
        return f"{match[1]} {_NOUNS[unit]}s{anchor}" if match[1] else f"{_NOUNS[unit]}{anchor}"

    def phrase(self) -> str:
        """The step after "of": `an hour`, `15 minutes`, `a week (W-SUN)`, or a whole number."""
        if self.noun[0].isdecimal():
            return self.noun
        return f"an {self.noun}" if self.noun.startswith("hour") else f"a {self.noun}"

    def steps(self, start: Moments, times: Moments) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """How many steps times come after starts, and whether it is a whole number of them."""
        if self.unit == "number" or self.unit == "nanosecond" or self.unit == "day":
            size = self.count * DAY if self.unit == "day" else self.count
            apart = times.astype(np.int64) - start.astype(np.int64)
            return apart // size, apart % size == 0
        if self.unit == "business day":
            first, day = _days(start), _days(times)
            apart = np.busday_count(first, day).astype(np.int64)
            fits = np.is_busday(day) & np.is_busday(first)
        else:
            apart = _months(times).astype(np.int64) - _months(start).astype(np.int64)
            fits = np.ones(apart.shape, dtype=bool)
        count = apart // self.count
        fits = fits & (apart % self.count == 0)
        return count, fits & (self.after(start, count) == times)

    def after(self, start: Moments, steps: NDArray[np.int64]) -> Any:
        """The moments that come a number of steps after starts."""
        if self.unit == "number":
            return start + steps * self.count
        if self.unit in ("nanosecond", "day"):
            size = self.count * DAY if self.unit == "day" else self.count
            return start + (steps * size).astype("timedelta64[ns]")
        day = _days(start)
        clock = start - day.astype("datetime64[ns]")
        if self.unit == "business day":
            on = np.is_busday(day)
            moved = np.busday_offset(day, np.where(on, steps * self.count, 0), roll="forward")
            return moved.astype("datetime64[ns]") + clock
        month = _months(start) + steps * self.count
        first, last = month.astype("datetime64[D]"), (month + 1).astype("datetime64[D]")
        length = (last - first).astype(np.int64)
        number = (day - _months(start).astype("datetime64[D]")).astype(np.int64)
        number = length - 1 if self.is_end else np.minimum(number, length - 1)
        return (first + number).astype("datetime64[ns]") + clock


def _days(times: Any) -> Any:
    return times.astype("datetime64[D]")


def _months(times: Any) -> Any:
    return times.astype("datetime64[M]")


def parse_frequency(name: str | int, local: Moments | None = None) -> Frequency:
    """The step of a name such as h, 15min, D, W, B, MS, QS, YS, or a whole number.

    Args:
        name: the name.
        local: times on the clock, which show whether months begin or end where the name says
            neither.

    Raises:
        ConfigError: if there is no such name.
    """
    text = str(name).strip()
    if text.isdecimal() and 0 < int(text) < 2**31:
        return Frequency(text, "number", int(text))
    match = _NAME.fullmatch(text)
    unit = "" if match is None else _canonical(match[2])
    if match is None or not unit or len(match[1]) > 9 or match[1] in ("0", "00"):
        raise ConfigError(
            f"freq {name!r} is not known: give one such as h, 15min, D, W, B, MS, QS or YS, or a "
            "whole number if times are whole numbers"
        )
    count, anchor = int(match[1] or 1), (match[3] or "").upper()
    if unit in _SHORT:
        size = count * _SHORT[unit]
        if size % DAY == 0:
            return _of_days(size // DAY, None)
        return Frequency(_short_name(size), "nanosecond", size)
    if unit == "D":
        return _of_days(count, local)
    if unit == "W":
        found = _of_days(7 * count, local)
        return Frequency(f"{match[1]}W{anchor}", "day", 7 * count) if anchor else found
    if unit == "B":
        return Frequency(f"{match[1]}B", "business day", count)
    months = count * _MONTHS[unit[0]]
    is_end = unit.endswith("E") or (len(unit) == 1 and local is not None and _ends_months(local))
    return _of_months(months, is_end)


def _canonical(unit: str) -> str:
    """The unit of a name: a key of `_SHORT`, D, W, B, or months with S or E; "" if unknown."""
    if unit in _SHORT or unit in ("D", "W", "B", "M", "Q", "Y"):
        return unit
    if unit in ("MS", "ME", "QS", "QE", "YS", "YE"):
        return unit
    if unit in ("AS", "A"):
        return {"AS": "YS", "A": "YE"}[unit]
    if unit in ("BM", "BMS", "BME", "BQ", "BQS", "BQE", "C", "SM", "SMS"):
        return ""
    lower = unit.lower()
    plain = {"h": "h", "d": "D", "w": "W", "b": "B", "q": "Q", "y": "Y", "s": "s"}
    return _WORDS.get(lower) or plain.get(lower, "")


def _short_name(size: int) -> str:
    unit = next(u for u, s in reversed(_SHORT.items()) if size % s == 0)
    count = size // _SHORT[unit]
    return unit if count == 1 else f"{count}{unit}"


def _of_days(count: int, local: Moments | None) -> Frequency:
    if count % 7 == 0:
        weeks = "" if count == 7 else str(count // 7)
        days: Any = [] if local is None else np.unique(_days(local).astype(np.int64) + 3) % 7
        anchor = f"-{_WEEKDAYS[int(days[0])]}" if len(set(days)) == 1 else ""
        return Frequency(f"{weeks}W{anchor}", "day", count)
    return Frequency("D" if count == 1 else f"{count}D", "day", count)


def _of_months(months: int, is_end: bool) -> Frequency:
    unit = "Y" if months % 12 == 0 else "Q" if months % 3 == 0 else "M"
    count = months // _MONTHS[unit]
    number = "" if count == 1 else str(count)
    return Frequency(f"{number}{unit}{'E' if is_end else 'S'}", "month", months, is_end)


# ---- inference ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inferred:
    """A step, and how well it fits.

    Attributes:
        frequency: the step; None: times are too irregular for one.
        is_irregular: whether most steps between neighbours are of another length.
        shortest, longest: the extreme steps between neighbours: nanoseconds, or numbers.
    """

    frequency: Frequency | None
    is_irregular: bool = False
    shortest: int = 0
    longest: int = 0


MOST_GAPS = 0.75  # of the moments of a grid on which irregular times are put


def infer_frequency(instants: Moments, local: Moments, is_first: NDArray[np.bool_]) -> Inferred:
    """The step of times, which are sorted within each series and differ.

    Args:
        instants: (N,) the times of all series, end to end: UTC, or whole numbers.
        local: (N,) the same on the clock of their zone.
        is_first: (N,) where a series begins.

    Returns:
        No frequency if no two times belong to one series.
    """
    follows = ~is_first[1:]
    if not follows.any():
        return Inferred(None)
    if local.dtype.kind != "M":
        return _of_differences(
            np.diff(local)[follows], lambda size: Frequency(f"{size}", "number", size)
        )
    clock = (local - _days(local).astype("datetime64[ns]")).astype(np.int64)
    if (clock == clock[0]).all():
        on_calendar = _of_calendar(local, follows)
        if on_calendar is not None:
            return on_calendar
        days: Any = np.diff(_days(local).astype(np.int64))[follows]
        return _of_differences(days, lambda size: _of_days(size, local))
    apart: Any = np.diff(instants.astype(np.int64))[follows]
    return _of_differences(apart, _of_nanoseconds)


def _of_nanoseconds(size: int) -> Frequency:
    return Frequency(_short_name(size), "nanosecond", size)


def _of_calendar(local: Any, follows: NDArray[np.bool_]) -> Inferred | None:
    """Months, quarters and years, and business days, if times are such."""
    days, months = _days(local), _months(local)
    steps: NDArray[np.int64] = np.diff(months.astype(np.int64))[follows]
    if (steps > 0).all():
        number = (days - months.astype("datetime64[D]")).astype(np.int64)
        is_end = _ends_months(local)
        length: Any = (
            (months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")
        ).astype(int)
        is_same = bool((number == np.minimum(number.max(), length - 1)).all())
        if is_end or is_same:
            return _of_differences(
                steps, lambda size: _of_months(size, is_end and not _is_first(local))
            )
    apart = np.diff(days.astype(np.int64))[follows]
    friday = (days[:-1].astype(np.int64)[follows] + 3) % 7 == 4
    weekends = int((friday & (apart == 3)).sum())
    if np.is_busday(days).all() and weekends and int((apart == 1).sum()) >= 2 * weekends:
        return Inferred(
            Frequency("B", "business day", 1), False, int(apart.min()), int(apart.max())
        )
    return None


def _ends_months(local: Any) -> bool:
    """Whether every time is on the last day of its month."""
    return bool((_months(_days(local) + 1) != _months(local)).all())


def _is_first(local: Any) -> bool:
    return bool((_days(local) == _months(local).astype("datetime64[D]")).all())


def _of_differences(apart: NDArray[np.int64], make: Any) -> Inferred:
    """The most common difference, if it divides all others, or else their common divisor."""
    sizes, counts = np.unique(apart, return_counts=True)
    shortest, longest = int(sizes[0]), int(sizes[-1])
    common = int(sizes[np.argmax(counts)])
    if not (apart % common).any():
        is_irregular = counts.max() * 2 < len(apart)
        if not is_irregular or _fraction_of_gaps(apart, common) <= MOST_GAPS:
            return Inferred(make(common), bool(is_irregular), shortest, longest)
        return Inferred(None, True, shortest, longest)
    divisor = math.gcd(*(int(size) for size in sizes))
    if _fraction_of_gaps(apart, divisor) <= MOST_GAPS:
        return Inferred(make(divisor), True, shortest, longest)
    return Inferred(None, True, shortest, longest)


def _fraction_of_gaps(apart: NDArray[np.int64], size: int) -> float:
    moments = float(apart.astype(np.float64).sum()) / size
    return 1.0 - len(apart) / max(moments, 1.0)
