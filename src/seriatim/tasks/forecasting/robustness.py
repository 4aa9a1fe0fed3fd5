"""What missing values cost a model of series, in bits for each value that is kept.

Knows models and arrays.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seriatim.analysis.robustness.result import PerturbationResult, Robustness
from seriatim.core.distributions import uniforms
from seriatim.core.model import SequenceModel
from seriatim.errors import DataError
from seriatim.tasks.forecasting.given_series import GivenSeries
from seriatim.tasks.forecasting.score import surprisals_of
from seriatim.tasks.forecasting.states import Ints

FRACTIONS = (0.05, 0.1, 0.3, 0.5)
_BLOCK = 64  # values whose mean is one figure of the interval: neighbours depend on one another
_Z = 1.959963984540054


def measure_omissions(
    model: SequenceModel,
    given: GivenSeries,
    index: Ints,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Robustness:
    """How much worse a model predicts the values that are kept when others are removed at random.

    Args:
        model: the model.
        given: the series.
        index: (S,) their numbers in the training data, -1 for others.
        fractions: the fractions of the moments that are removed.
        seed: of their choice.
        progress: callback that receives the fraction of the work done so far.

    Raises:
        DataError: if no value is observed.
    """
    intact = surprisals_of(model, given, index)
    if np.isnan(intact).all():
        raise DataError(f"{given.name} has no observed value")
    found = []
    u = uniforms(seed, np.arange(len(intact)), 0).numpy()
    for i, fraction in enumerate(fractions):
        numbers = np.where((u < fraction)[:, None], np.nan, given.numbers)
        damaged = GivenSeries(replace(given.collection, numbers=numbers))
        bits = surprisals_of(model, damaged, index)
        kept = ~np.isnan(bits)
        found.append(_result(fraction, bits[kept], intact[kept]))
        if progress is not None:
            progress((i + 1) / len(fractions))
    return Robustness(float(np.nanmean(intact)), tuple(found), "bits per kept value")


def _result(
    fraction: float, bits: NDArray[np.float64], intact: NDArray[np.float64]
) -> PerturbationResult:
    mean, before = float(bits.mean()), float(intact.mean())
    own, change = _error(bits), _error(bits - intact)
    return PerturbationResult(
        kind="missing",
        strength=fraction,
        bits=mean,
        interval=(mean - _Z * own, mean + _Z * own),
        intact=before,
        chance=(before - _Z * change, before + _Z * change),
        targets=len(bits),
    )


def _error(values: NDArray[np.float64]) -> float:
    """The standard error of the mean, from means of blocks."""
    count = max(2, len(values) // _BLOCK)
    means = np.array([part.mean() for part in np.array_split(values, count) if len(part)])
    return float(means.std(ddof=1) / math.sqrt(len(means))) if len(means) > 1 else 0.0
