"""The error of whole forecasts on held-out futures: networks are chosen by what they are for.

    E = mean over h of  ( mean_i |x^i_h - y_h|  -  1/2 mean_{i != j} |x^i_h - x^j_h| ) / s

of n paths x^i over a horizon that a model draws from what came before y, in units of the mean
deviation s of what is read of the series: an unbiased estimate of CRPS, whose mean is smallest for
the true distribution of every moment ahead (Gneiting, Raftery 2007). The likelihood of one step
does not tell how errors grow while a model reads its own values.

Knows the contract and series; no family.

Shapes: B rows, H moments of the horizon, n paths of a row, D channels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.core.model import SequenceModel, State
from seriatim.core.values import NumberInput, NumberSequences, Values
from seriatim.decode.forecast import sample_paths
from seriatim.train.trainer import on_device

NUM_PATHS = 32  # of a row
MOST_ROWS = 192
LEAST_PAST = 8  # moments that a path follows
LARGEST = 50.0  # s: paths further away from what came count as this far
_SEED = 0x5EED


@dataclass(frozen=True)
class HeldOut:
    """Futures that were held out, by which paths are judged.

    Attributes:
        batch: rows that end with H moments, which count where they were observed.
        horizon: H.
    """

    batch: Batch
    horizon: int


def horizon_for(season_length: int) -> int:
    """H: two seasons, or a quarter of a long one; from 12 to 48."""
    wanted = 2 * season_length if season_length <= 24 else season_length // 4
    return min(max(wanted, 12), 48)


def held_out_futures(
    data: NumberSequences, scored_from: NDArray[np.int64], horizon: int, context: int
) -> HeldOut | None:
    """The first moments that were held out of each series, after what came before them.

    Args:
        data: the series, what comes before the held-out part included.
        scored_from: (S,) the first held-out moment of each.
        horizon: H, which is shortened to the longest held-out part.
        context: the number of moments that are read before them.
    """
    sizes = np.diff(np.asarray(data.offsets))
    chosen = np.flatnonzero((scored_from >= LEAST_PAST) & (sizes > scored_from))
    chosen = chosen[:: max(1, -(-len(chosen) // MOST_ROWS))]
    if not len(chosen):
        return None
    horizon = int(min(horizon, (sizes - scored_from)[chosen].max()))
    first = scored_from[chosen]
    return HeldOut(_cut(data, chosen, np.maximum(first - context, 0), first + horizon), horizon)


@torch.no_grad()
def path_error(model: SequenceModel, held_out: HeldOut) -> float:
    """E of a model on held-out futures."""
    batch, horizon = on_device(model.device, held_out.batch), held_out.horizon
    lengths = batch.lengths
    assert lengths is not None
    past = lengths - horizon + 1  # inputs before the first draw
    longest = int(past.max())
    x: NumberInput = batch.inputs
    read = tree.map_leaves(lambda t: t[:, :longest], x)
    features, carry = model.advance(model.empty(len(past)), read, past)
    past = past.to(model.device)
    at = past[:, None] - 1 + torch.arange(horizon, device=past.device)
    y = tree.map_leaves(lambda t: _gathered(t, at), batch.targets)
    known = x.known
    if known is not None and horizon > 1:  # those of the moments after the first
        known = _gathered(known, at[:, 1:])
    state = State(tree.at_last(features, past.cpu()), carry)
    paths = sample_paths(model, state, horizon, num_samples=NUM_PATHS, known=known, seed=_SEED).to(
        past.device
    )
    scale = _scale(x.values, past)[:, None]
    apart_from_y = ((paths - y.numbers[:, None]) / scale[:, None]).clamp(-LARGEST, LARGEST)
    ordered = apart_from_y.sort(1).values
    # sum over pairs of |x_i - x_j| = 2 sum_i (2 i - n - 1) x_(i)
    rank = torch.arange(1, NUM_PATHS + 1, device=past.device, dtype=ordered.dtype)
    weights = (2 * rank - NUM_PATHS - 1)[None, :, None, None]
    apart = 2 * (weights * ordered).sum(1) / (NUM_PATHS * (NUM_PATHS - 1))
    each = ordered.abs().mean(1) - 0.5 * apart
    observed = y.is_observed
    return float(torch.where(observed, each, 0.0).sum() / observed.sum().clamp(min=1))


def _cut(
    data: NumberSequences,
    chosen: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
) -> Batch:
    """Rows from one place in each chosen series to another, beyond its end without values."""
    numbers, offsets = np.asarray(data.numbers), np.asarray(data.offsets)
    lengths = end - begin
    at = begin[:, None] + np.arange(-1, int(lengths.max()))
    inside = (at >= begin[:, None]) & (at < np.diff(offsets)[chosen, None])
    place = np.clip(offsets[chosen, None] + at, 0, len(numbers) - 1)
    values = Values.of(torch.from_numpy(np.where(inside[..., None], numbers[place], np.nan)))
    known = None
    if data.known is not None:
        ahead = np.where(inside[:, 1:, None], np.asarray(data.known)[place[:, 1:]], 0.0)
        known = torch.from_numpy(ahead)
    return Batch(
        NumberInput(Values(values.numbers[:, :-1], values.is_observed[:, :-1]), known),
        Values(values.numbers[:, 1:], values.is_observed[:, 1:]),
        torch.from_numpy(lengths.astype(np.int64)),
    )


def _gathered(t: Tensor, at: Tensor) -> Tensor:
    """(B, H, D) the moments `at` (B, H) of t (B, L, D)."""
    return t.gather(1, at[..., None].expand(-1, -1, t.shape[2]))


def _scale(x: Values, past: Tensor) -> Tensor:
    """(B, D) the mean deviation of what is read of each row."""
    positions = torch.arange(x.numbers.shape[1], device=past.device)
    observed = x.is_observed & (positions < past[:, None])[..., None]
    count = observed.sum(1).clamp(min=1)
    mean = torch.where(observed, x.numbers, 0.0).sum(1) / count
    deviations = torch.where(observed, (x.numbers - mean[:, None]).abs(), 0.0).sum(1) / count
    return torch.maximum(deviations, 1e-3 * mean.abs() + 1e-9)
