"""What is asked of a forecaster, checked."""

import numpy as np

from seriatim.errors import ConfigError

_MOST_AHEAD = 1_000_000


def check_horizon(horizon: object) -> int:
    """The number of moments ahead.

    Raises:
        ConfigError: if it is not a whole number from 1.
    """
    is_whole = isinstance(horizon, (int, np.integer)) and not isinstance(horizon, bool)
    if not is_whole or not 1 <= int(horizon) <= _MOST_AHEAD:  # type: ignore[call-overload]
        raise ConfigError(
            f"horizon = {horizon!r}: give how many moments ahead to forecast, a whole number from 1"
        )
    return int(horizon)  # type: ignore[call-overload, no-any-return]
