"""Choosing the next symbol without its whole row: sampling, and the k most probable.

A row of V probabilities is never built; what is read are the symbols seen after a context, and
so time does not grow with the alphabet.

Sampling reads a backoff model as the mixture that it is,

    p(w | h) = kept(h w) + left(h) · p(w | h'),        left(h) = 10^log_backoff of h

and divides [0, 1) between what h keeps, symbol after symbol, then what h' keeps of the rest, and
so on down to single symbols. A symbol has several intervals, of the right length together.

Shapes: P contexts, n order, V symbols, N n-grams of all orders, K the symbols asked for.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seriatim.families.ngrams.counting import Ints, symbol_bits
from seriatim.families.ngrams.smoothing import LOG_10, Floats
from seriatim.families.ngrams.table import NgramTable

_ROUNDING = 1e-6  # kept may be so far below 0 in a file written with few digits


@dataclass(frozen=True)
class Mixture:
    """What sampling reads beside the table.

    Attributes:
        kept_before: (N - V + 1,) running sum of what n-grams of orders 2 .. n keep.
        symbols_before: (V,) running sum of p of single symbols, itself included.
    """

    kept_before: Floats
    symbols_before: Floats


def mixture(table: NgramTable) -> Mixture | None:
    """The table read as a mixture; None if it is none, because some n-gram keeps less than 0.

    All that `seriatim` fits are mixtures; an ARPA file of another tool need not be (Katz).
    Time: a look-up or two for each n-gram. Sums of N shares are exact to about 1e-9.
    """
    backoffs = table.backoffs()
    suffix = np.full(len(backoffs.log_prob), -1, dtype=np.int64)
    kept = np.empty(len(backoffs.key))
    for m in range(2, table.order + 1):
        ids = slice(*(int(s) for s in backoffs.starts[m - 1 : m + 1]))
        prefix, below = shorter(table, suffix, m)
        passed_on = 10.0 ** (below + backoffs.log_backoff[prefix])
        kept[ids.start - table.num_symbols : ids.stop - table.num_symbols] = (
            10.0 ** backoffs.log_prob[ids] - passed_on
        )
    if len(kept) and kept.min() < -_ROUNDING:
        return None
    np.maximum(kept, 0.0, out=kept)
    before = np.concatenate([[0.0], np.cumsum(kept)])
    return Mixture(before, np.cumsum(10.0 ** backoffs.log_prob[: table.num_symbols]))


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
    backoffs = table.backoffs()
    bits = symbol_bits(table.num_symbols)
    low, high = (int(s) for s in backoffs.starts[m - 1 : m + 1])
    key = backoffs.key[low - table.num_symbols : high - table.num_symbols]
    prefix, symbol = key >> bits, key & ((1 << bits) - 1)
    context, below = suffix[prefix], np.zeros(len(prefix))
    node, at = symbol.copy(), np.flatnonzero(context >= 0)
    while len(at):
        found = table.find(context[at], symbol[at])
        is_here = found >= 0
        node[at[is_here]] = found[is_here]
        at = at[~is_here]
        below[at] += backoffs.log_backoff[context[at]]
        context[at] = suffix[context[at]]
        at = at[context[at] >= 0]
    below += backoffs.log_prob[node]
    suffix[low:high] = node
    return prefix, below


def sample(table: NgramTable, shares: Mixture, context: Ints, u: Floats) -> Ints:
    """One symbol for each context, by its uniform.

    The order of the intervals: symbols seen after the longest context by their numbers, then
    those of the next shorter one, and in the end single symbols, all by number.

    Args:
        table: the n-grams.
        shares: of this table.
        context: (P, n - 1) nodes.
        u: (P,) uniforms in [0, 1).
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
    backoffs = table.backoffs()
    found = backoffs.log_prob[node]
    for m in range(1, table.order):
        own = context[row, m - 1]
        passed = np.flatnonzero((node < backoffs.starts[m]) & (own >= 0))
        found[passed] += backoffs.log_backoff[own[passed]]
    return found
