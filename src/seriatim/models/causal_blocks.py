"""Blocks of masked self-attention over vectors: what a Transformer is, whatever it reads.

    h_0 = e (+ positions),    h_l = Block_l(h_{l-1}),    features = Norm(h_N)

A query at position p sees the keys at positions p - context + 1 .. p, in every layer; see
`models.transformer`.

Shapes: B rows, L elements of a chunk, D features.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from seriatim.core.model import Carry
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError
from seriatim.layers.block_step import BlockSteps, are_known, is_useful
from seriatim.layers.kv_tape import Tape, empty_tape
from seriatim.models.options.transformer import Transformer
from seriatim.models.transformer_parts import (
    add_positions,
    initialize_blocks,
    make_block,
    make_last_norm,
)


class CausalBlocks(nn.Module):
    """N blocks of masked self-attention; the carry is a `Tape`.

    A model of symbols is one by inheritance, so that its weights keep their names; a network over
    numbers has one as its `body`.

    Attributes:
        config: the configuration that it was built from.
        blocks: the N blocks.
        norm: the norm after the last block, if norms come first.
    """

    config: Transformer
    blocks: nn.ModuleList
    norm: nn.Module

    @property
    def size(self) -> int:
        """D."""
        return self.config.model_size

    def make_blocks(self, config: Transformer) -> None:
        """Make the blocks, as a part of the construction."""
        self.config = config
        self.blocks = nn.ModuleList(make_block(config) for _ in range(config.num_layers))
        self.norm = make_last_norm(config)
        self._prepared: BlockSteps | None = None

    def initialize(self) -> None:
        """Initialize the weights of the blocks."""
        initialize_blocks(self.blocks, self.config, 2 * self.config.num_layers)

    @property
    def reach(self) -> int:
        """num_layers (context - 1) + 1 inputs."""
        return self.config.num_layers * (self.config.context - 1) + 1

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        """An empty tape.

        Raises:
            ConfigError: if there is a memory of a source.
        """
        if memory is not None:
            raise ConfigError("this Transformer takes no source, but one was given: leave it out")
        return empty_tape(
            batch_size,
            num_layers=self.config.num_layers,
            num_heads=self.config.num_heads,
            key_size=self.config.head_size,
            value_size=self.config.value_size or self.config.head_size,
            context=self.config.context,
            like=next(p for p in self.parameters() if p.is_floating_point()),
            capacity=capacity,
        )

    def fold(
        self, carry: Carry, e: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """Fold vectors e (B, L, D), as `SequenceModel.advance`; features (B, L, D)."""
        tape: Tape = carry
        chunk = tape.append(e.shape[1], lengths, keep=keep)
        steps = self._steps(e)
        if steps is not None:
            h = steps.step(e, chunk)
        else:
            h, rotation = add_positions(e, chunk.positions, self.config, is_training=self.training)
            for layer, block in enumerate(self.blocks):
                h = block(h, chunk, layer, rotation)
            h = self.norm(h)
        return h, chunk.keep() if keep else None

    def _steps(self, e: Tensor) -> BlockSteps | None:
        """The blocks prepared for a step of e (B, L, D), if that is faster."""
        config = self.config
        if config.positions != "rotary" or (self.training and config.dropout):
            return None
        first: Any = self.blocks[0]
        if not is_useful(e, first.attention.weight):
            return None
        blocks = list(self.blocks)
        if self._prepared is None or self._prepared.is_stale(blocks):
            self._prepared = None
            if not are_known(blocks):
                return None
            self._prepared = BlockSteps(blocks, self.norm, config.rotary_base)
        return self._prepared if self._prepared.is_worth_it() else None

    def __getstate__(self) -> dict[str, Any]:
        """The attributes without prepared weights: a copy prepares its own."""
        return {**self.__dict__, "_prepared": None}

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The blocks, as layers."""
        return {"layers": self.blocks}


class VectorBlocks(CausalBlocks):
    """Blocks by themselves, which read vectors (B, L, model_size)."""

    def __init__(self, config: Transformer) -> None:
        super().__init__()
        self.make_blocks(config)
        self.initialize()
