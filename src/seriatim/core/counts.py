"""Distributions of counts 0, 1, 2 ...: log-probabilities in nats.

A value that is no count has log-probability -inf. In log_prob, lgamma is of float64: its
differences at large counts would be lost in float32.

Shapes: batch shape ..., D channels.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.densities import Density, channel_uniforms, observed, sum_observed
from seriatim.core.random_counts import gamma_variates, poisson_variates
from seriatim.core.special import betainc, smallest_count
from seriatim.core.values import Values
from seriatim.errors import ConfigError


class CountDensity(Density):
    """A distribution of D independent counts."""

    is_count = True

    def quantile(self, u: Tensor) -> Tensor:
        """The smallest count with P(X_d <= x_d) >= u_d."""
        return smallest_count(self.cdf, u, self.mean, self.variance).to(self.mean)


class Poisson(CountDensity):
    """p(k) = exp(-rate) rate^k / k!"""

    def __init__(self, rate: Tensor) -> None:
        """
        Args:
            rate: (..., D) the means, positive.
        """
        self.rate = rate

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def variance(self) -> Tensor:
        return self.rate

    def log_prob(self, x: Values) -> Tensor:
        """The sum over the observed channels of k ln rate - rate - ln k!"""
        k, is_count = counts(x)
        each = torch.xlogy(k, self.rate) - self.rate - torch.lgamma(k + 1)
        return sum_observed(torch.where(is_count, each, -torch.inf), x).to(self.rate)

    def cdf(self, x: Tensor) -> Tensor:
        """The upper regularized incomplete gamma function Q(floor(x) + 1, rate)."""
        k = x.double().floor()
        below = torch.special.gammaincc(k.clamp_min(0) + 1, self.rate.double())
        return torch.where(k < 0, 0.0, below).to(self.rate)

    def sample(self, u: Tensor) -> Values:
        """By Hoermann's method, from counters that each row's uniform seeds."""
        keys = channel_keys(u, self.rate.shape[-1])
        rate = self.rate.expand(keys.shape)
        drawn = poisson_variates(rate.reshape(-1).cpu(), keys.reshape(-1))
        return observed(drawn.view(rate.shape).to(rate))

    def scaled(self, scale: Tensor, shift: Tensor | None = None) -> "Poisson":
        """With the rate times the scale."""
        refuse_shift(shift)
        return Poisson(self.rate * scale)


class NegativeBinomial(CountDensity):
    """p(k) = Gamma(k + r) / (Gamma(r) k!) (r / (r + m))^r (m / (r + m))^k

    A Poisson distribution whose rate has a gamma distribution of mean m and shape r: the variance
    is m + m^2 / r.
    """

    def __init__(self, mean: Tensor, size: Tensor) -> None:
        """
        Args:
            mean: (..., D) m, positive.
            size: (..., D) r, positive; large: nearly Poisson.
        """
        shape = (mean + size).shape
        self._mean, self.size = mean.expand(shape), size.expand(shape)

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def variance(self) -> Tensor:
        return self._mean + self._mean.square() / self.size

    def log_prob(self, x: Values) -> Tensor:
        """The sum of ln p over the observed channels."""
        k, is_count = counts(x)
        m, r = self._mean.double(), self.size.double()
        ways = torch.lgamma(k + r) - torch.lgamma(r) - torch.lgamma(k + 1)
        each = ways - r * (m / r).log1p() + torch.xlogy(k, m / (r + m))
        return sum_observed(torch.where(is_count, each, -torch.inf), x).to(self._mean)

    def cdf(self, x: Tensor) -> Tensor:
        """I_p(r, floor(x) + 1) with p = r / (r + m)."""
        k, m, r = x.double().floor(), self._mean.double(), self.size.double()
        below = betainc(r, k.clamp_min(0) + 1, r / (r + m), m / (r + m))
        return torch.where(k < 0, 0.0, below).to(self._mean)

    def sample(self, u: Tensor) -> Values:
        """A count of a Poisson distribution whose rate is gamma distributed, as `Poisson`."""
        keys = channel_keys(u, self._mean.shape[-1])
        shape, keys = keys.shape, keys.reshape(-1)
        size, mean = (t.double().expand(shape).reshape(-1).cpu() for t in (self.size, self._mean))
        rate = gamma_variates(size, keys) * (mean / size)
        return observed(poisson_variates(rate, keys).view(shape).to(self._mean))

    def scaled(self, scale: Tensor, shift: Tensor | None = None) -> "NegativeBinomial":
        """With the mean times the scale; the size remains."""
        refuse_shift(shift)
        return NegativeBinomial(self._mean * scale, self.size)


def channel_keys(u: Tensor, num_channels: int) -> NDArray[np.int64]:
    """(..., D) a counter for each channel, from one uniform number (...) for each row."""
    each = channel_uniforms(u, num_channels).cpu().numpy()
    return np.ascontiguousarray(each).view(np.int64)


def counts(x: Values) -> tuple[Tensor, Tensor]:
    """The numbers as counts in float64, and whether each is one; others become 0."""
    k = x.numbers.double()
    is_count = (k >= 0) & (k == k.floor())
    return torch.where(is_count, k, 0.0), is_count


def refuse_shift(shift: Tensor | None) -> None:
    """
    Raises:
        ConfigError: if there is a shift.
    """
    if shift is not None:
        raise ConfigError("counts are scaled by their mean and cannot be shifted: leave out shift")
