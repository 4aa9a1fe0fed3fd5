"""A horizon that does not suit is refused in one sentence."""

import pytest

from seriatim.data.series import check_horizon
from seriatim.errors import ConfigError


@pytest.mark.parametrize("horizon", [0, -1, 2.5, "3", None, True])
def test_horizon_is_a_whole_number_from_1(horizon: object) -> None:
    with pytest.raises(ConfigError, match="how many moments ahead"):
        check_horizon(horizon)
