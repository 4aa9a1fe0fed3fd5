"""The linear-Gaussian state-space model: it keeps the distribution of a hidden state.

    x_t+1 = F x_t + w_t,   y_t = c + H x_t + v_t,   w ~ N(0, Q),   v ~ N(0, R)

`state_space.kalman` has the equations. Here are the contract, the parameters of each series, the
fit, forecasts and smoothing. The first state has a proper distribution, so that the first value has
a density as well: a wide one where nothing is known, whose standard deviation is a thousand times
that of the data. Fits by maximum likelihood use the exact diffuse likelihood, in which it is
infinite.

Shapes: B rows, L moments of a chunk, D channels, m states, S series, H moments of a forecast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from seriatim.core import taps, tree
from seriatim.core.batch import valid_mask
from seriatim.core.densities import Density, MultivariateNormal, Normal
from seriatim.core.elements import Numbers
from seriatim.core.model import Carry, Features, SequenceModel, State
from seriatim.core.taps import Record
from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, NumberSequences, Values
from seriatim.errors import ConfigError, DataError
from seriatim.models.options.linear_gaussian import LinearGaussian
from seriatim.models.state_space import kalman
from seriatim.models.state_space.em import Name, fit_by_em
from seriatim.models.state_space.kalman import Belief, System
from seriatim.models.state_space.structural_fit import fit_variances, step_variance
from seriatim.models.state_space.structures import Structure, structure

WIDE = 1e6  # the variance of an unknown state, in variances of the data


@tree.register
@dataclass(frozen=True)
class SeriesNoise:
    """The parameters that each series may have of its own.

    Attributes:
        transition_covariance: Q, (B, m, m).
        observation_covariance: R, (B, D, D).
        mean: of the first state, (B, m).
        covariance: of the first state, (B, m, m).
    """

    transition_covariance: Tensor
    observation_covariance: Tensor
    mean: Tensor
    covariance: Tensor


@tree.register
@dataclass(frozen=True)
class Filtering:
    """The carry: the belief of the state of the next moment.

    Attributes:
        belief: N(mean, covariance).
        noise: the parameters of the row's series.
        has_begun: (B,) bool, whether an input was folded.
    """

    belief: Belief
    noise: SeriesNoise
    has_begun: Tensor


class LinearGaussianModel(SequenceModel):
    """Kalman's filter in the contract; features are mean and covariance of the next values.

    Attributes:
        config: the configuration that it was built from.
        num_states: m.
    """

    transition: Tensor
    observation: Tensor
    offset: Tensor
    transition_covariance: Tensor
    observation_covariance: Tensor
    initial_mean: Tensor
    initial_covariance: Tensor

    def __init__(
        self, config: LinearGaussian, element: Numbers, num_series: int, density: str | None = None
    ) -> None:
        """
        Raises:
            ConfigError: if matrices do not fit the channels, or there are known inputs, or another
                density than the normal is asked for.
        """
        super().__init__(element)
        _check(config, element, density)
        self.config = config
        D = element.num_channels
        self.structure = _structure(config)
        m = _num_states(config, self.structure, D)
        self.num_states = m
        start = _start(config, self.structure, D, m)
        # The last row is of series that were not seen in training.
        self.num_series = num_series if self.structure is not None else 0
        rows = self.num_series + 1
        for name, value in start.items():
            if name not in ("transition", "observation", "offset"):
                value = value.repeat(rows, *[1] * value.ndim)
            self.register_buffer(name, value)

    # ---- the contract ---------------------------------------------------------------------------

    @property
    def marginalizes(self) -> bool:
        """Gaps are exact."""
        return True

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        if memory is None:
            shared = torch.full((batch_size,), -1, device=self.device)
            memory = self.of_series(shared)
        noise = cast(SeriesNoise, memory)
        begun = torch.zeros(batch_size, dtype=torch.bool, device=self.device)
        return Filtering(Belief(noise.mean, noise.covariance), noise, begun)

    def of_series(self, index: Tensor) -> SeriesNoise:
        """The variances and the first state of series; those of all, for an unknown one."""
        index = index.to(self.device)
        last = len(self.transition_covariance) - 1
        rows = torch.where((index < 0) | (index >= last), last, index)
        return SeriesNoise(
            self.transition_covariance[rows],
            self.observation_covariance[rows],
            self.initial_mean[rows],
            self.initial_covariance[rows],
        )

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        values = _values_of_input(x)
        length = values.numbers.shape[1]
        system, belief, begun = self.system(carry.noise), carry.belief, carry.has_begun
        inside = None if lengths is None else valid_mask(lengths.to(self.device), length)
        means, covariances, states = [], [], []
        for t in range(length):
            y = Values(values.numbers[:, t].to(belief.mean), values.is_observed[:, t])
            new = kalman.predict(system, kalman.update(system, belief, y).belief)
            # Without a value, the input before the first moment says no more than that it begins.
            moves = begun | y.is_observed.any(-1)
            is_inside = torch.ones_like(begun) if inside is None else inside[:, t]
            belief = tree.where_rows(moves & is_inside, new, belief)
            begun = begun | is_inside
            mean, covariance = kalman.values_of(system, belief)
            means.append(mean)
            covariances.append(covariance)
            states.append(belief.mean)
        if taps.is_on() and taps.wanted(self, "state"):
            taps.put(self, "state", Record(torch.stack(states, 1), lengths))
        features = (torch.stack(means, 1), torch.stack(covariances, 1))
        return features, Filtering(belief, carry.noise, begun) if keep else None

    def emit(self, features: Features) -> Density:
        mean, covariance = features
        return _density(mean, covariance)

    def system(self, noise: SeriesNoise) -> System:
        """The matrices of rows with these parameters."""
        return System(
            self.transition,
            self.observation,
            noise.transition_covariance,
            noise.observation_covariance,
            self.offset,
        )

    @property
    def operations_per_symbol(self) -> float:
        """Of a moment: two for each product of a prediction and an update of the covariance."""
        m, D = self.num_states, self.observation.shape[0]
        return float(4 * m**3 + 6 * m * m * D + 4 * m * D * D + 2 * D**3 + 2 * m * (m + 2 * D))

    # ---- what it can do beyond the contract -----------------------------------------------------

    def ahead(self, state: State, horizon: int, known: Tensor | None = None) -> Density:
        """The exact distributions of the next moments; see `core.forecasting.Ahead`."""
        carry = state.carry
        mean, covariance = kalman.ahead(self.system(carry.noise), carry.belief, horizon)
        return _density(mean, covariance)

    def smooth(self, x: NumberInput, lengths: Tensor | None, memory: Tree | None = None) -> Density:
        """Of all moments, given past and future; see `core.forecasting.Smooths`."""
        values = _values_of_input(x)
        first = self.empty(len(values.numbers), memory=memory)
        skips = 0 if bool(values.is_observed[:, 0].any()) else 1
        y = Values(values.numbers[:, skips:].to(self.dtype), values.is_observed[:, skips:])
        if lengths is not None:
            inside = valid_mask(lengths.to(self.device) - skips, y.numbers.shape[1])
            y = Values(y.numbers, y.is_observed & inside[..., None])
        system = self.system(first.noise)
        filtered = kalman.kalman_filter(system, first.belief, y)
        smoothed = kalman.smooth_states(system, filtered, y)
        found = kalman.smooth_values(system, smoothed, y)
        variance = found.covariance.diagonal(dim1=-2, dim2=-1).clamp_min(0)
        mean = torch.where(y.is_observed, y.numbers, found.mean)
        return Normal(mean[:, 1 - skips :], variance.sqrt()[:, 1 - skips :])

    def components(self, carry: Carry, x: NumberInput) -> dict[str, Density]:
        """The smoothed states, or those of a structure that have a name; see `HasComponents`."""
        values = _values_of_input(x)
        skips = 0 if bool(carry.has_begun.all()) else 1  # the input before the first moment
        y = Values(values.numbers[:, skips:].to(self.dtype), values.is_observed[:, skips:])
        system = self.system(carry.noise)
        filtered = kalman.kalman_filter(system, carry.belief, y)
        found = kalman.smooth_states(system, filtered, y)
        scale = found.covariance.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
        return {
            name: Normal(found.mean[:, 1 - skips :, [i]], scale[:, 1 - skips :, [i]])
            for name, i in self._named_states().items()
        }

    def _named_states(self) -> dict[str, int]:
        """The places of states by name; several channels have numbers from 1."""
        if self.structure is None:
            return {f"state {i + 1}": i for i in range(self.num_states)}
        size, pairs = self.structure.num_states, (self.structure.names, self.structure.noisy)
        channels = range(self.num_states // size)
        return {
            name if len(channels) == 1 else f"{name} {d + 1}": d * size + i
            for d in channels
            for name, i in zip(*pairs, strict=True)
        }

    # ---- fitting --------------------------------------------------------------------------------

    def fit_series(self, data: NumberSequences) -> dict[str, object]:
        """Fit to series by maximum likelihood or EM; see `core.forecasting.FitsSeries`.

        Returns:
            The `log_likelihood` (nats, of all series; `is_diffuse` says whether the start is), and
            for one series its `variances` by name.
        """
        series = _series(data)
        if self.structure is None:
            return self._fit_matrices(series)
        if len(self.transition_covariance) != len(series) + 1:
            raise DataError(
                f"the model was built for {len(self.transition_covariance) - 1} series, and the "
                f"data has {len(series)}"
            )
        return self._fit_structure(self.structure, series)

    def _fit_structure(self, structure: Structure, series: Sequence[Any]) -> dict[str, object]:
        S, D, m1 = len(series), series[0].shape[1], structure.num_states
        channels = [(i, d) for i in range(S) for d in range(D)]
        seen = [(i, d) for i, d in channels if not np.isnan(series[i][:, d]).all()]
        is_em = self.config.estimator == "em"
        each = [series[i][:, d] for i, d in seen]
        fitted = fit_variances(structure, each, 0 if is_em else self.config.max_iterations)
        states, noise = np.zeros((S + 1, D, m1)), np.zeros((S + 1, D))
        level, spread = np.zeros((S + 1, D)), np.zeros((S + 1, D))
        for d in range(D):
            rows = [k for k, (_, channel) in enumerate(seen) if channel == d]
            if not rows:
                raise DataError(f"channel {d} has no value in any series: leave it out")
            own = [seen[k][0] for k in rows]
            values = np.concatenate([y[:, d] for y in series])
            # What is shared: the median, relative to the scale of a series.
            scale = fitted.scale[rows]
            ratios = np.exp(np.median(np.log(fitted.states[rows] / scale[:, None]), 0))
            ratio = np.exp(np.median(np.log(fitted.noise[rows] / scale)))
            states[:, d, list(structure.noisy)] = ratios * np.median(scale)
            noise[:, d] = ratio * np.median(scale)
            level[:, d] = np.nanmean(values)
            spread[:, d] = max(float(np.nanvar(values)), step_variance(values))
            states[np.ix_(own, [d], structure.noisy)] = fitted.states[rows][:, None]
            noise[own, d] = fitted.noise[rows]
            for k in own:
                y = series[k][:, d]
                level[k, d] = np.nanmean(y)
                spread[k, d] = max(float(np.nanvar(y)), step_variance(y))
        first = np.zeros((S + 1, D, m1))
        first[:, :, 0] = level
        wide = np.repeat(WIDE * spread[..., None], m1, -1)
        self._set_rows("transition_covariance", _diagonal(states))
        self._set_rows("observation_covariance", torch.diag_embed(torch.from_numpy(noise)))
        self._set_rows("initial_mean", torch.from_numpy(first.reshape(S + 1, -1)))
        self._set_rows("initial_covariance", _diagonal(wide))
        if is_em:
            return self._fit_noise_by_em(series)
        facts: dict[str, object] = {
            "estimator": "maximum likelihood",
            "log_likelihood": float(fitted.log_likelihood.sum()),
            "is_diffuse": True,
            "num_observed": int(sum((~np.isnan(y)).sum() for y in series)),
        }
        if len(seen) == 1:
            names = dict(zip(structure.names, fitted.states[0].tolist(), strict=True))
            facts["variances"] = {**names, "noise": float(fitted.noise[0])}
        return facts

    def _fit_noise_by_em(self, series: Sequence[Any]) -> dict[str, object]:
        """The variances of each series, from the best of some to start with."""
        y, lengths = _padded(series, self.dtype)
        noise = self.of_series(torch.arange(len(series)))
        result = fit_by_em(
            self.system(noise),
            Belief(noise.mean, noise.covariance),
            y,
            lengths,
            free=("transition_covariance", "observation_covariance"),
            is_pooled=False,
            max_iterations=self.config.max_iterations,
        )
        for name in ("transition_covariance", "observation_covariance"):
            fitted = getattr(result.system, name)
            getattr(self, name)[:-1] = fitted
            getattr(self, name)[-1] = fitted.median(0).values
        return _em_facts(result.log_likelihoods, y)

    def _fit_matrices(self, series: Sequence[Any]) -> dict[str, object]:
        free = _free(self.config)
        y, lengths = _padded(series, self.dtype)
        if not free:
            noise = self.of_series(torch.full((len(series),), -1))
            first = Belief(noise.mean, noise.covariance)
            found = kalman.kalman_filter(self.system(noise), first, y)
            return _em_facts((float(found.log_likelihood.sum()),), y)
        numbers = np.concatenate(series)
        mean, scale = np.nanmean(numbers, 0), np.sqrt(np.nanvar(numbers, 0))
        scale = torch.from_numpy(np.where(scale > 0, scale, 1.0)).to(self.dtype)
        if "observation" in free:
            self.offset.copy_(torch.from_numpy(mean))
            self.observation.copy_(_random_start(self.observation, scale))
        if "transition" in free:
            self.transition.copy_(0.9 * torch.eye(self.num_states))
        if "observation_covariance" in free:
            self.observation_covariance[0] = 0.5 * torch.diag(scale.square())
        shared = self.of_series(torch.full((1,), -1))
        pooled = System(
            self.transition,
            self.observation,
            shared.transition_covariance[0],
            shared.observation_covariance[0],
            self.offset,
        )
        S, m = len(series), self.num_states
        first = Belief(shared.mean.expand(S, m), shared.covariance.expand(S, m, m))
        result = fit_by_em(
            pooled,
            first,
            y,
            lengths,
            free=free,
            is_pooled=True,
            max_iterations=self.config.max_iterations,
        )
        self.transition.copy_(result.system.transition)
        self.observation.copy_(result.system.observation)
        self.transition_covariance[0] = result.system.transition_covariance
        self.observation_covariance[0] = result.system.observation_covariance
        return _em_facts(result.log_likelihoods, y)

    def _set_rows(self, name: str, rows: Tensor) -> None:
        getattr(self, name).copy_(rows)


def _check(config: LinearGaussian, element: Numbers, density: str | None) -> None:
    if element.num_known:
        raise ConfigError(
            "linear-gaussian takes no inputs that are known ahead: leave them out, or choose ar"
        )
    if density not in (None, "normal"):
        raise ConfigError(f"linear-gaussian is normal: leave out density {density!r}")
    rows = {
        name: len(getattr(config, name))
        for name in ("observation", "observation_covariance")
        if getattr(config, name) is not None
    }
    for name, num in rows.items():
        if num != element.num_channels:
            raise ConfigError(
                f"{name} has {num} rows, and the series have {element.num_channels} channels"
            )


def _structure(config: LinearGaussian) -> Structure | None:
    if config.structure == "matrices":
        return None
    return structure(
        slope=config.structure == "local-linear-trend", season_length=config.season_length
    )


def _num_states(config: LinearGaussian, structure: Structure | None, D: int) -> int:
    if structure is not None:
        return D * structure.num_states
    return config.size_of_state or D


def _start(
    config: LinearGaussian, structure: Structure | None, D: int, m: int
) -> dict[str, Tensor]:
    """The parameters before a fit: what is given, and units elsewhere."""
    eye, channels = torch.eye(m, dtype=torch.float64), torch.eye(D, dtype=torch.float64)
    start = {
        "transition": 0.9 * eye,
        "observation": torch.eye(D, m, dtype=torch.float64),
        "offset": torch.zeros(D, dtype=torch.float64),
        "transition_covariance": 0.19 * eye,
        "observation_covariance": channels,
        "initial_mean": torch.zeros(m, dtype=torch.float64),
        "initial_covariance": eye,
    }
    if structure is not None:
        noisy = torch.tensor([float(i in structure.noisy) for i in range(structure.num_states)])
        start["transition"] = torch.kron(channels, torch.tensor(structure.transition))
        start["observation"] = torch.kron(channels, torch.tensor(structure.observation)[None])
        start["transition_covariance"] = torch.diag(noisy.double().repeat(D))
        start["initial_covariance"] = WIDE * eye
        return start
    for name in start:
        given = getattr(config, name, None)
        if given is not None:
            start[name] = torch.tensor(given, dtype=torch.float64)
    if config.initial_covariance is None:
        start["initial_covariance"] = _first_covariance(start)
    return start


def _first_covariance(start: dict[str, Tensor]) -> Tensor:
    F, Q = start["transition"], start["transition_covariance"]
    try:
        return kalman.stationary_covariance(F, Q)
    except ValueError:
        greatest = max(float(Q.abs().max()), float(start["observation_covariance"].abs().max()))
        return WIDE * max(greatest, 1e-12) * torch.eye(len(F), dtype=F.dtype)


def _free(config: LinearGaussian) -> tuple[Name, ...]:
    names: tuple[Name, ...] = (
        *("transition", "observation"),
        *("transition_covariance", "observation_covariance"),
    )
    return tuple(name for name in names if getattr(config, name) is None)


def _random_start(like: Tensor, scale: Tensor) -> Tensor:
    """H (D, m): small, and different in every entry, in the units of the channels."""
    generator = torch.Generator().manual_seed(0)
    return scale[:, None] * torch.randn(like.shape, generator=generator, dtype=like.dtype) * 0.5


def _density(mean: Tensor, covariance: Tensor) -> Density:
    if mean.shape[-1] == 1:
        return Normal(mean, covariance[..., 0].sqrt())
    return MultivariateNormal(mean, covariance)


def _values_of_input(x: Tree) -> Values:
    return cast(NumberInput, x).values


def _diagonal(variances: Any) -> Tensor:
    """(R, D m, D m) from (R, D, m)."""
    return torch.diag_embed(torch.from_numpy(variances.reshape(len(variances), -1)))


def _em_facts(log_likelihoods: Sequence[float], y: Values) -> dict[str, object]:
    return {
        "estimator": "em",
        "log_likelihood": log_likelihoods[-1],
        "is_diffuse": False,
        "iterations": len(log_likelihoods) - 1,
        "num_observed": int(y.is_observed.sum()),
    }


def _series(data: NumberSequences) -> list[Any]:
    """The numbers of each series, (T, D)."""
    series = []
    for i, (start, end) in enumerate(zip(data.offsets[:-1], data.offsets[1:], strict=True)):
        numbers = np.asarray(data.numbers[start:end], dtype=np.float64)
        if np.isnan(numbers).all():
            raise DataError(f"series {i} has no observed value: leave it out")
        if np.isinf(numbers).any():
            raise DataError(f"series {i} has an infinite value: make it missing, or mend it")
        series.append(numbers)
    if not series:
        raise DataError("there is no series to fit to")
    return series


def _padded(series: Sequence[Any], dtype: torch.dtype) -> tuple[Values, Tensor]:
    """The values (S, T, D), missing beyond the end of a series, and the lengths."""
    length = max(map(len, series))
    y = np.full((len(series), length, series[0].shape[1]), np.nan)
    for row, numbers in zip(y, series, strict=True):
        row[: len(numbers)] = numbers
    return Values.of(torch.from_numpy(y).to(dtype)), torch.tensor([len(s) for s in series])
