"""What a fit of an autoregressive model finds, and what all ways of fitting share.

Shapes: S series, D channels, q moments of the window, J deterministic terms.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.core.values import NumberSequences
from seriatim.models.linear import panels
from seriatim.models.linear.parameters import ARParameters, is_stationary
from seriatim.models.options.linear import AR

LONGEST_START = 64  # moments of the longest window that starts from its stationary distribution
_LEAST_SPREAD = 1e-6  # of a series that does not move, as a fraction of its size


@dataclass(frozen=True)
class Fitted:
    """What a fit found.

    Attributes:
        shared: one row, for series that were not seen.
        series: S rows.
        is_stationary: whether all start from their stationary distribution.
        facts: about the fit, as JSON values.
    """

    shared: ARParameters
    series: ARParameters
    is_stationary: bool
    facts: dict[str, object]


@dataclass(frozen=True)
class Moments:
    """(S, D) mean, standard deviation, and number of the values of each series."""

    mean: Tensor
    scale: Tensor
    count: Tensor


def moments_of(data: NumberSequences) -> Moments:
    """The moments of the observed values of each channel of each series."""
    shape = len(data.offsets) - 1, data.numbers.shape[1]
    mean, scale, count = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
    for panel in panels.panels_of(data):
        mean[panel.index] = panel.values.nanmean(1)
        deviation = panel.values - mean[panel.index][:, None]
        scale[panel.index] = deviation.square().nanmean(1).sqrt()
        count[panel.index] = (~panel.values.isnan()).sum(1).double()
    return Moments(mean, scale, count)


def floor(scale: Tensor, moments: Moments) -> Tensor:
    """Standard deviations (S, D), none of which is 0."""
    size = torch.where(moments.mean == 0, 1.0, moments.mean.abs())
    least = _LEAST_SPREAD * torch.where(moments.scale > 0, moments.scale, size)
    return torch.maximum(scale, least)


def shared_spread(spread: Tensor) -> Tensor:
    """(1, D, 4) the spread of a series that was not seen."""
    noise = spread[..., 0].square().mean(0).sqrt()
    mean = spread[..., 1].mean(0)
    between = spread[..., 1].var(0, unbiased=False)
    first = (spread[..., 2].square().mean(0) + between).sqrt()
    return torch.stack([noise, mean, first, spread[..., 3].mean(0)], -1)[None]


def levels(weights: Tensor) -> Tensor:
    """(..., p + 1) coefficients of values, from those (..., p) of their steps, lag 1 first.

    1 - sum a_i L^i = (1 - sum b_i L^i) (1 - L)
    """
    one = torch.ones_like(weights[..., :1])
    of_steps = torch.cat([one, weights], -1)
    before = torch.cat([weights, torch.zeros_like(one)], -1)
    return of_steps * torch.cat([one, -torch.ones_like(weights)], -1) + before


def starts_stationary(config: AR, weights: Tensor, terms: Tensor) -> bool:
    """Whether models with weights (..., q) and terms (..., J) can start from equilibrium."""
    if weights.shape[-1] > LONGEST_START or config.fits_steps or bool((terms[..., 1:] != 0).any()):
        return False
    return is_stationary(weights.flip(-1))
