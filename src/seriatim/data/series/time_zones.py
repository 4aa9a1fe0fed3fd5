"""Between UTC and the clock of a time zone, in both directions of daylight saving, on arrays.

Knows times and zones; no tables or series.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError

Times: TypeAlias = NDArray[Any]  # datetime64[ns]
_SECOND = np.int64(1_000_000_000)
_DAY = 86_400


def check_time_zone(name: str) -> str:
    """The name of a time zone.

    Raises:
        ConfigError: if there is no such zone.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"there is no time zone {name!r}: give a name such as Europe/Berlin or UTC"
        ) from None
    return name


def to_local(times: Times, time_zone: str | None) -> Times:
    """The clock of a zone at instants (datetime64[ns], UTC)."""
    if time_zone is None or not len(times):
        return times
    starts, offsets = _transitions(time_zone, *_range(times))
    found = np.searchsorted(starts, times.astype(np.int64), side="right") - 1
    local: Times = times + offsets[np.maximum(found, 0)].astype("timedelta64[ns]")
    return local


def to_utc(local: Times, time_zone: str | None) -> tuple[Times, Times, NDArray[np.bool_]]:
    """The instants of the clock of a zone.

    An hour that is skipped in spring is moved on by what is skipped.

    Returns:
        The first instants of each, the last ones (another one if the clock shows a time twice),
        and which times are skipped.
    """
    if time_zone is None or not local.size:
        return local, local, np.zeros(local.shape, dtype=bool)
    starts, offsets = _transitions(time_zone, *_range(local))
    ticks = local.astype(np.int64)
    before, after = offsets[:-1], offsets[1:]
    first = np.searchsorted(starts[1:] + np.maximum(before, after), ticks, side="right")
    last = np.searchsorted(starts[1:] + np.minimum(before, after), ticks, side="right")
    skipped = offsets[last] > offsets[first]
    earliest = (ticks - offsets[first]).astype("datetime64[ns]")
    latest = (ticks - offsets[np.where(skipped, first, last)]).astype("datetime64[ns]")
    return earliest, latest, skipped


def _range(times: Times) -> tuple[int, int]:
    days = times[~np.isnat(times)].astype("datetime64[s]").astype(np.int64) // _DAY
    return (int(days.min()) - 2, int(days.max()) + 3) if len(days) else (0, 1)


@lru_cache(maxsize=64)
def _transitions(
    time_zone: str, first: int, last: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The instants from which an offset holds, and the offsets, in nanoseconds.

    Args:
        time_zone: the zone.
        first, last: the days since 1970 between which they are sought.
    """
    zone = ZoneInfo(time_zone)
    offset = _offset(zone, first * _DAY)
    starts, offsets = [first * _DAY], [offset]
    for day in range(first, last):
        now = _offset(zone, (day + 1) * _DAY)
        if now == offset:
            continue
        low, high = day * _DAY, (day + 1) * _DAY
        while high - low > 1:
            middle = (low + high) // 2
            if _offset(zone, middle) == offset:
                low = middle
            else:
                high = middle
        starts.append(high)
        offsets.append(now)
        offset = now
    return np.array(starts, np.int64) * _SECOND, np.array(offsets, np.int64) * _SECOND


def _offset(zone: ZoneInfo, second: int) -> int:
    offset = datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def offsets_at(times: Times, time_zone: str) -> list[int]:
    """The minutes by which the clock of a zone is ahead of UTC, at each instant."""
    apart = (to_local(times, time_zone) - times).astype("timedelta64[m]").astype(np.int64)
    return [int(minutes) for minutes in apart]
