"""The idea in code: states, batches, distributions, the contract of a model, ensembles."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.core.batch import Batch as Batch
    from seriatim.core.distributions import Categorical as Categorical
    from seriatim.core.distributions import Discrete as Discrete
    from seriatim.core.distributions import Distribution as Distribution
    from seriatim.core.ensembles import Mixture as Mixture
    from seriatim.core.ensembles import Product as Product
    from seriatim.core.ensembles import Scorer as Scorer
    from seriatim.core.model import SequenceModel as SequenceModel
    from seriatim.core.model import State as State

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "batch": ["Batch"],
        "distributions": ["Categorical", "Discrete", "Distribution"],
        "ensembles": ["Mixture", "Product", "Scorer"],
        "model": ["SequenceModel", "State"],
    },
)
