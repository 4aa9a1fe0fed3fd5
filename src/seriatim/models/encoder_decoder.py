"""Encoder-decoders: p(y | x) = prod_t p(y_t | y_1 .. y_{t-1}, x).

An encoder reads the source in both directions, a decoder folds the target and looks at what
was read; any encoder goes with any decoder. A source is x_1 .. x_{S-1} and the boundary symbol
of its alphabet, so that none is ever empty.

Knows how symbols are embedded and predicted; how sources are read and targets folded is known
by `models.encoders` and `models.decoders`.

Shapes: B rows, L elements of the target, S positions of the source, D features, V symbols.
"""

import torch
from torch import Tensor, nn

from seriatim.core import taps
from seriatim.core.batch import Batch
from seriatim.core.distributions import LinearCategorical
from seriatim.core.model import Carry, SequenceModel
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError
from seriatim.models.decoders import Decoder, make_decoder
from seriatim.models.encoders import Encoder, make_embedding, make_encoder, scaled_embedding
from seriatim.models.memory import Memory
from seriatim.models.options.encoder_decoder import Seq2Seq


class Seq2SeqModel(SequenceModel):
    """A distribution over targets that answer to a source.

    Attributes:
        encoder: reads a source; its `embedding` may be the target's own.
        embedding: (V, D) of the target's symbols.
        decoder: folds a target.
        head: the output layer, where it does not use the embedding's weights.
        bias: (V,) of the output; None for Transformers.
    """

    def __init__(
        self,
        config: Seq2Seq,
        num_symbols: int,
        boundary: int,
        num_source_symbols: int | None = None,
    ) -> None:
        """
        Args:
            config: the sizes.
            num_symbols: V of the target.
            boundary: of the target.
            num_source_symbols: of the source; None: it has the symbols of the target.

        Raises:
            ConfigError: embeddings shared by alphabets that differ.
        """
        super().__init__(num_symbols, boundary)
        self.config = config
        is_joint = num_source_symbols is None
        if config.share_embeddings and num_source_symbols not in (None, num_symbols):
            raise ConfigError(
                f"share_embeddings needs the same symbols on both sides, and the source has "
                f"{num_source_symbols}, the target {num_symbols}: use joint symbols, or leave it "
                "out"
            )
        shares = is_joint if config.share_embeddings is None else config.share_embeddings
        self.embedding = make_embedding(config, num_symbols)
        self.encoder: Encoder = make_encoder(
            config,
            num_symbols if num_source_symbols is None else num_source_symbols,
            self.embedding if shares else None,
        )
        self.decoder: Decoder = make_decoder(config)
        self.head = None if config.tie_embeddings else make_embedding(config, num_symbols)
        is_recurrent = config.decoder != "transformer"
        self.bias = nn.Parameter(torch.zeros(num_symbols)) if is_recurrent else None

    def encode(self, source: Batch) -> Memory:
        """The memory of sources: what the decoder looks up, projected once.

        Args:
            source: inputs (B, S) symbols, each row ending with the boundary of its alphabet.

        Raises:
            DataError: an empty row.
        """
        states = self.encoder.encode(source.inputs, source.lengths)
        summary = self.encoder.summary(states, source.lengths)
        return self.decoder.bind(states, source.lengths, summary)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        """The decoder's own beginning, and the memory.

        Raises:
            ConfigError: no memory, or one of another number of rows.
        """
        if not isinstance(memory, Memory):
            raise ConfigError(
                "an encoder-decoder answers to a source, and none was given: score a batch with a "
                "source, or use model.bind(source)"
            )
        if memory.num_rows != batch_size:
            raise ConfigError(
                f"{batch_size} sequences cannot answer to {memory.num_rows} sources: give one each"
            )
        return self.decoder.empty(batch_size, memory, capacity)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """Fold x (B, L) symbols of the target; features (B, L, D)."""
        e = scaled_embedding(self.embedding, x, self.config)
        features: Tensor
        features, carry = self.decoder(carry, e, lengths, keep=keep)
        return features, carry

    def emit(self, features: Tensor) -> LinearCategorical:
        """softmax(W h + b), W being the embedding where they are tied (Press, Wolf 2017)."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return LinearCategorical(features, weight, self.bias)

    # ---- looking inside --------------------------------------------------------------------------

    @torch.no_grad()
    def attention_weights(self, source: Batch, batch: Batch) -> list[Tensor]:
        """How every head weighs the source before each target, (B, H, L, S) for each layer.

        A computation of its own: nothing else changes. Rows sum to 1; padding of the source
        weighs 0; anything at padding of the target. Recurrent decoders have one layer with one
        head, and none without attention.

        Args:
            source: inputs (B, S), each row ending with the boundary.
            batch: inputs (B, L), the boundary and the target but for its last element.
        """
        recorder = taps.Recorder(self, only=["decoder.layers.*.attention.cross"])
        with taps.recording_only(recorder):
            carry = self.empty(batch.shape[0], memory=self.encode(source))
            self.advance(carry, batch.inputs, None, keep=False)
        return [record.value for (record,) in recorder.records.values()]

    def alignment(self, source: Batch, batch: Batch, layer: int = -1) -> Tensor:
        """(B, L, S) how much each target looked at each position of its source, summing to 1.

        The mean over the heads of one layer, by default the last.

        Raises:
            ConfigError: a decoder that does not look at the source, or no such layer.
        """
        layers = self.attention_weights(source, batch)
        if not -len(layers) <= layer < len(layers):
            raise ConfigError(
                f"there is no layer {layer} that looks at the source: this decoder has "
                f"{len(layers)}"
            )
        return layers[layer].mean(1)
