"""Dropout on a CPU, for a third of what drawing a number for every feature takes.

    y = x m / (1 - p),    m_i = 1 with probability 1 - p, else 0       (Srivastava et al. 2014)

Drawing was a tenth of a training step of a Transformer. Here one draw of 64 bits decides four
numbers, by 16 bits each, so p is a multiple of 2^-16, and y is scaled by that p.

Knows tensors; the randomness is torch's own generator, so a run that goes on goes on exactly.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_LEVELS = 2**16


def dropout(x: Tensor, share: float, *, is_training: bool) -> Tensor:
    """x with a share of its numbers left out and the others scaled, while training."""
    if not share or not is_training:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, share)
    levels = round(share * _LEVELS)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    lanes = bits.view(torch.int16)[: x.numel()].view(x.shape)
    mask = torch.ge(lanes, levels - _LEVELS // 2, out=x.detach().new_empty(x.shape))
    return x * mask.mul_(_LEVELS / (_LEVELS - levels))
