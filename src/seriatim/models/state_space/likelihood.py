"""Exact diffuse log-likelihoods of many series at once, each with variances of its own.

All series have the same F and h, so that a moment is a few products over all of them. Series
without gaps have a recursion of their own (`innovations`); others keep covariances. Once all of
these have settled to rounding, behind the last gap, only the means go on.

The same as `kalman.kalman_filter` with a diffuse start, which is the readable form.

Shapes: N series, T moments, m states, r variances.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from seriatim.models.state_space.innovations import whole_log_likelihoods
from seriatim.models.state_space.structures import Structure

Array = NDArray[np.float64]
_NO_LONGER_DIFFUSE = 1e-9
_SETTLED = 1e-15
_CACHED = 60_000  # numbers of the series that are filtered together
_HISTORY = 20  # numbers, in effect, that a series without gaps keeps beside those of its state
_LEAST_ROWS = 64
_LEAST_SLOPE = 1e-5  # of all variances
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
    m = structure.num_states
    last_gap = _last_gap(y)
    is_whole = (last_gap < 0) & (m <= y.shape[1]) & ~np.isnan(y[:, :m]).any(1)
    is_whole &= _is_exact_by_gains(structure, variances, noise)
    total = np.zeros(len(y))
    for rows in _blocks(is_whole, m + _HISTORY):
        values, seen = _by_moment(y, rows)
        own = np.ascontiguousarray(variances[rows].T)
        total[rows] = whole_log_likelihoods(structure, own, noise[rows], values, seen)
    for rows in _blocks(~is_whole, m * m):
        values, seen = _by_moment(y, rows)
        own = np.ascontiguousarray(variances[rows].T)
        filtering = _Filtering(structure, own, noise[rows], values, seen)
        total[rows] = filtering.run(int(last_gap[rows].max()))
    return total


def _is_exact_by_gains(structure: Structure, variances: Array, noise: Array) -> NDArray[np.bool_]:
    """(N,) whether `innovations` loses no more than 1e-10 of the likelihood to rounding.

    A slope that hardly changes is known ever better. Its gain then falls to nearly nothing from
    one near 1, and keeps the rounding errors of that.
    """
    if "slope" not in structure.names:
        return np.ones(len(noise), np.bool_)
    slope = variances[:, structure.names.index("slope")]
    is_exact: NDArray[np.bool_] = slope >= _LEAST_SLOPE * (variances.sum(1) + noise)
    return is_exact


def _blocks(which: NDArray[np.bool_], numbers: int) -> Iterator[NDArray[np.int64]]:
    """The chosen series, so many together that their numbers remain in the cache."""
    rows = np.flatnonzero(which)
    size = max(_LEAST_ROWS, _CACHED // numbers)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _by_moment(y: Array, rows: NDArray[np.int64]) -> tuple[Array, NDArray[np.bool_]]:
    """(T, N) the values of some series, 0 where missing, and whether they were seen."""
    own = y if len(rows) == len(y) else y[rows]  # no copy of all
    values = np.array(own.T, order="C")
    seen = ~np.isnan(values)
    if not seen.all():
        values[~seen] = 0.0
    return values, seen


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

    def __init__(
        self,
        structure: Structure,
        variances: Array,
        noise: Array,
        y: Array,
        seen: NDArray[np.bool_],
    ) -> None:
        m, N = structure.num_states, y.shape[1]
        self.F, self.h = structure.transition, structure.observation
        self.y, self.seen = y, seen
        self.all_seen: NDArray[np.bool_] = np.asarray(seen.all(1))
        self.noise, self.noisy = noise, list(structure.noisy)
        self.variances = variances
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
                self.step(t, is_ended=t > last_gap)
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

    def step(self, t: int, is_ended: bool) -> None:
        """One moment of proper beliefs; a series without a value has ended or has a gap here."""
        M, f = self._seen_through(self.P)
        f += self.noise
        v = self.y[t] - self.h @ self.a
        k = M / f
        each = np.log(f) + v * v / f + _LOG_2PI
        if not self.all_seen[t]:
            seen = self.seen[t]
            each = np.where(seen, each, 0.0)
            if not is_ended:
                k = np.where(seen, k, 0.0)
                self.is_settled = False
        self.total -= 0.5 * each
        self.a += k * v
        before = self.P
        self.P = before - k[:, None] * M
        self._predict()
        if t % 8 == 0 and (is_ended or self.all_seen[t]):
            before -= self.P
            change = np.abs(before, out=before).max((0, 1))
            self.is_settled = bool((change <= _SETTLED * self.P.max((0, 1))).all())

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
