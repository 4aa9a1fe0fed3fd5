"""Seasons of a series: which period repeats, and how strongly.

A candidate period is a peak of the autocorrelation or a period that is usual for the frequency. Its
strength is the adjusted fraction of the variance about the trend that the mean of each position in
the season explains (the measure of Hyndman and Athanasopoulos 2021, section 4.3, less what as many
means explain by chance): 0 none, 1 all. Knows arrays; no series or files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST = 2  # usual seasons that must have been seen
_LEAST_FOUND = 5  # others
_WEAK = 0.1  # the strength from which a season is said
_BETTER = 0.05  # by which a longer season must be stronger than a shorter one
_MOST = 20_000  # moments, the last ones, that are examined
_MOST_LAG = 2_000
_PEAKS = 5


@dataclass(frozen=True)
class Season:
    """A period.

    Attributes:
        length: in moments.
        strength: the fraction of the variance about the trend that it explains, from 0 to 1.
    """

    length: int
    strength: float


def find_seasons(values: NDArray[np.float64], usual: Sequence[int] = ()) -> tuple[Season, ...]:
    """The seasons of a series, the one to model first.

    A multiple of a season explains what it does, and is only listed if it explains more.

    Args:
        values: (T,) NaN where missing.
        usual: lengths to try in any case.
    """
    filled = fill_gaps(values[-_MOST:])
    if len(filled) < 2 * _LEAST or float(np.ptp(filled)) == 0:
        return ()
    longest = min(len(filled) // _LEAST, _MOST_LAG)
    lengths = {n for n in usual if 1 < n <= longest}
    lengths |= set(_peaks(filled, min(longest, len(filled) // _LEAST_FOUND)))
    found = [Season(n, season_strength(filled, n)) for n in sorted(lengths)]
    found = [season for season in found if season.strength >= _WEAK]
    kept: list[Season] = []
    for season in found:  # from the shortest
        rivals = [s.strength for s in kept if _of(season, s)]
        if season.strength >= max(rivals, default=-1.0) + _BETTER:
            kept.append(season)

    def order(season: Season) -> tuple[float, int]:
        return -round(season.strength + _BETTER * (season.length in usual), 6), season.length

    return tuple(sorted(kept, key=order)[:_PEAKS])


def _of(season: Season, shorter: Season) -> bool:
    """Whether a season is about a multiple of a shorter one, or its neighbour."""
    times = max(round(season.length / shorter.length), 1)
    return abs(season.length - times * shorter.length) <= max(times, 0.03 * season.length)


def fill_gaps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values between the first and the last observed one, gaps filled along straight lines."""
    there = np.flatnonzero(~np.isnan(values))
    if not len(there):
        return np.zeros(0)
    inside = np.arange(there[0], there[-1] + 1)
    return np.interp(inside, there, values[there])


def autocorrelation(values: NDArray[np.float64], longest: int) -> NDArray[np.float64]:
    """(longest + 1,) the autocorrelation at lags 0, 1 ... of values less their straight line."""
    centred = _detrended(values)
    size = 1 << (2 * len(centred) - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    products = np.fft.irfft(spectrum * np.conj(spectrum), size)[: longest + 1]
    return np.asarray(products / max(float(products[0]), np.finfo(float).tiny))


def _detrended(values: NDArray[np.float64]) -> NDArray[np.float64]:
    time = np.arange(len(values)) - (len(values) - 1) / 2
    slope = float(time @ values) / max(float(time @ time), 1.0)
    return np.asarray(values - values.mean() - slope * time)


def _peaks(values: NDArray[np.float64], longest: int) -> list[int]:
    """The highest local maxima of the autocorrelation that are no chance."""
    correlation = autocorrelation(values, longest)
    inner = correlation[1:-1]
    is_peak = (inner > correlation[:-2]) & (inner >= correlation[2:])
    least = max(0.1, 2 / np.sqrt(len(values)))
    lags = np.flatnonzero(is_peak & (inner > least)) + 1
    lags = lags[lags > 1]
    return [int(lag) for lag in lags[np.argsort(-correlation[lags], kind="stable")][:_PEAKS]]


def season_strength(values: NDArray[np.float64], length: int) -> float:
    """How much of the variance about the trend the means of a season explain, from 0 to 1."""
    rest = values - _moving_average(values, length)
    position = np.arange(len(rest)) % length
    counts = np.bincount(position, minlength=length)
    means = np.bincount(position, rest, length) / np.maximum(counts, 1)
    whole, left = float(np.var(rest)), float(np.mean(np.square(rest - means[position])))
    freedom = len(rest) - length
    if whole <= 1e-12 * max(float(np.var(values)), np.finfo(float).tiny) or freedom <= 0:
        return 0.0
    return min(max(1 - left / whole * (len(rest) - 1) / freedom, 0.0), 1.0)


def _moving_average(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """The centred mean of a season at each moment, by fewer values at the ends."""
    before = (length - 1) // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    begin = np.maximum(np.arange(len(values)) - before, 0)
    end = np.minimum(np.arange(len(values)) - before + length, len(values))
    return np.asarray((sums[end] - sums[begin]) / (end - begin))
