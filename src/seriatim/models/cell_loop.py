"""Any cell over vectors, run step by step: what a latent autoregressive model consists of.

The user writes the cell, a few lines; the loop over time, ragged rows and the messages about a
cell that is wrong are here.

Shapes: B rows, L elements of a chunk, E and D features of an input and of the output.
"""

from collections.abc import Mapping

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from seriatim.core import taps, tree
from seriatim.core.batch import valid_mask
from seriatim.core.model import Carry
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError, ContractError
from seriatim.layers.cells import Cell
from seriatim.layers.recurrent_taps import put_step
from seriatim.models.options.latent import Latent


class CellLoop(nn.Module):
    """One cell, run step by step. The carry is the cell's state.

    A model of symbols is one by inheritance, so that its weights keep their names; a network over
    numbers has one as its `body`.

    Attributes:
        config: the configuration that it was built from.
        cell: g, the user's cell.
    """

    config: Latent
    cell: Cell

    @property
    def size(self) -> int:
        """D."""
        return self.config.hidden_size

    @property
    def reach(self) -> int | None:
        """Unbounded."""
        return None

    def make_cell(self, config: Latent, input_size: int) -> None:
        """Make the cell, as a part of the construction.

        Raises:
            ConfigError: if `config.cell` is not a Cell, or does not take the options.
        """
        self.config = config
        self.cell = _make_cell(config, input_size)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        """The initial state of the cell."""
        weight = next((p for p in self.parameters() if p.is_floating_point()), torch.empty(0))
        # A cell need not care about device and precision in `initial`.
        h = tree.to(tree.to(self.cell.initial(batch_size), weight.device), weight.dtype)
        leaves = tree.leaves(h)
        if not leaves or any(leaf.shape[:1] != (batch_size,) for leaf in leaves):
            raise ContractError(
                f"{type(self.cell).__name__}.initial({batch_size}) returns {_shape(h)}: return a "
                f"tensor, or a tree of tensors, each with {batch_size} rows in axis 0"
            )
        return h

    def fold(
        self, carry: Carry, e: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """Fold vectors e (B, L, E), as `SequenceModel.advance`; features (B, L, D)."""
        if lengths is None:
            mask, shortest = None, e.shape[1]
        else:
            mask, shortest = valid_mask(lengths, e.shape[1]).to(e.device), int(lengths.min())
        h, outputs = carry, []
        for t, x_t in enumerate(e.unbind(1)):
            new = self._first_step(h, x_t) if t == 0 else self.cell(h, x_t)
            # The new state's even at padding: the output of an initial state may be undefined.
            outputs.append(self.cell.output(new))
            if taps.is_on():
                valid = None if lengths is None else (lengths > t).long()
                put_step(self.cell, self._values(h, x_t, new), valid)
            if mask is not None and t >= shortest:
                new = tree.where_rows(mask[:, t], new, h)
            h = new
        return torch.stack(outputs, 1), h

    def _values(self, h: Tree, x: Tensor, new: Tree) -> Mapping[str, Tensor]:
        """The values for recorders: the output, each part of the state, and the inner values."""
        parts = tree.leaves(new)
        states = {f"state.{i}": part for i, part in enumerate(parts)} if len(parts) > 1 else {}
        return {"hidden": self.cell.output(new), **states, **self.cell.inner_values(h, x, new)}

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The cell, as the one layer."""
        return {"layers.0": self.cell}

    def _first_step(self, h: Tree, x: Tensor) -> Tree:
        """A step with checks for common mistakes in a cell; once for each chunk is enough."""
        name = type(self.cell).__name__
        before = _versions(h)
        new = self.cell(h, x)
        if _versions(h) != before:
            raise ContractError(
                f"{name}.forward changes its state in place, but old states must stay usable: "
                "return new tensors"
            )
        if _shape(new) != _shape(h):
            raise ContractError(
                f"{name}.forward turns a state {_shape(h)} into {_shape(new)}: keep the structure "
                "and the shapes of `initial`"
            )
        output = self.cell.output(new)
        expected = (x.shape[0], self.config.hidden_size)
        if not isinstance(output, Tensor) or output.shape != expected:
            raise ContractError(
                f"{name}.output returns {_shape(output)}, expected (batch size, hidden_size) = "
                f"{expected}: write `output` to return the part of the state that is read outside"
            )
        return new


class VectorLoop(CellLoop):
    """A loop by itself, which reads vectors (B, L, input_size)."""

    def __init__(self, config: Latent, input_size: int) -> None:
        super().__init__()
        self.make_cell(config, input_size)


def _make_cell(config: Latent, input_size: int) -> Cell:
    if not issubclass(config.cell, Cell):
        raise ConfigError(
            f"cell = {config.cell.__name__} is not a subclass of seriatim.Cell: derive it from "
            "Cell and write forward(h, x) -> h"
        )
    try:
        return config.cell(input_size, config.hidden_size, **config.options)
    except TypeError as error:
        raise ConfigError(
            f"{config.cell.__name__} cannot be called as cell(input_size, hidden_size, "
            f"**{config.options}): {error}"
        ) from error


def _versions(h: Tree) -> list[int]:
    return [leaf._version for leaf in tree.leaves(h) if not leaf.is_inference()]


def _shape(h: Tree) -> str:
    """The structure of a state for messages: tensors by their shapes, anything else by its type."""

    def describe(leaf: object) -> str:
        return str(tuple(leaf.shape)) if isinstance(leaf, Tensor) else type(leaf).__name__

    return str(pytree.tree_map(describe, h)).replace("'", "")
