"""A network over the last k vectors: what an autoregressive window is, whatever it reads.

    h^1 = tanh(d + H (e_{t-k+1}, .., e_t)),      h^l = tanh(d^l + H^l h^{l-1})

Shapes: B rows, L elements of a chunk, k the window, E and D features of an input and of a hidden
layer.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core import taps
from seriatim.core.model import Carry
from seriatim.core.products import Linear
from seriatim.core.tree import Tree
from seriatim.models.options.autoregressive import Autoregressive


class HiddenLayers(nn.Module):
    """The hidden layers of a network over a window.

    Attributes:
        config: the configuration that it was built from.
        hidden: H and d of the first hidden layer, then the weights and biases of further layers.
    """

    config: Autoregressive
    hidden: Any

    @property
    def reach(self) -> int | None:
        """k: all before the window is forgotten."""
        return self.config.window

    def make_hidden(self, config: Autoregressive, input_size: int) -> None:
        """Make the layers, without initializing them, as a part of the construction."""
        self.config = config
        width, size = config.window * input_size, config.hidden_size
        self.hidden = nn.ModuleList(
            Linear(size if i else width, size) for i in range(config.num_layers)
        )

    def initialize_hidden(self) -> None:
        """Initialize the layers (Glorot, Bengio 2010)."""
        for name, parameter in self.hidden.named_parameters():
            if name.endswith("weight"):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def after_first(self, first: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, L, D) the last hidden layer, from d + H x of the first (B, L, D)."""
        outputs = first
        for i, layer in enumerate(self.hidden):
            outputs = (layer(outputs) if i else outputs).tanh()
            outputs = F.dropout(outputs, self.config.dropout, self.training)
            if taps.is_on():
                taps.put(layer, "hidden", taps.Record(outputs, lengths))
        return outputs

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The hidden layers."""
        return {"layers": self.hidden}


class VectorWindow(HiddenLayers):
    """A feed-forward network over the last k vectors, which are the carry, (B, k, E).

    Slots before the first element hold zeros.
    """

    def __init__(self, config: Autoregressive, input_size: int) -> None:
        super().__init__()
        self.make_hidden(config, input_size)
        self.initialize_hidden()
        self._input_size = input_size

    @property
    def size(self) -> int:
        """D, or D + k E if there is a direct connection."""
        width = self.config.window * self._input_size
        return self.config.hidden_size + width * self.config.direct

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Tensor:
        """(B, k, E) zeros."""
        size = (batch_size, self.config.window, self._input_size)
        return next(self.parameters()).new_zeros(size)

    def fold(
        self, carry: Carry, e: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """Fold vectors e (B, L, E), as `SequenceModel.advance`; features (B, L, D)."""
        window = self.config.window
        seen = torch.cat([carry, e], 1)
        windows = seen.unfold(1, window, 1)[:, 1:].transpose(2, 3).flatten(2)
        outputs = self.after_first(self.hidden[0](windows), lengths)
        if self.config.direct:
            outputs = torch.cat([outputs, windows], -1)
        if lengths is None:
            return outputs, seen[:, -window:]
        last = lengths.to(e.device)[:, None] + torch.arange(window, device=e.device)
        return outputs, seen.gather(1, last[..., None].expand(-1, -1, seen.shape[2]))
