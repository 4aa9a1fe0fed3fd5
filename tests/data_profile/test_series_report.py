"""`look` on series: what they are, what repeats, what is unusual, and what to run."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import seriatim as st
from seriatim.cli import main
from seriatim.data.series.opening import open_series
from seriatim.data_profile.profile import DataReport
from seriatim.data_profile.recognize import looks_like_series
from seriatim.data_profile.series_report import SeriesReport
from seriatim.data_profile.series_season import find_seasons, season_strength
from seriatim.data_profile.shared_seasons import usual_season
from seriatim.errors import DataError


def hourly(days: int = 20, noise: float = 0.1) -> pd.DataFrame:
    """Two series with the season of a day, the second with a gap of three hours."""
    times = [datetime(2024, 3, 1) + timedelta(hours=h) for h in range(24 * days)]
    wave = np.sin(np.arange(len(times)) * 2 * np.pi / 24)
    wave = wave + noise * np.random.default_rng(0).normal(size=len(times))
    rows = [("a", t, 10 + v) for t, v in zip(times, wave, strict=True)]
    rows += [
        ("b", t, 5 - v)
        for i, (t, v) in enumerate(zip(times, wave, strict=True))
        if not 50 <= i < 53
    ]
    return pd.DataFrame(rows, columns=["unique_id", "ds", "y"])


def test_the_usual_season_is_that_of_the_frequency_or_of_the_values() -> None:
    rng, t = np.random.default_rng(0), np.arange(1400)
    day, week = np.sin(2 * np.pi * t / 24), np.sin(2 * np.pi * t / 168)
    noise = rng.normal(scale=0.1, size=len(t))
    expected = {24: day, 168: week, 1: 0.01 * t}
    for season, values in expected.items():
        assert usual_season(open_series(values + noise)) == season
    assert usual_season(open_series(day + 0.8 * week + noise)) == 24  # the shortest that is clear
    years = {"ds": np.array(["1700", "1701"], "datetime64[Y]")[0] + t[:300], "y": day[:300]}
    assert usual_season(open_series(years)) == 1
    assert usual_season(open_series(hourly())) == 24


def looked(data: Any, **options: Any) -> SeriesReport:
    report = st.look(data, **options)
    assert isinstance(report, SeriesReport)
    return report


# ---- seasons ------------------------------------------------------------------------------------


def test_season_strength_is_the_fraction_of_variance_that_positions_explain() -> None:
    rng = np.random.default_rng(0)
    wave, noise = np.tile([1.0, -1.0, 3.0, -3.0], 500), rng.normal(size=2000)
    strength = season_strength(wave + noise, 4)
    assert strength == pytest.approx(5 / (5 + 3 / 4), abs=0.03)  # the mean of four takes 1/4
    assert season_strength(noise, 4) < 0.02
    assert season_strength(np.arange(2000.0), 4) < 0.01


def test_the_season_is_found_and_not_its_multiples() -> None:
    rng = np.random.default_rng(1)
    time = np.arange(1200)
    values = 0.01 * time + np.sin(2 * np.pi * time / 24) + 0.3 * rng.normal(size=1200)
    values[100:110] = np.nan
    assert [season.length for season in find_seasons(values)] == [24]
    week = values + 2 * (time // 24 % 7 == 6)
    assert {season.length for season in find_seasons(week, (24, 168))} == {24, 168}
    assert find_seasons(rng.normal(size=1200), (24, 168)) == ()
    assert find_seasons(np.full(50, 2.0), (7,)) == ()
    assert find_seasons(np.full(50, np.nan), (7,)) == ()


# ---- the report ---------------------------------------------------------------------------------


def test_it_says_what_the_series_are_and_what_to_run(tmp_path: Path) -> None:
    hourly().to_csv(tmp_path / "load.csv", index=False)
    report = looked(tmp_path / "load.csv")
    text = str(report)
    assert "2 series of positive numbers, a value every hour" in text
    assert "480 moments each, 0.3% missing, from 2024-03-01 to 2024-03-20 23:00." in text
    assert "the longest gap has 3 moments (b)" in text
    assert report.advice.season_length == 24
    assert report.command == (
        f"seriatim backtest {tmp_path}/load.csv --horizon 24 --season-length 24 --models "
        "naive,seasonal-naive,ar"
    )


def test_frames_arrays_and_lists_are_looked_at_too() -> None:
    frame = hourly()
    assert looked(frame).profile.seasons.length == 24
    assert looked(frame).command == (
        "st.backtest(data, ['naive', 'seasonal-naive', 'ar'], horizon=24, season_length=24)"
    )
    assert looked(np.arange(20.0)).profile.begin == "0"
    assert looked([1.0, 2.0, None, 4.0]).profile.gaps.missing == 1
    assert isinstance(st.look(["a text", "another"]), DataReport)


def test_options_say_which_column_is_which(tmp_path: Path) -> None:
    frame = hourly().rename(columns={"unique_id": "site", "y": "kW"})
    frame["temperature"] = 1.0
    frame.to_csv(tmp_path / "load.csv", index=False)
    report = looked(tmp_path / "load.csv", id_column="site", target_column="kW")
    assert len(report.profile.series) == 2
    assert "--id-column site --target-column kW" in report.command


def test_figures_of_values(tmp_path: Path) -> None:
    table = {"a": [0, 0, 0, 3, 0, 1], "b": [0, 0, 0, 3, 0, 1], "c": [5000, 1, 1, 1, 1, 1e6]}
    report = looked(pd.DataFrame(table))
    values = report.profile.values
    assert values.support == "counts"
    assert values.duplicates == 1
    assert values.zeros == pytest.approx(8 / 18)
    messages = " ".join(finding.message for finding in report.findings)
    assert "repeats another series" in messages
    assert "mean levels" in messages


def test_short_and_constant_series_are_said() -> None:
    frame = hourly(days=1)
    frame["y"] = 3.0
    messages = " ".join(finding.message for finding in looked(frame).findings)
    assert "shorter than two seasons of 24 moments" in messages
    assert "the same value throughout" in messages


def test_json_has_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hourly().to_csv(tmp_path / "load.csv", index=False)
    assert main(["look", str(tmp_path / "load.csv"), "--json"]) == 0
    out = capsys.readouterr()
    found = json.loads(out.out)
    assert out.err == ""
    assert found["kind"]["task"] == "forecast"
    assert found["series"]["freq"] == "h"
    assert found["series"]["number"] == 2
    assert found["season"]["length"] == 24
    assert found["gaps"]["missing"] == 3
    assert found["advice"]["models"] == ["naive", "seasonal-naive", "ar"]


def test_bad_series_are_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("ds,y\n2024-01-01,1\n2024-01-02,2\n2024-01-02,3\n")
    assert main(["look", str(tmp_path / "a.csv")]) == 3
    error = capsys.readouterr().err
    assert "series 'y' has two values at 2024-01-02 (line 3 and line 4)" in error
    with pytest.raises(DataError):
        st.look(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "text", "is_series"),
    [
        ("a.csv", "unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\n", True),
        ("a.csv", "item_id,timestamp,target\na,1,1\na,2,2\n", True),
        ("a.csv", "date,HUFL,OT\n2024-01-01,1,2\n2024-01-02,2,3\n", True),
        ("a.csv", "text,target\nso good,1\nso bad,0\n", False),
        ("a.csv", "session_id,timestamp,event\na,1,open\na,2,close\n", False),
        ("a.jsonl", '{"ds": "2024-01-01", "y": 1}\n{"ds": "2024-01-02", "y": 2}\n', True),
        ("a.txt", "1.5\n2.5\n3\n4\n5\n6\n", True),
        ("a.txt", "one line\nanother\n", False),
    ],
)
def test_files_of_series_are_recognized(
    tmp_path: Path, name: str, text: str, is_series: bool
) -> None:
    (tmp_path / name).write_text(text)
    assert looks_like_series(tmp_path / name, format=None, encoding="utf-8") is is_series


@pytest.mark.parametrize(
    ("place", "season"),
    [
        ("ett/ETTh1", 24),
        ("statsmodels-series/co2", 52),
        ("statsmodels-series/elnino", 12),
        ("statsmodels-series/nile", 1),
    ],
)
def test_seasons_of_real_series(shared_data: Path, place: str, season: int) -> None:
    assert looked(shared_data / f"{place}.csv").profile.seasons.length == season


@pytest.mark.slow
def test_the_page_fits_phones_and_screens(tmp_path: Path, chromium: Any) -> None:
    from tests.report.test_report import Opened

    hourly().to_csv(tmp_path / "load.csv", index=False)
    page = looked(tmp_path / "load.csv").page().write(tmp_path / "look.html")
    for width in (390, 1200):
        with Opened(chromium, page, width=width) as opened:
            assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
            assert opened.page.locator("section").count() == 6
            assert "a value every hour" in opened.page.inner_text(".lead")
            for plot in ("a", "Autocorrelation", "By hour of the day", "By day of the week"):
                assert plot in opened.page.inner_text("main")
