"""How far back a model of series looks: known of autoregressions, on series made by them."""

import numpy as np
import pytest

import seriatim as st
from seriatim.errors import ConfigError, DataError


def _series(lags: tuple[int, ...], coefficient: float, seed: int, length: int = 1500) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=length)
    x = np.zeros(length)
    for t in range(length):
        x[t] = noise[t] + sum(coefficient * x[t - lag] for lag in lags if t >= lag)
    return x


def test_an_autoregression_of_order_5_looks_5_back() -> None:
    x = _series((1, 5), 0.45, 0)
    forecaster = st.Forecaster(st.AR(order=5)).fit([x])
    found = forecaster.effective_context([x], contexts=(0, 1, 2, 4, 5, 6, 12))
    assert found.effective == 5
    assert found.bits[4] == pytest.approx(found.bits[-1], abs=1e-9)  # beyond its order, nothing
    assert found.bits[0] > found.bits[1] > found.bits[4] + 0.1
    assert "effective context: 5" in found.lines()[-1]


def test_gaps_and_inputs_known_ahead_are_seen_as_they_are() -> None:
    x, price = _series((1,), 0.9, 1), np.random.default_rng(2).normal(size=1500)
    values = x + 3.0 * price
    values[np.random.default_rng(3).random(1500) < 0.1] = np.nan
    frame = {"y": values.tolist(), "price": price.tolist(), "ds": list(range(1500))}
    forecaster = st.Forecaster(st.AR(order=2), known=("price",)).fit(frame)
    found = forecaster.effective_context(frame, contexts=(0, 1, 2, 3), limit=200)
    assert 150 < found.num_values <= 200
    # Without a past: the variance of x about the price; with it, that of the noise.
    assert found.bits[0] - found.bits[-1] == pytest.approx(-0.5 * np.log2(1 - 0.81), abs=0.35)


def test_the_far_past_of_a_recurrent_network_is_read_too() -> None:
    x = _series((1,), 0.8, 4, 400)
    forecaster = st.Forecaster(st.GRU(hidden_size=8), device="cpu").fit([x], steps=30)
    found = forecaster.effective_context([x], contexts=(0, 1, 8, 32), limit=64, seed=1)
    again = forecaster.effective_context([x], contexts=(0, 1, 8, 32), limit=64, seed=1)
    assert found == again and found.bits[0] > found.bits[-1]


def test_contexts_that_do_not_fit_are_refused() -> None:
    x = _series((1,), 0.5, 5, 60)
    forecaster = st.Forecaster(st.AR(order=1)).fit([x])
    with pytest.raises(ConfigError, match="rising numbers of moments"):
        forecaster.effective_context([x], contexts=(4, 2))
    with pytest.raises(DataError, match="too short for a past of 40 moments"):
        forecaster.effective_context([x], contexts=(40,))
    with pytest.raises(DataError, match="too few to say how far back"):
        forecaster.effective_context([x[:30]], contexts=(15,))
