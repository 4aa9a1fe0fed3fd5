"""Hypotheses: what searches return, the rules of a search, and the bound by which it may stop.

Knows scores and lengths; no model.

Shapes: B sources, A of them still searched, K prefixes of each.
"""

from dataclasses import dataclass, field
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seriatim.errors import ConfigError

Bools: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Hypothesis:
    """One result of a search.

    Attributes:
        symbols: x_1 .. x_N, without the end symbol.
        log_prob: ln p(symbols, and the end if it was reached), nats: what the model's
            `log_prob` gives for them.
        score: what the search ranked by: log_prob plus scorers, divided by the length penalty.
        is_ended: whether the end symbol was predicted; if not, max_length cut the sequence.
    """

    symbols: tuple[int, ...]
    log_prob: float
    score: float
    is_ended: bool


def length_penalty(length: int, alpha: float) -> float:
    """((5 + length) / 6)^alpha (Wu et al. 2016, equation 14); alpha = 0 is no penalty."""
    return float(((5 + length) / 6) ** alpha)


@dataclass(frozen=True)
class SearchRules:
    """What a search keeps, when it stops and what it returns.

    Attributes:
        width: K, the number of prefixes kept of each source.
        max_length: (B,) the maximum number of steps, the one that predicts the end included.
        end: the symbol that ends a sequence; None: there is none.
        alpha: the exponent of the length penalty.
        num_best: the maximum number of results of each source.
        patience: the factor of the width that gives the number of results after which a search
            stops, whatever could still come (Kasai et al. 2022); None: it stops only when
            nothing that could still come would be returned.
        together: the number of adjacent sources that leave together, once all are finished.
    """

    width: int
    max_length: Ints
    end: int | None
    alpha: float
    num_best: int
    patience: float | None = None
    together: int = 1

    @classmethod
    def checked(
        cls,
        sources: int,
        *,
        width: int,
        max_length: int | Tensor | Ints,
        end: int | None,
        alpha: float,
        num_best: int | None,
        patience: float | None = None,
        together: int = 1,
    ) -> Self:
        """The rules of a search over `sources` sources; see the attributes.

        Args:
            max_length: one number for all sources, or one for each.
            num_best: None: the width.

        Raises:
            ConfigError: if the width, the number of results or the patience is below its
                minimum, or max_length is negative or does not fit the sources.
        """
        if width < 1:
            raise ConfigError(f"the width of a beam is {width}: give 1 (greedy search) or more")
        num_best = width if num_best is None else num_best
        if not 1 <= num_best <= width:
            raise ConfigError(
                f"num_best {num_best} does not fit a beam of width {width}: ask for 1 to {width} "
                "results, or widen the beam"
            )
        if patience is not None and not patience > 0:
            raise ConfigError(
                f"patience {patience} would stop before the first result: give more than 0"
            )
        limits = lengths_for(sources, max_length)
        return cls(width, limits, end, alpha, num_best, patience, together)


def lengths_for(sources: int, max_length: int | Tensor | Ints) -> Ints:
    """(B,) the maximum length of each source.

    Raises:
        ConfigError: if a length is negative, or there is not one for each source.
    """
    limits = np.asarray(
        max_length.cpu() if isinstance(max_length, Tensor) else max_length, dtype=np.int64
    )
    if limits.ndim > 0 and limits.shape != (sources,):
        raise ConfigError(
            f"max_length has {limits.size} values for {sources} sources: give one number, or one "
            "for each source"
        )
    if limits.size and limits.min() < 0:
        raise ConfigError(f"max_length {limits.min()} is negative: give 0 or more")
    return np.broadcast_to(limits, (sources,)).copy()


@dataclass
class Results:
    """The best results of one source so far, best first, ties in the order they were found."""

    num_best: int
    alpha: float
    num_results: int = 0
    best: list[Hypothesis] = field(default_factory=list)

    def add(
        self, symbols: Ints, log_prob: float, extra: float, length: int, *, is_ended: bool
    ) -> None:
        """Add a result of `length` scored symbols, if it is among the best."""
        self.num_results += 1
        score = float(log_prob + extra) / length_penalty(length, self.alpha)
        if score > self.bar:
            at = sum(other.score >= score for other in self.best)
            result = Hypothesis(tuple(symbols.tolist()), float(log_prob), score, is_ended)
            self.best.insert(at, result)
            del self.best[self.num_best :]

    @property
    def bar(self) -> float:
        """The score that a new result must exceed to be returned."""
        return -np.inf if len(self.best) < self.num_best else self.best[-1].score


def bounds(rank: Floats, length: int, limits: Ints, alpha: float, ceiling: float) -> Floats:
    """(A, K) the greatest score that anything grown from a live prefix can have.

    A prefix of rank r after n symbols ends, or is cut, after m symbols, n < m <= limit. Every
    further symbol adds ln p <= 0 and at most c from the scorers, so its rank is then at most
    r + (m - n) max(c, 0) <= R = r + (limit - n) max(c, 0), and its score at most R / lp(m). The
    penalty lp is monotone in m, so that R / lp(m) is greatest at one of the ends, m = n + 1 or
    m = limit.

    Args:
        rank: (A, K) the ranks r of the live prefixes; -inf: no prefix.
        length: the number n of symbols so far.
        limits: (A,) the maximum lengths, at least n + 1.
        alpha: the exponent of the length penalty.
        ceiling: the most, c, that scorers add to one symbol; inf: not known.
    """
    if ceiling == np.inf:
        return np.where(rank > -np.inf, np.inf, -np.inf)
    greatest = rank + (limits - length)[:, None] * max(ceiling, 0.0)
    soon = length_penalty(length + 1, alpha)
    late = ((5.0 + limits) / 6.0)[:, None] ** alpha
    return np.asarray(np.maximum(greatest / soon, greatest / late), np.float64)


def as_array(values: Tensor) -> Floats:
    """A small tensor as float64 on the CPU."""
    return np.array(values.double().cpu().numpy())
