"""Maximum likelihood of many small problems at once: BFGS in a batch.

Each row has its own parameters and its own likelihood; a call evaluates many rows, so that the
gradient, by central differences, and the steps of a line search are one call each.

Source: Nocedal and Wright, Numerical Optimization, 2006, chapter 6.

Shapes: N problems, p parameters, K candidates.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]
# (rows of the problems (M,), parameters (M, p)) -> values (M,)
Objective: TypeAlias = Callable[[Rows, Array], Array]

_DIFFERENCE = 1e-4
_SHORTER = np.array([0.5, 0.2, 0.05, 1e-2, 1e-3])  # steps that are tried if the whole one fails
_FLAT = 1e-10


def maximize(
    objective: Objective,
    starts: Array,
    num_problems: int,
    bounds: tuple[float, float],
    *,
    max_iterations: int,
) -> tuple[Array, Array]:
    """The parameters (N, p) of a local maximum of each problem, and its values (N,).

    Args:
        objective: the function; rows may occur several times.
        starts: (K, p) candidates to start from; each problem takes the best.
        num_problems: N.
        bounds: the least and the greatest value of a parameter.
        max_iterations: the limit of iterations.
    """
    x, best = _best_start(objective, starts, num_problems)
    p = x.shape[1]
    inverse = np.repeat(np.eye(p)[None], num_problems, 0)
    gradient = _gradient(objective, np.arange(num_problems), x)
    active = np.arange(num_problems)
    for _ in range(max_iterations):
        if len(active) == 0:
            break
        g = gradient[active]
        direction = np.einsum("nij,nj->ni", inverse[active], g)
        is_bad = (direction * g).sum(1) <= 0
        inverse[active[is_bad]] = np.eye(p)
        direction[is_bad] = g[is_bad]
        longest = np.abs(direction).max(1, keepdims=True)
        direction *= np.minimum(1.0, 4.0 / np.maximum(longest, 1e-300))
        new, value = _line_search(objective, active, x[active], best[active], direction, bounds)
        gain = value - best[active]
        moved = gain > 0
        rows, step = active[moved], new[moved] - x[active[moved]]
        x[rows], best[rows] = new[moved], value[moved]
        after = _gradient(objective, rows, x[rows])
        _update(inverse, rows, step, gradient[rows] - after)
        gradient[rows] = after
        restart = ~moved & ~np.isclose(inverse[active], np.eye(p)).all((1, 2))
        inverse[active[restart]] = np.eye(p)
        is_going = (gain > _FLAT * (1 + np.abs(best[active]))) | restart
        active = active[is_going]
    return x, best


def _best_start(objective: Objective, starts: Array, num_problems: int) -> tuple[Array, Array]:
    rows = np.repeat(np.arange(num_problems), len(starts))
    values = _finite(objective(rows, np.tile(starts, (num_problems, 1))))
    values = values.reshape(num_problems, len(starts))
    return starts[values.argmax(1)].copy(), values.max(1)


def _gradient(objective: Objective, rows: Rows, x: Array) -> Array:
    p = x.shape[1]
    ends = np.concatenate([np.eye(p), -np.eye(p)]) * _DIFFERENCE
    points = (x[:, None] + ends).reshape(-1, p)
    values = objective(np.repeat(rows, 2 * p), points).reshape(-1, 2, p)
    gradient: Array = np.nan_to_num((values[:, 0] - values[:, 1]) / (2 * _DIFFERENCE))
    return gradient


def _line_search(
    objective: Objective,
    rows: Rows,
    x: Array,
    now: Array,
    direction: Array,
    bounds: tuple[float, float],
) -> tuple[Array, Array]:
    """The whole step in a direction where it gains, otherwise the best of shorter ones."""
    points = np.clip(x + direction, *bounds)
    values = _finite(objective(rows, points))
    failed = np.flatnonzero(values <= now)
    if len(failed):
        short = x[failed, None] + _SHORTER[:, None] * direction[failed, None]
        short = np.clip(short, *bounds)
        flat = short.reshape(-1, x.shape[1])
        found = _finite(objective(np.repeat(rows[failed], len(_SHORTER)), flat))
        found = found.reshape(-1, len(_SHORTER))
        best, index = found.argmax(1), np.arange(len(failed))
        points[failed], values[failed] = short[index, best], found[index, best]
    return points, values


def _update(inverse: Array, rows: Rows, s: Array, y: Array) -> None:
    """The inverse Hessians of -f after steps s that changed the gradient of -f by y, (M, p)."""
    sy = (s * y).sum(1)
    is_fine = sy > 1e-12
    rows, s, y, sy = rows[is_fine], s[is_fine], y[is_fine], sy[is_fine]
    outer = np.einsum("ni,nj->nij", s, y) / sy[:, None, None]
    left = np.eye(s.shape[1]) - outer
    inverse[rows] = (
        left @ inverse[rows] @ left.swapaxes(1, 2)
        + np.einsum("ni,nj->nij", s, s) / sy[:, None, None]
    )


def _finite(values: Array) -> Array:
    finite: Array = np.where(np.isfinite(values), values, -np.inf)
    return finite
