"""Results come back as the kind of table that was given, with times on the clock of their zone."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from seriatim.data.series import open_series
from seriatim.data.series.output import id_column, time_texts, to_native

TIMES = np.array(["2024-10-27T00:00", "2024-10-27T01:00"], dtype="datetime64[ns]")
COLUMNS: dict[str, Any] = {
    "unique_id": np.array(["a", "b"], dtype=object),
    "ds": TIMES,
    "mean": np.array([1.0, 2.0]),
}


@pytest.mark.parametrize(
    ("backend", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame), ("pyarrow", pa.Table)]
)
def test_results_are_the_kind_of_table_that_came_in(backend: Any, kind: type) -> None:
    table = to_native(COLUMNS, backend, "Europe/Berlin")
    assert isinstance(table, kind)
    again = open_series(table, target="mean", id_column="unique_id", freq="h")
    assert again.time_zone == "Europe/Berlin"
    assert (again.times == TIMES).all()


def test_the_kind_of_table_is_remembered() -> None:
    table = {"ds": ["2024-01-01", "2024-01-02"], "y": [1.0, 2.0]}
    assert open_series(table).origin.backend == "own"
    assert open_series(pd.DataFrame(table)).origin.backend == "pandas"
    assert open_series(pl.DataFrame(table)).origin.backend == "polars"
    assert open_series(pa.table(table)).origin.backend == "pyarrow"
    numbered = pd.DataFrame({"unique_id": [1, 1], "ds": table["ds"], "y": table["y"]})
    assert open_series(numbered).origin.has_integer_ids


def test_texts_of_times_tell_the_two_hours_of_a_clock_set_back_apart() -> None:
    assert time_texts(TIMES, "Europe/Berlin") == [
        "2024-10-27 02:00:00+02:00",
        "2024-10-27 02:00:00+01:00",
    ]
    assert time_texts(TIMES, None) == ["2024-10-27 00:00:00", "2024-10-27 01:00:00"]
    assert time_texts(TIMES[:1], None) == ["2024-10-27"]
    assert time_texts(np.array([3, 4]), None) == ["3", "4"]


def test_ids_come_back_as_they_were() -> None:
    table = {"unique_id": [7, 7, 8], "ds": [1, 2, 1], "y": [1.0, 2.0, 3.0]}
    assert id_column(open_series(pd.DataFrame(table)), np.array([1, 0])).tolist() == [8, 7]
    named = pd.DataFrame({**table, "unique_id": ["07", "07", "8"]})
    assert id_column(open_series(named), np.array([0, 1])).tolist() == ["07", "8"]
