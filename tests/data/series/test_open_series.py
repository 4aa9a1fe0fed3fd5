"""Series are opened from whatever holds them, and come out alike."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seriatim.data.series import SeriesCollection, open_series
from seriatim.errors import DataError

HOURS = [datetime(2024, 1, 1) + timedelta(hours=h) for h in range(6)]


def long_frame(**names: str) -> pd.DataFrame:
    """Two series of six hours, the second without its third."""
    rows = [("a", t, float(i)) for i, t in enumerate(HOURS)]
    rows += [("b", t, 10.0 * i) for i, t in enumerate(HOURS) if i != 2]
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y"])
    return frame.rename(columns=names)


def same(one: SeriesCollection, other: SeriesCollection) -> bool:
    """Whether two collections hold the same series at the same times."""
    return one.fingerprint() == other.fingerprint()


def expected() -> SeriesCollection:
    return open_series(long_frame())


def test_missing_row_becomes_gap() -> None:
    series = expected()
    assert series.ids == ("a", "b")
    assert series.lengths.tolist() == [6, 6]
    assert np.isnan(series.of(1)[2, 0])
    assert series.of(1)[3, 0] == 30.0
    assert series.freq.name == "h"
    assert series.gaps == 1


def as_csv(path: Path) -> Path:
    long_frame().to_csv(path / "long.csv", index=False)
    return path / "long.csv"


def as_csv_with_index(path: Path) -> Path:
    long_frame().to_csv(path / "long.csv")
    return path / "long.csv"


def as_jsonl(path: Path) -> Path:
    text = long_frame().assign(ds=lambda f: f.ds.astype(str)).to_json(orient="records", lines=True)
    (path / "long.jsonl").write_text(text)
    return path / "long.jsonl"


def as_parquet(path: Path) -> Path:
    pq.write_table(pa.Table.from_pandas(long_frame()), path / "long.parquet")
    return path / "long.parquet"


def as_polars(path: Path) -> pl.DataFrame:
    return pl.from_pandas(long_frame())


def as_arrow(path: Path) -> pa.Table:
    return pa.Table.from_pandas(long_frame())


def as_mapping(path: Path) -> dict[str, list[Any]]:
    return {str(k): v for k, v in long_frame().to_dict("list").items()}


def as_records(path: Path) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in r.items()} for r in long_frame().to_dict("records")]


def as_indexed(path: Path) -> pd.DataFrame:
    return long_frame(unique_id="item_id", ds="timestamp", y="target").set_index(
        ["item_id", "timestamp"]
    )


@pytest.mark.parametrize(
    "give",
    [as_csv, as_csv_with_index, as_jsonl, as_parquet, as_polars, as_arrow, as_mapping, as_records],
)
def test_every_holder_gives_the_same_series(give: Any, tmp_path: Path) -> None:
    assert same(open_series(give(tmp_path)), expected())


def test_index_of_pandas_counts_as_columns(tmp_path: Path) -> None:
    series = open_series(as_indexed(tmp_path))
    assert series.ids == ("a", "b")
    assert series.channel_names == ("target",)
    assert np.array_equal(series.numbers, expected().numbers, equal_nan=True)


@pytest.mark.parametrize("id_name", ["unique_id", "item_id", "series_id", "id", "ID"])
@pytest.mark.parametrize("time_name", ["ds", "timestamp", "date", "time", "Date"])
@pytest.mark.parametrize("value_name", ["y", "target", "value", "Value"])
def test_columns_are_found_by_the_names_that_people_use(
    id_name: str, time_name: str, value_name: str
) -> None:
    series = open_series(long_frame(unique_id=id_name, ds=time_name, y=value_name))
    assert series.ids == ("a", "b")
    assert series.channel_names == (value_name,)


def test_wide_file_has_a_series_in_each_column_or_one_series_of_channels(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("date,HUFL,OT\n2016-07-01 00:00:00,5.8,30.5\n2016-07-01 01:00:00,,27.7\n")
    apart = open_series(path)
    assert apart.ids == ("HUFL", "OT")
    assert apart.numbers.shape == (4, 1)
    assert apart.gaps == 1
    together = open_series(path, multivariate=True)
    assert together.ids == ("series",)
    assert together.channel_names == ("HUFL", "OT")
    assert together.numbers.shape == (2, 2)
    alone = open_series(path, target="OT")
    assert alone.ids == ("OT",)
    assert alone.of(0)[:, 0].tolist() == [30.5, 27.7]


def test_lists_and_arrays_have_whole_numbers_as_times() -> None:
    assert open_series([1, 2.5, None]).times.tolist() == [0, 1, 2]
    assert open_series([[1, 2, 3], [4]], freq=1).lengths.tolist() == [3, 1]
    assert open_series({"a": [1, 2, 3], "b": [4, 5]}).ids == ("a", "b")
    assert open_series(np.arange(6.0).reshape(3, 2)).ids == ("0", "1")
    cube = open_series(np.zeros((2, 5, 3)))
    assert cube.numbers.shape == (10, 3)
    assert len(cube) == 2


@pytest.mark.parametrize("name", ["y.csv", "y.txt", "y.tsv"])
@pytest.mark.parametrize("header", ["", "y\n"])
def test_a_blank_line_between_values_is_a_gap(name: str, header: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(f"\n{header}1.5\n2\n\n4\n \n\n7\n\n \n")
    series = open_series(path)
    np.testing.assert_array_equal(series.numbers[:, 0], [1.5, 2, np.nan, 4, np.nan, np.nan, 7])
    first = 4 + len(header) // 2
    assert any(
        f"3 blank lines between values, the first of them line {first}, are read as gaps" in note
        for note in series.notes
    )


def test_blank_lines_around_one_column_and_in_tables_are_nothing(tmp_path: Path) -> None:
    path = tmp_path / "y.csv"
    path.write_text("\n1\n2\n3\n\n\n")
    assert open_series(path).numbers[:, 0].tolist() == [1, 2, 3]
    assert not any("blank" in note for note in open_series(path).notes)
    path.write_text("ds,y\n2024-01-01,1\n\n2024-01-02,2\n2024-01-03,2\n")
    assert open_series(path).numbers[:, 0].tolist() == [1, 2, 2]


def test_a_message_names_the_line_below_a_blank_one(tmp_path: Path) -> None:
    path = tmp_path / "y.csv"
    path.write_text("y\n1\n\nx\n")
    with pytest.raises(DataError, match="line 4: the value 'x'"):
        open_series(path)


def test_several_targets_of_a_long_table_are_channels() -> None:
    frame = long_frame().assign(load=1.0)
    series = open_series(frame, target=["y", "load"])
    assert series.channel_names == ("y", "load")
    assert np.isnan(series.of(1)[2]).all()


def test_known_inputs_of_a_missing_row_are_those_before_it() -> None:
    frame = long_frame()
    frame["price"] = np.arange(len(frame), dtype=float)
    series = open_series(frame, known="price")
    assert series.known is not None
    assert series.known[6:, 0].tolist() == [6, 7, 7, 8, 9, 10]
    assert series.num_known == 1


def test_static_columns_are_numbers_or_a_column_for_each_word() -> None:
    frame = long_frame()
    frame["size"] = np.where(frame.unique_id == "a", 3.0, 4.0)
    frame["region"] = np.where(frame.unique_id == "a", "north", "south")
    series = open_series(frame, static=["size", "region"])
    assert series.static_names == ("size", "region=north", "region=south")
    assert series.static is not None
    assert series.static.tolist() == [[3, 1, 0], [4, 0, 1]]


def test_several_columns_name_a_series_together() -> None:
    frame = long_frame().rename(columns={"unique_id": "store"})
    frame["item"] = 1
    assert open_series(frame, id_column=["store", "item"]).ids == ("a/1", "b/1")


def test_ett_is_hourly_and_whole(shared_data: Path) -> None:
    series = open_series(shared_data / "ett" / "ETTh1.csv")
    assert series.ids == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    assert series.lengths.tolist() == [17420] * 7
    assert series.freq.name == "h"
    assert series.gaps == 0
    assert series.future_times(1)[0, 0] == np.datetime64("2018-06-26T20:00")


@pytest.mark.parametrize(
    ("name", "freq", "length", "gaps"),
    [
        ("co2", "W-SAT", 2284, 59),
        ("nile", "1", 100, 0),
        ("sunspots", "1", 309, 0),
        ("elnino", "MS", 732, 0),
        ("macrodata", "QS", 203, 0),
    ],
)
def test_textbook_series(shared_data: Path, name: str, freq: str, length: int, gaps: int) -> None:
    series = open_series(shared_data / "statsmodels-series" / f"{name}.csv")
    assert series.freq.name == freq
    assert set(series.lengths.tolist()) == {length}
    assert series.gaps == gaps
