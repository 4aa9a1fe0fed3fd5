"""Quantized probabilities: a code of one byte for each n-gram, and a codebook for each order.

    log10 p of an n-gram of order m  =  books[m - 2, code],      code in 1 .. 2^q - 1

Code 0 marks an n-gram whose probability is stored exactly, as are those of single symbols. Knows
arrays; not how codes are chosen (`quantization`), and no models.

Shapes: V symbols, n order, N n-grams of all orders, E stored exactly, q bits of a code.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seriatim.models.ngram.arrays import Floats, Ints


@dataclass(frozen=True)
class QuantizedLogProbs:
    """log10 p of all n-grams.

    Attributes:
        starts: (n + 1,), as in `BackoffModel`.
        code: (N - V,) the codes of n-grams of orders 2 .. n.
        books: (n - 1, 2^q) log10 p; at least one row.
        kept: (E,) the ids of n-grams of code 0, rising.
        log_prob: (V + E,) log10 p of single symbols, then of `kept`.
    """

    starts: Ints
    code: npt.NDArray[np.uint8]
    books: Floats
    kept: Ints
    log_prob: Floats

    def take(self, node: Ints) -> Floats:
        """log10 p of nodes (P,)."""
        num_symbols = int(self.starts[1])
        log_prob = self.log_prob.take(node, mode="clip")
        longer = np.flatnonzero(node >= num_symbols)
        node = node.take(longer)
        code = self.code.take(node - num_symbols)
        entry = np.searchsorted(self.starts[2:], node, side="right")
        entry *= self.books.shape[1]
        entry += code
        log_prob[longer] = self.books.take(entry)
        exact = np.flatnonzero(code == 0)
        if len(exact):
            rank = np.searchsorted(self.kept, node.take(exact))
            log_prob[longer.take(exact)] = self.log_prob.take(rank + num_symbols)
        return log_prob

    def all(self) -> Floats:
        """(N,) log10 p of every node."""
        return self.take(np.arange(int(self.starts[-1])))
