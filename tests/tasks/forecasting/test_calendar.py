"""Calendar inputs that a forecaster computes by itself."""

import numpy as np
import pandas as pd
import pytest

import seriatim as st
from seriatim.data.series import calendar_values
from seriatim.errors import ConfigError
from seriatim.tasks.series_stream import SeriesStream


def _frame(days: int = 40, zone: str | None = None) -> pd.DataFrame:
    times = pd.date_range("2025-03-01", periods=24 * days, freq="h", tz=zone)
    noise = np.random.default_rng(0).normal(0, 0.3, len(times))
    return pd.DataFrame({"ds": times, "y": 10 + 5 * np.cos(times.hour / 12 * np.pi) + noise})


def _fitted(frame: pd.DataFrame, **options: object) -> st.Forecaster:
    return st.Forecaster(st.AR(order=2), season_length=24, calendar=("hour", "weekday")).fit(
        frame, **options
    )


def test_predict_computes_the_calendar_that_was_given_by_hand_before() -> None:
    frame = _frame()
    own = _fitted(frame)
    known, names = calendar_values(own.predict(48).times, None, ("hour", "weekday"))
    series = st.open_series(
        frame.assign(**dict(zip("abcd", _columns(frame), strict=True))), known=list("abcd")
    )
    by_hand = st.Forecaster(st.AR(order=2), season_length=24).fit(series)
    assert own.series is not None
    assert own.series.inputs == names
    np.testing.assert_array_equal(own.predict(48).mean, by_hand.predict(48, known=known).mean)


def _columns(frame: pd.DataFrame) -> np.ndarray:
    return calendar_values(frame.ds.to_numpy("datetime64[ns]"), None, ("hour", "weekday"))[0].T


def test_loaded_updated_and_streaming_forecasters_agree(tmp_path) -> None:
    frame = _frame(zone="Europe/Berlin")  # the clock changes on 30 March, in what is new
    first, rest = frame[: 24 * 28], frame[24 * 28 :]
    own = _fitted(first)
    stream = own.stream()
    own.save(tmp_path / "model")
    for value in rest.y[:5]:
        stream.push(value)
    stream = SeriesStream.load(own.model, stream.save())
    bits = [stream.push(value) for value in rest.y[5:]]
    whole = _fitted(first)
    expected = next(iter(whole.sequence_bits(frame))).bits[24 * 28 + 5 :]
    np.testing.assert_allclose(bits, expected, rtol=1e-9)
    loaded = st.load(tmp_path / "model")
    loaded.update(rest)
    np.testing.assert_allclose(loaded.predict(30).mean[0], stream.predict(30)[0], rtol=1e-9)
    np.testing.assert_allclose(loaded.predict(30).mean, whole.predict(30, data=frame).mean)


def test_an_update_after_a_gap_has_the_calendar_of_the_gap() -> None:
    frame = _frame()
    own = _fitted(frame[: 24 * 30])
    own.update(frame[24 * 30 + 7 :])
    gap = frame.copy()
    gap.loc[24 * 30 : 24 * 30 + 6, "y"] = np.nan
    np.testing.assert_allclose(
        own.predict(9).mean, _fitted(frame[: 24 * 30]).predict(9, data=gap).mean, rtol=1e-9
    )


def test_a_backtest_knows_the_calendar_of_what_it_predicts() -> None:
    frame = _frame()
    plain = st.Forecaster(st.AR(order=2)).backtest(frame, 24, origins=4)
    with_hours = st.Forecaster(st.AR(order=2), calendar="hour").backtest(frame, 24, origins=4)
    assert with_hours.figures.wql < plain.figures.wql


def test_true_takes_the_usual_cycles() -> None:
    own = st.Forecaster(st.AR(order=2), calendar=True).fit(_frame())
    assert own.series.calendar == ("hour", "weekday")  # 40 days are not two years


def test_whole_numbers_have_no_calendar() -> None:
    with pytest.raises(ConfigError, match="whole numbers as times, which have no calendar"):
        st.Forecaster("naive", calendar=True).fit([1.0, 2.0, 3.0])


def test_an_unknown_cycle_is_refused() -> None:
    with pytest.raises(ConfigError, match="no cycle 'decade'"):
        st.Forecaster("ar", calendar="decade").fit(_frame())
