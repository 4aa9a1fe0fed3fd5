"""Recurrent layers on top of one another: which cells and kernels, and how they fold a chunk.

`layers.cells` has the equations of one layer, and `layers.kernels.dispatch` runs it fast. Knows the
options that choose a cell; does not know what a stack is for.

Shapes: B rows, L elements of a chunk, E and D features of the input and of a layer, N layers.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core import taps, tree
from seriatim.core.model import Carry
from seriatim.layers import cells as equations
from seriatim.layers.cells import StackedCell
from seriatim.layers.kernels.dispatch import GRUKernel, Kernel, Layers, LSTMKernel, RNNKernel
from seriatim.layers.recurrent_taps import Reorder, tap_chunk, tap_step
from seriatim.models.options.recurrent import GRU, LSTM, RNN, RecurrentConfig

Dropout: TypeAlias = Callable[[Tensor], Tensor]

# ---- kinds of layers ----------------------------------------------------------------------------


@dataclass(frozen=True)
class CellKind:
    """A kind of layer: its equations, as made from (input_size, hidden_size), and its kernel."""

    cell: Callable[[int, int], StackedCell]
    kernel: Kernel


def cell_kind(config: RecurrentConfig) -> CellKind:
    """The kind of layer that a configuration asks for."""
    return _KINDS[type(config)](config)


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
    kernel = GRUKernel() if config.reset == "after" else Kernel()
    return CellKind(partial(equations.GRUCell, reset=config.reset), kernel)


_KINDS: Mapping[type[RecurrentConfig], Callable[[Any], CellKind]] = {
    RNN: _rnn,
    LSTM: _lstm,
    GRU: _gru,
}
_CONFIGS: Mapping[str, type[RecurrentConfig]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


# ---- running layers in order --------------------------------------------------------------------


def fold_element(
    kernel: Kernel,
    cells: Iterable[StackedCell],
    carry: Carry,
    x: Tensor,
    lengths: Tensor | None,
    drop: Dropout,
) -> tuple[Tensor, Carry]:
    """All layers after one element x (B, E).

    Args:
        kernel: the kernel of the cells.
        cells: the N layers.
        carry: the state of each layer.
        x: (B, E).
        lengths: (B,) on the CPU, 0 for rows that have no such element; None: all have one.
        drop: the dropout between layers.

    Returns:
        The output (B, D) of the last layer, and the carry, unchanged for rows of length 0.
    """
    after = []
    for i, (cell, h) in enumerate(zip(cells, carry, strict=True)):
        x = drop(x) if i else x
        new = kernel.step(cell, h, x)
        if taps.is_on():
            tap_step(cell, new, lengths, partial(cell.inner_values, h, x, new))
        after.append(new)
        x = cell.output(new)
    return x, kept_where_absent(after, carry, lengths)


def kept_where_absent(after: list[Any], carry: Carry, lengths: Tensor | None) -> Carry:
    """The carry after one element, unchanged for rows of length 0."""
    new = tuple(after)
    return new if lengths is None else tree.where_rows(lengths > 0, new, carry)


def fold_layers(
    kernel: Kernel,
    layers: Layers,
    carry: Carry,
    x: Tensor,
    lengths: Tensor | None,
    ends: Tensor | None,
    drop: Dropout,
    reorder: Reorder | None = None,
) -> tuple[Tensor, Carry]:
    """Layer by layer over a chunk x (B, L, E), as ragged rows and recorders need it.

    Only a layer's own outputs tell its state where a row ended, and a recorder its gates.

    Args:
        kernel: the kernel of the layers.
        layers: the N layers, as this chunk has them.
        carry: the state of each layer.
        x: (B, L, E).
        lengths: (B,) on the CPU, the number of valid elements of each row; None: all.
        ends: the same if the states after them are wanted; None: those after element L are.
        drop: the dropout between layers.
        reorder: brings (B, L, ...) into the order of the sequence if x is in another: for
            recorders.

    Returns:
        The outputs (B, L, D) of the last layer, and the carry.
    """
    after = []
    for i, (layer, h) in enumerate(zip(layers, carry, strict=True)):
        x = drop(x) if i else x
        if ends is None:
            outputs, (last,) = kernel.chunk([layer], (h,), x, 0.0)
        else:
            outputs, last = kernel.ragged(layer, h, x, ends)
        if taps.is_on():
            tap_chunk(layer, h, x, outputs, lengths, reorder)
        after.append(last)
        x = outputs
    return x, tuple(after)


class RecurrentStack(nn.Module):
    """N recurrent layers of one kind, as encoders and decoders have them.

    A carry is the state of each layer.

    Attributes:
        cells: the reference cells, which hold the weights.
        dropout: the fraction dropped between the layers in training.
    """

    def __init__(
        self, kind: str, input_size: int, size: int, num_layers: int, dropout: float
    ) -> None:
        """
        Args:
            kind: "rnn", "lstm" or "gru".
            input_size: E.
            size: D.
            num_layers: N.
            dropout: the fraction dropped between the layers in training.
        """
        super().__init__()
        layer = cell_kind(_CONFIGS[kind]())
        self.kernel, self.dropout = layer.kernel, dropout
        self.cells: Any = nn.ModuleList(
            layer.cell(size if i else input_size, size) for i in range(num_layers)
        )

    def zeros(self, batch_size: int) -> Carry:
        """The states before the first element."""
        return tuple(cell.initial(batch_size) for cell in self.cells)

    def forward(
        self,
        carry: Carry,
        x: Tensor,
        lengths: Tensor | None,
        *,
        keep: bool = True,
        reorder: Reorder | None = None,
    ) -> tuple[Tensor, Carry | None]:
        """Fold a chunk x (B, L, E).

        Args:
            carry: the state of each layer.
            x: (B, L, E).
            lengths: (B,) on the CPU, the number of valid elements of each row; None: all.
            keep: whether the carry after each row's last valid element is needed.
            reorder: brings (B, L, ...) into the order of the sequence if x is in another: for
                recorders.

        Returns:
            The outputs (B, L, D) of the last layer, and the carry, if it is needed.
        """
        if x.shape[1] == 1:
            y, after = fold_element(self.kernel, self.cells, carry, x[:, 0], lengths, self._drop)
            return y[:, None], after
        ends = lengths if keep else None
        if ends is not None or taps.is_on():
            outputs, after = fold_layers(
                self.kernel, self.cells, carry, x, lengths, ends, self._drop, reorder
            )
        else:
            dropout = self.dropout if self.training else 0.0
            outputs, after = self.kernel.chunk(self.cells, carry, x, dropout)
        return outputs, after if keep or lengths is None else None

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)
