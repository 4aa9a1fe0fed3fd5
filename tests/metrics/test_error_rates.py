"""Error rates, F1, confusion and calibration, against definitions written out."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from seriatim.errors import DataError
from seriatim.metrics.error_rates import (
    calibration,
    edit_distance,
    exact_match,
    fit_temperature,
    label_errors,
    symbol_error_rate,
    word_error_rate,
)


def recursive(a: Sequence[object], b: Sequence[object]) -> int:
    """Levenshtein's distance as it is defined."""

    @functools.cache
    def d(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return d(len(a), len(b))


def test_the_edit_distance_is_that_of_the_recursion() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        a, b = (rng.integers(0, rng.integers(1, 5), rng.integers(0, 12)).tolist() for _ in "ab")
        assert edit_distance(a, b) == edit_distance(b, a) == recursive(a, b)


def test_known_distances() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == edit_distance("abc", "") == 3
    assert edit_distance([], []) == 0
    long = list(range(3000))
    assert edit_distance(long, [*long[1:], -1]) == 2


def test_rates_count_edits_per_reference_symbol() -> None:
    rate = symbol_error_rate(["kitten", "abc", ""], ["sitting", "abc", "xy"])
    assert (rate.edits, rate.length, rate.exact, rate.count) == (5, 12, 1 / 3, 3)
    assert rate.rate == 5 / 12
    words = word_error_rate(["the cat  sat", "a b"], ["the cat sat", "a c d"])
    assert (words.edits, words.length, words.exact) == (2, 6, 0.5)
    assert math.isnan(symbol_error_rate(["a"], [""]).rate)
    assert exact_match([1, 2, 3, 4], [1, 0, 3, 4]) == 0.75


def test_lists_that_do_not_fit_are_refused_with_both_lengths() -> None:
    for measure in (symbol_error_rate, exact_match, label_errors):
        with pytest.raises(DataError, match="2 predictions do not fit 1 "):
            measure(["a", "b"], ["a"])
        with pytest.raises(DataError, match="no items to measure"):
            measure([], [])


def test_confusion_and_f1_by_hand() -> None:
    """Class a: P 2/3, R 2/2; b: P 1/2, R 1/3; c: never right. F1: 4/5, 2/5, 0."""
    actual = ["a", "a", "b", "b", "b", "c"]
    predicted = ["a", "a", "a", "b", "c", "b"]
    errors = label_errors(predicted, actual, labels=["c", "b", "a", "unused"])
    assert errors.confusion.tolist() == [[0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert errors.accuracy == 0.5
    assert errors.f1[:3].tolist() == [0.0, pytest.approx(0.4), pytest.approx(0.8)]
    assert math.isnan(errors.f1[3])
    assert errors.macro_f1 == pytest.approx(0.4)
    assert label_errors(predicted, actual).labels == ("a", "b", "c")
    with pytest.raises(DataError, match="'c' is not among the 2 labels"):
        label_errors(predicted, actual, labels=["a", "b"])


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    p = np.array([[0.95, 0.05], [0.91, 0.09], [0.4, 0.6], [0.45, 0.55]])
    result = calibration(p, np.array([0, 1, 1, 1]), bins=10)
    expected = 0.5 * abs(0.5 - 0.93) + 0.25 * abs(1 - 0.6) + 0.25 * abs(1 - 0.55)
    assert result.error == pytest.approx(expected)
    assert result.fraction.sum() == 1
    assert result.confidence[9] == pytest.approx(0.93) and result.accuracy[9] == 0.5


def test_probabilities_that_are_kept_have_a_small_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1.0, 1.0, 1.0], 20_000)
    actual = (p.cumsum(1) < rng.random((20_000, 1))).sum(1)
    assert calibration(p, actual).error < 0.02


@pytest.mark.slow
def test_the_temperature_is_that_of_greatest_likelihood() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4000, 5)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    actual = (p.cumsum(1) < rng.random((4000, 1))).sum(1)
    for factor in (0.3, 1.0, 4.0):

        def likelihood(t: float, factor: float = factor) -> float:
            scaled = logits * factor / t
            scaled -= np.log(np.exp(scaled).sum(1, keepdims=True))
            return float(scaled[np.arange(4000), actual].sum())

        temperature = fit_temperature(logits * factor, actual)
        grid = max(np.geomspace(0.1, 10, 400), key=likelihood)
        assert temperature == pytest.approx(grid, rel=0.02)
        assert likelihood(temperature) >= likelihood(grid)


def test_extreme_items_leave_the_temperature_within_its_range() -> None:
    always_right = np.array([[3.0, -1.0], [-2.0, 1.0]])
    assert 0.01 <= fit_temperature(always_right, np.array([0, 1])) < 0.05
    assert 20 < fit_temperature(always_right, np.array([1, 0])) <= 100
    certain = np.array([[0.0, -np.inf], [-np.inf, 0.0], [0.0, -np.inf]])
    assert np.isfinite(fit_temperature(certain, np.array([0, 1, 1])))
