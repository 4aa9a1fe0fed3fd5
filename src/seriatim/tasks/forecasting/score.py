"""How well a model predicts the next value of series: one pass, nats for each observed value.

Knows models and arrays; no files.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.batch import Batch, valid_mask
from seriatim.core.densities import Density
from seriatim.core.model import SequenceModel
from seriatim.core.records import Json
from seriatim.core.values import NumberSequences, Values
from seriatim.errors import DataError
from seriatim.tasks.forecasting.states import Ints, begin, follow, row_blocks

PIT_BINS = 20


@dataclass(frozen=True)
class ForecastScore:
    """How well the next value of series is predicted, one moment ahead.

    Attributes:
        num_values: the number of observed values.
        nats: the sum of -ln p(value | everything before it), in the units of the data.
        nats_per_value: nats divided by num_values: a density, which depends on the units.
        mean_absolute_error: of the mean of the prediction.
        root_mean_squared_error: of the mean of the prediction.
        coverage: by a level in percent, the fraction of values inside the interval in the middle
            of the prediction that has this probability.
        histogram: how many values lie in each twentieth of the prediction, from the lowest; equal
            for predictions that are calibrated.
    """

    num_values: int
    nats: float
    nats_per_value: float
    mean_absolute_error: float
    root_mean_squared_error: float
    coverage: dict[str, float] = field(default_factory=dict)
    histogram: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return (
            f"ForecastScore({self.nats_per_value:.4f} nats per value of {self.num_values:,}, "
            f"mean absolute error {self.mean_absolute_error:.4g})"
        )

    def to_json(self) -> Json:
        """A dict of JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The score for people, in lines."""
        inside = ", ".join(
            f"{level} % interval holds {100 * part:.1f} %" for level, part in self.coverage.items()
        )
        return [
            f"{self.nats_per_value:.4f} nats per value (one moment ahead, a density in the units "
            "of the data)",
            f"mean absolute error {self.mean_absolute_error:.4g}, root mean squared error "
            f"{self.root_mean_squared_error:.4g}",
            *([inside] if inside else []),
            f"{self.num_values:,} observed values",
        ]


class Tally:
    """Sums over scored values, from which a `ForecastScore` is made."""

    def __init__(self) -> None:
        self.nats = self.absolute = self.squared = 0.0
        self.count = 0
        self.is_count = False
        self.histogram = np.zeros(PIT_BINS, np.int64)

    def add(self, density: Density, targets: Values, valid: Tensor | None = None) -> None:
        """Count the observed values of a batch.

        Args:
            density: the distributions of the targets.
            targets: (B, L, D).
            valid: (B, L) which moments count; None: all.
        """
        self.is_count = density.is_count
        is_observed = targets.is_observed
        if valid is not None:
            is_observed = is_observed & valid[..., None]
        self.nats -= float(density.log_prob(Values(targets.numbers, is_observed)).double().sum())
        error = torch.where(is_observed, targets.numbers - density.mean, 0.0).double()
        self.absolute += float(error.abs().sum())
        self.squared += float(error.square().sum())
        self.count += int(is_observed.sum())
        below = density.cdf(targets.numbers)[is_observed].clamp(0, 1 - 1e-9)
        self.histogram += np.bincount((below * PIT_BINS).long().cpu().numpy(), minlength=PIT_BINS)

    def add_rows(self, density: Density, batch: Batch) -> None:
        """Count all moments of a batch."""
        valid = None
        if batch.lengths is not None:
            valid = valid_mask(batch.lengths, batch.shape[1]).to(batch.targets.numbers.device)
        self.add(density, batch.targets, valid)

    def score(self, name: str) -> ForecastScore:
        """The score of what was counted.

        Raises:
            DataError: if no value was observed; `name` is that of the data.
        """
        if self.count == 0:
            raise DataError(f"{name} has no observed value to score")
        return ForecastScore(
            self.count,
            self.nats,
            self.nats / self.count,
            self.absolute / self.count,
            math.sqrt(self.squared / self.count),
            {f"{level}": self._inside(level) for level in (50, 80, 90)},
            tuple(self.histogram.tolist()),
        )

    def _inside(self, level: int) -> float:
        outside = round(PIT_BINS * (1 - level / 100) / 2)
        middle = self.histogram[outside : PIT_BINS - outside].sum()
        return float(middle / max(1, self.count))


def score_series(
    model: SequenceModel,
    data: NumberSequences,
    index: Ints,
    first: Ints | None = None,
    *,
    name: str,
    progress: Callable[[int], None] | None = None,
) -> ForecastScore:
    """The score of whole series, or of their ends.

    Args:
        model: the model.
        data: the series.
        index: (S,) their numbers in the training data, -1 for others.
        first: (S,) the places in the data of the first moments that count; None: all count.
        name: the name of the data, for messages.
        progress: callback that receives the number of moments read so far.
    """
    tally, offsets, done = Tally(), np.asarray(data.offsets), 0
    scored = offsets[:-1] if first is None else first

    def count(starts: Ints, at: Ints, batch: Batch, density: Density) -> None:
        nonlocal done
        length = batch.shape[1]
        places = at[:, None] + np.arange(length)
        ends = at + (length if batch.lengths is None else batch.lengths.numpy())
        valid = (places >= starts[:, None]) & (places < ends[:, None])
        tally.add(density, batch.targets, torch.as_tensor(valid).to(model.device))
        done += int((ends - at).sum())
        if progress is not None:
            progress(done)

    for rows in row_blocks(len(index)):
        standing, starts = begin(model, torch.as_tensor(index[rows])), scored[rows]
        follow(
            model,
            data,
            standing,
            offsets[rows].copy(),
            offsets[rows + 1],
            partial(_of_rows, count, starts),
        )
    return tally.score(name)


def _of_rows(
    count: Callable[[Ints, Ints, Batch, Density], None],
    starts: Ints,
    chosen: Ints,
    at: Ints,
    batch: Batch,
    density: Density,
) -> None:
    count(starts[chosen], at, batch, density)


@torch.inference_mode()
def surprisals_of(model: SequenceModel, data: NumberSequences, index: Ints) -> NDArray[np.float64]:
    """(N,) -log2 of the density of each moment given all before it, NaN where nothing was observed.

    Bits of a density depend on the units of the data and may be negative.
    """
    found = np.full(len(data.numbers), np.nan)
    offsets = np.asarray(data.offsets)

    def keep(chosen: Ints, at: Ints, batch: Batch, density: Density) -> None:
        bits = (-density.log_prob(batch.targets) / math.log(2)).double().cpu().numpy()
        seen = batch.targets.is_observed.any(-1).cpu().numpy()
        lengths = np.full(len(at), batch.shape[1]) if batch.lengths is None else batch.lengths
        for i, (place, length) in enumerate(zip(at, np.asarray(lengths), strict=True)):
            found[place : place + length] = np.where(seen[i, :length], bits[i, :length], np.nan)

    for rows in row_blocks(len(index)):
        standing = begin(model, torch.as_tensor(index[rows]))
        follow(model, data, standing, offsets[rows].copy(), offsets[rows + 1], keep)
    return found
