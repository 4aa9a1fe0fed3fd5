"""Sources of known entropy, which no model can beat and the right model approaches.

One representation covers all three kinds. A source has hidden states i = 0 .. S-1 and, in each
step, emits a symbol q and moves to a state j with probability step[q, i, j]; the states start in
their stationary distribution.

    markov_chain   the state is the last k symbols; the entropy rate is exact:
                   H = - sum_c pi(c) sum_x p(x | c) log2 p(x | c)
    hidden_markov  emits from i, then moves. Its rate has no closed form, but for every n
                   H(X_n | X_1 .. X_{n-1}, S_1)  <=  H  <=  H(X_n | X_1 .. X_{n-1})
                   (Cover, Thomas 2006, theorem 4.5.1), and both sides meet as n grows
    arma           a Gaussian ARMA(1, 1), quantized. The differential entropy rate of the numbers
                   is exact, 1/2 log2(2 pi e sigma^2); that of the symbols is bounded, because the
                   real past says more than the quantized past, and a short quantized past less
                   than all of it. The states are cells of a grid, so bounds and surprisals are
                   accurate to about 1e-4 bits, which the tests check by refining the grid.

Independent of the package. Shapes: V symbols, S states, N length; entropies in bits.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Source:
    """A stationary source of symbols.

    Attributes:
        step: (V, S, S) the probability of emitting q and moving to j in state i; sums to 1 over
            q and j.
    """

    step: Floats

    def __post_init__(self) -> None:
        np.testing.assert_allclose(self.step.sum((0, 2)), 1.0, atol=1e-9)

    @property
    def num_symbols(self) -> int:
        """V."""
        return len(self.step)

    @cached_property
    def stationary(self) -> Floats:
        """(S,) the stationary distribution of the states."""
        moves = self.step.sum(0)
        size = len(moves)
        equations = np.vstack([moves.T - np.eye(size), np.ones(size)])
        solution = np.linalg.lstsq(equations, np.append(np.zeros(size), 1.0), rcond=None)[0]
        np.testing.assert_allclose(solution @ moves, solution, atol=1e-9)
        return np.maximum(solution, 0.0)

    def sample(self, length: int, seed: int) -> Ints:
        """(N,) symbols."""
        rng = np.random.default_rng(seed)
        state = int(rng.choice(len(self.stationary), p=self.stationary / self.stationary.sum()))
        choices = np.cumsum(self.step.transpose(1, 0, 2).reshape(len(self.stationary), -1), 1)
        rows = [row.tolist() for row in choices]
        size, symbols = len(rows), np.empty(length, np.int64)
        for t, u in enumerate(rng.random(length).tolist()):
            drawn = min(bisect_right(rows[state], u), len(rows[state]) - 1)
            symbols[t], state = drawn // size, drawn % size
        return symbols

    def bits(self, symbols: Ints) -> Floats:
        """(N,) the surprisal of every symbol under the source, given all symbols before it.

        The forward algorithm: a_t(j) = sum_i a_{t-1}(i) step[x_t, i, j], divided by its sum.
        """
        belief, bits = self.stationary, np.empty(len(symbols))
        for t, x in enumerate(symbols.tolist()):
            belief = belief @ self.step[x]
            p = belief.sum()
            bits[t] = -math.log2(p)
            belief = belief / p
        return bits

    def block_bounds(self, length: int) -> tuple[float, float]:
        """(lower, upper): H(X_n | X_1 .. X_{n-1}, S_1) and H(X_n | X_1 .. X_{n-1}), n = length.

        By enumeration of all V^n blocks, from every state at once.
        """
        starts = np.eye(len(self.stationary))[None]  # (blocks, S starts, S)
        previous = 0.0, 0.0
        for n in range(1, length + 1):
            ends = np.einsum("bsi,qij->bqsj", starts, self.step)
            starts = ends.reshape(-1, *starts.shape[1:])
            p = starts.sum(2)  # (blocks, S): probability of the block from each state
            joint = self._entropy(p @ self.stationary)
            conditional = float(self.stationary @ np.array([self._entropy(row) for row in p.T]))
            if n == length:
                return conditional - previous[0], joint - previous[1]
            previous = conditional, joint
        raise ValueError("a block has at least one symbol")

    def rate_bounds(self, tolerance: float = 1e-6, longest: int = 16) -> tuple[float, float]:
        """(lower, upper) bounds of the entropy rate, from blocks of up to `longest` symbols."""
        for n in range(1, longest + 1):
            lower, upper = self.block_bounds(n)
            if upper - lower <= tolerance:
                break
        return lower, upper

    def conditional_entropy(self, context: int) -> float:
        """H(X | the last `context` symbols), the optimum of a model with this context."""
        belief = self.stationary[None]
        for _ in range(context):
            belief = np.einsum("bi,qij->bqj", belief, self.step).reshape(-1, belief.shape[1])
        p = np.einsum("bi,qij->bq", belief, self.step)
        return self._entropy(p) - self._entropy(p.sum(1))

    @staticmethod
    def _entropy(p: Floats) -> float:
        p = p[p > 0]
        return float(-(p * np.log2(p)).sum())


def markov_chain(order: int, num_symbols: int = 3, seed: int = 0, sharpness: float = 0.4) -> Source:
    """A chain whose next symbol depends on all of the last `order` symbols.

    Each row of p(x | context) is drawn from a Dirichlet distribution; a small `sharpness` gives
    rows of low entropy that differ from one another.
    """
    rng = np.random.default_rng(seed)
    size = num_symbols**order
    rows = rng.dirichlet(np.full(num_symbols, sharpness), size) * 0.96 + 0.04 / num_symbols
    step = np.zeros((num_symbols, size, size))
    for context in range(size):
        for x in range(num_symbols):
            step[x, context, (context * num_symbols + x) % size] = rows[context, x]
    return Source(step)


def markov_entropy_rate(source: Source) -> float:
    """Exact, for a source whose states are determined by the symbols: sum_c pi(c) H(p(. | c))."""
    p = source.step.sum(2)  # (V, S)
    return float(-(source.stationary * (p * np.log2(p)).sum(0)).sum())


def hidden_markov(transition: Floats, emission: Floats) -> Source:
    """A source that emits by the row of its state in emission (S, V), then moves by transition
    (S, S)."""
    return Source(np.einsum("iq,ij->qij", emission, transition))


def two_coins(stay: float = 0.95, heads: tuple[float, float] = (0.9, 0.2)) -> Source:
    """Two biased coins with occasional switches; no finite memory identifies the current coin."""
    transition = np.array([[stay, 1 - stay], [1 - stay, stay]])
    return hidden_markov(transition, np.array([[1 - h, h] for h in heads]))


# ---- quantized numbers --------------------------------------------------------------------------


@dataclass(frozen=True)
class Arma:
    """x_t = phi x_{t-1} + e_t + theta e_{t-1}, e_t normal with variance 1, |phi|, |theta| < 1.

    The best prediction m_t = E[x_t | x_{t-1}, x_{t-2} ..] is a state:
    x_t = m_t + e_t,  m_{t+1} = phi m_t + (phi + theta) e_t.

    Attributes:
        cuts: (V - 1,) increasing; symbol q is emitted where cuts[q-1] <= x < cuts[q].
    """

    phi: float = 0.8
    theta: float = 0.4
    cuts: tuple[float, ...] = (-1.2, 0.0, 1.2)

    @property
    def entropy_rate(self) -> float:
        """The differential entropy rate of the numbers, 1/2 log2(2 pi e) bits (that of e_t)."""
        return 0.5 * math.log2(2 * math.pi * math.e)

    @property
    def state_variance(self) -> float:
        """The variance of m_t."""
        return (self.phi + self.theta) ** 2 / (1 - self.phi**2)

    def sample(self, length: int, seed: int) -> Ints:
        """(N,) symbols of numbers that are simulated exactly, without the grid."""
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal(length)
        m, numbers = rng.standard_normal() * math.sqrt(self.state_variance), np.empty(length)
        for t, e in enumerate(noise.tolist()):
            numbers[t] = m + e
            m = self.phi * m + (self.phi + self.theta) * e
        return np.searchsorted(np.array(self.cuts), numbers, "right").astype(np.int64)

    def known_past_entropy(self, points: int = 4001) -> float:
        """H(symbol | the real past): E over m_t of the entropy of the quantized m_t + e_t.

        No model of the symbols can be better: their past is a function of the real past.
        """
        width = math.sqrt(self.state_variance)
        m = np.linspace(-9 * width, 9 * width, points)
        weight = np.exp(-0.5 * (m / width) ** 2)
        edges = np.array([-np.inf, *self.cuts, np.inf])
        p = np.diff(_normal(edges[None] - m[:, None]), axis=1)
        entropy = -(p * np.log2(np.maximum(p, 1e-300))).sum(1)
        return float((weight * entropy).sum() / weight.sum())

    def on_grid(self, cells: int = 160) -> Source:
        """An approximation with finitely many states: m_t in cells, within 7 standard deviations.

        From the middle of a cell, an interval of e moves m into each cell; the part of that
        interval in which m + e lies between two cuts emits the symbol between them.
        """
        gain, width = self.phi + self.theta, 7 * math.sqrt(self.state_variance)
        borders = np.linspace(-width, width, cells + 1)
        middles = (borders[1:] + borders[:-1]) / 2
        borders[0], borders[-1] = -np.inf, np.inf
        noise = (borders[None] - self.phi * middles[:, None]) / gain  # (S, S + 1)
        cuts = np.array([-np.inf, *self.cuts, np.inf])
        step = np.empty((len(cuts) - 1, cells, cells))
        for q in range(len(cuts) - 1):
            inside = np.clip(noise, (cuts[q] - middles)[:, None], (cuts[q + 1] - middles)[:, None])
            step[q] = np.diff(_normal(inside), axis=1)
        return Source(step)


def _normal(x: Floats) -> Floats:
    """The standard normal distribution function."""
    return np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)), otypes=[float])(x)
