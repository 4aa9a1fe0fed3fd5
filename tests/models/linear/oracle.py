"""The joint normal distribution of a whole series, written out: what filtering must agree with.

Shapes: T moments.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.densities import Density
from seriatim.core.model import SequenceModel
from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, Values

Array = NDArray[np.float64]


class Series:
    """Series stored end to end, from arrays (T,) or (T, D)."""

    def __init__(self, *series: Array, known: Array | None = None) -> None:
        self.numbers = np.concatenate([np.asarray(s, float).reshape(len(s), -1) for s in series])
        self.offsets = np.cumsum([0, *map(len, series)])
        self.known = known


def as_input(x: Array, known: Array | None = None) -> NumberInput:
    """(1, T, ...) the inputs of a series (T,) or (T, D); known inputs are those of the next one."""
    values = Values.of(torch.from_numpy(np.asarray(x, float).reshape(1, len(x), -1)))
    return NumberInput(values, None if known is None else torch.from_numpy(known)[None])


def densities(
    model: SequenceModel, x: NumberInput, memory: Tree | None = None, first: Tree | None = None
) -> Density:
    """The distribution of every moment of x (B, T, ...) given those before it."""
    rows = x.values.numbers.shape[0]
    start = model.first(rows) if first is None else first
    inputs = tree.map_leaves(lambda a, b: torch.cat([a.to(b.dtype), b[:, :-1]], 1), start, x)
    features, _ = model.advance(model.empty(rows, memory=memory), inputs, None)
    return model.emit(features)  # type: ignore[return-value]


def score(model: SequenceModel, x: NumberInput, memory: Tree | None = None) -> Tensor:
    """(B, T) ln p of every moment."""
    return densities(model, x, memory).log_prob(x.values)


def moving_average(weights: Array, length: int) -> Array:
    """(length,) the impulse response of coefficients, lag 1 first."""
    psi = np.zeros(length)
    psi[0] = 1.0
    for t in range(1, length):
        for i, a in enumerate(weights[:t], start=1):
            psi[t] += a * psi[t - i]
    return psi


def stationary(weights: Array, constant: float, scale: float, length: int) -> tuple[Array, Array]:
    """Mean (T,) and covariance (T, T) of a stationary autoregression, by its moving average."""
    psi = moving_average(weights, 4000)
    covariance = [scale**2 * psi[: len(psi) - k] @ psi[k:] for k in range(length)]
    at = np.arange(length)
    mean = np.full(length, constant / (1 - sum(weights)))
    return mean, np.array(covariance)[np.abs(at[:, None] - at)]


def from_first_value(
    weights: Array, terms: Array, scale: float, first: tuple[float, float]
) -> tuple[Array, Array]:
    """Of one whose first value is N(m, v), and stands for all values before it.

    Args:
        weights: (q,) coefficients, lag 1 first.
        terms: (T,) the deterministic terms.
        scale: the standard deviation of the noise.
        first: m, and the root of v.
    """
    length = len(terms)
    rows = np.zeros((length, length))  # of the first value and the noise after it
    mean = np.zeros(length)
    rows[0, 0], mean[0] = first[1], first[0]
    for t in range(1, length):
        rows[t, t] = scale
        mean[t] = terms[t]
        for i, a in enumerate(weights, start=1):
            rows[t] += a * rows[max(t - i, 0)]
            mean[t] += a * mean[max(t - i, 0)]
    return mean, rows @ rows.T


def log_density(x: Array, mean: Array, covariance: Array) -> float:
    """ln p of the observed entries of x (T,)."""
    seen = ~np.isnan(x)
    d, part = x[seen] - mean[seen], covariance[np.ix_(seen, seen)]
    _, volume = np.linalg.slogdet(part)
    return float(-0.5 * (d @ np.linalg.solve(part, d) + volume + seen.sum() * np.log(2 * np.pi)))


def conditional(x: Array, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Mean (T,) and variance (T,) of every entry of x given the observed ones."""
    seen = ~np.isnan(x)
    gain = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[seen]).T
    variance = np.diag(covariance) - np.einsum("ij,ji->i", gain, covariance[seen])
    return mean + gain @ (x[seen] - mean[seen]), variance
