"""Quantized probabilities: 2^q - 1 values for each order, and backoff weights that fit them.

As KenLM's `-q` (Federico, Bertoldi 2006; Whittaker, Raj 2001): the log-probabilities of an
order are sorted and divided into bins of equal population, each bin has its mean for a value, and
an n-gram gets the nearest value. KenLM leaves the weights as they were, or quantizes them too, and
rows then sum to about 1. Here weights are computed anew, exactly, in 64 bits,

    backoff(h) = (1 - sum of p(v|h) over v seen after h) / (1 - sum of p(v|h') over the same v)

so that every row sums to 1. For that the numerator has to stay above 0:

- where rounding to the nearest would take more than half of the mass that a context leaves to
  unseen symbols, its n-grams are rounded down, and it then leaves no less than before (the
  smallest value of an order is its minimum, so each n-gram has a value below it);
- where hardly any mass is unseen after a context, as in the low orders of characters, no weight
  can make up for rounding, and its n-grams keep their probabilities (and where none is, or
  nothing is left over, it keeps its weight).

Single symbols keep theirs too, as in KenLM.

Shapes: V symbols, N n-grams of all orders, N_m of order m, q bits of a code.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from seriatim.models.ngram.arrays import Floats, Ints
from seriatim.models.ngram.backoff_model import BackoffModel
from seriatim.models.ngram.codebook import QuantizedLogProbs
from seriatim.models.ngram.pruning import left_over
from seriatim.models.ngram.table import NgramTable, lower_order

_LEAST_UNSEEN = 1e-3  # of probability: rounding errors of a sum are far below
_NOTHING = 1e-9  # a difference of sums so small has no correct digits


def quantize(model: BackoffModel, bits: int) -> tuple[BackoffModel, QuantizedLogProbs]:
    """The model with quantized probabilities, as numbers and as codes of `bits` bits.

    Time: a look-up or two for each n-gram, and a sort of each order.
    """
    starts, num_symbols = model.starts, model.num_symbols
    log_prob, weights = model.log_prob.copy(), model.log_backoff.copy()
    quantized = replace(model, log_prob=log_prob, log_backoff=weights)
    table = NgramTable(model.order, num_symbols)
    table.fill(quantized)  # shared: lower orders are done first
    suffix = np.full(len(log_prob), -1, dtype=np.int64)
    code = np.zeros(len(model.key), dtype=np.uint8)
    books = np.zeros((max(model.order - 1, 1), 1 << bits))
    for m in range(2, model.order + 1):
        ids = slice(int(starts[m - 1]), int(starts[m]))
        prefix, lower = lower_order(table, suffix, m)
        book = codebook(log_prob[ids], (1 << bits) - 1)
        books[m - 2, 1 : len(book) + 1] = book
        code[ids.start - num_symbols : ids.stop - num_symbols] = _quantize_order(
            log_prob[ids], book, prefix, 10.0**lower, weights
        )
    kept = np.flatnonzero(code == 0) + num_symbols
    exact = np.concatenate([log_prob[:num_symbols], log_prob[kept]])
    return quantized, QuantizedLogProbs(starts, code, books, kept, exact)


def codebook(values: Floats, size: int) -> Floats:
    """At most `size` values by bins of equal population, rising; the first is the minimum."""
    ordered = np.sort(values)
    if len(ordered) == 0:
        return ordered
    edges = np.linspace(0, len(ordered), min(size, len(ordered)) + 1).astype(np.int64)
    book: Floats = np.add.reduceat(ordered, edges[:-1]) / np.diff(edges)
    book[0] = ordered[0]
    return np.unique(book)


def _quantize_order(
    log_prob: Floats, book: Floats, prefix: Ints, lower: Floats, weights: Floats
) -> npt.NDArray[np.uint8]:
    """The codes of one order; its `log_prob` and the `weights` of its contexts are replaced.

    Args:
        log_prob: (N_m,) log10 p.
        book: the codebook of the order.
        prefix: (N_m,) the context of each n-gram.
        lower: (N_m,) its p without its oldest symbol, quantized.
        weights: log10 backoff weights of all contexts.
    """
    left, left_lower = left_over(prefix, 10.0**log_prob, lower, len(weights))
    is_full = left_lower < _LEAST_UNSEEN
    floor = np.maximum(np.searchsorted(book, log_prob, side="right") - 1, 0)
    above = np.minimum(floor + 1, len(book) - 1)
    nearest = np.where(book[above] - log_prob < log_prob - book[floor], above, floor)
    sums = np.bincount(prefix, 10.0 ** book[nearest], len(weights))
    index = np.where((sums > 1.0 - left / 2)[prefix], floor, nearest)
    coded = np.flatnonzero(~is_full[prefix])
    log_prob[coded] = book[index[coded]]
    left = left_over(prefix, 10.0**log_prob, lower, len(weights))[0]
    is_context = np.bincount(prefix, minlength=len(weights)) > 0
    is_context &= ~is_full | (np.minimum(left, left_lower) > _NOTHING)
    weights[is_context] = np.log10(left[is_context] / left_lower[is_context])
    code = np.zeros(len(log_prob), dtype=np.uint8)
    code[coded] = index[coded] + 1
    return code
