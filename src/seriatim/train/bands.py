"""Bands that hold as often as they say: widths are calibrated on held-out series after training.

    k* = the k for which P(|F_k(x) - 1/2| <= 0.4) = 0.8

over held-out values x, where F_k is the distribution of a model whose widths are k times as large.
Weights that are fitted to the likelihood of some values are too sure of others.

Knows the contract and passes over data; no family.
"""

import numpy as np
import torch

from seriatim.core import tree
from seriatim.core.densities import Density
from seriatim.core.forecasting import HasWidths
from seriatim.core.model import SequenceModel
from seriatim.data.batches.corpus import EvaluationPass
from seriatim.train.trainer import on_device

FACTORS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5)
HELD = 0.8  # of the values in the interval in the middle
FEWEST = 200  # values of a channel, without which its widths stay


@torch.no_grad()
def calibrate_widths(model: SequenceModel, held_out: EvaluationPass) -> None:
    """Let the intervals of 80 % of a model of numbers hold 80 % of held-out values, one ahead.

    Args:
        model: the model; one without widths is left as it is.
        held_out: the values, after training, with the model in evaluation mode.
    """
    if not isinstance(model, HasWidths) or not model.num_widths:
        return
    inside = torch.zeros(len(FACTORS), model.num_widths, dtype=torch.float64)
    count = torch.zeros(model.num_widths, dtype=torch.float64)
    carry = None
    for reading in held_out.batches():
        batch = on_device(model.device, reading.batch)
        rows = batch.shape[0]
        carry = model.empty(rows) if reading.is_first or carry is None else carry
        carry = tree.select(carry, torch.arange(rows))  # those that have ended are last
        features, carry = model.advance(carry, batch.inputs, batch.lengths)
        chosen = batch.targets.is_observed & (batch.target_weights() > 0)[..., None]
        count += chosen.sum((0, 1)).cpu()
        for i, factor in enumerate(FACTORS):
            model.set_widths(torch.full((model.num_widths,), factor))
            density = model.emit(features)
            assert isinstance(density, Density)
            is_inside = (density.cdf(batch.targets.numbers) - 0.5).abs() <= HELD / 2
            inside[i] += (is_inside & chosen).sum((0, 1)).cpu()
    held = (inside / count.clamp(min=1.0)).numpy()
    found = [np.interp(HELD, held[:, d], FACTORS) for d in range(model.num_widths)]
    factors = torch.tensor(found, dtype=torch.float64)
    model.set_widths(torch.where(count >= FEWEST, factors, 1.0))
