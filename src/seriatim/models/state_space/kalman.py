"""The linear-Gaussian state-space model: Kalman's filter, exactly, with gaps.

    x_1 ~ N(a, P),   x_{t+1} = F x_t + w_t,   y_t = c + H x_t + v_t,   w ~ N(0, Q),   v ~ N(0, R)

A moment at which nothing was observed is predicted over; of a partly observed one the rows of H
and R that were observed count, which is the exact marginal. In float64, and differentiable.

Sources: Kalman 1960; Durbin and Koopman, Time Series Analysis by State Space Methods, 2012,
chapters 4 and 5 (the exact diffuse start).

Shapes: B rows, T moments, m states, D channels. Matrices may lack the batch axis.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.values import Values

LOG_2PI = math.log(2 * math.pi)
_NO_LONGER_DIFFUSE = 1e-9


@tree.register
@dataclass(frozen=True)
class System:
    """The matrices of a model.

    Attributes:
        transition: F, (m, m) or (B, m, m).
        observation: H, (D, m) or (B, D, m).
        transition_covariance: Q, (m, m) or (B, m, m).
        observation_covariance: R, (D, D) or (B, D, D).
        offset: c, (D,) or (B, D); None: 0.
    """

    transition: Tensor
    observation: Tensor
    transition_covariance: Tensor
    observation_covariance: Tensor
    offset: Tensor | None = None


@tree.register
@dataclass(frozen=True)
class Belief:
    """What is known of the state of a moment: N(mean, covariance + k diffuse) with k to infinity.

    Attributes:
        mean: a, (B, m).
        covariance: P, (B, m, m).
        diffuse: (B, m, m) the directions of which nothing is known yet; None: there are none.
    """

    mean: Tensor
    covariance: Tensor
    diffuse: Tensor | None = None


@dataclass(frozen=True)
class Updated:
    """What the values of one moment change.

    Attributes:
        belief: of the state, given these values too.
        log_likelihood: (B,) nats of the observed channels given the moments before.
        gain: K, (B, m, D); 0 for missing channels.
        residual: y - c - H a, (B, D); 0 for missing channels.
        information: S^-1, (B, D, D), 0 for missing channels.
    """

    belief: Belief
    log_likelihood: Tensor
    gain: Tensor
    residual: Tensor
    information: Tensor


def predict(system: System, belief: Belief) -> Belief:
    """The belief of the next moment: F a and F P F' + Q."""
    F = system.transition
    diffuse = None if belief.diffuse is None else F @ belief.diffuse @ F.mT
    return Belief(
        _apply(F, belief.mean), F @ belief.covariance @ F.mT + system.transition_covariance, diffuse
    )


def update(system: System, belief: Belief, y: Values) -> Updated:
    """The belief after the values (B, D) of its moment; a diffuse one by `update_diffuse`."""
    if belief.diffuse is not None:
        return update_diffuse(system, belief, y)
    residual = _residual(system, belief.mean, y)
    H, R = _observed_part(system, y.is_observed)
    PH = belief.covariance @ H.mT
    S = H @ PH + R
    if S.shape[-1] == 1:
        inverse, log_det = 1 / S, S[..., 0, 0].log()
    else:
        root = torch.linalg.cholesky(S)
        inverse = torch.cholesky_inverse(root)
        log_det = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    gain = PH @ inverse
    square = (_apply(inverse, residual) * residual).sum(-1)
    count = y.is_observed.sum(-1).to(S)
    covariance = belief.covariance - gain @ PH.mT
    return Updated(
        Belief(belief.mean + _apply(gain, residual), 0.5 * (covariance + covariance.mT)),
        -0.5 * (square + log_det + count * LOG_2PI),
        gain,
        residual,
        torch.where(_both(y.is_observed), inverse, 0.0),
    )


