"""Distributions of numbers: log-densities in nats, distribution functions and quantiles.

A density is over the D channels of a moment; those of counts are in `counts`, mixtures and
exponentials in `density_transforms`. Its `log_prob` is the *marginal* of the channels that
were observed, 0 if none was; `cdf` and `quantile` are of each channel alone.

Shapes: batch shape (B,) or (B, L), written ...; D channels.
"""

import math
from abc import abstractmethod
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from seriatim.core.distributions import Distribution, uniforms
from seriatim.core.special import betainc
from seriatim.core.values import Values
from seriatim.errors import ConfigError

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Density(Distribution):
    """A distribution of the D numbers of the next moment."""

    is_count = False  # whether the numbers are counts, whose log_prob is of a probability

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """(..., D)"""

    @property
    @abstractmethod
    def variance(self) -> Tensor:
        """(..., D); infinite where the distribution has none."""

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
        numbers = self.quantile(channel_uniforms(u, self.mean.shape[-1]).to(self.mean.device))
        return observed(numbers.to(self.mean))

    def scaled(self, scale: Tensor, shift: Tensor | None = None) -> "Density":
        """The distribution of shift + scale * X; of counts, the one whose mean is scaled.

        Args:
            scale: (..., D) positive.
            shift: (..., D); None: 0.

        Raises:
            ConfigError: if counts are to be shifted.
        """
        return Affine(self, torch.zeros_like(scale) if shift is None else shift, scale)

    def exponential_moment(self, t: Tensor) -> Tensor:
        """(..., D) E exp(t_d X_d), for t (..., D); infinite where there is none."""
        return torch.full_like(self.mean + t, torch.inf)


def as_density(distribution: Distribution) -> Density:
    """The distribution, which must be one of numbers.

    Raises:
        ConfigError: if it is a distribution of something else.
    """
    if not isinstance(distribution, Density):
        raise ConfigError(
            f"this needs a model of numbers, which emits a Density such as Normal(mean, scale), "
            f"and {type(distribution).__name__} is none"
        )
    return distribution


def observed(numbers: Tensor) -> Values:
    """Numbers (..., D), all of them observed."""
    return Values(numbers, torch.ones_like(numbers, dtype=torch.bool))


def sum_observed(each: Tensor, x: Values) -> Tensor:
    """(...) the sum of the values (..., D) of the observed channels."""
    return torch.where(x.is_observed, each, 0.0).sum(-1)


def channel_uniforms(u: Tensor, num_channels: int) -> Tensor:
    """(..., D) a uniform number in (0, 1) for each channel, from one (...) for each row."""
    if num_channels == 1:
        each = u[..., None].double()
    else:
        bits = u.double().cpu().contiguous().numpy().view(np.int64)
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
        return sum_observed(-0.5 * z.square() - self.scale.log() - _HALF_LOG_2PI, x)

    def cdf(self, x: Tensor) -> Tensor:
        standard: Tensor = torch.special.ndtr((x - self._mean) / self.scale)
        return standard

    def quantile(self, u: Tensor) -> Tensor:
        if u.ndim and not any(u.stride()):  # one level for all, as forecasts ask for it
            u = u[(slice(1),) * u.ndim]
        standard: Tensor = torch.special.ndtri(u)
        return self._mean + self.scale * standard.to(self._mean)

    def exponential_moment(self, t: Tensor) -> Tensor:
        """exp(t mean + t^2 scale^2 / 2)"""
        return (t * self._mean + 0.5 * (t * self.scale).square()).exp()


