"""Cells: what one step of a recurrent network computes, h_t = g(h_{t-1}, x_t).

The three textbook cells are written out as their equations, with named gates, and are the
reference that the fused kernels are held to. Their weights lie as torch's own kernels want
them, so that the fast path runs on the very same parameters. A cell knows nothing of time,
symbols, ragged rows or kernels.

Shapes: B rows, E features of the input (input_size), D features of the state (hidden_size);
`...` any leading axes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.tree import Tree


class Cell(nn.Module, ABC):
    """One step of a recurrent network. Write `forward`, and you have a sequence model.

    The state h is a tensor (B, D), or any tree of tensors with B in axis 0. A state whose first
    part is not what the layer above should read also needs its own `initial` and `output`.

    Attributes:
        input_size: E.
        hidden_size: D.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size

    @abstractmethod
    def forward(self, h: Tree, x: Tensor) -> Tree:
        """h_t = g(h_{t-1}, x_t), for x (B, E); a new state, the old one is never changed."""

    def initial(self, batch_size: int) -> Tree:
        """h_0: by default zeros (B, D), on the device and in the precision of the weights."""
        weight = next(self.parameters(), torch.empty(0))
        return weight.new_zeros(batch_size, self.hidden_size)

    def output(self, h: Tree) -> Tensor:
        """(B, D) what the cell shows of its state: h, or its first element where h is a tuple."""
        shown: Tensor = h[0] if isinstance(h, tuple) else h
        return shown


