"""Series in a record or a row each: GluonTS's JSON lines, Monash's .tsf, M4's tables; epochs."""

import json
from pathlib import Path

import numpy as np
import pytest

import seriatim as st
from seriatim.data.series import SeriesCollection, open_series
from seriatim.data_profile.recognize import recognize_task
from seriatim.errors import ConfigError, DataError

RECORDS = [
    {
        "item_id": "a",
        "start": "2015-01-01 00:00:00",
        "freq": "1H",
        "target": [1.0, None, 3.0],
        "feat_dynamic_real": [[0.1, 0.2, 0.3, 0.4, 0.5]],
        "feat_static_cat": [0],
        "feat_static_real": [2.5],
    },
    {
        "item_id": "b",
        "start": "2015-01-01 05:00:00",
        "freq": "1H",
        "target": [4.0, 5.0, "NaN", 6.0],
        "feat_dynamic_real": [[1, 2, 3, 4, 5]],
        "feat_static_cat": [1],
        "feat_static_real": [7],
    },
    {
        "item_id": "c",
        "start": "2015-01-01",
        "freq": "1H",
        "target": [4.0, 5.0],
        "feat_dynamic_real": [[1, 2, 3]],
        "feat_static_cat": [1],
        "feat_static_real": [7],
    },
]


def _lines(path: Path, records: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def _check(series: SeriesCollection) -> None:
    assert series.ids == ("a", "b", "c")
    assert series.freq.name == "h"
    assert series.lengths.tolist() == [3, 4, 2]
    np.testing.assert_array_equal(series.of(1)[:, 0], [4, 5, np.nan, 6])
    assert series.times[3] == np.datetime64("2015-01-01T05:00")
    assert series.known is not None
    np.testing.assert_array_equal(series.known[:, 0], [0.1, 0.2, 0.3, 1, 2, 3, 4, 1, 2])
    assert series.static_names == ("static_cat 0=c0", "static_cat 0=c1", "static_real 0")
    assert series.static is not None
    np.testing.assert_array_equal(series.static, [[1, 0, 2.5], [0, 1, 7], [0, 1, 7]])
    assert any("reach up to 2 moments beyond" in note for note in series.notes)


def test_gluonts_records_are_read_from_a_file_and_a_list(tmp_path: Path) -> None:
    path = _lines(tmp_path / "data.jsonl", RECORDS)
    _check(open_series(path))
    _check(open_series(RECORDS))
    _check(open_series(path.rename(tmp_path / "data.json")))
    found = recognize_task(_lines(tmp_path / "x.jsonl", RECORDS), format=None, encoding="utf-8")
    assert found is not None
    assert found.task == "forecast"


def test_features_beyond_the_target_are_the_known_inputs_of_a_forecast(tmp_path: Path) -> None:
    records = [
        {
            "start": "2024-01-01",
            "freq": "D",
            "target": list(np.arange(40.0) % 7),
            "feat_dynamic_real": [list(np.arange(45.0) % 7)],
        }
    ]
    path = _lines(tmp_path / "data.jsonl", records)
    forecaster = st.Forecaster(st.AR(order=1)).fit(path)
    mean = forecaster.predict(5, known=path).mean[0, :, 0]
    np.testing.assert_allclose(mean, np.arange(40, 45) % 7, atol=1e-6)
    with pytest.raises(DataError, match="end before the horizon"):
        forecaster.predict(6, known=path)


def test_several_channels_in_a_record() -> None:
    series = open_series([{"start": "2024-01", "freq": "M", "target": [[1, 2, 3], [4, 5, 6]]}])
    assert series.numbers.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert series.freq.name == "MS"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"freq": None}, "not the step between its values: give freq='h'"),
        ({"target": []}, "the target has no values"),
        ({"target": ["x"]}, "'x', which is no number"),
        ({"start": "soon"}, "'soon' is no start"),
        ({"feat_dynamic_real": [[1.0]]}, "has 1 values and the target 3"),
    ],
)
def test_broken_records_are_refused(change: dict[str, object], message: str) -> None:
    record = {**RECORDS[0], **change}
    with pytest.raises((DataError, ConfigError), match=message):
        open_series([record])


def test_a_step_that_the_records_do_not_say_is_given() -> None:
    record = {"start": "2024-01-01", "target": [1, 2]}
    assert open_series([record], freq="15min").freq.name == "15min"


TSF = """# Dataset
@relation electricity
@attribute series_name string
@attribute state string
@attribute start_timestamp date
@frequency half_hourly
@horizon 8
@missing true
@equallength false
@data
T1:NSW:2002-01-01 00-30-00:5714.0,?,5
T2:VIC:2002-01-01 01-00-00:1,2
T3:VIC:2002-01-01 01-00-00:1,2,\xe9
"""


