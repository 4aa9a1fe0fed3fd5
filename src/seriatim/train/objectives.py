"""What is maximised for each target, from the distribution, the target and the features.

Pure functions of tensors; they know no model, no data and no optimiser.

Shapes: B rows, L elements, V symbols, D features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.distributions import Discrete, Distribution
from seriatim.model import Features, Objective, log_likelihood
from seriatim.train.options import TrainingOptions
from seriatim.tree import Tree


@dataclass(frozen=True)
class SmoothedLikelihood:
    """(1 - e) ln p(target) + e / V sum_v ln p(v), nats.

    The cross-entropy with targets of which a share e is spread over all symbols evenly (Szegedy
    et al. 2016, section 7; e = 0.1 in Vaswani et al. 2017, 5.4).
    """

    share: float

    def __call__(self, distribution: Distribution, targets: Tree, features: Features) -> Tensor:
        """(B, L); the distribution must be one over symbols."""
        if not isinstance(distribution, Discrete):
            raise TypeError(f"{type(distribution).__name__} has no symbols to spread a target over")
        even = distribution.dense().mean(-1)
        return torch.lerp(distribution.log_prob(targets), even, self.share)


def make_objective(options: TrainingOptions) -> Objective:
    """The objective that the options name."""
    if options.label_smoothing:
        return SmoothedLikelihood(options.label_smoothing)
    return log_likelihood
