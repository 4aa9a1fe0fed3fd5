"""What `Forecaster.predict` returns: distributions of the coming values, as a table and a picture.

Knows times, quantiles and columns; no model.

Shapes: S series, H moments ahead, D channels, Q quantiles.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError
from seriatim.report.terminal import count_noun
from seriatim.tasks.column_table import ColumnTable
from seriatim.tasks.past import Past

if TYPE_CHECKING:
    from seriatim.report.document import Report

Floats: TypeAlias = NDArray[np.float64]


def quantiles_of(
    quantiles: Sequence[float], level: float | Sequence[float] | None
) -> tuple[tuple[float, ...], dict[str, float]]:
    """The quantiles to compute, and the columns to show.

    Args:
        quantiles: the quantiles that were asked for; used where `level` is None.
        level: the probabilities, in percent, of intervals that were asked for instead.

    Returns:
        The quantiles in rising order, and the quantile of each column by its name.

    Raises:
        ConfigError: if one is not inside (0, 1), or a level not inside (0, 100).
    """
    if level is None:
        for q in quantiles:
            if not 0 < q < 1:
                raise ConfigError(f"quantile {q:g}: give one between 0 and 1, such as 0.9")
        wanted = sorted({float(q) for q in quantiles})
        return tuple(wanted), {f"{q:.10g}": q for q in wanted}
    levels = [float(v) for v in ([level] if isinstance(level, (int, float)) else level)]
    columns = {}
    for percent in sorted(levels):
        if not 0 < percent < 100:
            raise ConfigError(f"level {percent:g}: give a percentage between 0 and 100, such as 80")
    for percent in sorted(levels, reverse=True):
        columns[f"lo-{percent:g}"] = round((1 - percent / 100) / 2, 12)
    for percent in sorted(levels):
        columns[f"hi-{percent:g}"] = round((1 + percent / 100) / 2, 12)
    return tuple(sorted(set(columns.values()))), columns


class Forecast(ColumnTable):
    """The distributions of the coming values of some series.

    As a table it has a row for each series, moment and channel, with the mean and the quantiles;
    `frame` is that table in the type of the data, `to_pandas` and `to_polars` choose one.

    Attributes:
        ids: the names of the series.
        channels: the names of the channels.
        times: (S, H) the moments.
        mean: (S, H, D).
        levels: the quantiles that were computed, rising.
        quantiles: (S, Q, H, D).
        past: the end of what was observed; None: not known.
        raw: (S, Q, H, D) the quantiles before they were corrected; None: they were not.
        notes: what to know of them, as sentences.
    """

    def __init__(
        self,
        ids: Sequence[str | int],
        channels: Sequence[str],
        times: NDArray[Any],
        mean: Floats,
        levels: Sequence[float],
        quantiles: Floats,
        *,
        columns: Mapping[str, float] | None = None,
        raw: Floats | None = None,
        notes: Sequence[str] = (),
        past: Past | None = None,
        zone: str | None = None,
        backend: str = "own",
    ) -> None:
        """
        Args:
            ids, channels, times, mean, levels, quantiles, raw, notes, past: the attributes.
            columns: the quantile of each column by its name; None: a column for each quantile.
            zone: the time zone of the times, which are in UTC.
            backend: the package of `frame`, "pandas", "polars" or "pyarrow"; "own": none.
        """
        self.ids, self.channels = tuple(ids), tuple(channels)
        self.times, self.mean = times, mean
        self.levels, self.quantiles = tuple(levels), quantiles
        self.past, self._backend = past, backend
        self.raw, self.notes = raw, tuple(notes)
        shown = {f"{q:.10g}": q for q in self.levels} if columns is None else dict(columns)
        super().__init__(self._columns(shown), zone)

    def _columns(self, shown: Mapping[str, float]) -> dict[str, NDArray[Any]]:
        series, horizon, depth = self.mean.shape
        table: dict[str, NDArray[Any]] = {
            "unique_id": np.repeat(object_array(self.ids), horizon * depth),
            "ds": np.repeat(self.times.reshape(-1), depth),
        }
        if depth > 1:
            table["channel"] = np.tile(object_array(self.channels), series * horizon)
        table["mean"] = self.mean.reshape(-1)
        for name, q in shown.items():
            table[name] = self.quantiles[:, self.levels.index(q)].reshape(-1)
        if self.raw is not None:
            for name, q in shown.items():
                table[f"raw {name}"] = self.raw[:, self.levels.index(q)].reshape(-1)
        return table

    @property
    def horizon(self) -> int:
        """H, the number of moments ahead."""
        return int(self.mean.shape[1])

    @property
    def zone(self) -> str | None:
        """The name of the time zone of the times, which are in UTC; None: they have none."""
        return self._zone

    @property
    def frame(self) -> Any:
        """The table as a frame of the package that the data came from; otherwise this object."""
        makers = {"pandas": self.to_pandas, "polars": self.to_polars, "pyarrow": self.to_arrow}
        return makers[self._backend]() if self._backend in makers else self

    def quantile(self, q: float) -> Floats:
        """(S, H, D) one of the quantiles that were computed.

        Raises:
            ConfigError: if it was not.
        """
        for i, level in enumerate(self.levels):
            if abs(level - q) < 1e-9:
                found: Floats = self.quantiles[:, i]
                return found
        raise ConfigError(
            f"quantile {q:g} was not computed: choose from {', '.join(map(str, self.levels))}, or "
            "name it in predict(quantiles=...)"
        )

    def summary(self) -> str:
        """How many series and moments."""
        return f"{count_noun(len(self.ids), 'series', 'series')}, {self.horizon:,} ahead"

    def page(self) -> "Report":
        """A page with the history, the median and the bands of each series."""
        from seriatim.tasks.forecasting.forecast_page import forecast_page

        return forecast_page(self)


def object_array(values: Sequence[Any]) -> NDArray[Any]:
    """Values as an array of objects, whatever they are."""
    array = np.empty(len(values), object)
    array[:] = list(values)
    return array
