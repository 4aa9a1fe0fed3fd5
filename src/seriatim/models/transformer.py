"""The Transformer: it keeps the keys and values of its context, and attends to them.

    h_0 = E[x] (+ positions),    h_l = Block_l(h_{l-1}),    p(next) = softmax(W Norm(h_N))

A query at position p sees the keys at positions p - context + 1 .. p, in every layer, whether the
chunk is a training sequence, a prompt or a single step. So scoring, generating and streaming past
the context follow one rule, and through N layers a symbol has an effect up to N (context - 1)
positions later.

Knows how the parts of `layers` are combined and initialized. The past is kept by the tape.

Sources: Vaswani et al. 2017 (`Transformer.classic()` is its decoder without the source);
Touvron et al. 2023 (Llama) for the default shape; Radford et al. 2019 for the initialization.

Shapes: B rows, L elements of a chunk, D features, V symbols.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from seriatim.core.distributions import Distribution, LinearCategorical
from seriatim.core.elements import Symbols
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError
from seriatim.layers import block_step
from seriatim.layers.kv_tape import Tape, empty_tape
from seriatim.models.options.transformer import Transformer
from seriatim.models.transformer_parts import (
    STD,
    add_positions,
    embed,
    initialize_blocks,
    make_block,
    make_last_norm,
)


class TransformerModel(SequenceModel):
    """A decoder of masked self-attention over symbols; its carry is a `Tape`.

    Attributes:
        config: the configuration that it was built from.
        embedding: E, (V, D).
        blocks: the N blocks.
        norm: the norm after the last block, if norms come first.
        head: W, (V, D); None: the embedding.
    """

    def __init__(self, config: Transformer, num_symbols: int, boundary: int) -> None:
        super().__init__(Symbols(num_symbols, boundary))
        self.config = config
        size = config.model_size
        self.embedding = nn.Embedding(num_symbols, size)
        self.blocks = nn.ModuleList(make_block(config) for _ in range(config.num_layers))
        self.norm = make_last_norm(config)
        self.head = None if config.tie_embeddings else nn.Linear(size, num_symbols, bias=False)
        self._initialize()

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
            like=self.embedding.weight,
            capacity=capacity,
        )

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        """Fold x (B, L) symbols; features (B, L, D)."""
        tape: Tape = carry
        chunk = tape.append(x.shape[1], lengths, keep=keep)
        h = embed(self.embedding, x, self.config)
        h, rotation = add_positions(h, chunk.positions, self.config, is_training=self.training)
        if rotation is not None and block_step.is_useful(h, rotation, self.blocks):
            h = block_step.step(h, chunk, rotation, self.blocks, self.norm)
        else:
            for layer, block in enumerate(self.blocks):
                h = block(h, chunk, layer, rotation)
            h = self.norm(h)
        return h, chunk.keep() if keep else None

    def emit(self, features: Features) -> Distribution:
        """softmax(W h), where W is the embedding if they are tied (Press, Wolf 2017)."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return LinearCategorical(features, weight)

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The blocks, as layers."""
        return {"layers": self.blocks}

    def _initialize(self) -> None:
        """Embeddings that are scaled by sqrt(D) are N(0, 1 / D), so inputs and tied logits have
        variance 1; others are N(0, 0.02^2).
        """
        config = self.config
        scaled = config.scale_embeddings
        nn.init.normal_(self.embedding.weight, std=config.model_size**-0.5 if scaled else STD)
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=STD)
        initialize_blocks(self.blocks, config, 2 * config.num_layers)
