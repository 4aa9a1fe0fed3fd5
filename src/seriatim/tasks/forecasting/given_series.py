"""Series as a forecaster reads them: parts, what is known of them, and what comes after them.

Knows collections of series; no model.

Shapes: S series, N moments, H moments ahead, D channels, K known inputs (static ones included).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.core.elements import Support
from seriatim.core.validation import did_you_mean
from seriatim.data.series.calendar import (
    calendar_names,
    calendar_values,
    chosen_cycles,
    with_calendar,
)
from seriatim.data.series.collection import SeriesCollection, moments_after
from seriatim.data.series.frequency import parse_frequency
from seriatim.data.series.opening import open_series
from seriatim.data.series.output import time_texts
from seriatim.data.series.time_zones import to_local
from seriatim.data.splits import PartRecord, SplitRecord
from seriatim.data_profile.shared_seasons import usual_season
from seriatim.errors import ConfigError, DataError
from seriatim.tasks.forecasting.config import KnownSeries, SeriesFacts
from seriatim.tasks.forecasting.memory import SeriesMemory, keep_ends, last_known
from seriatim.tasks.forecasting.states import Standing
from seriatim.tasks.options import SeriesReading
from seriatim.tasks.parts import Fractions
from seriatim.tasks.past import Past

Data: TypeAlias = Any  # whatever `open_series` takes
Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
SMALL_COUNT = 30.0  # the median of whole numbers up to which they are taken for counts


@dataclass(frozen=True, eq=False)
class GivenSeries:
    """Series, or the parts of them that are scored.

    Attributes:
        collection: the series; the calendar is among their known inputs.
        first: (S,) the places of the first moments that are scored; what comes before them is only
            read. None: all are scored.
    """

    collection: SeriesCollection
    first: Ints | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """(S,) the names of the series."""
        return self.collection.ids

    @property
    def name(self) -> str:
        """What the data is called in messages."""
        return self.collection.origin.name

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for people."""
        return self.collection.notes

    @property
    def numbers(self) -> Floats:
        """(N, D) the values, NaN where missing."""
        return self.collection.numbers

    @property
    def offsets(self) -> Ints:
        """(S + 1,) where each series begins."""
        return self.collection.offsets

    @property
    def times(self) -> NDArray[Any]:
        """(N,) the moments."""
        return self.collection.times

    @cached_property
    def known(self) -> Floats | None:
        """(N, K) the known inputs, then the static ones, the same at every moment."""
        known, static = self.collection.known, self.collection.static
        parts = [] if known is None else [known]
        if static is not None:
            parts.append(static[self.collection.series_of_rows])
        return np.concatenate(parts, 1) if parts else None

    @cached_property
    def usual_season(self) -> int:
        """The moments of the season that a model takes unless it is told."""
        return usual_season(self.collection)

    @property
    def has_hidden_season(self) -> bool:
        """Whether the season is found in the values, since times are whole numbers."""
        return self.collection.freq.unit == "number" and self.usual_season > 1

    @property
    def num_scored(self) -> int:
        """The number of moments that are scored."""
        ends = self.offsets[1:]
        begins = self.offsets[:-1] if self.first is None else self.first
        return int((ends - begins).sum())

    def fingerprint(self) -> str:
        """A hash of the data, and of what is scored."""
        if self.first is None:
            return self.collection.fingerprint()
        scored = hashlib.sha256(self.first.tobytes()).hexdigest()[:16]
        return f"{self.collection.fingerprint()} from {scored}"


def open_part(
    data: Data,
    reading: SeriesReading,
    names: KnownSeries | None = None,
    *,
    format: str | None = None,
    encoding: str | None = None,
) -> GivenSeries:
    """The series in what the user gave.

    Args:
        data: whatever `open_series` takes, or a part.
        reading: the columns.
        names: the series that a model was fitted to, whose columns must be there.
        format, encoding: how a file is read.

    Raises:
        DataError: if it cannot be read, or has other columns or another frequency.
    """
    if isinstance(data, GivenSeries):
        part = data
    elif isinstance(data, SeriesCollection):
        part = GivenSeries(data)
    else:
        freq = reading.freq
        if freq is None and names is not None:
            freq = names.freq
        part = GivenSeries(
            open_series(
                data,
                format=format,
                encoding=encoding,
                id_column=reading.id_column,
                time_column=reading.time_column,
                target=reading.target or None,
                known=reading.known,
                static=reading.static,
                freq=freq,
                time_zone=reading.time_zone,
                time_format=reading.time_format,
                multivariate=reading.multivariate,
                decimal=reading.decimal,
            )
        )
    cycles = chosen_cycles(reading.calendar, part.collection) if names is None else names.calendar
    part = replace(part, collection=in_calendar(part.collection, cycles))
    if names is not None:
        check_same_columns(part, names)
    return part


