"""From counts to probabilities: interpolated smoothing, all orders at once.

Every method here has the same form. With h' the context h without its oldest symbol,

    p(w | h) = kept(h w) + left(h) · p(w | h'),        p(w | nothing) = kept(w) + left / V

`kept` is the share of probability that the n-gram's own count gives it, `left` the share that
the context passes on to shorter contexts. As kept sums to 1 - left over w, p sums to 1 by
induction, and as left > 0, no symbol of the alphabet has probability 0. A method only computes
the two shares; `interpolate` does the rest and writes the result in backoff form.

Shapes: V symbols, N_m different n-grams of order m.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from seriatim.families.ngrams.counting import Counts, Ints, Level

Floats = npt.NDArray[np.float64]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Shares:
    """How each order divides its probability; element m - 1 of both lists is for order m.

    Attributes:
        kept: (N_m,) what each n-gram keeps by its own count.
        left: (N_{m-1},) what each context leaves to shorter ones; 1 where nothing follows it.
        facts: what the method found, as JSON values, for the record kept with the model.
    """

    kept: Sequence[Floats]
    left: Sequence[Floats]
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Backoffs:
    """The interpolated model in backoff form (Chen, Goodman 1998, section 2.8), as ARPA has it.

    p(w | h) is exp(log_prob) of the n-gram h w where that was seen, and exp(log_backoff of h)
    times p(w | h') where it was not. The orders lie one after another, so the id of an n-gram
    is now its rank among all of them, and ids rise with the order.

    Attributes:
        starts: (n + 1,) ids of order m are starts[m - 1] .. starts[m] - 1; starts[1] = V.
        key: (starts[n] - V,) id of the first m - 1 symbols, times V, plus the last symbol,
            rising, of the n-grams of orders 2 .. n.
        log_prob: (starts[n],) nats.
        log_backoff: (starts[n - 1],) nats; 0 where nothing follows.
    """

    starts: Ints
    key: Ints
    log_prob: Floats
    log_backoff: Floats


Smoothing: TypeAlias = Callable[[Counts], Shares]


def interpolate(counts: Counts, shares: Shares) -> Backoffs:
    """p(w | h) of every seen n-gram, from order 1 upwards."""
    lower = np.array([1.0 / counts.num_symbols])
    log_prob = []
    for level, kept, left in zip(counts.levels, shares.kept, shares.left, strict=True):
        lower = kept + left[level.prefix] * lower[level.suffix]
        log_prob.append(np.log(lower))
    starts = np.cumsum([0, *(len(level) for level in counts.levels)])
    shifts = starts[:-2] * counts.num_symbols  # from the rank in an order to the rank in all
    keys = [level.key + shift for level, shift in zip(counts.levels[1:], shifts, strict=True)]
    return Backoffs(
        starts=starts,
        key=np.concatenate([np.zeros(0, dtype=np.int64), *keys]),
        log_prob=np.concatenate(log_prob),
        log_backoff=np.concatenate([np.zeros(0), *(np.log(left) for left in shares.left[1:])]),
    )


def kneser_ney(counts: Counts) -> Shares:
    """Modified interpolated Kneser-Ney (Chen, Goodman 1998, section 3, equations 26 and 27).

        kept(h w) = (a(h w) - D(a(h w))) / sum_v a(h v)
        left(h)   = (D_1 N_1(h) + D_2 N_2(h) + D_3+ N_3+(h)) / sum_v a(h v)

    where N_c(h) is the number of w with a(h w) = c. a is the count itself at the highest
    order. Below it is the number of different symbols seen before h w, plus the occurrences
    with nothing before them, those that begin a sequence. (For sequences with ends this is the
    rule of KenLM, where n-grams that begin with <s> keep their counts.)
    """
    kept, left, discounts, fallbacks = [], [], [], []
    num_contexts = 1
    for m, level in enumerate(counts.levels, start=1):
        higher = counts.levels[m] if m < len(counts.levels) else None
        adjusted = level.count if higher is None else _continuations(level, higher)
        discount, is_fallback = _discounts(adjusted)
        taken = np.array([0.0, *discount])[np.minimum(adjusted, 3)]
        kept_here, left_here = _divide(level.prefix, num_contexts, adjusted - taken, taken)
        kept.append(kept_here)
        left.append(left_here)
        discounts.append(list(discount))
        if is_fallback:
            fallbacks.append(m)
        num_contexts = len(level)
    return Shares(kept, left, {"discounts": discounts, "fallback_orders": fallbacks})


def witten_bell(counts: Counts) -> Shares:
    """Interpolated Witten-Bell (Chen, Goodman 1998, section 2.6; method C of the 1991 paper).

        kept(h w) = c(h w) / (c(h) + t(h)),      left(h) = t(h) / (c(h) + t(h))

    with c(h) = sum_v c(h v), and t(h) the number of different symbols seen after h.
    """
    kept, left = [], []
    num_contexts = 1
    for level in counts.levels:
        is_seen = (level.count > 0).astype(np.float64)
        kept_here, left_here = _divide(level.prefix, num_contexts, level.count, is_seen)
        kept.append(kept_here)
        left.append(left_here)
        num_contexts = len(level)
    return Shares(kept, left)


SMOOTHINGS: Mapping[str, Smoothing] = {"kneser-ney": kneser_ney, "witten-bell": witten_bell}


def _divide(
    prefix: Ints, num_contexts: int, own: npt.ArrayLike, passed_on: Floats
) -> tuple[Floats, Floats]:
    """kept and left from what each n-gram keeps and passes on, divided by its context's total."""
    own = np.asarray(own, dtype=np.float64)
    passed = np.bincount(prefix, passed_on, num_contexts)
    total = np.bincount(prefix, own, num_contexts) + passed
    is_context = total > 0
    total = np.where(is_context, total, 1.0)
    return own / total[prefix], np.where(is_context, passed / total, 1.0)


def _continuations(level: Level, higher: Level) -> Ints:
    """(N_m,) the number of different symbols seen before each n-gram, plus its beginnings."""
    return np.bincount(higher.suffix, minlength=len(level)) + level.initial


def _discounts(adjusted: Ints) -> tuple[tuple[float, float, float], bool]:
    """D_1, D_2, D_3+ of one order, and whether they had to be the fallback.

        Y = t_1 / (t_1 + 2 t_2),        D_k = k - (k + 1) · Y · t_{k+1} / t_k

    with t_k the number of n-grams whose adjusted count is k. The order falls back to
    `FALLBACK_DISCOUNTS` (KenLM's rule and values) where one of t_1, t_2, t_3 is 0 or a discount
    leaves (0, k]: small corpora, and the low orders of character models, in which nothing is
    rare. A discount of 0 is refused as well, so that every context leaves something over.
    """
    t = [int((adjusted == k).sum()) for k in range(5)]
    if min(t[1:4]) == 0:
        return FALLBACK_DISCOUNTS, True
    y = t[1] / (t[1] + 2 * t[2])
    d1, d2, d3 = (k - (k + 1) * y * t[k + 1] / t[k] for k in (1, 2, 3))
    is_valid = 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3
    return ((d1, d2, d3), False) if is_valid else (FALLBACK_DISCOUNTS, True)
