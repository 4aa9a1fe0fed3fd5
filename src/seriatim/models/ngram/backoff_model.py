"""The backoff form of an n-gram model (Chen, Goodman 1998, section 2.8), as ARPA files have it.

    p(w | h) = 10^log_prob(h w)               if the n-gram h w is listed
             = 10^log_backoff(h) p(w | h')    otherwise, with h' = h without its oldest symbol

Knows arrays; not how the probabilities were estimated.

Shapes: V symbols, n order, N n-grams of all orders.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from seriatim.core.records import Json
from seriatim.models.ngram.arrays import Floats, Ints, Mask, symbol_bits


@dataclass(frozen=True)
class BackoffModel:
    """Log-probabilities of the listed n-grams and backoff weights of their contexts.

    Ids, `starts` and `key` are those of `Counts`. Logarithms are to base 10, so that an ARPA
    file is written back digit by digit.

    Attributes:
        starts: (n + 1,) where the ids of each order begin.
        key: (N - V,) int64, rising.
        log_prob: (N,) log10 p.
        log_backoff: (starts[n - 1],) log10; 0 for an n-gram that is no context.
        facts: figures of the estimation, for the record that is kept with the model.
    """

    starts: Ints
    key: Ints
    log_prob: Floats
    log_backoff: Floats
    facts: Json = field(default_factory=dict)

    @property
    def order(self) -> int:
        """n."""
        return len(self.starts) - 1

    @property
    def num_symbols(self) -> int:
        """V."""
        return int(self.starts[1])

    def subset(self, is_kept: Mask) -> "BackoffModel":
        """The model of some of the n-grams.

        Args:
            is_kept: (N,) true for every single symbol and, with an n-gram, for its prefix.
        """
        bits = symbol_bits(self.num_symbols)
        new_id = np.cumsum(is_kept, dtype=np.int64) - 1
        key = self.key[is_kept[self.num_symbols :]]
        return replace(
            self,
            starts=np.concatenate([[0], new_id[self.starts[1:] - 1] + 1]),
            key=(new_id[key >> bits] << bits) | (key & ((1 << bits) - 1)),
            log_prob=self.log_prob[is_kept],
            log_backoff=self.log_backoff[is_kept[: len(self.log_backoff)]],
        )
