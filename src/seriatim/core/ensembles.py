"""Ensembles: mixtures and normalized products of models; scorers for unnormalized preferences.

Members share a vocabulary. A mixture or product is again a `SequenceModel`: its carry is the
tuple of its members' carries, so it streams, samples and searches like any other model. Fusion
weights, penalties and constraints are not distributions: they are `Scorer`s, added inside the
search and never renormalized.

Shapes: B rows, L elements, V symbols, M members, N scored symbols.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from seriatim.core.batch import Batch
from seriatim.core.distributions import Categorical, Discrete, Distribution
from seriatim.core.model import Carry, Features, SequenceModel
from seriatim.core.tree import Tree
from seriatim.errors import ConfigError


class Ensemble(SequenceModel):
    """Members folded side by side; a subclass defines how their distributions are combined."""

    def __init__(self, members: Sequence[SequenceModel]) -> None:
        """
        Args:
            members: the models, which must share their symbols.

        Raises:
            ConfigError: if there is no member, or members have different vocabularies.
        """
        if not members:
            raise ConfigError("an ensemble has no members: give at least one model")
        first = members[0]
        for m in members[1:]:
            if m.element != first.element:
                raise ConfigError(
                    f"members must share their symbols: one is a model of {first.element}, another "
                    f"of {m.element}"
                )
        super().__init__(first.element)
        self.members = nn.ModuleList(members)
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

    def _emitted(self, features: Features) -> list[Discrete]:
        emitted = [m.emit(f) for m, f in zip(self._models(), features, strict=True)]
        return [d for d in emitted if isinstance(d, Discrete)]

    @property
    def positions_at_once(self) -> int:
        return min(m.positions_at_once for m in self._models())

    @property
    def reach(self) -> int | None:
        reaches = [m.reach for m in self._models()]
        return None if None in reaches else max(r for r in reaches if r is not None)


class Mixture(Ensemble):
    """p(x | past) = sum_m w_m p_m(x | past), weights w on the simplex."""

    log_weights: Tensor

    def __init__(
        self, members: Sequence[SequenceModel], weights: Sequence[float] | None = None
    ) -> None:
        """
        Args:
            members: models with the same symbols.
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
        return MixtureDistribution(self._emitted(features), self.log_weights)

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
            ConfigError: if there is not one exponent per member, or one is negative.
        """
        super().__init__(members)
        if exponents is None:
            exponents = [1.0 / len(members)] * len(members)
        if len(exponents) != len(members) or min(exponents) < 0:
            raise ConfigError(
                f"exponents {list(exponents)} do not fit {len(members)} models: give one "
                "nonnegative exponent per model"
            )
        self.exponents = tuple(exponents)

    def emit(self, features: Features) -> Distribution:
        rows = [a * d.dense() for a, d in zip(self.exponents, self._emitted(features), strict=True)]
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
