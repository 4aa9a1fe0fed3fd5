"""The hidden Markov model: it keeps the distribution of a hidden state.

    p(x_t+1 | x_1 .. x_t) = sum_j w_j p(x_t+1 | z = j),   w = p(z_t+1 | x_1 .. x_t)

and folding an element is w' = (w * p(x | z)) A / sum. One class for symbols, the latent Markov
model, and one for numbers: counts (Poisson) or real numbers (normal), with gaps.

Shapes: B rows, L elements of a chunk, K states, V symbols, D channels, H moments of a forecast.
"""

import itertools
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from seriatim.core import taps, tree
from seriatim.core.batch import TokenSequences, valid_mask
from seriatim.core.densities import Density
from seriatim.core.density_transforms import Conditioned, MixtureDensity
from seriatim.core.distributions import Discrete, inverse_cdf
from seriatim.core.elements import Element, Numbers, Symbols
from seriatim.core.model import Carry, Features, SequenceModel, State
from seriatim.core.taps import Record
from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, NumberSequences, Values
from seriatim.errors import ConfigError, DataError
from seriatim.models.hidden_markov.baum_welch import FittedModels, Line, Models, baum_welch
from seriatim.models.hidden_markov.emissions import (
    CategoricalEmission,
    Emission,
    NormalEmission,
    PoissonEmission,
    densities,
)
from seriatim.models.hidden_markov.recursions import Chain, backward, forward, viterbi
from seriatim.models.options.hmm import HMM

_TRIAL = 200_000  # elements on which random beginnings are tried, all of them together
_TRIAL_ITERATIONS = 40
_SHORTEST = 5_000


@tree.register
@dataclass(frozen=True)
class StateBelief:
    """The carry: the distribution of the state of the next element.

    Attributes:
        state: (B, K).
        has_begun: (B,) bool, whether an input was folded.
    """

    state: Tensor
    has_begun: Tensor


