"""Backtests: the same forecasts as from data that ends at each origin, in one pass."""

from typing import Any

import numpy as np
import pytest

import seriatim as st
from seriatim.metrics.forecasting import mase, weighted_quantile_loss
from seriatim.tasks.forecasting import scan
from seriatim.tasks.forecasting.states import stand_at
from tests.tasks.forecasting.test_forecaster import _frame
from tests.tasks.toy_naive import ToyNaive

pd = pytest.importorskip("pandas")


@pytest.mark.parametrize("config", [st.AR(order=3), st.LSTM(hidden_size=8), st.SeasonalNaive()])
def test_a_backtest_is_what_predictions_from_shorter_data_are(config: Any) -> None:
    frame = _frame({"a": 120, "b": 90})
    fitted = st.Forecaster(config)
    fitted.fit(frame, **({"steps": 2} if isinstance(config, st.LSTM) else {}))
    found = fitted.backtest(frame, 6, origins=4, step=5, num_samples=20).frame
    assert len(found) == 2 * 4 * 6 and found.cutoff.nunique() == 8
    for back in (6, 11, 21):
        is_seen = frame.groupby("unique_id").cumcount(ascending=False) >= back
        alone = fitted.predict(6, data=frame[is_seen], num_samples=20).frame
        cutoffs = frame[is_seen].groupby("unique_id").ds.max()
        rows = found[found.cutoff == found.unique_id.map(cutoffs)]
        assert rows.ds.tolist() == alone.ds.tolist()
        if not isinstance(config, st.LSTM):  # whose paths depend on where a row stands
            np.testing.assert_allclose(rows["mean"], alone["mean"], rtol=1e-9)
            np.testing.assert_allclose(rows["0.9"], alone["0.9"], rtol=1e-9)
    truth = found.merge(frame, on=["unique_id", "ds"])
    assert (truth.y_x == truth.y_y).all()


def test_the_figures_are_those_of_the_metrics() -> None:
    frame = _frame({"a": 120})
    test = st.Forecaster(ToyNaive()).fit(frame).backtest(frame, 6, origins=3)
    found, y = test.scanned, test.scanned.y
    median = found.quantiles[:, test.levels.index(0.5)]
    past = frame.y.to_numpy()[: 120 - 18]
    scale = np.abs(past[24:] - past[:-24]).mean()
    assert test.figures.mase == pytest.approx(float(mase(y, median, scale)))
    levels = [round(0.1 * i, 1) for i in range(1, 10)]
    bands = np.stack([found.quantiles[:, test.levels.index(q)] for q in levels], -1)
    assert test.figures.wql == pytest.approx(float(weighted_quantile_loss(y, bands, levels)))


def test_the_log_score_is_that_of_the_values_after_the_first_origin() -> None:
    frame = _frame({"a": 80, "b": 60})
    fitted = st.Forecaster(st.AR(order=2)).fit(frame)
    is_before = frame.groupby("unique_id").cumcount(ascending=False) >= 10
    whole, before = fitted.score(frame), fitted.score(frame[is_before])
    expected = (whole.nats - before.nats) / (whole.num_values - before.num_values)
    for step in (5, 3):
        test = fitted.backtest(frame, 10 - step, origins=2, step=step)
        assert test.figures.nats_per_value == pytest.approx(expected)


def test_a_copy_is_fitted_to_what_comes_before_the_origin() -> None:
    frame = _frame({"a": 100})
    early = frame[:76]
    forecaster = st.Forecaster(st.AR(order=2))
    test = forecaster.backtest(frame, 12, origins=2)
    assert forecaster.model is None
    again = forecaster.backtest(frame, 12, origins=2, refit=True)
    first = st.Forecaster(st.AR(order=2)).fit(early).predict(12).mean
    np.testing.assert_allclose(test.scanned.mean[:1], first)
    np.testing.assert_allclose(again.scanned.mean[:1], first)
    later = st.Forecaster(st.AR(order=2)).fit(frame[:88]).predict(12).mean
    np.testing.assert_allclose(again.scanned.mean[1:], later)
    assert not np.allclose(test.scanned.mean[1:], later)


def test_a_short_series_has_the_origins_that_it_has_room_for() -> None:
    frame = _frame({"a": 60, "b": 14})
    test = st.Forecaster(ToyNaive()).backtest(frame, 6, origins=4)
    assert test.scanned.series.tolist() == [0, 0, 0, 0, 1, 1]
    with pytest.raises(st.SeriatimError, match="give a smaller horizon, at most 59"):
        st.Forecaster(ToyNaive()).backtest(frame, 60)
    with pytest.raises(st.SeriatimError, match="origins = 0: give 1 or more"):
        st.Forecaster(ToyNaive()).backtest(frame, 6, origins=0)


def test_it_says_when_a_model_was_fitted_to_what_it_is_tested_on() -> None:
    frame = _frame({"a": 60})
    notes = st.Forecaster(ToyNaive()).fit(frame).backtest(frame, 6).notes
    assert "beyond the first origin" in notes[0]
    assert not st.Forecaster(ToyNaive()).fit(frame[:54]).backtest(frame, 6).notes


def test_gaps_where_it_is_predicted_are_left_out_of_the_figures() -> None:
    frame = _frame({"a": 60})
    frame.loc[[55, 58], "y"] = np.nan
    test = st.Forecaster(ToyNaive()).backtest(frame, 6)
    assert test.figures.num_values == 4 and np.isfinite(test.figures.wql)


def test_an_order_that_was_not_given_suits_few_values_and_many_gaps() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(1400)
    y = 100 + 40 * np.sin(2 * np.pi * t / 24) + rng.normal(0, 5, len(t))
    y[rng.random(len(t)) < 0.03] = np.nan
    for values in (y, y[:90]):
        found = st.backtest(values, ["naive", "ar"], horizon=10, season_length=24, origins=4)
        assert found["ar"].figures.wql < found["naive"].figures.wql
        assert found["ar"].figures.coverage["80"] > 0.4


@pytest.mark.parametrize("gap", [False, True])
def test_states_that_are_read_off_are_those_that_are_followed(
    monkeypatch: pytest.MonkeyPatch, gap: bool
) -> None:
    rng = np.random.default_rng(0)
    data = [rng.normal(size=length).cumsum() for length in (90, 60, 12)]
    if gap:
        data[0][70] = np.nan
    monkeypatch.setattr(scan, "_ROWS_KEPT", 9)  # three origins together
    asked = []

    def spy(*args: Any) -> Any:
        asked.append(stand_at(*args))
        return asked[-1]

    found = {}
    for name, stand in {"read": spy, "followed": lambda *_: None}.items():
        monkeypatch.setattr(scan, "stand_at", stand)
        fitted = st.Forecaster(st.AR(order=3)).fit(data)
        found[name] = fitted.backtest(data, 4, origins=8).scanned
    assert any(standing is not None for standing in asked)
    assert any(standing is None for standing in asked) == gap
    for one, other in zip(*(vars(f).values() for f in found.values()), strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_allclose(one, other, rtol=1e-12)
