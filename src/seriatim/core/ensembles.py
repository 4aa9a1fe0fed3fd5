"""Models made of models: mixtures and normalized products; scorers for what is not normalized.

Members share their symbols. A mixture or product is again a `SequenceModel`: its carry is the
tuple of its members' carries, so it streams, samples and searches like any other. Fusion
weights, penalties and constraints are no distributions: they are `Scorer`s, added inside the
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


class Composed(SequenceModel):
    """Members folded side by side; a subclass says how their distributions become one."""

    def __init__(self, members: Sequence[SequenceModel]) -> None:
        """
        Raises:
            ConfigError: no member, or members of different alphabets.
        """
        if not members:
            raise ConfigError("no model was given to compose: give at least one")
        first = members[0]
        for m in members[1:]:
            if (m.num_symbols, m.boundary) != (first.num_symbols, first.boundary):
                raise ConfigError(
                    f"members must share their symbols: one has {first.num_symbols} with boundary "
                    f"{first.boundary}, another {m.num_symbols} with boundary {m.boundary}"
                )
        super().__init__(first.num_symbols, first.boundary)
        self.members = nn.ModuleList(members)
        # Finished members make a finished model: no dropout comes back by composing them.
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
        """The memory of every member: each reads the source with its own encoder."""
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


class Mixture(Composed):
    """p(x | past) = sum_m w_m p_m(x | past), weights w on the simplex."""

    log_weights: Tensor

    def __init__(
        self, members: Sequence[SequenceModel], weights: Sequence[float] | None = None
    ) -> None:
        """
        Args:
            members: models of one alphabet.
            weights: not negative, of sum 1; None: equal. `fit_weights` finds good ones.

        Raises:
            ConfigError: weights that are no distribution over the members.
        """
        super().__init__(members)
        if weights is None:
            weights = [1.0 / len(members)] * len(members)
        w = torch.tensor(weights, dtype=torch.float64)
        if len(w) != len(members) or bool((w < 0).any()) or abs(float(w.sum()) - 1) > 1e-6:
            raise ConfigError(
                f"weights {list(weights)} are no distribution over {len(members)} models: give "
                "one weight a model, none negative, of sum 1"
            )
        self.register_buffer("log_weights", w.log())

    def emit(self, features: Features) -> Distribution:
        return MixtureDistribution(self._emitted(features), self.log_weights)

    def fit_weights(self, batches: Iterable[Batch], *, steps: int = 100) -> list[float]:
        """Set the weights to those of greatest likelihood on `batches` (use the validation part).

        Each batch is scored by every member from its own empty state.

        Returns:
            The weights.
        """
        with torch.no_grad():
            scored = [_scored(self._models(), batch) for batch in batches]
        weights = em_weights(torch.cat(scored, 1), steps=steps)
        self.log_weights.copy_(weights.log())
        return [float(w) for w in weights]


class MixtureDistribution(Discrete):
    """A weighted sum of discrete distributions; lazy wherever its members are."""

    def __init__(self, parts: Sequence[Discrete], log_weights: Tensor) -> None:
        self.parts, self.log_weights = parts, log_weights

    @property
    def num_symbols(self) -> int:
        return self.parts[0].num_symbols

    def log_prob(self, x: Tensor) -> Tensor:
        return self._mix([d.log_prob(x) for d in self.parts])

    def only(self, counted: Tensor) -> "MixtureDistribution":
        return MixtureDistribution([d.only(counted) for d in self.parts], self.log_weights)

    def dense(self) -> Tensor:
        return self._mix([d.dense() for d in self.parts])

    def _mix(self, values: list[Tensor]) -> Tensor:
        w = self.log_weights.to(values[0].dtype).unbind()
        return torch.logsumexp(torch.stack([v + a for v, a in zip(values, w, strict=True)]), 0)


class Product(Composed):
    """p(x | past) proportional to prod_m p_m(x | past)^a_m, normalized at every step.

    Needs the full row of every member: the normalizer is a sum over all V symbols.
    """

    def __init__(
        self, members: Sequence[SequenceModel], exponents: Sequence[float] | None = None
    ) -> None:
        """
        Args:
            members: models of one alphabet.
            exponents: a_m >= 0; None: 1 / M each, the geometric mean (an ensemble).

        Raises:
            ConfigError: not one exponent a member, or a negative one.
        """
        super().__init__(members)
        if exponents is None:
            exponents = [1.0 / len(members)] * len(members)
        if len(exponents) != len(members) or min(exponents) < 0:
            raise ConfigError(
                f"exponents {list(exponents)} do not fit {len(members)} models: give one a model, "
                "none negative"
            )
        self.exponents = tuple(exponents)

    def emit(self, features: Features) -> Distribution:
        rows = [a * d.dense() for a, d in zip(self.exponents, self._emitted(features), strict=True)]
        return Categorical(torch.stack(rows).sum(0))


class Scorer(Protocol):
    """Something that prefers: added to log-probabilities inside a search, never a distribution.

    Language-model fusion, length rewards, repetition penalties and constraints are scorers. The
    laws of probability do not hold for a search that uses one, so its scores are kept apart
    from the model's `log_prob`.
    """

    def start(self, batch_size: int) -> Tree:
        """The scorer's state before the first element; batch in axis 0 of every leaf."""

    def update(self, state: Tree, x: Tensor) -> Tree:
        """The state after one element per row, x (B,)."""

    def scores(self, state: Tree) -> Tensor:
        """(B, V) what is added to each symbol's log-probability; -inf forbids."""

    def ceiling(self) -> float:
        """An upper bound of all its scores, by which a search may stop early; inf: none known."""


def em_weights(log_probs: Tensor, *, steps: int = 100, tolerance: float = 1e-9) -> Tensor:
    """The mixture weights of greatest likelihood, by expectation-maximization.

        w_m <- mean_n  w_m p_m(x_n) / sum_k w_k p_k(x_n)

    The likelihood never falls from step to step (Dempster, Laird, Rubin 1977); it is concave in
    w, so equal starting weights find the maximum.

    Args:
        log_probs: (M, N) nats that each member gives to each scored symbol.
        steps: at most this many.
        tolerance: stop when no weight moves by more.

    Returns:
        (M,) float64.
    """
    log_probs = log_probs.double()
    weights = torch.full((len(log_probs),), 1.0 / len(log_probs), dtype=torch.float64)
    for _ in range(steps):
        posterior = (log_probs + weights.log()[:, None]).softmax(0)
        new = posterior.mean(1)
        moved = float((new - weights).abs().max())
        weights = new
        if moved < tolerance:
            break
    return weights


def _scored(models: Sequence[SequenceModel], batch: Batch) -> Tensor:
    counts = batch.counted() > 0
    return torch.stack([m.log_prob(batch)[counts].double() for m in models])
