"""Early stopping: the best weights on the validation data, and when patience has run out.

Knows a model, its evaluations and their losses; knows no trainer and no clock.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from seriatim.core.model import TargetModel
from seriatim.train.callbacks.history import Evaluation


@dataclass(frozen=True)
class BestWeights:
    """Weights, and how well they did.

    Attributes:
        step: the number of updates behind them.
        nats: their validation loss; None where it was not measured.
        weights: a copy of them, by name; empty if they are those that the model has now.
    """

    step: int
    nats: float | None
    weights: dict[str, Tensor]


class EarlyStopping:
    """Keeps a copy of the best weights of a model, and says when validation has stalled.

    Attributes:
        best: the best weights so far; None before the first evaluation.
    """

    def __init__(self, model: TargetModel, patience: int | None) -> None:
        """
        Args:
            model: the model that is trained.
            patience: the number of evaluations without an improvement after which to stop; None:
                never.
        """
        self._model, self._patience = model, patience
        self.best: BestWeights | None = None

    def observe(self, step: int, nats: float | None) -> bool:
        """Take note of an evaluation of the present weights; returns whether they are the best.

        Args:
            step: the number of updates behind the weights.
            nats: the validation loss; None without validation data: the last weights are the best.
        """
        before = None if self.best is None else self.best.nats
        is_best = nats is None or before is None or nats < before
        if is_best:
            self.take(step, nats)
        return is_best

    def take(self, step: int, nats: float | None) -> None:
        """Copy the present weights as the best."""
        # Bound in one go, after the copy is whole: Ctrl-C may come at any moment.
        state = copy.deepcopy(self._model.state_dict())
        weights = {name: tensor.contiguous() for name, tensor in state.items()}
        self.best = BestWeights(step, nats, weights)

    def has_stalled(self, evaluations: Sequence[Evaluation]) -> bool:
        """Whether none of the last evaluations, as many as patience allows, was the best."""
        if self._patience is None or len(evaluations) <= self._patience:
            return False
        return not any(e.is_best for e in evaluations[-self._patience :])

    def end_with_current(self, step: int) -> None:
        """End with the weights that the model has now, which were never evaluated."""
        self.best = BestWeights(step, None, {})

    def load_best(self) -> None:
        """Put the best weights back into the model."""
        if self.best is not None:
            self._model.load_state_dict(self.best.weights)