def in_calendar(series: SeriesCollection, cycles: Sequence[str]) -> SeriesCollection:
    """Series with cycles of the calendar as their last known inputs, once."""
    names = calendar_names(cycles)
    if not names or series.known_names[-len(names) :] == names:
        return series
    return with_calendar(series, cycles)


def check_same_columns(part: GivenSeries, names: KnownSeries) -> None:
    """
    Raises:
        DataError: if the series have other channels, inputs or steps than the model.
    """
    have = part.collection
    if len(have.channel_names) != len(names.channels):
        raise DataError(
            f"{part.name} has the channels {', '.join(have.channel_names)} and the model was "
            f"fitted to {', '.join(names.channels)}: give these columns"
        )
    if (*have.known_names, *have.static_names) != names.inputs:
        raise DataError(
            f"{part.name} has the known inputs {', '.join(have.known_names) or 'none'} and the "
            f"model was fitted with {', '.join(names.inputs) or 'none'}: give these columns"
        )
    if have.freq.name != names.freq:
        raise DataError(
            f"{part.name} has a value each {have.freq.phrase()} (freq {have.freq.name}) and the "
            f"model was fitted to steps of {names.freq}: resample it, or fit a model to it"
        )


def known_series(
    part: GivenSeries, season_length: int | None, calendar: bool | Sequence[str] = False
) -> KnownSeries:
    """What is written about the series of the training data.

    Args:
        part: the series.
        season_length: the moments of a season; None: the usual one, see `usual_season`.
        calendar: the cycles among their known inputs, as `chosen_cycles` takes them.
    """
    have = part.collection
    cycles = chosen_cycles(calendar, have)
    given = len(have.known_names) - len(calendar_names(cycles))
    return KnownSeries(
        ids=have.ids,
        channels=have.channel_names,
        known=have.known_names[:given],
        static=have.static_names,
        freq=have.freq.name,
        zone=have.time_zone,
        times=str(have.times.dtype),
        backend=have.origin.backend,
        has_integer_ids=have.origin.has_integer_ids,
        season_length=season_length or part.usual_season,
        calendar=cycles,
    )


def facts_of(part: GivenSeries) -> SeriesFacts:
    """The size of a part."""
    missing = int(np.isnan(part.numbers).sum())
    return SeriesFacts(
        series=len(part.ids),
        moments=len(part.numbers),
        values=part.numbers.size - missing,
        missing=missing,
        fingerprint=part.fingerprint(),
    )


def density_of(part: GivenSeries, density: str) -> tuple[str | None, Support]:
    """The distribution that was asked for or suits the values, and their support.

    Args:
        part: the training data.
        density: the name of a distribution, or "auto": negative binomial for small counts,
            otherwise the model's own.
    """
    seen = part.numbers[~np.isnan(part.numbers)]
    if density == "auto":
        is_count = len(seen) > 0 and bool((seen >= 0).all() and (seen == np.floor(seen)).all())
        if is_count and np.median(seen) <= SMALL_COUNT:
            return "negative-binomial", "count"
        return None, "real"
    if density in ("negative-binomial", "poisson"):
        if len(seen) and not ((seen >= 0).all() and (seen == np.floor(seen)).all()):
            raise DataError(
                f"{part.name} has values that are no counts 0, 1, 2 ...: choose another density "
                "than " + density
            )
        return density, "count"
    return density, "real"


def split_by_time(
    part: GivenSeries, fractions: Fractions
) -> tuple[Sequence[GivenSeries | None], SplitRecord]:
    """Training, validation and test, each later than the one before, in every series.

    Validation and test hold what comes before them too, which is read and not scored.

    Raises:
        ConfigError: if the fractions are no such numbers.
        DataError: if the series are too short for every part.
    """
    total = sum(fractions)
    if min(fractions) < 0 or abs(total - 1) > 1e-6 or fractions[0] <= 0:
        raise ConfigError(f"split {fractions}: give three fractions with the sum 1")
    whole = part.collection
    lengths = whole.lengths
    end_train = np.round(lengths * fractions[0]).astype(np.int64)
    end_valid = np.round(lengths * (fractions[0] + fractions[1])).astype(np.int64)
    ends = {"train": end_train, "valid": end_valid, "test": lengths}
    begins = {"train": 0 * lengths, "valid": end_train, "test": end_valid}
    parts: list[GivenSeries | None] = []
    records = {}
    for (name, end), fraction in zip(ends.items(), fractions, strict=True):
        if fraction == 0:
            parts.append(None)
            continue
        if not (end > begins[name]).any():
            raise DataError(
                f"the series of {part.name} are too short to split {100 * fraction:g} % off for "
                f"{name}: give longer ones, or --split 1 0 0"
            )
        head = whole if name == "test" else whole.head(end)
        chosen = np.array([whole.index(i) for i in head.ids])
        first = None if name == "train" else head.offsets[:-1] + begins[name][chosen]
        piece = GivenSeries(head, first)
        parts.append(piece)
        records[name] = PartRecord(fingerprint=piece.fingerprint())
    rule = "the beginning of each series, then the middle, then the end"
    return parts, SplitRecord(tuple(fractions), part.fingerprint(), rule, records)


