"""Recurrent networks over symbols: RNN, LSTM and GRU, what they keep is a hidden state.

    e_t = E[x_t],   h_t^1 = g(h_{t-1}^1, e_t),   h_t^l = g(h_{t-1}^l, h_t^{l-1}),
    p(x_{t+1}) = softmax(V h_t^top + b)

`layers.cells` has g as equations. Here is only how to run it fast, on the same weights: a
kernel for each kind of cell, chosen by what the chunk asks for. The kernels agree to rounding.

Shapes: B rows, L elements of a chunk, E and D features of an embedding and of a layer,
N layers, V symbols.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim import tree
from seriatim.batch import valid_mask
from seriatim.distributions import Categorical
from seriatim.families.configuration import GRU, LSTM, RNN, RecurrentConfig
from seriatim.layers.cells import GRUCell, LSTMCell, RNNCell, StackedCell
from seriatim.model import Carry, SequenceModel
from seriatim.tree import Tree

Cells: TypeAlias = Sequence[StackedCell]

# Added to a gate before its sigmoid, it is 1 or 0 exactly in any precision down to float16.
SATURATING = 1e4


# ---- kernels ------------------------------------------------------------------------------------


class Kernel(ABC):
    """How layers of one kind run fast, on the weights of their reference cells."""

    @abstractmethod
    def step(self, cell: Any, h: Tree, x: Tensor) -> Tree:
        """The state of one layer after one element x (B, E)."""

    @abstractmethod
    def chunk(self, cells: Cells, carry: Carry, x: Tensor, dropout: float) -> tuple[Tensor, Carry]:
        """All layers over x (B, L, E), with dropout between them: outputs (B, L, D) and the
        carry after element L of every row."""

    @abstractmethod
    def ragged(self, cell: Any, h: Tree, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tree]:
        """One layer over x (B, L, E): outputs (B, L, D) and the state after each row's last
        valid element, the old one where there is none."""


class HiddenKernel(Kernel):
    """Layers whose state is what they put out, h (B, D)."""

    @abstractmethod
    def layers(self, cells: Cells, h: Tensor, x: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        """As `chunk`, with the states as one tensor (N, B, D)."""

    def chunk(self, cells: Cells, carry: Carry, x: Tensor, dropout: float) -> tuple[Tensor, Carry]:
        outputs, h = self.layers(cells, torch.stack(carry), x, dropout)
        return outputs, h.unbind()

    def ragged(self, cell: Any, h: Tensor, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        outputs, _ = self.layers([cell], h[None], x, 0.0)
        return outputs, _last_valid(outputs, lengths, h)


class TanhKernel(HiddenKernel):
    """The RNN with tanh."""

    def step(self, cell: RNNCell, h: Tensor, x: Tensor) -> Tensor:
        return torch.rnn_tanh_cell(x, h, *cell.weights)

    def layers(self, cells: Cells, h: Tensor, x: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        return torch.rnn_tanh(x, h, *_options(cells, dropout))


class ReluKernel(HiddenKernel):
    """The RNN with relu."""

    def step(self, cell: RNNCell, h: Tensor, x: Tensor) -> Tensor:
        return torch.rnn_relu_cell(x, h, *cell.weights)

    def layers(self, cells: Cells, h: Tensor, x: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        return torch.rnn_relu(x, h, *_options(cells, dropout))


class GRUAfterKernel(HiddenKernel):
    """The GRU with its reset after the product, as torch has it."""

    def step(self, cell: GRUCell, h: Tensor, x: Tensor) -> Tensor:
        return torch.gru_cell(x, h, *cell.weights)

    def layers(self, cells: Cells, h: Tensor, x: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        return torch.gru(x, h, *_options(cells, dropout))


class GRUBeforeKernel(HiddenKernel):
    """The GRU with its reset before the product: no fused kernel exists.

    The products with x are made for all steps at once, and only those with h one by one.
    """

    def step(self, cell: GRUCell, h: Tensor, x: Tensor) -> Tensor:
        return self._layer(cell, h, x[:, None])[:, 0]

    def layers(self, cells: Cells, h: Tensor, x: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        last = []
        for i, cell in enumerate(cells):
            x = self._layer(cell, h[i], F.dropout(x, dropout, i > 0))
            last.append(x[:, -1])
        return x, torch.stack(last)

    def _layer(self, cell: StackedCell, h: Tensor, x: Tensor) -> Tensor:
        split = [2 * cell.hidden_size, cell.hidden_size]
        u_gates, u_candidate = (u.t() for u in torch.split(cell.weight_hh, split))
        projected = F.linear(x, cell.weight_ih, cell.bias_ih + cell.bias_hh)
        w_gates, w_candidate = torch.split(projected, split, -1)
        outputs = []
        for gates, candidate in zip(w_gates.unbind(1), w_candidate.unbind(1), strict=True):
            r, z = torch.addmm(gates, h, u_gates).sigmoid().chunk(2, -1)
            h = torch.lerp(torch.addmm(candidate, r * h, u_candidate).tanh(), h, z)
            outputs.append(h)
        return torch.stack(outputs, 1)


class LSTMKernel(Kernel):
    """The LSTM, whose state (h, c) holds more than it puts out."""

    def step(self, cell: LSTMCell, h: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.lstm_cell(x, h, *cell.weights)

    def chunk(self, cells: Cells, carry: Carry, x: Tensor, dropout: float) -> tuple[Tensor, Carry]:
        hidden, memory = zip(*carry, strict=True)
        state = (torch.stack(hidden), torch.stack(memory))
        outputs, h, c = torch.lstm(x, state, *_options(cells, dropout))
        return outputs, tuple(zip(h.unbind(), c.unbind(), strict=True))

    def ragged(
        self, cell: LSTMCell, h: tuple[Tensor, Tensor], x: Tensor, lengths: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The cell after the last valid element, from the padded kernel.

        It does not show c_t, and packing the rows would take twice the time. So x gets one more
        feature, 1 at padding, that opens the forget gate and shuts the input gate entirely:
        c_t = 1 c_{t-1} + 0 c~_t stands still until the end.
        """
        hidden, memory = h
        padding = ~valid_mask(lengths, x.shape[1]).to(x.device)
        marked = torch.cat([x, padding[..., None].to(x.dtype)], -1)
        shut, opened, untouched = (
            cell.bias_ih.new_full((cell.hidden_size,), a) for a in (-SATURATING, SATURATING, 0.0)
        )
        column = torch.cat([shut, opened, untouched, untouched])[:, None]
        weights = [torch.cat([cell.weight_ih, column], -1), *cell.weights[1:]]
        outputs, _, memory = torch.lstm(
            marked, (hidden[None], memory[None]), weights, True, 1, 0.0, False, False, True
        )
        return outputs, (_last_valid(outputs, lengths, hidden), memory[0])


