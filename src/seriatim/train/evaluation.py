"""The validation loss during training.

Knows a model and a pass over data; metrics with confidence intervals, units and perplexities are
computed in `seriatim.metrics`.
"""

import torch

from seriatim.core import tree
from seriatim.core.model import TargetModel
from seriatim.data.batches.corpus import EvaluationPass
from seriatim.train.distributed import ALONE, Ranks
from seriatim.train.parallel import local_rows
from seriatim.train.trainer import on_device


@torch.no_grad()
def mean_nats(
    model: TargetModel, data: EvaluationPass, *, limit: int | None = None, ranks: Ranks = ALONE
) -> float:
    """Mean of -ln p(target) over one pass, with the state carried; nats per target.

    Args:
        model: the model to evaluate.
        data: the evaluation data.
        limit: the approximate number of targets to read, spread over the data; None: all.
        ranks: the processes that share the rows; all of them return the same. A collective.

    Raises:
        DataError: if there is no symbol.
    """
    was_training, device = model.training, model.device
    total = torch.zeros((), dtype=torch.float64, device=device)
    count, num_rows, carry = 0.0, 0, None
    model.eval()
    try:
        for reading in data.batches(limit):
            batch = on_device(device, local_rows(reading.batch, ranks))
            carry = None if reading.is_first else carry
            if carry is not None and batch.shape[0] < num_rows:
                carry = tree.select(carry, torch.arange(batch.shape[0]))
            num_rows = batch.shape[0]
            nats, carry = model(batch, carry, keep=reading.continues)
            total -= nats.sum(dtype=torch.float64)
            count += reading.batch.num_targets()
    finally:
        model.train(was_training)
    return float(ranks.sum(total)) / count
