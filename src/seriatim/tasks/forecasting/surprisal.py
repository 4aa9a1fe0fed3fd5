"""The surprisal of the values of series, as that of events: what `threshold` and `detect` read.

Knows models and arrays; no thresholds.
"""

from collections.abc import Iterator

import numpy as np

from seriatim.core.model import SequenceModel
from seriatim.data.series.output import time_texts
from seriatim.data.sources import NamedSequence
from seriatim.tasks.forecasting.given_series import GivenSeries
from seriatim.tasks.forecasting.score import surprisals_of
from seriatim.tasks.forecasting.states import Ints
from seriatim.tasks.sequence_surprisal import SequenceBits


def bits_of_series(model: SequenceModel, given: GivenSeries, index: Ints) -> Iterator[SequenceBits]:
    """Each series with the bits of its observed moments, in order; one without any is left out.

    Args:
        model: the model.
        given: the series.
        index: (S,) their numbers in the training data, -1 for others.
    """
    bits, zone = surprisals_of(model, given, index), given.collection.time_zone
    for i, name in enumerate(given.ids):
        own = slice(given.offsets[i], given.offsets[i + 1])
        seen = ~np.isnan(bits[own])
        if not seen.any():
            continue
        values = [" ".join(f"{v:.6g}" for v in row) for row in given.numbers[own][seen]]
        times = time_texts(given.times[own][seen], zone)
        yield SequenceBits(
            i + 1,
            NamedSequence(name, values, times),
            values,
            bits[own][seen],
            np.zeros(len(values), bool),
        )
