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

from seriatim.core.product_kernels import one_row_product
from seriatim.core.tree import Tree
from seriatim.layers.cells import Fold

Weights = list[Tensor]
Array: TypeAlias = NDArray[Any]
RowProduct: TypeAlias = Callable[[Array], Array]  # (1, in) to a new (1, out)
RowFold: TypeAlias = Callable[[Any, Array], tuple[Tensor, Any]]


@dataclass(frozen=True)
class RowLayer:
    """A layer for a single row, in numpy, whose calls cost a third of torch's.

    Attributes:
        project_input: maps x (1, E) to wx (1, G D), the inputs of the gates.
        fold: maps the state before and wx to the output (1, D) and the state after.
    """

    project_input: Callable[[Array], Array]
    fold: RowFold


@dataclass(frozen=True)
class PreparedLayer:
    """A layer with its weights laid out for steps.

    Attributes:
        project_input: maps x (B, E) to wx (B, G D), the inputs of the gates.
        fold: maps the state before and wx to the state after.
        output: maps a state to the output (B, D).
        row: the same for one row; None: there is nothing faster.
    """

    project_input: Callable[[Tensor], Tensor]
    fold: Fold
    output: Callable[[Tree], Tensor]
    row: RowLayer | None = None


def prepare_rnn(weights: Weights, nonlinearity: Callable[[Tensor], Tensor]) -> PreparedLayer:
    """h_t = tanh(W x_t + U h_{t-1} + b), or relu."""
    project_input, u = _affine(weights, weights[2] + weights[3])

    def fold(h: Tensor, wx: Tensor) -> Tensor:
        return nonlinearity(torch.addmm(wx, h, u))

    def make_row(multiply: RowProduct) -> RowFold:
        def fold(h: Tensor, wx: Array) -> tuple[Tensor, Tensor]:
            a = multiply(h.numpy())
            a += wx
            new = nonlinearity(torch.from_numpy(a))
            return new, new

        return fold

    row = _row_layer(weights[0], weights[2] + weights[3], u, make_row)
    return PreparedLayer(project_input, fold, lambda h: h, row)


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
    sizes = [size] * 4

    def fold(h: tuple[Tensor, Tensor], wx: Tensor) -> tuple[Tensor, Tensor]:
        gates = torch.addmm(wx, h[0], u, beta=2, alpha=2).sigmoid_()
        i, f, s, o = gates.split_with_sizes(sizes, 1)
        c = (f * h[1]).addcmul_(i, s, value=2.0).sub_(i)
        return c.tanh().mul_(o), c

    def make_row(multiply: RowProduct) -> RowFold:
        def fold(h: tuple[Tensor, Tensor], wx: Array) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            a = multiply(h[0].numpy())
            a += wx
            np.tanh(a, a)
            i_f, g, o = a[:, : 2 * size], a[:, 2 * size : 3 * size], a[:, 3 * size :]
            i_f += 1
            o += 1
            c = i_f[:, size:] * h[1].numpy()
            g *= i_f[:, :size]
            c += g
            c *= 0.5
            y = np.tanh(c)
            y *= o
            y *= 0.5
            new = torch.from_numpy(y)
            return new, (new, torch.from_numpy(c))

        return fold

    row = _row_layer(w, b, u, make_row)
    return PreparedLayer(project_input, fold, lambda h: h[0], row)


def prepare_gru(weights: Weights) -> PreparedLayer:
    """As `layers.cells.GRUCell` with the reset after the product."""
    project_input, u = _affine(weights, weights[2])
    bias, gates = weights[3].detach().clone(), 2 * u.shape[0]

    def fold(h: Tensor, wx: Tensor) -> Tensor:
        uh = torch.addmm(bias, h, u)
        r, z = (wx[:, :gates] + uh[:, :gates]).sigmoid_().chunk(2, 1)
        n = torch.addcmul(wx[:, gates:], r, uh[:, gates:]).tanh_()
        return torch.lerp(n, h, z)

    def make_row(multiply: RowProduct) -> RowFold:
        b = bias.numpy()

        def fold(h: Tensor, wx: Array) -> tuple[Tensor, Tensor]:
            old = h.numpy()
            uh = multiply(old)
            uh += b
            rz, n = uh[:, :gates], uh[:, gates:]
            rz += wx[:, :gates]
            rz *= 0.5
            np.tanh(rz, rz)  # sigmoid(a) = (tanh(a / 2) + 1) / 2
            rz += 1
            rz *= 0.5
            n *= rz[:, : gates // 2]
            n += wx[:, gates:]
            np.tanh(n, n)
            new = old - n
            new *= rz[:, gates // 2 :]
            new += n
            made = torch.from_numpy(new)
            return made, made

        return fold

    row = _row_layer(weights[0], weights[2], u, make_row)
    return PreparedLayer(project_input, fold, lambda h: h, row)


def _row_layer(
    w: Tensor, bias: Tensor, transposed: Tensor, make_fold: Callable[[RowProduct], RowFold]
) -> RowLayer | None:
    """A layer for one row, if its weights are numbers that numpy can take.

    Args:
        w: W, (G D, E).
        bias: the bias of W x.
        transposed: U^T, (D, G D), contiguous.
        make_fold: makes the fold of the product h -> U h.
    """
    if w.device.type != "cpu" or w.dtype not in (torch.float32, torch.float64):
        return None
    multiply, b = one_row_product(w.detach().t().contiguous()), bias.detach().numpy()
    return RowLayer(lambda x: multiply(x) + b, make_fold(one_row_product(transposed)))


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
