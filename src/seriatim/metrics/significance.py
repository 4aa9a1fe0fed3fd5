"""Which model is better, and which family: two statements that rest on different evidence.

*This model beats that one on text like this.* Two fitted models, the same test text. What might
have been otherwise is the text, so its blocks are drawn anew.

*This family beats that one under this budget.* Several models of each, which differ in their
seeds. What might have been otherwise is the text and the seeds, so both are drawn anew.

With y_sn the bits that the model of seed s takes for block n, of c_n characters, the difference
of two families a and b is

    D = sum_n (mean_s a_sn - mean_s b_sn) / sum_n c_n

and a resample of it, with blocks n drawn with replacement (D_r is D of that draw), is

    D + (D_r - D) sqrt(N / x) + e t,    x ~ chi squared of N - 1,    t ~ Student's t of v.

The root makes up for the spread among N blocks being an estimate too. Drawing three seeds out of
three would give two thirds of their variance and nothing of the doubt about it: instead their
mean moves by e t, with e^2 = var_s(a_s)/S_a + var_s(b_s)/S_b and v by Welch and Satterthwaite
(Welch 1947). A family that has no seeds (counting) has no such variance. With one model on each
side this is the first statement: e = 0.

Every pair is looked at, so p-values are those of Holm's method (Holm 1979): the chance that any
of the differences called real is none is at most the level. Intervals are of single pairs.

Knows arrays; no model, no text.

Shapes: N blocks, S seeds, R resamples, M models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core.ensembles import em_weights
from seriatim.errors import DataError
from seriatim.metrics.bootstrap import Floats, resampled_sums

LEVEL = 0.05  # a difference with a smaller p-value is called real
MIN_BLOCKS = 10  # fewer say too little
MIN_SEEDS = 3


@dataclass(frozen=True)
class PairwiseDifference:
    """One pair of models, or of families.

    Attributes:
        a, b: their names.
        difference: of a and b, in bits for each unit of size; negative: a is better.
        interval: 95 % of the difference of this pair.
        p_value: of "there is no difference", by Holm's method over all pairs.
        p_value_alone: the same, as if this were the only pair.
    """

    a: str
    b: str
    difference: float
    interval: tuple[float, float]
    p_value: float
    p_value_alone: float

    @property
    def is_significant(self) -> bool:
        """Whether the two are told apart."""
        return self.p_value < LEVEL


def pairwise_differences(
    bits: Mapping[str, Floats], sizes: Floats, *, resamples: int = 20_000, seed: int = 0
) -> list[PairwiseDifference]:
    """All pairs of models or families, on the same blocks of text.

    Args:
        bits: (S, N) by name: what the models of each seed take for each block. One row: a model,
            or a family without seeds.
        sizes: (N,) of the blocks, such as their characters.
        resamples: R.
        seed: of the draws.

    Raises:
        DataError: fewer than ten blocks, or arrays of other blocks.
    """
    check_blocks(sizes)
    for name, own in bits.items():
        if own.ndim != 2 or own.shape[1] != len(sizes):
            raise DataError(f"{name} was measured on {own.shape}, not on {len(sizes)} blocks")
    names, rng = list(bits), np.random.default_rng(seed)
    means = np.stack([bits[name].mean(0) for name in names] + [np.asarray(sizes, np.float64)], 1)
    sums = resampled_sums(means, resamples, seed)
    drawn = sums[:, :-1] / sums[:, -1:]
    all_bits = means[:, :-1].sum(0) / means[:, -1].sum()
    seeds = [bits[name].sum(1) / means[:, -1].sum() for name in names]
    found: list[PairwiseDifference] = []
    for a, b in combinations(range(len(names)), 2):
        difference = float(all_bits[a] - all_bits[b])
        moved = (drawn[:, a] - drawn[:, b] - difference) * _spread(len(sizes), resamples, rng)
        moved += _seed_noise(seeds[a], seeds[b], resamples, rng)
        found.append(_statement(names[a], names[b], difference, moved))
    return holm(found)


def check_blocks(sizes: Floats) -> None:
    """Whether there are enough blocks to say anything.

    Raises:
        DataError: there are not.
    """
    if len(sizes) < MIN_BLOCKS:
        raise DataError(
            f"the test text has {len(sizes)} blocks, and fewer than {MIN_BLOCKS} say nothing about "
            "text like it: give more test text"
        )


def _spread(blocks: int, resamples: int, rng: np.random.Generator) -> Floats:
    return np.asarray(np.sqrt(blocks / rng.chisquare(blocks - 1, resamples)), np.float64)


def _seed_noise(a: Floats, b: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """(R,) how far the means over the seeds of two families may be from those of all seeds."""
    parts = [(y.var(ddof=1) / len(y), len(y) - 1) for y in (a, b) if len(y) > 1]
    variance = sum(v for v, _ in parts)
    if variance == 0:
        return np.zeros(resamples)
    freedom = variance**2 / sum(v**2 / n for v, n in parts)
    return np.asarray(np.sqrt(variance) * rng.standard_t(freedom, resamples), np.float64)


def _statement(a: str, b: str, difference: float, moved: Floats) -> PairwiseDifference:
    low, high = np.quantile(moved, [0.025, 0.975])
    # Rounding: where nothing varies, what is drawn is 0 but for the last digits.
    far = np.abs(moved) >= abs(difference) - 1e-12
    p_value = float((1 + far.sum()) / (1 + len(moved)))
    # Mirrored: the true difference is as far from ours as ours is from a resample of it.
    return PairwiseDifference(
        a, b, difference, (difference - float(high), difference - float(low)), p_value, p_value
    )


def holm(found: Sequence[PairwiseDifference]) -> list[PairwiseDifference]:
    """The statements with p-values that allow for how many there are (Holm 1979).

    With p_(1) <= .. <= p_(m):   p'_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).
    """
    adjusted, least = list(found), 0.0
    order = sorted(range(len(found)), key=lambda i: found[i].p_value_alone)
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(found) - rank) * found[i].p_value_alone))
        adjusted[i] = replace(found[i], p_value=least)
    return adjusted


def not_distinguished_from(name: str, found: Sequence[PairwiseDifference]) -> list[str]:
    """Those that no statement tells apart from `name`, itself left out."""
    pairs = [s for s in found if name in (s.a, s.b) and not s.is_significant]
    return [s.b if s.a == name else s.a for s in pairs]


# ---- mixtures -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class BestMixture:
    """The best mixture of several models.

    Attributes:
        weights: by name, of sum 1.
        nats: (N,) what it takes for each symbol of the test text.
        contributions: additional nats for the test text when a model is left out of the
            mixture and the others get the weights that are best without it.
    """

    weights: dict[str, float]
    nats: Floats
    contributions: dict[str, float]


def best_mixture(
    valid: Mapping[str, NDArray[np.floating]], test: Mapping[str, NDArray[np.floating]]
) -> BestMixture:
    """Mix models of the same symbols; weights are those of greatest likelihood on `valid`.

    Args:
        valid: nats that each model, by name, takes for each symbol of the validation text.
        test: the same of the test text.
    """
    names = list(valid)
    of_valid = torch.from_numpy(-np.stack([valid[name] for name in names]).astype(np.float64))
    of_test = torch.from_numpy(-np.stack([test[name] for name in names]).astype(np.float64))
    weights, nats = _mixed(of_valid, of_test)
    adds = {}
    for i, name in enumerate(names):
        others = [j for j in range(len(names)) if j != i]
        if others:
            without = _mixed(of_valid[others], of_test[others])[1]
            adds[name] = float((without - nats).sum())
    return BestMixture(dict(zip(names, weights.tolist(), strict=True)), nats.numpy(), adds)


def _mixed(valid: torch.Tensor, test: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (M,), and the nats (N,) of the mixture on the test text."""
    weights = em_weights(valid)
    return weights, -torch.logsumexp(test + weights.log()[:, None], 0)
