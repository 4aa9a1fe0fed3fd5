"""The next symbol without its whole row: sampling, and the k most probable.

A row of V probabilities is never built; only the successors of a context are read, so time does
not grow with the vocabulary.

Sampling reads a backoff model as a mixture,

    p(w | h) = alpha(h w) + gamma(h) p(w | h'),        gamma(h) = 10^log_backoff of h

with alpha(h w) = p(w | h) - gamma(h) p(w | h') where h w is listed, and 0 elsewhere. If every
alpha is at least 0, [0, 1) is divided between the alphas of h, symbol after symbol, then those of
h' in the rest, and so on down to single symbols (`sample_mixture`). A symbol has several intervals,
of the right length together.

Otherwise (stupid backoff, pruned and quantized models and most files of other tools, where a
symbol seen seldom after h may be less probable than by its backoff) some alphas are negative. Their
sums still give the cumulative distribution, for it is linear in p:

    F(w | h) = sum of alpha(h v) over v <= w  +  gamma(h) F(w | h'),    F(w | nothing) = sum of p(v)

These are n running sums at one symbol, so the smallest w with F(w | h) > u is found by bisecting
the vocabulary log2 V times (`sample_bisection`).

Shapes: P contexts, n order, V symbols, N n-grams of all orders, K the number of symbols of `top`.
"""

from dataclasses import dataclass

import numpy as np

from seriatim.models.ngram.arrays import LOG_10, Floats, Ints, Tokens, is_group_start, symbol_bits
from seriatim.models.ngram.table import NgramTable, lower_order

_ROUNDING = 1e-6  # how far below 0 an alpha may be in a file written with few digits


@dataclass(frozen=True)
class NgramMixture:
    """What sampling reads beside the table.

    Attributes:
        alpha_sums: (N - V + 1,) running sum of the alphas of n-grams of orders 2 .. n.
        unigram_sums: (V,) running sum of p of single symbols, itself included.
        is_proper: whether every alpha is at least 0.
    """

    alpha_sums: Floats
    unigram_sums: Floats
    is_proper: bool


def as_mixture(table: NgramTable) -> NgramMixture:
    """The table read as a mixture, which is proper for interpolated methods.

    Time: a look-up or two for each n-gram. Sums of N alphas are exact to about 1e-9.
    """
    starts = table.starts.numpy()
    suffix = np.full(int(starts[-1]), -1, dtype=np.int64)
    alpha = np.empty(len(table.symbol))
    for m in range(2, table.order + 1):
        low, high = (int(s) for s in starts[m - 1 : m + 1])
        prefix, lower = lower_order(table, suffix, m)
        backed_off = 10.0 ** (lower + table.log_backoff.numpy()[prefix])
        p = 10.0 ** table.log_probs(np.arange(low, high))
        alpha[low - table.num_symbols : high - table.num_symbols] = p - backed_off
    is_proper = not (len(alpha) and alpha.min() < -_ROUNDING)
    if is_proper:
        np.maximum(alpha, 0.0, out=alpha)
    alpha_sums = np.concatenate([[0.0], np.cumsum(alpha)])
    unigram_sums = np.cumsum(10.0 ** table.log_prob.numpy()[: table.num_symbols])
    return NgramMixture(alpha_sums, unigram_sums, is_proper)


def sample(table: NgramTable, mixture: NgramMixture, context: Ints, u: Floats) -> Ints:
    """One symbol for each context, by its uniform.

    Args:
        table: the n-grams.
        mixture: `as_mixture` of this table.
        context: (P, n - 1) nodes.
        u: (P,) uniforms in [0, 1).
    """
    draw = sample_mixture if mixture.is_proper else sample_bisection
    return draw(table, mixture, context, u)


def sample_bisection(table: NgramTable, mixture: NgramMixture, context: Ints, u: Floats) -> Ints:
    """`sample` by the cumulative distribution: the smallest symbol for which it exceeds u.

    Time: n log2 V searches among successors.
    """
    bits, sums, symbols = symbol_bits(table.num_symbols), mixture.alpha_sums, table.symbol.numpy()
    contexts = []
    for m in range(1, table.order):  # from the shortest context, whose F longer ones use
        at = np.flatnonzero(context[:, m - 1] >= 0)
        node = context[at, m - 1]
        first, end = table.spans(node)
        contexts.append((at, first, end, 10.0 ** table.log_backoff.numpy()[node]))

    def cumulative(symbol: Ints) -> Floats:
        total = mixture.unigram_sums.take(symbol)
        sought = symbol.astype(symbols.dtype)
        for at, first, end, gamma in contexts:
            seen = _count_up_to(symbols, sought[at], first, end)
            total[at] = sums[seen] - sums[first] + gamma * total[at]
        return total

    low, high = np.zeros(len(u), np.int64), np.full(len(u), table.num_symbols - 1)
    sought = u * cumulative(high)  # a file of few digits sums to about 1
    for _ in range(bits):
        middle = (low + high) >> 1
        is_above = cumulative(middle) > sought
        high, low = np.where(is_above, middle, high), np.where(is_above, low, middle + 1)
        np.minimum(low, high, out=low)
    return high


