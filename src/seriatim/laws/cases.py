"""Test cases of the laws: a model in float64, a few sequences, and all sequences of a length.

A case asks the element of the model what its sequences consist of: `SymbolCase` here,
`NumberCase` in `laws.number_cases`. Knows models and states; no law.

Shapes: B rows, T elements of a sequence, C values that describe a distribution, V symbols.
"""

import copy
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch, valid_mask
from seriatim.core.distributions import Distribution, as_discrete
from seriatim.core.model import Carry, SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.decode.hypotheses import Hypothesis

CELLS = 4_000_000  # logits computed at once: bounds the memory of enumeration


class Case(ABC):
    """A model and the sequences that it is tested with.

    Attributes:
        model: a copy of the model in evaluation mode, in float64 unless float32 was asked for.
        memory: the memory of a source of one row; None: the model takes no source.
        x: (3, T, ...) the elements.
        seconds: the approximate time for enumeration in seconds.
    """

    x: Tree

    def __init__(
        self, model: SequenceModel, memory: Tree | None, seconds: float, dtype: torch.dtype
    ) -> None:
        self.model = copy.deepcopy(model).to(dtype).eval()
        self.memory = None if memory is None else tree.to(tree.to(memory, dtype), self.model.device)
        self.seconds = seconds

    # ---- what a kind of element defines ---------------------------------------------------------

    @abstractmethod
    def first(self, batch_size: int) -> Tree:
        """(B, 1, ...) the input before the first element."""

    @abstractmethod
    def targets(self, x: Tree) -> Tree:
        """What is scored of elements x (B, L, ...)."""

    @abstractmethod
    def other(self, x: Tree) -> Tree:
        """Elements (B, L, ...) that differ from those of x everywhere."""

    @abstractmethod
    def describe(self, distribution: Distribution) -> Tensor:
        """(..., C) values that determine a distribution, to be compared with those of another."""

    @abstractmethod
    def continuation(self) -> Tree:
        """(1, 2, ...) two fixed elements."""

    @abstractmethod
    def long_ago(self, batch_size: int, length: int, seen: int) -> list[Tree]:
        """Sequences (B, L, ...) whose first `seen` elements may matter at their end."""

    @abstractmethod
    def extreme(self, x: Tree) -> Tree:
        """Elements (B, L, ...) as different from those of x as can be."""

    # ---- what follows from it -------------------------------------------------------------------

    @property
    def length(self) -> int:
        """T."""
        return tree.leaves(self.x)[0].shape[1]

    @property
    def device(self) -> torch.device:
        """The device of the elements."""
        return tree.leaves(self.x)[0].device

    def start(self, batch_size: int = 3, capacity: int | None = None) -> State:
        """The state before the first element."""
        memory, first = self._memory(batch_size), self.first(batch_size)
        return self.model.start(batch_size, memory=memory, capacity=capacity, first=first)

    def empty(self, batch_size: int) -> Carry:
        """The carry before anything was seen."""
        return self.model.empty(batch_size, memory=self._memory(batch_size))

    def _memory(self, batch_size: int) -> Tree | None:
        return None if self.memory is None else tree.repeat(self.memory, batch_size)

    def row(self, state: State) -> Tensor:
        """(B, C) the distribution of the next element."""
        return self.describe(self.model.predict(state))

    def future(self, state: State) -> Tensor:
        """(B, 3, C) predictions now and along a fixed continuation, which depend on the carry."""
        rows = [self.row(state)]
        x = tree.repeat(self.continuation(), tree.rows(state.features))
        for t in range(2):
            state = self.model.step(state, at(x, t))
            rows.append(self.row(state))
        return torch.stack(rows, 1)

    def fold(self, x: Tree, state: State | None = None) -> list[State]:
        """The states after 0, 1, .. elements of x, one step at a time: what a model means."""
        states = [self.start(tree.rows(x)) if state is None else state]
        for t in range(tree.leaves(x)[0].shape[1]):
            states.append(self.model.step(states[-1], at(x, t)))
        return states

    @cached_property
    def folded(self) -> list[State]:
        """The states after 0, 1, .. elements of the case's own sequences."""
        with torch.no_grad():
            return self.fold(self.x)

    def batch(self, x: Tree, lengths: Tensor | None = None) -> Batch:
        """Teacher forcing: inputs first, x_1 .. x_{T-1}; targets x_1 .. x_T."""
        inputs = along([self.first(tree.rows(x)), cut(x, 0, -1)])
        return Batch(inputs, self.targets(x), lengths)

    def stepped(self, states: Sequence[State], x: Tree) -> Tensor:
        """(B, L) ln p of each element of x (B, L, ...) given the state before it."""
        targets = self.targets(x)
        each = [
            self.model.predict(state).log_prob(at(targets, t)) for t, state in enumerate(states)
        ]
        return torch.stack(each, 1)

    def score(self, batch: Batch) -> Tensor:
        """(B, L) log-probabilities, computed for some rows at a time to bound the memory."""
        rows, length = batch.shape
        size = max(1, CELLS // (length * self.model.element.size))
        parts = []
        for i in range(0, rows, size):
            part = tree.map_leaves(lambda t, i=i: t[i : i + size], batch)
            parts.append(self.model.forward(part, self.empty(part.shape[0]))[0])
        return torch.cat(parts)

    def alone(self, i: int, n: int) -> State:
        """The state of row i after its first n elements, folded alone."""
        return self.fold(cut(one_row(self.x, i), 0, n))[-1]


class SymbolCase(Case):
    """Sequences of symbols (B, L); a distribution is described by its V log-probabilities."""

    x: Tensor

    def __init__(
        self,
        model: SequenceModel,
        example: Tensor | None,
        memory: Tree | None,
        seconds: float,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """See `check_model` for the arguments."""
        super().__init__(model, memory, seconds, dtype)
        if example is None:
            example = self._random(3, usual_length(model), 0)
        self.x = example[:3].to(self.model.device)

    def first(self, batch_size: int) -> Tensor:
        x: Tensor = self.model.first(batch_size)
        return x

    def targets(self, x: Tensor) -> Tensor:
        return x

    def other(self, x: Tensor) -> Tensor:
        return (x + 1) % self.model.num_symbols

    def describe(self, distribution: Distribution) -> Tensor:
        return as_discrete(distribution).dense()

    def continuation(self) -> Tensor:
        return torch.tensor([[1 % self.model.num_symbols, 0]], device=self.model.device)

    def long_ago(self, batch_size: int, length: int, seen: int) -> list[Tree]:
        return [self._random(batch_size, length, 2)]

    def extreme(self, x: Tensor) -> Tensor:
        return self.other(x)

    def stepped(self, states: Sequence[State], x: Tensor) -> Tensor:
        rows = torch.stack([self.row(s) for s in states], 1)
        return rows.gather(-1, x[..., None])[..., 0]

    def _random(self, batch_size: int, length: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randint(self.model.num_symbols, (batch_size, length), generator=generator)
        return x.to(self.model.device)


def usual_length(model: SequenceModel) -> int:
    """Long enough to exceed a small context several times, short enough to step through."""
    return 12 if model.reach is None else min(max(8, 2 * model.reach + 3), 24)


def at(x: Tree, t: int) -> Tree:
    """(B, ...) the elements at t."""
    return tree.map_leaves(lambda leaf: leaf[:, t], x)


def cut(x: Tree, begin: int, end: int | None) -> Tree:
    """(B, end - begin, ...) some elements in succession."""
    return tree.map_leaves(lambda leaf: leaf[:, begin:end], x)


def along(parts: Sequence[Tree]) -> Tree:
    """Chunks of the same rows, one after another."""
    return tree.map_leaves(lambda *leaves: torch.cat(leaves, 1), parts[0], *parts[1:])


def one_row(x: Tree, i: int) -> Tree:
    """(1, ...) row i."""
    return tree.map_leaves(lambda leaf: leaf[i : i + 1], x)


def ragged_lengths(case: Case) -> Tensor:
    """(3,) the lengths of a full, a short and an empty row."""
    return torch.tensor([case.length, 2, 0])


def with_junk(case: Case, lengths: Tensor) -> Tree:
    """The sequences with different elements at padding."""
    kept = valid_mask(lengths, case.length)

    def choose(own: Tensor, other: Tensor) -> Tensor:
        where = kept.to(own.device).view(*kept.shape, *[1] * (own.ndim - 2))
        return torch.where(where, own, other)

    return tree.map_leaves(choose, case.x, case.other(case.x))


def after_ragged(case: Case) -> State:
    """A state whose rows have seen different numbers of elements."""
    lengths = torch.tensor([4, 1, 2])
    return case.model.update(case.start(), cut(case.x, 0, 4), lengths)


def batch_of(case: SymbolCase, h: Hypothesis) -> Batch:
    """The result of a search as a batch to score."""
    symbols = [*h.symbols, case.model.boundary] if h.is_ended else list(h.symbols)
    return case.batch(torch.tensor([symbols], device=case.x.device))


def enumerable(case: SymbolCase, limit: int = 50_000) -> int:
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


def sequences(case: SymbolCase, length: int) -> Tensor:
    """(V^length, length) all sequences of a length."""
    symbols = torch.arange(case.model.num_symbols, device=case.x.device)
    return torch.cartesian_prod(*[symbols] * length).view(-1, length)


def with_ends(case: SymbolCase, length: int) -> tuple[Tensor, Tensor, Tensor]:
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


def _ends(case: SymbolCase, length: int) -> Iterator[tuple[list[int], bool]]:
    end = case.model.boundary
    inner = [i for i in range(case.model.num_symbols) if i != end]
    for n in range(length):
        for prefix in itertools.product(inner, repeat=n):
            yield [*prefix, end], True
    for prefix in itertools.product(inner, repeat=length):
        yield list(prefix), False
