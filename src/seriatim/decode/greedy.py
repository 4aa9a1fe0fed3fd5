"""One continuation of each row: greedy, or sampled; every row by itself until it ends.

Rows that are finished leave the batch, some at a time: moving the others costs a copy of their
state, so up to an eighth of the rows may be finished and wait.

Knows states, distributions, scorers and uniforms; no family, no text.

Shapes: B rows of the start, N of them still in the batch, V symbols.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import Discrete, top_k, uniforms
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.hypotheses import Floats, Hypothesis, Ints, lengths_for
from seriatim.decode.sampling import Sampling, symbols_of
from seriatim.decode.search import Bools, Scorers
from seriatim.errors import ConfigError

Picked: TypeAlias = tuple[Tensor, Tensor, Tensor]  # symbols, ln p, what scorers added, (N,) each
Pick: TypeAlias = Callable[[Discrete, list[Tree], Ints, int], Picked]


def greedy_rows(
    model: SequenceModel,
    state: State,
    *,
    max_length: int | Tensor,
    end: int | None = None,
    scorers: Scorers = (),
) -> list[Hypothesis]:
    """The most probable symbol at every step, of each of B states, until the end or max_length.

    Ties go to the smaller symbol. Equal to a beam of width 1 without length penalty, but for
    less work.

    Args:
        model: any model of symbols.
        state: of B rows, where to go on from.
        max_length: steps at most, for all or (B,) for each; the end takes one.
        end: the symbol that ends a sequence; None: nothing does.
        scorers: pairs of a scorer and its weight, added before the best is taken.

    Returns:
        One hypothesis for each row; `is_ended` says whether the end was reached.
    """

    def best(distribution: Discrete, memories: list[Tree], rows: Ints, step: int) -> Picked:
        if not scorers:
            log_prob, symbol = distribution.top(1)
            return symbol[:, 0], log_prob[:, 0], torch.zeros_like(log_prob[:, 0])
        dense = distribution.dense()
        bonus = torch.zeros_like(dense)
        for (scorer, weight), memory in zip(scorers, memories, strict=True):
            bonus = bonus + weight * scorer.scores(memory).to(bonus)
        symbol = top_k(torch.where(dense > -torch.inf, dense + bonus, dense), 1)[1]
        return symbol[:, 0], dense.gather(1, symbol)[:, 0], bonus.gather(1, symbol)[:, 0]

    return _Rows(model, state, scorers, end, lengths_for(tree.rows(state), max_length)).run(best)


def sample_candidates(
    model: SequenceModel,
    state: State,
    *,
    num_samples: int,
    max_length: int | Tensor,
    end: int | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
    row_ids: Tensor | None = None,
) -> list[list[Hypothesis]]:
    """`num_samples` sequences drawn for each of B states, each until its end or max_length.

    Sample j of a row depends on the counter (seed, its row id, j) alone: not on the batch, nor
    on how many are drawn.

    Args:
        model: any model of symbols.
        state: of B rows.
        num_samples: how many to draw for each row.
        max_length: steps at most, for all or (B,) for each; the end takes one.
        end: the symbol that ends a sequence; None: nothing does.
        sampling: how to choose; None: from the model's own distribution.
        seed: of the counters.
        row_ids: (B,) the counters' rows, such as line numbers; None: 0 .. B-1.

    Returns:
        For each row its samples in the order drawn; `log_prob` and `score` are the model's own.

    Raises:
        ConfigError: no sample asked for, or a max_length that does not fit.
    """
    if num_samples < 1:
        raise ConfigError(f"num_samples {num_samples} draws nothing: give 1 or more")
    sources = tree.rows(state)
    chosen = sampling or Sampling()
    limits = lengths_for(sources, max_length).repeat(num_samples)
    ids = np.arange(sources) if row_ids is None else row_ids.cpu().numpy().astype(np.int64)
    # Samples of one row lie 2^40 counters apart: row ids are smaller than that.
    counters = (ids[:, None] + (np.arange(num_samples) << 40)).reshape(-1)

    def draw(distribution: Discrete, memories: list[Tree], rows: Ints, step: int) -> Picked:
        u = uniforms(seed, counters[rows], step).to(model.device)
        symbol = chosen.reshape(distribution).sample(u)
        log_prob = distribution.log_prob(symbol)
        return symbol, log_prob, torch.zeros_like(log_prob)

    drawn = _Rows(model, tree.repeat(state, num_samples), (), end, limits).run(draw)
    return [drawn[i : i + num_samples] for i in range(0, len(drawn), num_samples)]


@dataclass
class _Rows:
    """Rows on their way; `run` leads each to its end."""

    model: SequenceModel
    state: State
    scorers: Scorers
    end: int | None
    limits: Ints

    def run(self, pick: Pick) -> list[Hypothesis]:
        """Pick and fold symbol after symbol until every row is finished."""
        count = len(self.limits)
        self.memories = [scorer.start(count) for scorer, _ in self.scorers]
        self.log_prob, self.extra = np.zeros(count), np.zeros(count)
        self.is_ended, self.lengths = np.zeros(count, bool), np.zeros(count, np.int64)
        picked: list[tuple[Ints, Ints]] = []
        rows = np.arange(count)  # of the batch
        is_open = self.limits > 0
        with torch.inference_mode():
            step = 0
            while is_open.any():
                rows, is_open = self._compact(rows, is_open)
                distribution = symbols_of(self.model.predict(self.state))
                x, log_prob, extra = pick(distribution, self.memories, rows, step)
                step += 1
                symbols = x.cpu().numpy()
                picked.append((rows[is_open], symbols[is_open]))
                is_open = self._enter(rows, is_open, symbols, _array(log_prob), _array(extra), step)
                if is_open.any():
                    self._fold(x)
        return self._hypotheses(picked)

    def _compact(self, rows: Ints, is_open: Bools) -> tuple[Ints, Bools]:
        """Let finished rows leave, once they are many."""
        if 8 * int(is_open.sum()) > 7 * len(rows) or bool(is_open.all()):
            return rows, is_open
        index = torch.from_numpy(np.flatnonzero(is_open))
        self.state = tree.select(self.state, index.to(self.model.device))
        self.memories = [tree.select(memory, index) for memory in self.memories]
        return rows[is_open], is_open[is_open]

    def _enter(
        self,
        rows: Ints,
        is_open: Bools,
        symbols: Ints,
        log_prob: Floats,
        extra: Floats,
        step: int,
    ) -> Bools:
        """Enter the symbols of open rows; returns which rows stay open."""
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


def _array(values: Tensor) -> Floats:
    return np.array(values.double().cpu().numpy())
