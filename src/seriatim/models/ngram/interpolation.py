"""Interpolated smoothing: every order is mixed with the next shorter context.

    p(w | h) = alpha(h w) + gamma(h) p(w | h'),      p(w | nothing) = alpha(w) + gamma / V

alpha(h w) is the discounted probability of the n-gram, gamma(h) the interpolation weight: the
mass that the discounts free for shorter contexts. As alpha sums to 1 - gamma(h) over w, p sums to
1 by induction, and as gamma > 0, no symbol has probability 0. A method states its counts and
discounts (`Discounting`); `interpolate` does the rest, some contexts at a time, and writes the
result in backoff form, where log_backoff(h) = log10 gamma(h).

Shapes: V symbols, N n-grams of all orders, N_m of order m.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seriatim.models.ngram.arrays import CHUNK, LOG_10, NUM_THREADS, Floats, Mask
from seriatim.models.ngram.backoff_model import BackoffModel
from seriatim.models.ngram.counting import Counts


@dataclass(frozen=True)
class SmoothingOptions:
    """Options of the smoothing methods.

    Attributes:
        prune: a count threshold for each order: n-grams that occur no more often are pruned, as
            by `lmplz --prune`; () prunes none. Thresholds never fall, and the first is 0.
        k: the pseudo-count of add-k.
    """

    prune: tuple[int, ...] = ()
    k: float = 0.1

    def threshold(self, m: int) -> int:
        """The threshold of order m; the last one holds for all higher orders."""
        return self.prune[min(m, len(self.prune)) - 1] if self.prune else 0


@dataclass(frozen=True)
class Discounting:
    """The counts of one order and their discounts.

    Attributes:
        count: (N_m,) a(h w): the count of each n-gram, or a number derived from it.
        discount: the function that gives d(a) for counts a.
        is_added: whether d is mass beside the count (Witten-Bell) and not a part of it: the
            total is then a + d, and alpha keeps all of a.
    """

    count: npt.NDArray[Any]
    discount: Callable[[npt.NDArray[Any]], Floats]
    is_added: bool = False


def interpolate(
    counts: Counts, options: SmoothingOptions, discounting: Callable[[Counts, int], Discounting]
) -> BackoffModel:
    """p(w | h) of every n-gram, from order 1 upwards.

        alpha(h w) = (a(h w) - d(h w)) / sum_v a(h v),     gamma(h) = sum_v d(h v) / sum_v a(h v)

    where `is_added` puts a + d in place of a. A pruned n-gram is discounted by all of its count,
    as in KenLM, and is not listed.

    Args:
        counts: the n-grams.
        options: thresholds for pruning.
        discounting: the function that gives the counts and discounts of an order.
    """
    # Both hold p and gamma until the end: the order below is then a view.
    log_prob = np.empty(len(counts.count))
    log_backoff = np.ones(int(counts.starts[-2]))
    lower = np.array([1.0 / counts.num_symbols])
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        for m in range(1, counts.order + 1):
            p = log_prob[counts.ids(m)]
            gamma = np.ones(1) if m == 1 else log_backoff[counts.ids(m - 1)]
            step = _Order(counts, options, m, discounting(counts, m), lower, p, gamma)
            list(threads.map(step.interpolate, *zip(*counts.contexts(m), strict=True)))
            lower = p
        list(threads.map(_to_log10, [*_pieces(log_prob), *_pieces(log_backoff)]))
    model = BackoffModel(counts.starts, counts.key, log_prob, log_backoff)
    return without_pruned(model, counts, options)


def _pieces(array: Floats) -> list[Floats]:
    """An array in views whose work stays in the caches."""
    return [array[low : low + CHUNK] for low in range(0, len(array), CHUNK)]


def _to_log10(array: Floats) -> None:
    np.log(array, out=array)
    array /= LOG_10


@dataclass(frozen=True)
class _Order:
    """One order of an interpolation: reads p of the order below, writes `p` and `gamma`."""

    counts: Counts
    options: SmoothingOptions
    m: int
    discounting: Discounting
    lower: Floats
    p: Floats
    gamma: Floats

    def interpolate(self, low: int, high: int) -> None:
        """N-grams low .. high - 1 of the order, which are all successors of some contexts."""
        prefix = self.counts.prefixes(self.m, low, high)
        base = int(prefix[0])
        prefix -= base
        alpha = self.discounting.count[low:high].astype(np.float64)
        discount = self.discounting.discount(self.discounting.count[low:high])
        if not self.discounting.is_added:
            alpha -= discount
        pruned = is_pruned(self.counts, self.options, self.m, low, high)
        if pruned is not None:
            discount[pruned] += alpha[pruned]
            alpha[pruned] = 0.0
        freed = np.bincount(prefix, discount)
        total = np.bincount(prefix, alpha) + freed
        is_context = total > 0
        total[~is_context] = 1.0
        gamma = np.where(is_context, freed / total, 1.0)
        self.gamma[base : base + len(gamma)] = gamma
        p = self.lower[self.counts.suffixes(self.m, low, high)]
        p *= gamma[prefix]
        alpha /= total[prefix]
        np.add(p, alpha, out=self.p[low:high])


def smoothing_bytes(counts: Counts) -> int:
    """About the bytes an interpolated method takes, its result included, beside mapped counts.

    These are log10 p of every n-gram and the backoff of every context; the counts of one order at a
    time; and the parts that are worked on.
    """
    sizes = [counts.size(m) for m in range(counts.order + 1)]
    result = 8 * (sum(sizes[1:]) + sum(sizes[1:-1]))
    step = 24 * max(sizes)
    return result + step + NUM_THREADS * 64 * min(1 << 17, max(sizes))


# ---- pruning by counts --------------------------------------------------------------------------


def is_pruned(
    counts: Counts, options: SmoothingOptions, m: int, low: int = 0, high: int | None = None
) -> Mask | None:
    """Which of the n-grams low .. high - 1 of order m are pruned; None: none."""
    threshold = options.threshold(m)
    if threshold == 0:
        return None
    mask: Mask = counts.count[counts.ids(m)][low:high] <= threshold
    return mask


def without_pruned(model: BackoffModel, counts: Counts, options: SmoothingOptions) -> BackoffModel:
    """The model of counts without the n-grams that the options prune."""
    if not any(options.prune):
        return model
    is_kept = np.ones(len(counts.count), dtype=bool)
    for m in range(2, counts.order + 1):
        pruned = is_pruned(counts, options, m)
        if pruned is not None:
            is_kept[counts.ids(m)] = ~pruned
    return model.subset(is_kept)
