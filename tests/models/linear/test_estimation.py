"""Estimators and orders against statsmodels, numpy, and each other."""

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.core.elements import Numbers
from seriatim.models.build import build_number_model
from seriatim.models.linear import least_squares, panels, stationary
from seriatim.models.linear.ar import ARModel
from seriatim.models.linear.lags import Lags
from seriatim.models.linear.parameters import (
    autocovariances,
    from_partial_correlations,
    is_stationary,
    partial_correlations,
)
from tests.models.linear import oracle
from tests.models.linear.oracle import Array, Series, as_input, score

STATSMODELS = "needs statsmodels: seriatim[refs]"


def process(seed: int, length: int = 300, weights: tuple[float, ...] = (0.6, -0.4, 0.2)) -> Array:
    rng = np.random.default_rng(seed)
    x = np.zeros(length + 50)
    for t in range(3, len(x)):
        x[t] = sum(a * x[t - i] for i, a in enumerate(weights, start=1)) + rng.normal()
    return 10 + 3 * x[50:]


def fitted(config: st.AR, *series: Array) -> ARModel:
    model = build_number_model(config, Numbers(), len(series))
    assert isinstance(model, ARModel)
    model.fit_series(Series(*series))
    return model


def test_partial_correlations_and_coefficients_are_inverse() -> None:
    partial = torch.tensor([0.5, -0.3, 0.9, 0.1], dtype=torch.float64)
    coefficients, _ = from_partial_correlations(partial)
    torch.testing.assert_close(partial_correlations(coefficients[-1]), partial)


def test_autocovariances_are_those_of_the_moving_average() -> None:
    weights = torch.tensor([0.6, -0.4, 0.2], dtype=torch.float64)
    _, covariance = oracle.stationary(weights.numpy(), 0.0, 2.0, 3)
    found = autocovariances(weights, torch.tensor(2.0, dtype=torch.float64))
    np.testing.assert_allclose(found, covariance[0], rtol=1e-12)


def test_a_process_is_stationary_where_its_roots_are_outside_the_unit_circle() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        weights = rng.normal(size=3) * 0.6
        roots = np.roots([1, *-weights])
        assert is_stationary(torch.from_numpy(weights)) == bool(np.abs(roots).max() < 1)


@pytest.mark.parametrize("last_part", [0.0, 0.2])
@pytest.mark.parametrize("has_constant", [True, False])
def test_sums_without_rows_are_those_of_the_rows(
    last_part: float, has_constant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = torch.from_numpy(np.stack([process(i, 60) for i in range(4)]))
    values[1, 40:] = torch.nan
    values[2, 3:] = torch.nan
    lags = Lags((1, 2, 3, 4, 5), 5, has_constant=has_constant)
    fast = least_squares.design_sums(values, lags, None, last_part)
    monkeypatch.setattr(least_squares, "_is_plain", lambda *_: False)
    slow = least_squares.design_sums(values, lags, None, last_part)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b)


