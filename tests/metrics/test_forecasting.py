"""Scores of forecasts: by hand, at zeros, and equal to other packages where definitions agree."""

import math

import numpy as np
import pandas as pd
import pytest

from seriatim.errors import ConfigError, DataError
from seriatim.metrics import forecasting as f
from seriatim.metrics.forecast_calibration import calibration_table, fit_conformal

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# ---- by hand ------------------------------------------------------------------------------------


def test_errors_of_points() -> None:
    y, forecast = [1.0, 2.0, 4.0], [2.0, 2.0, 2.0]
    assert f.mae(y, forecast) == 1.0
    assert f.mse(y, forecast) == pytest.approx(5 / 3)
    assert f.rmse(y, forecast) == pytest.approx(math.sqrt(5 / 3))
    assert f.smape(y, forecast) == pytest.approx((200 / 3 + 0 + 200 / 3) / 3)


def test_seasonal_scale_leaves_out_pairs_with_a_gap() -> None:
    assert f.seasonal_scale([1, 5, 2, 9], 2) == pytest.approx((1 + 4) / 2)
    assert f.seasonal_scale([1, math.nan, 2, 9], 2) == 1.0
    assert math.isnan(f.seasonal_scale([1, 2], 2))


def test_missing_values_are_left_out_of_every_score() -> None:
    y = np.array([[1.0, math.nan], [math.nan, math.nan]])
    q = np.full((2, 2, 3), 2.0)
    assert f.mae(y, 2.0) == 1.0
    assert np.array_equal(f.mae(y, 2.0 * np.ones((2, 2)), axis=-1), [1.0, math.nan], equal_nan=True)
    assert f.weighted_quantile_loss(y, q, LEVELS) == pytest.approx(2 * np.mean([0.9, 0.5, 0.1]))
    assert np.isnan(f.weighted_quantile_loss(y, q, LEVELS, axis=-1)[1])
    assert f.coverage(y, 0, 1) == 1.0
    assert f.interval_score(y, 0 * y, 0 * y + 1, 0.8) == 1.0
    assert np.isnan(f.crps_from_samples(y, np.zeros((2, 2, 5)))[1]).all()
    assert f.log_score(np.where(np.isnan(y), math.nan, -3.0)) == 3.0


def test_forecast_that_is_no_number_is_no_missing_value() -> None:
    assert math.isnan(f.mae([1.0, 2.0], [1.0, math.nan]))
    assert math.isnan(f.weighted_quantile_loss([1.0], np.full((1, 3), math.nan), LEVELS))
    assert f.coverage([1.0], math.nan, 2.0) == 0.0


def test_zero_by_zero_is_a_perfect_score_and_an_error_by_zero_infinite() -> None:
    zero, one = np.zeros(3), np.ones(3)
    assert f.smape(zero, zero) == 0.0
    assert f.smape(zero, one) == 200.0
    assert f.mase(zero, zero, 0.0) == 0.0
    assert f.mase(zero, one, 0.0) == math.inf
    assert f.weighted_quantile_loss(zero, np.zeros((3, 3)), LEVELS) == 0.0
    assert f.weighted_quantile_loss(zero, np.ones((3, 3)), LEVELS) == math.inf
    assert f.crps_normal(2.0, 5.0, 0.0) == 3.0
    assert f.crps_normal(5.0, 5.0, 0.0) == 0.0


def test_log_score_counts_observed_values_of_all_channels() -> None:
    assert f.log_score([-2.0, 0.0, -4.0], [2, 0, 1]) == 2.0
    assert math.isnan(f.log_score([0.0], [0]))


@pytest.mark.parametrize("levels", [(1.2,), (0.0, 0.5), (0.9, 0.1), (0.5, 0.5), ()])
def test_levels_that_are_none_are_refused(levels: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="quantile"):
        f.pinball([1.0], np.ones((1, len(levels))), levels)


def test_message_names_the_quantile() -> None:
    with pytest.raises(ConfigError, match=r"a quantile of 1\.2 is not between 0 and 1: 0\.9 is 90"):
        f.check_levels((0.1, 1.2))


