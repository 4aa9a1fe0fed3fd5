"""From counts to probabilities: the smoothing methods, each a function of `Counts`.

All but two have one form. With h' the context h without its oldest symbol,

    p(w | h) = kept(h w) + left(h) · p(w | h'),        p(w | nothing) = kept(w) + left / V

`kept` is the share of probability that the n-gram's own count gives it, `left` the share that
the context passes on to shorter contexts. As kept sums to 1 - left over w, p sums to 1 by
induction, and as left > 0, no symbol of the alphabet has probability 0. Such a method only says
what weighs an n-gram and what it passes on; `interpolate` does the rest, some contexts at a time,
and writes the result in backoff form. Stupid backoff and add-k have no such form and write the
backoff form themselves.

Shapes: V symbols, N n-grams of all orders, N_m of order m.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from seriatim.models.ngram.counting import NUM_THREADS, Counts, Ints
from seriatim.models.ngram.merging import subset

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
LOG_10 = float(np.log(10.0))


@dataclass(frozen=True)
class Backoffs:
    """A model in backoff form (Chen, Goodman 1998, section 2.8), as ARPA has it.

    p(w | h) is 10^log_prob of the n-gram h w where that is listed, and 10^log_backoff of h times
    p(w | h') where it is not. Ids, `starts` and `key` are those of `Counts`. Logarithms are to
    the base of 10, so that a file comes back from the table digit by digit.

    Attributes:
        starts: (n + 1,).
        key: (N - V,) int64, rising.
        log_prob: (N,) log10.
        log_backoff: (starts[n - 1],) log10; 0 where nothing follows.
        facts: what the method found, as JSON values, for the record kept with the model.
    """

    starts: Ints
    key: Ints
    log_prob: Floats
    log_backoff: Floats
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What a method may be told.

    Attributes:
        prune: a count for each order: n-grams that occur no more often are dropped, as
            `lmplz --prune` drops them; () for none. It never falls and begins with 0.
        k: what add-k adds.
    """

    prune: tuple[int, ...] = ()
    k: float = 0.1

    def threshold(self, m: int) -> int:
        """Of order m; the last one given holds for all higher orders."""
        return self.prune[min(m, len(self.prune)) - 1] if self.prune else 0


def smoothing_bytes(counts: Counts) -> int:
    """About what an interpolated method takes, its result included, beside mapped counts.

    log10 p of every n-gram and the backoff of every context; of one order at a time the weight,
    and of the order below p and what is left; and the parts that are worked on.
    """
    sizes = [counts.size(m) for m in range(counts.order + 1)]
    result = 8 * (sum(sizes[1:]) + sum(sizes[1:-1]))
    step = max(8 * (own + 2 * below) for below, own in pairwise(sizes))
    return result + step + NUM_THREADS * 64 * min(1 << 20, max(sizes))


Smoothing: TypeAlias = Callable[[Counts, Options], Backoffs]


@dataclass(frozen=True)
class Weighing:
    """What an interpolated method says of one order.

    Attributes:
        weight: (N_m,) what an n-gram counts: its count, or a number derived from it.
        passed_on: what n-grams of such weights pass on to shorter contexts; an n-gram has its
            weight and `extra` together, and keeps what it does not pass on.
        extra: what it passes on lies on top of its weight, and is no part of it.
    """

    weight: npt.NDArray[Any]
    passed_on: Callable[[npt.NDArray[Any]], Floats]
    extra: bool = False


def interpolate(
    counts: Counts, options: Options, weigh: Callable[[Counts, int], Weighing]
) -> Backoffs:
    """p(w | h) of every n-gram, from order 1 upwards.

    With a the weight and d what is passed on, and sums over the symbols seen after h,

        kept(h w) = (a(h w) - d(h w)) / sum a,        left(h) = sum d / sum a

    where `extra` puts a + d in the place of a. A pruned n-gram passes on all of its weight, as
    in KenLM, and is left out in the end.
    """
    log_prob = np.empty(len(counts.count))
    log_backoff = np.zeros(int(counts.starts[-2]))
    lower = np.array([1.0 / counts.num_symbols])
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        for m in range(1, counts.order + 1):
            p, left = log_prob[counts.ids(m)], np.ones(counts.size(m - 1))
            step = _Step(counts, options, m, weigh(counts, m), lower, p, left)
            list(threads.map(step.work, *zip(*counts.contexts(m), strict=True)))
            if m > 1:
                log_backoff[counts.ids(m - 1)] = np.log(left)
            lower = p.copy()
            np.log(p, out=p)
    log_prob /= LOG_10
    log_backoff /= LOG_10
    return _drop(counts, options, log_prob, log_backoff)


@dataclass(frozen=True)
class _Step:
    """One order of an interpolation: reads `lower`, writes `p` and `left`."""

    counts: Counts
    options: Options
    m: int
    weighing: Weighing
    lower: Floats
    p: Floats
    left: Floats

    def work(self, low: int, high: int) -> None:
        """N-grams low .. high - 1 of the order, which are all that go on from some contexts."""
        prefix = self.counts.prefixes(self.m, low, high)
        base = int(prefix[0])
        prefix -= base
        own = self.weighing.weight[low:high].astype(np.float64)
        passed = self.weighing.passed_on(self.weighing.weight[low:high])
        if not self.weighing.extra:
            own -= passed
        pruned = _pruned(self.counts, self.options, self.m, low, high)
        if pruned is not None:
            passed[pruned] += own[pruned]
            own[pruned] = 0.0
        passed_by = np.bincount(prefix, passed)
        total = np.bincount(prefix, own) + passed_by
        is_context = total > 0
        total[~is_context] = 1.0
        left = np.where(is_context, passed_by / total, 1.0)
        self.left[base : base + len(left)] = left
        p = self.lower[self.counts.suffixes(self.m, low, high)]
        p *= left[prefix]
        own /= total[prefix]
        np.add(p, own, out=self.p[low:high])


def _drop(counts: Counts, options: Options, log_prob: Floats, log_backoff: Floats) -> Backoffs:
    """The model without its pruned n-grams."""
    if any(options.prune):
        is_kept = np.ones(len(counts.count), dtype=bool)
        for m in range(2, counts.order + 1):
            mask = _pruned(counts, options, m, 0, counts.size(m))
            if mask is not None:
                is_kept[counts.ids(m)] = ~mask
        counts = subset(counts, is_kept)
        log_prob = log_prob[is_kept]
        log_backoff = log_backoff[is_kept[: len(log_backoff)]]
    return Backoffs(counts.starts, counts.key, log_prob, log_backoff)


# ---- methods ------------------------------------------------------------------------------------


def kneser_ney(counts: Counts, options: Options) -> Backoffs:
    """Modified interpolated Kneser-Ney (Chen, Goodman 1998, section 3, equations 26 and 27).

        kept(h w) = (a(h w) - D(a(h w))) / sum_v a(h v)
        left(h)   = (D_1 N_1(h) + D_2 N_2(h) + D_3+ N_3+(h)) / sum_v a(h v)

    where N_c(h) is the number of w with a(h w) = c. a is the count itself at the highest
    order. Below it is the number of different symbols seen before h w, plus the occurrences
    with nothing before them, those that begin a sequence. (For sequences with ends this is the
    rule of KenLM, where n-grams that begin with <s> keep their counts.)

    Discounts are estimated before pruning.
    """
    discounts: list[list[float]] = []
    fallbacks: list[int] = []

    def weigh(counts: Counts, m: int) -> Weighing:
        adjusted = _adjusted(counts, m)
        discount, is_fallback = _discounts(adjusted)
        discounts.append(list(discount))
        if is_fallback:
            fallbacks.append(m)
        taken = np.array([0.0, *discount])
        return Weighing(adjusted, lambda a: taken[np.minimum(a, 3)])

    found = interpolate(counts, options, weigh)
    found.facts.update(discounts=discounts, fallback_orders=fallbacks)
    return found


def witten_bell(counts: Counts, options: Options) -> Backoffs:
    """Interpolated Witten-Bell (Chen, Goodman 1998, section 2.6; method C of the 1991 paper).

        kept(h w) = c(h w) / (c(h) + t(h)),      left(h) = t(h) / (c(h) + t(h))

    with c(h) = sum_v c(h v), and t(h) the number of different symbols seen after h.
    """

    def weigh(counts: Counts, m: int) -> Weighing:
        own = counts.count[counts.ids(m)]
        return Weighing(own, lambda c: (c > 0).astype(np.float64), extra=True)

    return interpolate(counts, options, weigh)


def maximum_likelihood(counts: Counts, options: Options) -> Backoffs:
    """Relative frequencies, with a millionth of the probability left to shorter contexts.

        kept(h w) = (1 - e) c(h w) / c(h),      left(h) = e = 10^-6

    The plain estimate gives 0 to whatever was not seen, and one such symbol makes the
    perplexity of a text infinite. What was seen loses 10^-6 of its probability.
    """

    def weigh(counts: Counts, m: int) -> Weighing:
        return Weighing(counts.count[counts.ids(m)], lambda c: 1e-6 * c)

    return interpolate(counts, options, weigh)


def stupid_backoff(counts: Counts, options: Options) -> Backoffs:
    """Stupid backoff (Brants et al. 2007, equation 5), normalized.

        S(w | h) = c(h w) / c(h)  if seen,  else  0.4 · S(w | h'),      S(w | nothing) = 1 / V
        p(w | h) = S(w | h) / Z(h),      Z(h) = 1 + 0.4 (Z(h') - sum of S(v | h') over seen v)

    S is no distribution; Z(h) makes it one, and the order of the symbols after any context
    stays as it was.
    """
    log_prob = np.empty(len(counts.count))
    log_backoff = np.zeros(int(counts.starts[-2]))
    score, total = np.array([1.0 / counts.num_symbols]), np.ones(1)  # S of order m - 1, and Z
    for m in range(1, counts.order + 1):
        prefix, suffix = counts.prefixes(m), counts.suffixes(m)
        own = counts.count[counts.ids(m)].astype(np.float64)
        size = len(score)
        occurrences = np.bincount(prefix, own, size)
        mask = _pruned(counts, options, m, 0, counts.size(m))
        is_seen = own > 0 if mask is None else (own > 0) & ~mask
        weight = is_seen.astype(np.float64)
        below = 0.4 * score[suffix]
        ratio = np.where(is_seen, own / np.maximum(occurrences, 1.0)[prefix], below)
        shorter = total if m == 1 else total[counts.suffixes(m - 1)]
        seen_mass = np.bincount(prefix, weight * ratio, size)
        z = seen_mass + 0.4 * shorter - np.bincount(prefix, weight * below, size)
        is_context = np.bincount(prefix, weight, size) > 0
        z = np.where(is_context, z, shorter)
        log_prob[counts.ids(m)] = np.log(ratio / z[prefix])
        if m > 1:
            log_backoff[counts.ids(m - 1)] = np.where(is_context, np.log(0.4 * shorter / z), 0.0)
        score, total = ratio, z
    return _drop(counts, options, log_prob / LOG_10, log_backoff / LOG_10)


def add_k(counts: Counts, options: Options) -> Backoffs:
    """Lidstone's law: k added to every count after the last n - 1 symbols.

        p(w | h) = (c(h w) + k) / (c(h) + k V)

    which is 1 / V after a context never seen. Only where fewer than n - 1 symbols stand before,
    at the beginning of a sequence, h is shorter, and only such beginnings are then counted.
    """
    log_prob = np.full(len(counts.count), -np.log(counts.num_symbols))
    log_backoff = np.zeros(int(counts.starts[-2]))
    for m in range(1, counts.order + 1):
        own = counts.count[counts.ids(m)]
        if m < counts.order:
            own = np.zeros(counts.size(m), dtype=np.int64)
            at, times = counts.beginnings(m)
            own[at] = times
        prefix = counts.prefixes(m)
        size = counts.size(m - 1)
        spread = options.k * counts.num_symbols
        total = np.bincount(prefix, own, size) + spread
        is_context = (np.bincount(prefix, own, size) > 0)[prefix]
        p = (own + options.k) / total[prefix]
        log_prob[counts.ids(m)][is_context] = np.log(p[is_context])
        if m > 1:
            log_backoff[counts.ids(m - 1)] = np.log(spread / total)
    return Backoffs(counts.starts, counts.key, log_prob / LOG_10, log_backoff / LOG_10)


SMOOTHINGS: Mapping[str, Smoothing] = {
    "kneser-ney": kneser_ney,
    "witten-bell": witten_bell,
    "add-k": add_k,
    "stupid-backoff": stupid_backoff,
    "maximum-likelihood": maximum_likelihood,
}


# ---- parts --------------------------------------------------------------------------------------


def _adjusted(counts: Counts, m: int) -> npt.NDArray[np.integer[Any]]:
    """(N_m,) the counts of Kneser-Ney: different symbols before, and beginnings."""
    if m == counts.order:
        return counts.count[counts.ids(m)]
    found = np.bincount(counts.suffixes(m + 1), minlength=counts.size(m))
    at, times = counts.beginnings(m)
    found[at] += times
    return found


def _pruned(counts: Counts, options: Options, m: int, low: int, high: int) -> Mask | None:
    """Of n-grams low .. high - 1 of order m, those that occur too seldom; None: none are pruned."""
    threshold = options.threshold(m)
    if threshold == 0:
        return None
    found: Mask = counts.count[counts.ids(m)][low:high] <= threshold
    return found


def _discounts(adjusted: npt.NDArray[np.integer[Any]]) -> tuple[tuple[float, float, float], bool]:
    """D_1, D_2, D_3+ of one order, and whether they had to be the fallback.

        Y = t_1 / (t_1 + 2 t_2),        D_k = k - (k + 1) · Y · t_{k+1} / t_k

    with t_k the number of n-grams whose adjusted count is k. The order falls back to
    `FALLBACK_DISCOUNTS` (KenLM's rule and values) where one of t_1, t_2, t_3 is 0 or a discount
    leaves (0, k]: small corpora, and the low orders of character models, in which nothing is
    rare. A discount of 0 is refused as well, so that every context leaves something over.
    """
    t = np.bincount(np.minimum(adjusted, 5), minlength=6)[:5].tolist()
    if min(t[1:4]) == 0:
        return FALLBACK_DISCOUNTS, True
    y = t[1] / (t[1] + 2 * t[2])
    d1, d2, d3 = (k - (k + 1) * y * t[k + 1] / t[k] for k in (1, 2, 3))
    is_valid = 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3
    return ((d1, d2, d3), False) if is_valid else (FALLBACK_DISCOUNTS, True)
