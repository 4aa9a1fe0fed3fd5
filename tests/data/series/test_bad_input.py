"""What cannot be used is refused in one sentence that names the series and the line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seriatim.data.series import open_series
from seriatim.errors import ConfigError, DataError, SeriatimError

HEAD = "unique_id,ds,y\n"


def rows(*cells: str) -> str:
    """A CSV of one series a, a row a day."""
    return HEAD + "".join(f"a,2024-01-{day:02d},{cell}\n" for day, cell in enumerate(cells, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rows("", "", ""), "series 'a' has no value in 3 rows: remove it"),
        (rows("1", "inf", "3"), "line 3: series 'a' has an infinite value at 2024-01-02"),
        (rows("1", "-1e999", "3"), "line 3: series 'a' has an infinite value at 2024-01-02"),
        (rows("1", "2", "two"), "line 4: the value 'two' in the column 'y' is not a number"),
        (rows("1", "12 kW", "3"), "line 3: the value '12 kW' in the column 'y' is not a number"),
        (rows('"1,234"', "2", "3"), "line 2: '1,234' in the column 'y' may be a fraction or thou"),
        (rows("1"), "series 'a' has one moment only, which shows no frequency"),
        (
            rows("1", "2") + "b,2024-01-01,1\na,2024-01-02,5\n",
            "series 'a' has two values at 2024-01-02 (line 3 and line 5)",
        ),
        (
            HEAD + "a,2024-01-01,1\na,,2\n",
            "line 3: the time column 'ds' is empty: fill it or remove the row",
        ),
        (HEAD + "a,2024-01-01,1\n,2024-01-02,2\n", "line 3: the id in the column 'unique_id' is"),
        (HEAD + "a,2024-01-01,1\na,2024-02-30,2\n", "line 3: '2024-02-30' in the time column 'ds'"),
        (HEAD + "a,2024-01-01,1\na,soon,2\n", "line 3: 'soon' in the time column 'ds' is no time"),
        (HEAD + "a,0001-01-01,1\na,0001-01-02,2\n", "is before 1678 or after 2261"),
        (
            HEAD + "a,2024-01-01T00:00Z,1\na,2024-01-01T01:00,2\n",
            "line 3: the time '2024-01-01T01:00' has no offset and line 2 has one",
        ),
        (
            HEAD + "a,2024-01-01T00:00+01:00,1\na,2024-01-01T01:00+05:00,2\n",
            "line 3: the time '2024-01-01T01:00+05:00' is in another time zone than",
        ),
        (
            HEAD + "a,03/04/2024,1\na,04/04/2024,2\n",
            "line 2: '03/04/2024' in the time column 'ds' may begin with the day or the month",
        ),
        (HEAD, "has no rows"),
        ("", "is empty"),
        ("ds,y\n2024-01-01,1,7\n", "line 2, has 3 columns and the first row has 2"),
        ("name,ds\nx,2024-01-01\ny,2024-01-02\n", "the value 'x' in the column 'name'"),
        (
            "store,date,sales\n1,2024-01-01,3\n2,2024-01-01,4\n1,2024-01-02,3\n2,2024-01-02,4\n",
            "two values at 2024-01-01 (line 2 and line 3)",
        ),
        (
            "shop,date,y\nn,2024-01-01,3\ns,2024-01-01,4\nn,2024-01-02,3\ns,2024-01-02,4\n",
            "if the column 'shop' names the series, give id_column='shop'",
        ),
    ],
)
def test_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        open_series(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_binary_is_no_table_in_any_encoding(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 256, 3000, dtype=np.uint8).tobytes()
    (tmp_path / "b.csv").write_bytes(noise)
    with pytest.raises(DataError, match=r"b\.csv is not text but binary: .* control characters"):
        open_series(tmp_path / "b.csv")


def test_a_gap_may_be_written_in_many_ways() -> None:
    for word in ("", "NA", "NaN", "null", "None", "n/a", "-", "?", None, float("nan")):
        series = open_series(
            {"ds": ["2024-01-01", "2024-01-02", "2024-01-03"], "y": ["1", word, "3"]}
        )
        assert series.gaps == 1


@pytest.mark.parametrize(
    ("cells", "decimal", "numbers"),
    [
        (["1,5", "2", "3,25"], None, [1.5, 2, 3.25]),
        (["0,125", "2", "3"], None, [0.125, 2, 3]),
        (["1.234,5", "2", "3"], None, [1234.5, 2, 3]),
        (["1,234.5", "2", "3"], None, [1234.5, 2, 3]),
        (["1,234,567", "2", "3"], None, [1234567, 2, 3]),
        (["1,234", "2", "3,5"], None, [1.234, 2, 3.5]),
        (["1,234", "2", "3"], ",", [1.234, 2, 3]),
        (["1,234", "2", "3"], ".", [1234, 2, 3]),
        (["1e-3", "-2", "+3"], None, [0.001, -2, 3]),
    ],
)
def test_decimal_commas_are_read_where_they_are_clear(
    cells: list[str], decimal: str | None, numbers: list[float]
) -> None:
    table = {"ds": ["2024-01-01", "2024-01-02", "2024-01-03"], "y": cells}
    series = open_series(table, decimal=decimal)  # type: ignore[arg-type]
    assert series.numbers[:, 0].tolist() == numbers


def test_decimal_commas_in_a_file_of_semicolons(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Datum;date;y\nx;01.02.2024;1,5\nx;02.02.2024;2,25\n")
    series = open_series(tmp_path / "a.csv")
    assert series.numbers[:, 0].tolist() == [1.5, 2.25]
    assert series.times[0] == np.datetime64("2024-02-01")


def test_unsorted_rows_are_sorted_and_said() -> None:
    table = {"ds": ["2024-01-03", "2024-01-01", "2024-01-02"], "y": [3, 1, 2]}
    series = open_series(table)
    assert series.numbers[:, 0].tolist() == [1, 2, 3]
    assert series.notes == (
        "the rows of series 'y' are not in the order of time (first row 2): they are sorted",
    )


def test_series_that_follow_one_another_in_any_order_are_no_disorder() -> None:
    frame = pd.DataFrame(
        {
            "unique_id": ["b", "a", "b", "a"],
            "ds": ["2024-01-01", "2024-01-01", "2024-01-02", "2024-01-02"],
            "y": [1, 2, 3, 4],
        }
    )
    series = open_series(frame)
    assert series.ids == ("b", "a")
    assert series.notes == ()


def test_constant_and_lonely_series_are_said() -> None:
    table = pd.DataFrame(
        {
            "unique_id": ["a", "a", "b", "c", "c"],
            "ds": pd.to_datetime(
                ["2024-01-01", "2024-01-02", "2024-01-01", "2024-01-01", "2024-01-02"]
            ),
            "y": [1.0, 2.0, 5.0, 7.0, 7.0],
        }
    )
    assert open_series(table).notes == (
        "series 'b' has one value only",
        "series 'c' has the same value throughout",
    )


def test_options_that_do_not_suit_are_refused() -> None:
    dates = {"ds": ["2024-01-01", "2024-01-02"], "y": [1, 2]}
    with pytest.raises(ConfigError, match="no column 'yy', only ds, y"):
        open_series(dates, target="yy")
    with pytest.raises(ConfigError, match="freq 'fortnight' is not known"):
        open_series(dates, freq="fortnight")
    with pytest.raises(
        ConfigError, match="freq '1' does not suit the table, whose times are dates"
    ):
        open_series(dates, freq=1)
    with pytest.raises(ConfigError, match="does not suit"):
        open_series([1, 2, 3], freq="h")
    with pytest.raises(ConfigError, match="no time zone 'Mars/Base'"):
        open_series(dates, time_zone="Mars/Base")
    with pytest.raises(ConfigError, match="given twice"):
        open_series(dates, target="y", known="y")
    with pytest.raises(ConfigError, match="neither"):
        open_series(dates, decimal=";")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is no format"):
        open_series(dates, time_format="d/m/y")


@pytest.mark.parametrize(
    "data", [None, 3, b"bytes", [], {}, [[]], [["a"]], np.zeros((1, 1, 1, 1)), object()]
)
def test_what_holds_no_series_is_refused(data: object) -> None:
    with pytest.raises(SeriatimError):
        open_series(data)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        open_series(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        open_series(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        open_series(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"ds": 1, "y": 2}\n{"ds": 2}\n')
    with pytest.raises(SeriatimError, match="no column 'y'"):
        open_series(tmp_path / "a.jsonl")


def test_cells_of_jsonl_may_be_anything(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"id": ["a"], "ds": 1, "y": 2}\n{"id": ["a"], "ds": 2, "y": null}\n'
    )
    assert open_series(tmp_path / "a.jsonl").ids == ("['a']",)
    (tmp_path / "b.jsonl").write_text('{"ds": 1, "y": 2}\n{"ds": 2, "y": {"a": 1}}\n')
    with pytest.raises(DataError, match=r"line 2: the value .* in the column 'y' is not a number"):
        open_series(tmp_path / "b.jsonl")
    (tmp_path / "c.jsonl").write_text('{"ds": [1], "y": 2}\n{"ds": [2], "y": 3}\n')
    with pytest.raises(DataError, match="is no time"):
        open_series(tmp_path / "c.jsonl")


def test_known_inputs_must_be_there() -> None:
    table = {"ds": ["2024-01-01", "2024-01-02"], "y": [1, 2], "price": [3.0, None]}
    with pytest.raises(DataError, match="row 2: the known input 'price' of series 'y' is missing"):
        open_series(table, known="price")


def test_static_columns_must_not_change() -> None:
    table = {"ds": ["2024-01-01", "2024-01-02"], "y": [1, 2], "size": [3, 4]}
    with pytest.raises(
        DataError, match=r"row 2: the static column 'size' of series 'y' is 4\.0 here"
    ):
        open_series(table, static="size")


def test_one_wrong_time_makes_no_enormous_grid() -> None:
    times = [*(f"2024-01-01 00:00:{s:02d}" for s in range(30)), "2199-01-01 00:00:00"]
    with pytest.raises(DataError, match=r"series 'y' has 31 rows and would have .* moments"):
        open_series({"ds": times, "y": list(range(31))})


def test_series_of_other_frequencies_are_refused_unless_the_step_is_given() -> None:
    hours = pd.date_range("2024-01-01", periods=60, freq="h")
    days = pd.date_range("2024-01-01", periods=20, freq="D")
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": "hours", "ds": hours, "y": 1.0 * np.arange(60)}),
            pd.DataFrame({"unique_id": "days", "ds": days, "y": 1.0 * np.arange(20)}),
        ]
    )
    with pytest.raises(DataError, match="series 'days' has a value every 24 steps"):
        open_series(frame)
    assert open_series(frame, freq="h").lengths.tolist() == [60, 457]
