"""Expectation-maximization of linear-Gaussian models, with gaps.

Each iteration smooths all series and takes the matrices that explain the smoothed moments best, so
that the likelihood never falls. Missing values are smoothed as the states are.

Sources: Shumway and Stoffer 1982; Ghahramani and Hinton, Parameter estimation for linear dynamical
systems, 1996.

Shapes: B series, T moments, m states, D channels.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from seriatim.core.values import Values
from seriatim.models.state_space.kalman import (
    Belief,
    System,
    kalman_filter,
    smooth_states,
    smooth_values,
)

Name: TypeAlias = Literal[
    "transition", "observation", "transition_covariance", "observation_covariance"
]
_LEAST = 1e-12  # of a variance, as a fraction of the greatest


@dataclass(frozen=True)
class EmResult:
    """What expectation-maximization has found.

    Attributes:
        system: the matrices.
        log_likelihoods: nats of all values, before each iteration and after the last.
    """

    system: System
    log_likelihoods: tuple[float, ...]


def fit_by_em(
    system: System,
    first: Belief,
    y: Values,
    lengths: Tensor,
    *,
    free: Collection[Name],
    is_pooled: bool,
    max_iterations: int,
    tolerance: float = 1e-7,
    progress: Callable[[int, float], None] | None = None,
) -> EmResult:
    """Fit the free matrices to series.

    Args:
        system: the matrices to start from, with a batch axis if they are of each series.
        first: the belief of the first moment, which remains.
        y: the values (B, T, D); missing beyond the end of a series.
        lengths: (B,) the moments of each series.
        free: the matrices to fit.
        is_pooled: whether all series share the matrices; otherwise their covariances alone are
            fitted, as diagonal ones.
        max_iterations: the limit of iterations.
        tolerance: the least gain, in nats per observed value, to go on for.
        progress: called with the number of the iteration and the log-likelihood.
    """
    is_inside = torch.arange(y.numbers.shape[1]) < lengths[:, None]
    count = float(y.is_observed.sum())
    found: list[float] = []
    for iteration in range(max_iterations):
        moments, log_likelihood = _expect(system, first, y, is_inside, is_pooled)
        found.append(log_likelihood)
        if progress is not None:
            progress(iteration, log_likelihood)
        if len(found) > 1 and found[-1] - found[-2] < tolerance * count:
            break
        system = _maximize(system, moments, free, is_pooled)
    else:
        found.append(float(kalman_filter(system, first, y).log_likelihood.sum()))
    return EmResult(system, tuple(found))


@dataclass(frozen=True)
class _Moments:
    """Sums over time of expected products, (B, ., .) or of all series (., .)."""

    now: Tensor  # x_t x_t' of moments with a next one
    next: Tensor  # x_t+1 x_t+1'
    both: Tensor  # x_t+1 x_t'
    state: Tensor  # x_t x_t' of all moments
    values: Tensor  # (y_t - c) (y_t - c)'
    values_state: Tensor  # (y_t - c) x_t'
    steps: Tensor
    moments: Tensor


def _expect(
    system: System, first: Belief, y: Values, is_inside: Tensor, is_pooled: bool
) -> tuple[_Moments, float]:
    filtered = kalman_filter(system, first, y)
    smoothed = smooth_states(system, filtered, y)
    values = smooth_values(system, smoothed, y)
    x, V = smoothed.mean, smoothed.covariance
    c = 0.0 if system.offset is None else system.offset
    z = values.mean - (c[:, None] if isinstance(c, Tensor) and c.ndim == 2 else c)
    xx = V + x[..., :, None] * x[..., None, :]
    lagged = smoothed.lagged + x[:, 1:, :, None] * x[:, :-1, None, :]
    inside = is_inside[..., None, None].to(x)
    steps = inside[:, 1:]

    def total(each: Tensor, weight: Tensor) -> Tensor:
        summed = (each * weight).sum(1)
        return summed.sum(0) if is_pooled else summed

    moments = _Moments(
        now=total(xx[:, :-1], steps),
        next=total(xx[:, 1:], steps),
        both=total(lagged, steps),
        state=total(xx, inside),
        values=total(values.covariance + z[..., :, None] * z[..., None, :], inside),
        values_state=total(values.with_state + z[..., :, None] * x[..., None, :], inside),
        steps=total(torch.ones_like(steps), steps),
        moments=total(torch.ones_like(inside), inside),
    )
    return moments, float(filtered.log_likelihood.sum())


def _maximize(system: System, sums: _Moments, free: Collection[Name], is_pooled: bool) -> System:
    F, H = system.transition, system.observation
    if "transition" in free:
        F = torch.linalg.solve(sums.now, sums.both.mT).mT
    if "observation" in free:
        H = torch.linalg.solve(sums.state, sums.values_state.mT).mT
    Q, R = system.transition_covariance, system.observation_covariance
    if "transition_covariance" in free:
        Q = _second_moment(sums.next, F, sums.both, sums.now, sums.steps)
    if "observation_covariance" in free:
        R = _second_moment(sums.values, H, sums.values_state, sums.state, sums.moments)
    if not is_pooled:
        is_noisy = torch.diag_embed(system.transition_covariance.diagonal(dim1=-2, dim2=-1) > 0)
        Q = torch.where(is_noisy, Q, 0.0)
        R = torch.diag_embed(R.diagonal(dim1=-2, dim2=-1))
    return replace(
        system, transition=F, observation=H, transition_covariance=Q, observation_covariance=R
    )


def _second_moment(yy: Tensor, A: Tensor, yx: Tensor, xx: Tensor, count: Tensor) -> Tensor:
    """The mean of (y - A x)(y - A x)', not below rounding."""
    cross = yx @ A.mT
    S = (yy - cross - cross.mT + A @ xx @ A.mT) / count.clamp_min(1)
    S = 0.5 * (S + S.mT)
    least = _LEAST * (yy / count.clamp_min(1)).diagonal(dim1=-2, dim2=-1).amax(-1)
    floor = torch.eye(S.shape[-1], dtype=S.dtype) * least[..., None, None]
    return S + floor
