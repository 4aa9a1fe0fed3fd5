"""How layers of one kind run: torch's fused layers, recurrences by hand, or the equations.

`layers.cells` has the equations; the kernels run the same weights faster and agree with them to
rounding. Each kernel chooses by device, precision, width and whether gradients are wanted.

Knows cells; no model, and nothing of how layers are stacked beyond running them in order.

Shapes: B rows, L elements of a chunk, E and D features of the input and of a layer, N layers.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch
import torch.nn.functional as F
from torch import Tensor

from seriatim.core import tree
from seriatim.core.batch import valid_mask
from seriatim.core.tree import Tree
from seriatim.layers import cells as equations
from seriatim.layers.cells import Layer, StackedCell
from seriatim.layers.kernels import recurrence, step
from seriatim.layers.kernels.step import PreparedLayer

Layers: TypeAlias = Sequence[Layer]
States: TypeAlias = Sequence[Tree]  # one state for each layer

# Added to a gate before its sigmoid, it makes it 1 or 0 exactly in any precision down to float16.
SATURATING = 1e4
_PIECE = 4_096  # elements of an LSTM's chunk on the processor


class Kernel:
    """How layers of one kind run: here any kind, by its equations.

    Attributes:
        by_hand_from: the width from which `kernels.recurrence` is faster than torch's layers in
            low precision; below it its many small operations cost more than the products. None:
            there is no such recurrence.
        columns_from: the width from which it is still faster with column-major weights.
        trains_by_hand: whether it is also faster in full precision when gradients are wanted:
            torch's RNN and GRU add to the gradients of their weights at every step.
    """

    by_hand_from: ClassVar[int | None] = None
    columns_from: ClassVar[int | None] = None
    trains_by_hand: ClassVar[bool] = False

    def step(self, cell: StackedCell, h: Tree, x: Tensor) -> Tree:
        """The state of one layer after one element x (B, E)."""
        return cell(h, x)

    def prepare(self, cell: StackedCell) -> PreparedLayer:
        """The layer with its present weights, prepared for many steps."""
        return PreparedLayer(cell.project_input, cell.make_fold(), cell.output)

    def states(self, layer: Layer, h: Tree, x: Tensor) -> Tree:
        """The states of one layer after each element of x (B, L, E), (B, L, ...).

        One product makes the inputs of the gates for all steps.
        """
        fold, after = layer.make_fold(), []
        for wx in layer.project_input(x).unbind(1):
            h = fold(h, wx)
            after.append(h)
        return tree.map_leaves(lambda *steps: torch.stack(steps, 1), *after)

    def chunk(
        self, layers: Layers, states: States, x: Tensor, dropout: float
    ) -> tuple[Tensor, States]:
        """All layers over x (B, L, E), with dropout between them.

        Returns:
            The outputs (B, L, D) of the last layer, and the state of each layer after element L.
        """
        last = []
        for i, (layer, h) in enumerate(zip(layers, states, strict=True)):
            after = self.states(layer, h, F.dropout(x, dropout, i > 0))
            x = layer.output(after)
            last.append(tree.map_leaves(lambda t: t[:, -1], after))
        return x, tuple(last)

    def ragged(self, layer: Layer, h: Tree, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tree]:
        """One layer over x (B, L, E) of which each row has its own length.

        Returns:
            The outputs (B, L, D), and the state after each row's last valid element, which is the
            old one where there is none.
        """
        states = self.states(layer, h, x)
        return layer.output(states), tree.last_valid(states, lengths, h)


class FusedKernel(Kernel, ABC):
    """Layers that torch has as a whole, for use unless every single state is needed."""

    @abstractmethod
    def fused(
        self, layers: Layers, states: States, x: Tensor, dropout: float
    ) -> tuple[Tensor, States]:
        """As `chunk`, by torch's own layers."""

    @abstractmethod
    def fused_ragged(
        self, layer: Layer, h: Tree, x: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tree]:
        """As `ragged`, by torch's own layers."""

    def needs_states(self, layer: Layer, x: Tensor) -> bool:
        """Whether to run this layer on x by `states`: torch's layers take no masks."""
        if layer.mask is not None:
            return True
        if x.device.type != "cpu":
            return False
        if recurrence.is_low_precision(x):
            return self.by_hand_from is not None and layer.hidden_size >= self.by_hand_from
        is_training = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        return self.trains_by_hand and is_training

    @final
    def chunk(
        self, layers: Layers, states: States, x: Tensor, dropout: float
    ) -> tuple[Tensor, States]:
        if any(self.needs_states(layer, x) for layer in layers):
            return super().chunk(layers, states, x, dropout)
        with _cudnn_in_bfloat16(x) as cast:
            outputs, after = self.fused(layers, cast(tuple(states)), cast(x), dropout)
        return outputs, _as_precise(after, states)

    @final
    def ragged(self, layer: Layer, h: Tree, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tree]:
        if self.needs_states(layer, x):
            return super().ragged(layer, h, x, lengths)
        with _cudnn_in_bfloat16(x) as cast:
            outputs, after = self.fused_ragged(layer, cast(h), cast(x), lengths)
        return outputs, _as_precise(after, h)


