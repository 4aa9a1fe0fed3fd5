"""Search over prefixes, for many sources at once: what every kind of beam search shares.

At each step every live prefix of a source is extended by symbols, a `Choice` says which
extensions stay, and the state's rows follow their prefixes. Sources do not see one another: a
source finds what it would find alone. Whoever is finished leaves, so later steps are smaller.

All book-keeping is on small arrays, in numpy and float64; the model, its state and the rows of
V symbols stay in torch, in their own precision and on their own device.

Knows states, distributions and scorers; no family, no text.

Shapes: B sources, A of them still searched, K slots for prefixes of each (at most the width; as
many as the source with most prefixes has), N = A K rows of the state, M candidates of a prefix,
V symbols, t symbols so far.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import top_k
from seriatim.core.ensembles import Scorer
from seriatim.core.model import SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.hypotheses import Floats, Hypothesis, Ints, Results, Rules, bounds
from seriatim.decode.sampling import symbols_of
from seriatim.errors import ModelError

Bools: TypeAlias = NDArray[np.bool_]
Scorers: TypeAlias = Sequence[tuple[Scorer, float]]


@dataclass(frozen=True)
class Prefixes:
    """The prefixes of A sources, K slots each.

    Attributes:
        source: (A,) which source.
        symbols: (A, K, t).
        log_prob: (A, K) nats; -inf: there is no prefix in this slot.
        extra: (A, K) what scorers added.
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
    """What prefixes may become: M candidates of each.

    Attributes:
        symbols: (A, K, M) the candidates.
        log_prob: (A, K, M) of prefix and symbol, nats; -inf: no such extension.
        extra: (A, K, M) what scorers added to prefix and symbol.
        end: the symbol that ends a sequence; None: nothing does.
        width: how many may go on.
    """

    symbols: Ints
    log_prob: Floats
    extra: Floats
    end: int | None
    width: int

    @property
    def rank(self) -> Floats:
        """(A, K, M) what prefixes of one length are compared by."""
        return self.log_prob + self.extra

    def at(self, places: Ints) -> tuple[Ints, Ints, Floats, Floats]:
        """Slot, symbol, log_prob and extra (A, C) at places of the flattened last two axes.

        Place -1 is no extension: its log_prob is -inf.
        """
        sources, _, m = self.symbols.shape
        index = np.maximum(places, 0)

        def pick(values: NDArray[np.generic]) -> NDArray[np.generic]:
            return np.take_along_axis(values.reshape(sources, -1), index, 1)

        log_prob = np.where(places >= 0, pick(self.log_prob), -np.inf)
        return index // m, pick(self.symbols), log_prob, pick(self.extra)  # type: ignore[return-value]


class Choice(Protocol):
    """Which extensions stay: the one thing in which beam searches differ.

    A choice may remember something of each prefix, as a scorer does.
    """

    @property
    def keeps_best(self) -> bool:
        """Whether what stays is always better ranked than what does not.

        Then a prefix that cannot win may be dropped at once.
        """

    def num_candidates(self, width: int) -> int:
        """How many of the best symbols of each prefix it must see, in a beam of `width`."""

    def start(self, batch_size: int) -> Tree:
        """What is remembered of B sources before the first symbol; batch in axis 0."""

    def update(self, memory: Tree, x: Tensor) -> Tree:
        """The same after one symbol per row, x (N,)."""

    def wanted(self, memory: Tree) -> Tensor | None:
        """(N, E) symbols that must be candidates whatever their rank, -1 for none of them."""

    def accepts(self, source: int, symbols: Ints) -> bool:
        """Whether a prefix of this source that max_length has cut is a result."""

    def order(self, extensions: Extensions, memory: Tree) -> tuple[Ints, Ints]:
        """Which extensions go on and which end, as places of the flattened last two axes.

        Returns:
            (A, width) places of the extensions that stay, and (A, any) of those that become
            results; -1 where there is none.
        """


def ceiling_of(scorers: Scorers) -> float:
    """What all scorers together add at most to one symbol; inf where one cannot say."""
    if any(weight < 0 for _, weight in scorers):
        return float("inf")
    return sum((weight * s.ceiling() for s, weight in scorers if weight > 0), 0.0)


