"""What is asked of series, checked: horizons, quantiles, lengths, and inputs of the future.

Knows collections; no models.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.cells import Decimals, to_numbers
from seriatim.data.series.collection import SeriesCollection
from seriatim.data.series.column_roles import Names, find_roles
from seriatim.data.series.frequency import Moments
from seriatim.data.series.grid import Rows, localize, show_time
from seriatim.data.series.opening import read_table
from seriatim.data.series.times import to_times
from seriatim.errors import ConfigError, DataError

_MOST_AHEAD = 1_000_000


def check_horizon(horizon: object) -> int:
    """The number of moments ahead.

    Raises:
        ConfigError: if it is not a whole number from 1.
    """
    is_whole = isinstance(horizon, (int, np.integer)) and not isinstance(horizon, bool)
    if not is_whole or not 1 <= int(horizon) <= _MOST_AHEAD:  # type: ignore[call-overload]
        raise ConfigError(
            f"horizon = {horizon!r}: give how many moments ahead to forecast, a whole number from 1"
        )
    return int(horizon)  # type: ignore[call-overload, no-any-return]


def check_quantiles(quantiles: Sequence[float]) -> tuple[float, ...]:
    """The levels of quantiles, in rising order.

    Raises:
        ConfigError: if one is not between 0 and 1, or is given twice.
    """
    try:
        levels = sorted(float(level) for level in quantiles)
    except (TypeError, ValueError):
        raise ConfigError(f"quantiles = {quantiles!r}: give levels such as 0.1, 0.5, 0.9") from None
    for level in levels:
        if not 0 < level < 1:
            shown = f"{level:g}"
            meant = f"; for {level:g} % give {level / 100:g}" if 1 < level < 100 else ""
            raise ConfigError(f"a quantile of {shown} is not between 0 and 1{meant}")
    for one, other in pairwise(levels):
        if one == other:
            raise ConfigError(f"the quantile {one:g} is given twice: give it once")
    return tuple(levels)


def level_quantiles(level: float) -> tuple[float, float]:
    """The quantiles that bound the central band of a level in percent: 80 is .1 and .9.

    Raises:
        ConfigError: if the level is not between 0 and 100.
    """
    if not 0 < level < 100:
        raise ConfigError(f"a level of {level:g} is not between 0 and 100 percent")
    if level < 1:
        raise ConfigError(f"a level of {level:g} is in percent: give {100 * level:g} for {level:g}")
    outside = (100 - level) / 200
    return round(outside, 12), round(1 - outside, 12)


def require_values(series: SeriesCollection, least: int, why: str) -> None:
    """Refuse series with too few values for a model.

    Args:
        series: the series.
        least: how many moments each channel of each must have observed.
        why: what needs them, as `an AR of order 24`.

    Raises:
        DataError: if one has fewer; the message names it.
    """
    observed = (~np.isnan(series.numbers)).astype(np.int64)
    counts = np.add.reduceat(observed, series.offsets[:-1], axis=0).min(1)
    short = np.flatnonzero(counts < least)
    if len(short):
        name, number = series.ids[int(short[0])], int(counts[short[0]])
        others = f" (and {len(short) - 1:,} others)" if len(short) > 1 else ""
        raise DataError(
            f"series {name!r}{others} has {number:,} value{'s' * (number != 1)}, and {why} needs "
            f"{least:,}: give more, leave it out, or take a smaller model"
        )


# ---- inputs of the future -----------------------------------------------------------------------


def future_known(
    data: Any,
    series: SeriesCollection,
    horizon: int,
    *,
    id_column: Names | None = None,
    time_column: str | None = None,
    time_format: str | None = None,
    decimal: Decimals | None = None,
    format: str | None = None,
    encoding: str | None = None,
) -> NDArray[np.float64]:
    """(S, H, K) the known inputs of the moments after the last one of each series.

    Args:
        data: a table with times, the known inputs and, if there are several series, their ids;
            without ids its inputs are those of every series. Other rows and columns may be there.
            An array (H, K) or (S, H, K) is taken as it is.
        series: the series, which say what is known ahead, and where the future begins.
        horizon: H.
        id_column, time_column, time_format, decimal, format, encoding: as of `open_series`.

    Raises:
        ConfigError: if a column does not exist.
        DataError: if the inputs end before the horizon, have a gap, or an array does not fit; the
            message names the series.
    """
    count, names = series.num_known, series.known_names
    if isinstance(data, np.ndarray) or (hasattr(data, "numpy") and not hasattr(data, "columns")):
        return _of_array(np.asarray(data, np.float64), series, horizon)
    table = read_table(data, format, encoding)
    has_ids = id_column is not None or len(series) > 1
    roles = find_roles(
        table,
        id_column=id_column,
        time_column=time_column,
        target=names,
        known=(),
        static=(),
        multivariate=True,
    )
    rows = table.num_rows
    owners = np.full(rows, -1, np.int64)  # -1: of every series
    if has_ids and roles.ids:
        columns = [[str(cell) for cell in np.asarray(_cells(table, n))] for n in roles.ids]
        known_ids = {name: i for i, name in enumerate(series.ids)}
        owners = np.array([known_ids.get("/".join(p), -2) for p in zip(*columns, strict=True)])
    values = np.stack([to_numbers(table, n, decimal, what="known input") for n in names], 1)
    future = series.future_times(horizon)
    if roles.time is None:
        raise DataError(
            f"{table.name} has no column of times, so it is not clear when its inputs hold: name "
            "it (time_column)"
        )
    column = to_times(table, roles.time, time_format)
    at = Rows(
        series.ids, np.maximum(owners, 0), column.times, column.time_zone, table.name, table.place
    )
    if column.times.dtype.kind == "M" and column.time_zone is None and series.time_zone is not None:
        at = localize(at, series.time_zone)
    if at.times.dtype.kind != series.times.dtype.kind:
        raise DataError(f"the times of {table.name} are of another kind than those of the series")
    found = _look_up(at.times, owners, values, future)
    missing = np.argwhere(~np.isfinite(found).reshape(len(series), horizon, count).all(-1))
    if len(missing):
        row, step = (int(i) for i in missing[0])
        moment = show_time(future[row, step], series.time_zone)
        raise DataError(
            f"{table.name}: the known inputs ({', '.join(names)}) of series {series.ids[row]!r} "
            f"end before the horizon: {moment}, step {step + 1:,} of {horizon:,}, is missing; give "
            "them, or a shorter horizon"
        )
    return found


def _cells(table: Any, name: str) -> Any:
    cells = table.columns[name]
    return np.array([str(c) for c in cells], dtype=object)


def _look_up(
    times: Moments,
    owners: NDArray[np.int64],
    values: NDArray[np.float64],
    future: Moments,
) -> NDArray[np.float64]:
    """(S, H, K) the values at the future times of each series; NaN where there are none."""
    found = np.full((*future.shape, values.shape[1]), np.nan)
    order = np.lexsort((times, owners))
    keys = times[order].astype(np.int64)
    of_all = owners[order]
    for row in range(len(future)):
        for owner in (-1, row):
            low, high = np.searchsorted(of_all, owner), np.searchsorted(of_all, owner, "right")
            if low == high:
                continue
            wanted = future[row].astype(np.int64)
            at = np.minimum(low + np.searchsorted(keys[low:high], wanted), high - 1)
            is_there = keys[at] == wanted
            found[row, is_there] = values[order[at[is_there]]]
    return found


def _of_array(
    array: NDArray[np.float64], series: SeriesCollection, horizon: int
) -> NDArray[np.float64]:
    shape = (len(series), horizon, series.num_known)
    if array.ndim == 2:
        array = np.broadcast_to(array, (len(series), *array.shape))
    if array.ndim == 3 and array.shape[1] < horizon and array.shape[2] == shape[2]:
        raise DataError(
            f"the known inputs of series {series.ids[0]!r} end before the horizon: there are "
            f"{array.shape[1]:,} moments of {horizon:,}; give more, or a shorter horizon"
        )
    if array.ndim != 3 or array.shape[0] != shape[0] or array.shape[2] != shape[2]:
        raise DataError(
            f"known inputs of shape {array.shape} are not {shape}: series, moments, inputs"
        )
    if not np.isfinite(array[:, :horizon]).all():
        raise DataError("a known input of the future is missing or infinite: fill it")
    return np.array(array[:, :horizon])
