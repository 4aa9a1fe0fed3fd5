"""Bands that are corrected by earlier origins hold what they promise on later ones."""

import numpy as np
import pandas as pd
import pytest

import seriatim as st
from seriatim.errors import ConfigError, DataError
from seriatim.tasks.forecasting.conformal import correct_bands
from seriatim.tasks.forecasting.scan import Scanned
from seriatim.tasks.forecasting.score import Tally


def scanned(origins: int = 60, step: int = 2, horizon: int = 2, width: float = 0.3) -> Scanned:
    """Forecasts of noise of two series, in two scales, with bands that are far too narrow."""
    rng = np.random.default_rng(0)
    series = np.repeat([0, 1], origins)
    first = 10 + np.tile(step * np.arange(origins), 2)
    scale = np.where(series == 0, 1.0, 100.0)[:, None, None]
    y = scale * rng.normal(size=(2 * origins, horizon, 1))
    levels = np.array([-width, 0.0, width])[None, :, None, None]
    bands = levels * scale[:, None] + 0 * y[:, None]
    return Scanned(series, first, y, 0 * y, bands, Tally())


LEVELS = (0.1, 0.5, 0.9)
SCALES = np.array([[1.0], [100.0]])


def test_narrow_bands_are_widened_to_what_they_promise() -> None:
    figures, correction = correct_bands(scanned(), LEVELS, SCALES)
    assert figures.num_calibration == figures.num_judged == 60
    assert figures.raw_80 is not None and figures.corrected_80 is not None
    assert figures.raw_80 < 0.4
    assert figures.corrected_80 == pytest.approx(0.8, abs=0.12)
    assert figures.corrected_wql < figures.raw_wql
    assert correction.numbers == (60, 60)


def test_values_after_the_first_judged_origin_correct_nothing() -> None:
    apart, _ = correct_bands(scanned(step=2, horizon=4), LEVELS, SCALES)
    assert apart.num_judged == 60
    assert apart.num_calibration == 58  # the last one of each series is not over yet
    early = scanned(step=2, horizon=4)
    late = early.y.copy()
    late[np.tile(np.arange(60) >= 29, 2)] *= 1000  # what comes later
    changed = Scanned(early.series, early.first, late, early.mean, early.quantiles, Tally())
    assert correct_bands(changed, LEVELS, SCALES)[1] == correct_bands(early, LEVELS, SCALES)[1]


def test_too_few_origins_are_refused() -> None:
    with pytest.raises(DataError, match="too few origins"):
        correct_bands(scanned(origins=1), LEVELS, SCALES)
    with pytest.raises(ConfigError, match="fraction = 2"):
        correct_bands(scanned(), LEVELS, SCALES, fraction=2)


def test_a_backtest_is_corrected() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"ds": np.arange(400), "y": rng.standard_t(2, size=400)})
    test = st.Forecaster(st.AR(2)).fit(frame).backtest(frame, horizon=3, origins=40)
    figures = test.conformal()
    assert figures.num_judged == 20
    assert figures.levels == tuple(round(0.1 * i, 1) for i in range(1, 10))
    assert "corrected by 20 earlier forecasts, judged on 20 later ones" in str(figures)
    with pytest.raises(ConfigError, match=r"quantile 0\.123 was not predicted"):
        test.conformal(quantiles=(0.123,))
