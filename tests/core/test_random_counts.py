"""Random gamma numbers and counts have their distributions, and depend on their counters alone."""

import numpy as np
import pytest
import torch

from seriatim.core.counts import NegativeBinomial, Poisson
from seriatim.core.random_counts import gamma_variates, poisson_variates

scipy_stats = pytest.importorskip("scipy.stats")
N = 20_000
KEYS = np.arange(N)


@pytest.mark.parametrize("shape", [0.05, 0.7, 1.0, 3.0, 250.0])
def test_gamma_numbers_have_their_distribution(shape: float) -> None:
    drawn = gamma_variates(torch.full((N,), shape), KEYS).numpy()
    assert scipy_stats.kstest(drawn, scipy_stats.gamma(shape).cdf).pvalue > 0.001


@pytest.mark.parametrize("mean", [0.0, 0.3, 4.0, 9.99, 10.0, 47.0, 3e4])
def test_counts_have_their_distribution(mean: float) -> None:
    drawn = poisson_variates(torch.full((N,), mean), KEYS).numpy()
    assert (drawn == np.floor(drawn)).all()
    if mean == 0:
        assert not drawn.any()
        return
    exact = scipy_stats.poisson(mean)
    edges = np.unique(exact.ppf(np.linspace(0.02, 0.98, 12)))
    expected = np.diff(exact.cdf(edges), prepend=0.0, append=1.0)
    found = np.bincount(np.searchsorted(edges, drawn), minlength=len(edges) + 1)
    assert scipy_stats.chisquare(found, N * expected / expected.sum()).pvalue > 0.001


def test_samples_of_densities_have_their_moments() -> None:
    u = torch.rand(N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = torch.tensor([2.0, 500.0]).expand(N, 2)
    for density in (Poisson(mean), NegativeBinomial(mean, torch.full_like(mean, 3.0))):
        x = density.sample(u)
        assert bool(x.is_observed.all()) and x.numbers.dtype == mean.dtype
        spread = density.variance[0].sqrt()
        assert bool(((x.numbers.mean(0) - mean[0]).abs() < 4 * spread / N**0.5).all())
        torch.testing.assert_close(x.numbers.std(0), spread, rtol=0.05, atol=0)
        alone = type(density)(*(t[7:8] for t in density.__dict__.values())).sample(u[7:8])
        assert torch.equal(alone.numbers, x.numbers[7:8])
