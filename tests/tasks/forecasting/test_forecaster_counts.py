"""Counts are forecast by every family, and by networks as counts; a calendar as known inputs."""

import numpy as np
import pandas as pd
import pytest

import seriatim as st
from seriatim.data.series import calendar_values, open_series, with_calendar
from seriatim.errors import DataError


def counts() -> pd.DataFrame:
    values = np.random.default_rng(0).poisson(3, 100)
    return pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=100, freq="D"), "y": values})


@pytest.mark.parametrize("family", ["naive", "seasonal-naive", "drift", "ar", "linear-gaussian"])
def test_families_with_normal_errors_forecast_counts(family: str) -> None:
    found = st.Forecaster(family).fit(counts()).predict(2, quantiles=(0.1, 0.9)).frame
    assert np.isfinite(found[["mean", "0.1", "0.9"]].to_numpy()).all()


def test_networks_predict_counts() -> None:
    forecaster = st.Forecaster(st.LSTM(hidden_size=4)).fit(counts(), steps=2)
    found = forecaster.predict(2, quantiles=(0.1, 0.9)).frame
    assert (found["0.1"] == np.floor(found["0.1"])).all()


def test_a_calendar_is_known_ahead() -> None:
    hours = pd.date_range("2024-01-01", periods=400, freq="h")
    frame = pd.DataFrame({"ds": hours, "y": 5.0 * (hours.hour == 9) + 0.01 * np.arange(400)})
    series = with_calendar(open_series(frame), ["hour"], coding="one-hot")
    forecaster = st.Forecaster(st.AR(order=1)).fit(series)
    times = series.future_times(24)
    known, _ = calendar_values(times, series.time_zone, ["hour"], coding="one-hot")
    found = forecaster.predict(24, known=known).frame
    assert int(found["mean"].to_numpy().argmax()) == int(np.flatnonzero(found.ds.dt.hour == 9)[0])
    with pytest.raises(DataError, match="known inputs end"):
        forecaster.predict(25, known=known)
