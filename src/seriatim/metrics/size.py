"""The size of a model and of its state.

Knows any module and any `SequenceModel`; no data.
"""

import torch

from seriatim.core import tree
from seriatim.core.model import SequenceModel


def num_parameters(model: torch.nn.Module) -> int:
    """The number of fitted numbers: weights, tied ones once, and what an n-gram model estimates."""
    tensors = [t for t in model.state_dict().values() if t.numel() and t.is_floating_point()]
    return sum({t.data_ptr(): t.numel() for t in tensors}.values())


def state_bytes(model: SequenceModel, length: int = 512) -> int:
    """The size of the state after one sequence of `length` symbols, in bytes."""
    with torch.inference_mode():
        x = torch.zeros(1, length, dtype=torch.int64, device=model.device)
        return tree.num_bytes(model.update(model.start(1), x).carry)
