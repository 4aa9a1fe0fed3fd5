"""Densities against scipy, against quadrature, and with gaps."""

import numpy as np
import pytest
import torch
from torch import Tensor

from seriatim.core.counts import NegativeBinomial, Poisson
from seriatim.core.densities import Affine, Density, MultivariateNormal, Normal, StudentT
from seriatim.core.density_transforms import Exponential, MixtureDensity, NormalMixture
from seriatim.core.distributions import uniforms
from seriatim.core.special import betainc
from seriatim.core.values import Values
from seriatim.errors import ConfigError

stats = pytest.importorskip("scipy.stats")
special = pytest.importorskip("scipy.special")

U = torch.tensor([1e-9, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999, 1 - 1e-9], dtype=torch.float64)


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def parameters(size: int, *shape: int) -> list[Tensor]:
    """Tensors of float64 with gradients, different everywhere."""
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(size)
    ]


def make(name: str, a: Tensor, b: Tensor, c: Tensor) -> Density:
    """A density of D channels with parameters (..., D) that are functions of a, b, c."""
    if name == "normal":
        return Normal(a, b.exp())
    if name == "student":
        return StudentT(2.5 + c.exp(), a, b.exp())
    if name == "multivariate":
        root = torch.diag_embed(b.exp()) + 0.4 * c[..., None, :] * a[..., :, None]
        covariance = root @ root.mT + 0.1 * torch.eye(a.shape[-1], dtype=a.dtype)
        return MultivariateNormal(a, covariance)
    if name == "affine":
        return StudentT(3 + c.exp(), a, b.exp()).scaled(t(2.5), t(-0.3))
    if name == "exponential":
        return Exponential(Normal(a, 0.5 * b.exp()))
    if name == "mixture":
        means, scales = torch.stack([a, b], -2), torch.stack([c, a], -2).exp()
        return NormalMixture(torch.stack([a[..., 0], c[..., 0]], -1), means, scales)
    if name == "poisson":
        return Poisson(a.exp())
    if name == "negative binomial":
        return NegativeBinomial(2 * a.exp(), b.exp())
    assert name == "mixture of counts"
    parts = [Poisson(a.exp()), NegativeBinomial(b.exp(), c.exp())]
    return MixtureDensity(torch.stack([a[..., 0], c[..., 0]], -1), parts)


COUNTS = ["poisson", "negative binomial", "mixture of counts"]
REAL = ["normal", "student", "multivariate", "affine", "exponential", "mixture"]


def test_the_incomplete_beta_function_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = np.exp(rng.uniform(-3, 12, (2, 5000)))
    mean = a / (a + b)
    scale = np.sqrt(mean * (1 - mean) / (a + b + 1))
    x = np.clip(mean + 2 * scale * rng.normal(size=5000), 1e-12, 1 - 1e-12)
    found = betainc(*map(torch.from_numpy, (a, b, x, 1 - x))).numpy()
    assert np.abs(found - special.betainc(a, b, x)).max() < 1e-9
    assert betainc(t(2), t(3), t(0, 1), t(1, 0)).tolist() == [0, 1]


@pytest.mark.parametrize("freedom", [0.5, 1.0, 2.0, 2.7, 30.0, 1e5])
def test_student_is_that_of_scipy(freedom: float) -> None:
    density, truth = StudentT(t(freedom), t(1.5), t(0.7)), stats.t(freedom, 1.5, 0.7)
    x = t(-40, -2, 0, 1.5, 1.6, 3, 1e3)[:, None]
    values = Values(x, torch.ones_like(x, dtype=torch.bool))
    np.testing.assert_allclose(density.log_prob(values), truth.logpdf(x.numpy())[:, 0], 1e-10)
    np.testing.assert_allclose(density.cdf(x), truth.cdf(x.numpy()), 1e-8, 1e-15)
    np.testing.assert_allclose(density.quantile(U[:, None])[:, 0], truth.ppf(U.numpy()), 1e-7)
    variance = truth.var() if freedom > 2 else np.inf
    np.testing.assert_allclose(density.variance, variance)


@pytest.mark.parametrize("rate", [1e-4, 0.3, 4.0, 700.0, 1e6])
def test_poisson_is_that_of_scipy(rate: float) -> None:
    density, truth = Poisson(t(rate)), stats.poisson(rate)
    k = torch.tensor(truth.ppf(U.numpy()))[:, None]
    values = Values(k, torch.ones_like(k, dtype=torch.bool))
    np.testing.assert_allclose(density.log_prob(values), truth.logpmf(k.numpy())[:, 0], 1e-8)
    np.testing.assert_allclose(density.cdf(k + 0.5), truth.cdf(k.numpy()), 1e-9)
    np.testing.assert_array_equal(density.quantile(U[:, None]), k)


