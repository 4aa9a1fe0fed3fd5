"""Series cut by time, and what their dates say."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from seriatim.data.series import calendar_values, open_series, usual_cycles, with_calendar
from seriatim.data.series.frequency import parse_frequency
from seriatim.errors import ConfigError, DataError


def daily(days: int = 10, late: int = 7) -> pd.DataFrame:
    """One series of some days, and one that begins later."""
    times = [datetime(2024, 1, 1) + timedelta(days=d) for d in range(days)]
    rows = [("a", t, float(i)) for i, t in enumerate(times)]
    rows += [("b", t, float(i)) for i, t in enumerate(times) if i >= late]
    return pd.DataFrame(rows, columns=["unique_id", "ds", "y"])


# ---- cuts ---------------------------------------------------------------------------------------


def test_cut_keeps_what_came_before() -> None:
    series = open_series(daily())
    assert series.cut("2024-01-04").of(0)[:, 0].tolist() == [0, 1, 2]
    assert series.cut(datetime(2024, 1, 9)).ids == ("a", "b")
    with pytest.raises(DataError, match="no series has a moment left"):
        series.cut("2020-01-01")
    with pytest.raises(ConfigError, match="is not a date or time"):
        series.cut("soon")
    with pytest.raises(ConfigError, match="whole numbers"):
        open_series([1, 2, 3]).cut("2024-01-01")


def test_fingerprint_is_of_the_series_and_not_of_their_file() -> None:
    frame = daily()
    one = open_series(frame)
    assert open_series(
        frame.sample(frac=1, random_state=0).sort_values("unique_id")
    ).fingerprint() == (one.fingerprint())
    frame.loc[0, "y"] = 99.0
    assert open_series(frame).fingerprint() != one.fingerprint()


# ---- calendar -----------------------------------------------------------------------------------


def test_hours_and_weekdays_are_those_of_the_clock_of_the_zone() -> None:
    times = np.array(["2024-07-01T22:00", "2024-12-31T23:00"], dtype="datetime64[ns]")  # UTC
    values, names = calendar_values(
        times, "Europe/Berlin", ["hour", "weekday", "month"], coding="one-hot"
    )
    on = [[name for name, v in zip(names, row, strict=True) if v] for row in values]
    assert on == [["hour=0", "weekday=1", "month=6"], ["hour=0", "weekday=2", "month=0"]]


def test_cycles_close() -> None:
    day = np.arange("2024-01-01", "2024-01-03", dtype="datetime64[h]").astype("datetime64[ns]")
    values, names = calendar_values(day, None, ["hour"])
    assert names == ("sin hour", "cos hour")
    assert np.allclose(values[:24], values[24:])
    steps = np.linalg.norm(np.diff(values, axis=0), axis=1)
    assert np.allclose(steps, steps[0])  # midnight is as near as any other hour


@pytest.mark.parametrize(
    ("freq", "cycles"),
    [
        ("15min", ("minute", "hour", "weekday", "yearday")),
        ("h", ("hour", "weekday", "yearday")),
        ("D", ("weekday", "day", "yearday")),
        ("W", ("yearday",)),
        ("MS", ("month",)),
        ("QS", ("quarter",)),
        ("YS", ()),
        ("1", ()),
    ],
)
def test_usual_cycles(freq: str, cycles: tuple[str, ...]) -> None:
    assert usual_cycles(parse_frequency(freq)) == cycles


def test_calendar_becomes_known_inputs_after_those_there_are() -> None:
    frame = daily()
    frame["price"] = 2.0
    series = with_calendar(open_series(frame, known="price"), ["weekday"])
    assert series.known_names == ("price", "sin weekday", "cos weekday")
    assert series.known is not None and series.known.shape == (13, 3)
    assert with_calendar(open_series([1, 2, 3])).known is None
    with pytest.raises(ConfigError, match="have no calendar"):
        with_calendar(open_series([1, 2, 3]), ["hour"])
    with pytest.raises(ConfigError, match="no cycle 'moon'"):
        with_calendar(open_series(frame), ["moon"])