def update_diffuse(system: System, belief: Belief, y: Values) -> Updated:
    """`update` of an exactly diffuse belief, one channel after another (Koopman, Durbin 2000).

    A channel that first tells of a diffuse direction has the log-likelihood -ln(2 pi f) / 2, with
    f the diffuse part of its variance. Gain and information are not computed (0).

    Raises:
        NotImplementedError: if channels have correlated noise.
    """
    R = system.observation_covariance
    if bool((R - torch.diag_embed(R.diagonal(dim1=-2, dim2=-1))).any()):
        raise NotImplementedError("a diffuse start with correlated noise of channels")
    a, P, Pi = belief.mean, belief.covariance, belief.diffuse
    assert Pi is not None
    total = torch.zeros_like(a[:, 0])
    first = _residual(system, a, y)
    for d in range(y.numbers.shape[-1]):
        h = system.observation[..., d, :].expand_as(a)
        is_seen = y.is_observed[:, d]
        c = 0.0 if system.offset is None else system.offset[..., d]
        v = torch.where(is_seen, y.numbers[:, d] - c - (h * a).sum(-1), 0.0)
        M, Mi = _apply(P, h), _apply(Pi, h)
        f, fi = (h * M).sum(-1) + R[..., d, d], (h * Mi).sum(-1)
        tells = is_seen & (fi > _NO_LONGER_DIFFUSE)
        plain = is_seen & ~tells
        fi, f_safe = torch.where(tells, fi, 1.0), torch.where(is_seen, f, 1.0)
        M, Mi = M * is_seen[:, None], Mi * tells[:, None]
        k, ki = M / f_safe[:, None], Mi / fi[:, None]
        a = a + torch.where(tells[:, None], ki, k) * v[:, None]
        cross = _outer(M, ki)
        diffuse = P - cross - cross.mT + _outer(ki, ki) * f_safe[:, None, None]
        P = torch.where(tells[:, None, None], diffuse, P - _outer(k, M))
        Pi = Pi - _outer(ki, Mi)
        each = torch.where(tells, fi.log(), f_safe.log() + v.square() / f_safe)
        total = total - 0.5 * torch.where(tells | plain, each + LOG_2PI, 0.0)
    remains = None if float(Pi.detach().abs().max()) < _NO_LONGER_DIFFUSE else Pi
    D, m = first.shape[-1], a.shape[-1]
    return Updated(
        Belief(a, P, remains), total, a.new_zeros(len(a), m, D), first, a.new_zeros(len(a), D, D)
    )


@dataclass(frozen=True)
class Filtered:
    """The filter over T moments.

    Attributes:
        log_likelihood: (B, T) nats of the observed channels of each moment, given those before.
        mean: (B, T, m) of the state of each moment given the moments before it.
        covariance: (B, T, m, m) the same.
        last: the belief of the moment after the last one.
        updates: what each moment changed.
    """

    log_likelihood: Tensor
    mean: Tensor
    covariance: Tensor
    last: Belief
    updates: tuple[Updated, ...]


def kalman_filter(system: System, first: Belief, y: Values) -> Filtered:
    """Filter the values (B, T, D) of B series, whose gaps need not be at the same moments.

    Args:
        system: the model.
        first: the belief of the first moment; with a `diffuse` part the log-likelihood is the
            exact diffuse one.
        y: the values.
    """
    belief, beliefs, updates = first, [], []
    for t in range(y.numbers.shape[1]):
        beliefs.append(belief)
        step = update(system, belief, Values(y.numbers[:, t], y.is_observed[:, t]))
        updates.append(step)
        belief = predict(system, step.belief)
    return Filtered(
        torch.stack([u.log_likelihood for u in updates], 1),
        torch.stack([b.mean for b in beliefs], 1),
        torch.stack([b.covariance for b in beliefs], 1),
        belief,
        tuple(updates),
    )


@dataclass(frozen=True)
class Smoothed:
    """The distribution of every state given all values, past and future.

    Attributes:
        mean: (B, T, m).
        covariance: (B, T, m, m).
        lagged: (B, T - 1, m, m) the covariance of the state of a moment, in the columns, with the
            one after it, in the rows.
    """

    mean: Tensor
    covariance: Tensor
    lagged: Tensor


def smooth_states(system: System, filtered: Filtered, y: Values) -> Smoothed:
    """Smooth backwards what was filtered, without an inverse of a covariance (de Jong 1989).

    Equal to the smoother of Rauch, Tung and Striebel (1965), and defined where a covariance is
    singular too, as that of an autoregression is. The start must be proper, not diffuse.
    """
    F, P, a = system.transition, filtered.covariance, filtered.mean
    r, N = torch.zeros_like(a[:, 0]), torch.zeros_like(P[:, 0])
    identity = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    means, covariances, lagged = [], [], []
    for t in reversed(range(a.shape[1])):
        step = filtered.updates[t]
        H, _ = _observed_part(system, y.is_observed[:, t])
        L = F @ (identity - step.gain @ H)
        if t + 1 < a.shape[1]:
            lagged.append((identity - P[:, t + 1] @ N) @ L @ P[:, t])
        r = _apply(H.mT, _apply(step.information, step.residual)) + _apply(L.mT, r)
        N = H.mT @ step.information @ H + L.mT @ N @ L
        means.append(a[:, t] + _apply(P[:, t], r))
        V = P[:, t] - P[:, t] @ N @ P[:, t]
        covariances.append(0.5 * (V + V.mT))
    none = P[:, :0]
    return Smoothed(
        torch.stack(means[::-1], 1),
        torch.stack(covariances[::-1], 1),
        torch.stack(lagged[::-1], 1) if lagged else none,
    )