def test_monash_files(tmp_path: Path) -> None:
    path = tmp_path / "electricity.tsf"
    path.write_text(TSF.rsplit("T3", 1)[0], encoding="utf-8")
    series = open_series(path)
    assert series.ids == ("T1", "T2")
    assert series.freq.name == "30min"
    assert series.times[0] == np.datetime64("2002-01-01T00:30")
    np.testing.assert_array_equal(series.numbers[:, 0], [5714, np.nan, 5, 1, 2])
    found = recognize_task(path, format=None, encoding="utf-8")
    assert found is not None
    assert found.task == "forecast"


def test_a_monash_file_in_latin_1_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "electricity.tsf"
    path.write_text(TSF, encoding="latin-1")
    with pytest.raises(DataError, match="line 13: target has 'é', which is no number"):
        open_series(path)
    path.write_text(TSF.replace("@data\n", ""))
    with pytest.raises(DataError, match="before @data"):
        open_series(path)


def test_a_monash_file_without_starts_counts_its_moments(tmp_path: Path) -> None:
    path = tmp_path / "m1.tsf"
    path.write_text("@attribute series_name string\n@frequency yearly\n@data\nT1:3,4,5\n")
    series = open_series(path)
    assert series.times.tolist() == [0, 1, 2]
    assert series.freq.name == "1"


def test_m4_tables_have_a_series_in_each_row(tmp_path: Path) -> None:
    names = ",".join(f'"V{i}"' for i in range(1, 12))
    first = ",".join(f'"{v}"' for v in range(10))
    path = tmp_path / "Hourly-train.csv"
    path.write_text(f'{names}\n"H1",{first}\n"H2","5","6"{"," * 8}\n'.replace('""', ""))
    series = open_series(path)
    assert series.ids == ("H1", "H2")
    assert series.lengths.tolist() == [10, 2]
    assert series.of(1)[:, 0].tolist() == [5, 6]
    assert "each row is read as a series" in series.notes[0]
    found = recognize_task(path, format=None, encoding="utf-8")
    assert found is not None
    assert found.task == "forecast"


def test_dates_as_column_names(tmp_path: Path) -> None:
    days = [f"2015-07-{d:02d}" for d in range(1, 11)]
    path = tmp_path / "pages.csv"
    path.write_text(
        f"Page,Lang,{','.join(days)}\nx,en,{','.join('1234567890')}\ny,de,,,{','.join('12345678')}\n"
    )
    series = open_series(path)
    assert series.ids == ("x", "y")
    assert series.freq.name == "D"
    assert series.lengths.tolist() == [10, 8]
    assert series.times[10] == np.datetime64("2015-07-03")
    with pytest.raises(DataError, match="column '2015-07-02'"):
        open_series(_changed(path, "x,en,1,2", "x,en,1,zwei"))


def _changed(path: Path, old: str, new: str) -> Path:
    path.write_text(path.read_text().replace(old, new))
    return path


def test_columns_that_are_series_stay_so() -> None:
    names = ["region", *[f"x{i}" for i in range(1, 12)]]
    table = {n: [1.0, 2.0, 3.0] for n in names[1:]}
    assert len(open_series({"t": [1, 2, 3], **table}).ids) == 11


@pytest.mark.parametrize(
    ("factor", "noun"),
    [(1, "seconds"), (10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")],
)
def test_seconds_since_1970_are_times(factor: int, noun: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    start = 1_600_000_200
    rows = [f"{(start + 900 * i) * factor},{i}" for i in range(20)]
    path.write_text("timestamp,value\n" + "\n".join(rows))
    series = open_series(path)
    assert series.freq.name == "15min"
    assert series.time_zone == "UTC"
    assert series.times[0] == np.datetime64(start, "s")
    assert f"are read as {noun} since 1970" in series.notes[0]
    if factor < 10**9:
        assert open_series(path, freq=900 * factor).freq.unit == "number"
    assert open_series(path, time_zone="Europe/Berlin").time_zone == "Europe/Berlin"


def test_large_numbers_of_another_name_or_size_stay_numbers() -> None:
    steps = [1_600_000_000, 1_600_000_001, 1_600_000_002]
    assert open_series({"step": steps, "y": [1, 2, 3]}).freq.unit == "number"
    assert open_series({"ds": [1, 2, 3], "y": [1, 2, 3]}).freq.unit == "number"


def test_parts_of_seconds_since_1970() -> None:
    times = [1_600_000_000.25, 1_600_000_000.5, 1_600_000_000.75]
    series = open_series({"time": times, "y": [1, 2, 3]})
    assert series.freq.name == "250ms"
