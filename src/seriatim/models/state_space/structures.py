"""Structural models of one series: a level, with or without a slope and a season.

    y_t = level_t + season_t + noise
    level_t+1 = level_t + slope_t + w,   slope_t+1 = slope_t + w,
    season_t+1 = -(season_t + .. + season_t-s+2) + w

Source: Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989.

Shapes: m states, r variances of states.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Structure:
    """A model of one series up to its variances.

    Attributes:
        transition: F, (m, m).
        observation: h, (m,): y_t = h x_t + noise.
        noisy: (r,) the states that have noise of their own.
        names: the names of the r variances.
    """

    transition: Array
    observation: Array
    noisy: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def num_states(self) -> int:
        """m."""
        return len(self.observation)


def structure(*, slope: bool, season_length: int | None) -> Structure:
    """The level, with a slope or not, with a season of this length or not."""
    blocks = [np.array([[1.0, 1.0], [0.0, 1.0]]) if slope else np.eye(1)]
    noisy, names = ([0, 1], ["level", "slope"]) if slope else ([0], ["level"])
    if season_length is not None:
        noisy.append(len(blocks[0]))
        names.append("season")
        season = np.eye(season_length - 1, k=-1)
        season[0] = -1.0
        blocks.append(season)
    sizes = [len(block) for block in blocks]
    F, h = np.zeros((sum(sizes), sum(sizes))), np.zeros(sum(sizes))
    start = 0
    for block in blocks:
        F[start : start + len(block), start : start + len(block)] = block
        h[start] = 1.0
        start += len(block)
    return Structure(F, h, tuple(noisy), tuple(names))
