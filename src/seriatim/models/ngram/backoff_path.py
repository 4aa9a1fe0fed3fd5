"""How a backoff model comes to a probability: the longest n-gram it finds, and what it pays.

    ln p(w | h) = ln p of the n-gram found  +  the ln backoff of every longer context that is known

The order of the match is how many symbols of context the n-gram found has, as KenLM tells it less
one. Knows the table; no model.

Shapes: P positions, n order of the table.
"""

import numpy as np

from seriatim.models.ngram.counting import Ints
from seriatim.models.ngram.smoothing import LOG_10, Floats
from seriatim.models.ngram.table import NgramTable


def backoff_path(table: NgramTable, context: Ints, x: Ints) -> tuple[Ints, Floats]:
    """How `table.score` finds each probability.

    Args:
        table: the n-grams.
        context: (P, n - 1) nodes.
        x: (P,) the symbols predicted.

    Returns:
        The order of each match, (P,) from 0 to n - 1 symbols of context; and (P, n) nats by
        length of context m: ln p of the n-gram at its own m, backoffs at longer known contexts,
        0 elsewhere. They sum to ln p.
    """
    match = np.concatenate([x[:, None], table.find(context, x[:, None])], axis=1)
    order = table.order - 1 - np.argmax(match[:, ::-1] >= 0, axis=1)
    lengths = np.arange(table.order)
    paid = np.zeros(match.shape)
    is_passed = (context >= 0) & (lengths[1:] > order[:, None])
    paid[:, 1:][is_passed] = table.log_backoff.numpy()[context[is_passed]]
    found = np.take_along_axis(match, order[:, None], axis=1)[:, 0]
    paid[np.arange(len(x)), order] = table.log_probs(found)
    return order, paid * LOG_10


def known_context(context: Ints) -> Ints:
    """(...) how many symbols the longest known context has, of nodes (..., n - 1)."""
    lengths = np.arange(1, context.shape[-1] + 1)
    known: Ints = ((context >= 0) * lengths).max(-1, initial=0)
    return known
