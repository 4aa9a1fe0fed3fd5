"""Forecasts whose bands are corrected by what they would have missed in the past."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import seriatim as st
from seriatim.errors import ConfigError, DataError
from seriatim.metrics.forecast_calibration import ConformalCorrection
from seriatim.tasks.forecasting.shifts import BandCorrection, step_scales


def _heavy(length: int = 400, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Values whose bands a normal distribution draws too wide in the middle."""
    return 100 + scale * np.random.default_rng(seed).standard_t(1.5, size=length)


def test_corrected_bands_hold_what_they_promise_and_raw_ones_stand_beside() -> None:
    y = _heavy(2000)
    forecaster = st.Forecaster(st.AR(order=2)).fit(y)
    raw = forecaster.predict(3)
    found = forecaster.predict(3, conformal=True)
    np.testing.assert_array_equal(found.raw, raw.quantiles)
    assert [*found.table] == [
        *("unique_id", "ds", "mean", "0.1", "0.5", "0.9"),
        *("raw 0.1", "raw 0.5", "raw 0.9"),
    ]
    inside = [np.mean((y > low) & (y < high)) for low, _, high in found.quantiles[0, :, :, 0].T]
    before = [np.mean((y > low) & (y < high)) for low, _, high in raw.quantiles[0, :, :, 0].T]
    assert min(before) > 0.9
    assert max(inside) < 0.87
    assert "past forecasts" in found.notes[0]


def test_the_correction_is_kept_with_the_model(tmp_path: Path) -> None:
    forecaster = st.Forecaster(st.AR(order=2)).fit(_heavy())
    expected = forecaster.predict(4, conformal=True, level=80)
    forecaster.save(tmp_path / "model")
    loaded = st.load(tmp_path / "model")
    assert loaded.correction == forecaster.correction
    np.testing.assert_array_equal(
        loaded.predict(4, conformal=True, level=80).quantiles, expected.quantiles
    )
    assert any("80 % band" in value for _, value in loaded.describe())
    loaded.predict(9, conformal=True)  # further ahead: measured anew, from what the folder keeps
    assert loaded.correction.horizon == 9
    assert loaded.correction.is_held_out


def test_a_copy_is_judged_where_all_data_are_there() -> None:
    y = _heavy(900)
    forecaster = st.Forecaster(st.AR(order=2)).fit(y)
    assert not forecaster.correct_bands(2).is_held_out  # 512 moments are kept
    assert "may still be too narrow" in forecaster.correction.text()
    assert forecaster.correct_bands(2, y).is_held_out


def test_series_of_several_scales_are_pooled() -> None:
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": name, "ds": np.arange(60), "y": _heavy(60, seed, scale)})
            for seed, (name, scale) in enumerate({"a": 0.01, "b": 1.0, "c": 100.0}.items())
        ]
    )
    forecaster = st.Forecaster("naive").fit(frame)
    found = forecaster.predict(2, conformal=True)
    moved = np.abs(found.quantiles - found.raw)[:, [0, 2]].max((1, 2, 3))
    assert moved[0] < moved[1] / 10 < moved[2] / 100
    assert forecaster.correction.num_forecasts == 57


def test_nothing_sinks_below_zero_where_nothing_was() -> None:
    shifts = ConformalCorrection((0.1, 0.5, 0.9), ((-3.0, 0.0, 1.0),), (99,))
    correction = BandCorrection(shifts, 99, is_held_out=True)
    bands = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    levels = (0.1, 0.5, 0.9)
    of_counts = correction.apply(bands, levels, levels, [np.arange(9.0)[:, None]])
    assert of_counts.ravel().tolist() == [0, 2, 5]
    others = correction.apply(bands, levels, levels, [np.arange(-1.0, 9.0)[:, None]])
    assert others.ravel().tolist() == [-5, 2, 5]


def test_a_short_history_is_refused_in_a_sentence() -> None:
    forecaster = st.Forecaster("naive").fit(np.arange(30.0) % 7)
    with pytest.raises(
        DataError, match=r"a history of 30 moments is too short .* at least 36 moments"
    ):
        forecaster.predict(12, conformal=True)
    with pytest.raises(DataError, match=r"gives 1 past error 1 moment ahead, and the quantile 0.1"):
        forecaster.predict(10, conformal=True)


def test_a_kept_end_that_is_too_short_asks_for_the_data() -> None:
    y = _heavy(2000)
    forecaster = st.Forecaster(st.AR(order=1)).fit(y)
    with pytest.raises(
        DataError,
        match=r"the last 512 moments .*: give the series \(data=\.\.\., forecast MODEL DATA\)",
    ):
        forecaster.predict(300, conformal=True)
    assert forecaster.predict(300, data=y, conformal=True).raw is not None


def test_known_inputs_need_data() -> None:
    frame = pd.DataFrame({"ds": np.arange(90), "y": _heavy(90), "price": np.arange(90.0) % 5})
    forecaster = st.Forecaster(st.AR(order=1), known=["price"]).fit(frame)
    known = np.zeros((2, 1))
    with pytest.raises(ConfigError, match="corrected by data that hold them"):
        forecaster.predict(2, known=known, conformal=True)
    forecaster.correct_bands(2, frame)
    assert forecaster.predict(2, known=known, conformal=True).raw is not None


def test_calendar_and_static_inputs_are_kept() -> None:
    times = pd.date_range("2025-01-01", periods=24 * 20, freq="h")
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": k, "ds": times, "y": _heavy(480, k), "size": k * 2.0})
            for k in range(2)
        ]
    )
    forecaster = st.Forecaster(st.AR(order=1), calendar=True, static=["size"]).fit(frame)
    assert forecaster.predict(24, conformal=True).raw.shape == (2, 3, 24, 1)
    assert forecaster.correction.is_held_out


def test_a_constant_series_is_not_moved() -> None:
    scales = step_scales([np.ones((9, 1)), np.arange(9.0)[:, None], np.ones((1, 1))])
    assert scales[:, 0].tolist() == [0, 1, 0.5]
    found = st.Forecaster("naive").fit(np.ones(60)).predict(2, conformal=True)
    np.testing.assert_allclose(found.quantiles, 1, atol=1e-3)
