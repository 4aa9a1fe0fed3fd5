"""Alignment: how well each position of a source matches the state of a decoder.

The scores of Bahdanau et al. 2015 as the paper writes them, and what follows from any scores:
weights, and the weighted mean of the source. Knows no model and no time; a bias says which
positions exist.

Shapes: B rows, L queries, S positions of the source, D features, A features of queries and keys.
"""

import torch
from torch import Tensor


def additive(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """e_ij = v' tanh(W_a s_i + U_a h_j)  (Bahdanau et al. 2015, appendix A.1.2).

    Args:
        q: W_a s, (B, L, A).
        k: U_a h, (B, S, A), the same for every step.
        v: (A,).

    Returns:
        The scores e, (B, L, S).
    """
    return torch.tanh(q.unsqueeze(2) + k.unsqueeze(1)) @ v


def weights(scores: Tensor, bias: Tensor | None = None) -> Tensor:
    """alpha_ij = exp(e_ij) / sum_k exp(e_ik), over the last axis.

    Args:
        scores: (..., L, S).
        bias: 0 at positions of the source and -inf at padding, in a shape that broadcasts; at
            least one position exists. None: there is no padding.
    """
    return (scores if bias is None else scores + bias).softmax(-1)


def context(alpha: Tensor, values: Tensor) -> Tensor:
    """c_i = sum_j alpha_ij h_j: (..., L, D) from alpha (..., L, S) and values h (..., S, D)."""
    return alpha @ values
