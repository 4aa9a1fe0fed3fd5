"""Encoder-decoders: p(y | x) = prod_t p(y_t | y_1 .. y_{t-1}, x).

An encoder reads the source in both directions, and a decoder folds the target and attends to the
states of the encoder; any encoder goes with any decoder. A source is x_1 .. x_{S-1} and the
boundary symbol of its vocabulary, so none is ever empty.

Knows how symbols are embedded and predicted; `models.encoders` reads sources and `models.decoders`
folds targets.

Shapes: B rows, L elements of the target, S positions of the source, D features, V symbols.
"""

import torch
from torch import Tensor, nn

from seriatim.core import taps
from seriatim.core.batch import Batch
from seriatim.core.distributions import LinearCategorical
from seriatim.core.elements import Symbols
from seriatim.core.model import Carry, SequenceModel
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError
from seriatim.models.decoders import Decoder, make_decoder
from seriatim.models.encoders import Encoder, make_embedding, make_encoder, scaled_embedding
from seriatim.models.options.encoder_decoder import Seq2Seq
from seriatim.models.source_memory import Memory


class Seq2SeqModel(SequenceModel):
    """A distribution over target sequences, given a source sequence.

    Attributes:
        config: the configuration that it was built from.
        encoder: the part that reads a source; it may share the embedding.
        embedding: (V, D) the embedding of the target's symbols.
        decoder: the part that folds a target.
        head: (V, D) the output layer; None: the embedding.
        bias: (V,) the bias of the output layer; None for Transformers.
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
            config: the options.
            num_symbols: V, the size of the target's vocabulary.
            boundary: the id of the target's boundary symbol.
            num_source_symbols: the size of the source's vocabulary; None: source and target have
                the same symbols.

        Raises:
            ConfigError: if vocabularies of different sizes would share an embedding.
        """
        super().__init__(Symbols(num_symbols, boundary))
        self.config = config
        is_joint = num_source_symbols is None
        if config.share_embeddings and num_source_symbols not in (None, num_symbols):
            raise ConfigError(
                f"share_embeddings needs the same symbols on both sides, but the source has "
                f"{num_source_symbols} and the target {num_symbols}: use joint symbols, or leave "
                "share_embeddings out"
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
        """The memory of sources, for the decoder.

        Args:
            source: a batch with inputs (B, S), each row ending with the boundary symbol.

        Raises:
            DataError: if a row is empty.
        """
        states = self.encoder.encode(source.inputs, source.lengths)
        summary = self.encoder.summary(states, source.lengths)
        return self.decoder.bind(states, source.lengths, summary)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        """The state that the decoder starts from, and the memory.

        Raises:
            ConfigError: if there is no memory, or one of another number of rows.
        """
        if not isinstance(memory, Memory):
            raise ConfigError(
                "an encoder-decoder needs a source, but none was given: score a batch with a "
                "source, or use model.bind(source)"
            )
        if memory.num_rows != batch_size:
            raise ConfigError(
                f"{batch_size} sequences were given {memory.num_rows} sources: give one each"
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
        """softmax(W h + b), where W is the embedding if they are tied (Press, Wolf 2017)."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return LinearCategorical(features, weight, self.bias)

    # ---- attention ------------------------------------------------------------------------------

    @torch.no_grad()
    def attention_weights(self, source: Batch, batch: Batch) -> list[Tensor]:
        """The attention weights on the source before each target, (B, H, L, S) for each layer.

        Rows sum to 1, and padding of the source has weight 0; weights at padding of the target are
        arbitrary. A recurrent decoder has one layer with one head, or none without attention.

        Args:
            source: a batch with inputs (B, S), each row ending with the boundary symbol.
            batch: a batch with inputs (B, L), the boundary and the target without its last element.
        """
        recorder = taps.Recorder(self, only=["decoder.layers.*.attention.cross"])
        with taps.recording_only(recorder):
            carry = self.empty(batch.shape[0], memory=self.encode(source))
            self.advance(carry, batch.inputs, None, keep=False)
        return [record.value for (record,) in recorder.records.values()]

    def alignment(self, source: Batch, batch: Batch, layer: int = -1) -> Tensor:
        """(B, L, S) the attention weights of one layer, averaged over its heads.

        Args:
            source: as for `attention_weights`.
            batch: as for `attention_weights`.
            layer: the index of the layer; -1 is the last.

        Raises:
            ConfigError: if there is no such layer, or the decoder has no attention.
        """
        layers = self.attention_weights(source, batch)
        if not -len(layers) <= layer < len(layers):
            raise ConfigError(
                f"there is no layer {layer} with attention to the source: this decoder has "
                f"{len(layers)}"
            )
        return layers[layer].mean(1)
