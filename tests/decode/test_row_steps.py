"""Sampling one row by steps bound to the weights: the same symbols and states, to the bit."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

import seriatim as st
from seriatim.core import taps, tree
from seriatim.core.distributions import LinearCategorical
from seriatim.core.model import SequenceModel, State
from seriatim.models.build import build_model
from seriatim.models.recurrent import Recurrent

V = 30
FAMILIES = [
    st.LSTM(hidden_size=24, num_layers=2),
    st.GRU(hidden_size=24),
    st.RNN(hidden_size=24),
    st.LSTM(hidden_size=24, layer_norm=True),
]


def _model(config: Any) -> SequenceModel:
    torch.manual_seed(0)
    return build_model(config, V, 1).eval()


def _sampled(model: SequenceModel) -> Iterator[tuple[Tensor, State]]:
    with torch.inference_mode():
        state = model.start(1)
    return st.sample(model, state, seed=3)


def _drawn(model: SequenceModel, count: int) -> tuple[list[int], list[Tensor]]:
    found = list(islice(_sampled(model), count))
    return [int(x) for x, _ in found], tree.leaves([state for _, state in found])


@pytest.mark.parametrize("config", FAMILIES, ids=lambda c: type(c).__name__)
def test_symbols_and_states_are_those_of_step_and_predict(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(config)
    symbols, leaves = _drawn(model, 300)
    monkeypatch.setattr(Recurrent, "row_steps", lambda _: None)
    expected, others = _drawn(model, 300)
    assert symbols == expected
    assert all(torch.equal(a, b) for a, b in zip(leaves, others, strict=True))


def test_weights_that_change_between_two_symbols_are_seen() -> None:
    model = _model(FAMILIES[0])
    drawn = _sampled(model)
    for _ in range(5):
        x, state = next(drawn)
    with torch.inference_mode():
        assert model.row_steps() is not None
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    with torch.inference_mode():
        assert model.row_steps() is None
        expected = model.step(state, x)
    assert torch.equal(next(drawn)[1].features, expected.features)


def test_a_subclass_that_emits_in_its_own_way_is_asked() -> None:
    class Certain(Recurrent):
        def emit(self, features: Tensor) -> LinearCategorical:
            bias = torch.full((V,), -1e4)
            bias[7] = 0.0
            return LinearCategorical(features, self.head.weight, bias)

    model = Certain(st.LSTM(hidden_size=24), V, 1).eval()
    assert _drawn(model, 20)[0] == [7] * 20


def test_a_recorder_gets_every_step() -> None:
    model = _model(FAMILIES[0])
    drawn = _sampled(model)
    next(drawn), next(drawn)
    with torch.inference_mode():
        assert model.row_steps() is not None
        recorder: Any = object()
        with taps.recording(recorder):
            assert model.row_steps() is None
