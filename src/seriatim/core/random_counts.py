"""Random numbers of the gamma and Poisson distributions, each from the counter of its row.

An inverse distribution function of counts takes an incomplete beta or gamma function for every
guess; these take a few uniforms. A number is drawn again until it is accepted, from the uniforms of
its own counter, so that it does not depend on the others.

Sources: Marsaglia, Tsang 2000 (gamma); Hoermann 1993, PTRS (Poisson).

Shapes: N numbers.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.distributions import uniforms

Ints = NDArray[np.int64]
Attempt = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # of parameters and uniforms

FEW = 10.0  # the greatest mean of counts that are found by adding up probabilities
_STRIDE = 2**20  # attempts of one kind of number


def gamma_variates(shape: Tensor, keys: Ints) -> Tensor:
    """(N,) numbers of gamma distributions with these shapes (N,), positive, and scale 1; float64.

    Args:
        shape: (N,).
        keys: (N,) the counter of each number.
    """
    a = shape.double()
    is_small = a < 1
    drawn = _accepted(_marsaglia_tsang, torch.where(is_small, a + 1, a), keys, 0)
    u = _uniform(keys, 3 * _STRIDE)
    return drawn * torch.where(is_small, (u.log() / a).exp(), 1.0)


def poisson_variates(mean: Tensor, keys: Ints) -> Tensor:
    """(N,) counts of Poisson distributions with these means (N,), in float64.

    Args:
        mean: (N,) not negative.
        keys: (N,) the counter of each count.
    """
    mean = mean.double()
    few = (mean < FEW).nonzero()[:, 0]
    many = (mean >= FEW).nonzero()[:, 0]
    counts = torch.zeros_like(mean)
    counts[few] = _added_up(mean[few], _uniform(keys[few.numpy()], 4 * _STRIDE))
    counts[many] = _accepted(_hoermann, mean[many], keys[many.numpy()], 5 * _STRIDE)
    return counts


def _uniform(keys: Ints, step: int) -> Tensor:
    return uniforms(0, keys, step).clamp(2.0**-54, 1.0 - 2.0**-53)


def _accepted(attempt: Attempt, parameter: Tensor, keys: Ints, first: int) -> Tensor:
    """The first accepted attempt of each number."""
    drawn = torch.zeros_like(parameter)
    left = torch.arange(len(parameter))
    step = first
    while len(left):
        own = keys[left.numpy()]
        value, is_accepted = attempt(parameter[left], _uniform(own, step), _uniform(own, step + 1))
        drawn[left[is_accepted]] = value[is_accepted]
        left = left[~is_accepted]
        step += 2
    return drawn


def _marsaglia_tsang(a: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    d = a - 1 / 3
    x = torch.special.ndtri(u)
    cube = (1 + x / (9 * d).sqrt()) ** 3
    inside = cube > 0
    cube = torch.where(inside, cube, 1.0)
    return d * cube, inside & (v.log() < 0.5 * x.square() + d - d * cube + d * cube.log())


def _hoermann(mean: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    b = 0.931 + 2.53 * mean.sqrt()
    a = -0.059 + 0.02483 * b
    u = u - 0.5
    us = 0.5 - u.abs()
    k = ((2 * a / us + b) * u + mean + 0.43).floor()
    at_once = (us >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
    out = (k < 0) | ((us < 0.013) & (v > us))
    k_safe = k.clamp_min(0)
    bound = k_safe * mean.log() - mean - torch.lgamma(k_safe + 1)
    squeezed = (v * (1.1239 + 1.1328 / (b - 3.4)) / (a / us.square() + b)).log() <= bound
    return k, at_once | (~out & squeezed)


def _added_up(mean: Tensor, u: Tensor) -> Tensor:
    """The smallest k with P(0) + .. + P(k) >= u."""
    p = (-mean).exp()
    below, counts = p.clone(), torch.zeros_like(mean)
    k = 0
    while k < 200:  # of a mean of 10: far beyond any uniform of 53 bits
        above = below < u
        if not bool(above.any()):
            break
        k += 1
        counts += above
        p = p * mean / k
        below += p
    return counts