@pytest.mark.parametrize("mean", [0.01, 3.0, 250.0, 1e5])
@pytest.mark.parametrize("size", [0.1, 1.7, 80.0])
def test_the_negative_binomial_is_that_of_scipy(mean: float, size: float) -> None:
    density = NegativeBinomial(t(mean), t(size))
    truth = stats.nbinom(size, size / (size + mean))
    k = torch.tensor(truth.ppf(U.numpy()))[:, None]
    values = Values(k, torch.ones_like(k, dtype=torch.bool))
    np.testing.assert_allclose(density.log_prob(values), truth.logpmf(k.numpy())[:, 0], 1e-8)
    np.testing.assert_allclose(density.cdf(k), truth.cdf(k.numpy()), 1e-8)
    np.testing.assert_array_equal(density.quantile(U[:, None]), k)
    np.testing.assert_allclose([density.mean, density.variance], [[mean], [truth.var()]])


def test_an_infinite_size_is_nearly_poisson() -> None:
    x = Values(t(3, 70), torch.tensor([True, True]))
    large = NegativeBinomial(t(4, 60), t(1e7, 1e7)).log_prob(x)
    torch.testing.assert_close(large, Poisson(t(4, 60)).log_prob(x), atol=1e-5, rtol=0)


def test_the_multivariate_normal_is_that_of_scipy_and_its_gaps_are_marginals() -> None:
    a, b, c = parameters(3, 4, 3)
    density = make("multivariate", a, b, c)
    assert isinstance(density, MultivariateNormal)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for seen in ([0, 1, 2], [0, 2], [1]):
        mask = torch.zeros(4, 3, dtype=torch.bool)
        mask[:, seen] = True
        found = density.log_prob(Values(torch.where(mask, x, 0.0), mask)).detach()
        for i in range(4):
            mean = density.mean[i, seen].detach().numpy()
            covariance = density.covariance[i][seen][:, seen].detach().numpy()
            truth = stats.multivariate_normal(mean, covariance).logpdf(x[i, seen].numpy())
            np.testing.assert_allclose(found[i], truth, 1e-10)


@pytest.mark.parametrize("name", REAL)
def test_a_density_is_the_derivative_of_its_cdf(name: str) -> None:
    density = make(name, *(p.detach() for p in parameters(3, 2)))
    u = U[1:-1, None].expand(-1, 2)
    x = density.quantile(u)
    torch.testing.assert_close(density.cdf(x), u, atol=1e-10, rtol=1e-8)
    width = 1e-6 * x.abs().clamp_min(0.1)
    slope = (density.cdf(x + width) - density.cdf(x - width)) / (2 * width)
    for d in range(2):
        alone = Values(x, torch.tensor([d == 0, d == 1]).expand(len(x), 2))
        torch.testing.assert_close(density.log_prob(alone).exp(), slope[:, d], atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("name", COUNTS)
def test_the_probabilities_of_counts_sum_to_the_cdf(name: str) -> None:
    density = make(name, *(p.detach() for p in parameters(3, 2)))
    k = torch.arange(400.0, dtype=torch.float64)[:, None].expand(-1, 2)
    for d in range(2):
        alone = Values(k, torch.tensor([d == 0, d == 1]).expand(len(k), 2))
        p = density.log_prob(alone).exp()
        torch.testing.assert_close(p.cumsum(0), density.cdf(k)[:, d])
        torch.testing.assert_close((k[:, d] * p).sum(), density.mean[d])
        spread = ((k[:, d] - density.mean[d]).square() * p).sum()
        torch.testing.assert_close(spread, density.variance[d])
    x = density.quantile(U[:-1, None].expand(-1, 2))
    assert bool((density.cdf(x) >= U[:-1, None]).all())
    assert bool((density.cdf(x - 1) < U[:-1, None]).all())
    none = Values(t(-1, 1.5), torch.tensor([True, True]))
    assert density.log_prob(none).item() == -np.inf


@pytest.mark.parametrize("name", REAL + COUNTS)
def test_samples_have_the_moments_of_the_density_and_depend_on_u_alone(name: str) -> None:
    density = make(name, *(p.detach() for p in parameters(3, 2)))
    wide = make(name, *(p.detach().expand(20_000, 2) for p in parameters(3, 2)))
    u = uniforms(0, np.arange(20_000), 0)
    x = wide.sample(u).numbers
    error = (density.variance / 20_000).sqrt()
    assert bool(((x.mean(0) - density.mean).abs() < 4 * error).all())
    below = (x <= density.quantile(t(0.3, 0.8))).double().mean(0)
    expected = density.cdf(density.quantile(t(0.3, 0.8)))
    assert bool(((below - expected).abs() < 4 * 0.5 / 20_000**0.5).all())
    few = make(name, *(p.detach().expand(3, 2) for p in parameters(3, 2)))
    torch.testing.assert_close(few.sample(u[[5, 0, 9]]).numbers, x[[5, 0, 9]], atol=0, rtol=0)


def test_samples_of_dependent_channels_are_dependent() -> None:
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    x = MultivariateNormal(torch.zeros(20_000, 2).double(), covariance).sample(
        uniforms(1, np.arange(20_000), 0)
    )
    assert abs(float(x.numbers.T.corrcoef()[0, 1]) - 0.9) < 0.01


def test_the_components_of_a_mixture_keep_their_channels_together() -> None:
    means = torch.tensor([[-9.0, -9.0], [9.0, 9.0]], dtype=torch.float64).expand(1000, 2, 2)
    mixture = NormalMixture(torch.zeros(1000, 2).double(), means, torch.ones(1000, 2, 2).double())
    x = mixture.sample(uniforms(0, np.arange(1000), 0)).numbers
    assert bool((x[:, 0].sign() == x[:, 1].sign()).all())
    assert 400 < int((x[:, 0] > 0).sum()) < 600


@pytest.mark.parametrize("name", REAL + COUNTS)
def test_gaps_and_junk_behind_them_leave_values_and_gradients_finite(name: str) -> None:
    p = parameters(3, 5, 2)
    mask = torch.tensor([[True, True], [True, False], [False, True], [False, False], [True, True]])
    numbers = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [0.0, 0.0], [2.0, 0.0]]).double()
    if name == "exponential":
        numbers[4, 1] = 0.5
    log_prob = make(name, *p).log_prob(Values(numbers, mask))
    assert log_prob[3].item() == pytest.approx(0.0, abs=1e-15)
    gradients = torch.autograd.grad(log_prob.sum(), p, allow_unused=True)
    used = [g for g in gradients if g is not None]
    assert used
    assert all(bool(g.isfinite().all()) for g in used)
    assert all(bool((g[3].abs() < 1e-12).all()) for g in used)  # a gap teaches nothing


