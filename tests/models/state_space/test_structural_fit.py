"""The variances of many series: each its own maximum, or that of some of them."""

import numpy as np
import pytest

from seriatim.models.state_space import structural_fit
from seriatim.models.state_space.likelihood import diffuse_log_likelihoods
from seriatim.models.state_space.structural_fit import fit_variances
from seriatim.models.state_space.structures import structure


def series(num: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(num):
        length = int(rng.integers(60, 150))
        walk = rng.normal(size=length).cumsum() * 0.3
        made.append(10.0**i * (walk + rng.normal(size=length)))
    return made


@pytest.mark.parametrize("slope", [False, True])
def test_no_neighbour_of_the_maximum_is_higher(slope: bool) -> None:
    form = structure(slope=slope, season_length=None)
    data = series(4)
    found = fit_variances(form, data, 200)
    for i, y in enumerate(data):
        for factor in (0.8, 1.25):
            for j in range(len(form.noisy) + 1):
                scaled = np.concatenate([found.states[i], found.noise[i : i + 1]])
                scaled[j] *= factor
                near = diffuse_log_likelihoods(form, scaled[None, :-1], scaled[-1:], y[None])
                assert near[0] <= found.log_likelihood[i] + 1e-6


def test_of_many_series_some_are_fitted_and_the_others_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    form, data = structure(slope=False, season_length=None), series(6)
    own = fit_variances(form, data, 200)
    monkeypatch.setattr(structural_fit, "_MOST", 3)
    monkeypatch.setattr(structural_fit, "_FEWEST", 3)
    some = fit_variances(form, data, 200)
    is_own = np.isclose(some.noise, own.noise, rtol=1e-3)
    assert is_own.sum() == 3
    ratios = (some.states[:, 0] / some.scale)[~is_own]
    assert np.allclose(ratios, ratios[0])
    assert (some.log_likelihood <= own.log_likelihood + 1e-6).all()
