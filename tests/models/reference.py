"""References for the fast paths of models, written as their equations."""

import torch
from torch import Tensor

from seriatim.layers.cells import Cell


def read_both_ways(forward: Cell, backward: Cell, x: Tensor) -> Tensor:
    """A layer in two directions as its equations, for one sequence (Schuster, Paliwal 1997).

        f_s = g(f_{s-1}, x_s),    b_s = g'(b_{s+1}, x_s),    y_s = [f_s; b_s]

    Args:
        forward: g.
        backward: g'.
        x: (S, E).

    Returns:
        y, (S, D).
    """

    def run(cell: Cell, order: list[int]) -> Tensor:
        h, outputs = cell.initial(1), {}
        for s in order:
            h = cell(h, x[s : s + 1])
            outputs[s] = cell.output(h)
        return torch.cat([outputs[s] for s in range(len(x))])

    order = list(range(len(x)))
    return torch.cat([run(forward, order), run(backward, order[::-1])], -1)
