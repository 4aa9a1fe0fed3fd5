"""The curve of memory: exact where every target is sampled, and its crossing that of the nearest
falling curve."""

import numpy as np
import pytest

from seriatim.analysis.context import curve
from seriatim.analysis.context.curve import Samples, estimate_curve
from seriatim.analysis.context.restarts import Elements

LN2 = np.log(2)


def _data(sizes: list[int], nats: float = 1.0) -> Elements:
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    zeros = np.zeros(bounds[-1], np.int64)
    return Elements(zeros, zeros, bounds, np.full(bounds[-1], nats))


def _all_samples(data: Elements, longest: int, rule) -> Samples:
    """A sample of every target at every k that leaves something of its sequence unseen."""
    rows = [(k, t) for t in range(len(data)) for k in range(1, longest + 1) if data.depth[t] >= k]
    k, target = np.array(rows).T
    return Samples(k, target, np.array([rule(a, b) for a, b in rows], float))


def test_targets_that_see_everything_count_as_they_are() -> None:
    data = _data([2, 5, 3])
    samples = _all_samples(data, 4, lambda k, t: 0.3)
    result = estimate_curve(data, samples, 4, nothing=data.nats + 1)
    unseen = [np.mean(data.depth >= k) for k in range(1, 5)]
    expected = np.array([2.0, *(1 + 0.3 * fraction for fraction in unseen)]) / LN2
    np.testing.assert_allclose(result.bits, expected)
    assert result.full == pytest.approx(1 / LN2)
    assert result.targets == 10


def test_a_part_of_the_samples_stands_for_all() -> None:
    data = _data([60] * 50)
    samples = _all_samples(data, 6, lambda k, t: 0.5 / k + 0.1 * (t % 2))
    rng = np.random.default_rng(0)
    some = np.flatnonzero(rng.random(len(samples.k)) < 0.3)
    part = Samples(samples.k[some], samples.target[some], samples.difference[some])
    whole, result = (estimate_curve(data, s, 6, nothing=data.nats) for s in (samples, part))
    np.testing.assert_allclose(result.bits, whole.bits, atol=0.01)


def test_only_the_targets_of_a_kind_are_counted() -> None:
    data = _data([100])
    among = np.arange(100) % 2 == 0
    samples = _all_samples(data, 3, lambda k, t: float(among[t]))
    result = estimate_curve(data, samples, 3, nothing=data.nats, among=among)
    assert result.targets == 50
    depth = data.depth[among]
    expected = [(1 + np.mean(depth >= k)) / LN2 for k in (1, 2, 3)]
    np.testing.assert_allclose(result.bits[1:], expected)


def _isotonic(y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The falling sequence nearest to y: max-min of means, one by one (Robertson et al. 1988)."""

    def mean(i: int, j: int) -> float:
        return float(np.average(y[i : j + 1], weights=w[i : j + 1]))

    n = len(y)
    return np.array(
        [min(max(mean(i, j) for j in range(k, n)) for i in range(k + 1)) for k in range(n)]
    )


def test_the_crossing_is_that_of_the_nearest_falling_curve() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(2, 12))
        bits = 2 + np.sort(rng.exponential(0.05, n))[::-1] + rng.normal(0, 0.02, n)
        weights = rng.integers(1, 9, n - 1).astype(float)
        full, limit = 2.0, 2.0 * (1 + curve.TOLERANCE)
        fitted = _isotonic(bits, np.concatenate([weights[:1], weights]))
        expected = int((fitted > limit).sum())
        assert curve._crossing(np.array([full]), bits[None], weights)[0] == expected


def test_a_curve_that_never_comes_down_has_no_effective_context() -> None:
    data = _data([300])
    samples = _all_samples(data, 5, lambda k, t: 1.0)
    result = estimate_curve(data, samples, 5, nothing=data.nats + 1)
    assert result.effective is None
    assert result.effective_interval == (None, None)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng, covered, tried = np.random.default_rng(1), 0, 120
    for i in range(tried):
        nats = rng.exponential(1.0, 2000)
        data = Elements(np.zeros(2000, int), np.zeros(2000, int), np.array([0, 2000]), nats)
        target = np.arange(1, 2000)
        samples = Samples(np.ones(1999, int), target, rng.normal(0.2, 0.5, 1999))
        result = estimate_curve(data, samples, 1, nothing=nats, seed=i)
        low, high = result.intervals[1] * LN2
        covered += low <= 1.2 <= high
    assert 0.87 * tried <= covered <= 0.995 * tried
