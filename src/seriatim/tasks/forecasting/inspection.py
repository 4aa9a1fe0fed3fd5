"""What happens inside a forecaster while it reads a series, one moment ahead.

    bands        the median and the 80 % band of each moment, given all before it, and its surprisal
    innovations  what each moment brought that was not expected: its value minus the mean, also in
                 standard deviations
    hidden       smoothed components, or the most probable states, of a model that has them
    lags         by how much the next mean moves if the value k moments ago is greater by 1; of a
                 linear model these are its coefficients
    gates, maps  what a network records

Knows models, arrays and recordings; no family.

Shapes: T moments, K lags.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.analysis.recorder import record, tap_patterns
from seriatim.core.batch import Batch
from seriatim.core.densities import Density
from seriatim.core.model import SequenceModel
from seriatim.core.records import Json
from seriatim.data.series.output import time_texts
from seriatim.errors import ConfigError, DataError
from seriatim.report.series_plots import or_gaps
from seriatim.report.terminal import text_table
from seriatim.tasks.forecasting.given_series import Floats, GivenSeries, find_series
from seriatim.tasks.forecasting.hidden_parts import HiddenParts, hidden_parts
from seriatim.tasks.forecasting.states import (
    Ints,
    Reader,
    begin,
    follow,
    moments,
    ready,
    stand_after,
)

if TYPE_CHECKING:
    from seriatim.report.document import Report

MOST_MOMENTS = 336  # that are read with recording, if no length is given
_MOST_LAGS = 60
_SHOWN = 5
_STEP = 1e-2  # of the spread of the values, by which one is moved


@dataclass(frozen=True)
class SeriesInspection:
    """What a forecaster made of a part of one series.

    Attributes:
        title: the name of the model.
        series: the name of the series.
        channel: the name of the channel that is shown.
        times: (T,) the moments, as text or whole numbers.
        values: (T,) NaN where missing.
        low, median, high: (T,) the quantiles .1, .5 and .9 of each moment given all before it.
        bits: (T,) the surprisal of all channels, NaN where nothing was observed.
        innovations: (T,) the value minus its mean given all before it, NaN where missing.
        deviations: (T,) the same in standard deviations, NaN where there is none.
        hidden: what the model says was hidden, given later values too.
        lags: (K,) d mean of the next moment / d value k = 1 .. K moments ago; NaN where missing.
        taps: what was recorded, by name: (T, units), or maps (T, slots).
        before: the moments that were read before.
    """

    title: str
    series: str
    channel: str
    times: Sequence[str | int]
    values: Floats
    low: Floats
    median: Floats
    high: Floats
    bits: Floats
    innovations: Floats
    deviations: Floats
    hidden: HiddenParts
    lags: Floats
    taps: dict[str, Floats]
    before: int

    @property
    def most_surprising(self) -> list[int]:
        """The places of the greatest surprisal, the greatest first."""
        seen = np.flatnonzero(~np.isnan(self.bits))
        return [int(i) for i in seen[np.argsort(-self.bits[seen], kind="stable")][:_SHOWN]]

    def to_json(self) -> Json:
        """A dict of JSON values; of what was recorded, the mean over units of each moment."""
        names = "values", "low", "median", "high", "bits", "innovations", "deviations", "lags"
        return {
            "model": self.title,
            "series": self.series,
            "channel": self.channel,
            "moments_before": self.before,
            "times": list(self.times),
            **{name: or_gaps(getattr(self, name)) for name in names},
            **self.hidden.to_json(),
            "recorded": {name: or_gaps(tap.mean(1)) for name, tap in self.taps.items()},
        }

    def __str__(self) -> str:
        seen = ~np.isnan(self.values)
        inside = (self.values >= self.low) & (self.values <= self.high)
        rows = [["most surprising", "value", "0.1", "0.5", "0.9", "bits"]]
        columns = self.values, self.low, self.median, self.high
        for i in self.most_surprising:
            numbers = [f"{column[i]:.5g}" for column in columns]
            rows.append([str(self.times[i]), *numbers, f"{self.bits[i]:.2f}"])
        lags = np.nan_to_num(self.lags)
        order = [i for i in np.argsort(-np.abs(lags), kind="stable") if lags[i] != 0]
        told = ", ".join(f"{self.lags[i]:+.3f} of lag {i + 1}" for i in order[:_SHOWN])
        lines = [
            f"{self.title}: series {self.series}, {len(self.values):,} moments from "
            f"{self.times[0]} to {self.times[-1]}, {self.before:,} read before",
            f"{np.nanmean(self.bits):.3f} bits a moment (of a density); the 80 % band one moment "
            f"ahead held {100 * inside[seen].mean():.1f} % of {int(seen.sum()):,} values",
            text_table(rows),
            *self.hidden.lines(),
            f"the next mean moves, for 1 more: by {told or 'nothing'}",
        ]
        if self.taps:
            lines.append(f"recorded: {', '.join(self.taps)} (drawn by --out FILE.html)")
        return "\n".join(lines)

    def report(self) -> "Report":
        """The same as a page."""
        from seriatim.tasks.forecasting.inspection_page import inspection_page

        return inspection_page(self)


def inspect_series(
    model: SequenceModel,
    given: GivenSeries,
    index: Ints,
    *,
    title: str,
    series: str | None = None,
    start: int | None = None,
    length: int | None = None,
    only: Sequence[str | int] | None = None,
) -> SeriesInspection:
    """What a model makes of a part of one series, which is read from its beginning.

    Args:
        model: the model.
        given: the series.
        index: (S,) their numbers in the training data, -1 for others.
        title: the name of the model.
        series: the name of the series; None: the first.
        start: the number of moments before the part; None: the part is at the end.
        length: the number of moments in it; None: at most 336.
        only: numbers of layers and patterns of what is recorded; None: all.

    Raises:
        ConfigError: if there is no such series, or a number is out of range.
        DataError: if the series ends before the part, or nothing in it was observed.
    """
    row = 0 if series is None else find_series(series, given.ids)
    first, last = int(given.offsets[row]), int(given.offsets[row + 1])
    size = min(last - first, MOST_MOMENTS if length is None else length)
    if size < 1:
        raise ConfigError(f"length = {length}: give 1 or more")
    at = last - size if start is None else first + start
    end = min(at + size, last)
    if not first <= at < last:
        raise DataError(
            f"the series {given.ids[row]!r} has {last - first:,} moments, none of them from "
            f"{start:,} on: start earlier"
        )
    if np.isnan(given.numbers[at:end]).all():
        raise DataError(f"the series {given.ids[row]!r} has no value in this part: choose another")
    places = np.array([at])
    standing = begin(model, torch.as_tensor(index[row : row + 1]))
    standing = follow(model, given, standing, np.array([first]), places.copy())
    found: list[NDArray[np.float64]] = []

    def keep(rows: Ints, begin_at: Ints, batch: Batch, density: Density) -> None:
        bits = -density.log_prob(batch.targets) / math.log(2)
        bits = torch.where(batch.targets.is_observed.any(-1), bits, torch.nan)
        bands = [
            density.quantile(torch.tensor(q, dtype=torch.float64))[..., 0] for q in (0.1, 0.5, 0.9)
        ]
        y = torch.where(batch.targets.is_observed, batch.targets.numbers, torch.nan)[..., 0]
        innovation = y - density.mean[..., 0]
        deviation = innovation / density.variance[..., 0].sqrt()
        deviation = torch.where(deviation.isfinite(), deviation, torch.nan)
        columns = torch.stack([bits, *bands, innovation, deviation], -1)
        found.append(columns[0].double().cpu().numpy())

    with record(model, only=tap_patterns(only)) as trace:
        follow(model, given, standing, places.copy(), np.array([end]), keep)
        taps = {name: _flat(trace[name]) for name in trace.names}
    bits, low, median, high, innovations, deviations = np.concatenate(found).T
    times = given.times[at:end]
    is_date = times.dtype.kind == "M"
    return SeriesInspection(
        title,
        given.ids[row],
        given.collection.channel_names[0],
        time_texts(times, given.collection.time_zone) if is_date else times.tolist(),
        given.numbers[at:end, 0],
        low,
        median,
        high,
        bits,
        innovations,
        deviations,
        hidden_parts(model, given, row, standing, at, end),
        _lags(model, given, int(index[row]), first, end),
        {name: tap for name, tap in taps.items() if tap is not None},
        at - first,
    )


def _flat(tap: torch.Tensor) -> Floats | None:
    """(T, units) of what was recorded of one row; maps of several heads become their mean."""
    one = tap[0].double().cpu()
    while one.ndim > 2:
        one = one.mean(0)
    return None if one.ndim < 2 else one.numpy()


@torch.inference_mode()
def _lags(model: SequenceModel, given: GivenSeries, number: int, first: int, end: int) -> Floats:
    """(K,) how the mean after `end` moves with each value before it, in the first channel."""
    count = min(_MOST_LAGS, end - first)
    place = np.array([end - count])
    standing = follow(
        model, given, begin(model, torch.tensor([number])), np.array([first]), place.copy()
    ).select([0] * (count + 1))
    values = given.numbers[end - count : end].copy()
    step = _STEP * max(float(np.nanstd(given.numbers[first:end, 0])), 1e-9)
    many = np.repeat(values[None], count + 1, 0)
    many[np.arange(count), count - 1 - np.arange(count), 0] += step  # row k moves lag k + 1
    reader = Reader(given, model)
    known = reader.known(np.repeat(place, count + 1), count)
    batch = moments(model, standing, many, known)
    _, carry = model.advance(standing.carry, batch.inputs, batch.lengths)
    after = reader.known(np.repeat(np.array([end]), count + 1), 1)
    state = ready(
        model, stand_after(standing, batch, carry), None if after is None else after[:, 0]
    )
    density = model.predict(state)
    assert isinstance(density, Density)
    mean = density.mean[:, 0].double().cpu().numpy()
    moved = (mean[:-1] - mean[-1]) / step
    moved[np.abs(moved) < 1e-6] = 0.0
    return np.where(np.isnan(values[::-1, 0]), np.nan, moved)
