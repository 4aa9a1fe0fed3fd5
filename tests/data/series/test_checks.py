"""Horizons, quantiles, lengths and known inputs that do not suit are refused in one sentence."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from seriatim.data.series import (
    check_horizon,
    check_quantiles,
    future_known,
    level_quantiles,
    open_series,
    require_values,
)
from seriatim.errors import ConfigError, DataError

TIMES = [datetime(2024, 1, 1) + timedelta(days=d) for d in range(8)]


def table(*ids: str, days: int = 5) -> pd.DataFrame:
    rows = [(i, t, float(n), 10.0 * n + len(ids)) for i in ids for n, t in enumerate(TIMES[:days])]
    return pd.DataFrame(rows, columns=["unique_id", "ds", "y", "price"])


@pytest.mark.parametrize("horizon", [0, -1, 2.5, "3", None, True])
def test_horizon_is_a_whole_number_from_1(horizon: object) -> None:
    with pytest.raises(ConfigError, match="how many moments ahead"):
        check_horizon(horizon)


def test_quantiles_are_sorted_and_between_0_and_1() -> None:
    assert check_quantiles([0.9, 0.1]) == (0.1, 0.9)
    with pytest.raises(ConfigError, match=r"a quantile of 1\.2 is not between 0 and 1"):
        check_quantiles([0.1, 1.2])
    with pytest.raises(ConfigError, match=r"for 90 % give 0\.9"):
        check_quantiles([90])
    with pytest.raises(ConfigError, match="twice"):
        check_quantiles([0.5, 0.5])


def test_levels_are_percent() -> None:
    assert level_quantiles(80) == (0.1, 0.9)
    with pytest.raises(ConfigError, match=r"give 80 for 0\.8"):
        level_quantiles(0.8)
    with pytest.raises(ConfigError, match="between 0 and 100"):
        level_quantiles(100)


def test_short_series_is_named() -> None:
    series = open_series({"long": [1, 2, 3, 4], "short": [1, None, 2]})
    require_values(series, 2, "an AR of order 2")
    with pytest.raises(
        DataError, match=r"series 'short' has 2 values, and an AR of order 2 needs 3"
    ):
        require_values(series, 3, "an AR of order 2")


def test_known_inputs_of_the_future_are_found_by_id_and_time() -> None:
    series = open_series(table("a", "b"), known="price")
    future = table("b", "a", days=8).sample(frac=1, random_state=1)
    found = future_known(future, series, 3)
    assert found.shape == (2, 3, 1)
    assert found[0, :, 0].tolist() == [52, 62, 72]
    shared = future.drop_duplicates("ds").drop(columns="unique_id")
    assert future_known(shared, series, 3)[1, :, 0].tolist() == [52, 62, 72]


def test_known_inputs_that_end_before_the_horizon_are_refused() -> None:
    series = open_series(table("a", "b"), known="price")
    future = table("a", "b", days=8)
    future = future[~((future.unique_id == "b") & (future.ds == TIMES[6]))]
    with pytest.raises(
        DataError, match=r"series 'b' end before the horizon: 2024-01-07, step 2 of 3, is missing"
    ):
        future_known(future, series, 3)
    with pytest.raises(DataError, match=r"end before the horizon: there are 2 moments of 3"):
        future_known(np.zeros((2, 1)), series, 3)
    assert future_known(np.zeros((2, 4, 1)), series, 3).shape == (2, 3, 1)
    with pytest.raises(ConfigError, match="no column 'price'"):
        future_known(future.drop(columns="price"), series, 3)
