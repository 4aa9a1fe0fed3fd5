"""Functions that torch lacks: the regularized incomplete beta function, and inverses by bisection.

In float64, without gradients: for distribution functions and quantiles, not for training.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_TINY = 1e-300
_EPSILON = 2.0**-52


@torch.no_grad()
def betainc(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """I_x(a, b) = B(a, b)^-1 int_0^x t^(a-1) (1 - t)^(b-1) dt, in float64; shapes broadcast.

    By the continued fraction of Didonato and Morris 1992, which converges in
    O(sqrt(max(a, b))) terms below the mean of the distribution; above it, 1 - I_y(b, a).

    Args:
        a: positive.
        b: positive.
        x: in [0, 1].
        y: 1 - x, given as well so that neither is rounded where the other is near 1.
    """
    a, b, x, y = torch.broadcast_tensors(a.double(), b.double(), x.double(), y.double())  # type: ignore[no-untyped-call]
    is_high = x * (a + b) > a  # above the mean of the distribution
    a, b = torch.where(is_high, b, a), torch.where(is_high, a, b)
    x, y = torch.where(is_high, y, x), torch.where(is_high, x, y)
    scale = torch.xlogy(a, x) + torch.xlogy(b, y) - _log_beta(a, b)
    low = scale.exp() * _fraction(a, b, x, y)
    return torch.where(is_high, 1.0 - low, low).clamp(0.0, 1.0)


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def _fraction(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """alpha_1 / (beta_1 + alpha_2 / (beta_2 + ...)) by the method of Lentz."""
    shape = a.shape
    a, b, x, y = (t.reshape(-1) for t in (a, b, x, y))
    result = torch.zeros_like(a)
    index = torch.arange(a.numel(), device=a.device)
    f, c, d = torch.full_like(a, _TINY), torch.full_like(a, _TINY), torch.zeros_like(a)
    alpha = torch.ones_like(a)
    n = 0
    while index.numel():
        if n:
            twice = a + (2 * n - 1)
            alpha = (a + (n - 1)) * (a + b + (n - 1)) * n * (b - n) * x.square() / twice.square()
        beta = n + n * (b - n) * x / (a + (2 * n - 1)) if n else torch.zeros_like(a)
        beta = beta + (a + n) / (a + (2 * n + 1)) * (a - (a + b) * x + 1 + n * (1 + y))
        d = beta + alpha * d
        d = torch.where(d == 0, _TINY, d).reciprocal()
        c = beta + alpha / c
        c = torch.where(c == 0, _TINY, c)
        f = f * c * d
        n += 1
        is_done = ((c * d - 1).abs() <= 2 * _EPSILON) | (x == 0)
        if n % 8 == 0 or bool(is_done.all()):
            is_done |= n > 100_000
            result[index[is_done]] = f[is_done]
            alive = ~is_done
            index = index[alive]
            a, b, x, y, f, c, d = (t[alive] for t in (a, b, x, y, f, c, d))
    return result.view(shape)


@torch.no_grad()
def bisect(cdf: Callable[[Tensor], Tensor], u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The x in [low, high] with cdf(x) = u, to the last bit or two of float64.

    Args:
        cdf: non-decreasing, elementwise.
        u: the values to be reached.
        low: with cdf(low) <= u.
        high: with cdf(high) >= u.
    """
    low, high = low.double().clone(), high.double().clone()
    for _ in range(1100):  # a bracket of any two numbers of float64 is halved to a point in these
        middle = low + (high - low) / 2
        if bool(((middle == low) | (middle == high)).all()):
            break
        is_below = cdf(middle) < u
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return high


@torch.no_grad()
def smallest_count(
    cdf: Callable[[Tensor], Tensor], u: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """The smallest integer x >= 0 with cdf(x) >= u, by bisection in the bracket of Cantelli.

    Cantelli's inequality: mean - s sqrt((1 - u) / u) <= x <= mean + s sqrt(u / (1 - u)).

    Args:
        cdf: of counts, elementwise.
        u: in (0, 1).
        mean: of the distribution.
        variance: of the distribution.
    """
    u, mean, scale = u.double(), mean.double(), variance.double().sqrt()
    low = (mean - scale * ((1 - u) / u).sqrt() - 1).floor().clamp_min(-1.0)
    high = (mean + scale * (u / (1 - u)).sqrt() + 1).ceil()
    low, high, u = torch.broadcast_tensors(low, high, u)  # type: ignore[no-untyped-call]
    while bool((high - low > 1).any()):
        middle = ((low + high) / 2).floor()
        is_below = cdf(middle) < u
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return high
