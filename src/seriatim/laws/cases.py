"""Test cases of the laws: a model in float64, a few sequences, and all sequences of a length.

Knows models and states; no law.

Shapes: B rows, T elements of a sequence, V symbols.
"""

import copy
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch, valid_mask
from seriatim.core.distributions import as_discrete
from seriatim.core.model import Carry, SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.hypotheses import Hypothesis

CELLS = 4_000_000  # logits computed at once: bounds the memory of enumeration


@dataclass(frozen=True)
class Case:
    """A model and the sequences that it is tested with.

    Attributes:
        model: a copy of the model in evaluation mode, in float64 unless float32 was asked for.
        memory: the memory of a source of one row; None: the model takes no source.
        x: (3, T) the symbols.
        seconds: the approximate time for enumeration in seconds.
    """

    model: SequenceModel
    memory: Tree | None
    x: Tensor
    seconds: float

    @classmethod
    def of(
        cls,
        model: SequenceModel,
        example: Tensor | None,
        memory: Tree | None,
        seconds: float,
        dtype: torch.dtype = torch.float64,
    ) -> "Case":
        """The case of a copy of a model; see `check_model` for the arguments."""
        copied = copy.deepcopy(model).to(dtype).eval()
        if example is None:
            # Long enough to exceed a small context several times, short enough to step through.
            length = 12 if model.reach is None else min(max(8, 2 * model.reach + 3), 24)
            generator = torch.Generator().manual_seed(0)
            example = torch.randint(model.num_symbols, (3, length), generator=generator)
        memory = None if memory is None else tree.to(tree.to(memory, dtype), copied.device)
        return cls(copied, memory, example[:3].to(copied.device), seconds)

    @property
    def length(self) -> int:
        """T."""
        return self.x.shape[1]

    def start(self, batch_size: int = 3, capacity: int | None = None) -> State:
        """The state after the boundary."""
        memory = self._memory(batch_size)
        return self.model.start(batch_size, memory=memory, capacity=capacity)

    def empty(self, batch_size: int) -> Carry:
        """The carry before anything was seen."""
        return self.model.empty(batch_size, memory=self._memory(batch_size))

    def _memory(self, batch_size: int) -> Tree | None:
        return None if self.memory is None else tree.repeat(self.memory, batch_size)

    def row(self, state: State) -> Tensor:
        """(B, V) the log-probabilities of the next symbol."""
        return as_discrete(self.model.predict(state)).dense()

    def future(self, state: State) -> Tensor:
        """(B, 3, V) predictions now and along a fixed continuation, which depend on the carry."""
        rows = [self.row(state)]
        for symbol in (1 % self.model.num_symbols, 0):
            state = self.model.step(state, self.symbol(symbol, tree.rows(state.features)))
            rows.append(self.row(state))
        return torch.stack(rows, 1)

    def symbol(self, symbol: int, batch_size: int) -> Tensor:
        """(B,) one symbol for every row."""
        return torch.full((batch_size,), symbol, device=self.model.device)

    def fold(self, x: Tensor, state: State | None = None) -> list[State]:
        """The states after 0, 1, .. elements of x, one step at a time: what a model means."""
        states = [self.start(len(x)) if state is None else state]
        for t in range(x.shape[1]):
            states.append(self.model.step(states[-1], x[:, t]))
        return states

    @cached_property
    def folded(self) -> list[State]:
        """The states after 0, 1, .. elements of the case's own sequences."""
        with torch.no_grad():
            return self.fold(self.x)

    def batch(self, x: Tensor, lengths: Tensor | None = None) -> Batch:
        """Teacher forcing: inputs boundary, x_1 .. x_{T-1}; targets x_1 .. x_T."""
        first = self.symbol(self.model.boundary, len(x))[:, None]
        return Batch(torch.cat([first, x[:, :-1]], 1), x, lengths)

    def score(self, batch: Batch) -> Tensor:
        """(B, L) log-probabilities, computed for some rows at a time to bound the memory."""
        rows, length = batch.shape
        size = max(1, CELLS // (length * self.model.num_symbols))
        parts = []
        for i in range(0, rows, size):
            part = tree.map_leaves(lambda t, i=i: t[i : i + size], batch)
            parts.append(self.model.forward(part, self.empty(part.shape[0]))[0])
        return torch.cat(parts)

    def alone(self, i: int, n: int) -> State:
        """The state of row i after its first n elements, folded alone."""
        return self.fold(self.x[i : i + 1, :n])[-1]


def ragged_lengths(case: Case) -> Tensor:
    """(3,) the lengths of a full, a short and an empty row."""
    return torch.tensor([case.length, 2, 0])


def with_junk(case: Case, lengths: Tensor) -> Tensor:
    """The sequences with different symbols at padding."""
    valid = valid_mask(lengths, case.length).to(case.x.device)
    return torch.where(valid, case.x, (case.x + 1) % case.model.num_symbols)


def after_ragged(case: Case) -> State:
    """A state whose rows have seen different numbers of elements."""
    lengths = torch.tensor([4, 1, 2])
    return case.model.update(case.start(), case.x[:, :4], lengths)


def batch_of(case: Case, h: Hypothesis) -> Batch:
    """The result of a search as a batch to score."""
    symbols = [*h.symbols, case.model.boundary] if h.is_ended else list(h.symbols)
    return case.batch(torch.tensor([symbols], device=case.x.device))


def enumerable(case: Case, limit: int = 50_000) -> int:
    """The greatest length of which all sequences can be scored within the limits; 0: none.

    Scores a few rows to measure the time per symbol, and allows a twentieth of the budget.

    Args:
        case: the model to score with.
        limit: the maximal number of symbols to score.
    """
    V = case.model.num_symbols
    rows = min(64, max(2, CELLS // V))
    trial = torch.zeros(rows, 2, dtype=torch.int64, device=case.x.device)
    case.score(case.batch(trial))
    start = time.perf_counter()
    case.score(case.batch(trial))
    per_symbol = (time.perf_counter() - start) / (rows * 2)
    affordable = min(limit, case.seconds / 20 / max(per_symbol, 1e-9))
    length = 0
    while V ** (length + 1) * (length + 1) <= affordable and length < 8:
        length += 1
    return length


def sequences(case: Case, length: int) -> Tensor:
    """(V^length, length) all sequences of a length."""
    symbols = torch.arange(case.model.num_symbols, device=case.x.device)
    return torch.cartesian_prod(*[symbols] * length).view(-1, length)


def with_ends(case: Case, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """All sequences that end within `length` symbols, end included, and all unended prefixes.

    Returns:
        The symbols (N, length), the lengths (N,), and whether each sequence ended (N,).
    """
    rows = list(_ends(case, length))
    padded = [x + [0] * (length - len(x)) for x, _ in rows]
    return (
        torch.tensor(padded, device=case.x.device),
        torch.tensor([len(x) for x, _ in rows]),
        torch.tensor([e for _, e in rows]),
    )


def _ends(case: Case, length: int) -> Iterator[tuple[list[int], bool]]:
    end = case.model.boundary
    inner = [i for i in range(case.model.num_symbols) if i != end]
    for n in range(length):
        for prefix in itertools.product(inner, repeat=n):
            yield [*prefix, end], True
    for prefix in itertools.product(inner, repeat=length):
        yield list(prefix), False
