"""What encoders and decoders are stacked of, as a configuration asks for it.

Knows how the parts of `layers` are chosen, sized and initialised, and how recurrent layers run
over a chunk. Does not know what a stack is for.

Shapes: B rows, L elements of a chunk, E and D features of the input and of a layer, N layers.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim import tree
from seriatim.families.configuration import GRU, LSTM, RNN, EncoderConfig, RecurrentConfig
from seriatim.families.recurrent import KINDS
from seriatim.layers.attention import MultiHeadAttention
from seriatim.layers.blocks import FeedForward, RMSNorm, SwiGLU
from seriatim.model import Carry

_STD = 0.02


# ---- Transformers -------------------------------------------------------------------------------


def make_attention(config: EncoderConfig) -> MultiHeadAttention:
    """Heads of the configured sizes."""
    return MultiHeadAttention(
        config.model_size,
        config.num_heads,
        config.head_size,
        config.value_size or config.head_size,
        bias=config.attention_bias,
    )


def make_norm(config: EncoderConfig) -> nn.Module:
    """A norm over D features."""
    if config.norm == "rms":
        return RMSNorm(config.model_size)
    return nn.LayerNorm(config.model_size, bias=config.bias)


def make_feedforward(config: EncoderConfig) -> nn.Module:
    """The network at each position by itself."""
    size, inner = config.model_size, config.feedforward_size
    if config.feedforward == "swiglu":
        # Three matrices instead of two: 8/3 D keeps the number of weights (Shazeer 2020, 2).
        return SwiGLU(size, inner or 8 * math.ceil(size / 3), bias=config.bias)
    activation = nn.ReLU() if config.feedforward == "relu" else nn.GELU()
    return FeedForward(size, inner or 4 * size, activation, bias=config.bias)


def initialise_blocks(blocks: nn.Module, config: EncoderConfig, num_sublayers: int) -> None:
    """Weights of residual blocks, as `families.transformer` sets them and for its reasons.

    Norm first: N(0, 0.02^2), and 1 / sqrt(num_sublayers) of it for what is added to the
    residual stream. Norm last: Glorot, Bengio 2010.
    """
    residual = _STD / math.sqrt(num_sublayers)
    for name, parameter in blocks.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2 and not config.norm_first:
            nn.init.xavier_uniform_(parameter)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=residual if name.endswith("output.weight") else _STD)


def make_embedding(config: EncoderConfig, num_symbols: int) -> nn.Embedding:
    """An embedding that may also be the output layer.

    N(0, 1 / D): scaled by sqrt(D) it enters with variance 1, and as the output layer it gives
    logits of about the size of one feature. Unscaled in front of norms it is N(0, 0.02^2).
    """
    embedding = nn.Embedding(num_symbols, config.model_size)
    is_small = "transformer" in config.parts and not config.scale_embeddings
    nn.init.normal_(embedding.weight, std=_STD if is_small else config.model_size**-0.5)
    return embedding


# ---- recurrent layers ---------------------------------------------------------------------------

_BY_NAME: Mapping[str, type[RecurrentConfig]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


class RecurrentStack(nn.Module):
    """N recurrent layers on the kernels of `families.recurrent`; a carry is a state for each.

    Attributes:
        cells: the reference cells, which hold the weights.
        dropout: share dropped between the layers in training.
    """

    def __init__(
        self, kind: str, input_size: int, size: int, num_layers: int, dropout: float
    ) -> None:
        super().__init__()
        config = _BY_NAME[kind]()
        made = KINDS[type(config)](config)
        self.kernel, self.dropout = made.kernel, dropout
        self.cells: Any = nn.ModuleList(
            made.cell(size if i else input_size, size) for i in range(num_layers)
        )

    def zeros(self, batch_size: int) -> Carry:
        """States of nothing."""
        return tuple(cell.initial(batch_size) for cell in self.cells)

    def forward(
        self, carry: Carry, x: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """x (B, L, E): outputs (B, L, D) and, if wanted, the carry after each last valid one."""
        dropout = self.dropout if self.training else 0.0
        if x.shape[1] == 1:
            return self._step(carry, x, lengths, dropout)
        if lengths is not None and keep:
            return self._ragged(carry, x, lengths, dropout)
        outputs, after = self.kernel.chunk(self.cells, carry, x, dropout)
        return outputs, after if lengths is None else None

    def _step(
        self, carry: Carry, inputs: Tensor, lengths: Tensor | None, dropout: float
    ) -> tuple[Tensor, Carry]:
        x = inputs[:, 0]
        after = []
        for i, (cell, h) in enumerate(zip(self.cells, carry, strict=True)):
            after.append(self.kernel.step(cell, h, F.dropout(x, dropout, i > 0)))
            x = cell.output(after[-1])
        kept = tuple(after) if lengths is None else only_valid(lengths, tuple(after), carry)
        return x[:, None], kept

    def _ragged(
        self, carry: Carry, x: Tensor, lengths: Tensor, dropout: float
    ) -> tuple[Tensor, Carry]:
        after = []
        for i, (cell, h) in enumerate(zip(self.cells, carry, strict=True)):
            x, h = self.kernel.ragged(cell, h, F.dropout(x, dropout, i > 0), lengths)
            after.append(h)
        return x, tuple(after)


def only_valid(lengths: Tensor, new: Carry, old: Carry) -> Carry:
    """The new state (B, ...) of rows whose length is not 0, the old one of the others."""

    def choose(a: Tensor, b: Tensor) -> Tensor:
        valid = (lengths > 0).to(a.device).view(-1, *[1] * (a.ndim - 1))
        return torch.where(valid, a, b)

    return tree.map_leaves(choose, new, old)
