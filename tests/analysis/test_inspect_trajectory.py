"""A state's path, speed and half-life, checked on processes with known answers."""

import pytest
import torch

from seriatim.analysis.inspect.trajectory import (
    LEAST_LENGTH,
    autocovariance,
    follow,
    project,
    speed,
)


def autoregressive(a: float, length: int, size: int, seed: int = 0) -> torch.Tensor:
    """s_t = a s_{t-1} + noise, whose autocorrelation at lag k is a^k."""
    draw = torch.Generator().manual_seed(seed)
    s = torch.randn(size, dtype=torch.float64, generator=draw) / (1 - a * a) ** 0.5
    states = []
    for _ in range(length):
        s = a * s + torch.randn(size, dtype=torch.float64, generator=draw)
        states.append(s)
    return torch.stack(states)


@pytest.mark.parametrize("a", [0.5, 0.8, 0.95])
def test_the_half_life_of_an_autoregression_follows_its_equation(a: float) -> None:
    found = follow([autoregressive(a, 4000, 32)])
    expected = torch.log(torch.tensor(0.5)) / torch.log(torch.tensor(a))
    # Linear interpolation between two lags is off by a few hundredths at a = 0.5; elsewhere the
    # error is the randomness of one path.
    assert found.half_life == pytest.approx(float(expected), rel=0.12)
    assert float(found.unit_half_lives.nanmedian()) == pytest.approx(float(expected), rel=0.2)


def test_noise_is_forgotten_within_a_symbol() -> None:
    found = follow([autoregressive(0.0, 2000, 8)])
    assert found.half_life is not None and found.half_life < 1.0


def test_a_constant_unit_has_no_half_life_nor_has_a_short_text() -> None:
    states = autoregressive(0.5, 200, 3)
    states[:, 1] = 4.0
    assert follow([states]).unit_half_lives.isnan().tolist() == [False, True, False]
    assert follow([states[: LEAST_LENGTH - 1]]).half_life is None
    assert follow([torch.zeros(50, 4)]).half_life is None


def test_the_path_is_the_plane_that_the_states_lie_in() -> None:
    draw = torch.Generator().manual_seed(1)
    angle = torch.arange(100) * 0.2
    flat = torch.stack([3 * angle.cos(), angle.sin()], 1).double()
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=draw)).Q
    path, fractions = project(flat @ turn[:2])
    assert sum(fractions) == pytest.approx(1.0)
    # The distance of equal points is 0, but the square root of a rounding error is not.
    assert torch.cdist(path, path).allclose(torch.cdist(flat, flat), atol=1e-6)


def test_path_and_variance_fractions_are_those_of_a_singular_value_decomposition() -> None:
    states = autoregressive(0.7, 60, 6, seed=3)
    u, s, _ = torch.linalg.svd(states - states.mean(0), full_matrices=False)
    path, fractions = project(states)
    assert path.abs().allclose((u[:, :2] * s[:2]).abs())
    assert fractions == pytest.approx((s.square() / s.square().sum())[:2].tolist())


def test_speed_is_distance_relative_to_the_spread() -> None:
    states = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    assert speed(states).tolist() == [0.0, 2.0, 0.0, 2.0]
    assert speed(torch.ones(3, 2)).tolist() == [0.0, 0.0, 0.0]


def test_a_state_of_one_unit_has_a_path_on_a_line() -> None:
    path, fractions = project(torch.tensor([[1.0], [2.0], [4.0]]))
    assert fractions == pytest.approx((1.0, 0.0))
    assert path[:, 1].tolist() == [0.0, 0.0, 0.0]


def test_half_lives_of_many_short_passages_are_those_of_a_long_one() -> None:
    whole = autoregressive(0.7, 6000, 16, seed=5)
    parts = follow(list(whole.split(20)))
    assert parts.half_life == pytest.approx(follow([whole]).half_life, rel=0.1)


def test_the_autocovariance_is_the_sum_over_pairs_within_a_passage() -> None:
    passages = [autoregressive(0.5, 9, 2, seed=1), autoregressive(0.5, 6, 2, seed=2)]
    mean = torch.cat(passages).mean(0)
    found, pairs = autocovariance(passages)
    assert len(found) == 4
    for k in range(4):
        terms = [(p[t] - mean) * (p[t + k] - mean) for p in passages for t in range(len(p) - k)]
        assert torch.allclose(found[k], torch.stack(terms).sum(0))
        assert int(pairs[k]) == len(terms)
