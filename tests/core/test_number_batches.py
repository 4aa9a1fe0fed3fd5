"""Batches of numbers: gaps and padding reach neither the score nor a gradient."""

import pytest
import torch

from seriatim.core.batch import Batch
from seriatim.core.threads import suited_threads
from seriatim.core.values import NumberInput, Values
from seriatim.decode.stream import Stream
from seriatim.errors import ConfigError
from tests.laws.toys_numbers import ToyAR, ToyRecurrent

DENSITIES = ["student", "counts", "mixture", "positive"]


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("junk", [torch.inf, 1e300, -1.0])
def test_junk_at_padding_and_at_weight_0_leaves_gradients_as_they_are(
    density: str, junk: float
) -> None:
    model = ToyRecurrent(density).double()
    clean = torch.ones(2, 4, 2, dtype=torch.float64)
    dirty = clean.clone()
    dirty[1, 2:] = dirty[0, 0] = junk
    inputs, lengths = NumberInput(Values.of(clean)), torch.tensor([4, 2])
    weights = torch.ones(2, 4)
    weights[0, 0] = 0.0
    found = []
    for targets in (clean, dirty):
        batch = Batch(inputs, Values.of(targets), lengths, weights)
        loss = model(batch)[0].sum()
        found.append((loss, *torch.autograd.grad(loss, list(model.parameters()))))
        assert batch.num_targets() == 10.0  # observed values, not moments
    for a, b in zip(*found, strict=True):
        assert bool(b.isfinite().all())
        torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_gaps_in_targets_leave_finite_gradients_and_no_score() -> None:
    x = torch.randn(2, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[0, 1:3] = x[1, 4, 0] = torch.nan
    values = Values.of(x)
    known = torch.zeros(2, 5, 1, dtype=torch.float64)
    model = ToyAR().double()
    batch = Batch(NumberInput(values, known), values)
    scores = model(batch)[0]
    assert bool((scores[0, 1:3].abs() < 1e-12).all())
    assert batch.num_targets() == 15.0
    for gradient in torch.autograd.grad(scores.sum(), list(model.parameters())):
        assert bool(gradient.isfinite().all())


def test_a_stream_of_symbols_refuses_numbers_and_threads_do_not_ask_for_symbols(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="its values arrive by Forecaster"):
        Stream(ToyRecurrent())
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert suited_threads(ToyRecurrent(), 2, 8) >= 1
