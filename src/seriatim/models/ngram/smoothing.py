"""The smoothing methods by name: functions from counts to a backoff model.

Kneser-Ney (in `kneser_ney`), Witten-Bell and maximum likelihood are interpolated: see
`interpolation` for alpha and gamma. Stupid backoff and add-k have no such form and compute the
backoff form themselves.

Shapes: V symbols, N n-grams of all orders, N_m of order m.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from seriatim.models.ngram.arrays import LOG_10
from seriatim.models.ngram.backoff_model import BackoffModel
from seriatim.models.ngram.counting import Counts
from seriatim.models.ngram.interpolation import (
    Discounting,
    SmoothingOptions,
    interpolate,
    is_pruned,
    without_pruned,
)
from seriatim.models.ngram.kneser_ney import kneser_ney

Smoothing: TypeAlias = Callable[[Counts, SmoothingOptions], BackoffModel]


def witten_bell(counts: Counts, options: SmoothingOptions) -> BackoffModel:
    """Interpolated Witten-Bell (Chen, Goodman 1998, section 2.6; method C of the 1991 paper).

        alpha(h w) = c(h w) / (c(h) + t(h)),      gamma(h) = t(h) / (c(h) + t(h))

    with c(h) = sum_v c(h v), and t(h) the number of different symbols seen after h.
    """

    def discounting(counts: Counts, m: int) -> Discounting:
        count = counts.count[counts.ids(m)]
        return Discounting(count, lambda c: (c > 0).astype(np.float64), is_added=True)

    return interpolate(counts, options, discounting)


def maximum_likelihood(counts: Counts, options: SmoothingOptions) -> BackoffModel:
    """Relative frequencies, with a millionth of the probability left to shorter contexts.

        alpha(h w) = (1 - e) c(h w) / c(h),      gamma(h) = e = 10^-6

    The plain estimate is 0 for whatever was not seen, and one such symbol makes the perplexity of
    a text infinite. What was seen loses 10^-6 of its probability.
    """

    def discounting(counts: Counts, m: int) -> Discounting:
        return Discounting(counts.count[counts.ids(m)], lambda c: 1e-6 * c)

    return interpolate(counts, options, discounting)


def stupid_backoff(counts: Counts, options: SmoothingOptions) -> BackoffModel:
    """Stupid backoff (Brants et al. 2007, equation 5), normalized.

        S(w | h) = c(h w) / c(h)  if seen,  else  0.4 S(w | h'),      S(w | nothing) = 1 / V
        p(w | h) = S(w | h) / Z(h),      Z(h) = 1 + 0.4 (Z(h') - sum of S(v | h') over seen v)

    S is no distribution; dividing by Z(h) makes it one and keeps the ranking of the symbols after
    every context.
    """
    log_prob = np.empty(len(counts.count))
    log_backoff = np.zeros(int(counts.starts[-2]))
    score, z = np.array([1.0 / counts.num_symbols]), np.ones(1)  # S and Z of order m - 1
    for m in range(1, counts.order + 1):
        prefix, suffix = counts.prefixes(m), counts.suffixes(m)
        count = counts.count[counts.ids(m)].astype(np.float64)
        size = len(score)
        occurrences = np.bincount(prefix, count, size)
        pruned = is_pruned(counts, options, m)
        is_seen = count > 0 if pruned is None else (count > 0) & ~pruned
        seen = is_seen.astype(np.float64)
        backed_off = 0.4 * score[suffix]
        score = np.where(is_seen, count / np.maximum(occurrences, 1.0)[prefix], backed_off)
        lower_z = z if m == 1 else z[counts.suffixes(m - 1)]
        seen_mass = np.bincount(prefix, seen * score, size)
        z = seen_mass + 0.4 * lower_z - np.bincount(prefix, seen * backed_off, size)
        is_context = np.bincount(prefix, seen, size) > 0
        z = np.where(is_context, z, lower_z)
        log_prob[counts.ids(m)] = np.log(score / z[prefix])
        if m > 1:
            log_backoff[counts.ids(m - 1)] = np.where(is_context, np.log(0.4 * lower_z / z), 0.0)
    model = BackoffModel(counts.starts, counts.key, log_prob / LOG_10, log_backoff / LOG_10)
    return without_pruned(model, counts, options)


def add_k(counts: Counts, options: SmoothingOptions) -> BackoffModel:
    """Lidstone's law: k is added to every count after the last n - 1 symbols.

        p(w | h) = (c(h w) + k) / (c(h) + k V)

    which is 1 / V after a context never seen. Only at the beginning of a sequence, where fewer
    than n - 1 symbols precede, is h shorter, and only such beginnings are then counted.
    """
    log_prob = np.full(len(counts.count), -np.log(counts.num_symbols))
    log_backoff = np.zeros(int(counts.starts[-2]))
    for m in range(1, counts.order + 1):
        count = counts.count[counts.ids(m)]
        if m < counts.order:
            count = np.zeros(counts.size(m), dtype=np.int64)
            ranks, times = counts.beginnings(m)
            count[ranks] = times
        prefix = counts.prefixes(m)
        occurrences = np.bincount(prefix, count, counts.size(m - 1))
        added = options.k * counts.num_symbols
        total = occurrences + added
        is_seen_context = (occurrences > 0)[prefix]
        p = (count + options.k) / total[prefix]
        log_prob[counts.ids(m)][is_seen_context] = np.log(p[is_seen_context])
        if m > 1:
            log_backoff[counts.ids(m - 1)] = np.log(added / total)
    return BackoffModel(counts.starts, counts.key, log_prob / LOG_10, log_backoff / LOG_10)


SMOOTHINGS: Mapping[str, Smoothing] = {
    "kneser-ney": kneser_ney,
    "witten-bell": witten_bell,
    "add-k": add_k,
    "stupid-backoff": stupid_backoff,
    "maximum-likelihood": maximum_likelihood,
}
