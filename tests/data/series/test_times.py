"""Frequencies are inferred, clocks are changed in both directions, irregular times become gaps."""

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from seriatim.data.series import SeriesCollection, open_series, parse_frequency
from seriatim.data.series.output import time_texts, to_native
from seriatim.data.series.time_zones import to_local, to_utc
from seriatim.data_profile.recognize import recognize_task
from seriatim.errors import ConfigError, DataError

BERLIN = "Europe/Berlin"


def of_times(times: Any, **options: Any) -> SeriesCollection:
    return open_series(pd.DataFrame({"ds": times, "y": np.arange(len(times)) + 1.0}), **options)


# ---- frequencies --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alias", "name", "season"),
    [
        ("s", "s", 60),
        ("min", "min", 1440),
        ("15min", "15min", 96),
        ("h", "h", 24),
        ("6h", "6h", 4),
        ("D", "D", 7),
        ("3D", "3D", 1),
        ("W-SUN", "W-SUN", 52),
        ("W-WED", "W-WED", 52),
        ("2W-MON", "2W-MON", 1),
        ("B", "B", 5),
        ("MS", "MS", 12),
        ("ME", "ME", 12),
        ("QS", "QS", 4),
        ("QE", "QE", 4),
        ("YS", "YS", 1),
        ("YE", "YE", 1),
    ],
)
def test_frequency_is_inferred_named_and_continued_as_pandas_does(
    alias: str, name: str, season: int
) -> None:
    times = pd.date_range("2023-01-06", periods=45, freq=alias)
    series = of_times(times[:40])
    assert series.freq.name == name
    assert series.freq.season_length == season
    assert series.gaps == 0
    assert (series.future_times(5)[0] == times[40:].to_numpy()).all()


@pytest.mark.parametrize("alias", ["15min", "h", "D", "W-SUN", "B", "MS", "ME", "QS", "YE"])
def test_missing_rows_become_gaps(alias: str) -> None:
    times = pd.date_range("2023-01-06", periods=60, freq=alias)
    kept = np.array([i not in (3, 10, 11, 40) for i in range(60)])
    series = of_times(times[kept])
    assert series.freq.name == alias
    assert (series.times == times.to_numpy()).all()
    assert np.flatnonzero(np.isnan(series.numbers[:, 0])).tolist() == [3, 10, 11, 40]


@pytest.mark.parametrize(
    "name",
    [
        "h",
        "15min",
        "D",
        "2D",
        "W-SUN",
        "3W",
        "B",
        "MS",
        "ME",
        "QS",
        "QE",
        "YS",
        "2YE",
        "7",
        "500ms",
        "45s",
    ],
)
def test_names_round_trip(name: str) -> None:
    assert parse_frequency(name).name == name
    assert parse_frequency(parse_frequency(name).name) == parse_frequency(name)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("H", "h"),
        ("hourly", "h"),
        ("60min", "h"),
        ("24h", "D"),
        ("7D", "W"),
        ("monthly", "MS"),
        ("A", "YE"),
        ("d", "D"),
        ("T", "min"),
    ],
)
def test_other_names_of_frequencies(name: str, same: str) -> None:
    assert parse_frequency(name).name == same


