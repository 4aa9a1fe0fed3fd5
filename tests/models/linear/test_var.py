"""The vector autoregressive model against the joint normal distribution and statsmodels."""

from pathlib import Path

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.core import tree
from seriatim.core.elements import Numbers
from seriatim.core.values import NumberInput, Values
from seriatim.errors import ConfigError, DataError
from seriatim.models.build import build_number_model
from seriatim.models.linear.var import VARModel
from tests.models.linear import oracle
from tests.models.linear.oracle import Array, Series, as_input, score

T, D = 12, 2


def process(seed: int, length: int = 200) -> Array:
    rng = np.random.default_rng(seed)
    x = np.zeros((length, D))
    first, second = np.array([[0.5, 0.2], [-0.3, 0.4]]), np.array([[0.1, 0.0], [0.2, -0.2]])
    mixing = np.array([[1.0, 0.0], [0.7, 0.5]])
    for t in range(2, length):
        x[t] = 1 + first @ x[t - 1] + second @ x[t - 2] + mixing @ rng.normal(size=D)
    return x


def fitted(config: st.VAR, *series: Array) -> VARModel:
    model = build_number_model(config, Numbers(series[0].shape[1]))
    assert isinstance(model, VARModel)
    model.fit_series(Series(*series))
    return model


def joint(model: VARModel, length: int) -> tuple[Array, Array]:
    """Mean (T D,) and covariance of a series, from the window before it."""
    p = model.order
    size = (p + length) * D
    rows, mean = np.zeros((size, size)), np.zeros(size)
    start = np.linalg.cholesky(model.start_covariance.numpy() + 1e-12 * np.eye(p * D))
    rows[: p * D, : p * D], mean[: p * D] = start, model.start_mean.numpy().ravel()
    noise = np.linalg.cholesky(model.noise.numpy())
    for t in range(length):
        at, past = slice((p + t) * D, (p + t + 1) * D), slice(t * D, (p + t) * D)
        weights, terms = model.weights.numpy().T, model.terms.numpy()
        rows[at] = weights @ rows[past]
        rows[at, at] += noise
        mean[at] = terms[0] + t * terms[1] + weights @ mean[past]
    return mean[p * D :], (rows @ rows.T)[p * D :, p * D :]


@pytest.mark.parametrize("trend", ["constant", "linear"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_scores_smoothing_and_forecasts_are_those_of_the_joint_distribution(
    trend: str, missing: float
) -> None:
    model = fitted(st.VAR(2, trend=trend), process(0))
    mean, covariance = joint(model, T)
    x = process(1, 60)[40 : 40 + T]
    x[np.random.default_rng(0).random(x.shape) < missing] = np.nan
    x[8:] = np.nan
    state = model.update(model.start(1), as_input(x[:8]))
    expected = oracle.log_density(x.ravel(), mean, covariance)
    assert float(score(model, as_input(x)).sum()) == pytest.approx(expected, abs=1e-6)
    means, variances = oracle.conditional(x.ravel(), mean, covariance)
    ahead = model.ahead(state, 4)
    np.testing.assert_allclose(ahead.mean[0].ravel(), means[-8:], atol=1e-6)
    np.testing.assert_allclose(ahead.variance[0].ravel(), variances[-8:], atol=1e-6)
    inputs = tree.map_leaves(lambda a, b: torch.cat([a, b], 1), model.first(1), as_input(x))
    smoothed = model.smooth(inputs, None)
    np.testing.assert_allclose(smoothed.mean[0].ravel(), means, atol=1e-6)
    np.testing.assert_allclose(smoothed.variance[0].ravel(), variances, atol=1e-6)


def test_a_stream_scores_the_same_as_a_chunk() -> None:
    model = fitted(st.VAR(2), process(0))
    x = process(1, 30)
    x[np.random.default_rng(0).random(x.shape) < 0.3] = np.nan
    state, each = model.start(1), []
    for row in x:
        values = Values.of(torch.from_numpy(row)[None])
        each.append(model.predict(state).log_prob(values))
        state = model.step(state, NumberInput(values))
    torch.testing.assert_close(torch.stack(each, 1), score(model, as_input(x)))


def test_ragged_rows_go_on_as_if_alone() -> None:
    model = fitted(st.VAR(2), process(0))
    x = torch.from_numpy(np.stack([process(i, 6) for i in range(3)]))
    x[1, 2, 0] = torch.nan
    lengths = torch.tensor([0, 3, 6])
    state = model.update(model.start(3), NumberInput(Values.of(x)), lengths)
    for i, n in enumerate(lengths.tolist()):
        alone = model.update(model.start(1), NumberInput(Values.of(x[i : i + 1, :n])))
        found = model.ahead(tree.select(state, torch.tensor([i])), 3)
        torch.testing.assert_close(found.mean, model.ahead(alone, 3).mean)
        torch.testing.assert_close(found.variance, model.ahead(alone, 3).variance)


def test_coefficients_and_noise_are_those_of_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.tsa.api", reason="needs statsmodels: seriatim[refs]")
    x = process(3)
    model = fitted(st.VAR(2), x)
    theirs = api.VAR(x).fit(2, trend="c")
    coefficients = np.concatenate([model.weights[2:].numpy(), model.weights[:2].numpy()])
    np.testing.assert_allclose(model.terms[0], theirs.params[0], rtol=1e-6)
    np.testing.assert_allclose(coefficients, theirs.params[1:], rtol=1e-6)
    np.testing.assert_allclose(model.noise, theirs.sigma_u_mle, rtol=1e-6)
    assert float(score(model, as_input(x))[0, 2:].sum()) == pytest.approx(theirs.llf, abs=1e-6)


@pytest.mark.parametrize("criterion", ["aic", "bic"])
def test_the_order_is_that_of_statsmodels(criterion: str) -> None:
    api = pytest.importorskip("statsmodels.tsa.api", reason="needs statsmodels: seriatim[refs]")
    x = process(4, 150)
    model = build_number_model(st.VAR(criterion, max_order=5), Numbers(D))
    assert isinstance(model, VARModel)
    expected = getattr(api.VAR(x).select_order(5), criterion)
    assert model.fit_series(Series(x))["order"] == expected


def test_growth_of_the_economy_has_the_likelihood_of_statsmodels(shared_data: Path) -> None:
    path = shared_data / "statsmodels-series" / "macrodata.csv"
    table = np.genfromtxt(path, delimiter=",", names=True)
    columns = [table[name] for name in ("realgdp", "realcons", "realinv")]
    x = np.diff(np.log(np.stack(columns, 1)), axis=0)
    model = fitted(st.VAR(2), x)
    assert float(score(model, as_input(x))[0, 2:].sum()) == pytest.approx(1962.571, abs=1e-3)


def test_too_few_moments_are_refused() -> None:
    with pytest.raises(DataError, match="lower the order"):
        fitted(st.VAR(4), process(0, 10))


def test_known_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="var takes no known inputs"):
        build_number_model(st.VAR(), Numbers(2, num_known=1))
