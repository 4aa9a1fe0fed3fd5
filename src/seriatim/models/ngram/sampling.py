"""Choosing the next symbol without its whole row: sampling, and the k most probable.

A row of V probabilities is never built; what is read are the symbols seen after a context, and
so time does not grow with the alphabet.

Sampling reads a backoff model as a mixture,

    p(w | h) = kept(h w) + left(h) · p(w | h'),        left(h) = 10^log_backoff of h

with kept(h w) = p(w | h) - left(h) · p(w | h') where h w is listed, and 0 elsewhere. Where no
n-gram keeps less than 0, [0, 1) is divided between what h keeps, symbol after symbol, then what h'
keeps of the rest, and so on down to single symbols (`sample_shares`). A symbol has several
intervals, of the right length together.

Elsewhere (stupid backoff, pruned, quantized and most files of others, where a symbol seen seldom
after h may be less probable than what it is passed on) intervals of kept have no length. Their
sums still give the cumulative distribution, for it is linear in p:

    F(w | h) = sum of kept(h v) over v <= w  +  left(h) · F(w | h'),    F(w | nothing) = sum of p(v)

n running sums at one symbol, so the smallest w with F(w | h) > u is found by halving the alphabet
log2 V times (`sample_halving`).

Shapes: P contexts, n order, V symbols, N n-grams of all orders, K the symbols asked for.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seriatim.models.ngram.counting import Ints, symbol_bits
from seriatim.models.ngram.smoothing import LOG_10, Floats
from seriatim.models.ngram.table import NgramTable

_ROUNDING = 1e-6  # kept may be so far below 0 in a file written with few digits


@dataclass(frozen=True)
class NgramMixture:
    """What sampling reads beside the table.

    Attributes:
        kept_before: (N - V + 1,) running sum of what n-grams of orders 2 .. n keep.
        symbols_before: (V,) running sum of p of single symbols, itself included.
        has_shares: whether none keeps less than 0.
    """

    kept_before: Floats
    symbols_before: Floats
    has_shares: bool


def mixture(table: NgramTable) -> NgramMixture:
    """The table read as a mixture.

    Interpolated methods have shares; see above for the others.
    Time: a look-up or two for each n-gram. Sums of N shares are exact to about 1e-9.
    """
    starts = table.starts.numpy()
    suffix = np.full(int(starts[-1]), -1, dtype=np.int64)
    kept = np.empty(len(table.key))
    for m in range(2, table.order + 1):
        low, high = (int(s) for s in starts[m - 1 : m + 1])
        prefix, below = shorter(table, suffix, m)
        passed_on = 10.0 ** (below + table.log_backoff.numpy()[prefix])
        own = 10.0 ** table.log_probs(np.arange(low, high))
        kept[low - table.num_symbols : high - table.num_symbols] = own - passed_on
    has_shares = not (len(kept) and kept.min() < -_ROUNDING)
    if has_shares:
        np.maximum(kept, 0.0, out=kept)
    before = np.concatenate([[0.0], np.cumsum(kept)])
    symbols_before = np.cumsum(10.0 ** table.log_prob.numpy()[: table.num_symbols])
    return NgramMixture(before, symbols_before, has_shares)


def shorter(table: NgramTable, suffix: Ints, m: int) -> tuple[Ints, Floats]:
    """What the n-grams of order m would be predicted as without their oldest symbols.

    Args:
        table: the n-grams.
        suffix: (N,) the longest proper suffix of each n-gram that is in the table, filled in
            for lower orders, and here for order m; -1 for order 1.
        m: at least 2.

    Returns:
        The node of each n-gram's prefix, and log10 p of its last symbol after one symbol less.
    """
    starts, log_backoff = table.starts.numpy(), table.log_backoff.numpy()
    bits = symbol_bits(table.num_symbols)
    low, high = (int(s) for s in starts[m - 1 : m + 1])
    key = table.key.numpy()[low - table.num_symbols : high - table.num_symbols]
    prefix, symbol = key >> bits, key & ((1 << bits) - 1)
    context, below = suffix[prefix], np.zeros(len(prefix))
    node, at = symbol.copy(), np.flatnonzero(context >= 0)
    while len(at):
        found = table.find(context[at], symbol[at])
        is_here = found >= 0
        node[at[is_here]] = found[is_here]
        at = at[~is_here]
        below[at] += log_backoff[context[at]]
        context[at] = suffix[context[at]]
        at = at[context[at] >= 0]
    below += table.log_probs(node)
    suffix[low:high] = node
    return prefix, below


def sample(table: NgramTable, shares: NgramMixture, context: Ints, u: Floats) -> Ints:
    """One symbol for each context, by its uniform.

    Args:
        table: the n-grams.
        shares: of this table.
        context: (P, n - 1) nodes.
        u: (P,) uniforms in [0, 1).
    """
    draw = sample_shares if shares.has_shares else sample_halving
    return draw(table, shares, context, u)


def sample_halving(table: NgramTable, shares: NgramMixture, context: Ints, u: Floats) -> Ints:
    """`sample` by the cumulative distribution: the smallest symbol for which it exceeds u.

    Time: n log2 V searches of the sorted keys.
    """
    bits, before, key = symbol_bits(table.num_symbols), shares.kept_before, table.key.numpy()
    lengths = []
    for m in range(1, table.order):  # from the shortest context, for what it gives is passed on
        at = np.flatnonzero(context[:, m - 1] >= 0)
        node = context[at, m - 1]
        first, end = table.spans(node)
        lengths.append((at, node << bits, first, end, 10.0 ** table.log_backoff.numpy()[node]))

    def cumulative(symbol: Ints) -> Floats:
        found = shares.symbols_before.take(symbol)
        for at, low, first, end, left in lengths:
            seen = search_between(key, low + symbol[at], first, end)
            found[at] = before[seen] - before[first] + left * found[at]
        return found

    low, high = np.zeros(len(u), np.int64), np.full(len(u), table.num_symbols - 1)
    sought = u * cumulative(high)  # a file of few digits sums to something near 1
    for _ in range(bits):
        middle = (low + high) >> 1
        is_above = cumulative(middle) > sought
        high, low = np.where(is_above, middle, high), np.where(is_above, low, middle + 1)
        np.minimum(low, high, out=low)
    return high


def search_between(key: Ints, sought: Ints, low: Ints, high: Ints) -> Ints:
    """How many keys are at most `sought` (P,), known to be from `low` to `high`."""
    low, high = low.copy(), high.copy()
    for _ in range(int((high - low).max(initial=0)).bit_length()):
        middle = (low + high) >> 1
        is_more = key.take(middle, mode="clip") > sought
        is_more |= low >= high
        high, low = np.where(is_more, middle, high), np.where(is_more, low, middle + 1)
    return low


def sample_shares(table: NgramTable, shares: NgramMixture, context: Ints, u: Floats) -> Ints:
    """`sample` by the shares of a mixture.

    The order of the intervals: symbols seen after the longest context by their numbers, then
    those of the next shorter one, and in the end single symbols, all by number.
    """
    u, symbol = u.astype(np.float64), np.full(len(u), -1, dtype=np.int64)
    last = (1 << symbol_bits(table.num_symbols)) - 1
    before, key = shares.kept_before, table.key.numpy()
    for m in range(table.order - 1, 0, -1):
        at = np.flatnonzero((symbol < 0) & (context[:, m - 1] >= 0))
        first, end = table.spans(context[at, m - 1])
        kept = before[end] - before[first]
        is_here = u[at] < kept
        row, low, high = at[is_here], first[is_here], end[is_here]
        rank = np.searchsorted(before, before[low] + u[row], side="right") - 1
        symbol[row] = key[np.clip(rank, low, high - 1)] & last
        row, rest = at[~is_here], kept[~is_here]
        u[row] = np.minimum((u[row] - rest) / np.maximum(1.0 - rest, 1e-300), 1.0)
    at = np.flatnonzero(symbol < 0)
    alone = shares.symbols_before
    found = np.searchsorted(alone, u[at] * alone[-1], side="right")
    symbol[at] = np.minimum(found, table.num_symbols - 1)
    return symbol


def by_frequency(table: NgramTable) -> Ints:
    """(V,) symbols by falling probability, ties by number."""
    return np.argsort(-table.log_prob.numpy()[: table.num_symbols], kind="stable")


def top(table: NgramTable, frequent: Ints, context: Ints, k: int) -> tuple[Floats, Ints]:
    """The k most probable symbols: log-probabilities in nats and symbols, (P, K) each.

    Candidates are all symbols seen after any suffix of the context, and so many of the most
    frequent symbols that k of them are none of these. Ties go to the smaller symbol.

    Args:
        table: the n-grams.
        frequent: `by_frequency` of this table.
        context: (P, n - 1) nodes.
        k: at most V.
    """
    num_contexts = len(context)
    column = [context[:, m] for m in range(table.order - 1)]
    rows, symbols, nodes = [], [], []
    for nodes_of in column:
        known = np.flatnonzero(nodes_of >= 0)
        row, symbol, node = table.followers(nodes_of[known])
        rows.append(known[row])
        symbols.append(symbol)
        nodes.append(node)
    seen = np.bincount(np.concatenate([np.zeros(0, np.int64), *rows]), minlength=num_contexts)
    size = np.minimum(k + seen, table.num_symbols)
    place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    rows.append(np.repeat(np.arange(num_contexts), size))
    symbols.append(frequent[place])
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
    is_last: npt.NDArray[np.bool_] = np.ones(len(row), dtype=bool)
    is_last[:-1] = (row[1:] != row[:-1]) | (symbol[1:] != symbol[:-1])
    return row[is_last], symbol[is_last], node[is_last]


def _log_prob(table: NgramTable, context: Ints, row: Ints, node: Ints) -> Floats:
    """log10 p of nodes by the backoffs of all longer contexts, summed as whole rows are."""
    starts, log_backoff = table.starts.numpy(), table.log_backoff.numpy()
    found = table.log_probs(node)
    for m in range(1, table.order):
        own = context[row, m - 1]
        passed = np.flatnonzero((node < starts[m]) & (own >= 0))
        found[passed] += log_backoff[own[passed]]
    return found
