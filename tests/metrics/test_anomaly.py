"""Surprisal as an anomaly score: areas with ties by counting pairs, thresholds, bootstraps."""

import numpy as np
import pytest

from seriatim.errors import ConfigError, DataError
from seriatim.metrics.anomaly import auc_interval, best_f1, detect, quantile_threshold, roc_auc


def _auc_by_pairs(normal: np.ndarray, anomalous: np.ndarray) -> float:
    wins = sum((b > a) + 0.5 * (b == a) for a in normal for b in anomalous)
    return wins / (len(normal) * len(anomalous))


@pytest.mark.parametrize("num_values", [2, 5, 1000])
def test_the_area_is_the_fraction_of_pairs_in_the_right_order_with_ties_half(
    num_values: int,
) -> None:
    rng = np.random.default_rng(num_values)
    normal, anomalous = rng.integers(0, num_values, 37), rng.integers(1, num_values + 1, 23)
    assert roc_auc(normal, anomalous) == pytest.approx(_auc_by_pairs(normal, anomalous), abs=1e-12)
    assert roc_auc(anomalous, normal) == pytest.approx(
        1 - _auc_by_pairs(normal, anomalous), abs=1e-12
    )


def test_the_area_is_one_half_where_all_scores_are_equal_and_one_where_none_overlap() -> None:
    assert roc_auc([3.0] * 4, [3.0] * 9) == 0.5
    assert roc_auc([1, 2], [3, np.inf]) == 1.0
    assert roc_auc([3, 4], [1, 2]) == 0.0


def test_the_interval_contains_the_area_and_narrows_with_more_sequences() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for size in (50, 800):
        normal, anomalous = rng.normal(size=size), rng.normal(1.0, size=size)
        low, high = auc_interval(normal, anomalous, resamples=300)
        assert low < roc_auc(normal, anomalous) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3  # sixteen times as many: a quarter of the width


def test_the_interval_covers_the_true_area_at_about_its_level() -> None:
    rng = np.random.default_rng(1)
    truth = 0.76025  # Phi(1 / sqrt 2), of two normal distributions one deviation apart
    covered = 0
    for seed in range(150):
        normal, anomalous = rng.normal(size=60), rng.normal(1.0, size=90)
        low, high = auc_interval(normal, anomalous, resamples=200, seed=seed)
        covered += low < truth < high
    assert 0.88 < covered / 150 < 0.99


def test_the_interval_of_the_area_counts_tied_scores() -> None:
    """Thousands of ties: the histogram must count every copy."""
    low, high = auc_interval([0.0] * 500 + [1.0] * 500, [0.0] * 250 + [1.0] * 750, resamples=200)
    assert low < 0.625 < high
    assert high - low < 0.1


def test_a_threshold_keeps_the_allowed_false_alarm_rate() -> None:
    scores = np.arange(100.0)
    for rate in (0.0, 0.01, 0.05, 0.5):
        threshold = quantile_threshold(scores, rate)
        assert (scores > threshold).mean() == rate
    tied = np.array([1.0] * 90 + [2.0] * 10)
    assert quantile_threshold(tied, 0.05) == 2.0  # at 1.0 a tenth would be above it
    assert quantile_threshold(tied, 0.1) == 1.0


def test_a_detection_follows_from_its_counts() -> None:
    detection = detect([0, 1, 2, 3, 9], [4, 5, 6, 1], threshold=3.0, resamples=200)
    counts = (detection.true_positives, detection.false_positives, detection.false_negatives)
    assert counts == (3, 1, 1) and detection.true_negatives == 4
    assert detection.precision == detection.recall == detection.f1 == 0.75
    assert detection.false_alarms == 0.2
    assert detection.f1_interval is not None
    assert detection.f1_interval[0] < 0.75 < detection.f1_interval[1]
    assert detect([1], [1], threshold=5.0).precision is None


def test_another_prevalence_is_equivalent_to_repeating_sequences() -> None:
    normal, anomalous = np.array([0, 1, 2, 3, 9]), np.array([4, 5, 6, 1])
    once, many = detect(normal, anomalous, 3.0), detect(np.repeat(normal, 30), anomalous, 3.0)
    precision, f1 = once.at_prevalence(4 / 154)
    assert precision == pytest.approx(many.precision)
    assert f1 == pytest.approx(many.f1)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_f1_is_that_of_an_exhaustive_search_over_thresholds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    normal, anomalous = rng.integers(0, 12, 30), rng.integers(4, 16, 20)
    tried = [detect(normal, anomalous, t - 0.5).f1 for t in range(17)]
    assert best_f1(normal, anomalous).f1 == pytest.approx(max(tried))
    assert best_f1([5, 5], [1, 2]).f1 == pytest.approx(2 * 2 / (2 * 2 + 2))  # flag everything


def test_unusable_scores_and_rates_are_refused() -> None:
    with pytest.raises(DataError, match="0 normal sequences and 2 anomalies"):
        roc_auc([], [1, 2])
    with pytest.raises(DataError, match="a score is NaN"):
        detect([1.0], [np.nan], 0.0)
    with pytest.raises(DataError, match="threshold needs at least one score"):
        quantile_threshold([], 0.1)
    with pytest.raises(ConfigError, match="false alarm rate 1"):
        quantile_threshold([1.0], 1.0)
    with pytest.raises(ConfigError, match=r"prevalence 0\.0 of anomalies"):
        detect([1.0], [2.0], 0.0).at_prevalence(0.0)
    with pytest.raises(ConfigError, match="0 resamples"):
        auc_interval([1.0], [2.0], resamples=0)
