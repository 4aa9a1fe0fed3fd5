"""Taps of recurrent layers: their hidden states, and inner values such as gates.

Fused kernels return the hidden states alone. From these the cells recover their gates, for all
steps at once; no layer runs a second time, and only values that a recorder wants are computed.

Knows cells and taps; no kernel and no model.

Shapes: B rows, L elements of a chunk, E and D features of input and state.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from torch import Tensor, nn

from seriatim.core import taps
from seriatim.core.taps import Record
from seriatim.core.tree import Tree
from seriatim.layers.cells import Layer, StackedCell

Reorder: TypeAlias = Callable[[Tensor], Tensor]


def tap_chunk(
    layer: Layer,
    h: Tree,
    x: Tensor,
    outputs: Tensor,
    lengths: Tensor | None,
    reorder: Reorder | None = None,
) -> None:
    """Put the values of a layer over a chunk.

    Args:
        layer: the layer, as it ran.
        h: its state before the chunk.
        x: (B, L, E) its inputs.
        outputs: (B, L, D) its outputs.
        lengths: (B,) on the CPU, the number of valid elements of each row; None: all.
        reorder: brings (B, L, ...) into the order of the sequence, if the layer read another.
    """
    owner = layer.owner
    values: dict[str, Tensor] = {"hidden": outputs}
    if any(taps.wanted(owner, name, outputs.nbytes) for name in owner.value_names):
        with taps.grad_mode():
            values.update(layer.chunk_values(h, x, outputs))
    for name, value in values.items():
        if taps.wanted(owner, name, value.nbytes):
            taps.put(owner, name, Record(value if reorder is None else reorder(value), lengths))


def tap_step(
    cell: StackedCell,
    after: Tree,
    lengths: Tensor | None,
    inner_values: Callable[[], Mapping[str, Tensor]],
) -> None:
    """Put the values of a layer after one element.

    These are the tensors of the state itself: where the graph is kept, later steps depend on them.

    Args:
        cell: the cell of the layer.
        after: the state after the element.
        lengths: (B,) on the CPU, 0 for rows that have no such element; None: all have one.
        inner_values: computes the gates and other inner values, if they are wanted.
    """
    values: dict[str, Tensor] = {"hidden": cell.output(after)}
    if any(taps.wanted(cell, name) for name in cell.value_names):
        with taps.grad_mode():
            values.update(inner_values())
    put_step(cell, values, lengths)


def put_step(owner: nn.Module, values: Mapping[str, Tensor], lengths: Tensor | None) -> None:
    """Put values (B, ...) of one element."""
    for name, value in values.items():
        taps.put(owner, name, Record(value, lengths, axis=None))