def _options(
    cells: Cells, dropout: float
) -> tuple[list[Tensor], bool, int, float, bool, bool, bool]:
    """(weights, with biases, N, dropout, is training, is bidirectional, is batch first)."""
    weights = [weight for cell in cells for weight in cell.weights]
    return weights, True, len(cells), dropout, dropout > 0, False, True


def _last_valid(outputs: Tensor, lengths: Tensor, old: Tensor) -> Tensor:
    """(B, D) of outputs (B, L, D), each row's last valid one; `old` (B, D) where it has none."""
    n = lengths.to(outputs.device)
    last = outputs[torch.arange(len(n), device=outputs.device), (n - 1).clamp(min=0)]
    return torch.where((n > 0)[:, None], last, old)


# ---- the model ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A kind of layer: its equations, as made from (input_size, hidden_size), and its kernel."""

    cell: Callable[[int, int], StackedCell]
    kernel: Kernel


def _rnn(config: RNN) -> Kind:
    kernels: Mapping[str, Kernel] = {"tanh": TanhKernel(), "relu": ReluKernel()}
    cell = partial(RNNCell, nonlinearity=config.nonlinearity)
    return Kind(cell, kernels[config.nonlinearity])


def _lstm(config: LSTM) -> Kind:
    return Kind(partial(LSTMCell, forget_bias=config.forget_bias), LSTMKernel())


def _gru(config: GRU) -> Kind:
    kernels: Mapping[str, Kernel] = {"before": GRUBeforeKernel(), "after": GRUAfterKernel()}
    return Kind(partial(GRUCell, reset=config.reset), kernels[config.reset])


