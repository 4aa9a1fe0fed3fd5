"""Whatever a table holds, it becomes series that can be trusted, or is refused in one sentence."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from seriatim.data.series import SeriesCollection, open_series
from seriatim.errors import SeriatimError

TIMES = [
    *("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-05", "2024-02-01", "2024-03-01"),
    *("2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 02:00", "2024-10-27 03:00"),
    *("2024-10-27T02:00+02:00", "2024-10-27T02:00+01:00", "2024-10-27T00:30Z", "2024-03-31 02:30"),
    *(
        "01/02/2024",
        "13/02/2024",
        "2024Q1",
        "2024-04",
        "Jan 2024",
        "20240131",
        "9999-12-31",
        "0001-01-01",
    ),
    *(
        "",
        "soon",
        "1",
        "2",
        "3",
        "7",
        "-5",
        "1e9",
        "99999999999999999999",
        "NaN",
        "24:00",
        "2024-01-32",
    ),
]
VALUES = [
    *("1", "2", "3.5", "-4", "0", "1e300", "-1e308", "1,5", "1,234", "1.234,5", "1_000", "0x10"),
    *("", "NA", "nan", "inf", "-Infinity", "text", "½", "٣", "12%", "1 000", "\u00a07", '"', "'3'"),
]
NAMES = [
    "unique_id",
    "ds",
    "y",
    "date",
    "value",
    "item_id",
    "price",
    "OT",
    "id",
    "year",
    "month",
    "",
    "text",
]
IDS = ["a", "b", "", "1", "2.0", " a ", "ä/b"]
HEAD = {"unique_id": IDS, "item_id": IDS, "id": IDS, "ds": TIMES, "date": TIMES, "text": VALUES}


@some.composite
def tables(draw: Any, max_rows: int = 8) -> dict[str, list[str]]:
    """A few columns under names that people use, with cells good and bad."""
    names = draw(some.lists(some.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    rows = draw(some.integers(0, max_rows))
    plain = draw(some.booleans())  # mostly good tables, so that many are opened
    table: dict[str, list[str]] = {}
    for name in names:
        cells = HEAD.get(name, VALUES)
        if plain:
            cells = {id(TIMES): TIMES[:4], id(IDS): IDS[:2], id(VALUES): [*VALUES[:5], "", "1,5"]}[
                id(cells)
            ]
        table[name] = draw(some.lists(some.sampled_from(cells), min_size=rows, max_size=rows))
    return table


def check(series: SeriesCollection) -> None:
    """What everyone relies on."""
    assert len(series) >= 1
    assert len(set(series.ids)) == len(series)
    assert series.offsets[0] == 0 and series.offsets[-1] == len(series.numbers) == len(series.times)
    assert (series.lengths >= 1).all()
    assert not np.isinf(series.numbers).any()
    for i in range(len(series)):
        rows = slice(series.offsets[i], series.offsets[i + 1])
        times = series.times[rows]
        assert (times[1:] > times[:-1]).all()
        assert not np.isnan(series.numbers[rows]).all()
        assert (
            series.times_after(times[:1], len(times) - 1 or 1)[0][: len(times) - 1] == times[1:]
        ).all()
    assert (series.future_times(2)[:, 0] > series.last_times).all()


def opened(data: Any, **options: Any) -> bool:
    """Whether it was opened; anything but series or one sentence fails."""
    try:
        series = open_series(data, **options)
    except SeriatimError as error:
        message = str(error)
        assert "\n" not in message and 10 < len(message) < 700
        return False
    check(series)
    return True


OPTIONS = [
    {},
    {"freq": "D"},
    {"freq": 1},
    {"freq": "h", "time_zone": "Europe/Berlin"},
    {"decimal": ","},
    {"multivariate": True},
    {"target": "y"},
    {"known": "price"},
    {"static": "price"},
    {"time_format": "%Y-%m-%d"},
]
LOTS = settings(
    max_examples=1000,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.slow
@LOTS
@given(table=tables(), options=some.sampled_from(OPTIONS))
def test_mappings_become_series_or_one_sentence(
    table: dict[str, list[str]], options: dict[str, Any]
) -> None:
    opened(table, **options)


@pytest.mark.slow
@LOTS
@given(table=tables(), options=some.sampled_from(OPTIONS), mark=some.sampled_from(",;\t"))
def test_files_become_series_or_one_sentence(
    table: dict[str, list[str]], options: dict[str, Any], mark: str, tmp_path: Path
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=mark)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    path = tmp_path / "fuzz.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    opened(path, **options)


@pytest.mark.slow
@LOTS
@given(table=tables(), options=some.sampled_from(OPTIONS), seed=some.integers(0, 99))
def test_frames_become_series_or_one_sentence(
    table: dict[str, list[str]], options: dict[str, Any], seed: int
) -> None:
    frame = pd.DataFrame(table)
    for name in frame.columns[seed % 2 :]:
        if name in ("ds", "date"):
            frame[name] = pd.to_datetime(frame[name], errors="coerce", format="%Y-%m-%d")
        elif seed % 3:
            frame[name] = pd.to_numeric(frame[name], errors="coerce")
    opened(frame, **options)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    data=some.recursive(
        some.one_of(some.none(), some.floats(), some.integers(), some.text(max_size=3)),
        lambda inner: some.one_of(
            some.lists(inner, max_size=4),
            some.dictionaries(some.text(max_size=2), inner, max_size=3),
        ),
        max_leaves=12,
    )
)
def test_anything_at_all_becomes_series_or_one_sentence(data: Any) -> None:
    if isinstance(data, str):
        return  # a path
    opened(data)


def test_most_plain_tables_are_opened() -> None:
    """So that the tests above see series, and not errors alone."""
    count = 0

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(table=tables())
    def run(table: dict[str, list[str]]) -> None:
        nonlocal count
        count += opened(table)

    run()
    assert count > 10
