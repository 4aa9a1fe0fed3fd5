"""Blocks in numpy for a step: equal to the blocks, alone, in batches, in beams and streams."""

import copy

import pytest
import torch
from torch import Tensor

import seriatim as st
from seriatim.core import product_kernels, taps, tree
from seriatim.core.model import State
from seriatim.layers import block_step
from seriatim.models import causal_blocks
from seriatim.models.build import build_model
from seriatim.models.transformer import TransformerModel

V = 300


def _model() -> TransformerModel:
    torch.manual_seed(0)
    config = st.Transformer(model_size=256, num_layers=2, num_heads=4, context=12)
    model = build_model(config, V, 1).eval()
    assert isinstance(model, TransformerModel)
    return model


def _followed(model: TransformerModel, state: State, x: Tensor, rows: Tensor) -> list[Tensor]:
    """The features after each symbol, where rows follow others before each."""
    features = []
    with torch.inference_mode():
        for symbols in x.unbind(1):
            state = model.step(tree.select(state, rows), symbols)
            features.append(state.features)
    return features


@pytest.mark.parametrize("rows", [[0], [0, 1, 2], [0, 0, 0, 1, 1, 1]], ids=["one", "level", "beam"])
@pytest.mark.parametrize("is_one", [True, False], ids=["one thread", "threads"])
def test_a_step_equals_the_blocks(
    rows: list[int], is_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (block_step, product_kernels):
        monkeypatch.setattr(module, "has_one_blas_thread", lambda: is_one)
    model, index = _model(), torch.tensor(rows)
    x = torch.randint(0, V, (len(rows), 20), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        state = model.start(max(rows) + 1)
    found = _followed(model, state, x, index)
    assert model._prepared is not None
    monkeypatch.setattr(causal_blocks, "is_useful", lambda *_: False)
    expected = _followed(model, state, x, index)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_rows_of_different_lengths_and_constant_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    prompt, lengths = torch.randint(0, V, (3, 5)), torch.tensor([5, 0, 2])

    def features(capacity: int | None) -> Tensor:
        with torch.inference_mode():
            state = model.update(model.start(3, capacity=capacity), prompt, lengths)
            found: Tensor = model.step(model.step(state, prompt[:, 0]), prompt[:, 1]).features
            return found

    found = [features(None), features(12)]
    assert model._prepared is not None
    monkeypatch.setattr(causal_blocks, "is_useful", lambda *_: False)
    expected = [features(None), features(12)]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_other_blocks_training_and_recorders_take_the_road_of_torch() -> None:
    one = torch.zeros(1, 1, 256)
    classic = build_model(st.Transformer.classic(model_size=32, num_heads=2), V, 1).eval()
    model = _model()
    weight = model.blocks[0].attention.weight
    assert block_step.are_known(list(model.blocks))
    assert not block_step.are_known(list(classic.blocks))  # type: ignore[arg-type]
    assert not block_step.is_useful(one, weight)
    with torch.no_grad():
        assert block_step.is_useful(one, weight)
        assert not block_step.is_useful(torch.zeros(1, 2, 256), weight)
        assert not block_step.is_useful(torch.zeros(65, 1, 256), weight)
        assert not block_step.is_useful(one.double(), weight)
        with taps.recording(taps.Recorder(model)):
            assert not block_step.is_useful(one, weight)


def test_weights_that_change_are_prepared_again() -> None:
    model, x = _model(), torch.tensor([7])
    with torch.no_grad():
        state = model.start(1)
        for _ in range(3):
            before = model.step(state, x).features
        model.blocks[1].feedforward.output.weight.mul_(2)
        found = [model.step(state, x).features for _ in range(3)]
        expected = copy.deepcopy(model).step(state, x).features
    assert not torch.allclose(found[0], before)
    for features in found:
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