class HiddenMarkovModel(SequenceModel):
    """What both kinds have in common: the chain, filtering, smoothing, and the best states.

    Attributes:
        config: the configuration that it was built from.
        initial: pi, (K,), of the state after the first input.
        transition: A, (K, K).
        occupancy: (K,) the fraction of elements that each state has in training.
    """

    initial: Tensor
    transition: Tensor
    occupancy: Tensor

    def __init__(self, config: HMM, element: Element) -> None:
        super().__init__(element)
        self.config = config
        K = config.num_states
        self._seed = torch.initial_seed() % 2**63  # the seed of a model is that of its fit as well
        uniform = torch.full((K,), 1 / K, dtype=torch.float64)
        noise = torch.rand(K, K, dtype=torch.float64) + torch.eye(K, dtype=torch.float64)
        self.register_buffer("initial", uniform)
        self.register_buffer("transition", noise / noise.sum(-1, keepdim=True))
        self.register_buffer("occupancy", uniform.clone())

    @abstractmethod
    def log_likelihood(self, x: Tree) -> Tensor:
        """(B, L, K) ln p(x_t | z_t) in every state."""

    @abstractmethod
    def _starts(self, x: Tree) -> Tensor:
        """(B,) bool, where the input x (B, 1, ...) says no more than that a sequence begins."""

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        begun = torch.zeros(batch_size, dtype=torch.bool, device=self.device)
        return StateBelief(self.occupancy.expand(batch_size, -1), begun)

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        logs = self.log_likelihood(x)
        likelihood = (logs - logs.amax(-1, keepdim=True)).exp()
        starts = self._starts(tree.map_leaves(lambda leaf: leaf[:, :1], x)) & ~carry.has_begun
        least = torch.finfo(likelihood.dtype).tiny
        z, after, filtered = carry.state, [], []
        for t, weight in enumerate(likelihood.unbind(1)):
            joint = z * weight
            total = joint.sum(-1, keepdim=True)
            # What no state explains leaves the belief as it is.
            a = torch.where(total > least, joint / total.clamp_min(least), z)
            z = a @ self.transition
            z = z / z.sum(-1, keepdim=True)
            if t == 0:
                z = torch.where(starts[:, None], self.initial, z)
            filtered.append(a)
            after.append(z)
        states = torch.stack(after, 1)
        if taps.is_on() and taps.wanted(self, "state"):
            taps.put(self, "state", Record(torch.stack(filtered, 1), lengths))
        if not keep:
            return states, None
        if lengths is None:
            return states, StateBelief(z, torch.ones_like(carry.has_begun))
        begun = carry.has_begun | (lengths > 0).to(z.device)
        return states, StateBelief(tree.last_valid(states, lengths, carry.state), begun)

    # ---- states of whole sequences ---------------------------------------------------------------

    def posterior(self, x: Tree) -> Tensor:
        """(B, T, K) p(z_t | all of x), of whole sequences x (B, T, ...) without a first input."""
        logs = self.log_likelihood(x).transpose(0, 1)[:, None]  # (T, 1, B, K)
        likelihood = (logs - logs.amax(-1, keepdim=True)).exp()
        begins = torch.zeros(logs.shape[0], logs.shape[2], dtype=torch.bool, device=self.device)
        begins[0] = True
        chain = Chain(self.initial[None], self.transition[None])
        first = self.initial.expand(1, logs.shape[2], -1)
        passed = forward(chain, likelihood, begins, first)
        found = backward(chain, likelihood, begins, passed, torch.ones_like(first))
        return found.smoothed[:, 0].transpose(0, 1)

    def best_states(self, x: Tree) -> tuple[Tensor, Tensor]:
        """The most probable states (B, T) of whole sequences x (B, T, ...), and ln p (B,).

        By Viterbi's algorithm (1967): the states that are most probable together, which need not
        be the most probable one at each moment.
        """
        return viterbi(self.initial, self.transition, self.log_likelihood(x))

    # ---- fitting ---------------------------------------------------------------------------------

    def _fit(
        self,
        line: Line,
        emission: Emission,
        beginnings: Models,
        counted: Callable[[str], None] | None,
    ) -> FittedModels:
        """Baum-Welch from the best of some beginnings."""
        config = self.config
        trial = line.part(max(_TRIAL // config.restarts, _SHORTEST))
        is_whole = trial.size == line.size

        def say(what: str, size: int) -> Callable[[int, Tensor], None]:
            def progress(iteration: int, log_likelihood: Tensor) -> None:
                if counted is not None:
                    nats = -float(log_likelihood.max()) / size
                    counted(f"{what}, iteration {iteration}: {nats:.4f} nats per element")

            return progress

        tried = baum_welch(
            beginnings,
            emission,
            trial,
            max_iterations=config.max_iterations if is_whole else _TRIAL_ITERATIONS,
            tolerance=config.tolerance,
            progress=say(f"{config.restarts} beginnings", trial.size),
        )
        best = int(tried.log_likelihood.argmax())
        if is_whole or tried.is_interrupted:
            return FittedModels(
                tried.models.only(best),
                tried.log_likelihood[best : best + 1],
                tried.iterations,
                tried.occupancy[best : best + 1],
                tried.is_interrupted,
            )
        return baum_welch(
            tried.models.only(best),
            emission,
            line,
            max_iterations=config.max_iterations,
            tolerance=config.tolerance,
            progress=say("all of the data", line.size),
        )

    def _keep(self, fitted: FittedModels, order: Tensor) -> Models:
        """Take a fitted model, with its states in an order."""
        models = fitted.models.sorted_by(order)
        self.initial.copy_(models.chain.initial[0])
        self.transition.copy_(models.chain.transition[0])
        self.occupancy.copy_(fitted.occupancy[0, order])
        return models

    def _random_chains(self, generator: torch.Generator) -> Chain:
        N, K = self.config.restarts, self.config.num_states
        A = torch.rand(N, K, K, generator=generator, dtype=torch.float64)
        stays = torch.arange(N) % 4 * torch.eye(K, dtype=torch.float64)[..., None]  # in its state
        A = A + stays.permute(2, 0, 1)
        return Chain(torch.full((N, K), 1 / K, dtype=torch.float64), A / A.sum(-1, keepdim=True))

    def _facts(self, fitted: FittedModels, size: int) -> dict[str, object]:
        return {
            "log_likelihood": float(fitted.log_likelihood[0]),
            "nats_per_element": -float(fitted.log_likelihood[0]) / size,
            "iterations": fitted.iterations,
            "restarts": self.config.restarts,
            "interrupted": fitted.is_interrupted,
        }


class SymbolHMM(HiddenMarkovModel):
    """The hidden Markov model of symbols.

    Attributes:
        symbols: p(x | z), (K, V).
    """

    symbols: Tensor

    def __init__(self, config: HMM, num_symbols: int, boundary: int) -> None:
        """
        Raises:
            ConfigError: if the emissions are not of symbols.
        """
        if config.emission not in (None, "categorical"):
            raise ConfigError(f"emission {config.emission!r} is of numbers, and here are symbols")
        super().__init__(config, Symbols(num_symbols, boundary))
        noise = 0.5 + torch.rand(config.num_states, num_symbols, dtype=torch.float64)
        self.register_buffer("symbols", noise / noise.sum(-1, keepdim=True))

    def log_likelihood(self, x: Tree) -> Tensor:
        return self.symbols.T[x].log()

    def _starts(self, x: Tree) -> Tensor:
        return cast(Tensor, x[:, 0] == self.boundary)

    def emit(self, features: Features) -> "HiddenStateMixture":
        return HiddenStateMixture(cast(Tensor, features), self.symbols)

    def fit_closed_form(
        self, corpus: TokenSequences, counted: Callable[[str], None] | None = None
    ) -> dict[str, object]:
        """Fit to a corpus by Baum-Welch, from the best of some random beginnings.

        Ctrl-C ends the fit with the parameters of its last iteration.

        Args:
            corpus: the symbols.
            counted: receives sentences that say how far it has come.

        Raises:
            DataError: if the corpus is empty or has symbols that the model does not have.
        """
        line = _line_of(corpus, self.boundary)
        V, K, N = self.num_symbols, self.config.num_states, self.config.restarts
        if line.size == 0:
            raise DataError("the training text has no symbols: give more text")
        if int(line.x.max()) >= V:
            raise DataError(f"symbol {int(line.x.max())} is not in a vocabulary of {V}")
        count = torch.bincount(line.x, minlength=V).double() + 1.0 / V
        emission = CategoricalEmission(count / count.sum(), self.config.prior)
        generator = torch.Generator().manual_seed(self._seed)
        noise = torch.rand(N, K, V, generator=generator, dtype=torch.float64)
        drawn = emission.background * (noise**3 + 1e-3)
        drawn = drawn / drawn.sum(-1, keepdim=True)
        beginnings = Models(self._random_chains(generator), {"symbols": drawn})
        fitted = self._fit(line, emission, beginnings, counted)
        models = self._keep(fitted, fitted.occupancy[0].argsort(descending=True))
        self.symbols.copy_(models.emitted["symbols"][0])
        if corpus.is_stream:  # what follows a boundary is an element like any other
            joint = self.occupancy * self.symbols[:, self.boundary]
            self.initial.copy_(joint @ self.transition / joint.sum())
        return self._facts(fitted, line.size)

    @property
    def operations_per_symbol(self) -> float:
        """Of the product with A, of the symbol's row, and of the sum over states."""
        return float(2 * self.config.num_states**2 + 5 * self.config.num_states)


class HiddenStateMixture(Discrete):
    """p(x) = sum_j w_j p(x | z = j); one symbol costs K products, not V."""

    def __init__(self, weights: Tensor, symbols: Tensor) -> None:
        """
        Args:
            weights: (..., K) w.
            symbols: (K, V) p(x | z).
        """
        self.weights, self.symbols = weights, symbols

    @property
    def num_symbols(self) -> int:
        return self.symbols.shape[1]

    def log_prob(self, x: Tree) -> Tensor:
        return (self.weights * self.symbols.T[x]).sum(-1).log()

    def dense(self) -> Tensor:
        return (self.weights @ self.symbols).log()

    def sample(self, u: Tensor) -> Tensor:
        return inverse_cdf(self.dense(), u)


class NumberHMM(HiddenMarkovModel):
    """The hidden Markov model of numbers: all series share its parameters.

    Attributes:
        emitted: the names of the buffers with the parameters of the states, (K, D).
    """

    def __init__(
        self, config: HMM, element: Numbers, num_series: int = 0, density: str | None = None
    ) -> None:
        """
        Raises:
            ConfigError: if the emissions do not suit the numbers, or there are known inputs.
        """
        super().__init__(config, element)
        self.is_poisson = _is_poisson(config, element, density)
        shape = (config.num_states, element.num_channels)
        ones = torch.ones(shape, dtype=torch.float64)
        if self.is_poisson:
            self.emitted: tuple[str, ...] = ("rate",)
            self.register_buffer("rate", ones + torch.rand(shape, dtype=torch.float64))
        else:
            self.emitted = ("mean", "variance")
            self.register_buffer("mean", torch.randn(shape, dtype=torch.float64))
            self.register_buffer("variance", ones)

    def emission_parameters(self) -> dict[str, Tensor]:
        """The parameters of the states by name, (K, D) each."""
        return {name: getattr(self, name) for name in self.emitted}

    def _emission(self, least: Tensor | None = None) -> Emission:
        if self.is_poisson:
            return PoissonEmission()
        return NormalEmission(torch.zeros((), dtype=self.dtype) if least is None else least)

    def log_likelihood(self, x: Tree) -> Tensor:
        values = x.values if isinstance(x, NumberInput) else x
        moved = Values(
            values.numbers.transpose(0, 1).to(self.dtype), values.is_observed.transpose(0, 1)
        )
        each = {name: value[None] for name, value in self.emission_parameters().items()}
        return self._emission().log_likelihood(each, moved)[:, 0].transpose(0, 1)

    def _starts(self, x: Tree) -> Tensor:
        return ~cast(NumberInput, x).values.is_observed[:, 0].any(-1)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        begun = torch.zeros(batch_size, dtype=torch.bool, device=self.device)
        return StateBelief(self.initial.expand(batch_size, -1), begun)

    @property
    def marginalizes(self) -> bool:
        """Gaps are exact."""
        return True

    def emit(self, features: Features) -> Density:
        least = torch.finfo(features.dtype).tiny
        components = densities(self.emission_parameters(), features.shape[:-1])
        return MixtureDensity(features.clamp_min(least).log(), components)

    def ahead(self, state: State, horizon: int, known: Tensor | None = None) -> Density:
        """The exact distributions of the next moments; see `core.forecasting.Ahead`."""
        weights = [state.carry.state]
        for _ in range(horizon - 1):
            weights.append(weights[-1] @ self.transition)
        return self.emit(torch.stack(weights, 1))

    def smooth(self, x: NumberInput, lengths: Tensor | None, memory: Tree | None = None) -> Density:
        """Of all moments, given past and future; see `core.forecasting.Smooths`."""
        skips = 0 if bool(x.values.is_observed[:, 0].any()) else 1
        y = Values(x.values.numbers[:, skips:], x.values.is_observed[:, skips:])
        seen = y.is_observed
        if lengths is not None:
            inside = valid_mask(lengths.to(seen.device) - skips, seen.shape[1])
            seen = seen & inside[..., None]
        smoothed = self.posterior(Values(y.numbers, seen))[:, 1 - skips :]
        known = tree.map_leaves(lambda leaf: leaf[:, 1 - skips :], y)
        return Conditioned(self.emit(smoothed), known)

    def fit_series(self, data: NumberSequences) -> dict[str, object]:
        """Fit to series by Baum-Welch; see `core.forecasting.FitsSeries`."""
        numbers = torch.from_numpy(np.array(data.numbers, dtype=np.float64))
        _check_series(data.numbers, data.offsets, is_count=self.is_poisson)
        begins = torch.zeros(len(numbers), dtype=torch.bool)
        begins[torch.from_numpy(data.offsets[:-1].astype(np.int64))] = True
        values = Values.of(numbers)
        center, scale = _standard(values, is_count=self.is_poisson)
        standard = Values(
            torch.where(values.is_observed, (values.numbers - center) / scale, 0.0),
            values.is_observed,
        )
        generator = torch.Generator().manual_seed(self._seed)
        least = torch.full_like(scale, 1e-4)
        beginnings = Models(self._random_chains(generator), self._random(standard, generator))
        fitted = self._fit(Line(standard, begins), self._emission(least), beginnings, None)
        models = self._keep(fitted, fitted.models.emitted[self.emitted[0]][0, :, 0].argsort())
        found = {name: value[0] for name, value in models.emitted.items()}
        for name in ("mean", "rate"):
            if name in found:
                found[name] = found[name] * scale + center
        if "variance" in found:
            found["variance"] = found["variance"] * scale.square()
        for name, value in found.items():
            getattr(self, name).copy_(value)
        jacobian = float((scale.log() * values.is_observed).sum())
        size = int(values.is_observed.sum())
        facts = self._facts(fitted, size)
        total = float(fitted.log_likelihood[0]) - jacobian
        return {**facts, "log_likelihood": total, "nats_per_element": -total / size}

    def _random(self, x: Values, generator: torch.Generator) -> dict[str, Tensor]:
        """Parameters (N, K, D): observed values as means, in ascending order."""
        N, K, D = self.config.restarts, self.config.num_states, x.numbers.shape[-1]
        chosen = torch.zeros(N, K, D, dtype=torch.float64)
        for d in range(D):
            seen = x.numbers[x.is_observed[:, d], d]
            index = torch.randint(len(seen), (N, K), generator=generator)
            chosen[..., d] = seen[index]
        noise = torch.rand(chosen.shape, generator=generator, dtype=torch.float64)
        if self.is_poisson:
            return {"rate": chosen + noise}
        return {"mean": chosen + 0.1 * (noise - 0.5), "variance": torch.full_like(chosen, 0.5)}

    @property
    def operations_per_symbol(self) -> float:
        """Of the product with A, and about ten for each state and channel."""
        K = self.config.num_states
        return float(2 * K**2 + 10 * K * self.element.size)


def _is_poisson(config: HMM, element: Numbers, density: str | None) -> bool:
    if element.num_known:
        raise ConfigError("hmm takes no inputs that are known ahead: leave them out")
    if config.emission == "categorical":
        raise ConfigError("emission 'categorical' is of symbols, and here are numbers")
    name = config.emission or density or ("poisson" if element.support == "count" else "normal")
    if name not in ("normal", "poisson"):
        raise ConfigError(f"hmm has no density {name!r} of a state: choose normal or poisson")
    return name == "poisson"


def _check_series(numbers: Any, offsets: Any, *, is_count: bool) -> None:
    for i, (start, end) in enumerate(itertools.pairwise(offsets)):
        own = np.asarray(numbers[start:end])
        if np.isnan(own).all():
            raise DataError(f"series {i} has no observed value: leave it out")
        if np.isinf(own).any():
            raise DataError(f"series {i} has an infinite value: make it missing, or mend it")
        if is_count and ((own < 0) | (own != np.floor(own)))[~np.isnan(own)].any():
            raise DataError(f"series {i} has a value that is no count: choose emission normal")


def _standard(x: Values, *, is_count: bool) -> tuple[Tensor, Tensor]:
    """Center and scale (D,) of real numbers; counts stay as they are."""
    D = x.numbers.shape[-1]
    center, scale = torch.zeros(D, dtype=torch.float64), torch.ones(D, dtype=torch.float64)
    for d in range(0 if is_count else D):
        seen = x.numbers[x.is_observed[:, d], d]
        if len(seen):
            center[d] = seen.mean()
            spread = float(seen.std(correction=0))
            scale[d] = spread if spread > 0 else max(abs(float(center[d])), 1.0) * 1e-3
    return center, scale


def _line_of(corpus: TokenSequences, boundary: int) -> Line:
    """A stream as it is; sequences end to end, each with the boundary that ends it."""
    tokens = np.asarray(corpus.tokens)
    if corpus.is_stream:
        begins = torch.zeros(len(tokens), dtype=torch.bool)
        begins[:1] = True
        return Line(torch.from_numpy(tokens.astype(np.int64)), begins)
    ends = np.asarray(corpus.offsets[1:], dtype=np.int64)
    symbols = np.insert(tokens.astype(np.int64), ends, boundary)
    begins = torch.zeros(len(symbols), dtype=torch.bool)
    begins[torch.from_numpy(np.asarray(corpus.offsets[:-1]) + np.arange(len(ends)))] = True
    return Line(torch.from_numpy(symbols), begins)
