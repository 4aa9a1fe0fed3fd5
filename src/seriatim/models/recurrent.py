"""Recurrent networks over symbols: RNN, LSTM and GRU; what they keep is a hidden state.

    e_t = E[x_t],   h_t^1 = g(h_{t-1}^1, e_t),   h_t^l = g(h_{t-1}^l, h_t^{l-1}),
    p(x_{t+1}) = softmax(V h_t^top + b)

`layers.cells` has g as equations, and `recurrent_stack` runs the layers. Here are the symbols, the
dropout, which is drawn once for each chunk of training, and the step by prepared weights.

Shapes: B rows, L elements of a chunk, E and D features of an embedding and of a layer,
N layers, G gates, V symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core import taps, tree
from seriatim.core.distributions import Categorical, LinearCategorical
from seriatim.core.elements import Symbols
from seriatim.core.model import Carry, SequenceModel
from seriatim.core.tree import Tree
from seriatim.layers.cells import DroppedCell, StackedCell
from seriatim.layers.kernels.dispatch import Layers
from seriatim.layers.kernels.step import PreparedLayer, WeightWatch
from seriatim.layers.recurrent_taps import tap_step
from seriatim.models.options.recurrent import RecurrentConfig
from seriatim.models.recurrent_stack import cell_kind, fold_element, fold_layers, kept_where_absent

# Numbers in a table of what the first layer gets of every symbol: a larger one does not pay.
MAX_TABLE_SIZE = 2**20


@dataclass(frozen=True)
class PreparedSteps:
    """All that steps need of the weights, valid while these do not change.

    Attributes:
        watch: notices a change of any of the weights.
        table: (V, G D) the inputs of the first layer's gates for every symbol; None: it would be
            too large.
        layers: the cell of each layer, and its prepared weights.
    """

    watch: WeightWatch
    table: Tensor | None
    layers: Sequence[tuple[StackedCell, PreparedLayer]]


class Recurrent(SequenceModel):
    """A language model of recurrent layers; the carry is a tuple of the state of each layer.

    Attributes:
        config: the configuration that it was built from.
        embedding: E, (V, E).
        layers: the reference cells of the N layers, which hold the weights; `gates` of a cell
            computes its gates for one step, or for all steps of known hidden states.
        initial: the learned parts of the state before the first element, (1, D) each; None:
            zeros.
        head: V and b of the output layer, (V, D) and (V,); with `tie_embeddings` its weight is
            the embedding's.
    """

    def __init__(self, config: RecurrentConfig, num_symbols: int, boundary: int) -> None:
        super().__init__(Symbols(num_symbols, boundary))
        self.config = config
        size = config.hidden_size
        width = config.embedding_size or size
        kind = cell_kind(config)
        self.kernel = kind.kernel
        self._prepared: PreparedSteps | None = None
        self.embedding = nn.Embedding(num_symbols, width)
        self.layers: Any = nn.ModuleList(
            kind.cell(size if i else width, size) for i in range(config.num_layers)
        )
        self.initial = self._learned_initial() if config.learn_initial_state else None
        self.head = nn.Linear(size, num_symbols)
        nn.init.zeros_(self.head.bias)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
            # Inputs would be N(0, 1) and output weights N(0, 1/D): this is half way between.
            nn.init.normal_(self.embedding.weight, std=size**-0.25)
        if config.init_uniform is not None:
            for name, parameter in self.named_parameters():
                if ".gain" not in name:  # the gain of a norm: it would nearly erase its input
                    nn.init.uniform_(parameter, -config.init_uniform, config.init_uniform)

    def _learned_initial(self) -> nn.ParameterList:
        return nn.ParameterList(
            nn.Parameter(part.clone())  # two parts of a state may be one tensor
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
        inputs, layers = self.dropped(self._embedded(x)), self._dropped_layers(x.shape[0])
        # The effect of padding on a row's state matters only if that is kept, and causality keeps
        # it from the features before: otherwise the fastest kernel will do.
        ends = lengths if keep else None
        if ends is not None or taps.is_on() or self.config.variational_dropout:
            outputs, after = fold_layers(
                self.kernel, layers, carry, inputs, lengths, ends, self.dropped
            )
        else:
            dropout = self._in_training(self.config.dropout)
            outputs, after = self.kernel.chunk(layers, carry, inputs, dropout)
        return outputs, after if keep or lengths is None else None

    def emit(self, features: Tensor) -> Categorical:
        head = self.head
        return LinearCategorical(
            self.dropped(features) if self.training else features, head.weight, head.bias
        )

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
        symbols, prepared = x.select(1, 0), self._prepared_steps(x)
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
            watch = WeightWatch(self.embedding, self.layers)
            pairs = list(zip(self.layers, layers, strict=True))
            prepared = self._prepared = PreparedSteps(watch, self._table(layers[0]), pairs)
        return prepared

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

    # ---- dropout in training ---------------------------------------------------------------------

    def _in_training(self, fraction: float) -> float:
        return fraction if self.training else 0.0

    def dropped(self, x: Tensor) -> Tensor:
        """x (B, L, D) or (B, D) after dropout: x itself unless in training.

        Units are drawn for each element, or once for a whole row (Gal, Ghahramani 2016).
        """
        fraction = self._in_training(self.config.dropout)
        if not fraction:
            return x
        if self.config.variational_dropout and x.ndim == 3:
            return x * F.dropout(torch.ones_like(x[:, :1]), fraction)
        return F.dropout(x, fraction)

    def _embedded(self, x: Tensor) -> Tensor:
        """(B, L, E) the embeddings of x (B, L), with zeros for the symbols that are dropped.

        This equals dropping rows of the embedding, at the cost of the chunk instead of V x E.
        """
        fraction = self._in_training(self.config.embedding_dropout)
        e: Tensor = self.embedding(x)
        if not fraction:
            return e
        return e * F.dropout(e.new_ones(self.num_symbols), fraction)[x][..., None]

    def _dropped_layers(self, batch_size: int) -> Layers:
        """The layers of one chunk, with units of h or weights of U dropped."""
        units = self._in_training(self.config.recurrent_dropout)
        weights = self._in_training(self.config.weight_dropout)
        if not units and not weights:
            return list(self.layers)
        layers = []
        for cell in self.layers:
            u = cell.weight_hh
            ones = u.new_ones(batch_size, cell.hidden_size)
            mask = F.dropout(ones, units) if units else None
            layers.append(DroppedCell(cell, F.dropout(u, weights), mask))
        return layers