class StudentT(Density):
    """Independent channels x_d = location_d + scale_d * t, t of Student's distribution.

    p(t) = Gamma((v + 1) / 2) / (Gamma(v / 2) sqrt(v pi)) (1 + t^2 / v)^(-(v + 1) / 2),
    with v degrees of freedom. The variance is infinite up to v = 2.
    """

    def __init__(self, freedom: Tensor, location: Tensor, scale: Tensor) -> None:
        """
        Args:
            freedom: (..., D) v, positive.
            location: (..., D) the median, and the mean if v > 1.
            scale: (..., D) positive.
        """
        shape = (freedom + location + scale).shape
        self.freedom, self.location = freedom.expand(shape), location.expand(shape)
        self.scale = scale.expand(shape)

    @property
    def mean(self) -> Tensor:
        return self.location

    @property
    def variance(self) -> Tensor:
        v = self.freedom
        ratio = v / torch.where(v > 2, v - 2, 1.0)
        return torch.where(v > 2, self.scale.square() * ratio, torch.inf)

    def log_prob(self, x: Values) -> Tensor:
        """The sum of ln p over the observed channels."""
        z = (x.numbers - self.location) / self.scale
        v = self.freedom.double()  # differences of large lgamma, which float32 would round away
        constant = torch.lgamma((v + 1) / 2) - torch.lgamma(v / 2) - 0.5 * (v * math.pi).log()
        each = -0.5 * (self.freedom + 1) * (z.square() / self.freedom).log1p() - self.scale.log()
        return sum_observed(each + constant.to(each), x)

    def cdf(self, x: Tensor) -> Tensor:
        z = ((x - self.location) / self.scale).double()
        below = 0.5 * _outside(z, self.freedom)
        return torch.where(z < 0, below, 1.0 - below).to(self.scale)

    @torch.no_grad()
    def quantile(self, u: Tensor) -> Tensor:
        u = u.double()
        t = _upper_quantile(torch.minimum(u, 1.0 - u), self.freedom.double())
        return self.location + self.scale * torch.where(u < 0.5, -t, t).to(self.scale)

    def sample(self, u: Tensor) -> Values:
        """By t = sqrt(v (a^(-2 / v) - 1)) cos(2 pi b), a and b uniform (Bailey 1994)."""
        num_channels = self.location.shape[-1]
        a, b = channel_uniforms(u, 2 * num_channels).to(self.scale.device).chunk(2, -1)
        v = self.freedom.double()
        t = (v * torch.expm1(-2 / v * a.log())).sqrt() * (2 * math.pi * b).cos()
        return observed(self.location + self.scale * t.to(self.scale))


def _outside(z: Tensor, freedom: Tensor) -> Tensor:
    """P(|t| > |z|) = I_x(v / 2, 1 / 2) with x = v / (v + z^2)."""
    v, square = freedom.double(), z.square()  # which may be infinite
    half = torch.full_like(v, 0.5)
    return betainc(0.5 * v, half, 1 / (1 + square / v), 1 / (1 + v / square))


def _upper_quantile(q: Tensor, v: Tensor) -> Tensor:
    """The t >= 0 with P(t' > t) = q, for q in (0, 1/2].

    By Newton's method for ln P(t' > t) as a function of ln t, which is concave: from the quantile
    of the normal distribution, which is below, one step goes above, and the others descend.
    """
    q, v = torch.broadcast_tensors(q, v)  # type: ignore[no-untyped-call]
    constant = torch.lgamma((v + 1) / 2) - torch.lgamma(v / 2) - 0.5 * (v * math.pi).log()
    # P(t' > t) <= c v^((v + 1) / 2) t^-v / v, which bounds the first step.
    bound = (constant + (v + 1) / 2 * v.log() - (v * q).log()) / v
    t = -torch.special.ndtri(q)
    t = torch.where(q < 0.5, t.clamp_min(1e-300), 1.0)
    for _ in range(100):
        tail = 0.5 * _outside(t, v)
        slope = t * (constant - 0.5 * (v + 1) * (t.square() / v).log1p()).exp()
        step = tail / slope * (tail / q).log()
        new = torch.minimum(t.log() + step, bound).exp()
        new = torch.where((q < 0.5) & new.isfinite(), new, t)
        is_settled = bool(((new - t).abs() <= 1e-8 * t).all())  # the error is the square of it
        t = new
        if is_settled:
            break
    return torch.where(q < 0.5, t, 0.0)