@pytest.mark.parametrize("name", ["", "0h", "fortnight", "-1", "h3", "SM", "1.5h"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not known"):
        parse_frequency(name)


def test_frequency_reads_as_a_phrase() -> None:
    phrases = [parse_frequency(n).phrase() for n in ("h", "15min", "D", "W-SUN", "2MS", "YS", "1")]
    assert phrases == [
        *("an hour", "15 minutes", "a day", "a week (W-SUN)", "2 months", "a year", "1"),
    ]


def test_days_of_a_month_that_are_clipped_in_february() -> None:
    series = of_times(pd.to_datetime(["2024-01-30", "2024-02-29", "2024-03-30", "2024-04-30"]))
    assert series.freq.unit == "month"
    assert series.future_times(1)[0, 0] == np.datetime64("2024-05-30")
    ends = of_times(pd.to_datetime(["2023-11-30", "2023-12-31", "2024-01-31", "2024-02-29"]))
    assert ends.freq.name == "ME"
    assert ends.future_times(2)[0].astype("datetime64[D]").tolist()[1].day == 30


@pytest.mark.parametrize(
    ("cells", "freq"),
    [
        (["2024-01", "2024-02", "2024-04"], "MS"),
        (["2024Q1", "2024Q2", "2024Q4"], "QS"),
        (["2024-Q1", "2024-Q2", "2024-Q3"], "QS"),
        (["2024/01/30", "2024/01/31", "2024/02/01"], "D"),
        (["31/01/2024", "01/02/2024", "02/02/2024"], "D"),
        (["01/31/2024", "02/01/2024", "02/02/2024"], "D"),
        (["31.01.2024", "01.02.2024", "02.02.2024"], "D"),
        (["31.01.2024 10:00", "31.01.2024 11:00", "31.01.2024 12:00"], "h"),
        (["Jan 2024", "Feb 2024", "Mar 2024"], "MS"),
        (["January 5, 2024", "January 6, 2024", "January 7, 2024"], "D"),
        (["20240131", "20240201", "20240202"], "D"),
        ([20240131, 20240201, 20240202], "D"),
        ([1700, 1701, 1703], "1"),
        ([0, 10, 20], "10"),
        ([1.0, 2.0, 4.0], "1"),
        (["2024-01-31T10:00:00.5", "2024-01-31T10:00:01", "2024-01-31T10:00:01.5"], "500ms"),
        ([datetime(2024, 1, 1), datetime(2024, 1, 2), datetime(2024, 1, 4)], "D"),
    ],
)
def test_times_are_read_as_people_write_them(cells: list[Any], freq: str) -> None:
    assert open_series({"ds": cells, "y": [1, 2, 3]}).freq.name == freq


def test_time_format_decides_what_is_unclear() -> None:
    table = {"ds": ["03/04/2024", "04/04/2024", "05/04/2024"], "y": [1, 2, 3]}
    assert open_series(table, time_format="%d/%m/%Y").freq.name == "D"
    assert open_series(table, time_format="%m/%d/%Y").freq.name == "MS"  # the fourth of each month


# ---- irregular times ----------------------------------------------------------------------------


def test_irregular_times_that_fit_a_grid_are_put_on_it_and_said() -> None:
    days = np.array([0, 2, 5, 6, 9, 11, 14, 16, 19, 20])
    series = of_times(np.datetime64("2024-01-01") + days)
    assert series.freq.name == "D"
    assert series.lengths.tolist() == [21]
    assert series.gaps == 11
    assert "times are irregular: they are put on a grid of a day" in series.notes[0]


def test_irregular_times_that_fit_none_are_refused() -> None:
    seconds = np.cumsum(np.random.default_rng(0).integers(50, 5000, 40))
    with pytest.raises(DataError, match="the times of series 'y' are irregular and fit no grid"):
        of_times(np.datetime64("2024-01-01T00:00:00") + seconds)


def test_times_off_the_given_grid_are_named() -> None:
    times = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 02:07"])
    with pytest.raises(
        DataError, match=r"row 3: the time 2024-01-01 02:07 of series 'y' is not a wh"
    ):
        of_times(times, freq="h")


# ---- clocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "hours"),
    [("2024-03-30 12:00", 71), ("2024-10-26 12:00", 73)],
    ids=["spring", "autumn"],
)
def test_hours_go_on_through_changes_of_the_clock(begin: str, hours: int) -> None:
    end = pd.Timestamp(begin) + pd.Timedelta(days=3)
    times = pd.date_range(begin, end, freq="h", tz=BERLIN, inclusive="left")
    assert len(times) == hours
    series = of_times(times)
    assert series.freq.name == "h"
    assert series.gaps == 0
    assert series.time_zone == BERLIN
    assert (series.local_times == times.tz_localize(None).to_numpy()).all()
    found = to_native({"ds": series.future_times(3)[0]}, "pandas", series.time_zone)
    assert (found.ds == pd.date_range(times[-1], periods=4, freq="h")[1:]).all()
    assert str(found.ds.dt.tz) == BERLIN


@pytest.mark.parametrize("begin", ["2024-03-28", "2024-10-25"], ids=["spring", "autumn"])
def test_days_begin_at_midnight_of_the_clock(begin: str) -> None:
    times = pd.date_range(begin, periods=9, freq="D", tz=BERLIN)
    series = of_times(times[:3])
    assert series.freq.name == "D"
    future = series.future_times(6)[0]
    assert (future == times[3:].tz_convert("UTC").tz_localize(None).to_numpy()).all()


def test_clock_without_a_zone_is_localized_in_both_directions() -> None:
    aware = pd.date_range("2024-10-27 00:00", "2024-10-27 06:00", freq="h", tz=BERLIN)
    naive = [str(t.tz_localize(None)) for t in aware]
    assert naive.count("2024-10-27 02:00:00") == 2
    with pytest.raises(DataError, match="give time_zone if it is the hour of a clock set back"):
        of_times(naive)
    series = of_times(naive, time_zone=BERLIN)
    assert (series.times == aware.tz_convert("UTC").tz_localize(None).to_numpy()).all()
    spring = pd.date_range("2024-03-31 00:00", "2024-03-31 06:00", freq="h", tz=BERLIN)
    local = [str(t.tz_localize(None)) for t in spring]
    assert of_times(local).gaps == 1  # an hour that the clock skipped
    assert of_times(local, time_zone=BERLIN).gaps == 0
    with pytest.raises(
        DataError, match=r"row 3: the clock of Europe/Berlin never shows 2024-03-31 02"
    ):
        of_times(["2024-03-31 00:00", "2024-03-31 01:00", "2024-03-31 02:00"], time_zone=BERLIN)


def test_offsets_of_summer_and_winter_are_one_zone() -> None:
    times = pd.date_range("2024-10-27 00:00", "2024-10-27 05:00", freq="h", tz=BERLIN)
    texts = [t.isoformat() for t in times]
    series = open_series({"ds": texts, "y": np.arange(7.0)})
    assert series.gaps == 0
    assert series.time_zone == "UTC"
    assert "the offsets +01:00 and +02:00, as one zone has" in series.notes[0]
    kept = open_series({"ds": texts, "y": np.arange(7.0)}, time_zone=BERLIN)
    assert kept.time_zone == BERLIN
    assert (kept.times == series.times).all()


def test_python_times_keep_their_zone() -> None:
    zone = ZoneInfo("America/New_York")
    times = [datetime(2024, 11, 3, h, tzinfo=zone) for h in (3, 4, 5)]
    assert open_series({"ds": times, "y": [1, 2, 3]}).time_zone == "America/New_York"
    mixed = [*times[:2], datetime(2024, 11, 3, 5, tzinfo=ZoneInfo(BERLIN))]
    with pytest.raises(DataError, match="in several time zones"):
        open_series({"ds": mixed, "y": [1, 2, 3]})


def test_fixed_offset_is_kept() -> None:
    series = open_series({"ds": ["2024-01-01T00:00+05:00", "2024-01-02T00:00+05:00"], "y": [1, 2]})
    assert series.freq.name == "D"
    shown = time_texts(series.future_times(1)[0], series.time_zone)
    assert shown == ["2024-01-03 00:00:00+05:00"]


@pytest.mark.parametrize(
    "zone", [BERLIN, "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu"]
)
def test_conversion_of_clocks_is_that_of_zoneinfo(zone: str) -> None:
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.integers(0, 1_900_000_000, 500))
    times = seconds.astype("datetime64[s]").astype("datetime64[ns]")
    local = to_local(times, zone)
    expected = [
        datetime.fromtimestamp(s, ZoneInfo(zone)).replace(tzinfo=None) for s in seconds.tolist()
    ]
    assert local.astype("datetime64[s]").tolist() == expected
    earliest, latest, skipped = to_utc(local, zone)
    assert not skipped.any()
    assert ((earliest == times) | (latest == times)).all()


