"""The backoff path of a probability: the longest match, and the backoff weights applied.

    ln p(w | h) = ln p of the longest n-gram found  +  ln backoff of every longer known context

The order of a match is the number of context symbols of the n-gram found, one less than the
n-gram length that KenLM reports. Knows the table; no model.

Shapes: P positions, n order of the table.
"""

import numpy as np

from seriatim.models.ngram.arrays import LOG_10, Floats, Ints
from seriatim.models.ngram.table import NgramTable


def backoff_path(table: NgramTable, context: Ints, x: Ints) -> tuple[Ints, Floats]:
    """How `table.score` composes each probability.

    Args:
        table: the n-grams.
        context: (P, n - 1) nodes.
        x: (P,) the predicted symbols.

    Returns:
        The order of each match, (P,) from 0 to n - 1 symbols of context; and (P, n) nats by
        length of context m: ln p of the n-gram at its own m, ln backoffs at longer known
        contexts, 0 elsewhere. They sum to ln p.
    """
    match = np.concatenate([x[:, None], table.find(context, x[:, None])], axis=1)
    order = table.order - 1 - np.argmax(match[:, ::-1] >= 0, axis=1)
    lengths = np.arange(table.order)
    log10 = np.zeros(match.shape)
    is_backed_off = (context >= 0) & (lengths[1:] > order[:, None])
    log10[:, 1:][is_backed_off] = table.log_backoff.numpy()[context[is_backed_off]]
    node = np.take_along_axis(match, order[:, None], axis=1)[:, 0]
    log10[np.arange(len(x)), order] = table.log_probs(node)
    return order, log10 * LOG_10


def known_context(context: Ints) -> Ints:
    """(...) the length of the longest known context, of nodes (..., n - 1)."""
    lengths = np.arange(1, context.shape[-1] + 1)
    known: Ints = ((context >= 0) * lengths).max(-1, initial=0)
    return known
