"""Recurrent networks over binary vectors, such as the keys that sound at each step of a piece.

    p(x_t | past) = prod_k  q_k^x_k (1 - q_k)^(1 - x_k),    q = sigmoid(V h_t + b)

Boulanger-Lewandowski, Bengio, Vincent 2012, section 3, with independent keys. The recurrence is
that of `models.recurrent`; here are only its inputs and its distribution.

Shapes: B rows, L steps, K components of a vector, D features.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.core.distributions import Distribution, uniforms
from seriatim.core.products import Linear
from seriatim.errors import ConfigError
from seriatim.models.options.recurrent import RecurrentConfig
from seriatim.models.recurrent import Recurrent

# The values of a component: 0, 1, and the boundary, in the vector before the first.
_VALUES, _BOUNDARY = 3, 2


class BernoulliVector(Distribution):
    """K independent yes-or-no components: p(x_k = 1) = sigmoid(a_k)."""

    def __init__(self, logits: Tensor) -> None:
        """
        Args:
            logits: a (..., K).
        """
        self.logits = logits

    def log_prob(self, x: Tensor) -> Tensor:
        """(...) the sum over the components in nats, for x (..., K) of 0 and 1 of any type."""
        each = F.binary_cross_entropy_with_logits(
            self.logits, x.to(self.logits.dtype), reduction="none"
        )
        return -each.sum(-1)

    def sample(self, u: Tensor) -> Tensor:
        """(..., K) of 0 and 1; the uniform number of a row seeds the counters of its components."""
        bits = u.double().cpu().numpy().view(np.int64)
        rows = torch.from_numpy(bits[..., None].copy())
        each = uniforms(0, rows, np.arange(self.logits.shape[-1]))
        return (each.to(self.logits.device) < self.logits.sigmoid()).to(torch.int64)


class VectorInput(nn.Module):
    """e = W x + b, and a learned vector for the boundary before the first element."""

    def __init__(self, num_components: int, size: int) -> None:
        super().__init__()
        self.linear = Linear(num_components, size)
        self.start = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        """e (B, L, D) for x (B, L, K)."""
        is_boundary = (x[..., :1] == _BOUNDARY).to(x.device)
        e: Tensor = self.linear(x.to(self.linear.weight.dtype))
        return torch.where(is_boundary, self.start, e)


class VectorModel(Recurrent):
    """An RNN, LSTM or GRU over binary vectors (B, L, K)."""

    def __init__(self, config: RecurrentConfig, num_components: int) -> None:
        """
        Args:
            config: the options of the recurrence; `embedding_size` is the width of the input layer.
            num_components: K.

        Raises:
            ConfigError: if embeddings are tied or dropped, which vectors do not have.
        """
        if config.tie_embeddings or config.embedding_dropout:
            raise ConfigError(
                "vectors have no embeddings to tie or to drop: leave out tie_embeddings and "
                "embedding_dropout"
            )
        super().__init__(config, _VALUES, _BOUNDARY)
        self.num_components = num_components
        self.embedding = VectorInput(  # type: ignore[assignment]
            num_components, config.embedding_size or config.hidden_size
        )
        self.head = Linear(config.hidden_size, num_components)
        nn.init.zeros_(self.head.bias)

    def first(self, batch_size: int) -> Tensor:
        """(B, 1, K) the boundary, as the input before the first vector."""
        size = (batch_size, 1, self.num_components)
        return torch.full(size, self.boundary, device=self.device)

    def emit(self, features: Tensor) -> BernoulliVector:  # type: ignore[override]
        """The distribution of the next vector."""
        return BernoulliVector(self.head(self.dropped(features)))
