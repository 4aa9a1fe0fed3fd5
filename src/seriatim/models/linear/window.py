"""Filtering with the last q moments as the state, exactly under gaps.

    x_t = u_t + sum_{i=1..q} A_i x_{t-i} + e_t,    e_t ~ N(0, S)

The state of a row is the last q moments. A value that was observed is known; the mean of one that
was missing is kept in its place, and the missing ones alone have a covariance. So nothing is
approximated, a window without gaps costs one product, and a gap costs M^2 for M missing values of
the window, where a Kalman filter costs (q E)^2.

With a the coefficients of the missing values, m and P their means and covariance:

    mean of x_t = u_t + sum A_i E[x_{t-i}],   C = P a,   V = S + a' C
    x_t observed: m += C V^-1 (x_t - mean),   P -= C V^-1 C'
    x_t missing:  it joins the missing values with covariance C to the others, and variance V

A vector of which some channels were observed does both.

Shapes: R rows, L moments of a chunk, q moments of the window, E channels that depend on one
another, M slots for missing values. Slots are places in the window, oldest first: moment * E +
channel; negative ones hold nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from seriatim.core import tree

_CELLS = 2**22  # numbers of windows that are laid out side by side at once


@tree.register
@dataclass(frozen=True)
class PastWindow(tree.Node):
    """The last q moments of R rows, or of B rows of C parts.

    Attributes:
        values: (R, q, E) the moments, oldest first; the means of those that were missing.
        slots: (R, M) the places of missing values, in 0 .. q E - 1; -1: none.
        covariance: (R, M, M) of the missing values.
    """

    values: Tensor
    slots: Tensor
    covariance: Tensor

    @classmethod
    def known(cls, values: Tensor) -> "PastWindow":
        """The window of values (R, q, E), all of which are known."""
        rows = values.shape[0]
        slots = torch.zeros(rows, 0, dtype=torch.int64, device=values.device)
        return cls(values, slots, values.new_zeros(rows, 0, 0))

    @classmethod
    def uncertain(cls, means: Tensor, covariance: Tensor) -> "PastWindow":
        """The window of means (R, q, E) and a covariance (R, q E, q E) of all of them."""
        rows, q, E = means.shape
        slots = torch.arange(q * E, device=means.device).expand(rows, -1)
        return cls(means, slots, covariance)

    def parts(self) -> tuple[tuple[Tensor, ...], tuple[()]]:
        return (self.values, self.slots, self.covariance), ()

    @classmethod
    def build(cls, subtrees: tuple[Tensor, ...], static: tuple[object, ...]) -> Self:
        return cls(*subtrees)

    @classmethod
    def cat_rows(cls, nodes: Sequence[Self]) -> Self:
        size = max(node.slots.shape[-1] for node in nodes)
        wide = [node.with_slots(size) for node in nodes]
        return cls(*(torch.cat(part) for part in zip(*(n.parts()[0] for n in wide), strict=True)))

    def merged(self) -> "PastWindow":
        """B rows of C parts as B C rows."""
        return PastWindow(*(t.flatten(0, 1) for t in self.parts()[0]))

    def split(self, rows: int) -> "PastWindow":
        """The inverse of `merged`, for B rows."""
        return PastWindow(*(split_rows(t, rows) for t in self.parts()[0]))

    def with_slots(self, size: int) -> Self:
        """The same window with room for `size` missing values, at least as many as it has."""
        more = size - self.slots.shape[-1]
        if more == 0:
            return self
        slots = torch.nn.functional.pad(self.slots, (0, more), value=-1)
        covariance = torch.nn.functional.pad(self.covariance, (0, more, 0, more))
        return type(self)(self.values, slots, covariance)


def split_rows(x: Tensor, rows: int) -> Tensor:
    """(B C, ...) -> (B, C, ...)."""
    return x.reshape(rows, x.shape[0] // max(rows, 1), *x.shape[1:])


@dataclass(frozen=True)
class Equation:
    """The coefficients of R rows, in the order of a window.

    Attributes:
        weights: (R, q E, E) the coefficients of the window's places, oldest first.
        noise: (R, E, E) S.
    """

    weights: Tensor
    noise: Tensor


@dataclass
class FoldedChunk:
    """What a chunk left behind.

    Attributes:
        means: (R, L, E) of the moment after each.
        covariances: (R, L, E, E) of the moment after each.
        window: the window after each row's last moment.
        smoothed: (R, q + L, E) the means of the window's and the chunk's moments given all of it,
            and
        variances: (R, q + L, E) their variances, if that was asked for.
    """

    means: Tensor
    covariances: Tensor
    window: PastWindow
    smoothed: Tensor | None = None
    variances: Tensor | None = None


def filter_chunk(
    equation: Equation,
    window: PastWindow,
    inputs: tuple[Tensor, Tensor],
    offsets: Tensor,
    lengths: Tensor | None = None,
    *,
    smooth: bool = False,
) -> FoldedChunk:
    """Fold L moments into a window.

    Args:
        equation: the coefficients.
        window: the window before them.
        inputs: (R, L, E) the numbers, finite, and whether each was observed.
        offsets: (R, L + 1, E) u of the first moment, and of the moment after each.
        lengths: (R,) the number of valid moments of each row; None: L.
        smooth: whether the distributions of past values given later ones are needed, for which
            missing values are kept until a window is free of them.
    """
    return _Chunk(equation, window, inputs, offsets, lengths, smooth).run()


def predict(equation: Equation, window: PastWindow, offset: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (R, E) and the covariance (R, E, E) of the moment after a window.

    Args:
        equation: the coefficients.
        window: the last moments.
        offset: (R, E) u.
    """
    nothing = offset[:, None][:, :0]
    chunk = _Chunk(equation, window, (nothing, nothing.bool()), offset[:, None], None, False)
    mean, _, covariance = chunk._predict(0)
    return mean, covariance


