"""Models and texts whose memory is known exactly, as a reference for measures of memory.

Shapes: B rows, L elements, V symbols, m the length of the memory.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.distributions import Categorical, Distribution
from seriatim.core.elements import Symbols
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.core.tree import Tree

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass
class Text:
    """Sequences of symbols stored end to end."""

    tokens: Ints
    offsets: Ints
    is_stream: bool


def stream(tokens: Ints) -> Text:
    return Text(np.asarray(tokens, np.int64), np.array([0, len(tokens)]), True)


def lines(pieces: list[Ints]) -> Text:
    sizes = [len(p) for p in pieces]
    return Text(np.concatenate(pieces).astype(np.int64), np.cumsum([0, *sizes]), False)


@dataclass(frozen=True)
class Chain:
    """A Markov chain of order m over V symbols, p(x | the last m), and quantities derived from it.

    Attributes:
        table: (V, .., V, V) p(x_t | x_{t-m}, .., x_{t-1}), the next symbol on the last axis.
    """

    table: Floats

    @classmethod
    def random(cls, order: int, num_symbols: int = 3, *, seed: int = 0, sharpness: float = 0.3):
        rng = np.random.default_rng(seed)
        shape = (num_symbols,) * order
        return cls(rng.dirichlet([sharpness] * num_symbols, shape) * 0.97 + 0.03 / num_symbols)

    @property
    def order(self) -> int:
        return self.table.ndim - 1

    @property
    def num_symbols(self) -> int:
        return self.table.shape[-1]

    def stationary(self) -> Floats:
        """(V, .., V) the stationary probability of each context of m symbols."""
        p = np.full(self.table.shape[:-1], 1 / self.num_symbols**self.order)
        for _ in range(2000):
            p = (p[..., None] * self.table).sum(0) if self.order else p
        return p

    def conditional(self, k: int) -> Floats:
        """(V, .., V) p(x_t | the last k), k up to m: earlier symbols are summed out."""
        joint = self.stationary()[..., None] * self.table
        joint = joint.sum(tuple(range(self.order - min(k, self.order))))
        return joint / joint.sum(-1, keepdims=True)

    def entropy(self, k: int) -> float:
        """H(x_t | the last k) in bits."""
        joint = self.stationary()[..., None] * self.table
        joint = joint.sum(tuple(range(self.order - min(k, self.order))))
        return float(-(joint * np.log2(self.conditional(k))).sum())

    def sample(self, length: int, *, seed: int = 0) -> Ints:
        u = np.random.default_rng(seed).random(length + 100)
        edges = self.table.cumsum(-1)
        out = [0] * self.order
        for draw in u:
            row = edges[tuple(out[len(out) - self.order :])]
            out.append(min(int(np.searchsorted(row, draw, side="right")), self.num_symbols - 1))
        return np.array(out[-length:])


class ExactChain(SequenceModel):
    """The chain as a model: it keeps the last m symbols, and sums out those it has not seen."""

    def __init__(self, chain: Chain, boundary: int = 1) -> None:
        super().__init__(Symbols(chain.num_symbols, boundary))
        self.m, V = chain.order, chain.num_symbols
        table = torch.full(((V + 1) ** self.m, V), 1.0 / V, dtype=torch.float64)
        for k in range(self.m + 1):
            rows = torch.from_numpy(chain.conditional(k)).reshape(-1, V)
            for i, row in enumerate(rows):
                digits = [V] * (self.m - k) + [i // V ** (k - 1 - j) % V for j in range(k)]
                table[sum(d * (V + 1) ** (self.m - 1 - j) for j, d in enumerate(digits))] = row
        self.register_buffer("table", table.log())

    @property
    def reach(self) -> int:
        return self.m

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        return torch.full((batch_size, self.m), self.num_symbols)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        seen = torch.cat([carry, x], 1)
        length = x.shape[1]
        code = torch.zeros_like(x)
        for j in range(self.m):
            code = code * (self.num_symbols + 1) + seen[:, j + 1 : j + 1 + length]
        n = torch.full((len(x),), length) if lengths is None else lengths
        return code, seen.gather(1, n[:, None] + torch.arange(self.m))

    def emit(self, features: Features) -> Distribution:
        return Categorical(self.table[features])


class LaggedCopy(SequenceModel):
    """x_t is x_{t-lag} with probability `sure`, else any symbol; the state is the last `lag`."""

    def __init__(
        self, lag: int, num_symbols: int = 4, boundary: int = 1, *, sure: float = 0.9
    ) -> None:
        super().__init__(Symbols(num_symbols, boundary))
        self.lag, self.sure = lag, sure
        rows = torch.full((num_symbols + 1, num_symbols), (1 - sure) / num_symbols)
        rows[:-1] += sure * torch.eye(num_symbols)
        rows[-1] = 1 / num_symbols
        self.register_buffer("rows", rows.log())

    @property
    def reach(self) -> int:
        return self.lag

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        return torch.full((batch_size, self.lag), self.num_symbols)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        seen = torch.cat([carry, x], 1)
        n = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
        return seen[:, 1 : x.shape[1] + 1], seen.gather(1, n[:, None] + torch.arange(self.lag))

    def emit(self, features: Features) -> Distribution:
        return Categorical(self.rows[features])

    def text(self, length: int, *, seed: int = 0) -> Ints:
        rng = np.random.default_rng(seed)
        x = rng.integers(0, self.num_symbols, length + self.lag)
        for t in range(self.lag, len(x)):
            x[t] = x[t - self.lag] if rng.random() < self.sure else x[t]
        return x[self.lag :]


class BagOfSymbols(SequenceModel):
    """A model of the counts of all symbols seen, without their order."""

    def __init__(self, num_symbols: int, boundary: int) -> None:
        super().__init__(Symbols(num_symbols, boundary))

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        return torch.zeros(batch_size, self.num_symbols, dtype=torch.float64)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        ones = torch.nn.functional.one_hot(x, self.num_symbols).double()
        counts = carry[:, None] + ones.cumsum(1)
        n = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
        last = counts[torch.arange(len(x)), (n - 1).clamp(min=0)]
        return counts, torch.where((n > 0)[:, None], last, carry)

    def emit(self, features: Features) -> Distribution:
        return Categorical((features + 1).log())


class NoisyMemory(SequenceModel):
    """A useless memory: every prediction is a fixed random row, near the uniform distribution,
    chosen by the last `window` symbols."""

    def __init__(
        self, window: int = 3, num_symbols: int = 3, *, seed: int = 0, noise: float = 0.1
    ) -> None:
        super().__init__(Symbols(num_symbols, 1))
        generator = torch.Generator().manual_seed(seed)
        size = (num_symbols + 1) ** window
        self.window = window
        self.register_buffer("table", noise * torch.randn(size, num_symbols, generator=generator))

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        return torch.full((batch_size, self.window), self.num_symbols)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        seen = torch.cat([carry, x], 1)
        windows = seen.unfold(1, self.window, 1)
        n = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
        powers = (self.num_symbols + 1) ** torch.arange(self.window)
        return (windows[:, 1:] * powers).sum(-1), windows[torch.arange(len(x)), n]

    def emit(self, features: Features) -> Distribution:
        return Categorical(self.table[features])
