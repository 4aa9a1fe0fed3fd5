"""The validation loss during training.

Knows a model and a corpus; the confidence intervals, units and perplexities that people read
are made elsewhere.
"""

import torch

from seriatim import tree
from seriatim.batch import TokenSequences
from seriatim.data.batches import one_pass
from seriatim.model import SequenceModel
from seriatim.train.update import on_device


@torch.no_grad()
def mean_nats(
    model: SequenceModel,
    corpus: TokenSequences,
    batch_size: int,
    length: int,
    *,
    limit: int | None = None,
) -> float:
    """Mean of -ln p(target) over a corpus, read once with the state carried; nats per target.

    Args:
        batch_size: sequences, or parts of a stream, side by side; more when they are short.
        length: L, the longest chunk.
        limit: read only about so many targets, spread over the corpus.

    Raises:
        DataError: the corpus holds no symbol.
    """
    was_training, device = model.training, model.device
    total = torch.zeros((), dtype=torch.float64, device=device)
    count, num_rows, carry = 0.0, 0, None
    model.eval()
    try:
        for reading in one_pass(
            corpus, model.boundary, batch_size=batch_size, length=length, limit=limit
        ):
            batch = on_device(device, reading.batch)
            carry = None if reading.is_first else carry
            if carry is not None and batch.shape[0] < num_rows:
                carry = tree.select(carry, torch.arange(batch.shape[0]))
            num_rows = batch.shape[0]
            nats, carry = model(batch, carry, keep=reading.goes_on)
            total -= nats.sum(dtype=torch.float64)
            count += batch.num_targets()
    finally:
        model.train(was_training)
    return float(total) / count
