"""The linear-Gaussian model: known figures, its fits, forecasts, smoothing, and bad input."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.core.forecasting import Ahead, FitsSeries, HasComponents, Smooths
from seriatim.errors import ConfigError, DataError
from seriatim.models.build import build_number_model
from seriatim.models.linear_gaussian import LinearGaussianModel
from seriatim.models.state_space.likelihood import diffuse_log_likelihoods
from seriatim.models.state_space.structures import structure


@dataclass(frozen=True)
class Series:
    """Series of one length or of several."""

    numbers: np.ndarray
    offsets: np.ndarray
    known: None = None

    @classmethod
    def of(cls, *series: np.ndarray) -> "Series":
        columns = [y.reshape(len(y), -1) for y in series]
        return cls(np.concatenate(columns), np.cumsum([0, *map(len, series)]))


def made(seed: int, length: int = 200, level: float = 0.3, noise: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    walk = rng.normal(size=length).cumsum() * level**0.5
    return 100 + walk + rng.normal(size=length) * noise**0.5


def fitted(config: st.LinearGaussian, *series: np.ndarray) -> LinearGaussianModel:
    data = Series.of(*series)
    model = build_number_model(config, st.Numbers(data.numbers.shape[1]), len(series))
    assert isinstance(model, LinearGaussianModel)
    model.fit_series(data)
    return model


def inputs(y: np.ndarray) -> st.NumberInput:
    """(1, T, D) all moments of one series."""
    return st.NumberInput(st.Values.of(torch.from_numpy(y.reshape(1, len(y), -1))))


def with_first(model: st.SequenceModel, x: st.NumberInput) -> st.NumberInput:
    first = model.first(len(x.values.numbers)).values
    numbers = torch.cat([first.numbers, x.values.numbers], 1)
    return st.NumberInput(
        st.Values(numbers, torch.cat([first.is_observed, x.values.is_observed], 1))
    )


@pytest.fixture
def nile(shared_data: Path) -> np.ndarray:
    return np.genfromtxt(shared_data / "statsmodels-series/nile.csv", delimiter=",", skip_header=1)[
        :, 1
    ]


def test_the_nile_has_the_published_diffuse_likelihood(nile: np.ndarray) -> None:
    """Durbin and Koopman 2012, section 2.10 and 7.3."""
    found = diffuse_log_likelihoods(
        structure(slope=False, season_length=None),
        np.array([[1469.1], [1484.8]]),
        np.array([15099.0, 15067.6]),
        np.stack([nile, nile]),
    )
    np.testing.assert_allclose(found, -633.4646, atol=1e-3)


def test_maximum_likelihood_finds_the_nile_s_variances(nile: np.ndarray) -> None:
    model = build_number_model(st.LinearGaussian(), st.Numbers(), 1)
    assert isinstance(model, FitsSeries)
    facts = model.fit_series(Series.of(nile))
    assert facts["log_likelihood"] == pytest.approx(-633.46456, abs=1e-4)
    assert facts["variances"] == pytest.approx({"level": 1469.1, "noise": 15098.5}, rel=1e-3)


def test_em_climbs_to_the_same_place() -> None:
    y = made(0)
    model = build_number_model(st.LinearGaussian(estimator="em"), st.Numbers(), 1)
    model.fit_series(Series.of(y))
    best = fitted(st.LinearGaussian(), y)
    for name in ("transition_covariance", "observation_covariance"):
        torch.testing.assert_close(getattr(model, name), getattr(best, name), rtol=0.1, atol=0)


def test_em_of_free_matrices_never_falls_and_fills_gaps() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((150, 2))
    turn = 0.95 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    for t in range(1, 150):
        x[t] = turn @ x[t - 1] + rng.normal(size=2) * 0.3
    y = x @ rng.normal(size=(2, 3)) * 5 + 20 + rng.normal(size=(150, 3))
    hidden = y.copy()
    hidden[rng.random(y.shape) < 0.2] = np.nan
    config = st.LinearGaussian(structure="matrices", num_states=2, max_iterations=40)
    short = build_number_model(
        config.__class__(**{**vars(config), "max_iterations": 3}), st.Numbers(3), 1
    )
    model = build_number_model(config, st.Numbers(3), 1)
    before = short.fit_series(Series.of(hidden))["log_likelihood"]
    assert model.fit_series(Series.of(hidden))["log_likelihood"] > before + 1
    found = model.smooth(with_first(model, inputs(hidden)), None)
    gaps = np.isnan(hidden)
    error = np.abs(found.mean[0].numpy() - y)[gaps]
    assert np.sqrt((error**2).mean()) < 0.5 * y.std()
    spread = found.variance[0].numpy()
    assert (spread[~gaps] == 0).all()
    assert 0.8 < ((error**2) / spread[gaps]).mean() < 1.3


def test_series_have_their_own_variances_and_a_new_one_has_those_of_all() -> None:
    series = [made(i, level=0.1 * 4**i) for i in range(3)]
    model = fitted(st.LinearGaussian(), *series)
    alone = [fitted(st.LinearGaussian(), y) for y in series]
    for i, one in enumerate(alone):
        torch.testing.assert_close(
            model.transition_covariance[i], one.transition_covariance[0], rtol=1e-3, atol=0
        )
    own = model.of_series(torch.tensor([2, -1, 99])).transition_covariance[:, 0, 0]
    assert own[0] > own[1] == own[2]


def test_forecasts_are_those_of_steps_with_gaps() -> None:
    y = made(1)
    model = fitted(st.LinearGaussian(structure="local-linear-trend", season_length=4), y)
    assert isinstance(model, Ahead)
    state = model.update(model.start(1, memory=model.of_series(torch.tensor([0]))), inputs(y))
    found = model.ahead(state, 3)
    for h in range(3):
        now = model.predict(state)
        torch.testing.assert_close(found.mean[:, h], now.mean)
        torch.testing.assert_close(found.variance[:, h], now.variance)
        state = model.step(
            state, st.NumberInput(st.Values.of(torch.full((1, 1), torch.nan).double()))
        )


def test_smoothing_gives_the_conditional_of_every_gap() -> None:
    y = made(2)
    y[50:70] = np.nan
    model = fitted(st.LinearGaussian(), y)
    assert isinstance(model, Smooths)
    memory = model.of_series(torch.tensor([0]))
    found = model.smooth(with_first(model, inputs(y)), None, memory)
    assert found.mean.shape == (1, 200, 1)
    assert np.array_equal(found.mean[0, :50, 0], y[:50])
    gap = found.mean[0, 49:71, 0].numpy()
    np.testing.assert_allclose(np.diff(gap[1:-1], 2), 0, atol=1e-6)  # a straight line
    width = found.variance[0, 50:70, 0].numpy()
    assert width.argmax() in (9, 10)
    shorter = model.smooth(with_first(model, inputs(y)), torch.tensor([101]), memory)
    alone = model.smooth(with_first(model, inputs(y[:100])), None, memory)
    torch.testing.assert_close(shorter.mean[:, :100], alone.mean)


def test_components_are_the_conditional_of_the_joint_distribution() -> None:
    """Of a level with a gap, by the normal distribution of all levels and values together."""
    y = made(3, 12)
    y[5:7] = np.nan
    model = fitted(st.LinearGaussian(), y)
    assert isinstance(model, HasComponents)
    found = model.components(model.empty(1), with_first(model, inputs(y)))
    seen, T = ~np.isnan(y), len(y)
    steps = np.minimum.outer(np.arange(T), np.arange(T)) * float(model.transition_covariance[-1])
    levels = float(model.initial_covariance[-1]) + steps
    values = (levels + float(model.observation_covariance[-1]) * np.eye(T))[np.ix_(seen, seen)]
    gain = np.linalg.solve(values, levels[seen]).T
    mean = float(model.initial_mean[-1])
    expected = mean + gain @ (y[seen] - mean)
    covariance = levels - gain @ levels[seen]
    assert list(found) == ["level"]
    np.testing.assert_allclose(found["level"].mean[0, :, 0], expected, rtol=1e-7)
    np.testing.assert_allclose(found["level"].variance[0, :, 0], np.diag(covariance), rtol=1e-4)


def test_components_of_channels_have_numbers_and_those_of_matrices_too() -> None:
    two = np.stack([made(1, 30), made(2, 30)], 1)
    model = fitted(st.LinearGaussian(season_length=3), two)
    names = ["level 1", "season 1", "level 2", "season 2"]
    x = with_first(model, inputs(two))
    found = model.components(model.empty(1), x)
    assert list(found) == names
    near = [found[f"level {d}"].mean.mean().item() for d in (1, 2)]
    assert near == pytest.approx(two.mean(0).tolist(), rel=0.01)
    free = fitted(st.LinearGaussian(structure="matrices", num_states=2, max_iterations=2), two)
    assert list(free.components(free.empty(1), x)) == ["state 1", "state 2"]


def test_given_matrices_are_kept() -> None:
    config = st.LinearGaussian(
        structure="matrices",
        transition=((0.5,),),
        observation=((1.0,),),
        transition_covariance=((1.0,),),
        observation_covariance=((0.5,),),
    )
    model = fitted(config, made(3) - 100)
    assert model.transition.item() == 0.5
    torch.testing.assert_close(model.initial_covariance.item(), 1 / (1 - 0.25))


@pytest.mark.slow
def test_filtering_is_statsmodels_at_given_parameters() -> None:
    sm = pytest.importorskip("statsmodels.api", reason="needs statsmodels: seriatim[refs]")
    y = made(4)
    y[10:15] = np.nan
    model = fitted(st.LinearGaussian(structure="local-linear-trend"), y)
    peer = sm.tsa.UnobservedComponents(y, "local linear trend")
    memory = model.of_series(torch.tensor([0]))
    peer.ssm.initialize_known(memory.mean[0].numpy(), memory.covariance[0].numpy())
    Q = memory.transition_covariance[0].diagonal().numpy()
    theirs = peer.smooth([memory.observation_covariance.item(), *Q])
    x = with_first(model, inputs(y))
    batch = st.Batch(
        st.NumberInput(st.Values(x.values.numbers[:, :-1], x.values.is_observed[:, :-1])),
        inputs(y).values,
    )
    ours = model.forward(batch, model.empty(1, memory=memory))[0]
    np.testing.assert_allclose(ours[0].numpy(), theirs.llf_obs, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_states": 2}, "num_states is of a model by matrices"),
        ({"structure": "matrices", "season_length": 4}, "put the season into the matrices"),
        ({"structure": "matrices", "estimator": "likelihood"}, 'estimator="em"'),
        ({"structure": "matrices", "num_states": 2, "transition": ((1.0,),)}, "should be 2 x 2"),
        ({"season_length": 1}, "season_length"),
    ],
)
def test_options_that_contradict_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        st.LinearGaussian(**options)


def test_bad_series_are_named() -> None:
    for bad, message in ((np.full(5, np.nan), "no observed"), (np.array([1, np.inf]), "infinite")):
        model = build_number_model(st.LinearGaussian(), st.Numbers(), 2)
        with pytest.raises(DataError, match=f"series 1 has .*{message.split()[-1]}"):
            model.fit_series(Series.of(made(0), bad))
    with pytest.raises(ConfigError, match="known ahead"):
        build_number_model(st.LinearGaussian(), st.Numbers(1, num_known=2), 1)


def test_a_constant_series_and_one_of_one_value_are_fitted() -> None:
    model = fitted(st.LinearGaussian(), np.full(30, 5.0), np.array([3.0]), made(0))
    state = model.start(2, memory=model.of_series(torch.tensor([0, 1])))
    assert bool(model.predict(state).variance.isfinite().all())
