"""Distributions of numbers: log-densities in nats, distribution functions and quantiles.

A density is over the D channels of a moment. Its `log_prob` is the *marginal* of the channels that
were observed, 0 if none was; `cdf` and `quantile` are of each channel alone.

Shapes: batch shape (B,) or (B, L), written ...; D channels.
"""

import math
from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from seriatim.core.distributions import Distribution, uniforms
from seriatim.core.values import Values


class Density(Distribution):
    """A distribution of the D numbers of the next moment."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """(..., D)"""

    @property
    @abstractmethod
    def variance(self) -> Tensor:
        """(..., D)"""

    @abstractmethod
    def log_prob(self, x: Values) -> Tensor:
        """(...) ln p(observed channels of x) in nats; for counts of a probability."""

    @abstractmethod
    def cdf(self, x: Tensor) -> Tensor:
        """(..., D) P(X_d <= x_d) of each channel, for x (..., D)."""

    @abstractmethod
    def quantile(self, u: Tensor) -> Tensor:
        """(..., D) the smallest x_d with P(X_d <= x_d) >= u_d, for u (..., D) in (0, 1)."""

    def sample(self, u: Tensor) -> Values:
        """(..., D) numbers: the inverse distribution function at u (...), uniforms in [0, 1).

        The uniform number of a row seeds the counters of its channels, if there are several.
        Overridden where channels depend on one another.
        """
        numbers = self.quantile(channel_uniforms(u, self.mean.shape[-1]).to(self.mean))
        return Values(numbers, torch.ones_like(numbers, dtype=torch.bool))


def channel_uniforms(u: Tensor, num_channels: int) -> Tensor:
    """(..., D) a uniform number in (0, 1) for each channel, from one (...) for each row."""
    if num_channels == 1:
        each = u[..., None].double()
    else:
        bits = u.double().cpu().numpy().view(np.int64)
        rows = torch.from_numpy(bits[..., None].copy())
        each = uniforms(0, rows, np.arange(num_channels)).to(u.device)
    return each.clamp(2.0**-54, 1.0 - 2.0**-53)  # a quantile at 0 or 1 may be infinite


class Normal(Density):
    """Independent channels x_d ~ N(mean_d, scale_d^2)."""

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        """
        Args:
            mean: (..., D).
            scale: (..., D) the standard deviations, positive.
        """
        shape = (mean + scale).shape
        self._mean, self.scale = mean.expand(shape), scale.expand(shape)

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def variance(self) -> Tensor:
        return self.scale.square()

    def log_prob(self, x: Values) -> Tensor:
        """Sum over the observed channels of -z^2 / 2 - ln scale - ln(2 pi) / 2."""
        z = (x.numbers - self._mean) / self.scale
        each = -0.5 * z.square() - self.scale.log() - 0.5 * math.log(2 * math.pi)
        return torch.where(x.is_observed, each, 0.0).sum(-1)

    def cdf(self, x: Tensor) -> Tensor:
        standard: Tensor = torch.special.ndtr((x - self._mean) / self.scale)
        return standard

    def quantile(self, u: Tensor) -> Tensor:
        standard: Tensor = torch.special.ndtri(u)
        return self._mean + self.scale * standard.to(self._mean)
