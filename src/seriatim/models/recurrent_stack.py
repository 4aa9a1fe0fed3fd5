"""What encoders and decoders are stacked of, as a configuration asks for it.

Knows how the parts of `layers` are chosen, sized and initialized, and how recurrent layers run
over a chunk. Does not know what a stack is for.

Shapes: B rows, L elements of a chunk, E and D features of the input and of a layer, N layers.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core import taps, tree
from seriatim.core.model import Carry
from seriatim.layers.recurrent_taps import Turn, tap_chunk, tap_step
from seriatim.models.options.encoder_decoder import EncoderConfig
from seriatim.models.options.recurrent import GRU, LSTM, RNN, RecurrentConfig
from seriatim.models.recurrent import KINDS
from seriatim.models.transformer_parts import STD


def make_embedding(config: EncoderConfig, num_symbols: int) -> nn.Embedding:
    """An embedding that may also be the output layer.

    N(0, 1 / D): scaled by sqrt(D) it enters with variance 1, and as the output layer it gives
    logits of about the size of one feature. Unscaled in front of norms it is N(0, 0.02^2).
    """
    embedding = nn.Embedding(num_symbols, config.model_size)
    is_small = "transformer" in config.parts and not config.scale_embeddings
    nn.init.normal_(embedding.weight, std=STD if is_small else config.model_size**-0.5)
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
        self,
        carry: Carry,
        x: Tensor,
        lengths: Tensor | None,
        *,
        keep: bool = True,
        turn: Turn | None = None,
    ) -> tuple[Tensor, Carry | None]:
        """x (B, L, E): outputs (B, L, D) and, if wanted, the carry after each last valid one.

        Args:
            turn: brings (B, L, ...) into the order of the sequence, if x is in another: for
                recorders.
        """
        dropout = self.dropout if self.training else 0.0
        if x.shape[1] == 1:
            return self._step(carry, x, lengths, dropout)
        ends = lengths if keep else None
        if ends is not None or taps.is_on():
            outputs, after = self._by_layers(carry, x, lengths, ends, dropout, turn)
        else:
            outputs, after = self.kernel.chunk(self.cells, carry, x, dropout)
        return outputs, after if keep or lengths is None else None

    def _step(
        self, carry: Carry, inputs: Tensor, lengths: Tensor | None, dropout: float
    ) -> tuple[Tensor, Carry]:
        x = inputs[:, 0]
        after = []
        for i, (cell, h) in enumerate(zip(self.cells, carry, strict=True)):
            x = F.dropout(x, dropout, i > 0)
            after.append(self.kernel.step(cell, h, x))
            if taps.is_on():
                tap_step(cell, after[-1], lengths, partial(cell.inside, h, x, after[-1]))
            x = cell.output(after[-1])
        if lengths is None:
            return x[:, None], tuple(after)
        return x[:, None], tree.where_rows(lengths > 0, tuple(after), carry)

    def _by_layers(
        self,
        carry: Carry,
        x: Tensor,
        lengths: Tensor | None,
        ends: Tensor | None,
        dropout: float,
        turn: Turn | None,
    ) -> tuple[Tensor, Carry]:
        """As `Recurrent._by_layers`."""
        after = []
        for i, (cell, h) in enumerate(zip(self.cells, carry, strict=True)):
            x = F.dropout(x, dropout, i > 0)
            if ends is None:
                shown, (last,) = self.kernel.chunk([cell], (h,), x, 0.0)
            else:
                shown, last = self.kernel.ragged(cell, h, x, ends)
            if taps.is_on():
                tap_chunk(cell, h, x, shown, lengths, turn)
            after.append(last)
            x = shown
        return x, tuple(after)
