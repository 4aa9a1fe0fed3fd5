"""Minimum Bayes risk and its chrF, against the definition written out and against sacrebleu."""

import pytest

from seriatim.decode.mbr import ChrF, minimum_bayes_risk
from seriatim.errors import ConfigError

SENTENCES = [
    "the cat sat on the mat",
    "the cat sits on a mat",
    "a dog",
    "",
    "über größe ÉTÉ",
    "cat",
    "the the the",
]


def _closeness(a: str, b: str) -> float:
    return -abs(len(a) - len(b))


def test_the_candidate_of_greatest_expected_utility_comes_first() -> None:
    candidates = ["aaaa", "a", "aa", "aa", "aaa", "a"]
    expected = {
        c: sum(_closeness(c, r) for r in candidates) / len(candidates) for c in set(candidates)
    }
    results = minimum_bayes_risk(candidates, _closeness)
    by_value_then_position = sorted(expected, key=lambda c: (-expected[c], candidates.index(c)))
    assert [candidates[i] for i, _ in results] == by_value_then_position
    for i, value in results:
        assert value == pytest.approx(expected[candidates[i]])
        assert candidates.index(candidates[i]) == i, "the first occurrence stands for all"


def test_equal_candidates_are_compared_once() -> None:
    compared: list[tuple[str, str]] = []

    def utility(a: str, b: str) -> float:
        compared.append((a, b))
        return float(a == b)

    results = minimum_bayes_risk(["x", "y", "x", "x"], utility)
    assert results == [(0, 0.75), (1, 0.25)]
    assert len(compared) == len(set(compared)) == 4


def test_no_candidate_is_refused() -> None:
    with pytest.raises(ConfigError, match="give at least one"):
        minimum_bayes_risk([], _closeness)


def test_chrf_by_hand() -> None:
    """ "ab" against "abc": P = (1, 1), R = (2/3, 1/2); trigrams only the reference has."""
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    expected = 100 * 5 * precision * recall / (4 * precision + recall)
    assert ChrF()("ab", "abc") == pytest.approx(expected)
    assert ChrF()("a b c", "abc") == pytest.approx(100), "spaces do not count"
    assert ChrF()("", "abc") == ChrF()("abc", "") == 0.0


def test_chrf_is_that_of_sacrebleu() -> None:
    metrics = pytest.importorskip("sacrebleu.metrics")
    theirs, ours = metrics.CHRF(), ChrF()
    for a in SENTENCES:
        for b in SENTENCES:
            assert ours(a, b) == pytest.approx(theirs.sentence_score(a, [b]).score, abs=1e-9)
