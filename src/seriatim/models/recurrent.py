"""Recurrent networks over symbols: RNN, LSTM and GRU, what they keep is a hidden state.

    e_t = E[x_t],   h_t^1 = g(h_{t-1}^1, e_t),   h_t^l = g(h_{t-1}^l, h_t^{l-1}),
    p(x_{t+1}) = softmax(V h_t^top + b)

`layers.cells` has g as equations. Here is only how to run it fast, on the same weights: a
kernel for each kind of cell, chosen by what the chunk asks for. The kernels agree to rounding.
In training, what regularization leaves out is drawn here, once a chunk.

Shapes: B rows, L elements of a chunk, E and D features of an embedding and of a layer,
N layers, V symbols.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core import taps, tree
from seriatim.core.batch import valid_mask
from seriatim.core.distributions import Categorical, LinearCategorical
from seriatim.core.model import Carry, SequenceModel
from seriatim.core.tree import Tree
from seriatim.layers import cells as equations
from seriatim.layers.cells import DroppedCell, Layer, StackedCell
from seriatim.layers.kernels import recurrence, step
from seriatim.layers.kernels.step import ReadyLayer, Watch
from seriatim.layers.recurrent_taps import tap_chunk, tap_step
from seriatim.models.options.recurrent import GRU, LSTM, RNN, RecurrentConfig

Cells: TypeAlias = Sequence[Layer]

# Added to a gate before its sigmoid, it is 1 or 0 exactly in any precision down to float16.
SATURATING = 1e4
# Numbers in a table of what the first layer gets of every symbol: more are not worth making.
TABLE_SIZE = 2**20


# ---- kernels ------------------------------------------------------------------------------------


class Kernel:
    """How layers of one kind run: here any kind, by its equations.

    Attributes:
        by_hand_from: the width from which `layers.recurrence` beats torch's layers in low
            precision; below it its many small operations cost more than the products. None:
            there is no such recurrence.
        columns_from: the width from which it then goes faster with weights by columns.
        trains_by_hand: whether it beats them in full precision as well, where gradients are
            wanted: torch's RNN and GRU add to the gradients of their weights at every step.
    """

    by_hand_from: ClassVar[int | None] = None
    columns_from: ClassVar[int | None] = None
    trains_by_hand: ClassVar[bool] = False

    def step(self, cell: Layer, h: Tree, x: Tensor) -> Tree:
        """The state of one layer after one element x (B, E); masks are not looked at."""
        return cell.folding()(h, cell.of_input(x))

    def ready(self, cell: StackedCell) -> ReadyLayer:
        """The layer for many steps with the weights of this moment."""
        return ReadyLayer(cell.of_input, cell.folding(), cell.output, cell.gated)

    def states(self, cell: Layer, h: Tree, x: Tensor) -> Tree:
        """The states of one layer after each element of x (B, L, E), (B, L, ...).

        The products with x of all steps are made at once.
        """
        fold, after = cell.folding(), []
        for wx in cell.of_input(x).unbind(1):
            h = fold(h, wx)
            after.append(h)
        return tree.map_leaves(lambda *steps: torch.stack(steps, 1), *after)

    def chunk(self, cells: Cells, carry: Carry, x: Tensor, dropout: float) -> tuple[Tensor, Carry]:
        """All layers over x (B, L, E), with dropout between them: outputs (B, L, D) and the
        carry after element L of every row."""
        last = []
        for i, (cell, h) in enumerate(zip(cells, carry, strict=True)):
            states = self.states(cell, h, F.dropout(x, dropout, i > 0))
            x = cell.output(states)
            last.append(tree.map_leaves(lambda t: t[:, -1], states))
        return x, tuple(last)

    def ragged(self, cell: Layer, h: Tree, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tree]:
        """One layer over x (B, L, E): outputs (B, L, D) and the state after each row's last
        valid element, the old one where there is none."""
        states = self.states(cell, h, x)
        return cell.output(states), tree.last_valid(states, lengths, h)


class FusedKernel(Kernel, ABC):
    """Layers that torch has whole, except where their states are needed one by one."""

    @abstractmethod
    def fused(self, cells: Cells, carry: Carry, x: Tensor, dropout: float) -> tuple[Tensor, Carry]:
        """As `chunk`, by torch's own layers."""

    @abstractmethod
    def fused_ragged(self, cell: Layer, h: Tree, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tree]:
        """As `ragged`, by torch's own layers."""

    def needs_states(self, cell: Layer, x: Tensor) -> bool:
        """Whether `states` is the way to run this layer on x: torch's layers know no masks."""
        if cell.mask is not None:
            return True
        if x.device.type != "cpu":
            return False
        if recurrence.is_low_precision(x):
            return self.by_hand_from is not None and cell.hidden_size >= self.by_hand_from
        is_training = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        return self.trains_by_hand and is_training

    @final
    def chunk(self, cells: Cells, carry: Carry, x: Tensor, dropout: float) -> tuple[Tensor, Carry]:
        if any(self.needs_states(cell, x) for cell in cells):
            return super().chunk(cells, carry, x, dropout)
        outputs, after = self.fused(cells, carry, x, dropout)
        return outputs, _as_precise(after, carry)

    @final
    def ragged(self, cell: Layer, h: Tree, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tree]:
        if self.needs_states(cell, x):
            return super().ragged(cell, h, x, lengths)
        outputs, after = self.fused_ragged(cell, h, x, lengths)
        return outputs, _as_precise(after, h)


