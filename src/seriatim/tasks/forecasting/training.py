"""How a forecaster that is trained by gradients is trained: its windows and what judges it.

Knows parts of series and the job; no family.
"""

from typing import TYPE_CHECKING

from seriatim.core.forecasting import PreparesSeries
from seriatim.core.model import SequenceModel
from seriatim.tasks.forecasting.given_series import GivenSeries
from seriatim.train.bands import calibrate_widths
from seriatim.train.callbacks.history import History
from seriatim.train.series import SeriesValidation, series_batches

if TYPE_CHECKING:
    from seriatim.tasks.job import TrainingJob


def train_on_series(
    model: SequenceModel,
    train: GivenSeries,
    valid: GivenSeries | None,
    least_context: int,
    job: "TrainingJob",
) -> History:
    """Train a model on random windows of series; see `train.loop.train`.

    Args:
        model: any model of numbers.
        train: the series of training.
        valid: series by which the weights are judged; None: the last ones are kept.
        least_context: the moments that are read before those that are scored, at least.
        job: options, callbacks and checkpoints.
    """
    options = job.options
    if job.is_new and isinstance(model, PreparesSeries):
        model.prepare_series(train)
    context = max(options.length, least_context)
    if model.reach is not None:
        context = min(context, model.reach)
    validation = None
    if valid is not None:
        begins = valid.offsets[:-1]
        scored_from = (begins if valid.first is None else valid.first) - begins
        validation = SeriesValidation(valid, scored_from, context)
    source, judged = series_batches(train, validation, options, context=context)
    history = job.train(model, source, judged)
    if judged is not None:
        calibrate_widths(model, judged)
    return history
