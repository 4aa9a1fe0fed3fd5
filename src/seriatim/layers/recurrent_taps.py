"""What recurrent layers show to recorders: hidden states, and what was inside.

Fused kernels show the hidden states alone. From them the cells recover their gates, for all steps
at once; nothing is run a second time, and nothing is made that nobody wants.

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

Turn: TypeAlias = Callable[[Tensor], Tensor]


def tap_chunk(
    layer: Layer,
    h: Tree,
    x: Tensor,
    shown: Tensor,
    lengths: Tensor | None,
    turn: Turn | None = None,
) -> None:
    """Show what a layer made of a chunk.

    Args:
        layer: as it ran.
        h: its state before.
        x: (B, L, E).
        shown: (B, L, D) what it put out.
        lengths: (B,) on the CPU, valid elements of each row; None: all.
        turn: brings (B, L, ...) into the order of the sequence, if the layer read another.
    """
    owner = layer.owner
    found: dict[str, Tensor] = {"hidden": shown}
    if any(taps.wanted(owner, name, shown.nbytes) for name in owner.parts):
        with taps.grad_mode():
            found.update(layer.recovered(h, x, shown))
    for name, value in found.items():
        if taps.wanted(owner, name, value.nbytes):
            taps.put(owner, name, Record(value if turn is None else turn(value), lengths))


def tap_step(
    cell: StackedCell,
    after: Tree,
    lengths: Tensor | None,
    inside: Callable[[], Mapping[str, Tensor]],
) -> None:
    """Show what a layer made of one element.

    The tensors of the state itself are shown: with the graph kept, later steps depend on them.

    Args:
        cell: whose layer it is.
        after: the state after the element.
        lengths: (B,) on the CPU, 0 for rows that have no such element; None: all have.
        inside: gives its parts, if they are wanted.
    """
    found: dict[str, Tensor] = {"hidden": cell.output(after)}
    if any(taps.wanted(cell, name) for name in cell.parts):
        with taps.grad_mode():
            found.update(inside())
    put_step(cell, found, lengths)


def put_step(owner: nn.Module, found: Mapping[str, Tensor], lengths: Tensor | None) -> None:
    """Show values (B, ...) of one element."""
    for name, value in found.items():
        taps.put(owner, name, Record(value, lengths, axis=None))
