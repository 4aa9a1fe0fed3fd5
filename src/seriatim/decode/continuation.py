"""One continuation of each row, symbol by symbol: the loop under greedy search and sampling.

Finished rows leave the batch, several at a time: moving the others costs a copy of their state,
so up to an eighth of the rows may be finished and wait.

Knows states, distributions and scorers; no family, no text.

Shapes: B rows at the start, N of them still in the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import Discrete, as_discrete
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.hypotheses import Bools, Floats, Hypothesis, Ints, as_array
from seriatim.decode.scoring import Scorers

Picked: TypeAlias = tuple[Tensor, Tensor, Tensor]  # (N,) symbols, ln p, what scorers added
Pick: TypeAlias = Callable[[Discrete, list[Tree], Ints, int], Picked]


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
        self.log_prob, self.extra = np.zeros(count), np.zeros(count)
        self.is_ended, self.lengths = np.zeros(count, bool), np.zeros(count, np.int64)
        picked: list[tuple[Ints, Ints]] = []
        rows = np.arange(count)  # the rows in the batch
        is_open = self.limits > 0
        with torch.inference_mode():
            step = 0
            while is_open.any():
                rows, is_open = self._compact(rows, is_open)
                distribution = as_discrete(self.model.predict(self.state))
                x, log_prob, extra = pick(distribution, self.memories, rows, step)
                step += 1
                symbols = x.cpu().numpy()
                picked.append((rows[is_open], symbols[is_open]))
                added = as_array(log_prob), as_array(extra)
                is_open = self._record(rows, is_open, symbols, *added, step)
                if is_open.any():
                    self._fold(x)
        return self._hypotheses(picked)

    def _compact(self, rows: Ints, is_open: Bools) -> tuple[Ints, Bools]:
        """Let finished rows leave the batch once there are many."""
        if 8 * int(is_open.sum()) > 7 * len(rows) or bool(is_open.all()):
            return rows, is_open
        index = torch.from_numpy(np.flatnonzero(is_open))
        self.state = tree.select(self.state, index.to(self.model.device))
        self.memories = [tree.select(memory, index) for memory in self.memories]
        return rows[is_open], is_open[is_open]

    def _record(
        self,
        rows: Ints,
        is_open: Bools,
        symbols: Ints,
        log_prob: Floats,
        extra: Floats,
        step: int,
    ) -> Bools:
        """Record the symbols of open rows; returns which rows stay open."""
        at = rows[is_open]
        self.log_prob[at] += log_prob[is_open]
        self.extra[at] += extra[is_open]
        ends = np.zeros_like(is_open) if self.end is None else symbols == self.end
        self.is_ended[at] = ends[is_open]
        self.lengths[at] = step - ends[is_open]
        return np.asarray(is_open & ~ends & (self.limits[rows] > step))

    def _fold(self, x: Tensor) -> None:
        self.state = self.model.step(self.state, x)
        self.memories = [
            scorer.update(memory, x.cpu())
            for (scorer, _), memory in zip(self.scorers, self.memories, strict=True)
        ]

    def _hypotheses(self, picked: list[tuple[Ints, Ints]]) -> list[Hypothesis]:
        symbols = np.zeros((len(self.limits), len(picked)), np.int64)
        for step, (rows, x) in enumerate(picked):
            symbols[rows, step] = x
        return [
            Hypothesis(tuple(x[:n].tolist()), float(p), float(p + e), bool(is_ended))
            for x, n, p, e, is_ended in zip(
                symbols, self.lengths, self.log_prob, self.extra, self.is_ended, strict=True
            )
        ]
