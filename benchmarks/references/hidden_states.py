"""Models with a hidden state on the series of textbooks: Kalman's filter and hidden Markov models.

Durbin and Koopman 2012 (the flow of the Nile); Zucchini and MacDonald 2009 (earthquakes).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import seriatim as st
from benchmarks.references.figures import Figure
from benchmarks.references.series import Series
from seriatim.core.forecasting import FitsSeries
from seriatim.models.build import build_number_model
from seriatim.models.state_space.likelihood import diffuse_log_likelihoods
from seriatim.models.state_space.structures import structure

# Earthquakes of magnitude 7 or more in the world, 1900 to 2006: United States Geological Survey, as
# in Zucchini and MacDonald, Hidden Markov Models for Time Series, 2009, table 1.1.
# fmt: off
EARTHQUAKES = np.array([
    13, 14, 8, 10, 16, 26, 32, 27, 18, 32, 36, 24, 22, 23, 22, 18, 25, 21,
    21, 14, 8, 11, 14, 23, 18, 17, 19, 20, 22, 19, 13, 26, 13, 14, 22, 24,
    21, 22, 26, 21, 23, 24, 27, 41, 31, 27, 35, 26, 28, 36, 39, 21, 17, 22,
    17, 19, 15, 34, 10, 15, 22, 18, 15, 20, 15, 22, 19, 16, 30, 27, 29, 23,
    20, 16, 21, 21, 25, 16, 18, 15, 18, 14, 10, 15, 8, 15, 6, 11, 8, 7, 18,
    16, 13, 12, 13, 20, 15, 16, 12, 18, 15, 16, 13, 15, 16, 11, 11,
], dtype=np.float64)
# fmt: on
PUBLISHED = {1: 391.9189, 2: 341.8787, 3: 328.5275, 4: 326.4106}
_RESTARTS = 60


def figures(data: Path) -> Iterator[Figure]:
    """Every figure."""
    path = data / "statsmodels-series" / "nile.csv"
    nile = np.genfromtxt(path, delimiter=",", skip_header=1)[:, 1]
    level = structure(slope=False, season_length=None)
    for noise, variance in ((15099.0, 1469.1), (15067.6, 1484.8)):
        found = diffuse_log_likelihoods(
            level, np.array([[variance]]), np.array([noise]), nile[None]
        )
        name = f"Nile, local level, diffuse, at ({noise:,.1f}; {variance:,.1f})"
        yield Figure(name, -633.4646, float(found[0]), 1e-3)
    facts = _facts(st.LinearGaussian(), st.Numbers(), nile)
    yield Figure("Nile, its maximum", -633.4646, facts["log_likelihood"], 1e-3)
    for num_states, expected in PUBLISHED.items():
        config = st.HMM(
            num_states=num_states, restarts=_RESTARTS, max_iterations=1000, tolerance=1e-8
        )
        facts = _facts(config, st.Numbers(support="count"), EARTHQUAKES)
        yield Figure(
            f"earthquakes, Poisson HMM of {num_states} states, -log L",
            expected,
            -facts["log_likelihood"],
            1e-3,
            at_most=True,
        )


def _facts(config: st.ModelConfig, element: st.Numbers, x: np.ndarray) -> dict[str, float]:
    torch.manual_seed(0)
    model = build_number_model(config, element, 1)
    assert isinstance(model, FitsSeries)
    return model.fit_series(Series(x))  # type: ignore[arg-type,return-value]
