"""The forecaster: what it predicts, keeps and goes on with."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seriatim as st
from tests.tasks.toy_naive import ToyNaive

pd = pytest.importorskip("pandas")


def _frame(lengths: dict[Any, int], seed: int = 0, start: str = "2024-01-01") -> Any:
    rng = np.random.default_rng(seed)
    parts = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range(start, periods=length, freq="h"),
                "y": rng.normal(size=length).cumsum(),
            }
        )
        for name, length in lengths.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_forecast_begins_after_the_end_of_each_series() -> None:
    frame = _frame({"a": 30, "b": 20})
    forecast = st.Forecaster(ToyNaive()).fit(frame).predict(3, quantiles=(0.1, 0.5))
    table = forecast.frame
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == ["unique_id", "ds", "mean", "0.1", "0.5"]
    assert table.ds[0] == pd.Timestamp("2024-01-02 06:00")
    assert table.ds[3] == pd.Timestamp("2024-01-01 20:00")
    assert table["mean"][0] == frame.y[29] and table["mean"][3] == frame.y[49]
    np.testing.assert_allclose(table["0.5"], table["mean"])


def test_a_level_gives_the_two_ends_of_an_interval() -> None:
    fitted = st.Forecaster(ToyNaive()).fit(_frame({"a": 30}))
    assert fitted.predict(2, level=(80, 95)).columns[3:] == ("lo-95", "lo-80", "hi-80", "hi-95")
    both = fitted.predict(2, level=80), fitted.predict(2, quantiles=(0.1, 0.9))
    np.testing.assert_allclose(both[0].column("lo-80"), both[1].column("0.1"))


def test_ids_that_are_numbers_stay_numbers() -> None:
    table = st.Forecaster(ToyNaive()).fit(_frame({7: 30, 9: 20})).predict(1).frame
    assert table.unique_id.tolist() == [7, 9]


def test_going_on_is_the_same_as_reading_the_whole() -> None:
    frame = _frame({"a": 40, "b": 40})
    is_late = frame.groupby("unique_id").cumcount() >= 25
    fitted = st.Forecaster(ToyNaive()).fit(frame[~is_late])
    whole = fitted.predict(4, data=frame)
    fitted.update(frame[is_late])
    np.testing.assert_array_equal(fitted.predict(4).quantiles, whole.quantiles)
    assert (fitted.predict(4).times == whole.times).all()


def test_moments_between_are_gaps_and_new_series_begin_from_nothing() -> None:
    fitted = st.Forecaster(ToyNaive()).fit(_frame({"a": 30}))
    before = fitted.predict(1)
    late = _frame({"a": 1, "c": 5}, start="2024-01-02 08:00")  # two moments are left out
    fitted.update(late)
    after = fitted.predict(1)
    assert after.ids == ("a", "c")
    assert after.times[0, 0] == np.datetime64("2024-01-02T09:00")
    assert before.mean[0, 0, 0] != after.mean[0, 0, 0] == late.y[0]


def test_values_that_are_known_already_are_refused() -> None:
    frame = _frame({"a": 30})
    fitted = st.Forecaster(ToyNaive()).fit(frame)
    with pytest.raises(st.SeriatimError, match="begin at 2024-01-02 05:00:00, and it is known up"):
        fitted.update(frame[29:])


def test_a_saved_forecaster_predicts_the_same(tmp_path: Path) -> None:
    frame = _frame({"a": 60, "b": 20})
    options = {"batch_size": 4, "length": 8}
    fitted = st.Forecaster(st.LSTM(hidden_size=8)).fit(frame, steps=3, options=options)
    fitted.save(tmp_path / "model")
    loaded = st.load(tmp_path / "model")
    assert isinstance(loaded, st.Forecaster)
    np.testing.assert_array_equal(loaded.predict(5).quantiles, fitted.predict(5).quantiles)
    assert loaded.info() == fitted.info()
    new = _frame({"b": 3}, start="2024-01-01 20:00")
    left, right = loaded.update(new).predict(2), fitted.update(new).predict(2)
    np.testing.assert_array_equal(left.quantiles, right.quantiles)


def test_known_inputs_must_reach_the_horizon() -> None:
    frame = _frame({"a": 40}).assign(price=1.0)
    fitted = st.Forecaster(ToyNaive(num_known=1), known=["price"]).fit(frame)
    with pytest.raises(st.SeriatimError, match=r"known inputs \(price\)"):
        fitted.predict(3)
    with pytest.raises(st.SeriatimError, match="end after 2 moments and the horizon is 3"):
        fitted.predict(3, known=np.ones((2, 1)))
    short = _frame({"a": 2}, start="2024-01-02 16:00").assign(price=2.0).drop(columns="y")
    with pytest.raises(st.SeriatimError, match="series 'a' end before the horizon: that of 2024"):
        fitted.predict(3, known=short)
    assert fitted.predict(2, known=short).mean.shape == (1, 2, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.predict(0), "horizon = 0: give 1 or more"),
        (lambda f: f.predict(2, quantiles=(1.2,)), "quantile 1.2: give one between 0 and 1"),
        (lambda f: f.predict(2, level=120), "level 120: give a percentage between 0 and 100"),
        (lambda f: f.predict(2, known=np.ones((2, 1))), "fitted without any"),
        (lambda f: f.stream("z"), "there is no series 'z'"),
    ],
)
def test_bad_arguments_are_answered_in_a_sentence(call: Any, message: str) -> None:
    fitted = st.Forecaster(ToyNaive()).fit(_frame({"a": 30}))
    with pytest.raises(st.SeriatimError, match=message):
        call(fitted)


def test_the_score_is_that_of_the_densities() -> None:
    frame = _frame({"a": 30})
    fitted = st.Forecaster(ToyNaive()).fit(frame)
    assert fitted.model is not None
    sigma = float(fitted.model.get_buffer("sigma"))
    score = fitted.score(frame)
    y = frame.y.to_numpy()
    steps = np.diff(y, prepend=0.0)
    scales = np.where(np.arange(30) == 0, sigma * math.sqrt(2), sigma)  # one gap before the first
    nats = 0.5 * (steps / scales) ** 2 + np.log(scales) + 0.5 * math.log(2 * math.pi)
    assert score.nats_per_value == pytest.approx(nats.mean())
    assert score.mean_absolute_error == pytest.approx(np.abs(steps).mean())
    assert sum(score.histogram) == score.num_values == 30


def test_a_stream_says_what_scoring_says() -> None:
    frame = _frame({"a": 40})
    fitted = st.Forecaster(ToyNaive()).fit(frame[:30])
    stream = fitted.stream()
    bits = [stream.push(v) for v in frame.y[30:]]
    part = fitted.score(frame).nats - fitted.score(frame[:30]).nats
    assert sum(b for b in bits if b is not None) * math.log(2) == pytest.approx(part)
    assert stream.push(None) is None
    resumed = type(stream).load(stream.model, stream.save())
    np.testing.assert_array_equal(resumed.predict(3)[0], stream.predict(3)[0])


def test_a_value_far_from_what_is_expected_is_an_anomaly() -> None:
    frame = _frame({"a": 300, "b": 300})
    is_late = frame.groupby("unique_id").cumcount() >= 200
    fitted = st.Forecaster(st.AR(order=1)).fit(frame[~is_late])
    chosen = fitted.threshold(frame[is_late], false_alarms=0.02)
    assert chosen.per == "event" and chosen.events == 200
    odd = frame[is_late].reset_index(drop=True)
    odd.loc[50, "y"] += 30
    found = fitted.detect(odd)
    worst = max(found, key=lambda row: row.bits)
    assert worst.verdict == "anomaly" and worst.time == str(odd.ds[50])
    assert {row.sequence for row in found.sequences} == {"a", "b"}


def test_missing_values_cost_something_and_more_cost_more() -> None:
    frame = _frame({"a": 400})
    fitted = st.Forecaster(ToyNaive()).fit(frame)
    found = fitted.robustness(frame)
    bits = [p.bits - p.intact for p in found.perturbations]
    assert 0 < bits[1] < bits[3] and found.metric == "bits per kept value"


def test_gaps_are_filled_from_both_sides_where_the_model_can() -> None:
    frame = _frame({"a": 60, "b": 30})
    truth = frame.y.copy()
    frame.loc[[20, 21, 22, 70], "y"] = np.nan
    smooth = st.Forecaster(st.AR(order=1, estimator="exact")).fit(frame).impute(frame)
    assert smooth.is_exact and not smooth.notes and smooth.num_missing == 4
    table = smooth.frame
    assert table.y.notna().all() and table.is_missing.sum() == 4
    seen = ~table.is_missing
    np.testing.assert_array_equal(table.y[seen], truth[seen])
    between = sorted([truth[19], truth[23]])
    assert between[0] - 0.5 <= table.y[21] <= between[1] + 0.5
    forward = st.Forecaster(ToyNaive()).fit(frame).impute(frame, only_missing=True)
    assert "forwards only" in forward.notes[0]
    assert forward.frame.y.tolist() == [truth[19]] * 3 + [truth[69]]


def test_a_run_that_was_interrupted_is_resumed_to_the_bit(tmp_path: Path) -> None:
    frame = _frame({"a": 90, "b": 60})
    options = {"batch_size": 4, "length": 8, "evaluate_every": 2}

    def make() -> st.Forecaster:
        return st.Forecaster(st.LSTM(hidden_size=8))

    def fit(resume: bool, folder: Path, most: int) -> st.Forecaster:
        calls = iter(range(1000))
        stop = st.Callbacks(should_stop=lambda: next(calls) >= most)
        return make().fit(
            frame, steps=8, seed=1, options=options, callbacks=stop, checkpoints=folder,
            resume=resume,
        )  # fmt: skip

    whole = fit(False, tmp_path / "whole", 100)
    fit(False, tmp_path / "cut", 4)
    resumed = fit(True, tmp_path / "cut", 100)
    assert resumed.training.fit is not None and resumed.training.fit.steps_done == 8
    np.testing.assert_array_equal(resumed.predict(3).quantiles, whole.predict(3).quantiles)


def test_further_training_on_other_series_predicts_those() -> None:
    options = {"batch_size": 4, "length": 8}
    fitted = st.Forecaster(st.LSTM(hidden_size=8)).fit(_frame({"a": 90}), steps=2, options=options)
    fitted.fit(_frame({"c": 80, "d": 70}), steps=2, options=options)
    assert fitted.predict(2).ids == ("c", "d")
    again = st.Forecaster(ToyNaive()).fit(_frame({"a": 90})).fit(_frame({"c": 80}))
    assert again.predict(1).ids == ("c",)


def test_an_ar_without_an_order_follows_the_season_of_the_frequency() -> None:
    """Hours have days; who names an order gets just that."""
    hours = np.datetime64("2024-01-01T00") + np.arange(700)
    day = np.sin(2 * np.pi * np.arange(700) / 24)
    table = {"ds": hours, "y": day + np.random.default_rng(0).normal(scale=0.1, size=700)}
    found = st.Forecaster(st.AR()).fit(table)
    assert found.config == st.AR(season_length=24)
    assert st.Forecaster(st.AR(3)).fit(table).config == st.AR(3)


def test_the_season_of_whole_numbers_is_found_in_the_values() -> None:
    """A file of which nobody said that its moments are hours; who names a season gets that."""
    rng = np.random.default_rng(0)
    table = {
        "unique_id": np.repeat(["a", "b", "c"], 400),
        "ds": np.tile(np.arange(1, 401), 3),
        "y": np.tile(np.sin(2 * np.pi * np.arange(400) / 24), 3) + rng.normal(scale=0.2, size=1200),
    }
    said: list[str] = []
    found = st.Forecaster(st.AR()).fit(table, callbacks=st.Callbacks(message=said.append))
    assert found.config == st.AR(season_length=24)
    assert "season: 24 moments, found in the values, as times are whole numbers" in said
    given = st.Forecaster(st.AR(), season_length=7).fit(table)
    assert given.config == st.AR(season_length=7)
    noise = {**table, "y": rng.normal(size=1200)}
    assert st.Forecaster(st.AR()).fit(noise).config == st.AR(season_length=1)
    compared = st.backtest(table, ["seasonal-naive", "ar"], horizon=24, origins=2)
    assert compared.season_length == 24
