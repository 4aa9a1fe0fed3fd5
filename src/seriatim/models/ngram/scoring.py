"""Scoring a whole corpus: every n-gram of every order is looked up once, over flat arrays.

The n-gram of order m that ends at a position is the next symbol's context of length m, so one pass
over the orders gives both what is predicted and what it is predicted from:

    node_m(t) = find(node_{m-1}(t - 1), x_t),        node_1(t) = x_t

and  log10 p(x_t | ..) = log_prob(longest node(t)) + the backoffs of all contexts at t - 1 that are
at least as long as that n-gram. Sequences lie end to end with their boundaries; no context extends
past the first position of one. Equal to the scores of batches, element by element.

Knows the table and padded corpora; no model.

Shapes: P positions of a part, n order.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from seriatim.models.ngram.arrays import LOG_10, NUM_THREADS, Floats, Ints
from seriatim.models.ngram.padded_corpus import PaddedCorpus
from seriatim.models.ngram.table import NgramTable

CHUNK = 1 << 15  # positions whose arrays stay in the caches

Nats = npt.NDArray[np.float32]


def corpus_surprisals(table: NgramTable, corpus: PaddedCorpus) -> Nats:
    """-ln p of every symbol of a corpus but the beginnings of sequences, in order, in nats."""
    nats = np.empty(corpus.num_positions - corpus.num_beginnings, dtype=np.float32)

    def score(begin: int) -> None:
        low = max(0, begin - table.order + 1)
        block = corpus.block(low, min(begin + CHUNK, corpus.num_positions), 1)
        log10 = _log10(table, block.symbols.astype(np.int64), block.begins)
        is_scored = np.ones(len(log10), dtype=bool)
        is_scored[block.begins] = False
        is_scored[: begin - low] = False
        log10 = log10.take(np.flatnonzero(is_scored))
        at = begin - corpus.count_beginnings(begin)
        np.multiply(log10, -LOG_10, out=nats[at : at + len(log10)], casting="unsafe")

    begins = range(0, corpus.num_positions, CHUNK)
    if len(begins) < 4:
        list(map(score, begins))
    else:
        with ThreadPoolExecutor(NUM_THREADS) as threads:
            list(threads.map(score, begins))
    return nats


def _log10(table: NgramTable, x: Ints, begins: Ints) -> Floats:
    """(P,) log10 p of every symbol by the symbols before it in its sequence and in this part."""
    continues = np.ones(len(x), dtype=bool)  # whether there is a context
    continues[:1] = False
    continues[begins] = False
    nodes, longest, order = [x], x.copy(), np.ones(len(x), dtype=np.uint8)
    has_context = [continues[1:]]
    for m in range(2, table.order + 1):
        prefix = nodes[-1][:-1]
        if m > 2:
            has_context.append(has_context[0] & (prefix >= 0))
        is_sought = has_context[-1]
        if table.is_closed and m > 2:  # an n-gram is listed only if its suffix is
            is_sought = is_sought & (nodes[-1][1:] >= 0)
        at = np.flatnonzero(is_sought)
        match = table.find_nodes(prefix.take(at), x.take(at + 1))
        node = np.full(len(x), -1, dtype=np.int64)
        node[at + 1] = match
        nodes.append(node)
        listed = np.flatnonzero(match >= 0)
        at, match = at.take(listed) + 1, match.take(listed)
        longest[at], order[at] = match, m
    log_backoff, log10 = table.log_backoff.numpy(), np.zeros(len(x))
    for m in range(table.order - 1, 0, -1):
        at = np.flatnonzero(has_context[m - 1] & (order[1:] <= m))
        log10[at + 1] += log_backoff.take(nodes[m - 1].take(at))
    log10 += table.log_probs(longest)
    return log10
