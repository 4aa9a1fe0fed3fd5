"""Exact diffuse log-likelihoods of series without gaps: gains in place of covariances.

    v_t = y_t - a_t[1],   a_t+1 = F a_t + k v / f,
    f  <- f - g[1]^2 / f,   k, g  <-  k - (g[1] / f) F g,   F g - (g[1] / f) k

with f the variance of the next value, k = F P h' its covariance with the next state, and g the
one vector that the covariances P of all moments differ by: P_t+1 = P_t - g g' / f. A state of m
numbers costs m operations a moment, where its covariance costs m^2.

That one vector is enough follows from the diffuse start. m values determine m states of which
nothing was known. What is known after m + 1 values is then what the last m of them would say, as
much as after m, and what the first one adds: one observation.

The state of this module is a[j] = what is expected of the value j moments ahead, so that F moves
all rows by one, and only the last, the forecast m moments ahead, is a sum of others (of one, for
a level with a season). After m values the variances are those of sums of noises, whose coefficients
are the same for all series.

Sources: Morf, Sidhu and Kailath, Some new algorithms for recursive estimation in constant, linear,
discrete-time systems, 1974; Durbin and Koopman 2012, chapter 5.

Shapes: N series, T moments, m states, r variances.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.models.state_space.structures import Structure

Array = NDArray[np.float64]
_CHUNK = 32  # moments whose variances and residuals are summed at once
_SETTLED = 1e-17  # of the gain, what it may still change in all
_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class DiffuseStart:
    """What m values say of the state after them, for every series of a structure.

    The error of a_m+1, and that of y_0 if y_1 .. y_m predicted it, are sums of the noises of the
    moments 0 .. m, so that their variances are sums of those of the values and of r states.

    Attributes:
        last_row: (m,) of F: the value m moments ahead, of those before it.
        power: F^m: a_m+1 of y_1 .. y_m.
        log_determinant: of the diffuse variances of y_1 .. y_m.
        seen: (m, 1 + r) P h' of a variance of 1 each.
        cross: (m, 1 + r) the covariance of both errors.
        missed: (1 + r,) the variance of the error of y_0.
    """

    last_row: Array
    power: Array
    log_determinant: float
    seen: Array
    cross: Array
    missed: Array


@lru_cache(maxsize=16)
def diffuse_start(structure: Structure) -> DiffuseStart:
    """The start of a structure."""
    m, F, h = structure.num_states, structure.transition, structure.observation
    forecasts = [h]  # of the values now and 1, 2 ... moments ahead, from the structure's state
    for _ in range(m - 1):
        forecasts.append(forecasts[-1] @ F)
    ahead = np.stack(forecasts)
    # Whole numbers, as F and h are (Cayley and Hamilton).
    last = np.rint(np.linalg.solve(ahead.T, ahead[-1] @ F))
    shift = np.eye(m, k=1)
    shift[-1] = last
    power = np.linalg.matrix_power(shift, m)
    back = np.append(-last[1:], 1.0) / last[0]  # h F^-1: the value before
    seen, cross, missed = [], [], []
    for state in (None, *structure.noisy):
        if state is None:  # the noise of the values
            reached, inside, before = np.zeros((m, m)), np.eye(m), 1.0
        else:
            reached, inside = _reached(F, ahead, state)
            before = float(back @ ahead[:, state])
        error, told = reached - power @ inside, -back @ inside
        seen.append(error @ error[0])
        cross.append(error @ told)
        missed.append(told @ told + before**2)
    log_determinant = 2 * float(np.linalg.slogdet(ahead)[1])
    return DiffuseStart(
        last, power, log_determinant, np.stack(seen, 1), np.stack(cross, 1), np.array(missed)
    )


def _reached(F: Array, ahead: Array, state: int) -> tuple[Array, Array]:
    """What noises of 1 of a state after the moments 1 .. m do to a_m+1, and to y_1 .. y_m."""
    m = len(F)
    moved = [np.eye(m)[state]]
    for _ in range(m - 1):
        moved.append(F @ moved[-1])
    inside = np.zeros((m, m))
    for i in range(m - 1):
        inside[i + 1 :, i] = ahead[: m - 1 - i, state]
    return ahead @ np.stack(moved[::-1], 1), inside


def whole_log_likelihoods(
    structure: Structure, variances: Array, noise: Array, y: Array, seen: NDArray[np.bool_]
) -> Array:
    """(N,) nats of series whose values are missing at their ends alone, if at all.

    Args:
        structure: the model; nothing is known of its first state.
        variances: (r, N) of the noise of the states.
        noise: (N,) of the noise of the values.
        y: (T, N) the values, 0 where missing; at least m of each series.
        seen: (T, N) whether they are not missing.
    """
    start, m = diffuse_start(structure), structure.num_states
    total = np.full(len(noise), -0.5 * (m * _LOG_2PI + start.log_determinant))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gains = _Gains(start, np.concatenate([noise[None], variances]), start.power @ y[:m])
        for t in range(m, len(y), _CHUNK):
            v, f = gains.follow(y[t : t + _CHUNK])
            each = np.log(f) + v * v / f + _LOG_2PI
            part = seen[t : t + _CHUNK]
            total -= 0.5 * (each if part.all() else np.where(part, each, 0.0)).sum(0)
    return total


class _Rows:
    """A state (m, C, N) in m + 1 rows, so that the last m are F times the first m.

    Torch adds a product in one pass, and numpy does everything else at half the cost of a call.
    All views are made once: making one costs as much as a small product.

    Attributes:
        table: (m + 1, C, N).
        first: (C, N) h times the state.
        parts: `first` of each of the C parts.
        now, next: the state and F times it, as tensors.
        next_of_last: F times the last part, (m, 1, N).
    """

    def __init__(self, last: Array, num_parts: int, num_series: int) -> None:
        self.table = np.empty((len(last) + 1, num_parts, num_series))
        self.first, self.parts = self.table[0], list(self.table[0])
        self._last = self.table[-1]
        self._summed = [(self.table[j], float(w)) for j, w in enumerate(last) if w]
        whole = torch.from_numpy(self.table)
        self.now, self.next = whole[:-1], whole[1:]
        self.next_of_last = self.next[:, -1:]

    def extend(self) -> None:
        """Write down the last row, from those before it."""
        (row, weight), *others = self._summed
        np.multiply(row, weight, out=self._last)
        for row, weight in others:
            self._last += weight * row


class _Gains:
    """Where N series stand: f, -k, and the rows of a and g.

    -k, so that a and g both gain it, times (a - y) / f and g / f, in one product.
    """

    def __init__(self, start: DiffuseStart, variances: Array, a: Array) -> None:
        seen, cross = start.seen @ variances, start.cross @ variances
        N = a.shape[1]
        self.last = start.last_row
        self.f = np.empty((_CHUNK + 1, N))
        self.f[-1] = seen[0] + variances[0]
        self.errors = np.empty((_CHUNK, 2, N))
        k = _Rows(self.last, 1, N)
        k.table[:-1, 0] = seen
        k.extend()
        self.k = -k.next
        self.rows, self.spare = _Rows(self.last, 2, N), _Rows(self.last, 2, N)
        scale = np.sqrt(self.f[-1] / (start.missed @ variances))
        self.rows.table[:-1, 0], self.rows.table[:-1, 1] = a, cross * scale
        self.rows.extend()
        self._view()
        self.is_settled = False

    def _view(self) -> None:
        """What each moment of a chunk writes."""
        both = torch.from_numpy(self.errors)
        self.moments = list(
            zip(self.errors, both, both[:, -1:], self.f[:-1], self.f[1:], strict=True)
        )

    def follow(self, y: Array) -> tuple[Array, Array]:
        """The errors (L, N) of the next values, and their variances (L, N) or (1, N).

        L is that of a chunk, but for the last.
        """
        self.f[0] = self.f[-1]
        if not self.is_settled:
            self._settle()
        if self.is_settled:
            self._follow_settled(y)
            return self.errors[: len(y), 0], self.f[:1]
        self._follow(y)
        return self.errors[: len(y), 0] * self.f[: len(y)], self.f[: len(y)]

    def _settle(self) -> None:
        """See whose gains, or whether all of them, have settled."""
        f, table = self.f[0], self.rows.table
        g, k = np.abs(table[:-1, 1]).max(0), self.k.abs().amax(0).numpy()[0]
        is_settled = g * g <= _SETTLED * f * k
        table[:, 1, is_settled] = 0.0  # rather than ever smaller ones, on which processors are slow
        self.is_settled = bool(is_settled.all())
        if self.is_settled:
            N = len(f)
            self.k /= torch.from_numpy(f)
            self.rows, self.spare = _Rows(self.last, 1, N), _Rows(self.last, 1, N)
            self.rows.table[:, 0] = table[:, 0]
            self.errors = self.errors[:, :1].copy()
            self._view()

    def _follow(self, y: Array) -> None:
        """Moments while gains change; errors are divided by f."""
        rows, spare, k = self.rows, self.spare, self.k
        for value, (part, both, ratio, f, next_f) in zip(y, self.moments, strict=False):
            a, g = rows.parts
            a -= value  # the error, and no longer the forecast
            np.divide(rows.first, f, out=part)
            torch.addcmul(rows.next, k, both, out=spare.now)
            k.addcmul_(rows.next_of_last, ratio)
            np.multiply(g, part[1], out=next_f)
            np.subtract(f, next_f, out=next_f)
            spare.extend()
            rows, spare = spare, rows
        self.rows, self.spare = rows, spare

    def _follow_settled(self, y: Array) -> None:
        """Moments with gains that no longer change: k is k / f, and the state a alone."""
        rows, spare, k = self.rows, self.spare, self.k
        for value, (part, error, _, _, _) in zip(y, self.moments, strict=False):
            np.subtract(rows.first, value, out=part)
            torch.addcmul(rows.next, k, error, out=spare.now)
            spare.extend()
            rows, spare = spare, rows
        self.rows, self.spare = rows, spare
