"""Widths are calibrated on held-out series."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import seriatim as st
from seriatim.core.elements import Numbers
from seriatim.data.batches.series import SeriesPass
from seriatim.models.build import build_number_model
from seriatim.train.bands import calibrate_widths


@dataclass
class Made:
    numbers: NDArray[np.float64]
    offsets: NDArray[np.int64]
    known: None = None


def white(noise: float, lengths: tuple[int, ...] = (900, 400, 0, 7)) -> Made:
    rng = np.random.default_rng(0)
    x = noise * rng.normal(size=(sum(lengths), 2)) * [1.0, 50.0]
    x[rng.random(x.shape) < 0.1] = np.nan
    return Made(x, np.concatenate([[0], np.cumsum(lengths)]))


def constant(density: str, width: float) -> Any:
    """A network that predicts the level, with this multiple of the scale as the width."""
    model: Any = build_number_model(st.GRU(hidden_size=4), Numbers(2), density=density)
    model.scale.prepare(white(1.0).numbers, white(1.0).offsets)
    model.head.linear.weight.data.zero_()
    for channel in range(2):
        with torch.no_grad():
            model.head.set_width(channel, width)
    return model.eval()


@pytest.mark.parametrize("density", ["normal", "student-t", "mixture"])
def test_intervals_hold_what_they_promise_on_held_out_values(density: str) -> None:
    """Values that differ from the last by sqrt(2) deviations, in units of the mean size."""
    data = white(1.0)
    held_out = SeriesPass(data, batch_size=3, length=64, scored_from=np.array([100, 0, 0, 0]))
    model = constant(density, 1.4)
    found = []
    for _ in range(2):  # the second time begins with other factors
        calibrate_widths(model, held_out)
        found.append(model.head.factors.tolist())
    assert found[0] == pytest.approx(found[1])
    state, inside, count = None, 0, 0
    with torch.no_grad():
        for reading in held_out.batches():
            batch, rows = reading.batch, reading.batch.shape[0]
            state = (
                model.empty(rows)
                if reading.is_first
                else st.core.tree.select(state, torch.arange(rows))
            )
            features, state = model.advance(state, batch.inputs, batch.lengths)
            u = model.emit(features).cdf(batch.targets.numbers)
            chosen = batch.targets.is_observed & (batch.target_weights() > 0)[..., None]
            inside += int((((u - 0.5).abs() <= 0.4) & chosen).sum())
            count += int(chosen.sum())
    assert count == held_out.num_targets
    assert inside / count == pytest.approx(0.8, abs=0.015)


def test_few_values_and_models_without_widths_change_nothing() -> None:
    few = SeriesPass(white(1.0, (150,)), batch_size=3, length=64)
    model = constant("normal", 0.5)
    calibrate_widths(model, few)
    assert model.head.factors.tolist() == [1.0, 1.0]
    naive = build_number_model(st.Naive(), Numbers(2), num_series=1)
    before = naive.fingerprint()
    calibrate_widths(naive, few)
    assert naive.fingerprint() == before
