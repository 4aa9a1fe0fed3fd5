"""Results as tables of the kind that the series came in.

Knows columns and kinds of tables; no models.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.core.extras import import_extra
from seriatim.data.series.collection import SeriesCollection
from seriatim.data.series.frequency import Moments
from seriatim.data.series.raw_table import Backend
from seriatim.data.series.time_zones import offsets_at, to_local


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
    """Columns as a table of pandas, polars or pyarrow.

    Args:
        columns: (rows,) each, by name; times are datetime64[ns], in UTC if there is a zone.
        backend: the package.
        time_zone: the zone of the times; None: they have none.

    Raises:
        MissingExtraError: if narwhals is not installed.
    """
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


def id_column(series: SeriesCollection, which: NDArray[np.int64]) -> NDArray[Any]:
    """The ids of series by their numbers, as whole numbers if they came as such."""
    if series.origin.has_integer_ids:
        return np.array([int(name) for name in series.ids], dtype=np.int64)[which]
    return np.array(series.ids, dtype=object)[which]