class MultivariateNormal(Density):
    """Dependent channels x ~ N(mean, covariance)."""

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        """
        Args:
            mean: (..., D).
            covariance: (..., D, D) symmetric and positive definite.
        """
        size = mean.shape[-1]
        shape = torch.broadcast_shapes(mean.shape[:-1], covariance.shape[:-2])  # type: ignore[no-untyped-call]
        self._mean = mean.expand(*shape, size)
        self.covariance = covariance.expand(*shape, size, size)

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def variance(self) -> Tensor:
        return self.covariance.diagonal(dim1=-2, dim2=-1)

    @cached_property
    def channels(self) -> Normal:
        """The distribution of each channel alone."""
        return Normal(self._mean, self.variance.sqrt())

    def log_prob(self, x: Values) -> Tensor:
        """-r' S^-1 r / 2 - ln det(2 pi S) / 2 of the observed part r, S of x - mean and covariance.

        A missing channel becomes one of its own, with variance 1 and its mean as value.
        """
        if self._mean.shape[-1] == 1:
            return self.channels.log_prob(x)
        shape = torch.broadcast_shapes(self._mean.shape, x.numbers.shape)  # type: ignore[no-untyped-call]
        is_observed = x.is_observed.expand(shape)
        both = is_observed[..., :, None] & is_observed[..., None, :]
        identity = torch.eye(shape[-1], dtype=self._mean.dtype, device=self._mean.device)
        root = torch.linalg.cholesky(torch.where(both, self.covariance, identity))
        residual = torch.where(is_observed, x.numbers - self._mean, 0.0)
        z = torch.linalg.solve_triangular(root, residual[..., None], upper=False)[..., 0]
        each = -0.5 * z.square() - root.diagonal(dim1=-2, dim2=-1).log() - _HALF_LOG_2PI
        return sum_observed(each, Values(residual, is_observed))

    def cdf(self, x: Tensor) -> Tensor:
        return self.channels.cdf(x)

    def quantile(self, u: Tensor) -> Tensor:
        return self.channels.quantile(u)

    def sample(self, u: Tensor) -> Values:
        """mean + R z with covariance = R R', z standard normal."""
        each = channel_uniforms(u, self._mean.shape[-1]).to(self._mean.device)
        z = torch.special.ndtri(each).to(self._mean)
        root = torch.linalg.cholesky(self.covariance)
        return observed(self._mean + (root @ z[..., None])[..., 0])

    def exponential_moment(self, t: Tensor) -> Tensor:
        """As of each channel alone."""
        return self.channels.exponential_moment(t)


class Affine(Density):
    """x = shift + scale * y: ln p(x) = ln p_y(y) - sum_d ln scale_d over the observed channels."""

    def __init__(self, base: Density, shift: Tensor, scale: Tensor) -> None:
        """
        Args:
            base: the distribution of y.
            shift: (..., D).
            scale: (..., D) positive.

        Raises:
            ConfigError: if y are counts, which `Density.scaled` scales by their mean.
        """
        if base.is_count:
            raise ConfigError("counts are scaled by their mean: use scaled(scale) of their density")
        self.base, self.shift, self.scale = base, shift, scale

    @property
    def mean(self) -> Tensor:
        return self.shift + self.scale * self.base.mean

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * self.base.variance

    def log_prob(self, x: Values) -> Tensor:
        y = Values((x.numbers - self.shift) / self.scale, x.is_observed)
        return self.base.log_prob(y) - sum_observed(self.scale.log().expand_as(y.numbers), x)

    def cdf(self, x: Tensor) -> Tensor:
        return self.base.cdf((x - self.shift) / self.scale)

    def quantile(self, u: Tensor) -> Tensor:
        return self.shift + self.scale * self.base.quantile(u)

    def sample(self, u: Tensor) -> Values:
        return observed(self.shift + self.scale * self.base.sample(u).numbers)

    def exponential_moment(self, t: Tensor) -> Tensor:
        """exp(t shift) E exp(t scale y)"""
        return (t * self.shift).exp() * self.base.exponential_moment(t * self.scale)
