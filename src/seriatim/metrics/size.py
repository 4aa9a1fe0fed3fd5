"""How large a model is, and what it keeps of a sequence.

Knows any module and any `SequenceModel`; no data.
"""

import torch

from seriatim.core import tree
from seriatim.core.model import SequenceModel


def num_parameters(model: torch.nn.Module) -> int:
    """Numbers that were fitted: weights, tied ones once, and the counts of a counted model."""
    tensors = {t.data_ptr(): t.numel() for t in model.state_dict().values() if t.numel()}
    return sum(tensors.values())


def state_bytes(model: SequenceModel, length: int = 512) -> int:
    """Bytes that the model keeps of one sequence of `length` symbols."""
    with torch.inference_mode():
        x = torch.zeros(1, length, dtype=torch.int64, device=model.device)
        return tree.num_bytes(model.update(model.start(1), x).carry)
