"""Entropy pruning: drop the n-grams that change the model least (Stolcke 1998).

An explicit n-gram (h, w) that is dropped is predicted by its backoff instead. That moves the
distribution after h by the relative entropy (equation 2 of the paper, with the new backoff
weight a'(h) of its section 2)

    D = - p(h) { p(w|h) [ln p(w|h') + ln a'(h) - ln p(w|h)]
                 + sum of p(v|h) over v not seen after h · [ln a'(h) - ln a(h)] }

and raises the perplexity of the model's own text by the fraction exp(D) - 1. N-grams below a
threshold are dropped, from the highest order down, unless a longer one begins with them; then
backoff weights are computed anew. p(h) is the product of the model's own probabilities, with that
of the end for the beginning, as in SRILM. (For Kneser-Ney models p(h) is a rough figure: Chelba et
al. 2010; count pruning suits them better.)

Shapes: N n-grams of all orders.
"""

from dataclasses import replace

import numpy as np

from seriatim.models.ngram.arrays import LOG_10, Floats, Ints, symbol_bits
from seriatim.models.ngram.backoff_model import BackoffModel
from seriatim.models.ngram.table import NgramTable, lower_order


def prune_by_entropy(model: BackoffModel, threshold: float) -> BackoffModel:
    """The model without the n-grams that raise the perplexity by less than a fraction.

    Args:
        model: the model.
        threshold: the fraction, such as 1e-8.
    """
    table = NgramTable(model.order, model.num_symbols)
    table.fill(model)
    lower = _lower_log_probs(table)
    is_kept = np.ones(len(model.log_prob), dtype=bool)
    starts = model.starts
    prefix = model.key >> symbol_bits(model.num_symbols)
    log_prob_of_text = _log_prob_of_text(model, prefix)
    for m in range(table.order, 1, -1):
        ids = slice(int(starts[m - 1]), int(starts[m]))
        contexts = prefix[ids.start - table.num_symbols : ids.stop - table.num_symbols]
        loss = _relative_entropy(model, ids, contexts, lower[ids], log_prob_of_text)
        is_kept[ids] = np.expm1(loss) >= threshold
        if m < table.order:  # the prefixes of longer n-grams stay
            longer = slice(int(starts[m]), int(starts[m + 1]))
            prefixes = prefix[longer.start - table.num_symbols : longer.stop - table.num_symbols]
            is_kept[prefixes[is_kept[longer]]] = True
    return normalize(model.subset(is_kept))


def normalize(model: BackoffModel) -> BackoffModel:
    """The model with backoff weights that make every row sum to 1, from low orders to high.

    After a context that was followed by every symbol the weight is never applied, and stays.
    """
    table = NgramTable(model.order, model.num_symbols)
    weights = model.log_backoff.copy()
    table.fill(replace(model, log_backoff=weights))  # shared: lower orders are done first
    suffix = np.full(len(model.log_prob), -1, dtype=np.int64)
    for m in range(2, table.order + 1):
        ids = slice(*(int(s) for s in model.starts[m - 1 : m + 1]))
        prefix, lower = lower_order(table, suffix, m)
        left, left_lower = left_over(prefix, 10.0 ** model.log_prob[ids], 10.0**lower, len(weights))
        contexts = slice(*(int(s) for s in model.starts[m - 2 : m]))
        is_context = np.bincount(prefix, minlength=len(weights)) > 0
        weights[contexts][~is_context[contexts]] = 0.0
        is_context &= left_lower > 1e-9
        weights[is_context] = np.log10(left[is_context] / left_lower[is_context])
    return replace(model, log_backoff=weights)


def left_over(prefix: Ints, p: Floats, lower: Floats, size: int) -> tuple[Floats, Floats]:
    """The mass of the symbols not seen after each context: after it, and after its suffix."""
    left = 1.0 - np.bincount(prefix, p, size)
    left_lower = 1.0 - np.bincount(prefix, lower, size)
    return np.maximum(left, 1e-12), np.maximum(left_lower, 1e-12)


def _lower_log_probs(table: NgramTable) -> Floats:
    """(N,) log10 p of each n-gram's last symbol without its oldest symbol; 0 for order 1."""
    starts = table.starts.numpy()
    suffix = np.full(int(starts[-1]), -1, dtype=np.int64)
    lower = np.zeros(len(suffix))
    for m in range(2, table.order + 1):
        lower[starts[m - 1] : starts[m]] = lower_order(table, suffix, m)[1]
    return lower


def _log_prob_of_text(model: BackoffModel, prefix: Ints) -> Floats:
    """(N,) ln p of every n-gram as a text."""
    log_prob = model.log_prob * LOG_10
    num_symbols = model.num_symbols
    for low, high in zip(model.starts[1:-1], model.starts[2:], strict=True):
        log_prob[low:high] += log_prob[prefix[low - num_symbols : high - num_symbols]]
    return log_prob


def _relative_entropy(
    model: BackoffModel, ids: slice, prefix: Ints, log_lower: Floats, log_prob_of_text: Floats
) -> Floats:
    """D of every n-gram of an order."""
    p, lower = 10.0 ** model.log_prob[ids], 10.0**log_lower
    left, left_lower = (part[prefix] for part in left_over(prefix, p, lower, ids.start))
    change = np.log((left + p) / (left_lower + lower)) - np.log(left / left_lower)
    weight = np.log(left / left_lower)
    moved = p * (np.log(lower) + weight + change - np.log(p)) + left * change
    entropy: Floats = -np.exp(log_prob_of_text[prefix]) * moved
    return entropy
