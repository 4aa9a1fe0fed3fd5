"""Cells: one step of a recurrent network, h_t = g(h_{t-1}, x_t).

The three textbook cells are written as their equations, with named gates, and are the reference
that the tests hold the fast kernels to. Their weights are laid out as torch's own kernels expect,
so both use the same parameters. Each cell also comes with layer normalization (Ba et al. 2016),
and with dropout of units of the state or of weights that act on it. A cell knows nothing of time,
symbols, ragged rows or kernels.

Shapes: B rows, L steps of a chunk, E features of the input (input_size), D features of the state
(hidden_size), G gates; `...` any leading axes.
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

Fold: TypeAlias = Callable[[Tree, Tensor], Tree]  # maps h_{t-1} and wx_t to h_t


class Cell(nn.Module, ABC):
    """One step of a recurrent network: write `forward`, and `Latent` makes it a sequence model.

    The state h is a tensor (B, D), or any tree of tensors with B in axis 0, which needs its own
    `initial`, and its own `output` unless the layer above reads the first part.

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
        """h_t = g(h_{t-1}, x_t) for x_t (B, E): a new state, and the old one is unchanged."""

    def initial(self, batch_size: int) -> Tree:
        """h_0: by default zeros (B, D) on the device and in the precision of the weights."""
        weight = next(self.parameters(), torch.empty(0))
        return weight.new_zeros(batch_size, self.hidden_size)

    def output(self, h: Tree) -> Tensor:
        """(B, D) the part of the state that is read from outside: h, or h[0] of a tuple."""
        output: Tensor = h[0] if isinstance(h, tuple) else h
        return output

    def inner_values(self, h: Tree, x: Tensor, after: Tree) -> Mapping[str, Tensor]:
        """Values of a step for recorders beside the output, such as gates: by default none.

        Args:
            h: h_{t-1}.
            x: x_t, (B, E).
            after: h_t, as `forward` computed it.

        Returns:
            The values by name, (B, ...) each.
        """
        return {}


class Layer(Protocol):
    """What kernels run: a cell, or a cell with dropout for one chunk of training."""

    @property
    def owner(self) -> "StackedCell":
        """The cell that holds the weights."""

    @property
    def hidden_size(self) -> int:
        """D."""

    @property
    def weights(self) -> list[Tensor]:
        """W, U, b_W, b_U in the order of torch's kernels."""

    @property
    def mask(self) -> Tensor | None:
        """(B, D) the factors of h in the product with U; None: ones."""

    def project_input(self, x: Tensor) -> Tensor:
        """(..., G D) wx, the inputs of the gates from x (..., E)."""

    def make_fold(self) -> Fold:
        """The step function of one chunk: maps h_{t-1} and wx_t (B, G D) to h_t."""

    def output(self, h: Tree) -> Tensor:
        """(B, D) the output of a state."""

    def chunk_values(self, h: Tree, x: Tensor, outputs: Tensor) -> Mapping[str, Tensor]:
        """As `StackedCell.chunk_values`."""


