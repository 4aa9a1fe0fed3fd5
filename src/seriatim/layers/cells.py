"""Cells: what one step of a recurrent network computes, h_t = g(h_{t-1}, x_t).

The three textbook cells are written out as their equations, with named gates, and are the
reference that the fused kernels are held to. Their weights lie as torch's own kernels want
them, so that the fast path runs on the very same parameters. Each comes with layer
normalization too, and each can be thinned in training: units of the state, or weights that act
on it, left out. A cell knows nothing of time, symbols, ragged rows or kernels.

Shapes: B rows, E features of the input (input_size), D features of the state (hidden_size);
`...` any leading axes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core.tree import Tree
from seriatim.layers.kernels.recurrence import scan

Fold: TypeAlias = Callable[[Tree, Tensor], Tree]  # h_{t-1} and what the gates get of x to h_t


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

    def inner_values(self, h: Tree, x: Tensor, after: Tree) -> Mapping[str, Tensor]:
        """What a recorder is shown of a step beside the output, such as gates: by default nothing.

        Args:
            h: the state before.
            x: (B, E).
            after: the state that `forward` made of them.

        Returns:
            By name, (B, ...) each.
        """
        return {}


class Layer(Protocol):
    """What kernels run: a cell, or one that is thinned for a chunk of training."""

    @property
    def owner(self) -> "StackedCell":
        """The cell itself."""

    @property
    def hidden_size(self) -> int:
        """D."""

    @property
    def weights(self) -> list[Tensor]:
        """W, U, b_W, b_U as torch's kernels want them."""

    @property
    def mask(self) -> Tensor | None:
        """(B, D) what h is multiplied by where it meets U; None: nothing."""

    def project_input(self, x: Tensor) -> Tensor:
        """(..., G D) what the gates get of x."""

    def make_fold(self) -> Fold:
        """The steps of one chunk: the state after an element of which the gates get wx (B, G D)."""

    def output(self, h: Tree) -> Tensor:
        """(B, D) what the state shows."""

    def chunk_values(self, h: Tree, x: Tensor, shown: Tensor) -> Mapping[str, Tensor]:
        """As `StackedCell.chunk_values`."""


