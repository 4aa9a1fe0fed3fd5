"""The Transformer: it keeps the keys and values of its context, and looks them up by content.

    h_0 = E[x] (+ positions),    h_l = Block_l(h_{l-1}),    p(next) = softmax(W Norm(h_N))

A query at position p sees the keys at positions p - context + 1 .. p, in every layer and
whether the chunk is a training sequence, a prompt or a single step. So scoring, generating and
streaming past the context follow one rule, and a symbol can be reached through N layers from
N (context - 1) positions further on.

Knows how the parts of `layers` are put together and initialized. What is kept of the past, and
how, is the tape's.

Sources: Vaswani et al. 2017 (`Transformer.classic()` is its decoder without the source);
Touvron et al. 2023 (Llama) for the default shape; Radford et al. 2019 for the initialization.

Shapes: B rows, L elements of a chunk, D features, V symbols.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from seriatim.core.distributions import Distribution, LinearCategorical
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError
from seriatim.layers.tape import Tape, empty_tape
from seriatim.models.options.transformer import Transformer
from seriatim.models.transformer_parts import (
    STD,
    embed,
    initialize_blocks,
    make_block,
    make_last_norm,
    placed,
)


class TransformerModel(SequenceModel):
    """A decoder of masked self-attention over symbols; its carry is a `Tape`."""

    def __init__(self, config: Transformer, num_symbols: int, boundary: int) -> None:
        super().__init__(num_symbols, boundary)
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
        """A tape of nothing."""
        if memory is not None:
            raise ConfigError(
                "a Transformer of this kind answers to no source, but one was given: leave it out"
            )
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
        h, turn = placed(h, chunk.positions, self.config, is_training=self.training)
        for layer, block in enumerate(self.blocks):
            h = block(h, chunk, layer, turn)
        return self.norm(h), chunk.keep() if keep else None

    def emit(self, features: Features) -> Distribution:
        """softmax(W h), W being the embedding where they are tied (Press, Wolf 2017)."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return LinearCategorical(features, weight)

    def tap_children(self) -> Mapping[str, nn.Module]:
        """Its blocks are layers."""
        return {"layers": self.blocks}

    def _initialize(self) -> None:
        """Embeddings that are scaled by sqrt(D) start at N(0, 1 / D): they enter with variance 1,
        and tied logits leave with it. All else: `initialize_blocks`.
        """
        config = self.config
        scaled = config.scale_embeddings
        nn.init.normal_(self.embedding.weight, std=config.model_size**-0.5 if scaled else STD)
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=STD)
        initialize_blocks(self.blocks, config, 2 * config.num_layers)
