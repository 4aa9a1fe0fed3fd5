"""Which model is better, and which family: two claims that rest on different evidence.

*This model beats that one on text like this.* Two fitted models, the same test text. The text is
the random part, so its blocks are resampled.

*This family beats that one under this budget.* Several models of each family, which differ in
their seeds. The text and the seeds are random, so both are resampled.

With a_sn the bits of block n, of c_n characters, under the model of family a with seed s, the
difference of two families a and b is

    D = sum_n (mean_s a_sn - mean_s b_sn) / sum_n c_n

and a resample of it, with blocks n drawn with replacement (D_r is D on that resample), is

    D + (D_r - D) sqrt(N / x) + e t,    x ~ chi squared of N - 1,    t ~ Student's t of v.

The root accounts for the spread among N blocks being an estimate itself. Resampling three seeds
with replacement would give two thirds of their variance, and none of the uncertainty about it;
instead their mean varies by e t, with e^2 = var_s(a_s)/S_a + var_s(b_s)/S_b and v by Welch and
Satterthwaite (Welch 1947). A family without seeds (counting) has no such variance. With one model
on each side this is the first claim: e = 0.

All pairs are tested, so p-values are adjusted by Holm's method (Holm 1979): the probability of
any false claim of a difference is at most the level. Intervals are those of single pairs.

Knows arrays; no model and no text.

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

LEVEL = 0.05  # a difference with a smaller p-value is called significant
MIN_BLOCKS = 10
MIN_SEEDS = 3


@dataclass(frozen=True)
class PairwiseDifference:
    """The difference of two models, or of two families.

    Attributes:
        a, b: their names.
        difference: a - b in bits per unit of size; negative: a is better.
        interval: the 95 % interval of the difference, for this pair alone.
        p_value: the p-value of "there is no difference", adjusted by Holm over all pairs.
        p_value_alone: the unadjusted p-value.
    """

    a: str
    b: str
    difference: float
    interval: tuple[float, float]
    p_value: float
    p_value_alone: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference is significant."""
        return self.p_value < LEVEL


def pairwise_differences(
    bits: Mapping[str, Floats], sizes: Floats, *, resamples: int = 20_000, seed: int = 0
) -> list[PairwiseDifference]:
    """The differences of all pairs of models or families, on the same blocks of text.

    Args:
        bits: (S, N) by name: the bits of each block under the model of each seed. One row: a
            single model, or a family without seeds.
        sizes: (N,) the sizes of the blocks, such as their numbers of characters.
        resamples: the number R of resamples.
        seed: the seed of the resamples.

    Raises:
        DataError: if there are fewer than ten blocks, or arrays have other numbers of blocks.
    """
    check_blocks(sizes)
    for name, values in bits.items():
        if values.ndim != 2 or values.shape[1] != len(sizes):
            raise DataError(f"{name} has bits of shape {values.shape}, not of {len(sizes)} blocks")
    names, rng = list(bits), np.random.default_rng(seed)
    means = np.stack([bits[name].mean(0) for name in names] + [np.asarray(sizes, np.float64)], 1)
    sums = resampled_sums(means, resamples, seed)
    resampled = sums[:, :-1] / sums[:, -1:]
    observed = means[:, :-1].sum(0) / means[:, -1].sum()
    seeds = [bits[name].sum(1) / means[:, -1].sum() for name in names]
    pairs: list[PairwiseDifference] = []
    for a, b in combinations(range(len(names)), 2):
        difference = float(observed[a] - observed[b])
        noise = resampled[:, a] - resampled[:, b] - difference
        noise *= np.sqrt(len(sizes) / rng.chisquare(len(sizes) - 1, resamples))
        noise += _seed_noise(seeds[a], seeds[b], resamples, rng)
        pairs.append(_test(names[a], names[b], difference, noise))
    return holm(pairs)


def check_blocks(sizes: Floats) -> None:
    """
    Raises:
        DataError: if there are too few blocks to say anything.
    """
    if len(sizes) < MIN_BLOCKS:
        raise DataError(
            f"the test text has {len(sizes)} blocks, and a comparison needs at least "
            f"{MIN_BLOCKS}: give more test text"
        )


def _seed_noise(a: Floats, b: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """(R,) noise of the difference of the mean bits of two families, from their seeds."""
    parts = [(y.var(ddof=1) / len(y), len(y) - 1) for y in (a, b) if len(y) > 1]
    variance = sum(v for v, _ in parts)
    if variance == 0:
        return np.zeros(resamples)
    freedom = variance**2 / sum(v**2 / n for v, n in parts)
    return np.asarray(np.sqrt(variance) * rng.standard_t(freedom, resamples), np.float64)


def _test(a: str, b: str, difference: float, noise: Floats) -> PairwiseDifference:
    low, high = np.quantile(noise, [0.025, 0.975])
    # Tolerance: if nothing varies, the noise is 0 up to rounding.
    far = np.abs(noise) >= abs(difference) - 1e-12
    p_value = float((1 + far.sum()) / (1 + len(noise)))
    # Mirrored (basic bootstrap): the truth differs from ours as ours does from a resample.
    return PairwiseDifference(
        a, b, difference, (difference - float(high), difference - float(low)), p_value, p_value
    )


def holm(pairs: Sequence[PairwiseDifference]) -> list[PairwiseDifference]:
    """The differences with p-values adjusted for their number (Holm 1979).

    With p_(1) <= .. <= p_(m):   p'_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).
    """
    adjusted, least = list(pairs), 0.0
    order = sorted(range(len(pairs)), key=lambda i: pairs[i].p_value_alone)
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(pairs) - rank) * pairs[i].p_value_alone))
        adjusted[i] = replace(pairs[i], p_value=least)
    return adjusted


def not_distinguished_from(name: str, pairs: Sequence[PairwiseDifference]) -> list[str]:
    """The others that do not differ significantly from `name`."""
    ties = [p for p in pairs if name in (p.a, p.b) and not p.is_significant]
    return [p.b if p.a == name else p.a for p in ties]


# ---- mixtures -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class BestMixture:
    """The best mixture of several models.

    Attributes:
        weights: the weights by name, of sum 1.
        nats: (N,) the surprisal of each symbol of the test text.
        contributions: the additional nats of the test text when a model is left out of the
            mixture and the weights of the others are fitted without it, by name.
    """

    weights: dict[str, float]
    nats: Floats
    contributions: dict[str, float]


def best_mixture(
    valid: Mapping[str, NDArray[np.floating]], test: Mapping[str, NDArray[np.floating]]
) -> BestMixture:
    """The mixture of models with the same symbols that has the greatest likelihood on `valid`.

    Args:
        valid: (n,) the surprisals of the validation text under each model, by name.
        test: (N,) the surprisals of the test text under each model, by name.
    """
    names = list(valid)
    log_valid = torch.from_numpy(-np.stack([valid[name] for name in names]).astype(np.float64))
    log_test = torch.from_numpy(-np.stack([test[name] for name in names]).astype(np.float64))
    weights, nats = _fit_mixture(log_valid, log_test)
    contributions = {}
    for i, name in enumerate(names):
        others = [j for j in range(len(names)) if j != i]
        if others:
            without = _fit_mixture(log_valid[others], log_test[others])[1]
            contributions[name] = float((without - nats).sum())
    return BestMixture(dict(zip(names, weights.tolist(), strict=True)), nats.numpy(), contributions)


def _fit_mixture(valid: torch.Tensor, test: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights (M,), and the nats (N,) of the mixture on the test text."""
    weights = em_weights(valid)
    return weights, -torch.logsumexp(test + weights.log()[:, None], 0)
