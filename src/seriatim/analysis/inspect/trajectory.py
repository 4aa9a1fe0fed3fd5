"""How a state moves while a text is read: its path, its speed, and how long it stays similar.

    path          the two directions in which the states s_t vary most (principal components)
    speed         |s_t - s_{t-1}| / (root mean square of |s - mean|), per symbol
    half-life     the first lag k at which the autocorrelation
                      rho(k) = sum_t <z_t, z_{t+k}> / sum_t <z_t, z_t>,    z = s - mean,
                  has fallen to 1/2, interpolated linearly between two lags

Knows states as tensors; no model and no text.

Shapes: T positions, D units.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_LENGTH = 16  # the fewest positions in all passages for a half-life


@dataclass(frozen=True)
class Trajectory:
    """The movement of a state over time.

    Attributes:
        path: (T, 2) the longest passage, projected on its two principal components.
        variance_fractions: the fraction of the variance along each of them.
        speed: (T,), 0 at the first position.
        half_life: the half-life of the whole state, in symbols; None if not reached in this text.
        unit_half_lives: (D,) those of each unit; NaN if not reached, or if the unit is constant.
    """

    path: Tensor
    variance_fractions: tuple[float, float]
    speed: Tensor
    half_life: float | None
    unit_half_lives: Tensor


def follow(passages: Sequence[Tensor]) -> Trajectory:
    """The trajectory of states (T, D) of each passage, one state after each symbol.

    Path and speed are those of the longest passage; half-lives are over all passages together.
    """
    longest = max(passages, key=len)
    path, fractions = project(longest)
    product, pairs = autocovariance(passages)
    units = [half_life(unit, pairs) for unit in product.unbind(1)]
    return Trajectory(
        path=path,
        variance_fractions=fractions,
        speed=speed(longest),
        half_life=half_life(product.sum(1), pairs),
        unit_half_lives=torch.tensor(
            [float("nan") if life is None else life for life in units], dtype=torch.float64
        ),
    )


def project(states: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """(T, 2) coordinates on the two principal components, and their fractions of the variance.

    The components are the first right singular vectors of z, computed as eigenvectors of z^T z,
    since a text is longer than a state is wide. Signs are arbitrary; here the largest coordinate
    on each component is positive.
    """
    z = states.double() - states.double().mean(0)
    variances, vectors = torch.linalg.eigh(z.T @ z)
    k = min(2, len(variances))
    path = torch.zeros(len(z), 2, dtype=torch.float64)
    path[:, :k] = z @ vectors.flip(1)[:, :k]
    largest = path.gather(0, path.abs().argmax(0, keepdim=True))
    path = path * torch.where(largest < 0, -1.0, 1.0)
    total = max(float(variances.sum()), 1e-300)
    fractions = [max(0.0, float(v)) / total for v in variances.flip(0)[:k]]
    return path, (fractions[0], fractions[1] if k > 1 else 0.0)


def speed(states: Tensor) -> Tensor:
    """(T,) distance from the previous state, relative to the states' spread; 0 at the first."""
    x = states.double()
    spread = (x - x.mean(0)).square().sum(1).mean().sqrt()
    distance = torch.zeros(len(x), dtype=torch.float64)
    distance[1:] = (x[1:] - x[:-1]).norm(dim=1)
    return distance / spread if float(spread) > 0 else distance


def autocovariance(passages: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(L, D) sum_t z_t z_{t+k} of each unit at lag k, and (L,) the number of pairs in it.

    z is the state minus its mean over all passages; pairs lie within one passage. Computed by FFT,
    padded so that nothing wraps around. Lags go up to half of the longest passage: few pairs are
    left beyond.
    """
    mean = torch.cat([p.double() for p in passages]).mean(0)
    lags = max(1, max(map(len, passages)) // 2)
    total = torch.zeros(lags, len(mean), dtype=torch.float64)
    pairs = torch.zeros(lags, dtype=torch.float64)
    for passage in passages:
        count = min(lags, len(passage))
        size = 1 << (2 * len(passage) - 1).bit_length()
        spectrum = torch.fft.rfft(passage.double() - mean, size, dim=0)
        total[:count] += torch.fft.irfft(spectrum.abs().square(), size, dim=0)[:count]
        pairs[:count] += len(passage) - torch.arange(count, dtype=torch.float64)
    return total, pairs


def half_life(covariance: Tensor, pairs: Tensor) -> float | None:
    """The lag at which the mean product falls to half of that at lag 0; None if it never does.

    Args:
        covariance: (L,) the sums of products at each lag.
        pairs: (L,) the number of products in each sum, since their means are compared.
    """
    if float(pairs[0]) < LEAST_LENGTH or float(covariance[0]) < 1e-12:
        return None
    rho = (covariance / pairs) / (covariance[0] / pairs[0])
    below = (rho <= 0.5).nonzero()
    if not len(below):
        return None
    k = int(below[0])
    above = float(rho[k - 1])
    return k - 1 + (above - 0.5) / (above - float(rho[k]))
