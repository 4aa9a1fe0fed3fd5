"""Quantized probabilities: 2^q - 1 values for each order, and backoff weights that fit them.

As KenLM's `-q` (Federico, Bertoldi 2006; Whittaker, Raj 2001): the log-probabilities of an
order are sorted and divided into parts of equal size, each part has its mean for a value, and an
n-gram gets the nearest value. KenLM leaves the weights as they were, or quantizes them too, and
rows then sum to something near 1. Here weights are computed anew, exactly, in 64 bits,

    left(h) = (1 - sum of p(v|h) over v seen after h) / (1 - sum of p(v|h') over the same v)

so that every row sums to 1. For that the numerator has to stay above 0:

- where rounding to the nearest would take more than half of what a context leaves over, its
  n-grams are rounded down, and it then leaves no less than before (the smallest value of an order
  is its minimum, so each n-gram has a value below it);
- where hardly anything is unseen after a context, as in the low orders of characters, no weight
  can make up for rounding, and its n-grams keep their numbers (and where nothing is, or nothing
  is left over, it keeps its weight).

Single symbols keep theirs too, as in KenLM.

Shapes: V symbols, N n-grams of all orders, N_m of order m, q bits of a code.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from seriatim.models.ngram.codebook import Codes
from seriatim.models.ngram.counting import Ints
from seriatim.models.ngram.pruning import left_over
from seriatim.models.ngram.sampling import shorter
from seriatim.models.ngram.smoothing import Backoffs, Floats
from seriatim.models.ngram.table import NgramTable

_NARROW = 1e-3  # of probability for what is unseen: rounding errors of a sum are far below
_NOTHING = 1e-9  # a difference of sums so small is no figure any more


def quantize(backoffs: Backoffs, bits: int) -> tuple[Backoffs, Codes]:
    """The model with quantized probabilities, as numbers and as codes of `bits` bits.

    Time: that of a look-up or two for each n-gram, and a sort of each order.
    """
    starts = backoffs.starts
    order, num_symbols = len(starts) - 1, int(starts[1])
    log_prob, weights = backoffs.log_prob.copy(), backoffs.log_backoff.copy()
    found = replace(backoffs, log_prob=log_prob, log_backoff=weights)
    table = NgramTable(order, num_symbols)
    table.fill(found)  # shared: lower orders are done first
    suffix = np.full(len(log_prob), -1, dtype=np.int64)
    code = np.zeros(len(backoffs.key), dtype=np.uint8)
    books = np.zeros((max(order - 1, 1), 1 << bits))
    for m in range(2, order + 1):
        ids = slice(int(starts[m - 1]), int(starts[m]))
        prefix, below = shorter(table, suffix, m)
        book = codebook(log_prob[ids], (1 << bits) - 1)
        books[m - 2, 1 : len(book) + 1] = book
        code[ids.start - num_symbols : ids.stop - num_symbols] = _order(
            log_prob[ids], book, prefix, 10.0**below, weights
        )
    kept = np.flatnonzero(code == 0) + num_symbols
    exact = np.concatenate([log_prob[:num_symbols], log_prob[kept]])
    return found, Codes(starts, code, books, kept, exact)


def codebook(values: Floats, size: int) -> Floats:
    """At most `size` values by equal population, rising; the first is the smallest of all."""
    ordered = np.sort(values)
    if len(ordered) == 0:
        return ordered
    edges = np.linspace(0, len(ordered), min(size, len(ordered)) + 1).astype(np.int64)
    book: Floats = np.add.reduceat(ordered, edges[:-1]) / np.diff(edges)
    book[0] = ordered[0]
    return np.unique(book)


def _order(
    log_prob: Floats, book: Floats, prefix: Ints, below: Floats, weights: Floats
) -> npt.NDArray[np.uint8]:
    """The codes of one order; its `log_prob` and the `weights` of its contexts are replaced.

    Args:
        log_prob: (N_m,) log10 p.
        book: of the order.
        prefix: (N_m,) the context of each n-gram.
        below: (N_m,) its p without its oldest symbol, quantized.
        weights: of all contexts.
    """
    left, left_below = left_over(prefix, 10.0**log_prob, below, len(weights))
    is_narrow = left_below < _NARROW
    floor = np.maximum(np.searchsorted(book, log_prob, side="right") - 1, 0)
    above = np.minimum(floor + 1, len(book) - 1)
    nearest = np.where(book[above] - log_prob < log_prob - book[floor], above, floor)
    sums = np.bincount(prefix, 10.0 ** book[nearest], len(weights))
    place = np.where((sums > 1.0 - left / 2)[prefix], floor, nearest)
    coded = np.flatnonzero(~is_narrow[prefix])
    log_prob[coded] = book[place[coded]]
    left = left_over(prefix, 10.0**log_prob, below, len(weights))[0]
    is_used = np.bincount(prefix, minlength=len(weights)) > 0
    is_used &= ~is_narrow | (np.minimum(left, left_below) > _NOTHING)
    weights[is_used] = np.log10(left[is_used] / left_below[is_used])
    code = np.zeros(len(log_prob), dtype=np.uint8)
    code[coded] = place[coded] + 1
    return code
