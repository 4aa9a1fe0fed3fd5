"""Recurrent layers over vectors: what RNN, LSTM and GRU are, whatever they read and predict.

    h_t^1 = g(h_{t-1}^1, e_t),   h_t^l = g(h_{t-1}^l, h_t^{l-1})

`layers.cells` has g as equations, and `recurrent_stack` runs the layers. Here are their options:
the learned initial state, and the dropout, which is drawn once for each chunk of training.

Shapes: B rows, L elements of a chunk, E and D features of an input and of a layer, N layers.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core import taps, tree
from seriatim.core.model import Carry
from seriatim.core.tree import Tree
from seriatim.layers.cells import DroppedCell
from seriatim.layers.kernels.dispatch import Kernel, Layers
from seriatim.models.options.recurrent import RecurrentConfig
from seriatim.models.recurrent_stack import cell_kind, fold_element, fold_layers


class RecurrentLayers(nn.Module):
    """N recurrent layers; the carry is a tuple of the state of each layer.

    A model of symbols is one by inheritance, so that its weights keep their names; a network over
    numbers has one as its `body`.

    Attributes:
        config: the configuration that it was built from.
        layers: the reference cells of the N layers, which hold the weights; `gates` of a cell
            computes its gates for one step, or for all steps of known hidden states.
        initial: the learned parts of the state before the first element, (1, D) each; None:
            zeros.
    """

    config: RecurrentConfig
    kernel: Kernel
    layers: Any
    initial: nn.ParameterList | None

    @property
    def size(self) -> int:
        """D."""
        return self.config.hidden_size

    @property
    def reach(self) -> int | None:
        """Unbounded."""
        return None

    def make_layers(self, config: RecurrentConfig, input_size: int) -> None:
        """Make the layers, as a part of the construction."""
        self.config = config
        size, kind = config.hidden_size, cell_kind(config)
        self.kernel = kind.kernel
        self.layers = nn.ModuleList(
            kind.cell(size if i else input_size, size) for i in range(config.num_layers)
        )
        self.initial = self._learned_initial() if config.learn_initial_state else None

    def draw_uniformly(self) -> None:
        """Draw all weights anew from U(-a, a), if the options say so."""
        a = self.config.init_uniform
        if a is not None:
            for name, parameter in self.named_parameters():
                if ".gain" not in name:  # the gain of a norm: it would nearly erase its input
                    nn.init.uniform_(parameter, -a, a)

    def _learned_initial(self) -> nn.ParameterList:
        return nn.ParameterList(
            nn.Parameter(part.clone())  # two parts of a state may be one tensor
            for cell in self.layers
            for part in tree.leaves(cell.initial(1))
        )

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        """The states before the first element."""
        if self.initial is None:
            return tuple(cell.initial(batch_size) for cell in self.layers)
        parts = iter(self.initial)
        return tuple(
            tree.map_leaves(lambda _: next(parts).repeat(batch_size, 1), cell.initial(1))
            for cell in self.layers
        )

    def fold(
        self, carry: Carry, e: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """Fold vectors e (B, L, E), as `SequenceModel.advance`; features (B, L, D)."""
        if e.shape[1] == 1 and not self.training:
            y, after = fold_element(
                self.kernel, self.layers, carry, e.select(1, 0), lengths, self.dropped
            )
            return y.unsqueeze(1), after
        inputs, layers = self.dropped(e), self._dropped_layers(e.shape[0])
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


class VectorRecurrence(RecurrentLayers):
    """Recurrent layers by themselves, with the dropout after the last."""

    def __init__(self, config: RecurrentConfig, input_size: int) -> None:
        super().__init__()
        self.make_layers(config, input_size)
        self.draw_uniformly()

    def fold(
        self, carry: Carry, e: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """Fold vectors e (B, L, E); features (B, L, D)."""
        outputs, after = super().fold(carry, e, lengths, keep=keep)
        return self.dropped(outputs), after