class StackedCell(Cell):
    """A cell whose gates are affine in h and x, with their weights stacked as torch stacks them.

    Gate k has rows k D .. (k + 1) D of every parameter; the subclass states their order.

    Attributes:
        weight_ih: (G D, E) acts on x.
        weight_hh: (G D, D) acts on h.
        bias_ih: (G D,) added to the first product.
        bias_hh: (G D,) added to the second product.
        value_names: the names of what is inside, beside what the cell shows.
    """

    value_names: ClassVar[tuple[str, ...]] = ()

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

    @property
    def mask(self) -> None:
        """A cell by itself leaves nothing out."""
        return None

    @property
    def owner(self) -> "StackedCell":
        """Itself."""
        return self

    def project_input(self, x: Tensor) -> Tensor:
        """(..., G D) W x + b_W of all gates."""
        return F.linear(x, self.weight_ih, self.bias_ih)

    def project_hidden(self, h: Tensor, u: Tensor | None = None) -> Tensor:
        """(..., G D) U h + b_U of all gates; u in place of U, if given."""
        return F.linear(h, self.weight_hh if u is None else u, self.bias_hh)

    def forward(self, h: Tree, x: Tensor) -> Tree:
        return self.make_fold()(h, self.project_input(x))

    def make_fold(self, u: Tensor | None = None, mask: Tensor | None = None) -> Fold:
        """`fold` for the steps of one chunk.

        Args:
            u: (G D, D) in place of U.
            mask: (B, D) what h is multiplied by where it meets U.
        """
        parts = self.split(self.weight_hh if u is None else u)
        return lambda h, wx: self.fold(h, wx, parts, mask)

    def split(self, u: Tensor) -> Sequence[Tensor]:
        """The parts of U that products are made with: all of it at once.

        They are split once a chunk. A slice at every step would cost a gradient as large as U.
        """
        return (u,)

    @abstractmethod
    def fold(self, h: Tree, wx: Tensor, u: Sequence[Tensor], mask: Tensor | None) -> Tree:
        """The state after an element of which the gates get wx, as `project_input` makes it.

        Args:
            h: the state before.
            wx: (B, G D).
            u: as `split` makes it.
            mask: (B, D) what h is multiplied by where it meets U; None: nothing.
        """

    def inner_values(self, h: Tree, x: Tensor, after: Tree) -> Mapping[str, Tensor]:
        return self.step_values(h, self.project_input(x), after)

    def step_values(self, h: Tree, wx: Tensor, after: Tree) -> Mapping[str, Tensor]:
        """`inner_values`, of what the gates get of x: every name in `value_names`."""
        return {}

    def chunk_values(
        self,
        h: Tree,
        x: Tensor,
        shown: Tensor,
        u: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """What was inside at every step of a chunk of which only what it showed is known.

        That is enough: a gate is a function of x_t and h_{t-1}, so all are one product and a
        nonlinearity; whatever else is folded, is folded from the gates.

        Args:
            h: the state before the chunk.
            x: (B, L, E).
            shown: (B, L, D) the hidden state after each element.
            u: (G D, D) in place of U.
            mask: (B, D) what h is multiplied by where it meets U.

        Returns:
            For every name in `value_names` (B, L, D).
        """
        return {}


def _before(first: Tensor, shown: Tensor, mask: Tensor | None) -> Tensor:
    """(B, L, D) the hidden state before each element, times the mask."""
    before = torch.cat([first[:, None].to(shown.dtype), shown[:, :-1]], 1)
    return before if mask is None else before * mask[:, None]


@dataclass(frozen=True)
class DroppedCell:
    """A cell of which a chunk of training leaves something out.

    Attributes:
        cell: the whole one.
        weight_hh: (G D, D) what is left of U, scaled up (DropConnect: Wan et al. 2013).
        mask: (B, D) 0 or 1 / (1 - p): what is left of h where it meets U, the same units at
            every step (Gal, Ghahramani 2016, equation 7); None: all of it.
    """

    cell: StackedCell
    weight_hh: Tensor
    mask: Tensor | None

    @property
    def hidden_size(self) -> int:
        """D."""
        return self.cell.hidden_size

    @property
    def weights(self) -> list[Tensor]:
        """The cell's, with what is left of U."""
        return [self.cell.weight_ih, self.weight_hh, self.cell.bias_ih, self.cell.bias_hh]

    def project_input(self, x: Tensor) -> Tensor:
        """The cell's own."""
        return self.cell.project_input(x)

    def make_fold(self) -> Fold:
        """The cell's own, thinned."""
        return self.cell.make_fold(self.weight_hh, self.mask)

    def output(self, h: Tree) -> Tensor:
        """The cell's own."""
        return self.cell.output(h)

    @property
    def owner(self) -> StackedCell:
        """The whole cell."""
        return self.cell

    def chunk_values(self, h: Tree, x: Tensor, shown: Tensor) -> Mapping[str, Tensor]:
        """The cell's own, thinned."""
        return self.cell.chunk_values(h, x, shown, self.weight_hh, self.mask)


def _masked(h: Tensor, mask: Tensor | None) -> Tensor:
    return h if mask is None else h * mask


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

    def fold(self, h: Tensor, wx: Tensor, u: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        return self.nonlinearity(wx + self.project_hidden(_masked(h, mask), *u))


class LayerNormRNNCell(RNNCell):
    """The simple recurrent network with layer normalization (Ba et al. 2016, equation 4).

        a_t = W x_t + U h_{t-1}
        h_t = tanh(LN(a_t; gain, b_W + b_U)),     LN(a; g, b) = g * (a - mean(a)) / sd(a) + b

    Attributes:
        gain: (D,).
    """

    def __init__(
        self, input_size: int, hidden_size: int, nonlinearity: Literal["tanh", "relu"] = "tanh"
    ) -> None:
        super().__init__(input_size, hidden_size, nonlinearity)
        self.gain = nn.Parameter(torch.ones(hidden_size))

    def project_input(self, x: Tensor) -> Tensor:
        """(..., D) W x."""
        return F.linear(x, self.weight_ih)

    def project_hidden(self, h: Tensor, u: Tensor | None = None) -> Tensor:
        """(..., D) U h."""
        return F.linear(h, self.weight_hh if u is None else u)

    def fold(self, h: Tensor, wx: Tensor, u: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        a = wx + self.project_hidden(_masked(h, mask), *u)
        return self.nonlinearity(_layer_norm(a, self.gain, self.bias_ih + self.bias_hh))


def _layer_norm(a: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Over the last axis (Ba et al. 2016, equation 3)."""
    return F.layer_norm(a, gain.shape, gain, bias)


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

    value_names = ("forget", "input", "output", "candidate", "cell")

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
        return self._gates(self.project_input(x) + self.project_hidden(h))

    def fold(
        self, h: tuple[Tensor, Tensor], wx: Tensor, u: Sequence[Tensor], mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        hidden, cell = h
        gates = self._gates(wx + self.project_hidden(_masked(hidden, mask), *u))
        cell = gates.forget * cell + gates.input * gates.update
        return gates.output * self.normalize_cell(cell).tanh(), cell

    def step_values(
        self, h: tuple[Tensor, Tensor], wx: Tensor, after: tuple[Tensor, Tensor]
    ) -> Mapping[str, Tensor]:
        """The gates, c~ by the name of candidate, and the cell."""
        return {**_by_name(self._gates(wx + self.project_hidden(h[0]))), "cell": after[1]}

    def chunk_values(
        self,
        h: tuple[Tensor, Tensor],
        x: Tensor,
        shown: Tensor,
        u: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """The gates by one product, and c_t = f_t * c_{t-1} + i_t * c~_t from them."""
        product = self.project_hidden(_before(h[0], shown, mask), u)
        gates = self._gates(product.add_(self.project_input(x)))
        cell = scan(gates.forget, gates.input * gates.update, h[1])
        return {**_by_name(gates), "cell": cell}

    def normalize_cell(self, cell: Tensor) -> Tensor:
        """(..., D) what the output gate is given of c_t, before its tanh: all of it."""
        return cell

    def _gates(self, a: Tensor) -> LSTMGates:
        i, f, c, o = a.chunk(4, -1)
        return LSTMGates(forget=f.sigmoid(), input=i.sigmoid(), output=o.sigmoid(), update=c.tanh())


def _by_name(gates: LSTMGates) -> Mapping[str, Tensor]:
    return {
        "forget": gates.forget,
        "input": gates.input,
        "output": gates.output,
        "candidate": gates.update,
    }


class LayerNormLSTMCell(LSTMCell):
    """Long short-term memory with layer normalization (Ba et al. 2016, equations 20 to 22).

        (a_f, a_i, a_o, a_c) = LN(W x_t; g_W, b_W) + LN(U h_{t-1}; g_U, b_U)     over all 4 D
        c_t = sigmoid(a_f) * c_{t-1} + sigmoid(a_i) * tanh(a_c)
        h_t = sigmoid(a_o) * tanh(LN(c_t; g_c, b_c))

    Attributes:
        gain_ih: (4 D,) g_W.
        gain_hh: (4 D,) g_U.
        gain_cell: (D,) g_c.
        bias_cell: (D,) b_c.
    """

    def __init__(self, input_size: int, hidden_size: int, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size, forget_bias)
        self.gain_ih = nn.Parameter(torch.ones(4 * hidden_size))
        self.gain_hh = nn.Parameter(torch.ones(4 * hidden_size))
        self.gain_cell = nn.Parameter(torch.ones(hidden_size))
        self.bias_cell = nn.Parameter(torch.zeros(hidden_size))

    def project_input(self, x: Tensor) -> Tensor:
        """(..., 4 D) LN(W x; g_W, b_W)."""
        return _layer_norm(F.linear(x, self.weight_ih), self.gain_ih, self.bias_ih)

    def project_hidden(self, h: Tensor, u: Tensor | None = None) -> Tensor:
        """(..., 4 D) LN(U h; g_U, b_U)."""
        product = F.linear(h, self.weight_hh if u is None else u)
        return _layer_norm(product, self.gain_hh, self.bias_hh)

    def normalize_cell(self, cell: Tensor) -> Tensor:
        """(..., D) LN(c_t; g_c, b_c)."""
        return _layer_norm(cell, self.gain_cell, self.bias_cell)


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

    value_names = ("reset", "update", "candidate")

    def __init__(
        self, input_size: int, hidden_size: int, reset: Literal["before", "after"] = "after"
    ) -> None:
        super().__init__(input_size, hidden_size, num_gates=3)
        self.resets_before = reset == "before"

    def gates(self, h: Tensor, x: Tensor) -> GRUGates:
        """The gates from h_{t-1} (..., D) and x_t (..., E)."""
        return self._gates(h, self.project_input(x), self.split(self.weight_hh))

    def step_values(self, h: Tensor, wx: Tensor, after: Tensor) -> Mapping[str, Tensor]:
        """The gates and the candidate."""
        return self._gates(h, wx, self.split(self.weight_hh))._asdict()

    def chunk_values(
        self,
        h: Tensor,
        x: Tensor,
        shown: Tensor,
        u: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """The gates by one product (two, if the reset comes before it)."""
        parts = self.split(self.weight_hh if u is None else u)
        return self._gates(_before(h, shown, mask), self.project_input(x), parts)._asdict()

    def split(self, u: Tensor) -> Sequence[Tensor]:
        """The rows of the reset and the update gate, and those of the candidate."""
        return u.split_with_sizes([2 * self.hidden_size, self.hidden_size])

    def fold(self, h: Tensor, wx: Tensor, u: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        gates = self._gates(_masked(h, mask), wx, u)
        return gates.update * h + (1 - gates.update) * gates.candidate

    def project_hidden_gates(self, h: Tensor, u: Tensor) -> Tensor:
        """(..., 2 D) U h + b_U of the reset and the update gate, u (2 D, D) their rows."""
        return F.linear(h, u, self.bias_hh[: 2 * self.hidden_size])

    def project_hidden_candidate(self, h: Tensor, u: Tensor) -> Tensor:
        """(..., D) U h + b_U of the candidate, u (D, D) its rows."""
        return F.linear(h, u, self.bias_hh[2 * self.hidden_size :])

    def _gates(self, h: Tensor, wx: Tensor, u: Sequence[Tensor]) -> GRUGates:
        u_gates, u_candidate = u
        w_r, w_z, w_n = wx.chunk(3, -1)
        u_r, u_z = self.project_hidden_gates(h, u_gates).chunk(2, -1)
        r = (w_r + u_r).sigmoid()
        if self.resets_before:
            n = w_n + self.project_hidden_candidate(r * h, u_candidate)
        else:
            n = w_n + r * self.project_hidden_candidate(h, u_candidate)
        return GRUGates(reset=r, update=(w_z + u_z).sigmoid(), candidate=n.tanh())


class LayerNormGRUCell(GRUCell):
    """The gated recurrent unit with layer normalization (Ba et al. 2016, equations 26 to 28).

        (a_r, a_z) = LN(W_g x_t; ..) + LN(U_g h_{t-1}; ..)            the two gates together
        h~_t = tanh(LN(W x_t; ..) + sigmoid(a_r) * LN(U h_{t-1}; ..))           reset "after"
        h~_t = tanh(LN(W x_t; ..) + LN(U (sigmoid(a_r) * h_{t-1}); ..))         reset "before"
        h_t  = z_t * h_{t-1} + (1 - z_t) * h~_t

    Every LN has gains and a bias of its own: the rows of gain_ih and bias_ih for products with
    W, those of gain_hh and bias_hh for products with U. The paper's z_t is our 1 - z_t.

    Attributes:
        gain_ih: (3 D,).
        gain_hh: (3 D,).
    """

    def __init__(
        self, input_size: int, hidden_size: int, reset: Literal["before", "after"] = "after"
    ) -> None:
        super().__init__(input_size, hidden_size, reset)
        self.gain_ih = nn.Parameter(torch.ones(3 * hidden_size))
        self.gain_hh = nn.Parameter(torch.ones(3 * hidden_size))

    def project_input(self, x: Tensor) -> Tensor:
        """(..., 3 D) of the gates and of the candidate."""
        rows = 2 * self.hidden_size
        product = F.linear(x, self.weight_ih)
        gates = _layer_norm(product[..., :rows], self.gain_ih[:rows], self.bias_ih[:rows])
        candidate = _layer_norm(product[..., rows:], self.gain_ih[rows:], self.bias_ih[rows:])
        return torch.cat([gates, candidate], -1)

    def project_hidden_gates(self, h: Tensor, u: Tensor) -> Tensor:
        """(..., 2 D) LN(U_g h)."""
        rows = 2 * self.hidden_size
        return _layer_norm(F.linear(h, u), self.gain_hh[:rows], self.bias_hh[:rows])

    def project_hidden_candidate(self, h: Tensor, u: Tensor) -> Tensor:
        """(..., D) LN(U h)."""
        rows = 2 * self.hidden_size
        return _layer_norm(F.linear(h, u), self.gain_hh[rows:], self.bias_hh[rows:])