# ---- what follows -------------------------------------------------------------------------------


def times_after(names: KnownSeries, ends: NDArray[Any], horizon: int) -> NDArray[Any]:
    """(S, H) the moments after given ones (S,)."""
    return moments_after(parse_frequency(names.freq), names.zone, ends, horizon)


def future_known(
    known: Any,
    names: KnownSeries,
    reading: SeriesReading,
    ids: Sequence[str],
    times: NDArray[Any],
    last: Floats,
) -> Floats | None:
    """(S, H, K) the known inputs of the coming moments.

    Args:
        known: what the user gave: None, an array (H, K) or (S, H, K) without static inputs, or a
            table with the columns of known inputs.
        names: the series of the model.
        reading: the columns.
        ids: (S,) the names of the series to predict.
        times: (S, H) the coming moments.
        last: (S, K) the known inputs of the last moments, from which static ones are taken; the
            calendar is computed.

    Raises:
        ConfigError: if the model takes known inputs and none are given, or the other way round.
        DataError: if they end before the horizon; the message names the series.
    """
    parts: list[Floats] = []
    if not names.known:
        if known is not None:
            but = f" but {', '.join(names.calendar)}, which are computed" if names.calendar else ""
            raise ConfigError(f"known inputs were given, and the model was fitted without any{but}")
    elif known is None:
        raise ConfigError(
            f"the model was fitted with known inputs ({', '.join(names.known)}): give those of "
            "the coming moments (known = FILE)"
        )
    elif isinstance(known, (list, np.ndarray)):
        parts.append(_known_array(np.asarray(known, np.float64), names, times.shape))
    else:
        parts.append(_known_table(known, names, reading, ids, times))
    if names.calendar:
        parts.append(calendar_values(times, names.zone, names.calendar)[0])
    if names.static:
        fixed = last[:, None, last.shape[1] - len(names.static) :]
        parts.append(np.repeat(fixed, times.shape[1], 1))
    return np.concatenate(parts, 2) if parts else None


def _known_array(given: Floats, names: KnownSeries, shape: tuple[int, ...]) -> Floats:
    series, horizon = shape
    if given.ndim == 1 and len(names.known) == 1:
        given = given[:, None]
    if given.ndim == 2:
        given = np.repeat(given[None], series, 0)
    if given.ndim != 3 or given.shape[0] != series or given.shape[2] != len(names.known):
        raise ConfigError(
            f"known inputs of shape {given.shape} were given: give (horizon, {len(names.known)}), "
            f"or ({series}, horizon, {len(names.known)})"
        )
    if given.shape[1] < horizon:
        raise DataError(
            f"the known inputs end after {given.shape[1]} moments and the horizon is {horizon}: "
            "give more, or a smaller horizon"
        )
    return given[:, :horizon]


def _known_table(
    given: Any,
    names: KnownSeries,
    reading: SeriesReading,
    ids: Sequence[str],
    times: NDArray[Any],
) -> Floats:
    table = open_series(
        given,
        id_column=reading.id_column,
        time_column=reading.time_column,
        target=names.known,
        freq=names.freq,
        time_zone=reading.time_zone,
    )
    values = np.empty((*times.shape, len(names.known)))
    is_shared = len(table.ids) == 1 and table.ids[0] not in ids
    for row, name in enumerate(ids):
        if not is_shared and name not in table.ids:
            raise DataError(f"there are no known inputs for series {name!r}: give them")
        i = 0 if is_shared else table.index(name)
        own = slice(table.offsets[i], table.offsets[i + 1])
        at = np.searchsorted(table.times[own], times[row])
        inside = at < own.stop - own.start
        found = np.full((len(at), len(names.known)), np.nan)
        found[inside] = table.numbers[own][at[inside]]
        found[inside] = np.where(
            (table.times[own][at[inside]] == times[row][inside])[:, None], found[inside], np.nan
        )
        if np.isnan(found).any():
            missing = _shown(times[row][np.isnan(found).any(1)][0], names)
            raise DataError(
                f"the known inputs of series {name!r} end before the horizon: that of {missing} is "
                "missing; give it, or a smaller horizon"
            )
        values[row] = found
    return values