def _as_precise(new: Tree, old: Tree) -> Tree:
    """Under autocast torch returns states in low precision, and they go on for ever."""
    return tree.map_leaves(lambda a, b: a.to(b.dtype), new, old)


class HiddenKernel(FusedKernel):
    """Layers whose state is what they put out, h (B, D)."""

    @abstractmethod
    def layers(self, cells: Cells, h: Tensor, x: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        """As `fused`, with the states as one tensor (N, B, D)."""

    def fused(self, cells: Cells, carry: Carry, x: Tensor, dropout: float) -> tuple[Tensor, Carry]:
        outputs, h = self.layers(cells, torch.stack(carry), x, dropout)
        return outputs, h.unbind()

    def fused_ragged(
        self, cell: Layer, h: Tensor, x: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        outputs, _ = self.layers([cell], h[None], x, 0.0)
        return outputs, tree.last_valid(outputs, lengths, h)


class RNNKernel(HiddenKernel):
    """The simple recurrent network."""

    by_hand_from = 32
    trains_by_hand = True

    def __init__(self, nonlinearity: Literal["tanh", "relu"]) -> None:
        self.nonlinearity = nonlinearity

    def step(self, cell: Layer, h: Tensor, x: Tensor) -> Tensor:
        is_tanh = self.nonlinearity == "tanh"
        return (torch.rnn_tanh_cell if is_tanh else torch.rnn_relu_cell)(x, h, *cell.weights)

    def ready(self, cell: StackedCell) -> ReadyLayer:
        return step.ready_rnn(cell.weights, equations.NONLINEARITIES[self.nonlinearity])

    def layers(self, cells: Cells, h: Tensor, x: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        is_tanh = self.nonlinearity == "tanh"
        return (torch.rnn_tanh if is_tanh else torch.rnn_relu)(x, h, *_options(cells, dropout))

    def states(self, cell: Layer, h: Tensor, x: Tensor) -> Tensor:
        states: Tensor = recurrence.rnn(x, h, cell.weights, cell.mask, self.nonlinearity)
        return states


class GRUKernel(HiddenKernel):
    """The GRU with its reset after the product, as torch has it."""

    by_hand_from = 32
    columns_from = 192
    trains_by_hand = True

    def step(self, cell: Layer, h: Tensor, x: Tensor) -> Tensor:
        return torch.gru_cell(x, h, *cell.weights)

    def ready(self, cell: StackedCell) -> ReadyLayer:
        return step.ready_gru(cell.weights)

    def layers(self, cells: Cells, h: Tensor, x: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        return torch.gru(x, h, *_options(cells, dropout))

    def states(self, cell: Layer, h: Tensor, x: Tensor) -> Tensor:
        states: Tensor = recurrence.gru(x, h, cell.weights, cell.mask)
        return states


class LSTMKernel(FusedKernel):
    """The LSTM, whose state (h, c) holds more than it puts out."""

    by_hand_from = columns_from = 448

    def step(self, cell: Layer, h: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.lstm_cell(x, h, *cell.weights)

    def ready(self, cell: StackedCell) -> ReadyLayer:
        return step.ready_lstm(cell.weights)

    def fused(self, cells: Cells, carry: Carry, x: Tensor, dropout: float) -> tuple[Tensor, Carry]:
        hidden, memory = zip(*carry, strict=True)
        state = (torch.stack(hidden), torch.stack(memory))
        outputs, h, c = torch.lstm(x, state, *_options(cells, dropout))
        return outputs, tuple(zip(h.unbind(), c.unbind(), strict=True))

    def fused_ragged(
        self, cell: Layer, h: tuple[Tensor, Tensor], x: Tensor, lengths: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The cell after the last valid element, from the padded kernel.

        It does not show c_t, and packing the rows would take twice the time. So x gets one more
        feature, 1 at padding, that opens the forget gate and shuts the input gate entirely:
        c_t = 1 c_{t-1} + 0 c~_t stands still until the end.
        """
        hidden, memory = h
        padding = ~valid_mask(lengths, x.shape[1]).to(x.device)
        marked = torch.cat([x, padding[..., None].to(x.dtype)], -1)
        w, *others = cell.weights
        shut, opened, untouched = (
            w.new_full((cell.hidden_size,), a) for a in (-SATURATING, SATURATING, 0.0)
        )
        column = torch.cat([shut, opened, untouched, untouched])[:, None]
        weights = [torch.cat([w, column], -1), *others]
        outputs, _, memory = torch.lstm(
            marked, (hidden[None], memory[None]), weights, True, 1, 0.0, False, False, True
        )
        return outputs, (tree.last_valid(outputs, lengths, hidden), memory[0])

    def states(self, cell: Layer, h: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        states: tuple[Tensor, Tensor] = recurrence.lstm(x, *h, cell.weights, cell.mask)
        return states


def _options(
    cells: Cells, dropout: float
) -> tuple[list[Tensor], bool, int, float, bool, bool, bool]:
    """(weights, with biases, N, dropout, is training, is bidirectional, is batch first)."""
    weights = [weight for cell in cells for weight in cell.weights]
    return weights, True, len(cells), dropout, dropout > 0, False, True


# ---- the model ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CellKind:
    """A kind of layer: its equations, as made from (input_size, hidden_size), and its kernel."""

    cell: Callable[[int, int], StackedCell]
    kernel: Kernel


def _rnn(config: RNN) -> CellKind:
    if config.layer_norm:
        normed = partial(equations.LayerNormRNNCell, nonlinearity=config.nonlinearity)
        return CellKind(normed, Kernel())
    cell = partial(equations.RNNCell, nonlinearity=config.nonlinearity)
    return CellKind(cell, RNNKernel(config.nonlinearity))


def _lstm(config: LSTM) -> CellKind:
    if config.layer_norm:
        normed = partial(equations.LayerNormLSTMCell, forget_bias=config.forget_bias)
        return CellKind(normed, Kernel())
    return CellKind(partial(equations.LSTMCell, forget_bias=config.forget_bias), LSTMKernel())


def _gru(config: GRU) -> CellKind:
    if config.layer_norm:
        return CellKind(partial(equations.LayerNormGRUCell, reset=config.reset), Kernel())
    # torch has no layer for a reset before the product.
    kernels: Mapping[str, Kernel] = {"before": Kernel(), "after": GRUKernel()}
    return CellKind(partial(equations.GRUCell, reset=config.reset), kernels[config.reset])


KINDS: Mapping[type[RecurrentConfig], Callable[[Any], CellKind]] = {
    RNN: _rnn,
    LSTM: _lstm,
    GRU: _gru,
}


@dataclass(frozen=True)
class Ready:
    """What steps need of the weights, as long as those stand.

    Attributes:
        watch: over all weights that went in.
        table: (V, G D) what the first layer gets of every symbol; None: too large to make.
        layers: all layers, each with its cell.
    """

    watch: Watch
    table: Tensor | None
    layers: Sequence[tuple[StackedCell, ReadyLayer]]


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
        self._ready: Ready | None = None
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
        if config.init_uniform is not None:
            self._initialize(config.init_uniform)

    def _initialize(self, bound: float) -> None:
        for name, parameter in self.named_parameters():
            if ".gain" not in name:  # of a norm: it would begin by taking everything away
                nn.init.uniform_(parameter, -bound, bound)

    def _learned_initial(self) -> nn.ParameterList:
        return nn.ParameterList(
            nn.Parameter(part.clone())  # a cell may give one tensor for two parts
            for cell in self.layers
            for part in tree.leaves(cell.initial(1))
        )

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
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
        if x.shape[1] == 1 and not self.training:
            return self._step(carry, x, lengths)
        inputs, layers = self.dropped(self._embedded(x)), self._thinned(x.shape[0])
        # What a row's padding does to its state is of no interest unless that is kept, and
        # causality keeps it from the features before: the fastest kernel will do.
        ends = lengths if keep else None
        if ends is not None or taps.is_on() or self.config.variational_dropout:
            outputs, after = self._by_layers(layers, carry, inputs, lengths, ends)
        else:
            outputs, after = self.kernel.chunk(
                layers, carry, inputs, self._share(self.config.dropout)
            )
        return outputs, after if keep or lengths is None else None

    def emit(self, features: Tensor) -> Categorical:
        head = self.head
        return LinearCategorical(
            self.dropped(features) if self.training else features, head.weight, head.bias
        )

    def column_weights(self) -> list[Tensor]:
        """Those of layers that run by hand, and of a large output layer of its own."""
        size, start = self.config.hidden_size, self.kernel.columns_from
        has_large_head = self.num_symbols > size and not self.config.tie_embeddings
        found = [self.head.weight] if has_large_head else []
        if start is not None and size >= start:
            found += [w for cell in self.layers for w in (cell.weight_ih, cell.weight_hh)]
        return found

    def _step(self, carry: Carry, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Carry]:
        """One element: x (B, 1)."""
        ready, is_recorded = self._ready_layers(x), taps.is_on()
        after, y = [], x.select(1, 0)
        if ready is None:
            y = self.embedding(y)
            for cell, h in zip(self.layers, carry, strict=True):
                after.append(new := self.kernel.step(cell, h, y))
                if is_recorded:
                    tap_step(cell, new, lengths, partial(cell.inside, h, y, new))
                y = cell.output(new)
        else:
            table = ready.table
            wx = None if table is None else table.index_select(0, y)
            y = y if wx is not None else self.embedding(y)
            for (cell, layer), h in zip(ready.layers, carry, strict=True):
                wx = layer.of_input(y) if wx is None else wx
                after.append(new := layer.fold(h, wx))
                if is_recorded:
                    tap_step(cell, new, lengths, partial(layer.inside, h, wx, new))
                y, wx = layer.output(new), None
        if lengths is None:
            return y.unsqueeze(1), tuple(after)
        return y.unsqueeze(1), tree.where_rows(lengths > 0, tuple(after), carry)

    def _ready_layers(self, x: Tensor) -> Ready | None:
        """The weights made ready for steps, where no gradient is asked of them."""
        if torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
            return None
        if torch.compiler.is_compiling():
            return None  # a compiler makes its own preparations, and cannot watch weights
        ready = self._ready
        if ready is None or ready.watch.is_stale():
            layers = [self.kernel.ready(cell) for cell in self.layers]
            watch = Watch(self.embedding, self.layers)
            both = list(zip(self.layers, layers, strict=True))
            ready = self._ready = Ready(watch, self._table(layers[0]), both)
        return ready

    def _table(self, first: ReadyLayer) -> Tensor | None:
        """(V, G D) what the first layer gets of every symbol, if that is not too much to make."""
        embedding: nn.Module = self.embedding  # a derived model may read something else
        size = self.num_symbols * 4 * self.config.hidden_size
        if not isinstance(embedding, nn.Embedding) or size > TABLE_SIZE:
            return None
        return first.of_input(embedding.weight)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is made of the weights: a copy makes its own."""
        return {**self.__dict__, "_ready": None}

    def _by_layers(
        self, layers: Cells, carry: Carry, x: Tensor, lengths: Tensor | None, ends: Tensor | None
    ) -> tuple[Tensor, Carry]:
        """Layer by layer: only a layer's own outputs tell its state where a row ended, and a
        recorder what is inside.

        Args:
            lengths: (B,) valid elements of each row; None: all.
            ends: the same, where the states after them are wanted.
        """
        after = []
        for i, (layer, h) in enumerate(zip(layers, carry, strict=True)):
            x = self.dropped(x) if i else x
            if ends is None:
                shown, (last,) = self.kernel.chunk([layer], (h,), x, 0.0)
            else:
                shown, last = self.kernel.ragged(layer, h, x, ends)
            if taps.is_on():
                tap_chunk(layer, h, x, shown, lengths)
            after.append(last)
            x = shown
        return x, tuple(after)

    # ---- what training leaves out ---------------------------------------------------------------

    def _share(self, share: float) -> float:
        return share if self.training else 0.0

    def dropped(self, x: Tensor) -> Tensor:
        """x (B, L, D) or (B, D) with units left out, the rest scaled up; itself when not training.

        Of each element others, or the same of the whole row (Gal, Ghahramani 2016).
        """
        share = self._share(self.config.dropout)
        if not share:
            return x
        if self.config.variational_dropout and x.ndim == 3:
            return x * F.dropout(torch.ones_like(x[:, :1]), share)
        return F.dropout(x, share)

    def _embedded(self, x: Tensor) -> Tensor:
        """(B, L, E) of x (B, L), without the symbols that this chunk leaves out.

        As if rows of the embedding were dropped, at the cost of the chunk instead of V x E.
        """
        share = self._share(self.config.embedding_dropout)
        e: Tensor = self.embedding(x)
        if not share:
            return e
        return e * F.dropout(e.new_ones(self.num_symbols), share)[x][..., None]

    def _thinned(self, batch_size: int) -> Cells:
        """The layers as this chunk has them."""
        units = self._share(self.config.recurrent_dropout)
        weights = self._share(self.config.weight_dropout)
        if not units and not weights:
            return list(self.layers)
        thinned = []
        for cell in self.layers:
            u = cell.weight_hh
            ones = u.new_ones(batch_size, cell.hidden_size)
            mask = F.dropout(ones, units) if units else None
            thinned.append(DroppedCell(cell, F.dropout(u, weights), mask))
        return thinned