def test_fair_estimator_has_no_bias_and_the_ensemble_one_has(rng: np.random.Generator) -> None:
    samples, y = rng.normal(size=(200_000, 3)), np.zeros(200_000)
    exact = float(f.crps_normal(0.0, 0.0, 1.0))
    fair = f.crps_from_samples(y, samples)
    assert fair.mean() == pytest.approx(exact, abs=4 * fair.std() / math.sqrt(len(fair)))
    biased = f.crps_from_samples(y, samples, estimator="ensemble").mean()
    assert biased - exact == pytest.approx(2 / math.sqrt(math.pi) / (2 * 3), rel=0.02)


def test_crps_of_dense_quantiles_tends_to_that_of_the_density() -> None:
    from scipy.stats import norm

    levels = (np.arange(2000) + 0.5) / 2000
    got = f.crps_from_quantiles([0.7], norm.ppf(levels)[None], levels.tolist())
    assert got[0] == pytest.approx(float(f.crps_normal(0.7, 0, 1)), abs=1e-3)


def test_unknown_estimator_is_refused() -> None:
    with pytest.raises(ConfigError, match="fair or ensemble"):
        f.crps_from_samples([1.0], np.ones((1, 3)), estimator="nrg")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="two samples"):
        f.crps_from_samples([1.0], np.ones((1, 1)))


# ---- equal to other packages --------------------------------------------------------------------


def test_scores_equal_scoringrules(rng: np.random.Generator) -> None:
    sr = pytest.importorskip("scoringrules", reason="needs scoringrules")
    y, mean, scale = rng.normal(size=50), rng.normal(size=50), rng.gamma(2, size=50)
    samples = np.sort(rng.normal(size=(50, 20)))
    for ours, theirs in (("fair", "fair"), ("ensemble", "nrg")):
        got = f.crps_from_samples(y, samples, estimator=ours)  # type: ignore[arg-type]
        assert np.allclose(got, sr.crps_ensemble(y, samples, estimator=theirs), atol=1e-12)
    assert np.allclose(f.crps_normal(y, mean, scale), sr.crps_normal(y, mean, scale), atol=1e-12)
    quantiles = np.sort(rng.normal(size=(50, 3)))
    got = f.crps_from_quantiles(y, quantiles, LEVELS)
    assert np.allclose(got, sr.crps_quantile(y, quantiles, np.array(LEVELS)), atol=1e-12)
    lower, upper = mean - scale, mean + scale
    got = f.interval_score(y[:, None], lower[:, None], upper[:, None], 0.8, axis=-1)
    assert np.allclose(got, sr.interval_score(y, lower, upper, 0.2), atol=1e-12)
    log_probs = -0.5 * ((y - mean) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi)
    assert f.log_score(log_probs) == pytest.approx(sr.logs_normal(y, mean, scale).mean(), abs=1e-12)


def test_scores_equal_utilsforecast(rng: np.random.Generator) -> None:
    losses = pytest.importorskip("utilsforecast.losses", reason="needs utilsforecast")
    series, horizon, season = 3, 8, 4
    history, y = rng.gamma(2, size=(series, 40)), rng.gamma(2, size=(series, horizon))
    forecast = y + rng.normal(size=y.shape)
    quantiles = np.sort(forecast[..., None] + rng.normal(size=(*y.shape, 3)))

    def frame(values: np.ndarray, start: int, **columns: np.ndarray) -> pd.DataFrame:
        count = values.shape[1]
        return pd.DataFrame(
            {
                "unique_id": np.repeat(list("abc"), count),
                "ds": np.tile(np.arange(start, start + count), series),
                "y": values.ravel(),
                **{name: column.ravel() for name, column in columns.items()},
            }
        )

    names = [f"q{level}" for level in LEVELS]
    columns = {name: quantiles[..., i] for i, name in enumerate(names)}
    columns |= {"m": forecast, "m-lo-80": quantiles[..., 0], "m-hi-80": quantiles[..., 2]}
    table, train = frame(y, 40, **columns), frame(history, 0)

    def same(ours: np.ndarray, theirs: pd.DataFrame, column: str = "m") -> None:
        assert np.allclose(ours, theirs[column], atol=1e-12)

    same(f.mae(y, forecast, -1), losses.mae(table, ["m"]))
    same(f.rmse(y, forecast, -1), losses.rmse(table, ["m"]))
    same(f.smape(y, forecast, -1) / 200, losses.smape(table, ["m"]))
    scale = np.array([[f.seasonal_scale(row, season)] for row in history])
    same(f.mase(y, forecast, scale, -1), losses.mase(table, ["m"], season, train))
    same(f.coverage(y, quantiles[..., 0], quantiles[..., 2], -1), losses.coverage(table, ["m"], 80))
    same(
        f.interval_score(y, quantiles[..., 0], quantiles[..., 2], 0.8, -1),
        losses.winkler_score(table, ["m"], 80),
    )
    of_each = {"m": names}
    same(
        f.weighted_quantile_loss(y, quantiles, LEVELS, -1),
        losses.scaled_crps(table, of_each, np.array(LEVELS)),
    )
    pooled = 2 * f.pinball(y, quantiles, LEVELS).mean(-1).sum() / np.abs(y).sum()
    assert f.weighted_quantile_loss(y, quantiles, LEVELS) == pytest.approx(pooled)
    for i, name in enumerate(names):
        same(
            f.pinball(y, quantiles, LEVELS).mean(1)[:, i],
            losses.quantile_loss(table, {"m": name}, LEVELS[i]),
        )