def open_update(
    new: Data, names: KnownSeries, reading: SeriesReading, memory: SeriesMemory
) -> GivenSeries:
    """New moments of known series, with gaps where some are missing in between.

    Raises:
        DataError: if a series begins before the end of what is known of it.
    """
    part = open_part(new, reading, names)
    ends = dict(zip(names.ids, memory.ends(names.times), strict=True))
    freq, whole = part.collection.freq, part.collection
    gaps: list[NDArray[Any]] = []
    for i, name in enumerate(part.ids):
        first = whole.times[whole.offsets[i]]
        if name not in ends:
            gaps.append(whole.times[:0])
            continue
        after = times_after(names, ends[name][None], 1)[0, 0]
        if first < after:
            raise DataError(
                f"the new values of series {name!r} begin at {_shown(first, names)}, and it is "
                f"known up to {_shown(ends[name], names)}: give what comes after that"
            )
        local = whole.local_times[whole.offsets[i]]
        begin = np.array([after])
        if begin.dtype.kind == "M":
            begin = to_local(begin, names.zone)
        steps, fits = freq.steps(begin, np.array([local]))
        if not fits[0]:
            raise DataError(
                f"the new values of series {name!r} begin at {_shown(first, names)}, which is "
                f"no whole number of steps of {freq.phrase()} after {_shown(ends[name], names)}: "
                "give those between"
            )
        gaps.append(times_after(names, ends[name][None], int(steps[0]))[0])
    if not any(map(len, gaps)):
        return part
    filled = _with_gaps(whole, gaps)
    computed = len(calendar_names(names.calendar))
    if computed and filled.known is not None:
        values = calendar_values(filled.times, names.zone, names.calendar)[0]
        known = np.concatenate([filled.known[:, :-computed], values], 1)
        filled = replace(filled, known=known)
    return GivenSeries(filled)


def _with_gaps(whole: SeriesCollection, gaps: Sequence[NDArray[Any]]) -> SeriesCollection:
    """Series with missing moments before their first; known inputs there are as at the first."""
    numbers, times, known, lengths = [], [], [], []
    for i, before in enumerate(gaps):
        count = len(before)
        own = slice(whole.offsets[i], whole.offsets[i + 1])
        gap = np.full((count, whole.num_channels), np.nan)
        numbers.append(np.concatenate([gap, whole.numbers[own]]))
        times.append(np.concatenate([before, whole.times[own]]))
        if whole.known is not None:
            known.append(
                np.concatenate([np.repeat(whole.known[own][:1], count, 0), whole.known[own]])
            )
        lengths.append(count + own.stop - own.start)
    return replace(
        whole,
        numbers=np.concatenate(numbers),
        times=np.concatenate(times),
        known=np.concatenate(known) if known else None,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def _shown(time: Any, names: KnownSeries) -> str:
    return time_texts(np.array([time]), names.zone)[0]


def find_series(name: str, ids: Sequence[str]) -> int:
    """The number of a series.

    Raises:
        ConfigError: if there is none of this name.
    """
    if name not in ids:
        near = did_you_mean(name, ids)
        raise ConfigError(f"there is no series {name!r}{near}")
    return ids.index(name)


def id_column(series: SeriesCollection, which: Ints) -> NDArray[Any]:
    """The names of series by their numbers, as whole numbers if they came as such."""
    if series.origin.has_integer_ids:
        return np.array([int(name) for name in series.ids], np.int64)[which]
    return np.array(series.ids, dtype=object)[which]


@dataclass(frozen=True)
class Where:
    """Some series, and where they stand.

    Attributes:
        ids: (S,) their names.
        standing: what is kept of them.
        ends: (S,) the times of their last moments.
        past: their last moments.
        last_known: (S, K) the known inputs of their last moments.
        backend: the package of the data frame they came in; "own": it was none.
    """

    ids: tuple[str, ...]
    standing: Standing
    ends: NDArray[Any]
    past: Past
    last_known: Floats
    backend: str


def where_of(part: GivenSeries, standing: Standing) -> Where:
    """Where the series of a part stand."""
    offsets = part.offsets
    kept = keep_ends(offsets)
    spans = [slice(e - k, e) for e, k in zip(offsets[1:], kept, strict=True)]
    past = Past([part.times[s] for s in spans], [part.numbers[s] for s in spans])
    backend = part.collection.origin.backend
    return Where(part.ids, standing, part.times[offsets[1:] - 1], past, last_known(part), backend)
