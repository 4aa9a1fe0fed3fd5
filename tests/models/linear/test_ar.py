"""Autoregressive models of numbers against the joint normal distribution of a whole series."""

import numpy as np
import pytest
import torch

import seriatim as st
from seriatim.core import tree
from seriatim.core.elements import Numbers
from seriatim.core.forecasting import Ahead, FitsSeries, ReadsCarries, Smooths
from seriatim.core.values import NumberInput, Values
from seriatim.errors import ConfigError, DataError
from seriatim.models.build import build_model, build_number_model
from seriatim.models.linear.ar import ARModel
from seriatim.models.options.base import ModelConfig
from tests.models.linear import oracle
from tests.models.linear.oracle import Array, Series, as_input, score

T = 40
GAPS = {
    "no gap": [],
    "a gap": [5, 6, 7, 20],
    "the first": [0, 1, 9],
    "all but a few": [i for i in range(T) if i % 7 != 3],
    "the last": [T - 3, T - 2, T - 1],
}


def model_of(config: ModelConfig, **sizes: int) -> ARModel:
    element = Numbers(sizes.get("channels", 1), sizes.get("known", 0))
    model = build_number_model(config, element, sizes.get("series", 0))
    assert isinstance(model, ARModel)
    return model


def with_gaps(x: Array, name: str) -> Array:
    x = x.copy()
    x[GAPS[name]] = np.nan
    return x


def walk(seed: int, length: int = T) -> Array:
    return np.random.default_rng(seed).normal(size=length).cumsum() + 5


@pytest.fixture
def stationary() -> tuple[ARModel, Array, Array]:
    """A model of order 3, and the mean and covariance of its series."""
    model = model_of(st.AR(order=3))
    weights = np.array([0.5, -0.3, 0.4])
    model.shared_weights[0, 0] = torch.from_numpy(weights[::-1].copy())
    model.shared_terms[0, 0, 0] = 1.5
    model.shared_spread[0, 0, 0] = 0.7
    return model, *oracle.stationary(weights, 1.5, 0.7, T)


@pytest.fixture
def wandering() -> tuple[ARModel, Array, Array]:
    """A model of steps with a trend and a season, and the mean and covariance of its series."""
    config = st.AR(order=4, difference=True, trend="linear", season_length=3, season="dummies")
    model = model_of(config)
    model.fit_series(Series(walk(0, 80)))
    assert not model.starts_stationary
    weights = model.shared_weights[0, 0].numpy()[::-1]
    c, b, *season = model.shared_terms[0, 0].tolist()
    terms = np.array([c + b * t + season[t % 3] for t in range(T)])
    scale, m, root, _ = model.shared_spread[0, 0].tolist()
    return model, *oracle.from_first_value(weights, terms, scale, (m, root))


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("kind", ["stationary", "wandering"])
class TestAgainstTheJointDistribution:
    def test_the_score_is_the_marginal(
        self, kind: str, gaps: str, request: pytest.FixtureRequest
    ) -> None:
        model, mean, covariance = request.getfixturevalue(kind)
        x = with_gaps(walk(1), gaps)
        expected = oracle.log_density(x, mean, covariance)
        assert float(score(model, as_input(x)).sum()) == pytest.approx(expected, abs=1e-8)

    def test_a_stream_scores_the_same_as_a_chunk(
        self, kind: str, gaps: str, request: pytest.FixtureRequest
    ) -> None:
        model, *_ = request.getfixturevalue(kind)
        x = as_input(with_gaps(walk(1), gaps))
        state, each = model.start(1), []
        for t in range(T):
            each.append(model.predict(state).log_prob(Values(*(v[:, t] for v in _pair(x)))))
            state = model.step(state, tree.map_leaves(lambda v, t=t: v[:, t], x))
        torch.testing.assert_close(torch.stack(each, 1), score(model, x), rtol=1e-9, atol=1e-9)

    def test_missing_values_are_smoothed(
        self, kind: str, gaps: str, request: pytest.FixtureRequest
    ) -> None:
        model, mean, covariance = request.getfixturevalue(kind)
        x = with_gaps(walk(1), gaps)
        expected = oracle.conditional(x, mean, covariance)
        inputs = tree.map_leaves(lambda a, b: torch.cat([a, b], 1), model.first(1), as_input(x))
        found = model.smooth(inputs, None)
        np.testing.assert_allclose(found.mean[0, :, 0], expected[0], atol=1e-8)
        np.testing.assert_allclose(found.variance[0, :, 0], expected[1], atol=1e-8)

    def test_forecasts_have_the_conditional_mean_and_variance(
        self, kind: str, gaps: str, request: pytest.FixtureRequest
    ) -> None:
        model, mean, covariance = request.getfixturevalue(kind)
        x = with_gaps(walk(1), gaps)
        x[30:] = np.nan
        expected = oracle.conditional(x, mean, covariance)
        state = model.update(model.start(1), as_input(x[:30]))
        found = model.ahead(state, 10)
        np.testing.assert_allclose(found.mean[0, :, 0], expected[0][30:], atol=1e-8)
        np.testing.assert_allclose(found.variance[0, :, 0], expected[1][30:], atol=1e-8)


