"""Families compared on series: each network has the same seconds, or it is said."""

import numpy as np
import pytest

import seriatim as st
from seriatim.comparison import backtests
from seriatim.tasks.forecasting.backtest import Backtest


def test_a_network_that_did_not_get_its_time_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made = st.Forecaster.backtest

    def slow(self: st.Forecaster, *args: object, **options: object) -> Backtest:
        options["minutes"], options["steps"] = None, 1 if options["minutes"] else None
        test: Backtest = made(self, *args, **options)  # type: ignore[arg-type]
        test.seconds_to_fit = 40.0
        return test

    monkeypatch.setattr(st.Forecaster, "backtest", slow)
    models = {"net": st.LSTM(hidden_size=4, num_layers=1), "line": st.AR(order=1)}
    y = np.sin(np.arange(80.0))
    found = st.backtest(y, models, horizon=2, origins=2, minutes=0.5)
    notes = {entry.name: " ".join(entry.notes) for entry in found.entries}
    assert "its fit took 40 s, and each network was to have 30 s" in notes["net"]
    assert "its fit took" not in notes["line"]
    assert "net: its fit took 40 s" in found.text()


def test_a_tenth_more_or_less_is_the_same_time() -> None:
    assert backtests._unequal_time(27.1, 30.0) == ()
    assert backtests._unequal_time(32.9, 30.0) == ()
    assert backtests._unequal_time(26.0, 30.0) != ()
