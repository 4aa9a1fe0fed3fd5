"""The variances of structural models, fitted to each series for itself.

Knows series, structures and the exact diffuse likelihood; no model.

Shapes: N series of one channel, T moments, r variances of states.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.models.state_space.likelihood import diffuse_log_likelihoods
from seriatim.models.state_space.maximum_likelihood import maximize
from seriatim.models.state_space.structures import Structure

Array: TypeAlias = NDArray[np.float64]

# Logarithms of variances as parts of the variance of a series' steps.
_BOUNDS = (-25.0, 8.0)
_STARTS = {
    "noise": (0.5, 0.05),
    "level": (0.5, 0.02),
    "slope": (1e-2, 1e-5),
    "season": (0.05, 1e-4),
}
# Series with variances of their own, times the states: the others share those of these.
_MOST, _FEWEST = 4_000, 32
_GROUP = 1.3  # series are filtered with those that are at most so many times as long


@dataclass(frozen=True)
class Variances:
    """The fitted variances of N series.

    Attributes:
        states: (N, r), in the units of the data, squared.
        noise: (N,) of the values.
        scale: (N,) of the steps of the series.
        log_likelihood: (N,) diffuse, in nats.
    """

    states: Array
    noise: Array
    scale: Array
    log_likelihood: Array


def fit_variances(structure: Structure, series: list[Array], max_iterations: int) -> Variances:
    """Fit series (T,), NaN where missing, each with at least one value."""
    N, r = len(series), len(structure.noisy)
    scale = np.array([step_variance(y) for y in series])
    most = max(_FEWEST, _MOST // structure.num_states)
    if most < N:
        return _fit_some(structure, series, scale, most, max_iterations)
    groups = _by_length(series)
    starts = np.log(
        np.stack(
            [
                grid.ravel()
                for grid in np.meshgrid(*(_STARTS[name] for name in (*structure.names, "noise")))
            ],
            1,
        )
    )
    logs, best = np.zeros((N, r + 1)), np.zeros(N)
    for rows in groups:
        y = _padded([series[i] for i in rows]) / np.sqrt(scale[rows])[:, None]

        def objective(which: NDArray[np.int64], x: Array, y: Array = y) -> Array:
            variances = np.exp(x)
            return diffuse_log_likelihoods(structure, variances[:, :r], variances[:, r], y[which])

        logs[rows], _ = maximize(
            objective, starts, len(rows), _BOUNDS, max_iterations=max_iterations
        )
        own = np.exp(logs[rows]) * scale[rows, None]
        y *= np.sqrt(scale[rows])[:, None]
        best[rows] = diffuse_log_likelihoods(structure, own[:, :r], own[:, r], y)
    variances = np.exp(logs) * scale[:, None]
    return Variances(variances[:, :r], variances[:, r], scale, best)


def _fit_some(
    structure: Structure, series: list[Array], scale: Array, most: int, max_iterations: int
) -> Variances:
    """Fit some series, evenly chosen; the others have their median, relative to the scale."""
    chosen = np.linspace(0, len(series) - 1, most).astype(np.int64)
    some = fit_variances(structure, [series[i] for i in chosen], max_iterations)
    states = np.exp(np.median(np.log(some.states / some.scale[:, None]), 0)) * scale[:, None]
    noise = np.exp(np.median(np.log(some.noise / some.scale))) * scale
    states[chosen], noise[chosen] = some.states, some.noise
    total = np.zeros(len(series))
    for rows in _by_length(series):
        y = _padded([series[i] for i in rows])
        total[rows] = diffuse_log_likelihoods(structure, states[rows], noise[rows], y)
    return Variances(states, noise, scale, total)


def step_variance(y: Array) -> float:
    """The mean square of the steps between observed values, or what comes next to it."""
    seen = y[~np.isnan(y)]
    steps = np.diff(seen)
    square = float(np.mean(steps**2)) if len(steps) else 0.0
    if square > 0:
        return square
    return float(max(1e-6 * np.abs(seen).max(initial=0.0), 1e-6)) ** 2


def _by_length(series: list[Array]) -> list[NDArray[np.int64]]:
    lengths = np.array([len(y) for y in series])
    order = np.argsort(lengths, kind="stable")
    groups, start = [], 0
    for i in range(1, len(order) + 1):
        if i == len(order) or lengths[order[i]] > _GROUP * lengths[order[start]] + 8:
            groups.append(order[start:i])
            start = i
    return groups


def _padded(series: list[Array]) -> Array:
    y = np.full((len(series), max(map(len, series))), np.nan)
    for row, values in zip(y, series, strict=True):
        row[: len(values)] = values
    return y