def _as_precise(new: Tree, old: Tree) -> Tree:
    """Under autocast torch returns states in low precision, which would accumulate errors."""
    return tree.map_leaves(lambda a, b: a.to(b.dtype), new, old)


class HiddenKernel(FusedKernel):
    """Layers whose state is their output, h (B, D)."""

    @abstractmethod
    def torch_layers(
        self, layers: Layers, h: Tensor, x: Tensor, dropout: float
    ) -> tuple[Tensor, Tensor]:
        """As `fused`, with the states as one tensor (N, B, D)."""

    def fused(
        self, layers: Layers, states: States, x: Tensor, dropout: float
    ) -> tuple[Tensor, States]:
        outputs, h = self.torch_layers(layers, torch.stack(tuple(states)), x, dropout)
        return outputs, h.unbind()

    def fused_ragged(
        self, layer: Layer, h: Tensor, x: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        outputs, _ = self.torch_layers([layer], h[None], x, 0.0)
        return outputs, tree.last_valid(outputs, lengths, h)


class RNNKernel(HiddenKernel):
    """The simple recurrent network."""

    by_hand_from = 32
    trains_by_hand = True

    def __init__(self, nonlinearity: Literal["tanh", "relu"]) -> None:
        self.nonlinearity = nonlinearity

    def step(self, cell: StackedCell, h: Tensor, x: Tensor) -> Tensor:
        is_tanh = self.nonlinearity == "tanh"
        return (torch.rnn_tanh_cell if is_tanh else torch.rnn_relu_cell)(x, h, *cell.weights)

    def prepare(self, cell: StackedCell) -> PreparedLayer:
        return step.prepare_rnn(cell.weights, equations.NONLINEARITIES[self.nonlinearity])

    def torch_layers(
        self, layers: Layers, h: Tensor, x: Tensor, dropout: float
    ) -> tuple[Tensor, Tensor]:
        is_tanh = self.nonlinearity == "tanh"
        return (torch.rnn_tanh if is_tanh else torch.rnn_relu)(x, h, *_options(layers, dropout, x))

    def states(self, layer: Layer, h: Tensor, x: Tensor) -> Tensor:
        states: Tensor = recurrence.rnn(x, h, layer.weights, layer.mask, self.nonlinearity)
        return states


class GRUKernel(HiddenKernel):
    """The GRU that resets after the product, as torch's own."""

    by_hand_from = 32
    columns_from = 192
    trains_by_hand = True

    def step(self, cell: StackedCell, h: Tensor, x: Tensor) -> Tensor:
        return torch.gru_cell(x, h, *cell.weights)

    def prepare(self, cell: StackedCell) -> PreparedLayer:
        return step.prepare_gru(cell.weights)

    def torch_layers(
        self, layers: Layers, h: Tensor, x: Tensor, dropout: float
    ) -> tuple[Tensor, Tensor]:
        return torch.gru(x, h, *_options(layers, dropout, x))

    def states(self, layer: Layer, h: Tensor, x: Tensor) -> Tensor:
        states: Tensor = recurrence.gru(x, h, layer.weights, layer.mask)
        return states


class LSTMKernel(FusedKernel):
    """The LSTM, whose state (h, c) is more than its output."""

    by_hand_from = columns_from = 448

    def step(self, cell: StackedCell, h: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.lstm_cell(x, h, *cell.weights)

    def prepare(self, cell: StackedCell) -> PreparedLayer:
        return step.prepare_lstm(cell.weights)

    def fused(
        self, layers: Layers, states: States, x: Tensor, dropout: float
    ) -> tuple[Tensor, States]:
        hidden, memory = zip(*states, strict=True)
        state = (torch.stack(hidden), torch.stack(memory))
        outputs, h, c = _lstm(x, state, *_options(layers, dropout, x))
        return outputs, tuple(zip(h.unbind(), c.unbind(), strict=True))

    def fused_ragged(
        self, layer: Layer, h: tuple[Tensor, Tensor], x: Tensor, lengths: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The cell after the last valid element, from the kernel for padded rows.

        The kernel does not return every c_t, and packing the rows would take twice the time. So x
        gets one more feature, 1 at padding, that opens the forget gate and shuts the input gate
        entirely: c_t = 1 c_{t-1} + 0 c~_t is constant until the end.
        """
        hidden, memory = h
        padding = ~valid_mask(lengths, x.shape[1]).to(x.device)
        marked = torch.cat([x, padding[..., None].to(x.dtype)], -1)
        w, *others = _weights([layer], x)
        shut, opened, untouched = (
            w.new_full((layer.hidden_size,), a) for a in (-SATURATING, SATURATING, 0.0)
        )
        column = torch.cat([shut, opened, untouched, untouched])[:, None]
        weights = [torch.cat([w, column], -1), *others]
        is_training = _keeps_for_backward(x)
        outputs, _, memory = _lstm(
            marked, (hidden[None], memory[None]), weights, True, 1, 0.0, is_training, False, True
        )
        return outputs, (tree.last_valid(outputs, lengths, hidden), memory[0])

    def states(self, layer: Layer, h: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        states: tuple[Tensor, Tensor] = recurrence.lstm(x, *h, layer.weights, layer.mask)
        return states


def _lstm(x: Tensor, state: tuple[Tensor, Tensor], *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    """`torch.lstm` over x (B, L, E), on the processor in pieces of at most 4,096 elements.

    oneDNN cannot take so many elements that their gates have 2^31 bytes ("could not create a
    primitive": a million elements of a layer of 128); and pieces stay in the cache. Bit for bit the
    same.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling() or x.shape[1] <= _PIECE:
        return torch.lstm(x, state, *options)
    parts = []
    for begin in range(0, x.shape[1], _PIECE):
        outputs, h, c = torch.lstm(x[:, begin : begin + _PIECE], state, *options)
        parts.append(outputs)
        state = h, c
    return torch.cat(parts, 1), *state


def _options(
    layers: Layers, dropout: float, x: Tensor
) -> tuple[list[Tensor], bool, int, float, bool, bool, bool]:
    """(weights, with biases, N, dropout, is training, is bidirectional, is batch first)."""
    is_training = dropout > 0 or _keeps_for_backward(x)
    return _weights(layers, x), True, len(layers), dropout, is_training, False, True


# ---- cuDNN --------------------------------------------------------------------------------------

_NOT_FLAT = "RNN module weights are not part of single contiguous chunk of memory"


def _runs_on_cudnn(x: Tensor) -> bool:
    """Whether torch's layers on x are those of cuDNN."""
    return x.device.type == "cuda"


def _keeps_for_backward(x: Tensor) -> bool:
    """Whether cuDNN must be told to train: only then it keeps what its backward pass reads."""
    return _runs_on_cudnn(x) and torch.is_grad_enabled()


def _weights(layers: Layers, x: Tensor) -> list[Tensor]:
    """The weights of all layers, for cuDNN in the precision of x."""
    weights = [weight for layer in layers for weight in layer.weights]
    return [w.to(x.dtype) for w in weights] if _runs_on_cudnn(x) else weights


@contextmanager
def _cudnn_in_bfloat16(x: Tensor) -> Iterator[Callable[[Any], Any]]:
    """Context of torch's layers on x; yields what casts x and states to their precision.

    Autocast runs cuDNN's layers in float16 whatever it was asked for, whose small gradients vanish
    without a scaled loss. So where bfloat16 was asked for, everything is cast here and autocast is
    off. Weights are copied into cuDNN's order at every call, which takes a thousandth of a step;
    torch's warning about it is left out.
    """
    if not _runs_on_cudnn(x):
        yield lambda tensors: tensors
        return
    narrow = recurrence.is_low_precision(x)
    dtype = torch.bfloat16 if narrow else x.dtype
    compiling = torch.compiler.is_compiling()  # which catching a warning would interrupt
    caught: AbstractContextManager[object] = (
        nullcontext() if compiling else warnings.catch_warnings()
    )
    with caught, torch.autocast(x.device.type, enabled=False):
        if not compiling:
            warnings.filterwarnings("ignore", _NOT_FLAT)
        yield lambda tensors: tree.map_leaves(lambda t: t.to(dtype), tensors)