KINDS: Mapping[type[RecurrentConfig], Callable[[Any], Kind]] = {RNN: _rnn, LSTM: _lstm, GRU: _gru}


class Recurrent(SequenceModel):
    """A language model of recurrent layers. The carry is one state per layer, in a tuple.

    Attributes:
        config: what it was built from.
        embedding: (V, E).
        layers: the reference cells of the N layers, which hold the weights; `gates` of a cell
            gives what is inside of it, for one step or for all steps of known hidden states.
        initial: the learned parts of the state before the first element, (1, D) each; None:
            zeros.
        head: (V, D) and its bias; `tie_embeddings` makes its weight that of the embedding.
    """

    def __init__(self, config: RecurrentConfig, num_symbols: int, boundary: int) -> None:
        super().__init__(num_symbols, boundary)
        self.config = config
        size = config.hidden_size
        width = config.embedding_size or size
        kind = KINDS[type(config)](config)
        self.kernel = kind.kernel
        self.embedding = nn.Embedding(num_symbols, width)
        self.layers: Any = nn.ModuleList(
            kind.cell(size if i else width, size) for i in range(config.num_layers)
        )
        self.initial = self._learned_initial() if config.learn_initial_state else None
        self.head = nn.Linear(size, num_symbols)
        nn.init.zeros_(self.head.bias)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
            # As inputs they would be N(0, 1), as output weights N(0, 1/D): half way between.
            nn.init.normal_(self.embedding.weight, std=size**-0.25)

    def _learned_initial(self) -> nn.ParameterList:
        return nn.ParameterList(
            nn.Parameter(part.clone())  # a cell may give one tensor for two parts
            for cell in self.layers
            for part in tree.leaves(cell.initial(1))
        )

    def empty(
        self, batch_size: int, *, given: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        if self.initial is None:
            return tuple(cell.initial(batch_size) for cell in self.layers)
        parts = iter(self.initial)
        return tuple(
            tree.map_leaves(lambda _: next(parts).repeat(batch_size, 1), cell.initial(1))
            for cell in self.layers
        )

    def advance(
        self, carry: Carry, x: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        inputs = self._dropped(self.embedding(x))
        if x.shape[1] == 1:
            outputs, carry = self._step(carry, inputs, lengths)
        elif lengths is None:
            outputs, carry = self.kernel.chunk(self.layers, carry, inputs, self._dropout)
        elif keep:
            outputs, carry = self._ragged(carry, inputs, lengths)
        else:
            # What a row's padding does to its state is of no interest, and causality keeps it
            # from the features before: the fastest kernel will do.
            outputs, _ = self.kernel.chunk(self.layers, carry, inputs, self._dropout)
            carry = None
        return self._dropped(outputs), carry

    def emit(self, features: Tensor) -> Categorical:
        return Categorical(self.head(features))

    def _step(self, carry: Carry, inputs: Tensor, lengths: Tensor | None) -> tuple[Tensor, Carry]:
        """One element: inputs (B, 1, E)."""
        x = inputs[:, 0]
        after = []
        for i, (cell, h) in enumerate(zip(self.layers, carry, strict=True)):
            after.append(self.kernel.step(cell, h, self._dropped(x) if i else x))
            x = cell.output(after[-1])
        if lengths is None:
            return x[:, None], tuple(after)
        valid = (lengths > 0).to(x.device)[:, None]
        kept = tree.map_leaves(lambda new, old: torch.where(valid, new, old), tuple(after), carry)
        return x[:, None], kept

    def _ragged(self, carry: Carry, x: Tensor, lengths: Tensor) -> tuple[Tensor, Carry]:
        """Layer by layer: only a layer's own outputs tell its state where a row ended."""
        after = []
        for i, (cell, h) in enumerate(zip(self.layers, carry, strict=True)):
            x, h = self.kernel.ragged(cell, h, self._dropped(x) if i else x, lengths)
            after.append(h)
        return x, tuple(after)

    @property
    def _dropout(self) -> float:
        return self.config.dropout if self.training else 0.0

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self._dropout) if self._dropout else x
