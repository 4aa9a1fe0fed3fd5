"""Ensembles: mixtures and normalized products of models; scorers for unnormalized preferences.

Members are of the same element: of one vocabulary, or of the same numbers, whose densities a
mixture mixes. A mixture or product is again a `SequenceModel`: its carry is the tuple of its
members' carries, so it streams, samples and searches like any other model. Fusion
weights, penalties and constraints are not distributions: they are `Scorer`s, added inside the
search and never renormalized.

Shapes: B rows, L elements, V symbols, M members, N scored symbols.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from seriatim.core.batch import Batch
from seriatim.core.densities import as_density
from seriatim.core.density_transforms import MixtureDensity
from seriatim.core.distributions import Categorical, Discrete, Distribution, as_discrete
from seriatim.core.elements import Symbols
from seriatim.core.forecasting import HasWidths
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError


class Ensemble(SequenceModel):
    """Members folded side by side; a subclass defines how their distributions are combined."""

    def __init__(self, members: Sequence[SequenceModel]) -> None:
        """
        Args:
            members: the models, which must be of the same element.

        Raises:
            ConfigError: if there is no member, or members have different elements.
        """
        if not members:
            raise ConfigError("an ensemble has no members: give at least one model")
        first = members[0]
        for m in members[1:]:
            if m.element != first.element:
                raise ConfigError(
                    f"members must share their symbols or numbers: one is of {first.element}, "
                    f"another of {m.element}"
                )
        super().__init__(first.element)
        self.members = nn.ModuleList(members)
        self.num_series = max(m.num_series for m in members)
        # Members in evaluation mode stay so: an ensemble must not switch dropout on again.
        self.training = any(m.training for m in members)

    def _models(self) -> list[SequenceModel]:
        return [m for m in self.members if isinstance(m, SequenceModel)]

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        models = self._models()
        memories = [None] * len(models) if memory is None else memory
        return tuple(
            m.empty(batch_size, memory=memory, capacity=capacity)
            for m, memory in zip(models, memories, strict=True)
        )

    def encode(self, source: Batch) -> Tree:
        """The memory of every member, from its own encoder."""
        return tuple(m.encode(source) for m in self._models())

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        pairs = [
            m.advance(c, x, lengths, keep=keep) for m, c in zip(self._models(), carry, strict=True)
        ]
        return tuple(f for f, _ in pairs), tuple(c for _, c in pairs) if keep else None

    def of_series(self, index: Tensor) -> Tree | None:
        """What every member keeps of the sequences."""
        kept = tuple(m.of_series(index) for m in self._models())
        return None if all(k is None for k in kept) else kept

    def _emitted(self, features: Features) -> list[Distribution]:
        return [m.emit(f) for m, f in zip(self._models(), features, strict=True)]

    @property
    def positions_at_once(self) -> int:
        return min(m.positions_at_once for m in self._models())

    @property
    def reach(self) -> int | None:
        reaches = [m.reach for m in self._models()]
        return None if None in reaches else max(r for r in reaches if r is not None)


class Mixture(Ensemble):
    """p(x | past) = sum_m w_m p_m(x | past), weights w on the simplex.

    Of symbols a mixture of probabilities; of numbers one of densities, or of probabilities of
    counts.
    """

    log_weights: Tensor

    def __init__(
        self, members: Sequence[SequenceModel], weights: Sequence[float] | None = None
    ) -> None:
        """
        Args:
            members: models of the same element.
            weights: nonnegative weights of sum 1; None: equal weights. `fit_weights` fits them.

        Raises:
            ConfigError: if the weights are not a distribution over the members.
        """
        super().__init__(members)
        if weights is None:
            weights = [1.0 / len(members)] * len(members)
        w = torch.tensor(weights, dtype=torch.float64)
        if len(w) != len(members) or bool((w < 0).any()) or abs(float(w.sum()) - 1) > 1e-6:
            raise ConfigError(
                f"weights {list(weights)} are not a distribution over {len(members)} models: give "
                "one nonnegative weight per model, of sum 1"
            )
        self.register_buffer("log_weights", w.log())

    def emit(self, features: Features) -> Distribution:
        emitted = self._emitted(features)
        if isinstance(self.element, Symbols):
            return MixtureDistribution([as_discrete(d) for d in emitted], self.log_weights)
        densities = [as_density(d) for d in emitted]
        shape = (*densities[0].mean.shape[:-1], len(densities))
        log_weights = self.log_weights.to(densities[0].mean).expand(shape)
        return MixtureDensity(log_weights, densities)

    def keep(self, chosen: Sequence[int]) -> None:
        """Go on with some members alone, by their numbers, in their relative weights."""
        models = self._models()
        self.members = nn.ModuleList([models[i] for i in chosen])
        self.log_weights = self.log_weights[list(chosen)].log_softmax(0)

    @property
    def num_widths(self) -> int:
        """D, if every member has widths of its own; otherwise 0."""
        return min(m.num_widths if isinstance(m, HasWidths) else 0 for m in self._models())

    def set_widths(self, factors: Tensor) -> None:
        """Multiply the widths of every member by the same factors (D,)."""
        for m in self._models():
            if isinstance(m, HasWidths):
                m.set_widths(factors)

    def fit_weights(self, batches: Iterable[Batch]) -> list[float]:
        """Set the weights to those of greatest likelihood on `batches`, and return them.

        Args:
            batches: the validation data, each batch scored by every member from its empty state.
        """
        scored = []
        with torch.no_grad():
            for batch in batches:
                needed = batch.target_weights() > 0
                log_probs = [m.log_prob(batch)[needed].double() for m in self._models()]
                scored.append(torch.stack(log_probs))
        weights = em_weights(torch.cat(scored, 1))
        self.log_weights.copy_(weights.log())
        return [float(w) for w in weights]


class MixtureDistribution(Discrete):
    """A weighted sum of discrete distributions, as lazy as its members."""

    def __init__(self, parts: Sequence[Discrete], log_weights: Tensor) -> None:
        self.parts, self.log_weights = parts, log_weights

    @property
    def num_symbols(self) -> int:
        return self.parts[0].num_symbols

    def log_prob(self, x: Tensor) -> Tensor:
        return self._mix([d.log_prob(x) for d in self.parts])

    def masked(self, needed: Tensor) -> "MixtureDistribution":
        return MixtureDistribution([d.masked(needed) for d in self.parts], self.log_weights)

    def dense(self) -> Tensor:
        return self._mix([d.dense() for d in self.parts])

    def _mix(self, values: list[Tensor]) -> Tensor:
        w = self.log_weights.to(values[0].dtype).unbind()
        return torch.logsumexp(torch.stack([v + a for v, a in zip(values, w, strict=True)]), 0)


class Product(Ensemble):
    """p(x | past) proportional to prod_m p_m(x | past)^a_m, normalized at every step.

    Needs all V probabilities of every member, because the normalizer is a sum over symbols.
    """

    def __init__(
        self, members: Sequence[SequenceModel], exponents: Sequence[float] | None = None
    ) -> None:
        """
        Args:
            members: models with the same symbols.
            exponents: the exponents a_m >= 0; None: 1 / M each, the geometric mean.

        Raises:
            ConfigError: if there is not one exponent per member, or one is negative, or the members
                are models of numbers.
        """
        super().__init__(members)
        if not isinstance(self.element, Symbols):
            raise ConfigError(
                "a product of models of numbers cannot be normalized here: mix them, with Mixture"
            )
        if exponents is None:
            exponents = [1.0 / len(members)] * len(members)
        if len(exponents) != len(members) or min(exponents) < 0:
            raise ConfigError(
                f"exponents {list(exponents)} do not fit {len(members)} models: give one "
                "nonnegative exponent per model"
            )
        self.exponents = tuple(exponents)

    def emit(self, features: Features) -> Distribution:
        emitted = [as_discrete(d) for d in self._emitted(features)]
        rows = [a * d.dense() for a, d in zip(self.exponents, emitted, strict=True)]
        return Categorical(torch.stack(rows).sum(0))


class Scorer(Protocol):
    """A preference that is added to log-probabilities inside a search; not a distribution.

    Language-model fusion, length rewards, repetition penalties and constraints are scorers. A
    search with scorers ranks by its own score, which is kept apart from the `log_prob` of the
    model.
    """

    def start(self, batch_size: int) -> Tree:
        """The state before the first element; every leaf has the batch in axis 0."""

    def update(self, state: Tree, x: Tensor) -> Tree:
        """The state after one symbol per row, x (B,)."""

    def scores(self, state: Tree) -> Tensor:
        """(B, V) the term added to the log-probability of each symbol; -inf forbids it."""

    def ceiling(self) -> float:
        """An upper bound of all scores, which lets a search stop early; inf: not known."""


def em_weights(log_probs: Tensor, *, steps: int = 100) -> Tensor:
    """The mixture weights of greatest likelihood, by expectation-maximization.

        w_m <- mean_n  w_m p_m(x_n) / sum_k w_k p_k(x_n)

    The likelihood never decreases from step to step (Dempster, Laird, Rubin 1977); it is concave
    in w, so that equal starting weights lead to the maximum.

    Args:
        log_probs: (M, N) the log-probability of each scored symbol under each member, nats.
        steps: the maximal number of steps; it stops earlier once no weight changes by 1e-9.

    Returns:
        The weights (M,), float64.
    """
    log_probs = log_probs.double()
    weights = torch.full((len(log_probs),), 1.0 / len(log_probs), dtype=torch.float64)
    for _ in range(steps):
        posterior = (log_probs + weights.log()[:, None]).softmax(0)
        updated = posterior.mean(1)
        change = float((updated - weights).abs().max())
        weights = updated
        if change < 1e-9:
            break
    return weights