def _pair(x: NumberInput) -> tuple[torch.Tensor, torch.Tensor]:
    return x.values.numbers, x.values.is_observed


def test_rows_with_gaps_of_their_own_do_not_meet() -> None:
    model = model_of(st.AR(order=5))
    model.fit_series(Series(walk(0, 200)))
    rows = [with_gaps(walk(i), gaps) for i, gaps in enumerate(GAPS)]
    together = as_input(np.stack(rows, 1))
    together = tree.map_leaves(lambda t: t[0].T[..., None], together)
    alone = torch.cat([score(model, as_input(row)) for row in rows])
    torch.testing.assert_close(score(model, together), alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("lengths", [[0, 3, 9], [9, 0, 1], [1, 1, 1]])
def test_ragged_rows_go_on_as_if_alone(lengths: list[int]) -> None:
    model = model_of(st.AR(order=3, difference=True))
    model.fit_series(Series(walk(0, 60)))
    x = np.stack([with_gaps(walk(i), "a gap") for i in range(3)])[..., None]
    chunk = as_input(x[0])
    chunk = NumberInput(Values.of(torch.from_numpy(x[:, :9])))
    state = model.update(model.start(3), chunk, torch.tensor(lengths))
    state = model.update(state, chunk)
    for i, n in enumerate(lengths):
        alone = model.update(model.start(1), as_input(np.concatenate([x[i, :n], x[i, :9]])))
        row = tree.select(state, torch.tensor([i]))
        a, b = model.ahead(row, 5), model.ahead(alone, 5)
        torch.testing.assert_close(a.mean, b.mean, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(a.variance, b.variance, rtol=1e-10, atol=1e-10)


def test_states_with_different_numbers_of_gaps_are_joined_and_saved() -> None:
    model = model_of(st.AR(order=4))
    model.fit_series(Series(walk(0, 60)))
    states = [model.update(model.start(1), as_input(with_gaps(walk(2), g)[:8])) for g in GAPS]
    joined = model.load_state(model.save_state(tree.cat(states)))
    expected = torch.cat([model.ahead(state, 6).variance for state in states])
    torch.testing.assert_close(model.ahead(joined, 6).variance, expected, rtol=1e-12, atol=0.0)


def test_the_naive_forecast_is_the_last_value_and_grows_with_the_root_of_the_horizon() -> None:
    x = walk(0, 300)
    model = model_of(st.Naive(), series=1)
    model.fit_series(Series(x))
    memory = model.of_series(torch.tensor([0]))
    state = model.update(model.start(1, memory=memory), as_input(x))
    found = model.ahead(state, 4)
    scale = np.sqrt(np.pi / 2) * np.abs(np.diff(x)).mean()
    np.testing.assert_allclose(found.mean[0, :, 0], x[-1])
    np.testing.assert_allclose(found.variance[0, :, 0], scale**2 * np.arange(1, 5))


def test_the_naive_variance_grows_over_a_gap() -> None:
    x = walk(0, 300)
    x[-3:] = np.nan
    model = model_of(st.Naive())
    model.fit_series(Series(x))
    found = model.predict(model.update(model.start(1), as_input(x)))
    scale = float(model.shared_spread[0, 0, 0])
    np.testing.assert_allclose(found.mean[0, 0], x[-4])
    np.testing.assert_allclose(found.variance[0, 0], 4 * scale**2)


def test_the_seasonal_naive_forecast_repeats_the_season_and_bridges_a_gap() -> None:
    x = walk(0, 48)
    x[45] = np.nan
    model = model_of(st.SeasonalNaive(season_length=6))
    model.fit_series(Series(x))
    found = model.ahead(model.update(model.start(1), as_input(x)), 12)
    expected = np.tile(x[-6:], 2)
    expected[3::6] = x[39]
    np.testing.assert_allclose(found.mean[0, :, 0], expected)
    scale = float(model.shared_spread[0, 0, 0])
    seasons = np.repeat([1.0, 2.0], 6) + (np.arange(12) % 6 == 3)
    np.testing.assert_allclose(found.variance[0, :, 0], scale**2 * seasons)


def test_the_drift_goes_on_with_the_mean_step() -> None:
    x = walk(0, 100)
    model = model_of(st.Drift())
    model.fit_series(Series(x))
    found = model.ahead(model.update(model.start(1), as_input(x)), 5)
    step = (x[-1] - x[0]) / 99
    np.testing.assert_allclose(found.mean[0, :, 0], x[-1] + step * np.arange(1, 6))


def test_known_inputs_are_those_of_the_predicted_moment() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=(400, 2))
    x = np.zeros(400)
    for t in range(1, 400):
        x[t] = 0.6 * x[t - 1] + 2.0 * known[t, 0] - known[t, 1] + 0.01 * rng.normal()
    model = model_of(st.AR(order=1), known=2)
    model.fit_series(Series(x, known=known))
    np.testing.assert_allclose(model.shared_terms[0, 0, 2:], [2.0, -1.0], atol=0.01)
    first = NumberInput(
        Values.missing((1, 1, 1), model.device, model.dtype), torch.from_numpy(known[None, :1])
    )
    shifted = np.concatenate([known[1:], known[-1:]])
    state = model.update(model.start(1, first=first), as_input(x[:390], shifted[:390]))
    found = model.ahead(state, 10, torch.from_numpy(known[None, 391:]))
    np.testing.assert_allclose(found.mean[0, :, 0], x[390:], atol=0.1)


def test_every_channel_is_by_itself() -> None:
    x = np.stack([walk(0, 80), 100 * walk(1, 80)], 1)
    x[10:14, 1] = np.nan
    model = model_of(st.AR(order=2), channels=2)
    model.fit_series(Series(x))
    each = oracle.densities(model, as_input(x))
    for d in range(2):
        alone = model_of(st.AR(order=2))
        alone.fit_series(Series(x[:, d]))
        found = oracle.densities(alone, as_input(x[:, d]))
        torch.testing.assert_close(each.mean[..., d], found.mean[..., 0])
        torch.testing.assert_close(each.variance[..., d], found.variance[..., 0])


def test_series_that_were_seen_have_parameters_of_their_own() -> None:
    series = [walk(0, 90), 1000 + 100 * walk(1, 120), walk(2, 50)]
    model = model_of(st.AR(order=2), series=3)
    model.fit_series(Series(*series))
    memory = model.of_series(torch.tensor([1, -1]))
    assert memory is not None
    torch.testing.assert_close(memory.weights[0], model.series_weights[1])
    torch.testing.assert_close(memory.weights[1], model.shared_weights[0])
    known = score(model, as_input(series[1]), model.of_series(torch.tensor([1])))
    unknown = score(model, as_input(series[1]), model.of_series(torch.tensor([-1])))
    assert float(known.sum()) > float(unknown.sum())


def test_an_unknown_series_can_be_scored_without_memory() -> None:
    model = model_of(st.AR(order=2), series=2)
    model.fit_series(Series(walk(0, 90), walk(1, 90)))
    x = as_input(walk(3))
    unknown = model.of_series(torch.tensor([-1]))
    torch.testing.assert_close(score(model, x), score(model, x, unknown))


def test_weights_survive_the_state_dict() -> None:
    config = st.AR(order="aic", max_order=6)
    model = model_of(config, series=2)
    model.fit_series(Series(walk(0, 90), walk(1, 90)))
    other = model_of(config, series=2)
    other.load_state_dict(model.state_dict())
    x = as_input(walk(3))
    torch.testing.assert_close(score(other, x), score(model, x), rtol=0.0, atol=0.0)


def test_capabilities_are_declared() -> None:
    model = model_of(st.AR(order=2))
    assert isinstance(model, FitsSeries)
    assert isinstance(model, Ahead)
    assert isinstance(model, Smooths)


def test_series_that_cannot_be_fitted_are_named() -> None:
    model = model_of(st.AR(order=2), series=2)
    with pytest.raises(DataError, match="series 1 has no value"):
        model.fit_series(Series(walk(0), np.full(9, np.nan)))
    with pytest.raises(DataError, match="series 0 has an infinite value"):
        model.fit_series(Series(np.array([1.0, np.inf]), walk(0)))
    with pytest.raises(DataError, match="series 1 has 2 values, and no other has more; an AR of"):
        model.fit_series(Series(walk(0, 1), walk(0, 2)))


@pytest.mark.parametrize(
    "series",
    [
        [np.full(30, 7.0)],
        [np.zeros(30)],
        [walk(0, 100), np.array([2.0]), np.full(50, 3.0), walk(1, 3)],
    ],
    ids=["constant", "zero", "some of them"],
)
@pytest.mark.parametrize(
    "config",
    [
        st.Naive(),
        st.SeasonalNaive(season_length=12),
        st.Drift(),
        st.AR(order=5),
        st.AR(order="aic", max_order=4),
        st.AR(order=3, difference=True, season_length=7),
        st.AR(order=3, estimator="yule-walker"),
        st.AR(order=3, estimator="burg"),
    ],
    ids=repr,
)
def test_poor_series_are_fitted_and_forecast(config: ModelConfig, series: list[Array]) -> None:
    model = model_of(config, series=len(series))
    model.fit_series(Series(*series))
    for i, x in enumerate(series):
        memory = model.of_series(torch.tensor([i]))
        state = model.update(model.start(1, memory=memory), as_input(x))
        found = model.ahead(state, 3)
        assert bool(found.mean.isfinite().all())
        assert bool((found.variance > 0).all())
        assert bool(score(model, as_input(x), memory).isfinite().all())


def test_a_model_of_numbers_is_no_model_of_a_text() -> None:
    with pytest.raises(ConfigError, match="ar is a model of numbers"):
        build_model(st.AR(), 10, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "burg", "season_length": 24}, "season cannot be fitted"),
        ({"estimator": "exact", "trend": "linear"}, "linear trend cannot be fitted"),
        ({"estimator": "burg", "pooling": "full"}, "cannot be pooled"),
        ({"order": -1}, "order"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        st.AR(**options)  # type: ignore[arg-type]


def test_the_order_may_be_given_without_its_name() -> None:
    assert st.AR(24) == st.AR(order=24)
    assert not st.AR(24).fits_steps
    with pytest.raises(ConfigError, match="without a name"):
        st.AR(24, "constant")  # type: ignore[call-arg, misc]


def test_an_order_that_is_not_given_follows_the_season_and_the_length() -> None:
    expected = {None: 24, 1: 24, 4: 9, 7: 15, 12: 25, 24: 195, 48: 387, 52: 8, 144: 145}
    assert {s: st.AR(season_length=s).largest_order for s in expected} == expected
    model = model_of(st.AR(season_length=24), series=1)
    facts = model.fit_series(Series(walk(0, 90)))
    assert facts["order"] == 6  # ten complete windows for each lag
    assert model.fit_series(Series(walk(0, 4000)))["order"] == 195


@pytest.mark.parametrize("day", [24, 48])
def test_a_short_series_keeps_the_week_without_the_days_between(day: int) -> None:
    """Six weeks are too short for eight days of lags, and a week that repeats needs few of them."""
    rng = np.random.default_rng(0)
    week = rng.normal(size=7 * day)
    x = 10 + np.tile(week, 7) + rng.normal(scale=0.1, size=49 * day)
    model = model_of(st.AR(season_length=day), series=1)
    model.fit_series(Series(x[: 42 * day]))
    weights = model.series_weights[0, 0].flip(-1)  # of lag 1 first
    assert bool((weights[day + 4 : 7 * day - 2] == 0).all())
    assert float(weights[7 * day - 1]) > 0.5
    values = as_input(x)
    density = oracle.densities(model, values, model.of_series(torch.tensor([0])))
    error = (density.mean - values.values.numbers)[:, 42 * day :].square().mean().sqrt()
    assert float(error) < 0.2  # of a deviation of 1


def test_many_short_series_have_all_lags_up_to_a_third_of_their_length() -> None:
    """A collection has windows enough for the days between."""
    model = model_of(st.AR(season_length=24), series=20)
    facts = model.fit_series(Series(*(walk(i, 520) for i in range(20))))
    assert facts["order"] == 173


def test_logarithms_are_scored_in_the_units_of_the_data() -> None:
    """The median of the forecast is the exponential of that of the logarithms; so is the score."""
    x = np.exp(walk(0, 200) / 5)
    model, plain = model_of(st.AR(2, transform="log")), model_of(st.AR(2))
    model.fit_series(Series(x))
    plain.fit_series(Series(np.log(x)))
    found = oracle.densities(model, as_input(x))
    expected = oracle.densities(plain, as_input(np.log(x)))
    half = torch.full((1, 200, 1), 0.5, dtype=torch.float64)
    torch.testing.assert_close(found.quantile(half), expected.mean.exp())
    jacobian = torch.from_numpy(np.log(x))[None]
    values = as_input(np.log(x)).values
    torch.testing.assert_close(
        found.log_prob(as_input(x).values), expected.log_prob(values) - jacobian
    )


def test_zeros_have_logarithms_with_a_shift() -> None:
    x = np.maximum(0, np.sin(np.arange(300) * 2 * np.pi / 24)) * 1000
    model = model_of(st.AR(24, transform="log"), series=1)
    model.fit_series(Series(x))
    assert float(model.series_spread[0, 0, 3]) > 0
    assert bool(score(model, as_input(x), model.of_series(torch.tensor([0]))).isfinite().all())


@pytest.mark.parametrize("known", [0, 1])
def test_carries_are_those_of_folding(known: int) -> None:
    config = st.AR(order=4, trend="linear", season_length=3, season="dummies")
    model, rng = model_of(config, channels=2, known=known, series=3), np.random.default_rng(0)
    series = [rng.normal(size=(T, 2)).cumsum(0) for _ in range(3)]
    inputs = rng.normal(size=(3 * T, 1)) if known else None
    model.fit_series(Series(*series, known=inputs))
    values = Values.of(torch.from_numpy(np.stack(series)))
    more = None if inputs is None else torch.from_numpy(inputs).view(3, T, 1)
    x = NumberInput(values, more)
    first, rest = (tree.map_leaves(lambda t, p=p: t[:, p], x) for p in (slice(9), slice(9, None)))
    start = model.empty(3, memory=model.of_series(torch.arange(3)))
    _, carry = model.advance(start, first, None)
    assert isinstance(model, ReadsCarries)
    at = torch.tensor([[0, 1, 20], [2, 2, 31], [5, 7, 9]])
    found = model.carries(carry, rest, at)
    for i, count in enumerate(at.flatten().tolist()):
        chosen = torch.tensor([i // 3])
        expected = tree.select(carry, chosen)
        if count:
            part = tree.map_leaves(lambda t, n=count: t[:, :n], tree.select(rest, chosen))
            _, expected = model.advance(expected, part, None)
        torch.testing.assert_close(
            tree.leaves(tree.select(found, torch.tensor([i]))), tree.leaves(expected)
        )


def test_carries_behind_gaps_and_before_the_first_value_are_not_read_off() -> None:
    model = model_of(st.AR(order=2))
    x = Values.of(torch.tensor([[[1.0], [np.nan], [2.0], [3.0]]], dtype=torch.float64))
    whole = NumberInput(x, None)
    at = torch.tensor([[1, 3]])
    assert model.carries(model.empty(1), whole, at) is None
    _, carry = model.advance(model.empty(1), whole, None)
    assert model.carries(carry, whole, at) is None