# ---- calibration --------------------------------------------------------------------------------


def test_calibration_table_counts_what_is_below(rng: np.random.Generator) -> None:
    y = np.array([[0.0, 1.0], [2.0, math.nan]])
    rows = calibration_table(y, np.broadcast_to([0.0, 1.5, 3.0], (2, 2, 3)), LEVELS)
    assert [row.actual for row in rows] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert {row.number for row in rows} == {3}
    assert all(row.low <= row.actual <= row.high for row in rows)
    with pytest.raises(DataError, match="no value was observed"):
        calibration_table([math.nan], np.ones((1, 3)), LEVELS)


def test_conformal_correction_covers_where_raw_bands_do_not(rng: np.random.Generator) -> None:
    past, new = rng.normal(1, 3, size=(400, 2)), rng.normal(1, 3, size=(4000, 2))
    raw = np.broadcast_to([-1.28, 0.0, 1.28], (4000, 2, 3))  # bands of a standard normal
    correction = fit_conformal(past, raw[:400], LEVELS)
    assert correction.numbers == (400, 400)
    before = [row.actual for row in calibration_table(new, raw, LEVELS)]
    after = [row.actual for row in calibration_table(new, correction.apply(raw), LEVELS)]
    assert before[0] > 0.2 and before[2] < 0.6
    assert after == pytest.approx(LEVELS, abs=0.04)


def test_conformal_shift_is_the_ranked_error() -> None:
    errors = np.arange(1.0, 10.0)[:, None]  # nine values: levels k/10 are exact
    correction = fit_conformal(errors, np.zeros((9, 1, 3)), LEVELS)
    assert correction.shifts == ((1.0, 5.0, 9.0),)
    assert fit_conformal(errors[:3], np.zeros((3, 1, 3)), LEVELS).shifts == ((1.0, 2.0, 3.0),)


def test_conformal_correction_is_in_units_of_the_scale_and_never_crosses() -> None:
    y, quantiles = np.array([[10.0], [100.0]]), np.zeros((2, 1, 1))
    correction = fit_conformal(y, quantiles, (0.5,), scale=np.array([1.0, 10.0]))
    assert correction.apply(np.zeros((1, 1, 1)), scale=np.array([5.0])).item() == 50.0
    crossing = fit_conformal(np.array([[0.0]]), np.array([[[5.0, -5.0]]]), (0.1, 0.9))
    assert (np.diff(crossing.apply(np.zeros((1, 1, 2)))) >= 0).all()


def test_conformal_correction_of_another_horizon_is_refused() -> None:
    correction = fit_conformal(np.zeros((2, 3)), np.zeros((2, 3, 3)), LEVELS)
    with pytest.raises(ConfigError, match="3 steps and 3 levels"):
        correction.apply(np.zeros((1, 4, 3)))
    with pytest.raises(DataError, match="2 steps ahead"):
        fit_conformal(np.array([[1.0, math.nan]]), np.zeros((1, 2, 3)), LEVELS)
