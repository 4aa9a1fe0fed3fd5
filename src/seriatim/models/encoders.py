"""Encoders: a whole sequence is read at once, and every position sees all of it.

Nothing here is a fold: an encoder gives states for a sequence that is known to its end, to a
decoder that answers to it or to a labeller that reads them off. Knows how symbols become
states; not what the states are for.

A sequence ends with the boundary symbol, so that none is ever empty and its end can be looked
at: x_1 .. x_{S-1}, boundary.

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
from seriatim.layers.cells import Cell
from seriatim.layers.kernels.dropout import dropout
from seriatim.layers.tape import Chunk, Tape
from seriatim.models.options.encoder_decoder import EncoderConfig
from seriatim.models.recurrent_stack import RecurrentStack
from seriatim.models.transformer_parts import (
    STD,
    embed,
    initialize_blocks,
    make_block,
    make_last_norm,
    placed,
)


class Encoder(nn.Module, ABC):
    """What reads a sequence.

    Attributes:
        size: D.
    """

    size: int

    def encode(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, S, D) a state for every position; anything at padding, which changes nothing.

        Args:
            x: (B, S) symbols, each row ending with the boundary.
            lengths: (B,) on the CPU, how many of each row are valid, at least 1; None: all.

        Raises:
            DataError: an empty row.
        """
        if x.shape[1] == 0 or (lengths is not None and bool((lengths < 1).any())):
            raise DataError(
                "a source has no element at all: end every source with the boundary symbol, also "
                "an empty one"
            )
        if lengths is not None and bool((lengths == x.shape[1]).all()):
            lengths = None  # level rows have faster kernels
        states: Tensor = self(x, lengths)
        return states

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """As `encode`, of what was checked."""

    @abstractmethod
    def summary(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, D) what a decoder begins with, of a row's states (B, S, D)."""

    def pooled(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, D) each row as one vector that a label or a number is read off: the mean."""
        return mean_of_valid(states, lengths)


# ---- the Transformer ----------------------------------------------------------------------------


class _Whole(Chunk):
    """A sequence that is there all at once: its keys and values are all there is to see."""

    def __init__(self, mask: AttentionMask, positions: Tensor, lengths: Tensor | None) -> None:
        self.mask, self.positions, self.lengths = mask, positions, lengths

    def view(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return keys, values

    def keep(self) -> Tape:
        raise NotImplementedError("an encoder keeps nothing")

    def offsets(self) -> Tensor:
        return self.positions


class TransformerEncoder(Encoder):
    """Self-attention without a mask but that of padding (Vaswani et al. 2017, 3.1)."""

    def __init__(
        self, config: EncoderConfig, num_symbols: int, embedding: nn.Embedding | None = None
    ) -> None:
        """
        Args:
            config: the sizes.
            num_symbols: V.
            embedding: shared with another part; None: one of its own.
        """
        super().__init__()
        self.config, self.size = config, config.model_size
        self.embedding = embedding or make_embedding(config, num_symbols)
        self.blocks = nn.ModuleList(make_block(config) for _ in range(config.encoder_layers))
        self.norm = make_last_norm(config)
        initialize_blocks(self.blocks, config, 2 * config.encoder_layers)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """States after the last block."""
        positions = torch.arange(x.shape[1], device=x.device)
        h = embed(self.embedding, x, self.config)
        h, turn = placed(h, positions, self.config, is_training=self.training)
        bias = padding_bias(lengths, x.shape[1], h)
        chunk = _Whole(EVERYTHING if bias is None else AttentionMask(bias), positions, lengths)
        for layer, block in enumerate(self.blocks):
            h = block(h, chunk, layer, turn)
        states: Tensor = self.norm(h)
        return states

    def tap_children(self) -> Mapping[str, nn.Module]:
        """Its blocks are layers."""
        return {"layers": self.blocks}

    def summary(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """The mean over the valid positions."""
        return self.pooled(states, lengths)


def padding_bias(lengths: Tensor | None, length: int, like: Tensor) -> Tensor | None:
    """(B, 1, 1, S) added to scores: -inf at padding; None: there is no padding."""
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
    # where, not a product: padding may hold anything, NaN included.
    kept = torch.where(valid[..., None], states, 0.0)
    return kept.sum(1) / n[:, None]


# ---- recurrent layers in both directions --------------------------------------------------------


def read_both_ways(forward: Cell, backward: Cell, x: Tensor) -> Tensor:
    """A layer in two directions as the equations have it, for one sequence.

        f_s = g(f_{s-1}, x_s),    b_s = g'(b_{s+1}, x_s),    y_s = [f_s; b_s]

    Schuster, Paliwal 1997. The reference of the fast path.

    Args:
        x: (S, E).

    Returns:
        (S, 2 D').
    """

    def run(cell: Cell, order: list[int]) -> Tensor:
        h, shown = cell.initial(1), {}
        for s in order:
            h = cell(h, x[s : s + 1])
            shown[s] = cell.output(h)
        return torch.cat([shown[s] for s in range(len(x))])

    order = list(range(len(x)))
    return torch.cat([run(forward, order), run(backward, order[::-1])], -1)


def reversal(lengths: Tensor | None, x: Tensor) -> Callable[[Tensor], Tensor]:
    """What turns the valid part of every row of x (B, S, ...) around, and leaves padding last."""
    if lengths is None:
        return lambda t: t.flip(1)
    n = lengths.to(x.device)[:, None]
    position = torch.arange(x.shape[1], device=x.device)
    index = torch.where(position < n, n - 1 - position, position)[..., None]
    return lambda t: t.gather(1, index.expand(-1, -1, t.shape[-1]))


class RecurrentEncoder(Encoder):
    """RNN, LSTM or GRU in both directions, each of D / 2 features.

    The backward layer reads the valid part of each row turned around, so that it starts at the
    row's last element; both directions then run on kernels that know no padding, which comes
    last and changes nothing before it.
    """

    def __init__(
        self, config: EncoderConfig, num_symbols: int, embedding: nn.Embedding | None = None
    ) -> None:
        """
        Args:
            config: the sizes.
            num_symbols: V.
            embedding: shared with another part; None: one of its own.
        """
        super().__init__()
        self.config, self.size = config, config.model_size
        self.embedding = embedding or make_embedding(config, num_symbols)

        def layers() -> nn.ModuleList:
            size, kind = config.model_size, config.encoder
            return nn.ModuleList(
                RecurrentStack(kind, size, size // 2, 1, 0.0) for _ in range(config.encoder_layers)
            )

        self.forward_layers: Any = layers()
        self.backward_layers: Any = layers()

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Outputs of the last layer, [forward; backward]."""
        h = self._dropped(scaled_embedding(self.embedding, x, self.config))
        turned = reversal(lengths, x)
        pairs = zip(self.forward_layers, self.backward_layers, strict=True)
        for i, (ahead, back) in enumerate(pairs):
            h = self._dropped(h) if i else h
            zeros = ahead.zeros(len(x))
            there, _ = ahead(zeros, h, lengths, keep=False)
            again, _ = back(zeros, turned(h), lengths, keep=False, reorder=turned)
            h = torch.cat([there, turned(again)], -1)
        return self._dropped(h)

    def tap_children(self) -> Mapping[str, nn.Module]:
        """Layers of two directions."""
        ways = (("forward", self.forward_layers), ("backward", self.backward_layers))
        return {
            f"layers.{i}.{way}": stack.cells[0]
            for way, stacks in ways
            for i, stack in enumerate(stacks)
        }

    def summary(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """What each direction says once it has read everything: [f_S; b_1]."""
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
    """Symbols x (B, L) as inputs of recurrent layers, (B, L, D)."""
    h: Tensor = embedding(x)
    return h * math.sqrt(config.model_size) if config.scale_embeddings else h


# ---- a model of sequences as an encoder ---------------------------------------------------------


class CausalEncoder(Encoder):
    """Any `SequenceModel` whose features are vectors: each position sees only what came before.

    Its features after an element are the state at that element.
    """

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            features = model.start(1).features
        if not isinstance(features, Tensor) or features.ndim != 2:
            raise TypeError(f"{type(model).__name__} has no vectors as features to be states")
        self.size = features.shape[1]

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The features after each element."""
        states: Tensor
        states, _ = self.model.advance(self.model.empty(len(x)), x, lengths, keep=False)
        return states

    def tap_children(self) -> Mapping[str, nn.Module]:
        """What the model has."""
        return {"": self.model}

    def summary(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """The features after the last element."""
        last: Tensor = tree.at_last(states, lengths)
        return last

    def pooled(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """The summary: earlier states have seen only a part."""
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
    """The encoder that a configuration asks for, over V symbols.

    Args:
        embedding: shared with another part; None: one of its own.
    """
    return ENCODERS[config.encoder](config, num_symbols, embedding)