def test_least_squares_is_numpys() -> None:
    x = process(0)
    model = fitted(st.AR(4), x)
    rows = np.stack([np.ones(296), *(x[4 - i : 300 - i] for i in range(1, 5))], 1)
    expected, squares, *_ = np.linalg.lstsq(rows, x[4:])
    found = [float(model.shared_terms[0, 0, 0]), *model.shared_weights[0, 0].flip(-1).tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    noise = float(model.shared_spread[0, 0, 0])
    np.testing.assert_allclose(noise, np.sqrt(squares[0] / (296 - 5)), rtol=1e-5)


@pytest.mark.parametrize("criterion", ["aic", "bic"])
def test_orders_are_those_of_statsmodels(criterion: str) -> None:
    module = pytest.importorskip("statsmodels.tsa.ar_model", reason=STATSMODELS)
    series = np.stack([process(i, 120, (0.4, 0.0, 0.3)[: 1 + i % 3]) for i in range(20)])
    found = least_squares.select_orders(torch.from_numpy(series), 8, criterion)
    expected = [len(module.ar_select_order(x, 8, ic=criterion).ar_lags or ()) for x in series]
    assert found.tolist() == expected


@pytest.mark.parametrize("with_gaps", [False, True])
def test_scores_are_statsmodels_at_given_parameters(with_gaps: bool) -> None:
    sm = pytest.importorskip("statsmodels.api", reason=STATSMODELS)
    x = process(1, 150)
    if with_gaps:
        x[np.random.default_rng(0).random(150) < 0.3] = np.nan
    weights, constant, noise = [0.6, -0.4, 0.2], 6.0, 9.0
    model = build_number_model(st.AR(3), Numbers())
    model.shared_weights[0, 0] = torch.tensor(weights[::-1], dtype=torch.float64)
    model.shared_terms[0, 0, 0], model.shared_spread[0, 0, 0] = constant, noise**0.5
    theirs = sm.tsa.SARIMAX(x, order=(3, 0, 0), trend="c")
    theirs = theirs.filter([constant, *weights, noise])
    assert float(score(model, as_input(x)).sum()) == pytest.approx(theirs.llf, abs=1e-6)
    assert isinstance(model, ARModel)
    state = model.update(model.start(1), as_input(x))
    ahead, expected = model.ahead(state, 12), theirs.get_forecast(12)
    np.testing.assert_allclose(ahead.mean[0, :, 0], expected.predicted_mean, rtol=1e-6)
    np.testing.assert_allclose(ahead.variance[0, :, 0], expected.var_pred_mean, rtol=1e-6)


@pytest.mark.parametrize("order", [1, 3, 6])
def test_burg_is_statsmodels(order: int) -> None:
    module = pytest.importorskip("statsmodels.regression.linear_model", reason=STATSMODELS)
    x = process(2)
    expected, variance = module.burg(x, order, demean=True)
    centred = torch.from_numpy(x - x.mean())[None]
    found, power = stationary.burg(centred, order)
    np.testing.assert_allclose(found[0], expected, atol=1e-10)
    np.testing.assert_allclose(power[0], variance, rtol=1e-10)


@pytest.mark.parametrize("with_gaps", [False, True])
def test_the_exact_estimate_is_a_maximum(with_gaps: bool) -> None:
    """No nearby coefficients, constant or noise have a greater likelihood."""
    x = process(3, 80)
    if with_gaps:
        x[np.random.default_rng(0).random(80) < 0.3] = np.nan
    model = fitted(st.AR(2, estimator="exact"), x)
    best = float(score(model, as_input(x)).sum())
    for name, at in [("weights", 0), ("weights", 1), ("terms", 0), ("spread", 0)]:
        tensor = getattr(model, f"shared_{name}")
        value = float(tensor[0, 0, at])
        for change in (-1e-3, 1e-3):
            tensor[0, 0, at] = value + change
            assert float(score(model, as_input(x)).sum()) < best
        tensor[0, 0, at] = value


@pytest.mark.parametrize("estimator", ["yule-walker", "burg", "exact", "least-squares"])
def test_all_estimators_find_the_process_again(estimator: str) -> None:
    model = fitted(st.AR(3, estimator=estimator), process(4, 3000))
    found = model.shared_weights[0, 0].flip(-1)
    np.testing.assert_allclose(found, [0.6, -0.4, 0.2], atol=0.06)
    assert model.starts_stationary


def test_estimators_of_steps_are_those_of_differences() -> None:
    x = process(5).cumsum()
    steps = fitted(st.AR(2, estimator="burg", difference=True, trend="constant"), x)
    plain = fitted(st.AR(2, estimator="burg"), np.diff(x))
    a1, a2 = plain.shared_weights[0, 0].flip(-1).tolist()
    found = steps.shared_weights[0, 0].flip(-1)
    np.testing.assert_allclose(found, [1 + a1, a2 - a1, -a2], atol=1e-12)


def test_a_trend_and_a_season_are_found() -> None:
    t = np.arange(400)
    x = 3 + 0.02 * t + np.array([0.0, 1.0, -2.0])[t % 3]
    x = x + 0.01 * np.random.default_rng(0).normal(size=400)
    model = fitted(st.AR(1, trend="linear", season_length=3, season="dummies"), x)
    state = model.update(model.start(1), as_input(x[:390]))
    np.testing.assert_allclose(model.ahead(state, 10).mean[0, :, 0], x[390:], atol=0.05)


def test_pooling_helps_short_series() -> None:
    """Coefficients of many short series predict better together than each by itself."""
    series = [process(i, 40) * 10.0 ** (i % 4) for i in range(60)]
    errors = {}
    for pooling in ("none", "shrunk", "full"):
        model = fitted(st.AR(6, pooling=pooling), *(x[:30] for x in series))
        total = 0.0
        for i, x in enumerate(series):
            memory = model.of_series(torch.tensor([i]))
            each = oracle.densities(model, as_input(x), memory).mean[0, 30:, 0]
            total += float((each - torch.from_numpy(x[30:])).square().mean()) / x.var()
        errors[pooling] = total
    assert errors["full"] < errors["none"]
    assert errors["shrunk"] < errors["none"]


def test_pooled_coefficients_do_not_depend_on_the_levels_of_series() -> None:
    series = [process(i, 100) for i in range(5)]
    model = fitted(st.AR(3, pooling="full"), *series)
    scaled = fitted(st.AR(3, pooling="full"), *(x * 10.0**i for i, x in enumerate(series)))
    torch.testing.assert_close(model.shared_weights, scaled.shared_weights)


def test_a_season_has_lags_of_its_own() -> None:
    assert Lags.of(st.AR(2, season_length=12)).lags == (1, 2, 11, 12, 13)
    t = np.arange(300)
    x = np.sin(2 * np.pi * t / 12) + 0.1 * np.random.default_rng(0).normal(size=300)
    model = fitted(st.AR("bic", max_order=4, season_length=12), x)
    state = model.update(model.start(1), as_input(x[:288]))
    assert float((model.ahead(state, 12).mean[0, :, 0] - torch.from_numpy(x[288:])).std()) < 0.2


@pytest.mark.parametrize("difference", [False, True])
def test_long_orders_are_fitted_to_series_with_gaps(difference: bool) -> None:
    t = np.arange(700)
    whole = 20 + 5 * np.sin(2 * np.pi * t / 24) + np.random.default_rng(0).normal(size=700) * 0.3
    x = whole.copy()
    x[np.random.default_rng(1).random(700) < 0.1] = np.nan
    model = fitted(st.AR(48, difference=difference), x[:650])
    state = model.update(model.start(1), as_input(x[:650]))
    error = model.ahead(state, 50).mean[0, :, 0] - torch.from_numpy(whole[650:])
    assert float(error.abs().mean()) < 0.8


def test_gaps_are_interpolated_between_their_neighbours() -> None:
    x = torch.tensor([torch.nan, 1.0, torch.nan, torch.nan, 4.0, torch.nan], dtype=torch.float64)
    found = panels.interpolated(x[None, :, None])[0, :, 0]
    np.testing.assert_allclose(found, [np.nan, 1, 2, 3, 4, np.nan])
