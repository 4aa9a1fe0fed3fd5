"""Early stopping: training ends when validation has stopped improving.

Knows evaluations; knows no model. The weights of the best evaluation are kept by the run.
"""

from collections.abc import Sequence

from seriatim.train.callbacks.history import Evaluation


def has_stalled(evaluations: Sequence[Evaluation], patience: int | None) -> bool:
    """Whether none of the last `patience` evaluations was the best so far; None: never.

    The evaluation before training counts as an earlier one.
    """
    if patience is None or len(evaluations) <= patience:
        return False
    return not any(e.is_best for e in evaluations[-patience:])
