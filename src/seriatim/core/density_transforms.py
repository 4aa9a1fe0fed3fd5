"""Densities made of others: exponentials and mixtures.

The Jacobian is in `log_prob`, so that scores are in the units of the data.

Shapes: batch shape ..., D channels, K components.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seriatim.core.densities import Density, Normal, observed, sum_observed
from seriatim.core.special import bisect, smallest_count
from seriatim.core.values import Values
from seriatim.errors import ConfigError


class Exponential(Density):
    """Positive x = exp(y): ln p(x) = ln p_y(ln x) - sum_d ln x_d over the observed channels.

    The mean is E exp(y), which is infinite if y has heavy tails, such as Student's.
    """

    def __init__(self, base: Density) -> None:
        """
        Args:
            base: the distribution of y = ln x.

        Raises:
            ConfigError: if y are counts.
        """
        if base.is_count:
            raise ConfigError("the logarithms of positive numbers are not counts")
        self.base = base

    @property
    def mean(self) -> Tensor:
        return self.base.exponential_moment(torch.ones_like(self.base.mean))

    @property
    def variance(self) -> Tensor:
        square = self.base.exponential_moment(torch.full_like(self.base.mean, 2.0))
        spread = (square - self.mean.square()).clamp_min(0)
        return torch.where(square.isinf(), torch.inf, spread)

    def log_prob(self, x: Values) -> Tensor:
        """-inf at an observed value that is not positive."""
        is_positive = x.numbers > 0
        y = torch.where(is_positive, x.numbers, 1.0).log()
        log_prob = self.base.log_prob(Values(y, x.is_observed)) - sum_observed(y, x)
        is_possible = (is_positive | ~x.is_observed).all(-1)
        return torch.where(is_possible, log_prob, -torch.inf)

    def cdf(self, x: Tensor) -> Tensor:
        below = self.base.cdf(torch.where(x > 0, x, 1.0).log())
        return torch.where(x > 0, below, 0.0)

    def quantile(self, u: Tensor) -> Tensor:
        return self.base.quantile(u).exp()

    def sample(self, u: Tensor) -> Values:
        return observed(self.base.sample(u).numbers.exp())


class MixtureDensity(Density):
    """p(x) = sum_k w_k p_k(x); given the component, its channels may be independent.

    With gaps, the mixture of the marginals of the components.
    """

    def __init__(self, log_weights: Tensor, components: Sequence[Density]) -> None:
        """
        Args:
            log_weights: (..., K) ln w_k; they are normalized here.
            components: K densities of batch shape ... .

        Raises:
            ConfigError: if some are of counts and some are not.
        """
        self.is_count = components[0].is_count
        if any(c.is_count != self.is_count for c in components):
            raise ConfigError("a density and probabilities of counts cannot be mixed")
        self.log_weights = log_weights.log_softmax(-1)
        self.components = list(components)

    def _average(self, f: Callable[[Density], Tensor]) -> Tensor:
        """(..., D) sum_k w_k f(p_k)"""
        values = torch.stack([f(c) for c in self.components], -1)
        return (self.log_weights.exp()[..., None, :] * values).sum(-1)

    @property
    def mean(self) -> Tensor:
        return self._average(lambda c: c.mean)

    @property
    def variance(self) -> Tensor:
        mean = self.mean
        return self._average(lambda c: c.variance + (c.mean - mean).square())

    def log_prob(self, x: Values) -> Tensor:
        """ln sum_k w_k p_k(observed channels)"""
        each = torch.stack([c.log_prob(x) for c in self.components], -1)
        return (self.log_weights + each).logsumexp(-1)

    def cdf(self, x: Tensor) -> Tensor:
        return self._average(lambda c: c.cdf(x))

    @torch.no_grad()
    def quantile(self, u: Tensor) -> Tensor:
        """By bisection: the quantile lies between the least and the greatest of the components."""
        mean = self.mean
        if self.is_count:
            return smallest_count(self.cdf, u, mean, self.variance).to(mean)
        each = torch.stack([c.quantile(u) for c in self.components], -1)
        return bisect(lambda x: self.cdf(x.to(mean)), u, each.amin(-1), each.amax(-1)).to(mean)

    def sample(self, u: Tensor) -> Values:
        """The component by u, and a value of it by what remains of u."""
        weights = self.log_weights.double().exp()
        ends = weights.cumsum(-1)
        ends = ends / ends[..., -1:]
        u = u.double().to(ends.device)
        ends, weights = (t.expand(*u.shape, -1) for t in (ends, weights))
        k = (ends <= u[..., None]).sum(-1, keepdim=True).clamp_max(len(self.components) - 1)
        start = (ends - weights).gather(-1, k)[..., 0].clamp_min(0)
        rest = ((u - start) / weights.gather(-1, k)[..., 0]).clamp(0.0, 1.0 - 2.0**-53)
        numbers = torch.stack([c.sample(rest).numbers for c in self.components], -1)
        index = k[..., None, :].expand(*numbers.shape[:-1], 1)
        return observed(numbers.gather(-1, index)[..., 0])

    def scaled(self, scale: Tensor, shift: Tensor | None = None) -> "MixtureDensity":
        """The mixture of the scaled components."""
        return MixtureDensity(self.log_weights, [c.scaled(scale, shift) for c in self.components])

    def exponential_moment(self, t: Tensor) -> Tensor:
        """The mean of those of the components."""
        return self._average(lambda c: c.exponential_moment(t))


class NormalMixture(MixtureDensity):
    """A mixture of K normal distributions with independent channels."""

    def __init__(self, log_weights: Tensor, mean: Tensor, scale: Tensor) -> None:
        """
        Args:
            log_weights: (..., K) ln w_k, not necessarily normalized.
            mean: (..., K, D).
            scale: (..., K, D) the standard deviations, positive.
        """
        parts = zip(mean.unbind(-2), scale.unbind(-2), strict=True)
        super().__init__(log_weights, [Normal(m, s) for m, s in parts])


class Conditioned(Density):
    """A distribution given some of its channels, which are then certain, as after smoothing."""

    def __init__(self, base: Density, known: Values) -> None:
        """
        Args:
            base: the distribution of the other channels given these.
            known: (..., D) the certain values; the others are missing.
        """
        self.base, self.known, self.is_count = base, known, base.is_count

    def _unless_known(self, value: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(self.known.is_observed, value.to(otherwise), otherwise)

    @property
    def mean(self) -> Tensor:
        return self._unless_known(self.known.numbers, self.base.mean)

    @property
    def variance(self) -> Tensor:
        variance = self.base.variance
        return self._unless_known(torch.zeros_like(variance), variance)

    def log_prob(self, x: Values) -> Tensor:
        """Of the observed channels that are not certain."""
        return self.base.log_prob(Values(x.numbers, x.is_observed & ~self.known.is_observed))

    def cdf(self, x: Tensor) -> Tensor:
        return self._unless_known(x >= self.known.numbers, self.base.cdf(x))

    def quantile(self, u: Tensor) -> Tensor:
        return self._unless_known(self.known.numbers, self.base.quantile(u))

    def sample(self, u: Tensor) -> Values:
        return observed(self._unless_known(self.known.numbers, self.base.sample(u).numbers))