class _Chunk:
    """The moments of a chunk behind the window before it; slots count from the window's first."""

    def __init__(
        self,
        equation: Equation,
        window: PastWindow,
        inputs: tuple[Tensor, Tensor],
        offsets: Tensor,
        lengths: Tensor | None,
        smooth: bool,
    ) -> None:
        numbers, observed = inputs
        self.rows, self.length, self.E = numbers.shape
        self.q = window.values.shape[1]
        self.equation, self.offsets, self.smooth = equation, offsets, smooth
        self.lengths, self.device = lengths, numbers.device
        self.numbers = numbers
        at = torch.arange(self.length, device=self.device)
        self.active = None if lengths is None else at < lengths.to(self.device)[:, None]
        self.observed = observed if self.active is None else observed & self.active[..., None]
        self.missing = ~observed if self.active is None else ~observed & self.active[..., None]
        known = torch.where(observed, numbers, 0.0)
        self.buffer = torch.cat([window.values, known], 1).flatten(1)
        self.slots, self.covariance = window.slots, window.covariance
        self.is_own = False  # whether slots and covariance may be modified
        self.next: tuple[int, tuple[Tensor, Tensor, Tensor]] | None = None
        size = equation.weights.shape[1]
        zero = equation.weights.new_zeros(self.rows, 1, self.E)
        self.padded = torch.cat([equation.weights, zero], 1)
        self.empty_slot = size
        self.means = numbers.new_empty(self.rows, self.length, self.E)
        shape = (self.rows, self.length, self.E, self.E)
        self.covariances = equation.noise[:, None].expand(shape)
        self.variances = torch.zeros_like(self.buffer) if smooth else None

    def run(self) -> FoldedChunk:
        gaps = self.missing.any(-1).any(0).nonzero()[:, 0].tolist()
        t, next_gap = 0, 0
        while t < self.length:
            while next_gap < len(gaps) and gaps[next_gap] < t:
                next_gap += 1
            if self.slots.shape[1] == 0:
                stop = gaps[next_gap] if next_gap < len(gaps) else self.length
                if stop > t:
                    self._known(t, stop)
                    t = stop
                    continue
            self._step(t)
            t += 1
        window = self._last()
        if self.smooth:
            self._settle(torch.ones(self.rows, dtype=torch.bool, device=self.device))
            shape = (self.rows, self.q + self.length, self.E)
            assert self.variances is not None
            past = self.buffer.view(shape), self.variances.view(shape)
            return FoldedChunk(self.means, self.covariances, window, *past)
        return FoldedChunk(self.means, self.covariances, window)

    # ---- moments in whose windows nothing is missing --------------------------------------------

    def _known(self, start: int, stop: int) -> None:
        """Predictions after the moments start .. stop - 1: products of whole windows."""
        E, q = self.E, self.q
        if q == 0:
            self.means[:, start:stop] = self.offsets[:, start + 1 : stop + 1]
            return
        step = max(1, _CELLS // (self.rows * q * E))
        flat = self.buffer.unfold(1, q * E, E)  # (R, L + 1, q E)
        for a in range(start, stop, step):
            b = min(stop, a + step)
            products = flat[:, a + 1 : b + 1] @ self.equation.weights
            self.means[:, a:b] = products + self.offsets[:, a + 1 : b + 1]

    # ---- one moment after another ---------------------------------------------------------------

    def _step(self, t: int) -> None:
        at, prediction = self.next or (-1, None)
        mean, cross, variance = prediction if prediction and at == t else self._predict(t)
        self._own()
        place = (t + self.q) * self.E
        now = slice(place, place + self.E)
        observed, missing = self.observed[:, t], self.missing[:, t]
        self.buffer[:, now] = torch.where(observed, self.numbers[:, t], mean)
        for e in range(self.E):
            if bool(missing[:, e].any()):
                cross = self._join(e, place + e, missing[:, e], cross, variance, t)
        if self.slots.shape[1]:
            self._learn(observed, self.numbers[:, t] - mean, cross, variance)
        self._forget(t)
        prediction = self._predict(t + 1)
        self.means[:, t], self.covariances[:, t] = prediction[0], prediction[2]
        self.next = t + 1, prediction

    def _predict(self, t: int) -> tuple[Tensor, Tensor, Tensor]:
        """The mean (R, E) of moment t, its covariance with the slots (R, M, E), and its own."""
        start = t * self.E
        window = self.buffer[:, start : start + self.q * self.E]
        mean = (window[:, None] @ self.equation.weights)[:, 0] + self.offsets[:, t]
        if self.slots.shape[1] == 0:
            return mean, self.buffer.new_zeros(self.rows, 0, self.E), self.equation.noise
        place = self.slots - start
        place = torch.where(place < 0, self.empty_slot, place)
        weights = self.padded.gather(1, place[..., None].expand(-1, -1, self.E))
        cross = self.covariance @ weights
        return mean, cross, self.equation.noise + weights.mT @ cross

    def _join(
        self, e: int, place: int, rows: Tensor, cross: Tensor, variance: Tensor, t: int
    ) -> Tensor:
        """Give a slot to channel e of moment t in rows (R,); returns the covariances with it."""
        free = self.slots < (self.slots.new_zeros(self.rows, 1) if self.smooth else t * self.E)
        if not bool((free.any(1) | ~rows).all()):
            more = max(1, self.slots.shape[1] // 2)
            wide = PastWindow(self.buffer, self.slots, self.covariance)
            wide = wide.with_slots(self.slots.shape[1] + more)
            self.slots, self.covariance = wide.slots, wide.covariance
            cross = torch.nn.functional.pad(cross, (0, 0, 0, more))
            free = torch.nn.functional.pad(free, (0, more), value=True)
        row = rows.nonzero()[:, 0]
        column = free.int().argmax(1)[row]
        shared = torch.where(free[row], 0.0, cross[row, :, e])
        cross = cross.clone()
        cross[row, column] = variance[row, e]
        self.slots[row, column] = place
        self.covariance[row, column] = shared
        self.covariance[row, :, column] = shared
        self.covariance[row, column, column] = variance[row, e, e]
        return cross

    def _learn(self, observed: Tensor, residual: Tensor, cross: Tensor, variance: Tensor) -> None:
        """Condition the missing values on the channels that were observed."""
        if self.E == 1:
            gain = torch.where(observed[:, None], cross / variance, 0.0)
        else:
            both = observed[:, None] & observed[:, :, None]
            seen = torch.where(both, variance, torch.eye(self.E).to(variance))
            cross = torch.where(observed[:, None], cross, 0.0)
            gain = torch.linalg.solve(seen, cross.mT).mT
            residual = torch.where(observed, residual, 0.0)
        change = (gain @ residual[..., None])[..., 0]
        used = self.slots >= 0
        self.buffer.scatter_add_(1, self.slots.clamp(min=0), torch.where(used, change, 0.0))
        self.covariance -= gain @ cross.mT

    def _forget(self, t: int) -> None:
        """Drop the slots that have left every window; when smoothing, those of clean windows."""
        start = self.slots.new_tensor((t + 1) * self.E)
        if self.smooth:
            self._settle((self.slots < start).all(1))
            start = self.slots.new_tensor(0)
        elif self.lengths is not None:  # a row that has ended keeps its window
            start = torch.minimum(start, self.lengths.to(self.device)[:, None] * self.E)
        if not bool((self.slots >= start).any()):
            self.slots = self.slots[:, :0]
            self.covariance = self.covariance[:, :0, :0]

    def _settle(self, rows: Tensor) -> None:
        """Write down the variances of rows (R,) whose missing values nothing later can change."""
        assert self.variances is not None
        done = (self.slots >= 0) & rows[:, None]
        if not bool(done.any()):
            return
        self._own()
        row, column = done.nonzero(as_tuple=True)
        self.variances[row, self.slots[row, column]] = self.covariance[row, column, column]
        self.slots[row, column] = -1

    def _own(self) -> None:
        if not self.is_own:
            self.slots, self.covariance = self.slots.clone(), self.covariance.clone()
            self.covariances = self.covariances.clone()
            self.is_own = True

    # ---- the results ----------------------------------------------------------------------------

    def _last(self) -> PastWindow:
        """The window after each row's last moment, with as few slots as possible."""
        E, q = self.E, self.q
        if self.lengths is None:
            values = self.buffer[:, self.length * E :].reshape(self.rows, q, E)
            slots = self.slots - self.length * E
        else:
            start = self.lengths.to(self.device)[:, None] * E
            at = start + torch.arange(q * E, device=self.device)
            values = self.buffer.gather(1, at).view(self.rows, q, E)
            slots = self.slots - start
        if slots.shape[1] == 0:
            return PastWindow.known(values)
        dead, order = (slots < 0).int().sort(dim=1, stable=True)
        size = int((dead == 0).sum(1).max())
        order = order[:, :size]
        slots = slots.gather(1, order).clamp(min=-1)
        across = order[:, :, None].expand(-1, -1, self.covariance.shape[2])
        covariance = self.covariance.gather(1, across)
        covariance = covariance.gather(2, order[:, None].expand(-1, size, -1))
        both = (slots >= 0)[:, :, None] & (slots >= 0)[:, None]
        return PastWindow(values, slots, torch.where(both, covariance, 0.0))
