"""The engine of every kind of beam search, for many sources at once.

At each step every live prefix of a source is extended by symbols, a `Choice` says which
extensions stay, and the rows of the state follow their prefixes. Sources do not affect one
another: each gets the results it would get alone. Finished sources leave the batch, so later
steps are smaller.

Bookkeeping is on small arrays, in numpy and float64; the model, its state and the rows of V
symbols stay in torch, in their own precision and on their own device.

Knows states, distributions and scorers; no family, no text.

Shapes: B sources, A of them still searched, K slots for prefixes of each (at most the width; as
many as the source with the most prefixes has), N = A K rows of the state, M candidates of a prefix,
V symbols, t symbols so far.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import as_discrete, top_k
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.hypotheses import (
    Bools,
    Floats,
    Hypothesis,
    Ints,
    Results,
    SearchRules,
    as_array,
    bounds,
)
from seriatim.decode.scoring import Scorers, score_ceiling, weighted_scores
from seriatim.errors import NOT_NUMBERS, ModelError


@dataclass(frozen=True)
class Prefixes:
    """The prefixes of A sources, K slots each.

    Attributes:
        source: (A,) the number of the source.
        symbols: (A, K, t) the symbols so far.
        log_prob: (A, K) ln p of the prefix, nats; -inf: this slot is empty.
        extra: (A, K) what the scorers added.
    """

    source: Ints
    symbols: Ints
    log_prob: Floats
    extra: Floats

    @classmethod
    def first(cls, sources: int) -> Self:
        """The empty prefix of every source."""
        empty = np.empty((sources, 1, 0), np.int64)
        return cls(np.arange(sources), empty, np.zeros((sources, 1)), np.zeros((sources, 1)))

    @property
    def is_live(self) -> Bools:
        """(A, K) which slots hold a prefix."""
        return np.asarray(self.log_prob > -np.inf)

    def only(self, stays: Bools) -> "Prefixes":
        """The prefixes of the sources (A,) that stay, in as many slots as they need."""
        slots = np.flatnonzero(self.is_live[stays].any(0))
        size = int(slots[-1]) + 1 if len(slots) else 0
        return Prefixes(
            self.source[stays],
            self.symbols[stays, :size],
            self.log_prob[stays, :size],
            self.extra[stays, :size],
        )


@dataclass(frozen=True)
class Extensions:
    """The possible extensions of prefixes: M candidates of each.

    Attributes:
        symbols: (A, K, M) the candidates.
        log_prob: (A, K, M) ln p of prefix and symbol, nats; -inf: no such extension.
        extra: (A, K, M) what the scorers added to prefix and symbol.
        end: the symbol that ends a sequence; None: there is none.
        width: the number of extensions that may stay.
    """

    symbols: Ints
    log_prob: Floats
    extra: Floats
    end: int | None
    width: int

    @property
    def rank(self) -> Floats:
        """(A, K, M) the ranking score of prefixes of equal length."""
        return self.log_prob + self.extra

    def at(self, positions: Ints) -> tuple[Ints, Ints, Floats, Floats]:
        """Slot, symbol, log_prob and extra (A, C) at positions in the flattened last two axes.

        Position -1 is no extension: its log_prob is -inf.
        """
        sources, _, m = self.symbols.shape
        index = np.maximum(positions, 0)

        def pick(values: NDArray[np.generic]) -> NDArray[np.generic]:
            return np.take_along_axis(values.reshape(sources, -1), index, 1)

        log_prob = np.where(positions >= 0, pick(self.log_prob), -np.inf)
        return index // m, pick(self.symbols), log_prob, pick(self.extra)  # type: ignore[return-value]


class Choice(Protocol):
    """The rule by which extensions stay: all that distinguishes one beam search from another.

    A choice may keep a state for each prefix, as a scorer does.
    """

    @property
    def keeps_best(self) -> bool:
        """Whether what stays always ranks above what does not.

        Then a prefix that cannot win may be dropped at once.
        """

    def num_candidates(self, width: int) -> int:
        """The number of best symbols of each prefix that it needs, in a beam of `width`."""

    def start(self, batch_size: int) -> Tree:
        """Its state for B sources before the first symbol; batch in axis 0."""

    def update(self, memory: Tree, x: Tensor) -> Tree:
        """Its state after one symbol per row, x (N,)."""

    def wanted(self, memory: Tree) -> Tensor | None:
        """(N, E) symbols that must be candidates whatever their rank; -1: no symbol."""

    def accepts(self, source: int, symbols: Ints) -> bool:
        """Whether a prefix of this source that was cut by max_length counts as a result."""

    def order(self, extensions: Extensions, memory: Tree) -> tuple[Ints, Ints]:
        """Which extensions stay and which end, as positions in the flattened last two axes.

        Returns:
            (A, width) positions of the extensions that stay, and (A, any) of those that become
            results; -1 where there is none.
        """


class BeamSearch:
    """One beam search over B sources; `run` returns the results of each.

    Early stopping (without patience): once a source has `num_best` results, a live prefix whose
    bound (see `bounds`) is not above the worst of them can be dropped: nothing grown from it
    would be returned. If the choice keeps the best ranked, dropping prefixes one by one changes
    nothing else. All live prefixes have one length, so their bounds order them as their ranks
    do; a prefix that takes a slot that became free ranks below something grown from a dropped
    prefix, so its own bound is not above the bar. Hence the results are those of the search that
    drops nothing. If a choice does not keep the best ranked, only whole sources are dropped.
    """

    def __init__(
        self,
        model: SequenceModel,
        state: State,
        rules: SearchRules,
        scorers: Scorers,
        choice: Choice,
    ) -> None:
        """
        Args:
            model: any model of symbols.
            state: the state of B rows to continue from.
            rules: what the search keeps, and when it stops.
            scorers: pairs of a scorer and its weight.
            choice: the rule by which extensions stay.
        """
        sources = len(rules.max_length)
        self.model, self.rules, self.scorers, self.choice = model, rules, scorers, choice
        self.state = state
        each = rules.together  # searches for each row of the caller
        self.memories = [tree.repeat(s.start(sources // each), each) for s, _ in scorers]
        self.memory = choice.start(sources)
        self.num_rows = sources
        self.num_candidates = min(choice.num_candidates(rules.width), model.num_symbols)
        self.ceiling = score_ceiling(scorers)
        self.results = [Results(rules.num_best, rules.alpha) for _ in range(sources)]
        self.prefixes = Prefixes.first(sources)

    def run(self) -> list[list[Hypothesis]]:
        """Search until every source is finished; returns the results of each, best first."""
        length, rows = 0, self._leave(np.arange(self.num_rows)[:, None], 0)
        with torch.inference_mode():
            self._select(rows)
            while len(rows):
                length += 1
                rows = self._step(length)
                if len(rows):
                    self._select(rows)
                    self._fold()
        return [results.best for results in self.results]

    def _step(self, length: int) -> Ints:
        """One more symbol; (N,) the row of the state from which each slot's prefix has grown."""
        extensions = self._extensions()
        stay, ended = self.choice.order(extensions, self.memory)
        self._record(extensions, ended, length)
        # An empty slot follows the first prefix of its source: its row is never read.
        slot, symbols, log_prob, extra = extensions.at(stay)
        grown = np.take_along_axis(self.prefixes.symbols, slot[:, :, None], 1)
        grown = np.concatenate([grown, symbols[:, :, None]], 2)
        rows = slot + np.arange(len(slot))[:, None] * self.prefixes.log_prob.shape[1]
        self.prefixes = Prefixes(self.prefixes.source, grown, log_prob, extra)
        self._drop_settled(length)
        return self._leave(rows, length)

    def _extensions(self) -> Extensions:
        """The candidates of every prefix."""
        log_probs, bonus, symbols = self._candidates()
        if np.isnan(log_probs).any():
            raise ModelError(NOT_NUMBERS)
        prefixes = self.prefixes
        shape = (*prefixes.log_prob.shape, -1)
        return Extensions(
            symbols.reshape(shape),
            prefixes.log_prob[:, :, None] + log_probs.reshape(shape),
            prefixes.extra[:, :, None] + bonus.reshape(shape),
            self.rules.end,
            self.rules.width,
        )

    def _candidates(self) -> tuple[Floats, Floats, Ints]:
        """(N, M) ln p, what scorers add, and the symbols: the best of each row and those wanted."""
        distribution = as_discrete(self.model.predict(self.state))
        wanted = self.choice.wanted(self.memory)
        if not self.scorers and wanted is None:
            values, best = distribution.top(self.num_candidates)
            return as_array(values), np.zeros(values.shape), best.cpu().numpy()
        dense = distribution.dense()
        bonus = weighted_scores(self.scorers, self.memories, dense)
        # A symbol of probability 0 is no extension, whatever a scorer adds to it.
        ranked = torch.where(dense > -torch.inf, dense + bonus, dense)
        best = top_k(ranked, self.num_candidates)[1]
        if wanted is not None:
            best = torch.cat([best, wanted.to(best)], 1)
        symbols: Ints = best.cpu().numpy()
        best = best.clamp(min=0)
        is_open = (as_array(ranked.gather(1, best)) > -np.inf) & (symbols >= 0)
        if wanted is not None:  # a symbol that occurs further left in the row is a repetition
            same = symbols[:, :, None] == symbols[:, None, :]
            is_open &= ~np.tril(same, -1).any(2)
            symbols = np.maximum(symbols, 0)
        log_probs = np.where(is_open, as_array(dense.gather(1, best)), -np.inf)
        return log_probs, np.where(is_open, as_array(bonus.gather(1, best)), 0.0), symbols

    def _record(self, extensions: Extensions, ended: Ints, length: int) -> None:
        """Record the extensions that ended as results."""
        slot, _, log_prob, extra = extensions.at(ended)
        for a, j in np.argwhere(log_prob > -np.inf):
            symbols = self.prefixes.symbols[a, slot[a, j]]
            results = self.results[self.prefixes.source[a]]
            results.add(symbols, log_prob[a, j], extra[a, j], length, is_ended=True)

    def _drop_settled(self, length: int) -> None:
        """Drop the prefixes from which nothing can grow that would be returned."""
        prefixes, rules = self.prefixes, self.rules
        sources = [self.results[i] for i in prefixes.source]
        if rules.patience is not None:
            enough = max(1, round(rules.patience * rules.width))
            settled = np.array([results.num_results >= enough for results in sources])[:, None]
        else:
            bar = np.array([results.bar for results in sources])[:, None]
            rank, limits = prefixes.log_prob + prefixes.extra, rules.max_length[prefixes.source]
            settled = bounds(rank, length, limits, rules.alpha, self.ceiling) <= bar
        if not self.choice.keeps_best:
            settled = self._in_blocks(np.all(settled, axis=1), np.all)[:, None]
        prefixes.log_prob[np.broadcast_to(settled, prefixes.log_prob.shape)] = -np.inf

    def _leave(self, rows: Ints, length: int) -> Ints:
        """Remove finished and cut sources; (N,) of the rows (A, K), those of the slots left."""
        prefixes = self.prefixes
        is_cut = self.rules.max_length[prefixes.source] <= length
        for a, j in np.argwhere(prefixes.is_live & is_cut[:, None]):
            source, symbols = int(prefixes.source[a]), prefixes.symbols[a, j]
            if self.choice.accepts(source, symbols):
                log_prob, extra = prefixes.log_prob[a, j], prefixes.extra[a, j]
                self.results[source].add(symbols, log_prob, extra, length, is_ended=False)
        stays = self._in_blocks(np.any(prefixes.is_live, axis=1) & ~is_cut, np.any)
        self.prefixes = prefixes.only(stays)
        slots = self.prefixes.log_prob.shape[1]
        return np.asarray(rows[stays, :slots].reshape(-1), np.int64)

    def _in_blocks(self, of_source: Bools, join: Callable[..., Any]) -> Bools:
        """(A,) one value for all sources that leave together: the `join` of theirs."""
        size = self.rules.together
        if size == 1:
            return of_source
        blocks: Bools = join(of_source.reshape(-1, size), 1)
        return blocks.repeat(size)

    def _select(self, rows: Ints) -> None:
        """Reorder state and memories: row n of the new ones is row rows[n] (N,) of the old."""
        if len(rows) == self.num_rows and bool((rows == np.arange(len(rows))).all()):
            return  # every row stays in its position: nothing to copy
        index = torch.from_numpy(rows)
        self.state = tree.select(self.state, index.to(self.model.device))
        self.memories = [tree.select(memory, index) for memory in self.memories]
        self.memory = tree.select(self.memory, index)
        self.num_rows = len(rows)

    def _fold(self) -> None:
        """Fold the last symbol of every prefix into the state and the memories."""
        x = torch.from_numpy(self.prefixes.symbols[..., -1].reshape(-1))
        self.state = self.model.step(self.state, x.to(self.model.device))
        self.memories = [
            scorer.update(memory, x)
            for (scorer, _), memory in zip(self.scorers, self.memories, strict=True)
        ]
        self.memory = self.choice.update(self.memory, x)
