"""The latent autoregressive model: what it keeps is the state of any cell h_t = g(h_{t-1}, x_t).

    p(x_{t+1}) = softmax(V o(h_t) + b),   o the cell's `output`

The cell is the user's, a few lines; the loop over time, ragged rows and the words for what went
wrong are here.

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
from seriatim.core.model import Carry, SequenceModel
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError, ContractError
from seriatim.layers.cells import Cell
from seriatim.layers.recurrent_taps import put_step
from seriatim.models.options.latent import Latent


class LatentModel(SequenceModel):
    """A language model around one cell, run step by step. The carry is the cell's state.

    Attributes:
        config: what it was built from.
        embedding: (V, E).
        cell: the user's.
        head: (V, D) and its bias.
    """

    def __init__(self, config: Latent, num_symbols: int, boundary: int) -> None:
        """
        Raises:
            ConfigError: `config.cell` is no Cell, or does not take the options.
        """
        super().__init__(num_symbols, boundary)
        self.config = config
        width = config.embedding_size or config.hidden_size
        self.embedding = nn.Embedding(num_symbols, width)
        self.cell = _made(config, width)
        self.head = nn.Linear(config.hidden_size, num_symbols)
        nn.init.zeros_(self.head.bias)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        weight = self.embedding.weight
        # A cell that makes its zeros without a thought for device or precision is served too.
        h = tree.to(tree.to(self.cell.initial(batch_size), weight.device), weight.dtype)
        _check_rows(self.cell, h, batch_size)
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
            # Of the new state even at padding: the output of an initial state may be undefined.
            outputs.append(self.cell.output(new))
            if taps.is_on():
                valid = None if lengths is None else (lengths > t).long()
                put_step(self.cell, self._inside(h, x_t, new), valid)
            if mask is not None and t >= shortest:
                new = tree.where_rows(mask[:, t], new, h)
            h = new
        return torch.stack(outputs, 1), h

    def emit(self, features: Tensor) -> LinearCategorical:
        return LinearCategorical(features, self.head.weight, self.head.bias)

    def _inside(self, h: Tree, x: Tensor, new: Tree) -> Mapping[str, Tensor]:
        """What recorders are shown: the output, every other part of the state, and what the cell
        says of itself."""
        parts = tree.leaves(new)
        states = {f"state.{i}": part for i, part in enumerate(parts)} if len(parts) > 1 else {}
        return {"hidden": self.cell.output(new), **states, **self.cell.inner_values(h, x, new)}

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The cell is the one layer."""
        return {"layers.0": self.cell}

    def _first_step(self, h: Tree, x: Tensor) -> Tree:
        """A step that looks for the mistakes one makes in a cell; once a chunk is enough.

        Raises:
            ContractError: the state changed its structure or a shape, was changed in place, or
                its output is not (B, D).
        """
        name = type(self.cell).__name__
        before = _versions(h)
        new = self.cell(h, x)
        if _versions(h) != before:
            raise ContractError(
                f"{name}.forward changes its state in place, and old states must stay usable: "
                "return new tensors"
            )
        if _shape(new) != _shape(h):
            raise ContractError(
                f"{name}.forward turns a state {_shape(h)} into {_shape(new)}: structure and "
                "shapes must stay as `initial` makes them"
            )
        shown = self.cell.output(new)
        expected = (x.shape[0], self.config.hidden_size)
        if not isinstance(shown, Tensor) or shown.shape != expected:
            raise ContractError(
                f"{name}.output gives {_shape(shown)} and must give (batch size, hidden_size) = "
                f"{expected}: write `output` to say what the cell shows of its state"
            )
        return new


def _made(config: Latent, input_size: int) -> Cell:
    if not issubclass(config.cell, Cell):
        raise ConfigError(
            f"cell = {config.cell.__name__} is no subclass of seriatim.Cell: derive it from Cell "
            "and write forward(h, x) -> h"
        )
    try:
        return config.cell(input_size, config.hidden_size, **config.options)
    except TypeError as error:
        raise ConfigError(
            f"{config.cell.__name__} cannot be made as cell(input_size, hidden_size, "
            f"**{config.options}): {error}"
        ) from error


def _check_rows(cell: Cell, h: Tree, batch_size: int) -> None:
    leaves = tree.leaves(h)
    if not leaves or any(leaf.shape[:1] != (batch_size,) for leaf in leaves):
        raise ContractError(
            f"{type(cell).__name__}.initial({batch_size}) gives {_shape(h)}: a state is a tensor, "
            f"or a tree of tensors, each with {batch_size} rows in axis 0"
        )


def _versions(h: Tree) -> list[int]:
    return [leaf._version for leaf in tree.leaves(h) if not leaf.is_inference()]


def _shape(h: Tree) -> str:
    """The structure of a state in words: tensors by their shapes, anything else by its type."""

    def describe(leaf: object) -> str:
        return str(tuple(leaf.shape)) if isinstance(leaf, Tensor) else type(leaf).__name__

    return str(pytree.tree_map(describe, h)).replace("'", "")
