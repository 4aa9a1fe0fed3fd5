"""The autoregressive window: it keeps the last k symbols, and reads them by a feed-forward network.

Bengio et al. 2003, equation 1:

    x = (C(x_{t-k+1}), .., C(x_t)),      y = b + W x + U tanh(d + H x),      p = softmax(y)

Shapes: B rows, L elements of a chunk, k the window, E and D features of an embedding and of a
hidden layer, V symbols.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core.distributions import LinearCategorical
from seriatim.core.elements import Symbols
from seriatim.core.model import Carry, SequenceModel
from seriatim.core.products import Linear, linear
from seriatim.core.tree import Tree
from seriatim.models.options.autoregressive import Autoregressive
from seriatim.models.vector_window import HiddenLayers


class AutoregressiveModel(HiddenLayers, SequenceModel):
    """A feed-forward network over the last k symbols; the carry is those symbols, (B, k).

    Slots before the first element hold V, which is no symbol but has its own embedding.

    Attributes:
        embedding: C, (V + 1, E).
        head: U, or [U W] if `direct`, and b: (V, D) or (V, D + k E), and (V,).
    """

    def __init__(self, config: Autoregressive, num_symbols: int, boundary: int) -> None:
        SequenceModel.__init__(self, Symbols(num_symbols, boundary))
        width = config.window * config.embedding_size
        self.embedding = nn.Embedding(num_symbols + 1, config.embedding_size)
        self.make_hidden(config, config.embedding_size)
        self.head = nn.Linear(config.hidden_size + width * config.direct, num_symbols)
        self.initialize_hidden()
        nn.init.zeros_(self.head.bias)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Tensor:
        size = (batch_size, self.config.window)
        return torch.full(size, self.num_symbols, device=self.embedding.weight.device)

    def advance(
        self, carry: Carry, x: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        window = self.config.window
        seen = torch.cat([carry, x], 1)
        windows = seen.unfold(1, window, 1)[:, 1:]  # (B, L, k), the k symbols up to each
        outputs = self.after_first(self._first(windows), lengths)
        if self.config.direct:
            outputs = torch.cat([outputs, self.embedding(windows).flatten(2)], -1)
        if lengths is None:
            return outputs, seen[:, -window:]
        last = lengths.to(x.device)[:, None] + torch.arange(window, device=x.device)
        return outputs, seen.gather(1, last)

    def emit(self, features: Tensor) -> LinearCategorical:
        return LinearCategorical(features, self.head.weight, self.head.bias)

    def _first(self, windows: Tensor) -> Tensor:
        """(B, L, D) d + H x, for the symbols (B, L, k) of each window.

        H x = sum_j H_j C(x_j) for the blocks H_j of H. With more windows than symbols it is
        faster to multiply each symbol with each block once, and to add rows of that table: 3 times
        for 65 symbols and 32 x 128 windows. Otherwise it is one product; a convolution or a sum of
        k products was not faster.
        """
        rows, length, window = windows.shape
        first: Linear = self.hidden[0]
        if rows * length < 2 * self.num_symbols:
            return linear(self.embedding(windows).flatten(2), first.weight, first.bias)
        blocks = first.weight.view(-1, window, self.config.embedding_size)
        table = torch.einsum("ve,dke->kvd", self.embedding.weight, blocks).flatten(0, 1)
        at = windows + (self.num_symbols + 1) * torch.arange(window, device=windows.device)
        total = F.embedding_bag(at.flatten(0, 1), table, mode="sum") + first.bias
        return total.view(rows, length, -1)
