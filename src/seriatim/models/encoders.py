"""Encoders: a whole sequence is read at once, and every position sees all of it.

An encoder is no fold: it gives states for a complete sequence, to a decoder or to a readout of
labels. Knows how symbols become states; not what the states are for.

A sequence ends with the boundary symbol, x_1 .. x_{S-1}, boundary, so none is ever empty and a
decoder can attend to its end.

Shapes: B rows, S positions, D features of a state, V symbols.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.batch import valid_mask
from seriatim.core.model import SequenceModel
from seriatim.errors import DataError
from seriatim.layers.attention import EVERYTHING, AttentionMask, as_bias
from seriatim.layers.kernels.dropout import dropout
from seriatim.layers.kv_tape import Chunk, Tape
from seriatim.models.options.encoder_decoder import EncoderConfig
from seriatim.models.recurrent_stack import RecurrentStack
from seriatim.models.transformer_parts import (
    STD,
    add_positions,
    embed,
    initialize_blocks,
    make_block,
    make_last_norm,
)


class Encoder(nn.Module, ABC):
    """A map from sequences of symbols to a state for every position.

    Attributes:
        size: D.
    """

    size: int

    def encode(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, S, D) a state for every position; arbitrary at padding, which has no effect.

        Args:
            x: (B, S) symbols, each row ending with the boundary.
            lengths: (B,) on the CPU, the number of valid symbols of each row; None: all.

        Raises:
            DataError: if a row is empty.
        """
        if x.shape[1] == 0 or (lengths is not None and bool((lengths < 1).any())):
            raise DataError(
                "a source has no element: end every source with the boundary symbol, also an empty "
                "one"
            )
        if lengths is not None and bool((lengths == x.shape[1]).all()):
            lengths = None  # level rows have faster kernels
        states: Tensor = self(x, lengths)
        return states

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """`encode`, without the checks."""

    @abstractmethod
    def summary(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, D) the vector that a decoder starts from, for states (B, S, D)."""

    def pooled(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, D) the vector of a row that readouts use, for states (B, S, D): the mean."""
        return mean_of_valid(states, lengths)


class EmbeddingEncoder(Encoder):
    """An encoder from its options, with an embedding."""

    def __init__(
        self, config: EncoderConfig, num_symbols: int, embedding: nn.Embedding | None = None
    ) -> None:
        """
        Args:
            config: the options.
            num_symbols: V.
            embedding: an embedding to share with another part; None: a new one.
        """
        super().__init__()
        self.config, self.size = config, config.model_size
        self.embedding = embedding or make_embedding(config, num_symbols)


# ---- the Transformer ----------------------------------------------------------------------------


class _WholeSequence(Chunk):
    """A complete sequence: its own keys and values are all that it attends to."""

    def __init__(self, mask: AttentionMask, positions: Tensor, lengths: Tensor | None) -> None:
        self.mask, self.positions, self.lengths = mask, positions, lengths

    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return keys, values

    def keep(self) -> Tape:
        raise NotImplementedError("an encoder has no tape")

    def offsets(self) -> Tensor:
        return self.positions


