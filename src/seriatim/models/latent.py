"""The latent autoregressive model: it keeps the state of any cell h_t = g(h_{t-1}, x_t).

    p(x_{t+1}) = softmax(V o(h_t) + b),   o the cell's `output`

`cell_loop` runs the cell.

Shapes: B rows, L elements of a chunk, E and D features of an embedding and of the output,
V symbols.
"""

from torch import Tensor, nn

from seriatim.core.distributions import LinearCategorical
from seriatim.core.elements import Symbols
from seriatim.core.model import Carry, SequenceModel
from seriatim.models.cell_loop import CellLoop
from seriatim.models.options.latent import Latent


class LatentModel(CellLoop, SequenceModel):
    """A language model around one cell, run step by step. The carry is the cell's state.

    Attributes:
        embedding: E, (V, E).
        head: V and b, (V, D) and (V,).
    """

    def __init__(self, config: Latent, num_symbols: int, boundary: int) -> None:
        """
        Raises:
            ConfigError: if `config.cell` is not a Cell, or does not take the options.
        """
        SequenceModel.__init__(self, Symbols(num_symbols, boundary))
        width = config.embedding_size or config.hidden_size
        self.embedding = nn.Embedding(num_symbols, width)
        self.make_cell(config, width)
        self.head = nn.Linear(config.hidden_size, num_symbols)
        nn.init.zeros_(self.head.bias)

    def advance(
        self, carry: Carry, x: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        return self.fold(carry, self.embedding(x), lengths, keep=keep)

    def emit(self, features: Tensor) -> LinearCategorical:
        return LinearCategorical(features, self.head.weight, self.head.bias)
