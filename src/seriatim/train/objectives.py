"""Training objectives: what is maximized for each target.

Pure functions of the distribution, the target and the features; no model, no data, no optimizer.

Shapes: B rows, L elements, V symbols, D features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.core.distributions import Discrete, Distribution, LinearCategorical
from seriatim.core.model import Features, Objective, log_likelihood
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError
from seriatim.train.options import TrainingOptions


@dataclass(frozen=True)
class SmoothedLikelihood:
    """(1 - e) ln p(target) + e / V sum_v ln p(v), nats.

    Label smoothing: the cross-entropy with a fraction e of each target spread evenly over all
    symbols (Szegedy et al. 2016, section 7; e = 0.1 in Vaswani et al. 2017, 5.4).

    Attributes:
        fraction: the fraction e.
    """

    fraction: float

    def __call__(self, distribution: Distribution, targets: Tree, features: Features) -> Tensor:
        """(B, L) the objective.

        Raises:
            ConfigError: if the distribution is not one over symbols.
        """
        if not isinstance(distribution, Discrete):
            raise ConfigError(
                "label_smoothing spreads a target over all symbols, and "
                f"{type(distribution).__name__} is of numbers or vectors: leave it out"
            )
        return distribution.smoothed_log_prob(targets, self.fraction)


@dataclass(frozen=True)
class PenalizedActivations:
    """An objective less alpha mean_d (m h_t)^2 and less beta mean_d (h_t - h_{t-1})^2.

    Activation regularization and its temporal form (Merity, McCann, Socher 2017, section 4.6;
    alpha 2 and beta 1 there). h_t are the features (B, L, D), and m h_t what the output layer
    reads of them, dropout included. The first element of a chunk has no change. The penalty of
    padding is masked with it: a valid element never follows padding.

    Attributes:
        objective: the objective that is penalized.
        activation: the weight alpha.
        temporal: the weight beta.
    """

    objective: Objective
    activation: float
    temporal: float

    def __call__(self, distribution: Distribution, targets: Tree, features: Features) -> Tensor:
        """(B, L) the penalized objective; the features must be one tensor."""
        if not isinstance(features, Tensor):
            raise TypeError(
                f"activation_penalty and temporal_penalty need features (B, L, D), and this model "
                f"has a {type(features).__name__}: leave them out"
            )
        values = self.objective(distribution, targets, features)
        if self.activation:
            read = features
            if isinstance(distribution, LinearCategorical):
                read = distribution.features
            values = values - self.activation * read.pow(2).mean(-1)
        if self.temporal:
            changes = (features[:, 1:] - features[:, :-1]).pow(2).mean(-1)
            values = values - self.temporal * torch.nn.functional.pad(changes, (1, 0))
        return values


def make_objective(options: TrainingOptions) -> Objective:
    """The objective that the options name."""
    objective: Objective = log_likelihood
    if options.label_smoothing:
        objective = SmoothedLikelihood(options.label_smoothing)
    if options.activation_penalty or options.temporal_penalty:
        return PenalizedActivations(objective, options.activation_penalty, options.temporal_penalty)
    return objective