class Search:
    """One search over B sources; `run` returns the results of each.

    Early stop (without patience): once `num_best` results of a source stand, a live prefix whose
    bound (see `bounds`) is not above the worst of them can be dropped: nothing grown from it
    would be returned. If the choice keeps the best ranked, dropping prefixes one by one changes
    nothing either. All live prefixes have one length, so their bounds order them as their ranks
    do; whoever takes a place that became free is ranked below something grown from a dropped
    prefix, so its own bound is not above the bar. Hence the results are those of the search that
    drops nothing. Of a choice that does not keep the best ranked only whole sources are dropped.
    """

    def __init__(
        self, model: SequenceModel, state: State, rules: Rules, scorers: Scorers, choice: Choice
    ) -> None:
        sources = len(rules.max_length)
        self.model, self.rules, self.scorers, self.choice = model, rules, scorers, choice
        self.state = state
        each = rules.together  # searches that answer to one row of the caller's
        self.memories = [tree.repeat(s.start(sources // each), each) for s, _ in scorers]
        self.memory = choice.start(sources)
        self.num_rows = sources
        self.num_candidates = min(choice.num_candidates(rules.width), model.num_symbols)
        self.ceiling = ceiling_of(scorers)
        self.found = [Results(rules.num_best, rules.alpha) for _ in range(sources)]
        self.prefixes = Prefixes.first(sources)

    def run(self) -> list[list[Hypothesis]]:
        """Search to the end."""
        length, rows = 0, self._leave(np.arange(self.num_rows)[:, None], 0)
        with torch.inference_mode():
            self._select(rows)
            while len(rows):
                length += 1
                rows = self._step(length)
                if len(rows):
                    self._select(rows)
                    self._fold()
        return [results.best for results in self.found]

    def _step(self, length: int) -> Ints:
        """One symbol more: extend, choose, record what ended, drop what is settled.

        Returns:
            (N,) the row of the state from which each slot's prefix has grown.
        """
        extensions = self._extensions()
        stay, ended = self.choice.order(extensions, self.memory)
        self._record(extensions, ended, length)
        # A slot without a prefix follows the first prefix of its source: its row is not looked at.
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
            raise ModelError(
                "the model predicts probabilities that are not numbers: its weights are damaged, "
                "or it was trained past the point where it diverged"
            )
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
        """ln p, what scorers add, and the symbols (N, M): the best of each row, and any wanted."""
        distribution = symbols_of(self.model.predict(self.state))
        wanted = self.choice.wanted(self.memory)
        if not self.scorers and wanted is None:
            values, best = distribution.top(self.num_candidates)
            return _array(values), np.zeros(values.shape), best.cpu().numpy()
        dense = distribution.dense()
        bonus = torch.zeros_like(dense)
        for (scorer, weight), memory in zip(self.scorers, self.memories, strict=True):
            bonus = bonus + weight * scorer.scores(memory).to(bonus)
        # A symbol of probability 0 is no continuation, whatever a scorer says of it.
        ranked = torch.where(dense > -torch.inf, dense + bonus, dense)
        best = top_k(ranked, self.num_candidates)[1]
        if wanted is not None:
            best = torch.cat([best, wanted.to(best)], 1)
        symbols: Ints = best.cpu().numpy()
        best = best.clamp(min=0)
        is_open = (_array(ranked.gather(1, best)) > -np.inf) & (symbols >= 0)
        if wanted is not None:
            is_open &= ~_is_repeated(symbols)
            symbols = np.maximum(symbols, 0)
        log_probs = np.where(is_open, _array(dense.gather(1, best)), -np.inf)
        return log_probs, np.where(is_open, _array(bonus.gather(1, best)), 0.0), symbols

    def _record(self, extensions: Extensions, ended: Ints, length: int) -> None:
        """Enter the extensions that ended as results."""
        slot, _, log_prob, extra = extensions.at(ended)
        for a, j in np.argwhere(log_prob > -np.inf):
            symbols = self.prefixes.symbols[a, slot[a, j]]
            results = self.found[self.prefixes.source[a]]
            results.add(symbols, log_prob[a, j], extra[a, j], length, is_ended=True)

    def _drop_settled(self, length: int) -> None:
        """Drop the prefixes from which no result can come that would be returned."""
        prefixes, rules = self.prefixes, self.rules
        found = [self.found[i] for i in prefixes.source]
        if rules.patience is not None:
            enough = max(1, round(rules.patience * rules.width))
            settled = np.array([results.num_found >= enough for results in found])[:, None]
        else:
            bar = np.array([results.bar for results in found])[:, None]
            rank, limits = prefixes.log_prob + prefixes.extra, rules.max_length[prefixes.source]
            settled = bounds(rank, length, limits, rules.alpha, self.ceiling) <= bar
        if not self.choice.keeps_best:
            settled = self._in_blocks(np.all(settled, axis=1), np.all)[:, None]
        prefixes.log_prob[np.broadcast_to(settled, prefixes.log_prob.shape)] = -np.inf

    def _leave(self, rows: Ints, length: int) -> Ints:
        """Let sources leave that are finished, or cut here by their maximum length.

        Args:
            rows: (A, K) the row of the state for each slot.
            length: of the prefixes.

        Returns:
            (N,) the rows for the slots that are left.
        """
        prefixes = self.prefixes
        is_cut = self.rules.max_length[prefixes.source] <= length
        for a, j in np.argwhere(prefixes.is_live & is_cut[:, None]):
            source, symbols = int(prefixes.source[a]), prefixes.symbols[a, j]
            if self.choice.accepts(source, symbols):
                log_prob, extra = prefixes.log_prob[a, j], prefixes.extra[a, j]
                self.found[source].add(symbols, log_prob, extra, length, is_ended=False)
        stays = self._in_blocks(np.any(prefixes.is_live, axis=1) & ~is_cut, np.any)
        self.prefixes = prefixes.only(stays)
        slots = self.prefixes.log_prob.shape[1]
        return np.asarray(rows[stays, :slots].reshape(-1), np.int64)

    def _in_blocks(self, of_source: Bools, join: Callable[..., Any]) -> Bools:
        """(A,) the same answer for sources that leave together: `join` of theirs."""
        size = self.rules.together
        if size == 1:
            return of_source
        blocks: Bools = join(of_source.reshape(-1, size), 1)
        return blocks.repeat(size)

    def _select(self, rows: Ints) -> None:
        """Let the rows (N,) of state and memories follow their prefixes."""
        if len(rows) == self.num_rows and bool((rows == np.arange(len(rows))).all()):
            return  # everyone stays where he is: copy nothing
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


def _array(values: Tensor) -> Floats:
    """A small tensor as float64 on the CPU."""
    return np.array(values.double().cpu().numpy())


def _is_repeated(symbols: Ints) -> Bools:
    """(N, M) whether the same symbol stands further left in the row."""
    same = symbols[:, :, None] == symbols[:, None, :]
    return np.asarray(np.tril(same, -1).any(2))
