"""Every family of numbers obeys the twenty laws. A new family, or density, is one line here."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seriatim as st
from seriatim.core.elements import Numbers
from seriatim.core.forecasting import FitsSeries
from seriatim.core.model import SequenceModel
from seriatim.laws.check import check_model
from seriatim.models import ModelConfig
from seriatim.models.build import build_number_model
from tests.laws.test_families import Elman

ONE, TWO = Numbers(), Numbers(2)
KNOWN = Numbers(1, num_known=2)
COUNTS, POSITIVE = Numbers(support="count"), Numbers(2, support="positive")

SIZES: dict[str, Any] = {"model_size": 8, "num_layers": 1, "num_heads": 2}

# The configuration, the element, the number of series, the density.
CASES: dict[str, tuple[ModelConfig, Numbers, int, str | None]] = {
    "naive": (st.Naive(), ONE, 2, None),
    "naive, two channels": (st.Naive(), TWO, 0, None),
    "seasonal naive": (st.SeasonalNaive(season_length=3), ONE, 2, None),
    "drift": (st.Drift(), ONE, 0, None),
    "ar": (st.AR(order=2), ONE, 2, None),
    "ar, known inputs": (st.AR(order=3), KNOWN, 2, None),
    "ar, steps": (st.AR(order=2, difference=True), TWO, 2, None),
    "ar, trend and season": (
        st.AR(order=2, trend="linear", season_length=3, season="dummies"),
        ONE,
        2,
        None,
    ),
    "ar, logarithms": (st.AR(order=2, transform="log"), POSITIVE, 0, None),
    "ar, exact": (st.AR(order=2, estimator="exact"), ONE, 0, None),
    "var": (st.VAR(order=2), TWO, 0, None),
    "var, trend": (st.VAR(order=1, trend="linear"), TWO, 0, None),
    "local level": (st.LinearGaussian(), ONE, 2, None),
    "level and season": (st.LinearGaussian(season_length=4), ONE, 2, None),
    "by matrices": (st.LinearGaussian(structure="matrices", num_states=2), TWO, 0, None),
    "hmm": (st.HMM(num_states=2, restarts=2), TWO, 0, None),
    "hmm, counts": (st.HMM(num_states=3, restarts=2), COUNTS, 0, None),
    "rnn": (st.RNN(hidden_size=5), ONE, 0, None),
    "rnn, lags": (st.RNN(hidden_size=5, lags=(1, 4), scale_window=3), KNOWN, 0, "normal"),
    "latent": (st.Latent(cell=Elman, hidden_size=5, lags=(2,)), TWO, 0, None),
    "lstm": (st.LSTM(hidden_size=5, num_layers=2), TWO, 0, None),
    "lstm, known inputs": (st.LSTM(hidden_size=5), KNOWN, 0, "student-t"),
    "gru, counts": (st.GRU(hidden_size=5), COUNTS, 0, None),
    "gru, mixture": (st.GRU(hidden_size=5), TWO, 0, "mixture"),
    "transformer": (
        st.Transformer(model_size=8, num_layers=1, num_heads=2, context=4),
        ONE,
        0,
        None,
    ),
    "transformer, positive": (
        st.Transformer(model_size=8, num_layers=1, num_heads=2, context=99),
        POSITIVE,
        0,
        None,
    ),
    "autoregressive": (
        st.Autoregressive(window=3, embedding_size=4, hidden_size=6),
        KNOWN,
        0,
        None,
    ),
}


def build(name: str) -> SequenceModel:
    """A small model of this family; networks have weights large enough to expose a fault."""
    torch.manual_seed(0)
    config, element, num_series, density = CASES[name]
    model = build_number_model(config, element, num_series, density)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    if isinstance(model, FitsSeries):
        model.fit_series(_Series(element, max(num_series, 1)))
    return model


class _Series:
    """Series of 80 moments with gaps, whose values depend on the last ones."""

    def __init__(self, element: Numbers, num_series: int) -> None:
        rng = np.random.default_rng(0)
        shape = (num_series, 80, element.num_channels)
        x = 5 + rng.normal(size=shape)
        for t in range(3, 80):
            x[:, t] += 0.5 * (x[:, t - 1] - 5) - 0.3 * (x[:, t - 3] - 5)
        if element.support == "count":
            x = np.round(np.abs(x))
        x[rng.random(shape) < 0.1] = np.nan
        self.numbers = x.reshape(-1, shape[-1])
        known = rng.normal(size=(len(self.numbers), element.num_known))
        self.known = known if element.num_known else None
        self.offsets = np.arange(num_series + 1) * 80


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_family_of_numbers_obeys_the_laws(name: str) -> None:
    check_model(build(name), seconds=2).raise_if_broken()
