"""Many futures of one past: independent of their batch, in bounded memory, as the model says."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seriatim as st
from seriatim.core import tree
from seriatim.core.densities import Normal
from seriatim.core.elements import Numbers
from seriatim.core.values import NumberInput, Values
from seriatim.decode import forecast as module
from seriatim.decode.forecast import forecast, mean_path, sample_paths
from seriatim.errors import ConfigError, ModelError
from seriatim.models.build import build_number_model

B, N, H = 5, 6, 4
CONFIGS: dict[str, Any] = {
    "lstm": st.LSTM(hidden_size=6, lags=(1, 3)),
    "transformer": st.Transformer(model_size=8, num_layers=2, num_heads=2, context=6),
    "autoregressive": st.Autoregressive(window=3, hidden_size=6, embedding_size=4),
}


class Walk(st.SequenceModel):
    """x_t ~ N(a x_{t-1} + k_t, 1): what its forecasts are is known."""

    def __init__(self, a: float, num_known: int = 0) -> None:
        super().__init__(Numbers(1, num_known))
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))

    def empty(
        self, batch_size: int, *, memory: object = None, capacity: int | None = None
    ) -> Tensor:
        return torch.zeros(batch_size, 1, dtype=torch.float64)

    def advance(
        self, carry: Any, x: Any, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Any, Any]:
        mean = self.a * x.values.numbers
        mean = mean if x.known is None else mean + x.known
        return mean, carry

    def emit(self, features: Any) -> Normal:
        return Normal(features, torch.ones_like(features))


def past(model: st.SequenceModel, rows: int = B) -> Any:
    """The state after 9 moments, some of them missing."""
    torch.manual_seed(1)
    x = torch.randn(rows, 9, 1, dtype=model.dtype) + 10 * torch.arange(1.0, rows + 1)[:, None, None]
    x[1, 3:5] = torch.nan
    with torch.no_grad():
        return model.update(model.start(rows), NumberInput(Values.of(x)))


def network(name: str) -> st.SequenceModel:
    torch.manual_seed(0)
    return build_number_model(CONFIGS[name], Numbers(1)).double().eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_path_does_not_depend_on_the_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(name)
    state = past(model)
    together = sample_paths(model, state, H, num_samples=N, seed=3)
    assert together.shape == (B, N, H, 1)
    assert len(together.flatten(0, 1)[:, 0].unique()) == B * N
    some = torch.tensor([3, 1])
    alone = sample_paths(model, tree.select(state, some), H, num_samples=2, seed=3, rows=some)
    torch.testing.assert_close(alone, together[some, :2])
    monkeypatch.setattr(module, "MOST_PATHS", 4)
    torch.testing.assert_close(sample_paths(model, state, H, num_samples=N, seed=3), together)
    assert not torch.equal(sample_paths(model, state, H, num_samples=N, seed=4), together)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_path_is_what_steps_of_the_model_give(name: str) -> None:
    model = network(name)
    state = past(model, 2)
    paths = sample_paths(model, state, H, num_samples=N, seed=3)
    with torch.no_grad():
        for step in range(H - 1):
            x = Values(paths[:, 2, step], torch.ones(2, 1, dtype=torch.bool))
            state = model.step(state, NumberInput(x))
    again = sample_paths(model, state, 1, num_samples=N, seed=3)
    assert again.shape == (2, N, 1, 1)
    u = module.uniforms(3, torch.arange(2) * 2**24 + 2, H - 1)
    torch.testing.assert_close(model.predict(state).sample(u).numbers, paths[:, 2, -1])


def test_states_of_a_block_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("transformer")
    state = past(model)
    bytes_per_row = tree.num_bytes(state) // B
    monkeypatch.setattr(module, "STATE_BYTES", 3 * bytes_per_row)
    blocks = list(module._blocks(state, N))
    assert max((end - begin) * (last - first) for begin, end, first, last in blocks) <= 3
    covered = {
        (row, path)
        for begin, end, first, last in blocks
        for row in range(begin, end)
        for path in range(first, last)
    }
    assert len(covered) == B * N == sum((e - b) * (z - a) for b, e, a, z in blocks)


def test_forecasts_of_a_known_model() -> None:
    model = Walk(0.5)
    state = model.update(
        model.start(1), NumberInput(Values.of(torch.full((1, 1, 1), 8.0, dtype=torch.float64)))
    )
    mean, bands = forecast(model, state, 3, quantiles=(0.1, 0.9), num_samples=20_000)
    expected = torch.tensor([4.0, 2.0, 1.0]).double()
    spread = torch.tensor([1.0, 1.25, 1.3125]).double().sqrt()
    torch.testing.assert_close(mean[0, :, 0], expected, atol=0.04, rtol=0)
    for level, band in zip((-1.2816, 1.2816), bands[0, :, :, 0], strict=True):
        torch.testing.assert_close(band, expected + level * spread, atol=0.05, rtol=0)
    torch.testing.assert_close(mean_path(model, state, 3)[0, :, 0], expected)


def test_known_inputs_are_those_of_the_next_moment() -> None:
    model = Walk(0.0, num_known=1)
    first = NumberInput(Values.missing((2, 1, 1), model.device, model.dtype), torch.ones(2, 1, 1))
    state = model.start(2, first=first)
    known = torch.tensor([[[10.0], [100.0]], [[20.0], [200.0]]])
    expected = torch.tensor([[[1.0], [10.0], [100.0]], [[1.0], [20.0], [200.0]]]).double()
    torch.testing.assert_close(mean_path(model, state, 3, known=known), expected)
    paths = sample_paths(model, state, 3, known=known, num_samples=3)
    assert bool(((paths - expected[:, None]).abs() < 6).all())
    with pytest.raises(ConfigError, match="cover 3 moments of 2 series, and 5 of 2"):
        sample_paths(model, state, 5, known=known)


def test_what_cannot_be_forecast_is_refused() -> None:
    model = Walk(0.5)
    state = model.start(1)
    with pytest.raises(ConfigError, match="horizon 0: give 1 or more"):
        sample_paths(model, state, 0)
    with pytest.raises(ConfigError, match=r"quantile 1\.2: give levels between 0 and 1"):
        forecast(model, state, 1, quantiles=(1.2,))
    with pytest.raises(ModelError, match="leave the finite numbers"):
        sample_paths(Walk(math.inf), model.start(1), 3)


def test_progress_ends_at_the_whole() -> None:
    model = Walk(0.5)
    seen: list[float] = []
    mean, bands = forecast(model, model.start(3), 2, quantiles=(), progress=seen.append)
    assert seen[-1] == 1.0 and bands.shape == (3, 0, 2, 1) and mean.shape == (3, 2, 1)
