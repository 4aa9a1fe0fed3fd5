"""Figures of series before anything is fitted: lengths, gaps, levels, seasons, naive forecasts.

Knows collections of series; draws no conclusions.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.collection import SeriesCollection
from seriatim.data.series.grid import show_time
from seriatim.data_profile.shared_seasons import SeasonFacts, find_shared_seasons

SMALL_COUNT = 30.0  # the median of whole numbers up to which they are taken for counts


@dataclass(frozen=True)
class Spread:
    """The least, the median and the greatest of some figures."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: NDArray[np.float64] | NDArray[np.int64]) -> "Spread":
        """Of figures that are not NaN, of which there is one at least."""
        there = values[~np.isnan(values)]
        return cls(float(there.min()), float(np.median(there)), float(there.max()))


@dataclass(frozen=True)
class GapFacts:
    """What is missing.

    Attributes:
        missing: the number of values that are missing.
        fraction: of all values of the grid.
        num_series: the series that miss a value.
        longest: the moments of the longest gap.
        where: the series that has it; "": there is none.
    """

    missing: int
    fraction: float
    num_series: int
    longest: int
    where: str


@dataclass(frozen=True)
class ValueFacts:
    """What the values are.

    Attributes:
        levels: the means of the series.
        least, most: the extreme values.
        zeros: the fraction of observed values that are 0.
        are_whole: whether all are whole numbers.
        support: counts, positive numbers, numbers from 0, or real numbers.
        constant: the series that have one value throughout.
        duplicates: the series that repeat another one.
    """

    levels: Spread
    least: float
    most: float
    zeros: float
    are_whole: bool
    support: str
    constant: int
    duplicates: int


@dataclass(frozen=True)
class NaiveErrors:
    """The median over series of mean absolute steps, by the mean absolute deviation of a series.

    Attributes:
        last: of the value before.
        season: of the value one season before; None: there is no season.
    """

    last: float | None
    season: float | None


@dataclass(frozen=True)
class SeriesProfile:
    """All figures.

    Attributes:
        series: the series.
        lengths: the moments of a series, from its first to its last row.
        begin, end: the first and the last moment.
        gaps, values, seasons, naive: figures.
    """

    series: SeriesCollection
    lengths: Spread
    begin: str
    end: str
    gaps: GapFacts
    values: ValueFacts
    seasons: SeasonFacts
    naive: NaiveErrors


def profile_series(
    series: SeriesCollection, say: Callable[[str], None] = lambda _: None
) -> SeriesProfile:
    """Measure series.

    Args:
        series: the series.
        say: callback that receives log messages.
    """
    say("looking for seasons")
    seasons = find_shared_seasons(series)
    begin, end = series.times.min(), series.times.max()
    return SeriesProfile(
        series,
        Spread.of(series.lengths),
        show_time(begin, series.time_zone),
        show_time(end, series.time_zone),
        _gaps(series),
        _values(series),
        seasons,
        _naive(series, seasons.length),
    )


def _gaps(series: SeriesCollection) -> GapFacts:
    is_missing = np.isnan(series.numbers)
    missing = int(is_missing.sum())
    per_series = np.add.reduceat(is_missing.any(1).astype(np.int64), series.offsets[:-1])
    longest, where = 0, ""
    for i in np.flatnonzero(per_series):
        for channel in is_missing[series.offsets[i] : series.offsets[i + 1]].T:
            edges = np.diff(np.concatenate([[0], channel.astype(np.int8), [0]]))
            runs = np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)
            if len(runs) and int(runs.max()) > longest:
                longest, where = int(runs.max()), series.ids[i]
    return GapFacts(missing, missing / is_missing.size, int((per_series > 0).sum()), longest, where)


def _values(series: SeriesCollection) -> ValueFacts:
    there = series.numbers[~np.isnan(series.numbers)]
    starts = series.offsets[:-1]
    observed = ~np.isnan(series.numbers)
    counts = np.add.reduceat(observed.astype(np.int64), starts, axis=0)
    sums = np.add.reduceat(np.where(observed, series.numbers, 0.0), starts, axis=0)
    are_whole = bool((there == np.floor(there)).all())
    least = float(there.min())
    support = "real numbers"
    if least >= 0:
        is_small = are_whole and float(np.median(there)) <= SMALL_COUNT
        others = "positive numbers" if least > 0 else "numbers from 0"
        support = "counts" if is_small else others
    constant = sum(float(np.nanmax(values)) == float(np.nanmin(values)) for _, values in series)
    seen = Counter(values.tobytes() for _, values in series)
    return ValueFacts(
        Spread.of((sums / np.maximum(counts, 1)).ravel()),
        least,
        float(there.max()),
        float((there == 0).mean()),
        are_whole,
        support,
        constant,
        sum(seen.values()) - len(seen),
    )


def _naive(series: SeriesCollection, season: int) -> NaiveErrors:
    last: list[float] = []
    seasonal: list[float] = []
    for _, values in series:
        spread = np.nanmean(np.abs(values - np.nanmean(values)))
        if spread == 0:
            continue
        for lag, found in ((1, last), (season, seasonal)):
            steps = np.abs(values[lag:] - values[:-lag])
            if not np.isnan(steps).all():
                found.append(float(np.nanmean(steps) / spread))
    return NaiveErrors(
        float(np.median(last)) if last else None,
        float(np.median(seasonal)) if seasonal and season > 1 else None,
    )
