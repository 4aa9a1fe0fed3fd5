"""Rows of a running batch: continuations that join, take a symbol at each step, and leave.

Written over the state, so this serves every family: a row is put into the place of one that has
ended by `tree.put`, or joined by `tree.cat`; rows leave by `tree.select`. The symbol of a row
depends on its own state and on its counter (seed, row, step) alone: it is the same in any batch
(exactly in float64; in float32 up to ties closer than the rounding of a kernel at another batch
size).

Rows that have ended keep their places for others until they are half of the batch: moving the rows
that stay costs a copy of their state, which is dear where states are tapes.

Knows states, distributions and counters; no text, no protocol, no family.

Shapes: B rows of the batch, V symbols.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import Categorical, Discrete, as_discrete, uniforms
from seriatim.core.model import SequenceModel, State
from seriatim.decode.sampling import Sampling
from seriatim.serve.refusals import RefusalError

_BLOCK = 256  # uniforms drawn at once: it changes the time per symbol, never the numbers
_AS_IT_IS = Sampling()


@dataclass(frozen=True)
class Listed:
    """What a distribution says of one symbol.

    Attributes:
        log_prob: ln p of the symbol, nats.
        top: the most probable symbols and their ln p; the float of a symbol that is also the one
            above is identical.
    """

    log_prob: float
    top: tuple[tuple[int, float], ...]


class Row(ABC):
    """A continuation.

    Attributes:
        state: the state of one row, from which it goes on.
        seed, number: the counter of its uniforms: sample `number` of its prompt.
        sampling: how its symbols are drawn.
        num_top: the number of most probable symbols to list at each step; None: not even the
            symbol's own log-probability is needed.
        unread: the symbols that it still has to read, one at each step, before any is drawn: in a
            batch that runs anyway this costs less than reading them alone.
    """

    state: State | None
    seed: int
    number: int
    sampling: Sampling
    num_top: int | None
    unread: deque[int]

    def __init__(
        self,
        state: State,
        *,
        seed: int,
        number: int,
        sampling: Sampling,
        num_top: int | None,
        unread: Sequence[int] = (),
    ) -> None:
        self.state, self.seed, self.number = state, seed, number
        self.sampling, self.num_top, self.unread = sampling, num_top, deque(unread)
        self._drawn: NDArray[np.float64] = np.empty(0)
        self._step = 0

    @abstractmethod
    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""

    @abstractmethod
    def take(self, symbol: int, listed: Listed | None) -> bool:
        """Take a symbol; returns whether more may come."""

    @abstractmethod
    def fail(self, refusal: RefusalError) -> None:
        """The row ends here, for a reason that its client is told."""

    def uniform(self) -> float:
        """The uniform of the next step."""
        at = self._step % _BLOCK
        if at == 0:
            steps = np.arange(self._step, self._step + _BLOCK)
            self._drawn = uniforms(self.seed, np.array(self.number), steps).numpy()
        self._step += 1
        return float(self._drawn[at])


@dataclass
class RunningBatch:
    """The rows of one model that go on side by side.

    Attributes:
        model: the model.
        max_rows: the most rows at a time; others wait.
    """

    model: SequenceModel
    max_rows: int
    _state: State | None = None
    _rows: list[Row | None] = field(default_factory=list)  # None: ended, its state still there
    _joining: deque[Row] = field(default_factory=deque)

    @property
    def num_rows(self) -> int:
        """The rows that run or wait to join."""
        return sum(row is not None for row in self._rows) + len(self._joining)

    def add(self, row: Row) -> None:
        """Let a row join at the next step that has room."""
        self._joining.append(row)

    def fail(self, refusal: RefusalError) -> None:
        """End every row."""
        for row in [*self._rows, *self._joining]:
            if row is not None:
                row.fail(refusal)
        self._state, self._rows = None, []
        self._joining.clear()

    def step(self) -> None:
        """Join what waits, draw a symbol for each row, and fold the symbols in."""
        self._drop_unwanted()
        self._compact()
        self._join()
        if self._state is None:
            return
        distribution = as_discrete(self.model.predict(self._state))
        symbols = self._draw(distribution)
        listed, drawn = self._list(distribution, symbols), symbols.tolist()
        for i, row in enumerate(self._rows):
            if row is None:
                continue
            if row.unread:
                symbols[i] = row.unread.popleft()
            elif not row.take(drawn[i], listed[i]):
                self._rows[i] = None
        if any(row is not None for row in self._rows):
            self._state = self.model.step(self._state, symbols)
        else:
            self._compact()

    # ---- who is in the batch --------------------------------------------------------------------

    def _drop_unwanted(self) -> None:
        self._rows = [row if row is None or row.is_wanted() else None for row in self._rows]
        if any(not row.is_wanted() for row in self._joining):
            self._joining = deque(row for row in self._joining if row.is_wanted())

    def _join(self) -> None:
        """Put what waits into the places of rows that have ended, and further rows behind them."""
        free = [i for i, row in enumerate(self._rows) if row is None]
        behind: list[State] = []
        while self._joining and (free or len(self._rows) < self.max_rows):
            row = self._joining.popleft()
            state, row.state = row.state, None  # the batch holds it now
            assert state is not None  # it has not joined yet
            if free:
                index = torch.tensor([free[0]], device=self.model.device)
                self._state = tree.put(self._state, index, state)
                self._rows[free.pop(0)] = row
            else:
                behind.append(state)
                self._rows.append(row)
        if behind:
            before = [] if self._state is None else [self._state]
            together = [*before, *behind]
            self._state = tree.cat(together) if len(together) > 1 else together[0]

    def _compact(self) -> None:
        """Let ended rows leave once they are half of the batch and nobody waits for a place."""
        open_rows = [i for i, row in enumerate(self._rows) if row is not None]
        ended = len(self._rows) - len(open_rows)
        if 2 * ended < len(self._rows) or ended <= len(self._joining):
            return
        kept = torch.tensor(open_rows, dtype=torch.int64, device=self.model.device)
        self._rows = [self._rows[i] for i in open_rows]
        self._state = tree.select(self._state, kept) if open_rows else None

    # ---- symbols --------------------------------------------------------------------------------

    def _draw(self, distribution: Discrete) -> Tensor:
        """(B,) a symbol for each row, by its own rule and counter; 0 where a row has ended."""
        drawn = torch.zeros(len(self._rows), dtype=torch.int64, device=self.model.device)
        u = torch.tensor(
            [0.0 if row is None or row.unread else row.uniform() for row in self._rows],
            dtype=torch.float64,
            device=self.model.device,
        )
        groups: dict[Sampling, list[int]] = {}
        for i, row in enumerate(self._rows):
            if row is not None and not row.unread:
                groups.setdefault(row.sampling, []).append(i)
        for sampling, members in groups.items():
            if len(members) == len(self._rows):
                return sampling.reshape(distribution).sample(u)
            index = torch.tensor(members, device=self.model.device)
            if sampling == _AS_IT_IS:
                drawn[index] = distribution.sample(u)[index]
            else:
                own = Categorical(distribution.dense()[index])
                drawn[index] = sampling.reshape(own).sample(u[index])
        return drawn

    def _list(self, distribution: Discrete, symbols: Tensor) -> Sequence[Listed | None]:
        wanted = [row.num_top for row in self._rows if row is not None and row.num_top is not None]
        if not wanted:
            return [None] * len(self._rows)
        found = list_symbols(distribution, symbols, max(wanted))
        return [
            None if row is None or row.num_top is None else _cut(listed, row.num_top)
            for row, listed in zip(self._rows, found, strict=True)
        ]


def _cut(listed: Listed, num_top: int) -> Listed:
    return Listed(listed.log_prob, listed.top[:num_top])


def list_symbols(distribution: Discrete, symbols: Tensor, num_top: int) -> list[Listed]:
    """What distributions of batch shape (N,) say of the symbols (N,).

    Args:
        distribution: the distributions.
        symbols: a symbol of each.
        num_top: how many of the most probable symbols are listed, too.
    """
    own = distribution.log_prob(symbols).double().tolist()
    if num_top == 0:
        return [Listed(p, ()) for p in own]
    values, ids = distribution.top(num_top)
    listed = []
    for symbol, p, row, names in zip(
        symbols.tolist(), own, values.double().tolist(), ids.tolist(), strict=True
    ):
        top = tuple(zip(names, row, strict=True))
        # A kernel that computes one probability may round it otherwise than one that sorts all.
        listed.append(Listed(dict(top).get(symbol, p), top))
    return listed
