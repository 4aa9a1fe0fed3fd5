"""Recurrent layers one element at a time, with everything ready that only weights decide.

One row's step is bound by reading weights, so it reads as few as it can: what the first layer
gets of a symbol is one row of a table, made once for all symbols, and the matrices lie as one
row wants to meet them. `layers.cells` has the equations.

Knows weights and tables; knows no cell and no model.

Shapes: B rows, E and D features of input and state, G gates, V symbols.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seriatim.core.tree import Tree
from seriatim.layers.cells import Folding

Weights = list[Tensor]


@dataclass(frozen=True)
class ReadyLayer:
    """A layer whose weights stand as a step wants them.

    Attributes:
        of_input: x (B, E) to what the gates get of it, (B, G D).
        fold: that and the state before to the state after.
        output: what a state shows, (B, D).
        inside: the state before, what the gates get of x, and the state after, to what
            recorders are shown, as `StackedCell.gated`.
    """

    of_input: Callable[[Tensor], Tensor]
    fold: Folding
    output: Callable[[Tree], Tensor]
    inside: Callable[[Tree, Tensor, Tree], Mapping[str, Tensor]]


def ready_rnn(weights: Weights, nonlinearity: Callable[[Tensor], Tensor]) -> ReadyLayer:
    """h_t = tanh(W x_t + U h_{t-1} + b), or relu."""
    of_input, u = _affine(weights, weights[2] + weights[3])

    def fold(h: Tensor, wx: Tensor) -> Tensor:
        return nonlinearity(torch.addmm(wx, h, u))

    return ReadyLayer(of_input, fold, _itself, lambda h, wx, after: {})


def ready_lstm(weights: Weights) -> ReadyLayer:
    """As `layers.cells.LSTMCell`, in torch's order of the gates.

    The update gate is tanh(a) = 2 sigmoid(2 a) - 1, with its rows of the weights doubled: one
    sigmoid serves all four.
    """
    size = weights[1].shape[1]
    w, u, b = (t.detach().clone() for t in (*weights[:2], weights[2] + weights[3]))
    for t in (w, u, b):
        t[2 * size : 3 * size] *= 2.0
    of_input, u = _affine([w, u], b)
    sizes = [size] * 4

    def gates(h: tuple[Tensor, Tensor], wx: Tensor) -> tuple[Tensor, ...]:
        return torch.addmm(wx, h[0], u).sigmoid_().split_with_sizes(sizes, 1)

    def fold(h: tuple[Tensor, Tensor], wx: Tensor) -> tuple[Tensor, Tensor]:
        i, f, s, o = gates(h, wx)
        c = (f * h[1]).addcmul_(i, s, value=2.0).sub_(i)
        return c.tanh().mul_(o), c

    def inside(
        h: tuple[Tensor, Tensor], wx: Tensor, after: tuple[Tensor, Tensor]
    ) -> Mapping[str, Tensor]:
        i, f, s, o = gates(h, wx)
        g = 2.0 * s - 1.0
        return {"forget": f, "input": i, "output": o, "candidate": g, "cell": after[1]}

    return ReadyLayer(of_input, fold, _first, inside)


def ready_gru(weights: Weights) -> ReadyLayer:
    """As `layers.cells.GRUCell` with its reset after the product."""
    of_input, u = _affine(weights, weights[2])
    bias, gates = weights[3].detach().clone(), 2 * u.shape[0]

    def parts(h: Tensor, wx: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        uh = torch.addmm(bias, h, u)
        r, z = (wx[:, :gates] + uh[:, :gates]).sigmoid_().chunk(2, 1)
        return r, z, torch.addcmul(wx[:, gates:], r, uh[:, gates:]).tanh_()

    def fold(h: Tensor, wx: Tensor) -> Tensor:
        _, z, n = parts(h, wx)
        return torch.lerp(n, h, z)

    def inside(h: Tensor, wx: Tensor, after: Tensor) -> Mapping[str, Tensor]:
        r, z, n = parts(h, wx)
        return {"reset": r, "update": z, "candidate": n}

    return ReadyLayer(of_input, fold, _itself, inside)


def _affine(weights: Weights, bias: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """x -> W x + b, and U^T with the rows of one feature of h side by side."""
    w, u, b = weights[0].detach().t(), weights[1].detach().t().contiguous(), bias.detach().clone()
    return (lambda x: torch.addmm(b, x, w)), u


def _itself(h: Tree) -> Tensor:
    shown: Tensor = h
    return shown


def _first(h: Tree) -> Tensor:
    shown: Tensor = h[0]
    return shown


# ---- knowing when weights have changed ----------------------------------------------------------


class Watch:
    """Notices when a parameter of some modules is replaced, written to, moved or converted."""

    def __init__(self, *modules: nn.Module) -> None:
        # The dictionaries, not the parameters: those may be replaced by others.
        self._held = [
            (module._parameters, name)
            for part in modules
            for module in part.modules()
            for name, parameter in module._parameters.items()
            if parameter is not None
        ]
        self._seen = self._look()
        # Held, so that no other tensor comes to lie where these were.
        self._tensors = [parameters[name] for parameters, name in self._held]

    def is_stale(self) -> bool:
        """Whether anything has changed since this was made."""
        return self._look() != self._seen

    def _look(self) -> list[Any]:
        found: list[Any] = []
        for parameters, name in self._held:
            parameter = parameters[name]
            if parameter is None or parameter.is_inference():
                return [object()]  # it counts no versions: never equal to what was seen
            found += (parameter.data_ptr(), parameter._version)
        return found
