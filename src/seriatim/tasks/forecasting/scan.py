"""A backtest of a fitted model as one pass: where the series stand at each origin, and forecasts.

Series are read once, from their beginning to their end; at each origin their state is kept, and
all forecasts begin in kept states. Knows models and arrays; no files.

Shapes: S series, R forecasts (an origin of a series each), H moments ahead, D channels, Q
quantiles.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.densities import Density
from seriatim.core.model import SequenceModel
from seriatim.core.values import NumberSequences
from seriatim.tasks.forecasting.cutoffs import Cutoffs
from seriatim.tasks.forecasting.predict import predict_rows
from seriatim.tasks.forecasting.score import Tally
from seriatim.tasks.forecasting.states import Ints, Standing, begin, follow, row_blocks, stand_at

_BYTES_KEPT = 1 << 28  # of states, before forecasts are made from them
_ROWS_KEPT = 8192


@dataclass(frozen=True)
class Scanned:
    """The forecasts of a backtest, and the scores of single steps.

    Attributes:
        series: (R,) the series of each forecast.
        first: (R,) the place in the data of the first moment of each forecast.
        y: (R, H, D) what came, NaN where missing.
        mean: (R, H, D).
        quantiles: (R, Q, H, D).
        tally: the one-step scores of all values from the first origin of each series on.
    """

    series: Ints
    first: Ints
    y: NDArray[np.float64]
    mean: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    tally: Tally


def scan(
    model: SequenceModel,
    data: NumberSequences,
    index: Ints,
    cutoffs: Cutoffs,
    *,
    quantiles: Sequence[float],
    num_samples: int,
    seed: int,
    stop: Ints | None = None,
    tally: Tally | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scanned:
    """Forecasts from every origin of every series.

    Args:
        model: a fitted model.
        data: the series.
        index: (S,) their numbers in the training data of the model, -1 for others.
        cutoffs: the origins.
        quantiles: Q of them.
        num_samples: the paths of a model that must be sampled.
        seed: of the paths.
        stop: (S,) the places up to which single steps are scored; None: the ends.
        tally: where they are counted; None: a new one.
        progress: callback that receives the number of forecasts made so far.
    """
    kept = _Forecasts(model, data, cutoffs.horizon, tuple(quantiles), num_samples, seed, progress)
    tally = Tally() if tally is None else tally
    offsets, earliest = np.asarray(data.offsets), cutoffs.earliest()
    ends = offsets[1:] if stop is None else stop
    for rows in row_blocks(len(index)):
        # A series without an origin is read nowhere.
        places = np.where(earliest[rows] >= 0, earliest[rows], offsets[rows])
        standing = begin(model, torch.as_tensor(index[rows]))
        starts = follow(model, data, standing, offsets[rows].copy(), places)
        _keep(kept, starts, places, rows, cutoffs.first[:, rows])
        # Single steps are scored apart, in long chunks: short ones cost most of their time each.
        to = np.where(earliest[rows] >= 0, np.maximum(ends[rows], places), places)
        follow(model, data, starts, places, to, partial(_count, tally))
    return kept.result(tally)


def _keep(kept: "_Forecasts", standing: Standing, at: Ints, rows: Ints, first: Ints) -> None:
    """Keep where series stand at their origins.

    Args:
        kept: what takes them.
        standing: what is kept of B series before their first origins.
        at: (B,) the places of these.
        rows: (B,) the numbers of the series.
        first: (O, B) the places of the origins; -1: there is none.
    """
    together = max(1, _ROWS_KEPT // len(rows))
    for origins in np.split(first, range(together, len(first), together)):
        ends = np.maximum(origins, at)
        whole = stand_at(kept.model, kept.data, standing, at, ends.T)
        if whole is not None:
            count = len(origins)
            valid = np.flatnonzero(origins.T >= 0)
            kept.add(whole.select(valid), np.repeat(rows, count)[valid], origins.T.flat[valid])
            standing, at = whole.select(np.arange(len(rows)) * count + count - 1), ends[-1]
            continue
        for place, to in zip(origins, ends, strict=True):
            standing, at = follow(kept.model, kept.data, standing, at, to), to
            valid = np.flatnonzero(place >= 0)
            is_all = len(valid) == len(rows)
            kept.add(standing if is_all else standing.select(valid), rows[valid], place[valid])


def _count(tally: Tally, chosen: Ints, places: Ints, batch: Batch, density: Density) -> None:
    tally.add_rows(density, batch)


class _Forecasts:
    """Collects where series stand, and forecasts from many of them at once."""

    def __init__(
        self,
        model: SequenceModel,
        data: NumberSequences,
        horizon: int,
        quantiles: tuple[float, ...],
        num_samples: int,
        seed: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.model, self.data, self._horizon = model, data, horizon
        self._quantiles, self._num_samples, self._seed = quantiles, num_samples, seed
        self._progress, self._done = progress, 0
        self._waiting: list[Standing] = []
        self._bytes = self._rows = 0
        self._each: int | None = None  # the bytes of a row
        self._series: list[Ints] = []
        self._first: list[Ints] = []
        self._means: list[NDArray[np.float64]] = []
        self._bands: list[NDArray[np.float64]] = []

    def add(self, standing: Standing, series: Ints, first: Ints) -> None:
        """Forecast from here, sooner or later."""
        if not len(series):
            return
        self._waiting.append(standing)
        self._series.append(series)
        self._first.append(first)
        if self._each is None:
            self._each = tree.num_bytes(standing) // len(series)
        self._bytes += self._each * len(series)
        self._rows += len(series)
        if self._bytes > _BYTES_KEPT or self._rows > _ROWS_KEPT:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        standing = self._waiting[0] if len(self._waiting) == 1 else tree.cat(self._waiting)
        first = np.concatenate(self._first)[self._done : self._done + self._rows]
        known = None
        if self.data.known is not None:
            at = np.minimum(first[:, None] + np.arange(self._horizon), len(self.data.known) - 1)
            known = self.data.known[at]
        mean, bands = predict_rows(
            self.model,
            standing,
            self._horizon,
            known,
            quantiles=self._quantiles,
            num_samples=self._num_samples,
            seed=self._seed + self._done,
        )
        self._means.append(mean)
        self._bands.append(bands)
        self._done += self._rows
        self._waiting, self._bytes, self._rows = [], 0, 0
        if self._progress is not None:
            self._progress(self._done)

    def result(self, tally: Tally) -> Scanned:
        """All forecasts, in the order of series and origins."""
        self._flush()
        series, first = np.concatenate(self._series), np.concatenate(self._first)
        order = np.lexsort((first, series))
        at = first[:, None] + np.arange(self._horizon)
        y = np.asarray(self.data.numbers[at], np.float64)
        mean, bands = np.concatenate(self._means), np.concatenate(self._bands)
        return Scanned(series[order], first[order], y[order], mean[order], bands[order], tally)
