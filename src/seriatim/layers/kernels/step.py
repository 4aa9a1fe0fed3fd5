"""Recurrent layers one element at a time, with all that depends on weights alone prepared.

The time of a step is the time of reading weights, so it reads few: the first layer's input of a
symbol is one row of a table that is made once for all symbols, and matrices are laid out for a
product with one row. `layers.cells` has the equations.

Knows weights; no model.

Shapes: B rows, E and D features of input and state, G gates, V symbols.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seriatim.core.tree import Tree
from seriatim.layers.cells import Fold

Weights = list[Tensor]


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

    def fold(h: Tensor, wx: Tensor) -> Tensor:
        return nonlinearity(torch.addmm(wx, h, u))

    return PreparedLayer(project_input, fold, lambda h: h)


def prepare_lstm(weights: Weights) -> PreparedLayer:
    """As `layers.cells.LSTMCell`, in torch's order of the gates.

    The update gate is tanh(a) = 2 sigmoid(2 a) - 1, with its rows of the weights doubled: one
    sigmoid serves all four.
    """
    size = weights[1].shape[1]
    w, u, b = (t.detach().clone() for t in (*weights[:2], weights[2] + weights[3]))
    for t in (w, u, b):
        t[2 * size : 3 * size] *= 2.0
    project_input, u = _affine([w, u], b)
    sizes = [size] * 4

    def fold(h: tuple[Tensor, Tensor], wx: Tensor) -> tuple[Tensor, Tensor]:
        i, f, s, o = torch.addmm(wx, h[0], u).sigmoid_().split_with_sizes(sizes, 1)
        c = (f * h[1]).addcmul_(i, s, value=2.0).sub_(i)
        return c.tanh().mul_(o), c

    return PreparedLayer(project_input, fold, lambda h: h[0])


def prepare_gru(weights: Weights) -> PreparedLayer:
    """As `layers.cells.GRUCell` with the reset after the product."""
    project_input, u = _affine(weights, weights[2])
    bias, gates = weights[3].detach().clone(), 2 * u.shape[0]

    def fold(h: Tensor, wx: Tensor) -> Tensor:
        uh = torch.addmm(bias, h, u)
        r, z = (wx[:, :gates] + uh[:, :gates]).sigmoid_().chunk(2, 1)
        n = torch.addcmul(wx[:, gates:], r, uh[:, gates:]).tanh_()
        return torch.lerp(n, h, z)

    return PreparedLayer(project_input, fold, lambda h: h)


def _affine(weights: Weights, bias: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The map x -> W x + b, and U^T as a contiguous matrix."""
    w, u, b = weights[0].detach().t(), weights[1].detach().t().contiguous(), bias.detach().clone()
    return (lambda x: torch.addmm(b, x, w)), u


# ---- knowing when weights have changed ----------------------------------------------------------


class WeightWatch:
    """Notices when a parameter of some modules is replaced, written to, moved or converted."""

    def __init__(self, *modules: nn.Module) -> None:
        # The dictionaries and not the parameters, which may be replaced.
        self._places = [
            (module._parameters, name)
            for part in modules
            for module in part.modules()
            for name, parameter in module._parameters.items()
            if parameter is not None
        ]
        self._versions = self._read()
        # A reference to each, so that no other tensor is allocated at its address.
        self._tensors = [parameters[name] for parameters, name in self._places]

    def is_stale(self) -> bool:
        """Whether anything has changed since the watch began."""
        return self._read() != self._versions

    def _read(self) -> list[Any]:
        versions: list[Any] = []
        for parameters, name in self._places:
            parameter = parameters[name]
            if parameter is None or parameter.is_inference():
                return [object()]  # it has no version: never equal to the first reading
            versions += (parameter.data_ptr(), parameter._version)
        return versions
