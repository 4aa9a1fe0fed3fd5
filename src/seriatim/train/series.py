"""Training of models of numbers on series: the batches that suit them, and the one loop.

Knows series, options and the loop; no family.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seriatim.core.forecasting import PreparesSeries
from seriatim.core.model import SequenceModel
from seriatim.core.values import NumberSequences
from seriatim.data.batches.series import SeriesPass, SeriesWindows
from seriatim.train.bands import calibrate_widths
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.history import History
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.loop import train
from seriatim.train.options import TrainingOptions


@dataclass(frozen=True)
class SeriesValidation:
    """The part of series by which weights are judged.

    Attributes:
        data: the series, what comes before the scored part included.
        scored_from: (S,) the first moment of each series that is scored.
        context: the number of moments before it that are read; None: all.
    """

    data: NumberSequences
    scored_from: NDArray[np.int64]
    context: int | None = None


def series_batches(
    data: NumberSequences,
    valid: SeriesValidation | None,
    options: TrainingOptions,
    *,
    context: int,
) -> tuple[SeriesWindows, SeriesPass | None]:
    """Random windows of series to train on, and one pass over those that weights are judged by.

    Args:
        data, valid, options, context: as of `fit_series`.
    """
    source = SeriesWindows(
        data,
        batch_size=options.batch_size,
        length=options.length,
        context=context,
        seed=options.seed,
    )
    judged = None
    if valid is not None:
        judged = SeriesPass(
            valid.data,
            batch_size=4 * options.batch_size,
            length=options.length,
            scored_from=valid.scored_from,
            context=valid.context,
        )
    return source, judged


def fit_series(
    model: SequenceModel,
    data: NumberSequences,
    valid: SeriesValidation | None,
    options: TrainingOptions,
    *,
    context: int,
    callbacks: Callbacks | None = None,
    checkpoints: Checkpoints | None = None,
) -> History:
    """Train a model of numbers by gradients; see `train.loop.train`.

    Args:
        model: the model, any `SequenceModel` of numbers.
        data: the series of training.
        valid: what the weights are judged by; None: the last ones are kept.
        options: the training options; `length` is the number of scored moments of a row.
        context: the number of moments that are read before the scored ones of a row.
        callbacks: functions to be called while it trains.
        checkpoints: where checkpoints are written; None: nowhere.

    Raises:
        DataError: if no value is observed.
        ConfigError, TrainingError: as of `train.loop.train`.
    """
    if isinstance(model, PreparesSeries):
        model.prepare_series(data)
    source, judged = series_batches(data, valid, options, context=context)
    history = train(model, source, judged, options, callbacks=callbacks, checkpoints=checkpoints)
    if judged is not None:
        calibrate_widths(model, judged)
    return history
