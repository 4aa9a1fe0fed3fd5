"""Recurrent networks over symbols: RNN, LSTM and GRU; what they keep is a hidden state.

    e_t = E[x_t],   h_t^1 = g(h_{t-1}^1, e_t),   h_t^l = g(h_{t-1}^l, h_t^{l-1}),
    p(x_{t+1}) = softmax(V h_t^top + b)

`layers.cells` has g as equations, `recurrent_stack` runs the layers, and `recurrent_layers` has
their options. Here are the symbols, and the step by prepared weights.

Shapes: B rows, L elements of a chunk, E and D features of an embedding and of a layer,
N layers, G gates, V symbols.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core import taps
from seriatim.core.distributions import Categorical, LinearCategorical
from seriatim.core.elements import Symbols
from seriatim.core.model import Carry, SequenceModel
from seriatim.core.products import array_product
from seriatim.layers.cells import StackedCell
from seriatim.layers.kernels.step import Array, PreparedLayer, RowLayer, WeightWatch
from seriatim.layers.recurrent_taps import tap_step
from seriatim.models.options.recurrent import RecurrentConfig
from seriatim.models.recurrent_layers import RecurrentLayers
from seriatim.models.recurrent_stack import fold_element, kept_where_absent

# Numbers in a table of what the first layer gets of every symbol: a larger one does not pay.
MAX_TABLE_SIZE = 2**20


@dataclass(frozen=True)
class PreparedRow:
    """Steps of a single row, in numpy.

    Attributes:
        input_of: maps a symbol to the inputs (1, G D) of the first layer's gates.
        layers: the layers.
        logits: maps the features (1, D) to the logits (1, V).
    """

    input_of: Callable[[int], Array]
    layers: Sequence[RowLayer]
    logits: Callable[[Array], Array]

    def after(self, carry: Carry, symbol: int) -> tuple[Tensor, Carry]:
        """The output (1, D) of the last layer and the carry after a symbol."""
        wx = self.input_of(symbol)
        y, new = self.layers[0].fold(carry[0], wx)
        after = [new]
        for layer, h in zip(self.layers[1:], carry[1:], strict=True):
            y, new = layer.fold(h, layer.project_input(y.numpy()))
            after.append(new)
        return y, tuple(after)


@dataclass(frozen=True)
class PreparedSteps:
    """All that steps need of the weights, valid while these do not change.

    Attributes:
        watch: notices a change of any of the weights.
        table: (V, G D) the inputs of the first layer's gates for every symbol; None: it would be
            too large.
        layers: the cell of each layer, and its prepared weights.
        row: the same for a single row; None: there is nothing faster.
    """

    watch: WeightWatch
    table: Tensor | None
    layers: Sequence[tuple[StackedCell, PreparedLayer]]
    row: PreparedRow | None

    def row_for(self, x: Tensor) -> PreparedRow | None:
        """`row`, if x (B, ...) is of a single row and nothing watches operations."""
        return self.row_for_one() if x.shape[0] == 1 else None

    def row_for_one(self) -> PreparedRow | None:
        """`row`, if nothing watches operations."""
        return None if taps.is_on() or torch._C._len_torch_dispatch_stack() else self.row


class Recurrent(RecurrentLayers, SequenceModel):
    """A language model of recurrent layers; the carry is a tuple of the state of each layer.

    Attributes:
        embedding: E, (V, E).
        head: V and b of the output layer, (V, D) and (V,); with `tie_embeddings` its weight is
            the embedding's.
    """

    def __init__(self, config: RecurrentConfig, num_symbols: int, boundary: int) -> None:
        SequenceModel.__init__(self, Symbols(num_symbols, boundary))
        size = config.hidden_size
        width = config.embedding_size or size
        self._prepared: PreparedSteps | None = None
        self.embedding = nn.Embedding(num_symbols, width)
        self.make_layers(config, width)
        self.head = nn.Linear(size, num_symbols)
        nn.init.zeros_(self.head.bias)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
            # Inputs would be N(0, 1) and output weights N(0, 1/D): this is half way between.
            nn.init.normal_(self.embedding.weight, std=size**-0.25)
        self.draw_uniformly()

    def advance(
        self, carry: Carry, x: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        if x.shape[1] == 1 and not self.training:
            return self._step(carry, x, lengths)
        return self.fold(carry, self._embedded(x), lengths, keep=keep)

    def emit(self, features: Tensor) -> Categorical:
        head = self.head
        if self.training:
            return LinearCategorical(self.dropped(features), head.weight, head.bias)
        if self._prepared is not None and features.ndim == 2:  # after a step
            prepared = self._prepared_steps(features)
            row = None if prepared is None else prepared.row_for(features)
            if row is not None:
                return Categorical(torch.from_numpy(row.logits(features.numpy())))
        return LinearCategorical(features, head.weight, head.bias)

    def row_steps(self) -> PreparedRow | None:
        """Those of `_step` and `emit`, once these have prepared them, in inference mode."""
        prepared = self._prepared
        if prepared is None or self.training or not torch.is_inference_mode_enabled():
            return None
        if torch.is_autocast_enabled("cpu") or prepared.watch.is_stale() or not self._is_plain():
            return None
        return prepared.row_for_one()

    def _is_plain(self) -> bool:
        """Whether no subclass folds or emits in its own way."""
        own = type(self)
        return own.advance is Recurrent.advance and own.emit is Recurrent.emit

    def column_weights(self) -> list[Tensor]:
        """The weights that train faster by columns: of wide layers, and of a large output layer."""
        size, start = self.config.hidden_size, self.kernel.columns_from
        has_large_head = self.num_symbols > size and not self.config.tie_embeddings
        weights = [self.head.weight] if has_large_head else []
        if start is not None and size >= start:
            weights += [w for cell in self.layers for w in (cell.weight_ih, cell.weight_hh)]
        return weights

    def _step(self, carry: Carry, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Carry]:
        """One element x (B, 1)."""
        prepared = self._prepared_steps(x)
        row = None if prepared is None or lengths is not None else prepared.row_for(x)
        if row is not None:
            y, after = row.after(carry, int(x.item()))
            return y.unsqueeze(1), after
        symbols = x.select(1, 0)
        if prepared is None:
            e = self.embedding(symbols)
            y, after = fold_element(self.kernel, self.layers, carry, e, lengths, self.dropped)
        else:
            y, after = self._prepared_step(prepared, carry, symbols, lengths)
        return y.unsqueeze(1), after

    def _prepared_step(
        self, prepared: PreparedSteps, carry: Carry, symbols: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Carry]:
        """`fold_element` of symbols (B,) by prepared weights."""
        is_recorded, table, after = taps.is_on(), prepared.table, []
        wx = None if table is None else table.index_select(0, symbols)
        y = symbols if wx is not None and not is_recorded else self.embedding(symbols)
        for (cell, layer), h in zip(prepared.layers, carry, strict=True):
            wx = layer.project_input(y) if wx is None else wx
            new = layer.fold(h, wx)
            if is_recorded:
                tap_step(cell, new, lengths, partial(cell.inner_values, h, y, new))
            after.append(new)
            y, wx = layer.output(new), None
        return y, kept_where_absent(after, carry, lengths)

    def _prepared_steps(self, x: Tensor) -> PreparedSteps | None:
        """The weights prepared for steps; None while their gradients may be needed."""
        if torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
            return None
        if torch.compiler.is_compiling():
            return None  # a compiler prepares weights itself, and cannot watch them
        prepared = self._prepared
        if prepared is None or prepared.watch.is_stale():
            layers = [self.kernel.prepare(cell) for cell in self.layers]
            watch = WeightWatch(self.embedding, self.layers, self.head)
            pairs = list(zip(self.layers, layers, strict=True))
            table = self._table(layers[0])
            row = self._prepared_row(layers, table)
            prepared = self._prepared = PreparedSteps(watch, table, pairs, row)
        return prepared

    def _prepared_row(
        self, layers: Sequence[PreparedLayer], table: Tensor | None
    ) -> PreparedRow | None:
        """Steps of a single row, if numpy is faster and an input is a symbol."""
        embedding: nn.Module = self.embedding  # a subclass may read something other than symbols
        rows = [layer.row for layer in layers if layer.row is not None]
        if len(rows) < len(layers) or not isinstance(embedding, nn.Embedding):
            return None
        logits = array_product(self.head.weight, self.head.bias, is_one_row=True)
        if table is not None:
            inputs = table.unsqueeze(1).numpy()
            return PreparedRow(inputs.__getitem__, rows, logits)
        vectors = embedding.weight.detach().unsqueeze(1).numpy()
        return PreparedRow(lambda symbol: rows[0].project_input(vectors[symbol]), rows, logits)

    def _table(self, first: PreparedLayer) -> Tensor | None:
        """(V, G D) the inputs of the first layer's gates for every symbol, unless too large."""
        embedding: nn.Module = self.embedding  # a subclass may read something other than symbols
        size = self.num_symbols * 4 * self.config.hidden_size
        if not isinstance(embedding, nn.Embedding) or size > MAX_TABLE_SIZE:
            return None
        return first.project_input(embedding.weight)

    def __getstate__(self) -> dict[str, Any]:
        """The attributes without prepared weights: a copy prepares its own."""
        return {**self.__dict__, "_prepared": None}

    def _embedded(self, x: Tensor) -> Tensor:
        """(B, L, E) the embeddings of x (B, L), with zeros for the symbols that are dropped.

        This equals dropping rows of the embedding, at the cost of the chunk instead of V x E.
        """
        fraction = self._in_training(self.config.embedding_dropout)
        e: Tensor = self.embedding(x)
        if not fraction:
            return e
        return e * F.dropout(e.new_ones(self.num_symbols), fraction)[x][..., None]