@dataclass(frozen=True)
class SmoothedValues:
    """The distribution of every value given all that was observed; an observed one is itself.

    Attributes:
        mean: (B, T, D).
        covariance: (B, T, D, D); 0 for observed channels.
        with_state: (B, T, D, m) the covariance of the values with the state.
    """

    mean: Tensor
    covariance: Tensor
    with_state: Tensor


def smooth_values(system: System, smoothed: Smoothed, y: Values) -> SmoothedValues:
    """The values of all moments; a missing channel also follows the noise of observed ones."""
    R, H = system.observation_covariance, system.observation
    if R.ndim == 3:
        R, H = R[:, None], H[:, None] if H.ndim == 3 else H
    c = 0.0 if system.offset is None else system.offset
    if isinstance(c, Tensor) and c.ndim == 2:
        c = c[:, None]
    both = _both(y.is_observed)
    identity = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device)
    is_seen = y.is_observed[..., None, :]
    # Where R is 0, an observed value is known through the state as well as by itself.
    noise = torch.where(is_seen, R.expand(both.shape), 0.0)
    G = torch.linalg.lstsq(_masked(R, y.is_observed).mT, noise.mT).solution.mT
    G = torch.where(y.is_observed[..., :, None], identity.expand(both.shape) * is_seen, G)
    fitted = c + _apply(H, smoothed.mean)
    rest = torch.where(y.is_observed, y.numbers - fitted, 0.0)
    A = H - G @ (H * y.is_observed[..., None])
    covariance = A @ smoothed.covariance @ A.mT + R - G @ torch.where(is_seen.mT, R, 0.0)
    covariance = torch.where(_either(y.is_observed), 0.0, covariance)
    return SmoothedValues(fitted + _apply(G, rest), covariance, A @ smoothed.covariance)


def ahead(system: System, belief: Belief, horizon: int) -> tuple[Tensor, Tensor]:
    """Means (B, H, D) and covariances (B, H, D, D) of the values of the belief's moment and on."""
    means, covariances = [], []
    for _ in range(horizon):
        mean, covariance = values_of(system, belief)
        means.append(mean)
        covariances.append(covariance)
        belief = predict(system, belief)
    return torch.stack(means, 1), torch.stack(covariances, 1)


def values_of(system: System, belief: Belief) -> tuple[Tensor, Tensor]:
    """The mean (B, D) and covariance (B, D, D) of the values of a moment."""
    H = system.observation
    mean = _apply(H, belief.mean)
    if system.offset is not None:
        mean = mean + system.offset
    return mean, H @ belief.covariance @ H.mT + system.observation_covariance


def stationary_covariance(transition: Tensor, noise: Tensor) -> Tensor:
    """The P = F P F' + Q of a stable F, by doubling: sum_k F^k Q F'^k.

    Raises:
        ValueError: if F is not stable.
    """
    P, F = noise, transition
    for _ in range(64):
        step = F @ P @ F.mT
        P = P + step
        F = F @ F
        if not bool(P.isfinite().all()):
            break
        if float(step.abs().max()) <= 1e-17 * float(P.abs().max()):
            return 0.5 * (P + P.mT)
    raise ValueError("a transition that is not stable has no stationary distribution")


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def _outer(x: Tensor, y: Tensor) -> Tensor:
    return x[..., :, None] * y[..., None, :]


def _both(is_observed: Tensor) -> Tensor:
    return is_observed[..., :, None] & is_observed[..., None, :]


def _either(is_observed: Tensor) -> Tensor:
    return is_observed[..., :, None] | is_observed[..., None, :]


def _masked(R: Tensor, is_observed: Tensor) -> Tensor:
    """R with a missing channel alone, of variance 1."""
    identity = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device)
    return torch.where(_both(is_observed), R, identity)


def _residual(system: System, mean: Tensor, y: Values) -> Tensor:
    fitted = _apply(system.observation, mean)
    if system.offset is not None:
        fitted = fitted + system.offset
    return torch.where(y.is_observed, y.numbers - fitted, 0.0)


def _observed_part(system: System, is_observed: Tensor) -> tuple[Tensor, Tensor]:
    """H (B, D, m) without missing channels, and R (B, D, D) with variance 1 for them."""
    H = system.observation * is_observed[..., None]
    return H, _masked(system.observation_covariance, is_observed)
