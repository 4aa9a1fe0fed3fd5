"""Exact diffuse log-likelihoods of many series at once, each with variances of its own.

All series have the same F and h, so that a moment is a few products over all of them. Once all
covariances of series without gaps have settled to rounding, only the means go on.

The same as `kalman.kalman_filter` with a diffuse start, which is the readable form.

Shapes: N series, T moments, m states, r variances.
"""

import math

import numpy as np
from numpy.typing import NDArray

from seriatim.models.state_space.structures import Structure

Array = NDArray[np.float64]
_NO_LONGER_DIFFUSE = 1e-9
_SETTLED = 1e-15
_CACHED = 60_000  # numbers of all covariances of the series that are filtered together
_LEAST_ROWS = 64
_LOG_2PI = math.log(2 * math.pi)


def diffuse_log_likelihoods(
    structure: Structure, variances: Array, noise: Array, y: Array
) -> Array:
    """(N,) nats of the observed values of each series.

    Args:
        structure: the model; nothing is known of its first state.
        variances: (N, r) the variances of the noise of the states.
        noise: (N,) the variances of the noise of the values.
        y: (N, T) the values, NaN where missing.
    """
    last_gap = _last_gap(y)
    total = np.zeros(len(y))
    size = max(_LEAST_ROWS, _CACHED // structure.num_states**2)
    for group in (np.flatnonzero(last_gap < 0), np.flatnonzero(last_gap >= 0)):
        for start in range(0, len(group), size):
            rows = group[start : start + size]
            own = y if len(rows) == len(y) else y[rows]  # no copy of all
            filtering = _Filtering(structure, variances[rows], noise[rows], own)
            total[rows] = filtering.run(int(last_gap[rows].max()))
    return total


def _last_gap(y: Array) -> NDArray[np.int64]:
    """(N,) the last moment without a value that has one after it; -1: there is none."""
    is_seen = ~np.isnan(y)
    if is_seen.all():
        return np.full(len(y), -1)
    length = y.shape[1]
    end = length - is_seen[:, ::-1].argmax(1)  # beyond the last value
    is_gap = ~is_seen & (np.arange(length) < end[:, None])
    last: NDArray[np.int64] = length - 1 - is_gap[:, ::-1].argmax(1)
    return np.where(is_gap.any(1), last, -1)


class _Filtering:
    """The beliefs of all series, (m, N) and (m, m, N), and the sums so far."""

    def __init__(self, structure: Structure, variances: Array, noise: Array, y: Array) -> None:
        m, N = structure.num_states, len(y)
        self.F, self.h = structure.transition, structure.observation
        self.y = np.array(y.T, order="C")
        self.seen: NDArray[np.bool_] = ~np.isnan(self.y)
        self.noise, self.noisy = noise, list(structure.noisy)
        self.variances = np.ascontiguousarray(variances.T)
        self.all_seen: NDArray[np.bool_] = np.asarray(self.seen.all(1))
        if not self.all_seen.all():
            self.y[~self.seen] = 0.0
        self.a, self.P = np.zeros((m, N)), np.zeros((m, m, N))
        self.diffuse: Array | None = np.repeat(np.eye(m)[..., None], N, -1)
        self.total = np.zeros(N)
        self.is_settled = False

    def run(self, last_gap: int) -> Array:
        """The log-likelihoods; beyond `last_gap` values are missing at the end of a series only."""
        t, T = 0, len(self.y)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            while t < T and self.diffuse is not None:
                self.diffuse_step(t)
                t += 1
            while t < T and not (self.is_settled and t > last_gap):
                self.step(t)
                t += 1
            if t < T:
                self.rest(t)
        return self.total

    def _moved(self, P: Array) -> Array:
        """F P F'"""
        m, N = len(self.h), P.shape[-1]
        moved: Array = np.matmul(self.F, (self.F @ P.reshape(m, m * N)).reshape(m, m, N))
        return moved

    def _seen_through(self, P: Array) -> tuple[Array, Array]:
        """P h' (m, N) and h P h' (N,)."""
        m, N = len(self.h), P.shape[-1]
        M = (self.h @ P.reshape(m, m * N)).reshape(m, N)
        return M, self.h @ M

    def _predict(self) -> None:
        self.a = self.F @ self.a
        P = self._moved(self.P)
        for state, variance in zip(self.noisy, self.variances, strict=True):
            P[state, state] += variance
        self.P = P

    def step(self, t: int) -> None:
        """One moment of proper beliefs."""
        M, f = self._seen_through(self.P)
        f += self.noise
        v = self.y[t] - self.h @ self.a
        k = M / f
        each = np.log(f) + v * v / f + _LOG_2PI
        if not self.all_seen[t]:
            seen = self.seen[t]
            each, k = np.where(seen, each, 0.0), np.where(seen, k, 0.0)
        self.total -= 0.5 * each
        self.a += k * v
        before = self.P
        self.P = before - k[:, None] * M
        self._predict()
        if t % 8 == 0:
            before -= self.P
            change = max(before.max(), -before.min())
            self.is_settled = bool(change <= _SETTLED * self.P.max())

    def diffuse_step(self, t: int) -> None:
        """One moment while something is not known at all of some series."""
        assert self.diffuse is not None
        M, f = self._seen_through(self.P)
        Mi, fi = self._seen_through(self.diffuse)
        f = f + self.noise
        seen = self.seen[t]
        v = self.y[t] - self.h @ self.a
        tells = seen & (fi > _NO_LONGER_DIFFUSE)
        fi = np.where(tells, fi, 1.0)
        f = np.where(seen, f, 1.0)
        M, Mi = M * seen, Mi * tells
        k, ki = M / f, Mi / fi
        each = np.where(tells, np.log(fi), np.log(f) + v * v / f) + _LOG_2PI
        self.total -= 0.5 * np.where(seen, each, 0.0)
        self.a = self.a + np.where(tells, ki, k) * np.where(seen, v, 0.0)
        cross = M[:, None] * ki
        told = self.P - cross - cross.swapaxes(0, 1) + ki[:, None] * ki * f
        self.P = np.where(tells, told, self.P - k[:, None] * M)
        left = self.diffuse - ki[:, None] * Mi
        self.diffuse = None if np.abs(left).max() < _NO_LONGER_DIFFUSE else self._moved(left)
        self._predict()

    def rest(self, t: int) -> None:
        """All moments from t on, with gains that no longer change."""
        M, f = self._seen_through(self.P)
        f = f + self.noise
        k, a = self.F @ (M / f), self.a
        square = np.zeros(len(f))
        for y, seen, all_seen in zip(self.y[t:], self.seen[t:], self.all_seen[t:], strict=True):
            v = y - self.h @ a
            if not all_seen:
                v *= seen
            a = self.F @ a
            a += k * v
            square += v * v
        count = self.seen[t:].sum(0)
        self.total -= 0.5 * (count * (np.log(f) + _LOG_2PI) + square / f)
