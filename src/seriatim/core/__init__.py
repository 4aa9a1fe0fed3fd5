"""The idea in code: states, batches, distributions, the contract of a model, ensembles.

`seriatim.core.tree` handles any state; `register` there makes a dataclass part of one.
"""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.core.batch import Batch as Batch
    from seriatim.core.batch import TokenSequences as TokenSequences
    from seriatim.core.batch import valid_mask as valid_mask
    from seriatim.core.counts import NegativeBinomial as NegativeBinomial
    from seriatim.core.counts import Poisson as Poisson
    from seriatim.core.densities import Affine as Affine
    from seriatim.core.densities import Density as Density
    from seriatim.core.densities import MultivariateNormal as MultivariateNormal
    from seriatim.core.densities import Normal as Normal
    from seriatim.core.densities import StudentT as StudentT
    from seriatim.core.density_transforms import Exponential as Exponential
    from seriatim.core.density_transforms import MixtureDensity as MixtureDensity
    from seriatim.core.density_transforms import NormalMixture as NormalMixture
    from seriatim.core.distributions import Categorical as Categorical
    from seriatim.core.distributions import Discrete as Discrete
    from seriatim.core.distributions import Distribution as Distribution
    from seriatim.core.distributions import LinearCategorical as LinearCategorical
    from seriatim.core.distributions import inverse_cdf as inverse_cdf
    from seriatim.core.distributions import top_k as top_k
    from seriatim.core.distributions import uniforms as uniforms
    from seriatim.core.elements import Element as Element
    from seriatim.core.elements import Numbers as Numbers
    from seriatim.core.elements import Symbols as Symbols
    from seriatim.core.ensembles import Mixture as Mixture
    from seriatim.core.ensembles import Product as Product
    from seriatim.core.ensembles import Scorer as Scorer
    from seriatim.core.model import BoundModel as BoundModel
    from seriatim.core.model import SequenceModel as SequenceModel
    from seriatim.core.model import State as State
    from seriatim.core.model import TargetModel as TargetModel
    from seriatim.core.model import log_likelihood as log_likelihood
    from seriatim.core.taps import Recorder as Recorder
    from seriatim.core.values import NumberInput as NumberInput
    from seriatim.core.values import NumberSequences as NumberSequences
    from seriatim.core.values import Values as Values

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "batch": ["Batch", "TokenSequences", "valid_mask"],
        "counts": ["NegativeBinomial", "Poisson"],
        "densities": ["Affine", "Density", "MultivariateNormal", "Normal", "StudentT"],
        "density_transforms": ["Exponential", "MixtureDensity", "NormalMixture"],
        "distributions": [
            "Categorical",
            "Discrete",
            "Distribution",
            "LinearCategorical",
            "inverse_cdf",
            "top_k",
            "uniforms",
        ],
        "values": ["NumberInput", "NumberSequences", "Values"],
        "elements": ["Element", "Numbers", "Symbols"],
        "model": ["BoundModel", "SequenceModel", "State", "TargetModel", "log_likelihood"],
        "ensembles": ["Mixture", "Product", "Scorer"],
        "taps": ["Recorder"],
    },
)