@pytest.mark.parametrize("name", REAL + COUNTS)
def test_scaled_densities_are_in_the_units_of_the_data(name: str) -> None:
    density = make(name, *(p.detach() for p in parameters(3, 2)))
    scaled = density.scaled(t(3.0, 0.5))
    if not density.is_count:
        u = t(0.2, 0.7)
        torch.testing.assert_close(scaled.quantile(u), t(3.0, 0.5) * density.quantile(u))
        x = density.quantile(u)
        both = torch.tensor([True, True])
        jacobian = float(t(3.0, 0.5).log().sum())
        moved = scaled.log_prob(Values(t(3.0, 0.5) * x, both))
        torch.testing.assert_close(moved, density.log_prob(Values(x, both)) - jacobian)
    torch.testing.assert_close(scaled.mean, t(3.0, 0.5) * density.mean)


def test_counts_are_not_shifted_nor_moved_by_an_affine_map() -> None:
    for counts in (Poisson(t(2.0)), NegativeBinomial(t(2.0), t(1.0))):
        with pytest.raises(ConfigError, match="cannot be shifted"):
            counts.scaled(t(2.0), t(1.0))
        with pytest.raises(ConfigError, match="scaled by their mean"):
            Affine(counts, t(0.0), t(1.0))
        with pytest.raises(ConfigError, match="cannot be mixed"):
            MixtureDensity(t(0.0, 0.0), [counts, Normal(t(0.0), t(1.0))])


def test_the_moments_of_an_exponential_are_those_of_the_log_normal() -> None:
    density, truth = Exponential(Normal(t(0.3), t(0.8))), stats.lognorm(0.8, scale=np.exp(0.3))
    np.testing.assert_allclose([density.mean, density.variance], [[truth.mean()], [truth.var()]])
    x = Values(t(2.0), torch.tensor([True]))
    np.testing.assert_allclose(density.log_prob(x), truth.logpdf(2.0))
    assert Exponential(StudentT(t(9.0), t(0.0), t(1.0))).mean.item() == np.inf
    assert density.log_prob(Values(t(-1.0), torch.tensor([True]))).item() == -np.inf


def test_float32_loses_no_more_than_its_rounding() -> None:
    x = torch.tensor([[1040.0]])
    wide, narrow = t(1000.0)[:, None], torch.tensor([[1000.0]])
    for make_one in (
        lambda m: NegativeBinomial(m, 1e4 + 0 * m),
        lambda m: StudentT(1e5 + 0 * m, m, 30 + 0 * m),
        Poisson,
    ):
        is_seen = torch.tensor([[True]])
        found = make_one(narrow).log_prob(Values(x, is_seen))
        assert found.dtype == torch.float32
        truth = make_one(wide).log_prob(Values(x.double(), is_seen))
        torch.testing.assert_close(found.double(), truth, atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("name", REAL + COUNTS)
def test_parameters_that_all_rows_share_are_samples_of_each(name: str) -> None:
    u = uniforms(2, np.arange(7), 0)
    shared = make(name, *(p.detach() for p in parameters(3, 2))).sample(u).numbers
    wide = make(name, *(p.detach().expand(7, 2) for p in parameters(3, 2))).sample(u).numbers
    torch.testing.assert_close(shared, wide, atol=0, rtol=0)
