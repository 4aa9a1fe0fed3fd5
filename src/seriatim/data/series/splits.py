"""Series split by time: what a model is fitted to, what choices are made by, what is reported.

A part is scored from a moment on; all that came before may be read. Knows collections, no models.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seriatim.data.series.collection import SeriesCollection
from seriatim.errors import ConfigError, DataError


@dataclass(frozen=True)
class SeriesWindow:
    """A window of time.

    Attributes:
        series: the series up to the end of the window, with all that came before it.
        scored_from: (S,) the first moment of each that is in the window.
        in_train: (S,) the number of each among the series of training; -1: it begins later.
    """

    series: SeriesCollection
    scored_from: NDArray[np.int64]
    in_train: NDArray[np.int64]

    @property
    def num_moments(self) -> int:
        """The number of moments in the window."""
        return int((self.series.lengths - self.scored_from).sum())


@dataclass(frozen=True)
class SeriesSplit:
    """Windows that follow one another.

    Attributes:
        train: the first one.
        valid: the second one; None: there is none.
        test: the last one; None: there is none.
    """

    train: SeriesCollection
    valid: SeriesWindow | None
    test: SeriesWindow | None


def split_by_time(
    series: SeriesCollection, *, valid: object = 0.1, test: object = 0.1
) -> SeriesSplit:
    """Training, validation and test windows.

    A size below 1 is a fraction of the moments from the first to the last of all series, so that
    all of them are cut at the same times; a whole number is the last moments of each series; a
    date, a time or a text is where the window begins.

    Args:
        series: the series.
        valid: the size or the beginning of the validation window; 0: there is none.
        test: the size or the beginning of the test window; 0: there is none.

    Raises:
        ConfigError: if a size is negative, or windows leave nothing to train on.
        DataError: if nothing is left to train on, or a window is empty.
    """
    test_from = _beginning(series, series.lengths, test, "test")
    valid_from = _beginning(series, test_from, valid, "valid")
    if not valid_from.any():
        raise DataError(
            f"{series.origin.name}: validation and test leave no moment to train on: make them "
            "smaller, or give more data"
        )
    train = series.head(valid_from)
    return SeriesSplit(
        train,
        _part(series, train, valid_from, test_from, "validation") if valid else None,
        _part(series, train, test_from, series.lengths, "test") if test else None,
    )


def _beginning(
    series: SeriesCollection, ends: NDArray[np.int64], size: object, name: str
) -> NDArray[np.int64]:
    """(S,) the first moment of a window that ends at given ones."""
    if isinstance(size, (int, float, np.number)) and not isinstance(size, bool):
        if not 0 <= size < np.inf or (size >= 1 and size != int(size)):
            raise ConfigError(f"{name} = {size!r}: give a fraction below 1, or a number of moments")
        if size >= 1:
            return np.maximum(ends - int(size), 0)
        if size == 0:
            return ends
        first, last = series.times.min(), series.times.max()
        span = int(last.astype(np.int64)) - int(first.astype(np.int64))
        last_end = _last_time(series, ends)
        time = np.int64(int(last_end) - round(size * span))
        before = series.times.astype(np.int64) <= time
    else:
        before = series.times < series.moment(size)
    counts = np.add.reduceat(before.astype(np.int64), series.offsets[:-1])
    return np.minimum(counts, ends)


def _last_time(series: SeriesCollection, ends: NDArray[np.int64]) -> np.int64:
    at = series.offsets[:-1] + np.maximum(ends - 1, 0)
    return np.int64(series.times[at].astype(np.int64).max())


def _part(
    series: SeriesCollection,
    train: SeriesCollection,
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    name: str,
) -> SeriesWindow:
    if not (ends > begins).any():
        raise DataError(f"{series.origin.name}: the {name} window has no moment: make it larger")
    kept = np.flatnonzero(ends)
    numbers = {known: i for i, known in enumerate(train.ids)}
    in_train = np.array([numbers.get(series.ids[i], -1) for i in kept], np.int64)
    return SeriesWindow(series.head(ends), np.minimum(begins, ends)[kept], in_train)
