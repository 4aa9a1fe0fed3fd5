"""The validation loss during training.

Knows a model and a pass over data; metrics with confidence intervals, units and perplexities are
computed in `seriatim.metrics`.
"""

import torch

from seriatim.core import tree
from seriatim.core.model import TargetModel
from seriatim.data.batches.corpus import EvaluationPass
from seriatim.errors import DataError
from seriatim.train.distributed import ALONE, Ranks
from seriatim.train.parallel import local_rows
from seriatim.train.trainer import on_device


@torch.no_grad()
def mean_nats(
    model: TargetModel, data: EvaluationPass, *, limit: int | None = None, ranks: Ranks = ALONE
) -> float:
    """Mean of -ln p(target) over one pass, with the state carried; nats per target or value.

    Args:
        model: the model to evaluate.
        data: the evaluation data.
        limit: the approximate number of targets to read, spread over the data; None: all.
        ranks: the processes that share the rows; all of them return the same. A collective.

    Raises:
        DataError: if there is no symbol, or no observed value.
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
    if count == 0:
        raise DataError("no value of the validation data is observed: give other validation data")
    return float(ranks.sum(total)) / count