class StackedCell(Cell):
    """A cell whose gates are affine in h and x, with their weights stacked as torch stacks them.

    Gate k has rows k D .. (k + 1) D of every parameter; the subclass states their order.

    Attributes:
        weight_ih: (G D, E) acts on x.
        weight_hh: (G D, D) acts on h.
        bias_ih: (G D,) added to the first product.
        bias_hh: (G D,) added to the second product.
    """

    def __init__(self, input_size: int, hidden_size: int, num_gates: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(num_gates * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(num_gates * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(num_gates * hidden_size))
        self.bias_hh = nn.Parameter(torch.zeros(num_gates * hidden_size))
        # Each gate alone: Glorot's bound on a stack of four would be too narrow for any of them.
        for w, u in zip(
            self.weight_ih.chunk(num_gates), self.weight_hh.chunk(num_gates), strict=True
        ):
            nn.init.xavier_uniform_(w)
            nn.init.orthogonal_(u)

    @property
    def weights(self) -> list[Tensor]:
        """The four parameters in the order of torch's kernels."""
        return [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]

    def of_input(self, x: Tensor) -> Tensor:
        """(..., G D) W x + b_W of all gates."""
        return F.linear(x, self.weight_ih, self.bias_ih)

    def of_hidden(self, h: Tensor) -> Tensor:
        """(..., G D) U h + b_U of all gates."""
        return F.linear(h, self.weight_hh, self.bias_hh)


# ---- the simple recurrent network ---------------------------------------------------------------

NONLINEARITIES: Mapping[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


class RNNCell(StackedCell):
    """The simple recurrent network (Elman 1990).

    h_t = tanh(W x_t + b_W + U h_{t-1} + b_U)            or relu in place of tanh
    """

    def __init__(
        self, input_size: int, hidden_size: int, nonlinearity: Literal["tanh", "relu"] = "tanh"
    ) -> None:
        super().__init__(input_size, hidden_size, num_gates=1)
        self.nonlinearity = NONLINEARITIES[nonlinearity]

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return self.nonlinearity(self.of_input(x) + self.of_hidden(h))


# ---- long short-term memory ---------------------------------------------------------------------


class LSTMGates(NamedTuple):
    """The gates of an LSTM at one step, each (..., D)."""

    forget: Tensor  # f in (0, 1): how much of the old cell stays
    input: Tensor  # i in (0, 1): how much of the update enters
    output: Tensor  # o in (0, 1): how much of the cell is shown
    update: Tensor  # c~ in (-1, 1): the cell update, also called the candidate


class LSTMCell(StackedCell):
    """Long short-term memory (Hochreiter, Schmidhuber 1997; forget gate: Gers et al. 2000).

        f_t  = sigmoid(W_f x_t + U_f h_{t-1} + b_f)          forget gate
        i_t  = sigmoid(W_i x_t + U_i h_{t-1} + b_i)          input gate
        o_t  = sigmoid(W_o x_t + U_o h_{t-1} + b_o)          output gate
        c~_t = tanh(W_c x_t + U_c h_{t-1} + b_c)             cell update
        c_t  = f_t * c_{t-1} + i_t * c~_t
        h_t  = o_t * tanh(c_t)

    The state is (h, c). Weights are stacked in torch's order: input, forget, update, output.
    """

    def __init__(self, input_size: int, hidden_size: int, forget_bias: float = 1.0) -> None:
        """
        Args:
            input_size: E.
            hidden_size: D.
            forget_bias: initial b_f, the sum of its two parts (Jozefowicz et al. 2015, 2.3).
        """
        super().__init__(input_size, hidden_size, num_gates=4)
        with torch.no_grad():
            self.bias_ih[hidden_size : 2 * hidden_size] = forget_bias

    def initial(self, batch_size: int) -> tuple[Tensor, Tensor]:
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return zeros, torch.zeros_like(zeros)

    def gates(self, h: Tensor, x: Tensor) -> LSTMGates:
        """The gates from h_{t-1} (..., D), the hidden part of the state alone, and x_t (..., E).

        They do not depend on the cell, so one call gives the gates of a whole sequence whose
        hidden states are known.
        """
        i, f, c, o = (self.of_input(x) + self.of_hidden(h)).chunk(4, -1)
        return LSTMGates(forget=f.sigmoid(), input=i.sigmoid(), output=o.sigmoid(), update=c.tanh())

    def forward(self, h: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        hidden, cell = h
        gates = self.gates(hidden, x)
        cell = gates.forget * cell + gates.input * gates.update
        return gates.output * cell.tanh(), cell


# ---- the gated recurrent unit -------------------------------------------------------------------


class GRUGates(NamedTuple):
    """The gates of a GRU at one step, each (..., D)."""

    reset: Tensor  # r in (0, 1): how much of the old state the candidate sees
    update: Tensor  # z in (0, 1): how much of the old state stays
    candidate: Tensor  # h~ in (-1, 1): what replaces the rest


class GRUCell(StackedCell):
    """The gated recurrent unit (Cho et al. 2014, equations 5 to 8).

        r_t  = sigmoid(W_r x_t + U_r h_{t-1} + b_r)                    reset gate
        z_t  = sigmoid(W_z x_t + U_z h_{t-1} + b_z)                    update gate
        h~_t = tanh(W x_t + U (r_t * h_{t-1}) + b)                     reset "before", the paper's
        h~_t = tanh(W x_t + b_W + r_t * (U h_{t-1} + b_U))             reset "after", fused kernels'
        h_t  = z_t * h_{t-1} + (1 - z_t) * h~_t

    Weights are stacked in torch's order: reset, update, candidate.
    """

    def __init__(
        self, input_size: int, hidden_size: int, reset: Literal["before", "after"] = "after"
    ) -> None:
        super().__init__(input_size, hidden_size, num_gates=3)
        self.resets_before = reset == "before"

    def gates(self, h: Tensor, x: Tensor) -> GRUGates:
        """The gates from h_{t-1} (..., D) and x_t (..., E)."""
        rows = 2 * self.hidden_size
        w_r, w_z, w_n = self.of_input(x).chunk(3, -1)
        if self.resets_before:
            u_r, u_z = F.linear(h, self.weight_hh[:rows], self.bias_hh[:rows]).chunk(2, -1)
            r = (w_r + u_r).sigmoid()
            n = w_n + F.linear(r * h, self.weight_hh[rows:], self.bias_hh[rows:])
        else:
            u_r, u_z, u_n = self.of_hidden(h).chunk(3, -1)
            r = (w_r + u_r).sigmoid()
            n = w_n + r * u_n
        return GRUGates(reset=r, update=(w_z + u_z).sigmoid(), candidate=n.tanh())

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        gates = self.gates(h, x)
        return gates.update * h + (1 - gates.update) * gates.candidate
