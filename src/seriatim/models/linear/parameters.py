"""The numbers of an autoregressive model: one set for each series, and one that all share.

Shapes: S series, B rows, D channels, q moments of the window, K known inputs, s moments of a
season; J = 2 + s + K deterministic terms: the constant, the slope, the season, the known inputs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.core import tree


@tree.register
@dataclass(frozen=True)
class ARParameters:
    """Coefficients in the units of the (transformed) data, of B rows or S series.

    Attributes:
        weights: (B, D, q) those of the window, the oldest moment first.
        terms: (B, D, J) the constant, the slope, the season, and those of known inputs.
        spread: (B, D, 4) the standard deviation of the noise, mean and standard deviation of a
            first value, and what is added before a logarithm.
    """

    weights: Tensor
    terms: Tensor
    spread: Tensor

    @classmethod
    def blank(cls, rows: int, num_channels: int, window: int, num_terms: int) -> "ARParameters":
        """White noise of mean 0 and variance 1."""
        spread = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
        return cls(
            torch.zeros(rows, num_channels, window, dtype=torch.float64),
            torch.zeros(rows, num_channels, num_terms, dtype=torch.float64),
            spread.repeat(rows, num_channels, 1),
        )


def partial_correlations(weights: Tensor) -> Tensor:
    """(..., p) the partial autocorrelations of coefficients (..., p), lag 1 first.

    The step-down recursion (Barndorff-Nielsen, Schou 1973). The process is stationary where all
    are between -1 and 1; after the first that is not, they mean nothing.
    """
    current, found = weights, []
    for k in range(weights.shape[-1], 0, -1):
        last = current[..., k - 1 : k]
        found.append(last)
        rest = current[..., : k - 1]
        current = (rest + last * rest.flip(-1)) / (1 - last.square())
    return torch.cat(found[::-1], -1) if found else weights


def from_partial_correlations(partial: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (..., p) of every order up to p, and the ratios of noise to total variance.

    Returns:
        (..., p, p) row k - 1 holds the coefficients of order k, then zeros; (..., p + 1) the
        variance of the prediction from k values over that of a value, 1 for k = 0.
    """
    p = partial.shape[-1]
    current, rows = partial[..., :0], []
    for k in range(p):
        last = partial[..., k : k + 1]
        current = torch.cat([current - last * current.flip(-1), last], -1)
        rows.append(torch.nn.functional.pad(current, (0, p - k - 1)))
    one = torch.ones_like(partial[..., :1])
    ratios = torch.cat([one, (1 - partial.square()).cumprod(-1)], -1)
    stacked = torch.stack(rows, -2) if rows else partial.new_zeros(*partial.shape, 0)
    return stacked, ratios


def autocovariances(weights: Tensor, scale: Tensor) -> Tensor:
    """(..., p) the autocovariances 0 .. p - 1 of a stationary process.

    Args:
        weights: (..., p) its coefficients, lag 1 first.
        scale: (...) the standard deviation of its noise.
    """
    p = weights.shape[-1]
    coefficients, ratios = from_partial_correlations(partial_correlations(weights))
    found = [scale.square() / ratios[..., p]]
    for k in range(1, p):  # of order k - 1: r_k = sum_i a_i r_{k-i} + partial_k v_{k-1}
        before = torch.stack(found[:0:-1], -1) if k > 1 else scale.new_zeros(*scale.shape, 0)
        shorter = coefficients[..., k - 2, : k - 1] if k > 1 else before
        partial = coefficients[..., k - 1, k - 1]
        found.append((shorter * before).sum(-1) + partial * ratios[..., k - 1] * found[0])
    return torch.stack(found, -1)[..., :p]


def toeplitz(row: Tensor) -> Tensor:
    """(..., p, p) the symmetric matrix whose entry i, j is row[|i - j|]."""
    at = torch.arange(row.shape[-1], device=row.device)
    return row[..., (at[:, None] - at).abs()]


def is_stationary(weights: Tensor, margin: float = 1e-6) -> bool:
    """Whether all processes with coefficients (..., p), lag 1 first, are stationary."""
    partial = partial_correlations(weights)
    return bool((partial.abs() < 1 - margin).all())
