"""Scoring a whole corpus: every n-gram of every order is looked up once, over flat arrays.

The n-gram of order m that ends at a place is the next symbol's context of length m, so one pass
over the orders gives both what is predicted and what it is predicted from:

    node_m(t) = find(node_{m-1}(t - 1), x_t),        node_1(t) = x_t

and  log10 p(x_t | ..) = log_prob(longest node(t)) + the backoffs of all contexts at t - 1 that are
at least as long as that n-gram. Sequences lie end to end with their boundaries; at the first place
of one no context goes on. It equals what batches give, element by element.

Knows the table and places; no model.

Shapes: P places of a part, n order.
"""

import numpy as np
import numpy.typing as npt

from seriatim.models.ngram.counting import Ints
from seriatim.models.ngram.layout import Layout
from seriatim.models.ngram.smoothing import LOG_10, Floats
from seriatim.models.ngram.table import NgramTable

AT_ONCE = 1 << 15  # places whose arrays stay in the caches

Nats = npt.NDArray[np.float32]


def corpus_surprisals(table: NgramTable, layout: Layout) -> Nats:
    """-ln p of every symbol of a corpus but the beginnings of sequences, in order, in nats."""
    nats = np.empty(layout.num_places - layout.num_beginnings, dtype=np.float32)
    end = 0
    for begin in range(0, layout.num_places, AT_ONCE):
        low = max(0, begin - table.order + 1)
        block = layout.block(low, min(begin + AT_ONCE, layout.num_places), 1)
        log10 = _log10(table, block.symbols.astype(np.int64), block.begins)
        is_scored = np.ones(len(log10), dtype=bool)
        is_scored[block.begins] = False
        is_scored[: begin - low] = False
        log10 = log10.take(np.flatnonzero(is_scored))
        np.multiply(log10, -LOG_10, out=nats[end : end + len(log10)], casting="unsafe")
        end += len(log10)
    return nats


def _log10(table: NgramTable, x: Ints, begins: Ints) -> Floats:
    """(P,) log10 p of every symbol by the symbols before it in the same sequence and here."""
    follows = np.ones(len(x), dtype=bool)  # whether there is a context
    follows[:1] = False
    follows[begins] = False
    nodes, longest, order = [x], x.copy(), np.ones(len(x), dtype=np.uint8)
    has_context = [follows[1:]]
    for m in range(2, table.order + 1):
        prefix = nodes[-1][:-1]
        if m > 2:
            has_context.append(has_context[0] & (prefix >= 0))
        is_sought = has_context[-1]
        if table.is_closed and m > 2:  # an n-gram is there only if it is without its oldest symbol
            is_sought = is_sought & (nodes[-1][1:] >= 0)
        at = np.flatnonzero(is_sought)
        found = table.find_nodes(prefix.take(at), x.take(at + 1))
        node = np.full(len(x), -1, dtype=np.int64)
        node[at + 1] = found
        nodes.append(node)
        here = np.flatnonzero(found >= 0)
        at, found = at.take(here) + 1, found.take(here)
        longest[at], order[at] = found, m
    log_backoff, log10 = table.log_backoff.numpy(), np.zeros(len(x))
    for m in range(table.order - 1, 0, -1):
        at = np.flatnonzero(has_context[m - 1] & (order[1:] <= m))
        log10[at + 1] += log_backoff.take(nodes[m - 1].take(at))
    log10 += table.log_probs(longest)
    return log10
