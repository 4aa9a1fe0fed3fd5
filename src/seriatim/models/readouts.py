"""Readouts of an encoder: a label of a sequence or of each element, or a number.

    sequence:  p(label | x) = softmax(W s(x) + b),      s the pooled states of the encoder
    element:   p(label_t | x) = softmax(W h_t + b),     h_t the state at element t
    number:    p(y | x) = N(w s(x) + b, 1)              so that -2 ln p is the squared error

All are distributions of targets given a source, so training sees a `TargetModel` as any other.

Shapes: B rows, S positions of a source, L targets of a row (1 for a whole sequence), D features.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from seriatim.core.batch import Batch
from seriatim.core.distributions import Distribution, LinearCategorical
from seriatim.core.model import Carry, Objective, TargetModel, log_likelihood
from seriatim.core.products import Linear
from seriatim.errors import ConfigError
from seriatim.models.encoders import Encoder


class Readout(TargetModel):
    """A distribution of targets (B, L), given a source."""

    def __init__(self, encoder: Encoder, num_outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = Linear(encoder.size, num_outputs)
        nn.init.zeros_(self.head.bias)

    @abstractmethod
    def features(self, source: Batch) -> Tensor:
        """(B, L, D) the features of a source (B, S), one vector for each target."""

    def pooled(self, source: Batch) -> Tensor:
        """(B, 1, D) the pooled states of the encoder."""
        states = self.encoder.encode(source.inputs, source.lengths)
        return self.encoder.pooled(states, source.lengths)[:, None]

    @abstractmethod
    def emit(self, features: Tensor) -> Distribution:
        """The distribution of the targets, of batch shape (B, L)."""

    def forward(
        self,
        batch: Batch,
        carry: Carry | None = None,
        *,
        objective: Objective = log_likelihood,
        keep: bool = False,
    ) -> tuple[Tensor, Carry | None]:
        """(B, L) the objective of every target; there is no carry.

        Raises:
            ConfigError: if the batch has no source.
        """
        if batch.source is None:
            raise ConfigError("a label needs a source: give Batch(..., source=Batch(...))")
        features = self.features(batch.source)[:, : batch.shape[1]]
        return batch.weigh(objective(self.emit(features), batch.targets, features)), None


class LabelReadout(Readout):
    """Labels by the softmax of a linear layer."""

    def emit(self, features: Tensor) -> LinearCategorical:
        """The distribution of each label."""
        return LinearCategorical(features, self.head.weight, self.head.bias)


class SequenceLabels(LabelReadout):
    """One label for each sequence."""

    def features(self, source: Batch) -> Tensor:
        """(B, 1, D) the pooled states."""
        return self.pooled(source)


class ElementLabels(LabelReadout):
    """One label for each element; the boundary after the last has none."""

    def features(self, source: Batch) -> Tensor:
        """(B, S, D) the states; that of the boundary is not used."""
        return self.encoder.encode(source.inputs, source.lengths)


class SequenceNumber(Readout):
    """One number for each sequence, with normally distributed errors of variance 1."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder, 1)

    def features(self, source: Batch) -> Tensor:
        """(B, 1, D) the pooled states."""
        return self.pooled(source)

    def emit(self, features: Tensor) -> "UnitNormal":
        """The distribution of the number."""
        return UnitNormal(self.head(features)[..., 0])


class UnitNormal(Distribution):
    """N(mean, 1)."""

    def __init__(self, mean: Tensor) -> None:
        self.mean = mean

    def log_prob(self, x: Tensor) -> Tensor:
        """-(x - mean)^2 / 2 - ln(2 pi) / 2, nats."""
        return -0.5 * (x - self.mean).square() - 0.5 * math.log(2 * math.pi)

    def sample(self, u: Tensor) -> Tensor:
        """The inverse CDF at u."""
        standard: Tensor = torch.special.ndtri(u)
        return self.mean + standard.to(self.mean)
