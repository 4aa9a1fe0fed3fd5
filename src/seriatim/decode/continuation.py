"""One continuation of each row, symbol by symbol: the loop under greedy search and sampling.

Finished rows leave the batch, several at a time: moving the others costs a copy of their state,
so up to an eighth of the rows may be finished and wait.

Knows states, distributions and scorers; no family, no text.

Shapes: B rows at the start, N of them still in the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import Discrete, as_discrete
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.hypotheses import Bools, Hypothesis, Ints, as_array
from seriatim.decode.scoring import Scorers

Picked: TypeAlias = tuple[Tensor, Tensor, Tensor]  # (N,) symbols, ln p, what scorers added
Pick: TypeAlias = Callable[[Discrete, list[Tree], Ints, int], Picked]


class _Taken(NamedTuple):
    """What one step took: everything else is worked out at the end, once for all steps."""

    rows: Ints
    is_open: Bools
    symbols: Ints
    log_prob: Tensor
    extra: Tensor


@dataclass
class Continuation:
    """The continuations of B rows; `run` brings each to its end.

    Attributes:
        model: any model of symbols.
        state: the state of B rows to continue from.
        scorers: pairs of a scorer and its weight.
        end: the symbol that ends a sequence; None: there is none.
        limits: (B,) the maximum number of steps of each row.
    """

    model: SequenceModel
    state: State
    scorers: Scorers
    end: int | None
    limits: Ints

    def run(self, pick: Pick) -> list[Hypothesis]:
        """Pick symbols and fold them into the state until every row is finished.

        Args:
            pick: a function of the distributions, the scorers' states, the numbers of the rows
                (N,) and the step that chooses the next symbols.
        """
        count = len(self.limits)
        self.memories = [scorer.start(count) for scorer, _ in self.scorers]
        taken: list[_Taken] = []
        rows = np.arange(count)  # the rows in the batch
        is_open = self.limits > 0
        with torch.inference_mode():
            while is_open.any():
                rows, is_open = self._compact(rows, is_open)
                distribution = as_discrete(self.model.predict(self.state))
                x, *values = pick(distribution, self.memories, rows, len(taken))
                symbols = x.cpu().numpy()
                taken.append(_Taken(rows, is_open, symbols, *values))
                is_open = is_open & (self.limits[rows] > len(taken))
                if self.end is not None:
                    is_open &= symbols != self.end
                if is_open.any():
                    self._fold(x)
        return self._hypotheses(taken)

    def _compact(self, rows: Ints, is_open: Bools) -> tuple[Ints, Bools]:
        """Let finished rows leave the batch once there are many."""
        if 8 * int(is_open.sum()) > 7 * len(rows) or bool(is_open.all()):
            return rows, is_open
        index = torch.from_numpy(np.flatnonzero(is_open))
        self.state = tree.select(self.state, index.to(self.model.device))
        self.memories = [tree.select(memory, index) for memory in self.memories]
        return rows[is_open], is_open[is_open]

    def _fold(self, x: Tensor) -> None:
        self.state = self.model.step(self.state, x)
        self.memories = [
            scorer.update(memory, x.cpu())
            for (scorer, _), memory in zip(self.scorers, self.memories, strict=True)
        ]

    def _hypotheses(self, taken: list[_Taken]) -> list[Hypothesis]:
        count = len(self.limits)
        symbols = np.zeros((count, len(taken)), np.int64)
        log_prob, extra = np.zeros(count), np.zeros(count)
        lengths, is_ended = np.zeros(count, np.int64), np.zeros(count, bool)
        for step, one in enumerate(taken):
            at, is_open = one.rows[one.is_open], one.is_open
            symbols[at, step] = found = one.symbols[is_open]
            log_prob[at] += as_array(one.log_prob)[is_open]
            extra[at] += as_array(one.extra)[is_open]
            is_ended[at] = ends = found == (-1 if self.end is None else self.end)
            lengths[at] = step + 1 - ends
        return [
            Hypothesis(tuple(x[:n].tolist()), float(p), float(p + e), bool(has_end))
            for x, n, p, e, has_end in zip(symbols, lengths, log_prob, extra, is_ended, strict=True)
        ]
