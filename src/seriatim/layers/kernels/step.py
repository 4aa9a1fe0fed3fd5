"""Recurrent layers one element at a time, with all that depends on weights alone prepared.

The time of a step is the time of reading weights, so it reads few: the first layer's input of a
symbol is one row of a table that is made once for all symbols, and matrices are laid out for a
product with one row. `layers.cells` has the equations.

Knows weights; no model.

Shapes: B rows, E and D features of input and state, G gates, V symbols.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core.products import one_row_product
from seriatim.core.tree import Tree
from seriatim.layers.cells import Fold

Weights = list[Tensor]
Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class PreparedLayer:
    """A layer with its weights laid out for steps.

    Attributes:
        project_input: maps x (B, E) to wx (B, G D), the inputs of the gates.
        fold: maps the state before and wx to the state after.
        output: maps a state to the output (B, D).
    """

    project_input: Callable[[Tensor], Tensor]
    fold: Fold
    output: Callable[[Tree], Tensor]


def prepare_rnn(weights: Weights, nonlinearity: Callable[[Tensor], Tensor]) -> PreparedLayer:
    """h_t = tanh(W x_t + U h_{t-1} + b), or relu."""
    project_input, u = _affine(weights, weights[2] + weights[3])
    of_one = _product_of_one(u)

    def fold(h: Tensor, wx: Tensor) -> Tensor:
        if (u_h := of_one(h)) is None:
            return nonlinearity(torch.addmm(wx, h, u))
        u_h += wx.numpy()
        return nonlinearity(torch.from_numpy(u_h))

    return PreparedLayer(project_input, fold, lambda h: h)


def prepare_lstm(weights: Weights) -> PreparedLayer:
    """As `layers.cells.LSTMCell`, in torch's order of the gates.

    The update gate is tanh(a) = 2 sigmoid(2 a) - 1: one sigmoid serves all four. numpy's tanh is
    fast and torch's is not, so for a single row all four are tanh, where
    sigmoid(a) = (tanh(a / 2) + 1) / 2. The weights make a / 2, and a of the update gate.
    """
    size = weights[1].shape[1]
    w, u, b = (t.detach().clone() for t in (*weights[:2], weights[2] + weights[3]))
    for t in (w, u, b):
        t[: 2 * size] *= 0.5
        t[3 * size :] *= 0.5
    project_input, u = _affine([w, u], b)
    of_one, sizes = _product_of_one(u), [size] * 4

    def fold(h: tuple[Tensor, Tensor], wx: Tensor) -> tuple[Tensor, Tensor]:
        if (a := of_one(h[0])) is not None:
            return fold_one(a, wx.numpy(), h[1].numpy())
        gates = torch.addmm(wx, h[0], u, beta=2, alpha=2).sigmoid_()
        i, f, s, o = gates.split_with_sizes(sizes, 1)
        c = (f * h[1]).addcmul_(i, s, value=2.0).sub_(i)
        return c.tanh().mul_(o), c

    def fold_one(a: Array, wx: Array, cell: Array) -> tuple[Tensor, Tensor]:
        a += wx
        np.tanh(a, a)
        i_f, g, o = a[:, : 2 * size], a[:, 2 * size : 3 * size], a[:, 3 * size :]
        i_f += 1
        o += 1
        c = i_f[:, size:] * cell
        g *= i_f[:, :size]
        c += g
        c *= 0.5
        y = np.tanh(c)
        y *= o
        y *= 0.5
        return torch.from_numpy(y), torch.from_numpy(c)

    return PreparedLayer(project_input, fold, lambda h: h[0])


def prepare_gru(weights: Weights) -> PreparedLayer:
    """As `layers.cells.GRUCell` with the reset after the product."""
    project_input, u = _affine(weights, weights[2])
    bias, gates = weights[3].detach().clone(), 2 * u.shape[0]
    of_one = _product_of_one(u)

    def fold(h: Tensor, wx: Tensor) -> Tensor:
        if (u_h := of_one(h)) is not None:
            return fold_one(u_h, wx.numpy(), h.numpy())
        uh = torch.addmm(bias, h, u)
        r, z = (wx[:, :gates] + uh[:, :gates]).sigmoid_().chunk(2, 1)
        n = torch.addcmul(wx[:, gates:], r, uh[:, gates:]).tanh_()
        return torch.lerp(n, h, z)

    def fold_one(uh: Array, wx: Array, h: Array) -> Tensor:
        uh += bias.numpy()
        rz, n = uh[:, :gates], uh[:, gates:]
        rz += wx[:, :gates]
        rz *= 0.5
        np.tanh(rz, rz)  # sigmoid(a) = (tanh(a / 2) + 1) / 2
        rz += 1
        rz *= 0.5
        n *= rz[:, : gates // 2]
        n += wx[:, gates:]
        np.tanh(n, n)
        new = h - n
        new *= rz[:, gates // 2 :]
        new += n
        return torch.from_numpy(new)

    return PreparedLayer(project_input, fold, lambda h: h)


def _product_of_one(transposed: Tensor) -> Callable[[Tensor], Array | None]:
    """The map from h (1, D) to a new array U h (1, G D); None for more rows.

    By numpy, whose calls cost a third of torch's. On another device, or while a mode of torch
    watches operations, None always.

    Args:
        transposed: U^T (D, G D), contiguous.
    """
    if transposed.device.type != "cpu" or transposed.dtype not in (torch.float32, torch.float64):
        return lambda h: None
    multiply, watching = one_row_product(transposed), torch._C._len_torch_dispatch_stack

    def product(h: Tensor) -> Array | None:
        return multiply(h.numpy()) if h.shape[0] == 1 and not watching() else None

    return product


def _affine(weights: Weights, bias: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The map x -> W x + b, and U^T as a contiguous matrix."""
    w, u, b = weights[0].detach().t(), weights[1].detach().t().contiguous(), bias.detach().clone()
    return (lambda x: torch.addmm(b, x, w)), u


# ---- knowing when weights have changed ----------------------------------------------------------


class WeightWatch:
    """Notices when a parameter of some modules is replaced, written to, moved or converted."""

    def __init__(self, *modules: nn.Module) -> None:
        # The dictionaries and not only the parameters, which may be replaced. A parameter that is
        # held here keeps its address.
        self._seen = [
            (module._parameters, name, p, p.data_ptr(), -1 if p.is_inference() else p._version)
            for part in modules
            for module in part.modules()
            for name, p in module._parameters.items()
            if p is not None
        ]
        # Tensors of inference mode have no version: nobody can say whether they have changed.
        self._is_blind = any(version < 0 for *_, version in self._seen)

    def is_stale(self) -> bool:
        """Whether anything has changed since the watch began."""
        return self._is_blind or any(
            parameters[name] is not p or p.data_ptr() != at or p._version != version
            for parameters, name, p, at, version in self._seen
        )
