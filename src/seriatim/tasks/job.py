"""What a task needs to train its model.

Knows training and folders of checkpoints; no data and no task.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from seriatim.core.model import TargetModel
from seriatim.core.records import Json
from seriatim.data.batches.corpus import BatchSource, EvaluationPass
from seriatim.errors import ConfigError
from seriatim.train.budget import Afterwards
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.history import History
from seriatim.train.checkpoint.resume import write_documents
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.distributed import current
from seriatim.train.loop import train as train_model
from seriatim.train.options import TrainingOptions


@dataclass(frozen=True)
class TrainingJob:
    """What a task needs to train its model.

    Attributes:
        options: the training options.
        callbacks: functions to be called while it trains.
        checkpoints: the folder of the run; None: no checkpoints are written.
        documents: what the run is begun with, written beside its checkpoints.
        is_new: whether the model has just been built, so that it has learnt nothing yet.
        scored_after: the number of symbols that are scored when it is trained.
        seconds_after: the time to be left for other things, of a budget in minutes.
    """

    options: TrainingOptions
    callbacks: Callbacks
    checkpoints: Checkpoints | None
    documents: Mapping[str, Json]
    is_new: bool
    scored_after: int = 0
    seconds_after: float = 0.0

    def train(
        self, model: TargetModel, batches: BatchSource, valid: EvaluationPass | None
    ) -> History:
        """Train by gradients; see `train.loop.train`."""
        write_documents(self.checkpoints, self.documents)
        return train_model(
            model,
            batches,
            valid,
            self.options,
            callbacks=self.callbacks,
            checkpoints=self.checkpoints,
            after=Afterwards(self.scored_after, self.seconds_after),
        )

    def check_closed_form(self, family: str) -> None:
        """Raise a ConfigError if the model is to be fitted further, or by several processes."""
        at_once = f"a {family} model is fitted at once"
        if current().size > 1:
            raise ConfigError(f"{at_once}, in one process: leave out --processes")
        if not self.is_new:
            raise ConfigError(
                f"{at_once}, not trained, so it cannot be trained further: fit a new one on all of "
                "the data"
            )
