"""Pruning by entropy: drop the n-grams that the model hardly needs (Stolcke 1998).

An explicit n-gram (h, w) that is dropped is predicted by its backoff instead. That moves the
distribution after h by the relative entropy (equation 2 of the paper, with the new backoff
weight a'(h) of its section 2)

    D = - p(h) { p(w|h) [ln p(w|h') + ln a'(h) - ln p(w|h)]
                 + sum of p(v|h) over v not seen after h · [ln a'(h) - ln a(h)] }

and raises the perplexity of the model's own text by the share exp(D) - 1. N-grams below a
threshold go, from the highest order down, unless a longer one begins with them; then backoff
weights are computed anew. p(h) is the product of the model's own probabilities, with that of
the end for the beginning, as in SRILM. (For Kneser-Ney models p(h) is a rough figure: Chelba et
al. 2010; pruning by counts suits them better.)

Shapes: N n-grams of all orders.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from seriatim.models.ngram.counting import Ints, symbol_bits
from seriatim.models.ngram.sampling import shorter
from seriatim.models.ngram.smoothing import LOG_10, Backoffs, Floats
from seriatim.models.ngram.table import NgramTable


def prune_by_entropy(backoffs: Backoffs, threshold: float) -> Backoffs:
    """The model without the n-grams whose loss costs less than `threshold` (such as 1e-8)."""
    table = NgramTable(len(backoffs.starts) - 1, int(backoffs.starts[1]))
    table.fill(backoffs)
    below = _below(table)
    kept = np.ones(len(backoffs.log_prob), dtype=bool)
    starts, bits = backoffs.starts, symbol_bits(table.num_symbols)
    prefix = backoffs.key >> bits
    context = _log_contexts(backoffs, prefix)
    for m in range(table.order, 1, -1):
        ids = slice(int(starts[m - 1]), int(starts[m]))
        at = prefix[ids.start - table.num_symbols : ids.stop - table.num_symbols]
        loss = _losses(backoffs, ids, at, below[ids], context)
        kept[ids] = np.expm1(loss) >= threshold
        if m < table.order:  # what a longer one begins with
            longer = slice(int(starts[m]), int(starts[m + 1]))
            held = prefix[longer.start - table.num_symbols : longer.stop - table.num_symbols]
            kept[held[kept[longer]]] = True
    return normalize(_only(backoffs, kept))


def normalize(backoffs: Backoffs) -> Backoffs:
    """The model with backoff weights that make every row sum to 1, from low orders to high.

    After a context that was followed by every symbol the weight is of no use, and stays.
    """
    table = NgramTable(len(backoffs.starts) - 1, int(backoffs.starts[1]))
    weights = backoffs.log_backoff.copy()
    table.fill(replace(backoffs, log_backoff=weights))  # shared: lower orders are done first
    suffix = np.full(len(backoffs.log_prob), -1, dtype=np.int64)
    for m in range(2, table.order + 1):
        ids = slice(*(int(s) for s in backoffs.starts[m - 1 : m + 1]))
        prefix, below = shorter(table, suffix, m)
        own = 10.0 ** backoffs.log_prob[ids]
        left, left_below = left_over(prefix, own, 10.0**below, len(weights))
        contexts = slice(*(int(s) for s in backoffs.starts[m - 2 : m]))
        is_used = np.bincount(prefix, minlength=len(weights)) > 0
        weights[contexts][~is_used[contexts]] = 0.0
        is_used &= left_below > 1e-9
        weights[is_used] = np.log10(left[is_used] / left_below[is_used])
    return replace(backoffs, log_backoff=weights)


def left_over(prefix: Ints, own: Floats, below: Floats, size: int) -> tuple[Floats, Floats]:
    """What each context leaves to symbols not seen after it, and what they have below."""
    left = 1.0 - np.bincount(prefix, own, size)
    left_below = 1.0 - np.bincount(prefix, below, size)
    return np.maximum(left, 1e-12), np.maximum(left_below, 1e-12)


def _below(table: NgramTable) -> Floats:
    """(N,) log10 p of each n-gram's last symbol without its oldest symbol; 0 for order 1."""
    starts = table.starts.numpy()
    suffix = np.full(int(starts[-1]), -1, dtype=np.int64)
    below = np.zeros(len(suffix))
    for m in range(2, table.order + 1):
        below[starts[m - 1] : starts[m]] = shorter(table, suffix, m)[1]
    return below


def _log_contexts(backoffs: Backoffs, prefix: Ints) -> Floats:
    """(N,) ln p of every n-gram as a text."""
    context = backoffs.log_prob * LOG_10
    num_symbols = int(backoffs.starts[1])
    for low, high in zip(backoffs.starts[1:-1], backoffs.starts[2:], strict=True):
        context[low:high] += context[prefix[low - num_symbols : high - num_symbols]]
    return context


def _losses(
    backoffs: Backoffs, ids: slice, prefix: Ints, log_below: Floats, context: Floats
) -> Floats:
    """D of every n-gram of an order."""
    own, below = 10.0 ** backoffs.log_prob[ids], 10.0**log_below
    left, left_below = (part[prefix] for part in left_over(prefix, own, below, ids.start))
    change = np.log((left + own) / (left_below + below)) - np.log(left / left_below)
    weight = np.log(left / left_below)
    moved = own * (np.log(below) + weight + change - np.log(own)) + left * change
    loss: Floats = -np.exp(context[prefix]) * moved
    return loss


def _only(backoffs: Backoffs, kept: npt.NDArray[np.bool_]) -> Backoffs:
    """The n-grams (N,) that are kept; with each, its beginning must be."""
    num_symbols = int(backoffs.starts[1])
    bits = symbol_bits(num_symbols)
    new = np.cumsum(kept, dtype=np.int64) - 1
    key = backoffs.key[kept[num_symbols:]]
    return replace(
        backoffs,
        starts=np.concatenate([[0], new[backoffs.starts[1:] - 1] + 1]),
        key=(new[key >> bits] << bits) | (key & ((1 << bits) - 1)),
        log_prob=backoffs.log_prob[kept],
        log_backoff=backoffs.log_backoff[kept[: len(backoffs.log_backoff)]],
    )
