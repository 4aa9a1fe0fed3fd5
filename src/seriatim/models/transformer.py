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

from torch import Tensor, nn

from seriatim.core.distributions import Distribution, LinearCategorical
from seriatim.core.elements import Symbols
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.core.tree import Tree
from seriatim.models.causal_blocks import CausalBlocks
from seriatim.models.options.transformer import Transformer
from seriatim.models.transformer_parts import STD, embed


class TransformerModel(CausalBlocks, SequenceModel):
    """A decoder of masked self-attention over symbols; its carry is a `Tape`.

    Attributes:
        embedding: E, (V, D).
        head: W, (V, D); None: the embedding.
    """

    def __init__(self, config: Transformer, num_symbols: int, boundary: int) -> None:
        SequenceModel.__init__(self, Symbols(num_symbols, boundary))
        size = config.model_size
        self.embedding = nn.Embedding(num_symbols, size)
        self.make_blocks(config)
        self.head = None if config.tie_embeddings else nn.Linear(size, num_symbols, bias=False)
        self._initialize_symbols()
        self.initialize()

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        """Fold x (B, L) symbols; features (B, L, D)."""
        return self.fold(carry, embed(self.embedding, x, self.config), lengths, keep=keep)

    def emit(self, features: Features) -> Distribution:
        """softmax(W h), where W is the embedding if they are tied (Press, Wolf 2017)."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return LinearCategorical(features, weight)

    def _initialize_symbols(self) -> None:
        """Embeddings that are scaled by sqrt(D) are N(0, 1 / D), so inputs and tied logits have
        variance 1; others are N(0, 0.02^2).
        """
        config = self.config
        scaled = config.scale_embeddings
        nn.init.normal_(self.embedding.weight, std=config.model_size**-0.5 if scaled else STD)
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=STD)