def test_a_column_of_dates_is_found_by_its_cells(tmp_path: Path) -> None:
    path = tmp_path / "verbrauch.csv"
    rows = [f"{31 - i:02d}.12.2020 23:00;{100 - i},5" for i in range(12)][::-1]
    path.write_text("Zeit;Verbrauch kWh\n" + "\n".join(rows) + "\n")
    series = open_series(path)
    assert series.freq.name == "D"
    assert series.numbers[-1, 0] == 100.5
    found = recognize_task(path, format=None, encoding="utf-8")
    assert found is not None
    assert found.task == "forecast"


def test_the_series_that_fits_no_grid_is_named() -> None:
    """Years of 365 and 366 days are regular; the fiscal year that was moved is not."""
    years = [f"{year}-01-01" for year in range(1950, 1990)]
    moved = [f"{year}-{'06-30' if year < 1976 else '09-30'}" for year in range(1950, 1990)]
    days = [f"2024-{month:02}-{day:02}" for month in (1, 2, 3) for day in range(1, 29)]
    table = {"unique_id": ["a"] * 40 + ["b"] * 40, "ds": years + moved, "y": [1.0] * 80}
    with pytest.raises(DataError, match="the times of series 'b' are irregular and fit no grid"):
        open_series(table)
    names = ["a"] * 40 + ["b"] * len(days) + ["c"] * 40
    others = [f"{year}-05-17" for year in range(1950, 1990)]
    table = {"unique_id": names, "ds": years + days + others, "y": [1.0] * len(names)}
    with pytest.raises(DataError, match="series 'a' has a value every 365 to 366 steps"):
        open_series(table)
