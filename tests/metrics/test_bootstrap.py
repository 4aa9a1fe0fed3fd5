"""Paired bootstrap against closed forms, and the corpus metrics it is used with."""

import numpy as np
import pytest

from seriatim.errors import ConfigError, DataError, MissingExtraError
from seriatim.metrics import bleu_chrf
from seriatim.metrics.bootstrap import (
    block_sums,
    bootstrap_interval,
    paired_bootstrap,
    ratio,
    resampled_sums,
)

RNG = np.random.default_rng(0)
ONES = np.ones((400, 1))


def _counts(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values, np.ones(len(values))])


def test_the_interval_of_a_mean_agrees_with_the_central_limit_theorem() -> None:
    values = RNG.normal(3.0, 2.0, 400)
    mean, (low, high) = bootstrap_interval(_counts(values), ratio, resamples=4000)
    half = 1.96 * values.std() / 20
    assert mean == pytest.approx(values.mean())
    assert (low, high) == (
        pytest.approx(mean - half, abs=0.02),
        pytest.approx(mean + half, abs=0.02),
    )


def test_pairs_are_resampled_together() -> None:
    """Systems that differ by a constant differ by it in every resample."""
    values = RNG.normal(3.0, 2.0, 400)
    comparison = paired_bootstrap(_counts(values + 0.01), _counts(values), ratio)
    assert comparison.difference == pytest.approx(0.01)
    assert comparison.interval == (pytest.approx(0.01), pytest.approx(0.01))
    assert comparison.wins == 1.0
    assert comparison.p_value == pytest.approx(1 / 1001)


def test_equal_systems_do_not_differ() -> None:
    values = _counts(RNG.normal(3.0, 2.0, 400))
    comparison = paired_bootstrap(values, values, ratio)
    assert (comparison.difference, comparison.p_value, comparison.wins) == (0.0, 1.0, 0.5)


@pytest.mark.slow
def test_the_p_value_agrees_with_a_test_of_the_mean_difference() -> None:
    """A difference of 1.96 standard errors has a two-sided p of 0.05."""
    noise = RNG.normal(size=400)
    noise = (noise - noise.mean()) / noise.std()
    comparison = paired_bootstrap(
        _counts(noise + 0.098), _counts(0 * noise), ratio, resamples=20_000
    )
    assert comparison.p_value == pytest.approx(0.05, abs=0.01)
    swapped = paired_bootstrap(_counts(0 * noise), _counts(noise + 0.098), ratio, resamples=20_000)
    assert swapped.p_value == pytest.approx(comparison.p_value)
    assert swapped.wins == pytest.approx(1 - comparison.wins)


def test_resamples_depend_on_the_seed() -> None:
    counts = _counts(RNG.normal(size=50))
    assert np.array_equal(resampled_sums(counts, 100, 3), resampled_sums(counts, 100, 3))
    assert not np.array_equal(resampled_sums(counts, 100, 3), resampled_sums(counts, 100, 4))
    assert (resampled_sums(counts, 100, 3)[:, 1] == 50).all()


def test_blocks_have_at_least_their_size_and_lose_nothing() -> None:
    sizes = np.array([400, 700, 100, 950, 20, 40, 300])
    counts = np.column_stack([sizes, np.arange(7)]).astype(float)
    assert block_sums(counts, sizes).tolist() == [[1100, 1], [1410, 20]]
    assert block_sums(counts, sizes, 1).tolist() == counts.tolist()
    assert block_sums(counts, sizes, 10**9).tolist() == [counts.sum(0).tolist()]


def test_different_items_and_impossible_settings_are_refused() -> None:
    with pytest.raises(DataError, match="same items"):
        paired_bootstrap(np.ones((3, 2)), np.ones((4, 2)), ratio)
    with pytest.raises(DataError, match="needs at least two items, and there are 1"):
        bootstrap_interval(np.ones((1, 2)), ratio)
    with pytest.raises(ConfigError, match="level 2"):
        bootstrap_interval(np.ones((3, 2)), ratio, level=2)
    with pytest.raises(DataError, match="one for each"):
        block_sums(ONES, np.array([1]))


REFERENCES = [
    "The quick brown fox jumps over the lazy dog .",
    "It was a bright cold day in April , and the clocks were striking thirteen .",
    "All happy families are alike .",
    "Call me Ishmael .",
] * 5
GOOD = [r.replace("lazy", "idle").replace("cold", "chilly") for r in REFERENCES]
BAD = [" ".join(r.split()[::2]) for r in REFERENCES]


def test_bleu_and_chrf_equal_sacrebleu_and_carry_its_signature() -> None:
    metrics = pytest.importorskip("sacrebleu.metrics")
    for hypotheses in (GOOD, BAD, [r.upper() for r in REFERENCES]):
        for lowercase in (False, True):
            score = bleu_chrf.bleu(hypotheses, REFERENCES, lowercase=lowercase)
            theirs = metrics.BLEU(lowercase=lowercase, force=True)
            expected = theirs.corpus_score(hypotheses, [REFERENCES]).score
            assert score.score == pytest.approx(expected)
            assert f"case:{'lc' if lowercase else 'mixed'}" in score.signature
            of_counts = bleu_chrf.bleu_of_counts(score.counts.sum(0)[None])
            assert float(of_counts[0]) == pytest.approx(expected)
            score = bleu_chrf.chrf(hypotheses, REFERENCES, lowercase=lowercase)
            theirs = metrics.CHRF(lowercase=lowercase)
            expected = theirs.corpus_score(hypotheses, [REFERENCES]).score
            assert score.score == pytest.approx(expected)
            of_counts = bleu_chrf.ChrF().score(score.counts.sum(0)[None])
            assert float(of_counts[0]) == pytest.approx(expected)


def test_bleu_of_counts_equals_sacrebleu_without_matches() -> None:
    metrics = pytest.importorskip("sacrebleu.metrics")
    for hypotheses in (["a b c d"], ["the quick"], ["zzz"], ["the brown quick jumps fox"], [""]):
        score = bleu_chrf.bleu(hypotheses, ["the quick brown fox jumps"])
        expected = metrics.BLEU(force=True).corpus_score(
            hypotheses, [["the quick brown fox jumps"]]
        )
        of_counts = float(bleu_chrf.bleu_of_counts(score.counts.sum(0)[None])[0])
        assert of_counts == pytest.approx(expected.score, abs=1e-9)


@pytest.mark.parametrize("measure", [bleu_chrf.bleu, bleu_chrf.chrf])
def test_a_better_system_wins_the_paired_bootstrap(measure) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("sacrebleu")
    good, bad = measure(GOOD, REFERENCES), measure(BAD, REFERENCES)
    comparison = bleu_chrf.compare_scores(good, bad)
    assert comparison.difference == pytest.approx(good.score - bad.score)
    assert comparison.p_value < 0.01 and comparison.wins == 1.0
    assert comparison.interval[0] > 0


def test_scores_with_different_settings_are_not_compared() -> None:
    pytest.importorskip("sacrebleu")
    cased = bleu_chrf.bleu(GOOD, REFERENCES)
    lower = bleu_chrf.bleu(GOOD, REFERENCES, lowercase=True)
    with pytest.raises(DataError, match="measure both systems with the same settings"):
        bleu_chrf.compare_scores(cased, lower)
    with pytest.raises(DataError, match="20 translations do not fit 1 references"):
        bleu_chrf.bleu(GOOD, ["one"])


def test_without_sacrebleu_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'seriatim\[text\]'"):
        bleu_chrf.bleu(GOOD, REFERENCES)
