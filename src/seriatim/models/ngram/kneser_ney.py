"""Modified interpolated Kneser-Ney smoothing (Chen, Goodman 1998, section 3, equations 26, 27).

    alpha(h w) = (a(h w) - D(a(h w))) / sum_v a(h v)
    gamma(h)   = (D_1 N_1(h) + D_2 N_2(h) + D_3+ N_3+(h)) / sum_v a(h v)

a is the adjusted count: the count itself at the highest order, the continuation count below it;
N_c(h) is the number of w with a(h w) = c; D_1, D_2 and D_3+ are the discounts of the order,
estimated from its counts of counts. See `interpolation` for alpha and gamma.

Shapes: N_m n-grams of order m.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from seriatim.models.ngram.arrays import Tokens
from seriatim.models.ngram.backoff_model import BackoffModel
from seriatim.models.ngram.counting import Counts
from seriatim.models.ngram.interpolation import Discounting, SmoothingOptions, interpolate

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


def kneser_ney(counts: Counts, options: SmoothingOptions) -> BackoffModel:
    """Modified interpolated Kneser-Ney; the discounts are estimated before pruning.

    Returns:
        The model; its facts are the `discounts` of each order and the `fallback_orders`.
    """
    discounts: list[list[float]] = []
    fallback_orders: list[int] = []
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(_estimated, counts, 1)

        def discounting(counts: Counts, m: int) -> Discounting:
            nonlocal ahead
            adjusted, estimated = ahead.result()
            if m < counts.order:  # while this order is interpolated
                ahead = thread.submit(_estimated, counts, m + 1)
            if estimated is None:
                fallback_orders.append(m)
            discounts.append(list(estimated or FALLBACK_DISCOUNTS))
            discount_of = np.array([0.0, *discounts[-1]])
            return Discounting(adjusted, lambda a: discount_of[np.minimum(a, 3)])

        model = interpolate(counts, options, discounting)
    return replace(model, facts={"discounts": discounts, "fallback_orders": fallback_orders})


def _estimated(counts: Counts, m: int) -> tuple[Tokens, tuple[float, float, float] | None]:
    adjusted = adjusted_counts(counts, m)
    return adjusted, estimate_discounts(adjusted)


def adjusted_counts(counts: Counts, m: int) -> Tokens:
    """(N_m,) counts of the highest order, continuation counts of the others.

    The continuation count of w_1 .. w_m is the number of different symbols seen before it, plus
    its occurrences with nothing before them, those that begin a sequence. (For sequences with
    ends this is KenLM's rule that n-grams which begin with <s> keep their counts.)
    """
    if m == counts.order:
        return counts.count[counts.ids(m)]
    continuations = np.bincount(counts.suffixes(m + 1), minlength=counts.size(m)).astype(np.int32)
    ranks, times = counts.beginnings(m)
    continuations[ranks] += times
    return continuations


def estimate_discounts(adjusted: Tokens) -> tuple[float, float, float] | None:
    """D_1, D_2, D_3+ of one order (Chen, Goodman 1998, equation 26).

        Y = t_1 / (t_1 + 2 t_2),        D_k = k - (k + 1) Y t_{k+1} / t_k

    with t_k the number of n-grams whose adjusted count is k.

    Args:
        adjusted: (N_m,) adjusted counts.

    Returns:
        None where one of t_1, t_2, t_3 is 0 or a discount leaves (0, k]: in small corpora, and
        in the low orders of character models, where nothing is rare. `FALLBACK_DISCOUNTS`
        (KenLM's rule and values) then apply. A discount of 0 is refused too, so that gamma > 0.
    """
    t = [np.count_nonzero(adjusted == k) for k in range(5)]
    if min(t[1:4]) == 0:
        return None
    y = t[1] / (t[1] + 2 * t[2])
    d1, d2, d3 = (k - (k + 1) * y * t[k + 1] / t[k] for k in (1, 2, 3))
    is_valid = 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3
    return (d1, d2, d3) if is_valid else None
