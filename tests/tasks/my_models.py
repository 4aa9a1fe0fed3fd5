"""Classes of a user's own, as they stand in a file for `--classes`.

Not registered here, so that they are known to no other test.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

import seriatim as st
from seriatim.core.tree import Tree
from seriatim.models.options.base import option_class


@option_class
class Fading(st.ModelConfig):
    """A fading average of embeddings.

    Attributes:
        size: the width of the average.
    """

    family: ClassVar[str] = "fading"
    widths: ClassVar[tuple[str, ...]] = ("size",)

    size: int = 16

    def build(self, num_symbols: int, boundary: int) -> st.SequenceModel:
        return FadingAverage(num_symbols, boundary, self.size)


class FadingAverage(st.SequenceModel):
    """h_t = a h_{t-1} + (1 - a) E x_t,   p(x_{t+1}) = softmax(W h_t + b)."""

    def __init__(self, num_symbols: int, boundary: int, size: int = 16) -> None:
        super().__init__(st.Symbols(num_symbols, boundary))
        self.embedding = nn.Embedding(num_symbols, size)
        self.fade = nn.Parameter(torch.zeros(size))
        self.head = nn.Linear(size, num_symbols)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Tensor:
        return self.head.weight.new_zeros(batch_size, self.fade.numel())

    def advance(
        self, carry: Tensor, x: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Tensor]:
        a, h, features = self.fade.sigmoid(), carry, []
        for t, e in enumerate(self.embedding(x).unbind(1)):
            new = a * h + (1 - a) * e
            if lengths is not None:
                new = torch.where((t < lengths.to(x.device))[:, None], new, h)
            h = new
            features.append(h)
        return torch.stack(features, 1), h

    def emit(self, features: Tensor) -> st.Categorical:
        return st.Categorical(self.head(features))


class Leaky(st.Cell):
    """h_t = 0.9 h_{t-1} + 0.1 tanh(W x_t)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.map = nn.Linear(input_size, hidden_size)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return 0.9 * h + 0.1 * self.map(x).tanh()


if __name__ == "__main__":
    raise AssertionError("a file of classes is executed under another name")
