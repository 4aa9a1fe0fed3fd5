"""The latent autoregressive model: it keeps the state of any cell h_t = g(h_{t-1}, x_t).

    p(x_{t+1}) = softmax(V o(h_t) + b),   o the cell's `output`

The user writes the cell, a few lines; the loop over time, ragged rows and the messages about a
cell that is wrong are here.

Shapes: B rows, L elements of a chunk, E and D features of an embedding and of the output,
V symbols.
"""

from collections.abc import Mapping

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from seriatim.core import taps, tree
from seriatim.core.batch import valid_mask
from seriatim.core.distributions import LinearCategorical
from seriatim.core.elements import Symbols
from seriatim.core.model import Carry, SequenceModel
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError, ContractError
from seriatim.layers.cells import Cell
from seriatim.layers.recurrent_taps import put_step
from seriatim.models.options.latent import Latent


class LatentModel(SequenceModel):
    """A language model around one cell, run step by step. The carry is the cell's state.

    Attributes:
        config: the configuration that it was built from.
        embedding: E, (V, E).
        cell: g, the user's cell.
        head: V and b, (V, D) and (V,).
    """

    def __init__(self, config: Latent, num_symbols: int, boundary: int) -> None:
        """
        Raises:
            ConfigError: if `config.cell` is not a Cell, or does not take the options.
        """
        super().__init__(Symbols(num_symbols, boundary))
        self.config = config
        width = config.embedding_size or config.hidden_size
        self.embedding = nn.Embedding(num_symbols, width)
        self.cell = _make_cell(config, width)
        self.head = nn.Linear(config.hidden_size, num_symbols)
        nn.init.zeros_(self.head.bias)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        weight = self.embedding.weight
        # A cell need not care about device and precision in `initial`.
        h = tree.to(tree.to(self.cell.initial(batch_size), weight.device), weight.dtype)
        leaves = tree.leaves(h)
        if not leaves or any(leaf.shape[:1] != (batch_size,) for leaf in leaves):
            raise ContractError(
                f"{type(self.cell).__name__}.initial({batch_size}) returns {_shape(h)}: return a "
                f"tensor, or a tree of tensors, each with {batch_size} rows in axis 0"
            )
        return h

    def advance(
        self, carry: Carry, x: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        if lengths is None:
            mask, shortest = None, x.shape[1]
        else:
            mask, shortest = valid_mask(lengths, x.shape[1]).to(x.device), int(lengths.min())
        h, outputs = carry, []
        for t, x_t in enumerate(self.embedding(x).unbind(1)):
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

    def emit(self, features: Tensor) -> LinearCategorical:
        return LinearCategorical(features, self.head.weight, self.head.bias)

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
