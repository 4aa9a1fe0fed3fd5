"""What is concluded from runs: a mixture that helps nobody, and times that were not the same."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seriatim.comparison import conclusions
from seriatim.comparison.record import BudgetRecord
from seriatim.comparison.scored_runs import LN2
from seriatim.comparison.store import TrainedRun


def scored(**runs: tuple[list[float], list[float]]) -> Any:
    """Runs with the nats of validation and test symbols, each symbol a block."""
    best = {
        name: TrainedRun(None, np.array(valid, np.float32), np.array(test, np.float32))  # type: ignore[arg-type]
        for name, (valid, test) in runs.items()
    }
    size = len(next(iter(best.values())).test)
    return SimpleNamespace(
        best=best,
        data=SimpleNamespace(
            vocabulary_of=dict.fromkeys(best, "char"),
            test={"char": SimpleNamespace(num_characters=size)},
        ),
        sizes=np.ones(size),
        is_by_character=True,
        blocks=SimpleNamespace(count=1),
        bits=lambda name, run: run.test.astype(float) / LN2,
        mean_bits=lambda name, run: float(run.test.mean()) / LN2,
    )


def test_a_mixture_that_is_worse_on_the_test_text_is_the_best_model_alone() -> None:
    mixture = conclusions._mixture(
        scored(good=([0.1, 3.0, 0.1, 3.0], [0.1] * 4), bad=([3.0, 0.1, 3.0, 0.1], [6.0] * 4))
    )
    assert mixture is not None
    assert mixture.weights == {"good": 1.0, "bad": 0.0}
    assert (mixture.best, mixture.gain) == ("good", 0.0)
    assert mixture.bits == pytest.approx(0.1 / LN2)


def test_a_mixture_that_helps_is_kept() -> None:
    mixture = conclusions._mixture(
        scored(a=([0.1, 3.0, 0.1, 3.0], [0.1, 3.0]), b=([3.0, 0.1, 3.0, 0.1], [3.0, 0.1]))
    )
    assert mixture is not None
    assert mixture.weights["a"] == pytest.approx(0.5, abs=0.01)
    assert mixture.gain > 0.5


def test_models_that_did_not_get_their_time_are_named() -> None:
    def run(seconds: float, *, is_counted: bool = False) -> list[Any]:
        return [
            SimpleNamespace(record=SimpleNamespace(train_seconds=seconds, is_counted=is_counted))
        ]

    runs: Any = SimpleNamespace(
        trained={"gru": run(34.0), "lstm": run(59.0), "markov": run(1.0, is_counted=True)}
    )
    minute = BudgetRecord(kind="minutes", amount=1.0, parameters=None, sentence="1 minute each")
    assert conclusions._unequal_time(runs, minute) == [
        "each model was to train for 60 s, and gru (34 s) did not"
    ]
    steps = BudgetRecord(kind="steps", amount=10, parameters=None, sentence="10 steps each")
    assert conclusions._unequal_time(runs, steps) == []
