"""How layers run where torch's are cuDNN's, tried on a CPU: what autocast and torch would do wrong.

Autocast runs cuDNN's layers in float16 even where bfloat16 was asked for, and cuDNN has no backward
pass for a forward pass that was not told to train.
"""

from typing import Any

import pytest
import torch

import seriatim as st
from seriatim.core.batch import Batch
from seriatim.layers.kernels import dispatch
from seriatim.models.build import build_model

CONFIGS = {
    "lstm": st.LSTM(hidden_size=5, num_layers=2),
    "gru": st.GRU(hidden_size=5, num_layers=2),
    "rnn_tanh": st.RNN(hidden_size=5, num_layers=2),
}


def nats_of(model: st.SequenceModel, *, is_narrow: bool) -> torch.Tensor:
    """ln p of a ragged batch and of a full one."""
    x = torch.randint(4, (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16, enabled=is_narrow):
        ragged = model.log_prob(Batch(x, x, torch.tensor([9, 4, 1])))
        return torch.cat([ragged, model.log_prob(Batch(x, x))])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("is_narrow", [False, True], ids=["float32", "bf16"])
def test_values_and_gradients_are_those_of_the_cpu(
    name: str, is_narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = build_model(CONFIGS[name], 4, 1)
    exact = nats_of(model, is_narrow=False)
    exact.sum().backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    seen: list[tuple[torch.dtype, torch.dtype, bool]] = []
    whole = getattr(torch, name)

    def spied(x: torch.Tensor, state: Any, weights: list[torch.Tensor], *rest: Any) -> Any:
        seen.append((x.dtype, weights[0].dtype, rest[3]))
        return whole(x, state, weights, *rest)

    monkeypatch.setattr(dispatch, "_runs_on_cudnn", lambda x: True)
    monkeypatch.setattr(dispatch.FusedKernel, "needs_states", lambda *_: False)
    monkeypatch.setattr(torch, name, spied)
    found = nats_of(model, is_narrow=is_narrow)
    found.sum().backward()
    dtype = torch.bfloat16 if is_narrow else torch.float32
    assert seen and set(seen) == {(dtype, dtype, True)}
    tolerance = 0.05 if is_narrow else 1e-5
    assert torch.allclose(found.float(), exact, atol=tolerance)
    for a, b in zip(gradients, (p.grad for p in model.parameters()), strict=True):
        assert b is not None
        assert float((a - b).norm()) <= 2 * tolerance * float(a.norm().clamp(min=1e-3))


@pytest.mark.parametrize("name", CONFIGS)
def test_without_gradients_nothing_is_kept_for_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_runs_on_cudnn", lambda x: True)
    with torch.no_grad():
        assert not dispatch._keeps_for_backward(torch.zeros(1))
    assert dispatch._keeps_for_backward(torch.zeros(1))
