"""Probabilities as codes: a byte for each n-gram, and for each order a book of what codes mean.

    log10 p of an n-gram of order m  =  books[m - 2, code],      code in 1 .. 2^q - 1

Code 0 stands for an n-gram whose number is kept as it is, as are those of single symbols. Knows
arrays; not how codes are chosen (`quantizing`), and no models.

Shapes: V symbols, n order, N n-grams of all orders, E those kept as they are, q bits of a code.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seriatim.models.ngram.counting import Ints
from seriatim.models.ngram.smoothing import Floats


@dataclass(frozen=True)
class Codes:
    """log10 p of all n-grams.

    Attributes:
        starts: (n + 1,), as `Backoffs` has it.
        code: (N - V,) of n-grams of orders 2 .. n.
        books: (n - 1, 2^q) log10 p; at least one row.
        kept: (E,) the ids of n-grams of code 0, rising.
        log_prob: (V + E,) log10 p of single symbols, and of those.
    """

    starts: Ints
    code: npt.NDArray[np.uint8]
    books: Floats
    kept: Ints
    log_prob: Floats

    def take(self, node: Ints) -> Floats:
        """log10 p of nodes (P,)."""
        num_symbols = int(self.starts[1])
        found = self.log_prob.take(node, mode="clip")
        longer = np.flatnonzero(node >= num_symbols)
        node = node.take(longer)
        code = self.code.take(node - num_symbols)
        place = np.searchsorted(self.starts[2:], node, side="right")
        place *= self.books.shape[1]
        place += code
        found[longer] = self.books.take(place)
        kept = np.flatnonzero(code == 0)
        if len(kept):
            rank = np.searchsorted(self.kept, node.take(kept))
            found[longer.take(kept)] = self.log_prob.take(rank + num_symbols)
        return found

    def all(self) -> Floats:
        """(N,) log10 p of every node."""
        return self.take(np.arange(int(self.starts[-1])))
