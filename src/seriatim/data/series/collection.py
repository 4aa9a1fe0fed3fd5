"""Series of numbers in time, end to end: what a forecaster is fitted to.

Knows numbers, times and their frequency. Does not know files or models.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.core.validation import did_you_mean
from seriatim.data.series.frequency import Frequency, Moments
from seriatim.data.series.raw_table import Backend
from seriatim.data.series.time_zones import to_local, to_utc
from seriatim.errors import ConfigError, DataError


@dataclass(frozen=True)
class Origin:
    """Where series came from, so that results can be given back alike.

    Attributes:
        name: the file, or "the data frame".
        backend: the kind of data frame; own: a file, a list or an array.
        has_integer_ids: whether the ids were whole numbers.
        has_times: whether the data had a column of times.
        is_file: whether the name is that of a file.
    """

    name: str
    backend: Backend = "own"
    has_integer_ids: bool = False
    has_times: bool = True
    is_file: bool = False


@dataclass(frozen=True, eq=False)
class SeriesCollection:
    """S series on regular grids of one frequency; a moment without a value is a gap, NaN.

    It is a `seriatim.core.values.NumberSequences`.

    Attributes:
        ids: (S,) the names of the series.
        numbers: (N, D) the values of all series, end to end; NaN where missing.
        offsets: (S + 1,) series i is numbers[offsets[i] : offsets[i + 1]].
        times: (N,) datetime64[ns], in UTC if there is a time zone, or int64.
        freq: the step between moments.
        channel_names: (D,) the names of the columns of `numbers`.
        time_zone: the zone on whose clock days begin; None: times have no zone.
        known: (N, K) the inputs of the same moments that are known ahead, finite; None: K = 0.
        known_names: (K,)
        static: (S, F) numbers that describe each series; None: F = 0.
        static_names: (F,)
        origin: where they came from.
        notes: what was taken or is unusual, as sentences for people.
    """

    ids: tuple[str, ...]
    numbers: NDArray[np.float64]
    offsets: NDArray[np.int64]
    times: Moments
    freq: Frequency
    channel_names: tuple[str, ...]
    time_zone: str | None = None
    known: NDArray[np.float64] | None = None
    known_names: tuple[str, ...] = ()
    static: NDArray[np.float64] | None = None
    static_names: tuple[str, ...] = ()
    origin: Origin = Origin("the data")
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_channels(self) -> int:
        """D."""
        return int(self.numbers.shape[1])

    @property
    def num_known(self) -> int:
        """K."""
        return len(self.known_names)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(S,) the number of moments of each series, gaps included."""
        return np.diff(self.offsets)

    @property
    def gaps(self) -> int:
        """The number of values that are missing."""
        return int(np.isnan(self.numbers).sum())

    @property
    def series_of_rows(self) -> NDArray[np.int64]:
        """(N,) the series of each moment."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def last_times(self) -> Moments:
        """(S,) the last moment of each series."""
        return self.times[self.offsets[1:] - 1]

    @cached_property
    def local_times(self) -> Moments:
        """(N,) the times on the clock of their zone."""
        return to_local(self.times, self.time_zone) if self.times.dtype.kind == "M" else self.times

    def index(self, name: str) -> int:
        """The number of a series.

        Raises:
            ConfigError: if there is none of this name.
        """
        try:
            found: int = self._numbers_of_ids[str(name)]
        except KeyError:
            hint = did_you_mean(str(name), self.ids)
            raise ConfigError(f"there is no series {name!r} among {len(self):,}{hint}") from None
        return found

    @cached_property
    def _numbers_of_ids(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.ids)}

    def of(self, series: int) -> NDArray[np.float64]:
        """(T, D) the values of a series."""
        return self.numbers[self.offsets[series] : self.offsets[series + 1]]

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """The name and the values of each series."""
        for i, name in enumerate(self.ids):
            yield name, self.of(i)

    def select(self, names: Sequence[str]) -> "SeriesCollection":
        """Some of the series, in this order.

        Raises:
            ConfigError: if there is none of a name.
        """
        return self._take(np.array([self.index(n) for n in names], np.int64), None)

    def head(self, lengths: NDArray[np.int64]) -> "SeriesCollection":
        """The first moments of each series; one without any is left out.

        Args:
            lengths: (S,) how many moments of each; more than there are mean all.

        Raises:
            DataError: if no series keeps a moment.
        """
        kept = np.clip(np.asarray(lengths, np.int64), 0, self.lengths)
        return self._take(np.flatnonzero(kept), kept)

    def drop_last(self, moments: int) -> "SeriesCollection":
        """The series without their last moments, as for a test of a forecast."""
        return self.head(self.lengths - moments)

    def cut(self, before: object) -> "SeriesCollection":
        """The moments before a time; a series that begins later is left out.

        Args:
            before: a date, a time or a text that numpy reads, on the clock of the time zone if
                there is one; or a whole number.

        Raises:
            ConfigError: if it is no such time.
            DataError: if nothing is before it.
        """
        is_before = self.times < self.moment(before)
        return self.head(np.add.reduceat(is_before.astype(np.int64), self.offsets[:-1]))

    def moment(self, time: object) -> Any:
        """A time as `times` has them: an instant in UTC if there is a time zone, or a number.

        Raises:
            ConfigError: if it is of another kind than the times of the series.
        """
        if self.times.dtype.kind != "M":
            if isinstance(time, (int, np.integer)) and not isinstance(time, bool):
                return np.int64(time)
            raise ConfigError(f"{time!r} is not a time of these series, which are whole numbers")
        try:
            if isinstance(time, str):
                time = datetime.fromisoformat(time)
            if isinstance(time, datetime) and time.tzinfo is not None:
                if self.time_zone is None:
                    raise ConfigError(f"{time!s} has a time zone, and the times of the series none")
                return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "ns")
            if not isinstance(time, (date, np.datetime64)):
                raise ValueError(time)
            local = np.array([time], dtype="datetime64[ns]")
        except (ValueError, TypeError, OverflowError):
            raise ConfigError(
                f"{time!r} is not a date or time: give one such as 2024-10-27"
            ) from None
        return to_utc(local, self.time_zone)[0][0]

    def future_times(self, horizon: int) -> Moments:
        """(S, H) the moments after the last one of each series."""
        return self.times_after(self.last_times, horizon)

    def times_after(self, last: Moments, horizon: int) -> Moments:
        """(R, H) the next H moments after given ones (R,), which are on the grid."""
        return moments_after(self.freq, self.time_zone, last, horizon)

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of ids, times, values and inputs, whatever file they came in."""
        digest = hashlib.sha256()
        header = (self.ids, self.channel_names, self.known_names, self.static_names)
        digest.update(repr((header, self.freq.name, self.time_zone)).encode())
        for array in (self.offsets, self.times, self.numbers, self.known, self.static):
            if array is not None:
                plain = array.view(np.int64) if array.dtype.kind == "M" else array
                if plain.dtype.kind == "f":  # one NaN and one zero
                    plain = np.where(np.isnan(plain), np.nan, plain + 0)
                digest.update(np.ascontiguousarray(plain).tobytes())
        return digest.hexdigest()

    def _take(
        self, series: NDArray[np.int64], lengths: NDArray[np.int64] | None
    ) -> "SeriesCollection":
        if not len(series):
            raise DataError(f"{self.origin.name}: no series has a moment left")
        kept = (self.lengths if lengths is None else lengths)[series]
        offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[series] - offsets[:-1], kept)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in series),
            numbers=self.numbers[rows],
            offsets=offsets,
            times=self.times[rows],
            known=None if self.known is None else self.known[rows],
            static=None if self.static is None else self.static[series],
        )


def moments_after(freq: Frequency, zone: str | None, last: Moments, horizon: int) -> Moments:
    """(R, H) the next H moments after given ones (R,), in steps of a frequency.

    Args:
        freq: the step.
        zone: the time zone on whose clock steps such as days are counted.
        last: (R,) times in UTC, or whole numbers.
        horizon: H.
    """
    steps = np.arange(1, horizon + 1)[None, :]
    if last.dtype.kind != "M" or not freq.is_on_clock:
        return np.asarray(freq.after(last[:, None], steps))
    local = to_local(last, zone)
    future = np.asarray(freq.after(local[:, None], steps))
    return to_utc(future.ravel(), zone)[0].reshape(future.shape)
