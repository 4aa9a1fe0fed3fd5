"""Kalman's filter and smoother against the joint normal distribution, and against statsmodels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from seriatim.core.values import Values
from seriatim.models.state_space.kalman import (
    Belief,
    System,
    ahead,
    kalman_filter,
    smooth_states,
    smooth_values,
    stationary_covariance,
)
from seriatim.models.state_space.likelihood import diffuse_log_likelihoods
from seriatim.models.state_space.structures import Structure, structure

M, D, T = 3, 2, 7


def positive(generator: torch.Generator, size: int) -> Tensor:
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return root @ root.mT + 0.3 * torch.eye(size, dtype=torch.float64)


@pytest.fixture
def system() -> System:
    g = torch.Generator().manual_seed(0)
    F = 0.5 * torch.randn(M, M, generator=g, dtype=torch.float64)
    H = torch.randn(D, M, generator=g, dtype=torch.float64)
    c = torch.tensor([2.0, -1.0], dtype=torch.float64)
    return System(F, H, positive(g, M), positive(g, D), c)


@pytest.fixture
def first() -> Belief:
    g = torch.Generator().manual_seed(1)
    mean = torch.randn(2, M, generator=g, dtype=torch.float64)
    return Belief(mean, torch.stack([positive(g, M), positive(g, M)]))


@pytest.fixture
def y() -> Values:
    """Two series with gaps at different moments, partly observed ones among them."""
    numbers = torch.randn(2, T, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    numbers[0, 2, 1] = numbers[0, 4] = numbers[1, 0] = numbers[1, 3, 0] = torch.nan
    return Values.of(numbers)


def joint(system: System, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of all states (T M,), their covariance, and H of all moments (T D, T M)."""
    F, H = system.transition, system.observation
    means, blocks = [mean], [[covariance]]
    for t in range(1, T):
        means.append(F @ means[-1])
        row = [F @ block for block in blocks[-1]]
        blocks.append([*row, F @ blocks[-1][-1] @ F.mT + system.transition_covariance])
        assert len(blocks[t]) == t + 1
    full = [[blocks[max(s, t)][min(s, t)] for s in range(T)] for t in range(T)]
    full = [[b if t >= s else b.mT for s, b in enumerate(row)] for t, row in enumerate(full)]
    covariance = torch.cat([torch.cat(row, 1) for row in full])
    return torch.cat(means), covariance, torch.block_diag(*[H] * T)


def test_filter_and_smoother_are_conditioning_in_the_joint_distribution(
    system: System, first: Belief, y: Values
) -> None:
    filtered = kalman_filter(system, first, y)
    smoothed = smooth_states(system, filtered, y)
    values = smooth_values(system, smoothed, y)
    for b in range(2):
        mean, P, H = joint(system, first.mean[b], first.covariance[b])
        noise = torch.block_diag(*[system.observation_covariance] * T)
        offset = system.offset.repeat(T)
        seen = y.is_observed[b].reshape(-1)
        S = H @ P @ H.mT + noise
        gap = (y.numbers[b].reshape(-1) - H @ mean - offset)[seen]
        Soo = S[seen][:, seen]
        truth = torch.distributions.MultivariateNormal(torch.zeros(len(gap)).double(), Soo)
        assert torch.isclose(filtered.log_likelihood[b].sum(), truth.log_prob(gap), rtol=1e-12)
        gain = torch.linalg.solve(Soo, (H @ P)[seen]).mT
        state = mean + gain @ gap
        V = P - gain @ (H @ P)[seen]
        assert torch.allclose(smoothed.mean[b].reshape(-1), state, atol=1e-10)
        for t in range(T):
            own = V[t * M : (t + 1) * M, t * M : (t + 1) * M]
            assert torch.allclose(smoothed.covariance[b, t], own, atol=1e-10)
            if t:
                lag = V[t * M : (t + 1) * M, (t - 1) * M : t * M]
                assert torch.allclose(smoothed.lagged[b, t - 1], lag, atol=1e-10)
        gain = torch.linalg.solve(Soo, S[seen]).mT
        expected = H @ mean + offset + gain @ gap
        C = S - gain @ S[seen]
        assert torch.allclose(values.mean[b].reshape(-1), expected, atol=1e-10)
        cross = H @ P - gain @ (H @ P)[seen]
        for t in range(T):
            rows = slice(t * D, (t + 1) * D)
            assert torch.allclose(values.covariance[b, t], C[rows, rows], atol=1e-10)
            with_state = cross[rows, t * M : (t + 1) * M]
            assert torch.allclose(values.with_state[b, t], with_state, atol=1e-10)


def test_what_is_missing_at_the_end_is_a_forecast(system: System, first: Belief, y: Values) -> None:
    filtered = kalman_filter(system, first, y)
    mean, covariance = ahead(system, filtered.last, 2)
    none = Values.missing((2, 2, D), mean.device, mean.dtype)
    longer = Values(
        torch.cat([y.numbers, none.numbers], 1), torch.cat([y.is_observed, none.is_observed], 1)
    )
    again = kalman_filter(system, first, longer)
    found = smooth_values(system, smooth_states(system, again, longer), longer)
    assert torch.allclose(found.mean[:, T:], mean, atol=1e-10)
    assert torch.allclose(found.covariance[:, T:], covariance, atol=1e-10)
    assert torch.equal(again.log_likelihood[:, T:], torch.zeros(2, 2, dtype=torch.float64))