class TransformerEncoder(EmbeddingEncoder):
    """Self-attention in which only padding is masked (Vaswani et al. 2017, 3.1)."""

    def __init__(
        self, config: EncoderConfig, num_symbols: int, embedding: nn.Embedding | None = None
    ) -> None:
        super().__init__(config, num_symbols, embedding)
        self.blocks = nn.ModuleList(make_block(config) for _ in range(config.encoder_layers))
        self.norm = make_last_norm(config)
        initialize_blocks(self.blocks, config, 2 * config.encoder_layers)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The states after the last block."""
        positions = torch.arange(x.shape[1], device=x.device)
        h = embed(self.embedding, x, self.config)
        h, rotation = add_positions(h, positions, self.config, is_training=self.training)
        bias = padding_bias(lengths, x.shape[1], h)
        chunk = _WholeSequence(
            EVERYTHING if bias is None else AttentionMask(bias), positions, lengths
        )
        for layer, block in enumerate(self.blocks):
            h = block(h, chunk, layer, rotation)
        states: Tensor = self.norm(h)
        return states

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The blocks, as layers."""
        return {"layers": self.blocks}

    def summary(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """The mean over the valid positions."""
        return self.pooled(states, lengths)


def padding_bias(lengths: Tensor | None, length: int, like: Tensor) -> Tensor | None:
    """(B, 1, 1, S) the bias of scores, -inf at padding; None: there is no padding."""
    if lengths is None:
        return None
    valid = valid_mask(lengths, length).to(like.device, non_blocking=True)
    return as_bias(valid[:, None, None], like.dtype)


def mean_of_valid(states: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, D) the mean of states (B, S, D) over each row's valid positions."""
    if lengths is None:
        return states.mean(1)
    n = lengths.to(states.device)
    valid = valid_mask(n, states.shape[1])
    # where, not a product: states at padding are arbitrary, and may be NaN.
    valid_states = torch.where(valid[..., None], states, 0.0)
    return valid_states.sum(1) / n[:, None]


# ---- recurrent layers in both directions --------------------------------------------------------


def reversal(lengths: Tensor | None, x: Tensor) -> Callable[[Tensor], Tensor]:
    """The map that reverses the valid part of every row of x (B, S, ...); padding stays last."""
    if lengths is None:
        return lambda t: t.flip(1)
    n = lengths.to(x.device)[:, None]
    position = torch.arange(x.shape[1], device=x.device)
    index = torch.where(position < n, n - 1 - position, position)[..., None]
    return lambda t: t.gather(1, index.expand(-1, -1, t.shape[-1]))


class RecurrentEncoder(EmbeddingEncoder):
    """RNN, LSTM or GRU in both directions, each with D / 2 features.

    The backward layer reads the valid part of each row reversed, so it starts at the row's last
    element; both directions then run on kernels that know no padding, which comes last and has no
    effect on what is before it.
    """

    def __init__(
        self, config: EncoderConfig, num_symbols: int, embedding: nn.Embedding | None = None
    ) -> None:
        super().__init__(config, num_symbols, embedding)

        def layers() -> nn.ModuleList:
            size, kind = config.model_size, config.encoder
            return nn.ModuleList(
                RecurrentStack(kind, size, size // 2, 1, 0.0) for _ in range(config.encoder_layers)
            )

        self.forward_layers: Any = layers()
        self.backward_layers: Any = layers()

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The outputs of the last layer, [forward; backward]."""
        h = self._dropped(scaled_embedding(self.embedding, x, self.config))
        reverse = reversal(lengths, x)
        pairs = zip(self.forward_layers, self.backward_layers, strict=True)
        for i, (ahead, back) in enumerate(pairs):
            h = self._dropped(h) if i else h
            zeros = ahead.zeros(len(x))
            there, _ = ahead(zeros, h, lengths, keep=False)
            again, _ = back(zeros, reverse(h), lengths, keep=False, reorder=reverse)
            h = torch.cat([there, reverse(again)], -1)
        return self._dropped(h)

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The layers of both directions."""
        ways = (("forward", self.forward_layers), ("backward", self.backward_layers))
        return {
            f"layers.{i}.{way}": stack.cells[0]
            for way, stacks in ways
            for i, stack in enumerate(stacks)
        }

    def summary(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """[f_S; b_1], the output of each direction at its end."""
        half = self.size // 2
        last = tree.at_last(states, lengths)[:, :half]
        return torch.cat([last, states[:, 0, half:]], -1)

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, is_training=self.training)


def make_embedding(config: EncoderConfig, num_symbols: int) -> nn.Embedding:
    """An embedding that can also be the output layer.

    N(0, 1 / D): scaled by sqrt(D) its outputs have variance 1, and as the output layer it gives
    logits of about the size of one feature. Unscaled in front of norms it is N(0, 0.02^2).
    """
    embedding = nn.Embedding(num_symbols, config.model_size)
    is_small = "transformer" in config.parts and not config.scale_embeddings
    nn.init.normal_(embedding.weight, std=STD if is_small else config.model_size**-0.5)
    return embedding


def scaled_embedding(embedding: nn.Embedding, x: Tensor, config: EncoderConfig) -> Tensor:
    """(B, L, D) the embeddings of symbols x (B, L), as inputs of recurrent layers."""
    h: Tensor = embedding(x)
    return h * math.sqrt(config.model_size) if config.scale_embeddings else h


# ---- a model of sequences as an encoder ---------------------------------------------------------


class CausalEncoder(Encoder):
    """Any `SequenceModel` whose features are vectors, as an encoder; a position sees only the past.

    The state at a position are the features after its element.
    """

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            features = model.start(1).features
        if not isinstance(features, Tensor) or features.ndim != 2:
            raise TypeError(
                f"the features of {type(model).__name__} are not vectors (B, D): it cannot be an "
                "encoder"
            )
        self.size = features.shape[1]

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The features after each element."""
        states: Tensor
        states, _ = self.model.advance(self.model.empty(len(x)), x, lengths, keep=False)
        return states

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The layers of the model."""
        return {"": self.model}

    def summary(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """The features after the last element."""
        last: Tensor = tree.at_last(states, lengths)
        return last

    def pooled(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """The summary, since earlier states have seen only a part of the row."""
        return self.summary(states, lengths)


ENCODERS: Mapping[str, Callable[[EncoderConfig, int, nn.Embedding | None], Encoder]] = {
    "transformer": TransformerEncoder,
    "rnn": RecurrentEncoder,
    "lstm": RecurrentEncoder,
    "gru": RecurrentEncoder,
}


def make_encoder(
    config: EncoderConfig, num_symbols: int, embedding: nn.Embedding | None = None
) -> Encoder:
    """The encoder that a configuration describes.

    Args:
        config: the options.
        num_symbols: V.
        embedding: an embedding to share with another part; None: a new one.
    """
    return ENCODERS[config.encoder](config, num_symbols, embedding)