def _count_up_to(symbols: Tokens, sought: Tokens, low: Ints, high: Ints) -> Ints:
    """low + the number of symbols from `low` to `high` (P,) that are at most `sought`."""
    low, high = low.copy(), high.copy()
    for _ in range(int((high - low).max(initial=0)).bit_length()):
        middle = (low + high) >> 1
        is_more = symbols.take(middle, mode="clip") > sought
        is_more |= low >= high
        high, low = np.where(is_more, middle, high), np.where(is_more, low, middle + 1)
    return low


def sample_mixture(table: NgramTable, mixture: NgramMixture, context: Ints, u: Floats) -> Ints:
    """`sample` by the components of a proper mixture.

    The order of the intervals: successors of the longest context by id, then those of the next
    shorter one, and in the end all single symbols by id.
    """
    u, symbol = u.astype(np.float64), np.full(len(u), -1, dtype=np.int64)
    sums, symbols = mixture.alpha_sums, table.symbol.numpy()
    for m in range(table.order - 1, 0, -1):
        at = np.flatnonzero((symbol < 0) & (context[:, m - 1] >= 0))
        first, end = table.spans(context[at, m - 1])
        mass = sums[end] - sums[first]
        is_here = u[at] < mass
        row, low, high = at[is_here], first[is_here], end[is_here]
        rank = np.searchsorted(sums, sums[low] + u[row], side="right") - 1
        symbol[row] = symbols[np.clip(rank, low, high - 1)]
        row, mass = at[~is_here], mass[~is_here]
        u[row] = np.minimum((u[row] - mass) / np.maximum(1.0 - mass, 1e-300), 1.0)
    at = np.flatnonzero(symbol < 0)
    unigrams = mixture.unigram_sums
    drawn = np.searchsorted(unigrams, u[at] * unigrams[-1], side="right")
    symbol[at] = np.minimum(drawn, table.num_symbols - 1)
    return symbol


def unigram_ranking(table: NgramTable) -> Ints:
    """(V,) symbols by falling probability, ties by id."""
    return np.argsort(-table.log_prob.numpy()[: table.num_symbols], kind="stable")


def top(table: NgramTable, ranking: Ints, context: Ints, k: int) -> tuple[Floats, Ints]:
    """The k most probable symbols: log-probabilities in nats and symbols, (P, K) each.

    Candidates are the successors of every suffix of the context, and enough of the most frequent
    symbols that k of them are none of these. Ties go to the smaller symbol.

    Args:
        table: the n-grams.
        ranking: `unigram_ranking` of this table.
        context: (P, n - 1) nodes.
        k: the number of symbols, at most V.
    """
    num_contexts = len(context)
    rows, symbols, nodes = [], [], []
    for m in range(table.order - 1):
        known = np.flatnonzero(context[:, m] >= 0)
        row, symbol, node = table.successors(context[known, m])
        rows.append(known[row])
        symbols.append(symbol)
        nodes.append(node)
    seen = np.bincount(np.concatenate([np.zeros(0, np.int64), *rows]), minlength=num_contexts)
    size = np.minimum(k + seen, table.num_symbols)
    rank = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    rows.append(np.repeat(np.arange(num_contexts), size))
    symbols.append(ranking[rank])
    nodes.append(symbols[-1])
    row, symbol, node = _longest(
        np.concatenate(rows), np.concatenate(symbols), np.concatenate(nodes)
    )
    log_prob = _log_prob(table, context, row, node)
    order = np.lexsort((symbol, -log_prob, row))
    row, symbol, log_prob = row[order], symbol[order], log_prob[order]
    begin = np.searchsorted(row, np.arange(num_contexts))
    chosen = begin[:, None] + np.arange(k)
    return log_prob[chosen] * LOG_10, symbol[chosen]


def _longest(row: Ints, symbol: Ints, node: Ints) -> tuple[Ints, Ints, Ints]:
    """Of the candidates for one symbol in one row, the n-gram of the highest order."""
    order = np.lexsort((node, symbol, row))
    row, symbol, node = row[order], symbol[order], node[order]
    is_first = is_group_start(row) | is_group_start(symbol)
    is_last = np.append(is_first[1:], np.ones(min(len(row), 1), dtype=bool))
    return row[is_last], symbol[is_last], node[is_last]


def _log_prob(table: NgramTable, context: Ints, row: Ints, node: Ints) -> Floats:
    """log10 p of nodes by the backoffs of all longer contexts, summed as in whole rows."""
    starts, log_backoff = table.starts.numpy(), table.log_backoff.numpy()
    log_prob = table.log_probs(node)
    for m in range(1, table.order):
        own = context[row, m - 1]
        backed_off = np.flatnonzero((node < starts[m]) & (own >= 0))
        log_prob[backed_off] += log_backoff[own[backed_off]]
    return log_prob
