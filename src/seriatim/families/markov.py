"""The Markov model of order n: p(x_t | everything before) = p(x_t | x_{t-n+1} .. x_{t-1}).

What it keeps of the past are the last n - 1 symbols, as the nodes they lead to in a table of
counted n-grams: one node for each length of context, so a step is n - 2 lookups, and a whole
chunk is as many lookups over all its positions at once. There are no parameters and no
gradients; the table is counted and smoothed in closed form.

Shapes: B rows, L elements of a chunk, V symbols.
"""

from typing import cast

import torch
from torch import Tensor

from seriatim.batch import TokenSequences
from seriatim.distributions import Discrete
from seriatim.families.configuration import Markov
from seriatim.families.ngrams import SMOOTHINGS, NgramTable, Options, count_ngrams
from seriatim.model import Carry, Features, SequenceModel
from seriatim.tree import Tree


class MarkovModel(SequenceModel):
    """Counts of n-grams, smoothed. Before it is fitted it is uniform.

    The carry is (B, n - 1) int64: the node of the last m symbols for m = 1 .. n - 1, or -1 where
    fewer were seen or they never stood side by side in training. Features are the same after
    each element, (B, L, n - 1).
    """

    def __init__(self, config: Markov, num_symbols: int, boundary: int) -> None:
        super().__init__(num_symbols, boundary)
        self.config = config
        self.table = NgramTable(config.order, num_symbols)

    def fit_closed_form(self, corpus: TokenSequences) -> dict[str, object]:
        """Count and smooth a corpus.

        Returns:
            `ngrams` per order, and what the smoothing found: for Kneser-Ney the `discounts` per
            order and the `fallback_orders`, whose counts of counts gave no valid ones.

        Raises:
            DataError: the corpus holds nothing to count, or symbols that the model does not have.
        """
        counts = count_ngrams(
            corpus.tokens,
            corpus.offsets,
            order=self.config.order,
            num_symbols=self.num_symbols,
            boundary=self.boundary,
            is_stream=corpus.is_stream,
        )
        options = Options(prune=tuple(self.config.prune), k=self.config.k)
        backoffs = SMOOTHINGS[self.config.smoothing](counts, options)
        self.table.fill(backoffs)
        return {"ngrams": self.table.num_ngrams, **backoffs.facts}

    def empty(
        self, batch_size: int, *, given: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        shape = (batch_size, self.config.order - 1)
        return torch.full(shape, -1, dtype=torch.int64, device=self.device)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        nodes = self.table.fold(carry, x)
        if lengths is None or not keep:
            return nodes, nodes[:, -1] if keep else None
        n = lengths.to(nodes.device)
        last = nodes[torch.arange(len(n), device=n.device), (n - 1).clamp(min=0)]
        return nodes, torch.where((n > 0)[:, None], last, carry)

    def emit(self, features: Features) -> "Backoff":
        return Backoff(self.table, cast(Tensor, features))

    @property
    def reach(self) -> int:
        """n - 1, or 0 while nothing was counted."""
        return max(m for m, size in enumerate(self.table.num_ngrams) if m == 0 or size > 0)


class Backoff(Discrete):
    """The next symbol after known contexts, looked up lazily: `log_prob` builds no row."""

    def __init__(self, table: NgramTable, nodes: Tensor) -> None:
        """
        Args:
            table: the n-grams.
            nodes: (..., n - 1) the contexts, as nodes of the table.
        """
        self.table = table
        self.nodes = nodes

    @property
    def num_symbols(self) -> int:
        return self.table.num_symbols

    def log_prob(self, x: Tree) -> Tensor:
        return self.table.score(self.nodes, x)

    def dense(self) -> Tensor:
        return self.table.rows(self.nodes)
