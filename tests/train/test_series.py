"""Models of numbers are trained by the one loop: repeatable, resumed to the bit, judged in nats."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import seriatim as st
from seriatim.core.elements import Numbers
from seriatim.models.build import build_number_model
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.checkpoint.store import Checkpoints
from seriatim.train.options import TrainingOptions
from seriatim.train.series import SeriesValidation, fit_series


class Waves:
    """Waves of many levels with gaps, and their phase as a known input."""

    def __init__(self, num_series: int = 12) -> None:
        rng = np.random.default_rng(0)
        parts, known = [], []
        for _ in range(num_series):
            t = np.arange(rng.integers(20, 60))
            angle = 2 * np.pi * t / 8 + rng.uniform(0, 6)
            x = 10 ** rng.uniform(0, 4) * (3 + np.sin(angle) + 0.1 * rng.standard_normal(len(t)))
            x[rng.random(len(t)) < 0.1] = np.nan
            parts.append(x)
            known.append(np.stack([np.sin(angle), np.cos(angle)], 1))
        self.numbers: NDArray[np.float64] = np.concatenate(parts)[:, None]
        self.known: NDArray[np.float64] | None = np.concatenate(known)
        self.offsets: NDArray[np.int64] = np.cumsum([0, *map(len, parts)])


DATA = Waves()
OPTIONS = TrainingOptions(steps=40, batch_size=8, length=16, learning_rate=1e-2)


def trained(
    checkpoints: Checkpoints | None = None, callbacks: Callbacks | None = None
) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = build_number_model(st.GRU(hidden_size=8, lags=(1, 8)), Numbers(1, num_known=2))
    valid = SeriesValidation(DATA, np.diff(DATA.offsets) - 8)
    history = fit_series(
        model, DATA, valid, OPTIONS, context=8, checkpoints=checkpoints, callbacks=callbacks
    )
    return model, history


def weights(model: Any) -> list[torch.Tensor]:
    return list(model.state_dict().values())


def test_training_lowers_the_nats_of_values_and_is_repeatable() -> None:
    model, history = trained()
    first, last = history.evaluations[0], history.evaluations[-1]
    assert last.valid_nats < first.valid_nats - 0.02
    again, _ = trained()
    for one, other in zip(weights(model), weights(again), strict=True):
        assert torch.equal(one, other)


def test_a_run_is_resumed_to_the_bit(tmp_path: Path) -> None:
    done = 0

    def is_enough() -> bool:
        nonlocal done
        done += 1
        return done > 25

    whole, _ = trained()
    _, cut = trained(
        Checkpoints(folder=tmp_path / "run", minutes=0.0), Callbacks(should_stop=is_enough)
    )
    assert cut.steps_done < OPTIONS.steps
    resumed, history = trained(Checkpoints(folder=tmp_path / "run", minutes=0.0, resume=True))
    assert history.resumed_at and history.steps_done == OPTIONS.steps
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        assert torch.equal(one, other)
