"""Options of the hidden Markov model."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Interval

from seriatim.models.options.base import ModelConfig, Size, option_class


@option_class
class HMM(ModelConfig):
    """The hidden Markov model: a chain of hidden states, each with its own distribution.

        p(z_1) = pi,   p(z_t+1 = j | z_t = i) = A_ij,   x_t ~ p(. | z_t)

    Over symbols each state has a probability of every symbol (the latent Markov model). Over
    numbers it has a mean, and of real numbers a variance.

    Attributes:
        num_states: K, the number of hidden states.
        emission: the distribution of numbers in a state: "normal", "poisson" (of counts), or
            "categorical" (of symbols); None: what suits the data.
        restarts: how often Baum-Welch begins from random parameters; the best is kept.
        max_iterations: the most iterations of Baum-Welch.
        tolerance: the least gain of an iteration, in nats per element, to go on for.
        prior: the imaginary observations of each state over symbols, which are distributed as all
            symbols are; so no symbol has probability 0.
    """

    family: ClassVar[str] = "hmm"
    elements: ClassVar[frozenset[str]] = frozenset({"symbols", "numbers"})
    is_entrant: ClassVar[bool] = False
    widths: ClassVar[tuple[str, ...]] = ("num_states",)

    num_states: Size = 16
    emission: Literal["categorical", "normal", "poisson"] | None = None
    restarts: Size = 10
    max_iterations: Size = 100
    tolerance: Annotated[float, Interval(gt=0.0)] = 1e-5
    prior: Annotated[float, Interval(gt=0.0)] = 1.0
