"""Results as tables of the kind that the series came in.

Knows columns of results and kinds of tables; no models.

Shapes: S series, H moments ahead, Q quantiles, D channels.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.core.extras import import_extra
from seriatim.data.series.collection import SeriesCollection
from seriatim.data.series.frequency import Moments
from seriatim.data.series.raw_table import Backend
from seriatim.data.series.time_zones import offsets_at, to_local

_SHOWN = 20


class SeriesTable(Mapping[str, NDArray[Any]]):
    """Columns of equal length, by name; what is given back where no data frame came in.

    Times with a zone are in UTC; text and CSV show them on the clock of the zone, with its offset.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], time_zone: str | None = None) -> None:
        """
        Args:
            columns: arrays (rows,) by name; times are datetime64[ns].
            time_zone: the zone of the times; None: they have none.
        """
        self._columns, self.time_zone = dict(columns), time_zone

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def num_rows(self) -> int:
        return len(next(iter(self._columns.values()), []))

    def records(self) -> list[dict[str, Any]]:
        """One mapping for each row, of values that JSON can hold; a gap is None."""
        columns = [self._texts(name, is_json=True) for name in self]
        return [dict(zip(self, row, strict=True)) for row in zip(*columns, strict=True)]

    def to_csv(self, path: Path | str | None = None) -> str:
        """The table as CSV, which is also written to a path if one is given."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self)
        writer.writerows(zip(*(self._texts(name) for name in self), strict=True))
        if path is not None:
            Path(path).write_text(text.getvalue(), encoding="utf-8")
        return text.getvalue()

    def _texts(self, name: str, *, is_json: bool = False) -> list[Any]:
        column = self[name]
        if column.dtype.kind == "M":
            return time_texts(column, self.time_zone)
        if column.dtype.kind == "f":
            gap = None if is_json else ""
            return [v if v == v else gap for v in column.tolist()]
        return list(column.tolist())

    def __str__(self) -> str:
        shown = list(self)
        rows = [shown] + [
            [f"{v:.6g}" if isinstance(v, float) else str(v) for v in row]
            for row in zip(*(self._texts(n)[:_SHOWN] for n in shown), strict=True)
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in rows]
        if self.num_rows > _SHOWN:
            lines.append(f"({self.num_rows:,} rows)")
        return "\n".join(lines)

    __repr__ = __str__


def time_texts(times: Moments, time_zone: str | None) -> list[str]:
    """Times as ISO 8601, with the offset of the zone if there is one; dates have no time of day."""
    if times.dtype.kind != "M":
        return [str(time) for time in times]
    local = to_local(times, time_zone)
    is_date = time_zone is None and bool((local == local.astype("M8[D]")).all())
    unit: Any = "D" if is_date else "s" if bool((local == local.astype("M8[s]")).all()) else "ns"
    texts = [text.replace("T", " ") for text in np.datetime_as_string(local, unit=unit).tolist()]
    if time_zone is None:
        return texts
    ends = [
        f"{'-' if m < 0 else '+'}{abs(m) // 60:02d}:{abs(m) % 60:02d}"
        for m in offsets_at(times, time_zone)
    ]
    return [text + end for text, end in zip(texts, ends, strict=True)]


def to_native(columns: Mapping[str, NDArray[Any]], backend: Backend, time_zone: str | None) -> Any:
    """Columns as a table of pandas, polars or pyarrow, or as a `SeriesTable`."""
    if backend == "own":
        return SeriesTable(columns, time_zone)
    narwhals = import_extra(
        "narwhals", "series in data frames need narwhals: pip install 'seriatim[data]'"
    )
    plain = {n: c.tolist() if c.dtype.kind in "OU" else c for n, c in columns.items()}
    frame = narwhals.from_dict(plain, backend=backend)
    if time_zone is not None:
        frame = frame.with_columns(
            narwhals.col(name).dt.replace_time_zone("UTC").dt.convert_time_zone(time_zone)
            for name, column in columns.items()
            if column.dtype.kind == "M"
        )
    return frame.to_native()


def make_frame(columns: Mapping[str, NDArray[Any]], like: SeriesCollection) -> Any:
    """Columns as a table of the kind that series came in; times are in UTC if they have a zone."""
    return to_native(columns, like.origin.backend, like.time_zone)


def id_column(series: SeriesCollection, which: NDArray[np.int64]) -> NDArray[Any]:
    """The ids of series by their numbers, as whole numbers if they came as such."""
    if series.origin.has_integer_ids:
        return np.array([int(name) for name in series.ids], dtype=np.int64)[which]
    return np.array(series.ids, dtype=object)[which]


def forecast_table(
    series: SeriesCollection,
    mean: NDArray[np.float64],
    quantiles: NDArray[np.float64],
    levels: Sequence[float],
    *,
    which: NDArray[np.int64] | None = None,
    cutoffs: Moments | None = None,
    more: Mapping[str, NDArray[np.float64]] | None = None,
) -> Any:
    """Forecasts as a table with `unique_id`, `ds`, `mean` and a column for each quantile.

    With several channels, `channel` names that of a row. A backtest adds `cutoff`, the last moment
    that the forecast had seen.

    Args:
        series: the series, in whose kind of table they are given back.
        mean: (R, H, D) the means of R forecasts.
        quantiles: (R, Q, H, D)
        levels: (Q,) the levels of the quantiles: .1, .5, .9.
        which: (R,) the series of each forecast; None: one for each series, in order.
        cutoffs: (R,) the moment after which each begins, of a backtest; None: the last of each.
        more: further columns by name, (R, H, D) each, such as `y`.
    """
    rows, horizon, channels = mean.shape
    which = np.arange(len(series)) if which is None else np.asarray(which, np.int64)
    last = series.last_times[which] if cutoffs is None else cutoffs
    times = series.times_after(last, horizon)
    columns: dict[str, NDArray[Any]] = {
        "unique_id": id_column(series, np.repeat(which, horizon * channels)),
        "ds": np.repeat(times.ravel(), channels),
    }
    if cutoffs is not None:
        columns["cutoff"] = np.repeat(last, horizon * channels)
    if channels > 1:
        names = np.array(series.channel_names, dtype=object)
        columns["channel"] = np.tile(names, rows * horizon)
    columns |= {
        name: np.asarray(values, np.float64).ravel() for name, values in (more or {}).items()
    }
    columns["mean"] = np.asarray(mean, np.float64).ravel()
    for number, level in enumerate(levels):
        columns[f"{level:.10g}"] = np.asarray(quantiles[:, number], np.float64).ravel()
    return to_native(columns, series.origin.backend, series.time_zone)