class StackedCell(Cell):
    """A cell whose gates are affine in h and x, with their weights stacked as in torch.

    Gate k has rows k D .. (k + 1) D of every parameter; the subclass states the order.

    Attributes:
        weight_ih: W, (G D, E), which acts on x.
        weight_hh: U, (G D, D), which acts on h.
        bias_ih: b_W, (G D,), added to W x.
        bias_hh: b_U, (G D,), added to U h.
        value_names: the names of the inner values, such as gates, that recorders can ask for.
    """

    value_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, input_size: int, hidden_size: int, num_gates: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(num_gates * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(num_gates * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(num_gates * hidden_size))
        self.bias_hh = nn.Parameter(torch.zeros(num_gates * hidden_size))
        # Each gate alone: Glorot's bound for a stack of four would be too narrow for one gate.
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
        """A cell by itself has no dropout."""
        return None

    @property
    def owner(self) -> "StackedCell":
        """This cell."""
        return self

    def project_input(self, x: Tensor) -> Tensor:
        """(..., G D) wx = W x + b_W of all gates, for x (..., E)."""
        return F.linear(x, self.weight_ih, self.bias_ih)

    def project_hidden(self, h: Tensor, u: Tensor | None = None) -> Tensor:
        """(..., G D) U h + b_U of all gates, for h (..., D); u is used instead of U if given."""
        return F.linear(h, self.weight_hh if u is None else u, self.bias_hh)

    def forward(self, h: Tree, x: Tensor) -> Tree:
        return self.make_fold()(h, self.project_input(x))

    def make_fold(self, u: Tensor | None = None, mask: Tensor | None = None) -> Fold:
        """The step function of one chunk: maps h_{t-1} and wx_t to h_t.

        Args:
            u: (G D, D) used instead of U.
            mask: (B, D) the factors of h in the product with U; None: ones.
        """
        parts = self.split(self.weight_hh if u is None else u)
        return lambda h, wx: self.fold(h, wx, parts, mask)

    def split(self, u: Tensor) -> Sequence[Tensor]:
        """The row blocks of U (G D, D) that `fold` multiplies with: by default U as a whole.

        It is split once for each chunk. A slice at every step would cost a gradient as large as U.
        """
        return (u,)

    @abstractmethod
    def fold(self, h: Tree, wx: Tensor, u: Sequence[Tensor], mask: Tensor | None) -> Tree:
        """h_t.

        Args:
            h: h_{t-1}.
            wx: (B, G D), `project_input` of x_t.
            u: `split` of U.
            mask: (B, D) the factors of h in the product with U; None: ones.
        """

    def chunk_values(
        self,
        h: Tree,
        x: Tensor,
        outputs: Tensor,
        u: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """The inner values of every step of a chunk, from its outputs alone.

        Outputs are enough: a gate is a function of x_t and h_{t-1}, so the gates of all steps are
        one product and a nonlinearity, and other parts of the state are folded from the gates.

        Args:
            h: the state before the chunk.
            x: (B, L, E).
            outputs: (B, L, D) the hidden state after each element.
            u: (G D, D) used instead of U.
            mask: (B, D) the factors of h in the product with U; None: ones.

        Returns:
            For each of `value_names` (B, L, D).
        """
        return {}


def _before(first: Tensor, outputs: Tensor, mask: Tensor | None) -> Tensor:
    """(B, L, D) the hidden state before each element, times the mask."""
    before = torch.cat([first[:, None].to(outputs.dtype), outputs[:, :-1]], 1)
    return before if mask is None else before * mask[:, None]


@dataclass(frozen=True)
class DroppedCell:
    """A cell with dropout for one chunk of training.

    Attributes:
        cell: the cell without dropout.
        weight_hh: (G D, D) U after dropout of weights (DropConnect: Wan et al. 2013).
        mask: (B, D) the factors 0 or 1 / (1 - p) of h in the product with U, the same units at
            every step (Gal, Ghahramani 2016, equation 7); None: ones.
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
        """The cell's, with U after dropout."""
        return [self.cell.weight_ih, self.weight_hh, self.cell.bias_ih, self.cell.bias_hh]

    def project_input(self, x: Tensor) -> Tensor:
        """The cell's own."""
        return self.cell.project_input(x)

    def make_fold(self) -> Fold:
        """The cell's own, with dropout."""
        return self.cell.make_fold(self.weight_hh, self.mask)

    def output(self, h: Tree) -> Tensor:
        """The cell's own."""
        return self.cell.output(h)

    @property
    def owner(self) -> StackedCell:
        """The cell that holds the weights."""
        return self.cell

    def chunk_values(self, h: Tree, x: Tensor, outputs: Tensor) -> Mapping[str, Tensor]:
        """The cell's own, with dropout."""
        return self.cell.chunk_values(h, x, outputs, self.weight_hh, self.mask)


def _masked(h: Tensor, mask: Tensor | None) -> Tensor:
    return h if mask is None else h * mask


# ---- the simple recurrent network ---------------------------------------------------------------

NONLINEARITIES: Mapping[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


class RNNCell(StackedCell):
    """The simple recurrent network (Elman 1990).

        h_t = tanh(W x_t + b_W + U h_{t-1} + b_U)            or relu in place of tanh

    x_t (E,), h_t (D,); W (D, E), U (D, D), b_W and b_U (D,).
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

    forget: Tensor  # f in (0, 1): the fraction of the old cell that stays
    input: Tensor  # i in (0, 1): the fraction of the update that is added
    output: Tensor  # o in (0, 1): the fraction of the cell that is read out
    candidate: Tensor  # c~ in (-1, 1): the update of the cell


class LSTMCell(StackedCell):
    """Long short-term memory (Hochreiter, Schmidhuber 1997; forget gate: Gers et al. 2000).

        f_t  = sigmoid(W_f x_t + U_f h_{t-1} + b_f)          forget gate
        i_t  = sigmoid(W_i x_t + U_i h_{t-1} + b_i)          input gate
        o_t  = sigmoid(W_o x_t + U_o h_{t-1} + b_o)          output gate
        c~_t = tanh(W_c x_t + U_c h_{t-1} + b_c)             candidate
        c_t  = f_t * c_{t-1} + i_t * c~_t
        h_t  = o_t * tanh(c_t)

    x_t (E,), h_t and c_t (D,); each W (D, E), U (D, D), b (D,). The state is (h, c). Weights are
    stacked in torch's order: input, forget, candidate, output.
    """

    value_names = ("forget", "input", "output", "candidate", "cell")

    def __init__(self, input_size: int, hidden_size: int, forget_bias: float = 1.0) -> None:
        """
        Args:
            input_size: E.
            hidden_size: D.
            forget_bias: the initial b_f (Jozefowicz et al. 2015, 2.3).
        """
        super().__init__(input_size, hidden_size, num_gates=4)
        with torch.no_grad():
            self.bias_ih[hidden_size : 2 * hidden_size] = forget_bias

    def initial(self, batch_size: int) -> tuple[Tensor, Tensor]:
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return zeros, torch.zeros_like(zeros)

    def gates(self, h: Tensor, x: Tensor) -> LSTMGates:
        """The gates from h_{t-1} (..., D) and x_t (..., E).

        They do not depend on c_{t-1}, so one call gives the gates of a whole sequence whose hidden
        states are known.
        """
        return self._gates(self.project_input(x) + self.project_hidden(h))

    def fold(
        self, h: tuple[Tensor, Tensor], wx: Tensor, u: Sequence[Tensor], mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        hidden, cell = h
        gates = self._gates(wx + self.project_hidden(_masked(hidden, mask), *u))
        cell = gates.forget * cell + gates.input * gates.candidate
        return gates.output * self.normalize_cell(cell).tanh(), cell

    def inner_values(
        self, h: tuple[Tensor, Tensor], x: Tensor, after: tuple[Tensor, Tensor]
    ) -> Mapping[str, Tensor]:
        """The gates, and c_t."""
        return {**self.gates(h[0], x)._asdict(), "cell": after[1]}

    def chunk_values(
        self,
        h: tuple[Tensor, Tensor],
        x: Tensor,
        outputs: Tensor,
        u: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """The gates by one product, and c_t = f_t * c_{t-1} + i_t * c~_t from these."""
        product = self.project_hidden(_before(h[0], outputs, mask), u)
        gates = self._gates(product.add_(self.project_input(x)))
        cell = scan(gates.forget, gates.input * gates.candidate, h[1])
        return {**gates._asdict(), "cell": cell}

    def normalize_cell(self, cell: Tensor) -> Tensor:
        """(..., D) what the output gate reads of c_t, before the tanh: here c_t itself."""
        return cell

    def _gates(self, a: Tensor) -> LSTMGates:
        i, f, c, o = a.chunk(4, -1)
        return LSTMGates(f.sigmoid(), i.sigmoid(), o.sigmoid(), candidate=c.tanh())


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

    reset: Tensor  # r in (0, 1): the fraction of the old state that the candidate sees
    update: Tensor  # z in (0, 1): the fraction of the old state that stays
    candidate: Tensor  # h~ in (-1, 1): the replacement of the rest


class GRUCell(StackedCell):
    """The gated recurrent unit (Cho et al. 2014, equations 5 to 8).

        r_t  = sigmoid(W_r x_t + U_r h_{t-1} + b_r)                    reset gate
        z_t  = sigmoid(W_z x_t + U_z h_{t-1} + b_z)                    update gate
        h~_t = tanh(W x_t + U (r_t * h_{t-1}) + b)                     reset "before", the paper's
        h~_t = tanh(W x_t + b_W + r_t * (U h_{t-1} + b_U))             reset "after", fused kernels'
        h_t  = z_t * h_{t-1} + (1 - z_t) * h~_t

    x_t (E,), h_t (D,); each W (D, E), U (D, D), b (D,). Weights are stacked in torch's order:
    reset, update, candidate.
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

    def inner_values(self, h: Tensor, x: Tensor, after: Tensor) -> Mapping[str, Tensor]:
        """The gates and the candidate."""
        return self.gates(h, x)._asdict()

    def chunk_values(
        self,
        h: Tensor,
        x: Tensor,
        outputs: Tensor,
        u: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """The gates by one product, or two if the reset comes before."""
        parts = self.split(self.weight_hh if u is None else u)
        return self._gates(_before(h, outputs, mask), self.project_input(x), parts)._asdict()

    def split(self, u: Tensor) -> Sequence[Tensor]:
        """The rows of U of the reset and update gates (2 D, D), and of the candidate (D, D)."""
        return u.split_with_sizes([2 * self.hidden_size, self.hidden_size])

    def fold(self, h: Tensor, wx: Tensor, u: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        gates = self._gates(_masked(h, mask), wx, u)
        return gates.update * h + (1 - gates.update) * gates.candidate

    def project_hidden_gates(self, h: Tensor, u: Tensor) -> Tensor:
        """(..., 2 D) U h + b_U of the reset and update gates, u (2 D, D) being their rows of U."""
        return F.linear(h, u, self.bias_hh[: 2 * self.hidden_size])

    def project_hidden_candidate(self, h: Tensor, u: Tensor) -> Tensor:
        """(..., D) U h + b_U of the candidate, u (D, D) being its rows of U."""
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

    Every LN has its own gains and biases: rows of gain_ih and bias_ih for products with W, rows of
    gain_hh and bias_hh for products with U. The paper's z_t is 1 - z_t here.

    Attributes:
        gain_ih: (3 D,) the gains for products with W.
        gain_hh: (3 D,) the gains for products with U.
    """

    def __init__(
        self, input_size: int, hidden_size: int, reset: Literal["before", "after"] = "after"
    ) -> None:
        super().__init__(input_size, hidden_size, reset)
        self.gain_ih = nn.Parameter(torch.ones(3 * hidden_size))
        self.gain_hh = nn.Parameter(torch.ones(3 * hidden_size))

    def project_input(self, x: Tensor) -> Tensor:
        """(..., 3 D) LN(W x) of the two gates together, and of the candidate."""
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