def test_an_autoregression_without_noise_of_its_values_is_smoothed_too(y: Values) -> None:
    """Its covariances are singular, so that the smoother may invert none."""
    a = torch.tensor([0.5, -0.3], dtype=torch.float64)
    F = torch.stack([a, torch.tensor([1.0, 0.0], dtype=torch.float64)])
    Q = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    h = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    system = System(F, h, Q, torch.zeros(1, 1, dtype=torch.float64))
    P = stationary_covariance(F, Q)
    assert torch.allclose(P, F @ P @ F.mT + Q, rtol=1e-13)
    one = Values(y.numbers[..., :1], y.is_observed[..., :1])
    first = Belief(torch.zeros(2, 2, dtype=torch.float64), P.expand(2, 2, 2))
    smoothed = smooth_states(system, kalman_filter(system, first, one), one)
    seen = one.is_observed[..., 0]
    assert torch.allclose(smoothed.mean[..., 0][seen], one.numbers[..., 0][seen], atol=1e-10)
    assert bool((smoothed.covariance[..., 0, 0][~seen] > 0.1).all())


def test_gradients_pass_through_gaps(system: System, first: Belief, y: Values) -> None:
    F = system.transition.clone().requires_grad_()

    def f(F: Tensor) -> Tensor:
        return kalman_filter(replace(system, transition=F), first, y).log_likelihood

    assert torch.autograd.gradcheck(f, (F,))


def test_what_is_not_stable_has_no_stationary_covariance() -> None:
    with pytest.raises(ValueError, match="not stable"):
        stationary_covariance(torch.eye(1).double(), torch.eye(1).double())


STRUCTURES = {
    "local level": {"slope": False, "season_length": None},
    "local linear trend": {"slope": True, "season_length": None},
    "level and season": {"slope": False, "season_length": 4},
    "trend and season": {"slope": True, "season_length": 5},
}


def gappy(rng: np.random.Generator, rows: int, length: int) -> np.ndarray:
    y = rng.normal(size=(rows, length)).cumsum(1) + rng.normal(size=(rows, length))
    y[1, ::3] = np.nan
    y[2, :2] = np.nan
    y[3, -20:] = np.nan
    y[4, 5:9] = np.nan
    return y


def filtered(
    form: Structure, variances: np.ndarray, noise: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """The log-likelihoods by the filter as it is written in books."""
    N, m = len(y), form.num_states
    Q = torch.zeros(N, m, m, dtype=torch.float64)
    Q[:, form.noisy, form.noisy] = torch.from_numpy(variances)
    system = System(
        torch.from_numpy(form.transition),
        torch.from_numpy(form.observation)[None],
        Q,
        torch.from_numpy(noise)[:, None, None],
    )
    zero = torch.zeros(N, m, m, dtype=torch.float64)
    first = Belief(zero[:, 0], zero, torch.eye(m, dtype=torch.float64).expand(N, m, m))
    slow = kalman_filter(system, first, Values.of(torch.from_numpy(y)[..., None]))
    return slow.log_likelihood.sum(1).numpy()


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_fast_likelihood_is_the_filters(name: str) -> None:
    rng = np.random.default_rng(0)
    y, form = gappy(rng, 6, 120), structure(**STRUCTURES[name])
    variances = rng.uniform(0.05, 1, (6, len(form.noisy)))
    noise = rng.uniform(0.1, 2, 6)
    fast = diffuse_log_likelihoods(form, variances, noise, y)
    np.testing.assert_allclose(fast, filtered(form, variances, noise, y), rtol=1e-11)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("length", [1, 3, 40])
def test_the_fast_likelihood_of_short_series_and_of_variances_of_nearly_nothing(
    name: str, length: int
) -> None:
    rng = np.random.default_rng(2)
    form = structure(**STRUCTURES[name])
    y = rng.normal(size=(4, length)).cumsum(1) + 100
    y[3, length // 2 :] = np.nan
    variances = np.exp(rng.uniform(-25, 0, (4, len(form.noisy))))
    noise = rng.uniform(0.1, 2, 4)
    fast = diffuse_log_likelihoods(form, variances, noise, y)
    np.testing.assert_allclose(fast, filtered(form, variances, noise, y), rtol=1e-9)


@pytest.mark.parametrize("gap", [298, 304])
@pytest.mark.parametrize("end", [6, 350])
def test_a_gap_after_the_covariances_have_settled_moves_them(gap: int, end: int) -> None:
    rng = np.random.default_rng(0)
    form = structure(slope=True, season_length=None)
    y = rng.normal(size=(2, 400)).cumsum(1)
    y[0, gap], y[1, end:] = np.nan, np.nan
    variances, noise = np.array([[1.0, 1e-2], [1.0, 1.0]]), np.ones(2)
    fast = diffuse_log_likelihoods(form, variances, noise, y)
    np.testing.assert_allclose(fast, filtered(form, variances, noise, y), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", STRUCTURES)
def test_diffuse_likelihoods_are_those_of_statsmodels(name: str) -> None:
    sm = pytest.importorskip("statsmodels.api", reason="needs statsmodels: seriatim[refs]")
    rng = np.random.default_rng(1)
    options = STRUCTURES[name]
    y, form = gappy(rng, 6, 120), structure(**options)
    variances = rng.uniform(0.05, 1, (6, len(form.noisy)))
    noise = rng.uniform(0.1, 2, 6)
    ours = diffuse_log_likelihoods(form, variances, noise, y)
    for i in range(6):
        model = sm.tsa.UnobservedComponents(
            y[i],
            "local linear trend" if options["slope"] else "local level",
            seasonal=options["season_length"],
            use_exact_diffuse=True,
        )
        theirs = model.loglike(np.concatenate([noise[i : i + 1], variances[i]]))
        assert ours[i] == pytest.approx(theirs, abs=1e-6)
