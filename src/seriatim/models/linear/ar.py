"""Autoregressive models of numbers: every channel by itself, exactly under gaps.

    x_t = c + b t + season_t + w . known_t + sum_i a_i x_{t-i} + e_t,    e_t ~ N(0, s^2)

The naive models are among them: a_1 = 1 is a random walk, c its drift, a_s = 1 a seasonal one.

Before the first value the process is stationary, where it can be. Where it is not, or the window is
too long for the covariance of its start, the first value is N(m, v), and the values before it were
the same as it.

Shapes: B rows, L moments of a chunk, D channels, q moments of the window, K known inputs, H moments
ahead; J deterministic terms.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.densities import Affine, Density, Normal
from seriatim.core.density_transforms import Exponential
from seriatim.core.elements import Numbers
from seriatim.core.model import Carry, Features, SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, NumberSequences, Values
from seriatim.errors import ConfigError
from seriatim.models.linear.lags import Lags
from seriatim.models.linear.parameters import (
    ARParameters,
    autocovariances,
    toeplitz,
)
from seriatim.models.linear.window import (
    Equation,
    FoldedChunk,
    PastWindow,
    filter_chunk,
    predict,
    split_rows,
)
from seriatim.models.options.linear import AR, Drift, Naive, SeasonalNaive

_LEAST = 1e-9  # whose logarithm is taken at least

AROptions: TypeAlias = AR | Naive | SeasonalNaive | Drift


@tree.register
@dataclass(frozen=True)
class ARCarry:
    """What an autoregressive model keeps.

    Attributes:
        parameters: those of the rows' series.
        window: the last q moments; B rows of D parts.
        pending: (B, D) the deterministic terms of the next moment.
        moment: (B,) the number of the next moment; -1: nothing was folded yet.
    """

    parameters: ARParameters
    window: PastWindow
    pending: Tensor
    moment: Tensor


class ARModel(SequenceModel):
    """An autoregressive or naive model of every channel; its parameters are buffers, in float64.

    Attributes:
        config: the configuration that it was built from.
    """

    element: Numbers
    starts_stationary: Tensor

    def __init__(
        self, config: AROptions, element: Numbers, num_series: int = 0, density: str | None = None
    ) -> None:
        """
        Args:
            config: the options of one of these families.
            element: what the series consist of.
            num_series: S, the series that keep parameters of their own.
            density: the name of the distribution; only "normal".

        Raises:
            ConfigError: if the density is another, or a naive model is given known inputs.
        """
        super().__init__(element)
        if density not in (None, "normal"):
            raise ConfigError(
                f"{config.family} has normal errors, and {density} was asked for: leave it out"
            )
        self.config, self.num_series = config, num_series
        self.lags = Lags.of(config)
        self.is_logarithmic = isinstance(config, AR) and config.transform == "log"
        terms = 2 + self.lags.num_dummies + element.num_known
        for name, rows in (("shared", 1), ("series", num_series)):
            blank = ARParameters.blank(rows, element.num_channels, self.lags.window, terms)
            for field, tensor in vars(blank).items():
                self.register_buffer(f"{name}_{field}", tensor)
        self.register_buffer("starts_stationary", torch.tensor(True))

    # ---- the contract ---------------------------------------------------------------------------

    @property
    def reach(self) -> int | None:
        """q; unbounded with terms that count moments, and before the window is full."""
        return None

    def of_series(self, index: Tensor) -> ARParameters | None:
        """The parameters of series; of unseen ones, those that all share."""
        shared, series = self._held("shared"), self._held("series")
        index = index.to(self.device)
        both = tree.cat([shared, series])
        rows: ARParameters = tree.select(both, torch.where(index < self.num_series, index + 1, 0))
        return rows

    @property
    def marginalizes(self) -> bool:
        """Gaps are exact."""
        return True

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> ARCarry:
        parameters = memory
        if parameters is None:
            shared = self._held("shared")
            parameters = tree.map_leaves(lambda t: t.expand(batch_size, -1, -1), shared)
        window = self._start(parameters)
        pending = parameters.terms[..., 0]
        moment = torch.full((batch_size,), -1, device=pending.device)
        return ARCarry(parameters, window, pending, moment)

    def advance(
        self, carry: Carry, x: NumberInput, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        stage = self._stages(carry, x)
        if isinstance(stage, int):
            if lengths is None and stage == 1 and _is_plain_step(carry, x):
                return self._step(carry, x)
            return self._advance(carry, x, lengths, stage)
        parts, order = [], []
        for each in sorted(set(stage.tolist())):
            index = (stage == each).nonzero()[:, 0]
            chosen = None if lengths is None else lengths[index.cpu()]
            rows = tree.select(carry, index), tree.select(x, index)
            parts.append(self._advance(*rows, chosen, each))
            order.append(index)
        back = torch.cat(order).argsort()
        together: tuple[Features, Carry] = tree.select(tree.cat(parts), back)
        return together

    def emit(self, features: Features) -> Density:
        """Normal; of ln (x + shift) if logarithms are fitted."""
        mean, scale, shift = features
        density = Normal(mean, scale)
        if not self.is_logarithmic:
            return density
        return Affine(Exponential(density), -shift, torch.ones_like(shift))

    # ---- capabilities ---------------------------------------------------------------------------

    def fit_series(self, data: NumberSequences) -> dict[str, object]:
        """Fit to series; see `core.forecasting.FitsSeries`."""
        from seriatim.models.linear.fitting import fit

        fitted = fit(self.config, self.lags, self.element, data)
        if fitted.series.weights.shape[0] != self.num_series and self.num_series:
            raise ConfigError(
                f"the model is for {self.num_series} series, and "
                f"{fitted.series.weights.shape[0]} were given: build it for as many"
            )
        for field in vars(fitted.shared):
            getattr(self, f"shared_{field}").copy_(getattr(fitted.shared, field))
            if self.num_series:
                getattr(self, f"series_{field}").copy_(getattr(fitted.series, field))
        self.starts_stationary.fill_(fitted.is_stationary)
        return fitted.facts

    def ahead(self, state: State, horizon: int, known: Tensor | None = None) -> Density:
        """The distributions of the next moments; see `core.forecasting.Ahead`.

        Where the window has no gap, the variance of h moments ahead is s^2 sum_{j<h} psi_j^2 with
        the impulse response psi; otherwise moments are folded that nobody observed.
        """
        first = tree.map_leaves(lambda t: t[:, None], state.features)
        if horizon == 1:
            return self.emit(first)
        carry = state.carry
        if carry.window.slots.shape[-1] == 0 and int(carry.moment.min()) > 0:
            return self.emit(self._iterate(carry, state.features, horizon, known))
        shape = (carry.moment.shape[0], horizon - 1, self.element.num_channels)
        values = Values.missing(shape, self.device, self.dtype)
        later, _ = self.advance(carry, NumberInput(values, known), None)
        return self.emit(tree.map_leaves(lambda a, b: torch.cat([a, b], 1), first, later))

    def carries(self, carry: ARCarry, x: NumberInput, at: Tensor) -> ARCarry | None:
        """The last q values before some moments; see `core.forecasting.ReadsCarries`."""
        is_whole = carry.window.slots.shape[-1] == 0 and bool(x.values.is_observed.all())
        if not is_whole or int(carry.moment.min()) < 1:
            return None
        at = at.to(self.device)
        rows, count = at.shape
        row = torch.arange(rows, device=self.device)[:, None]
        numbers, _ = self._numbers(carry.parameters, x.values)
        past = torch.cat([carry.window.values[..., 0], numbers.mT], 2)  # (B, D, q + L)
        windows = past.unfold(2, carry.window.values.shape[2], 1)[row, :, at]  # (B, N, D, q)
        offsets = self._offsets(carry, carry.moment, x.known, numbers.shape[1])
        slots, covariance = carry.window.slots, carry.window.covariance
        return ARCarry(
            parameters=tree.repeat(carry.parameters, count),
            window=PastWindow(
                windows.flatten(0, 1)[..., None],
                slots.repeat_interleave(count, 0),
                covariance.repeat_interleave(count, 0),
            ),
            pending=offsets[row, at].flatten(0, 1),
            moment=(carry.moment[:, None] + at).flatten(),
        )

    def smooth(self, x: NumberInput, lengths: Tensor | None, memory: Tree | None = None) -> Density:
        """The distributions of missing values given all others; see `core.forecasting.Smooths`."""
        carry = self.empty(x.values.numbers.shape[0], memory=memory)
        return self._smooth(carry, x, lengths)

    # ---- folding --------------------------------------------------------------------------------

    def _held(self, name: str) -> ARParameters:
        return ARParameters(*(getattr(self, f"{name}_{f}") for f in ("weights", "terms", "spread")))

    def _start(self, parameters: ARParameters) -> PastWindow:
        """The window before the first moment."""
        weights, scale = parameters.weights, parameters.spread[..., 0]
        rows, _, q = weights.shape
        if not bool(self.starts_stationary):
            level = parameters.spread[..., 1:2, None]
            return PastWindow.known(level.expand(-1, -1, q, 1).flatten(0, 1)).split(rows)
        level = parameters.terms[..., 0] / (1 - weights.sum(-1))
        means = level[..., None, None].expand(-1, -1, q, 1).flatten(0, 1)
        if not bool((weights != 0).any()):
            return PastWindow.known(means).split(rows)
        covariance = toeplitz(autocovariances(weights.flip(-1), scale)).flatten(0, 1)
        return PastWindow.uncertain(means, covariance).split(rows)

    def _stages(self, carry: ARCarry, x: NumberInput) -> int | Tensor:
        """What the first input of a chunk is: nothing yet -1, the first moment 0, a later one 1."""
        if int(carry.moment.min()) > 0:
            return 1
        is_moment = x.values.is_observed[:, 0].any(-1)  # a window cut out of a series begins so
        stage = torch.where(is_moment, carry.moment.clamp(min=0), carry.moment).clamp(max=1)
        if bool(self.starts_stationary):
            stage = torch.where(stage == 0, 1, stage)
        low = int(stage.min())
        return low if low == int(stage.max()) else stage

    def _advance(
        self, carry: ARCarry, x: NumberInput, lengths: Tensor | None, stage: int
    ) -> tuple[Features, Carry]:
        """Fold a chunk into rows that are at the same stage."""
        inputs = self._numbers(carry.parameters, x.values)
        rows, length = inputs[0].shape[:2]
        moment = carry.moment if stage < 0 else carry.moment.clamp(min=0)
        offsets = self._offsets(carry, moment, x.known, length)
        start = self._begin(carry, inputs, offsets, lengths, stage)
        skip = len(start.means)
        means, variances, window = start.means, start.variances, start.window
        if skip < length:
            done = self._filter(carry, start.window, inputs, offsets, lengths, skip)
            means.append(_split(done.means[..., 0], rows))
            variances.append(_split(done.covariances[..., 0, 0], rows))
            window = done.window.split(rows)
        shift = carry.parameters.spread[:, None, :, 3].expand(-1, length, -1)
        features = torch.cat(means, 1), torch.cat(variances, 1).sqrt(), shift
        if lengths is None:
            return features, replace(
                carry, window=window, pending=offsets[:, -1], moment=moment + length
            )
        n = lengths.to(moment.device)
        pending = offsets[torch.arange(rows, device=n.device), n]
        return features, replace(
            carry,
            window=window,
            pending=torch.where((n > 0)[:, None], pending, carry.pending),
            moment=torch.where(n > 0, moment + n, carry.moment),
        )

    def _step(self, carry: ARCarry, x: NumberInput) -> tuple[Features, Carry]:
        """Fold one observed moment into windows without gaps: what a stream does for each value."""
        parameters, moment = carry.parameters, carry.moment.clamp(min=0)
        numbers, _ = self._numbers(parameters, x.values)
        values = torch.cat([carry.window.values[:, :, 1:], numbers.mT[..., None]], 2)
        pending = self._deterministic(parameters, moment, x.known, 1)
        mean = torch.linalg.vecdot(values[..., 0], parameters.weights)[:, None] + pending
        window = PastWindow(values, carry.window.slots, carry.window.covariance)
        spread = parameters.spread[:, None]
        features = mean, spread[..., 0], spread[..., 3]
        return features, ARCarry(parameters, window, pending[:, 0], moment + 1)

    def _filter(
        self,
        carry: ARCarry,
        window: PastWindow,
        inputs: tuple[Tensor, Tensor],
        offsets: Tensor,
        lengths: Tensor | None,
        skip: int,
        smooth: bool = False,
    ) -> FoldedChunk:
        """Fold the inputs from number `skip` on, channels as rows."""
        numbers, observed = (_merge(t[:, skip:])[..., None] for t in inputs)
        channels = inputs[0].shape[-1]
        rest = None if lengths is None else (lengths - skip).clamp(min=0)
        rest = None if rest is None else rest.repeat_interleave(channels)
        u = _merge(offsets[:, skip:])[..., None]
        equation = self._equation(carry.parameters)
        return filter_chunk(equation, window.merged(), (numbers, observed), u, rest, smooth=smooth)

    def _equation(self, parameters: ARParameters) -> Equation:
        noise = parameters.spread[..., 0].square().flatten()
        return Equation(parameters.weights.flatten(0, 1)[..., None], noise[:, None, None])

    def _begin(
        self,
        carry: ARCarry,
        inputs: tuple[Tensor, Tensor],
        offsets: Tensor,
        lengths: Tensor | None,
        stage: int,
    ) -> "_Start":
        """Fold the inputs that are no moment like the others: none, the start, the first moment."""
        start = _Start([], [], carry.window)
        length = inputs[0].shape[1]
        stationary = bool(self.starts_stationary)
        if stage < 0:
            if stationary:
                self._predict(start, carry, offsets[:, 1])
            else:
                start.means.append(carry.parameters.spread[:, None, :, 1])
                start.variances.append(carry.parameters.spread[:, None, :, 2].square())
        skip = len(start.means)
        if stage < 1 and not stationary and skip < length:
            numbers, observed = (t[:, skip] for t in inputs)
            begun = self._first_moment(carry, numbers, observed)
            if lengths is not None:
                is_over = (lengths <= skip).to(numbers.device)
                old = carry.window.with_slots(begun.slots.shape[-1])
                begun = tree.where_rows(~is_over, begun, old)
            start.window = begun
            self._predict(start, carry, offsets[:, skip + 1])
        return start

    def _first_moment(self, carry: ARCarry, numbers: Tensor, observed: Tensor) -> PastWindow:
        """The window after the first moment: all of it is that moment, known or not."""
        parameters = carry.parameters
        rows, channels, q = parameters.weights.shape
        values = torch.where(observed, numbers, parameters.spread[..., 1])
        values = values[..., None, None].expand(-1, -1, q, 1).contiguous()
        if bool(observed.all()):
            return PastWindow.known(values.flatten(0, 1)).split(rows)
        slots = torch.arange(q, device=values.device).expand(rows, channels, -1)
        slots = torch.where(observed[..., None], -1, slots)
        variance = torch.where(observed, 0.0, parameters.spread[..., 2].square())
        return PastWindow(values, slots, variance[..., None, None].expand(-1, -1, q, q))

    def _predict(self, start: "_Start", carry: ARCarry, offset: Tensor) -> None:
        """Append the prediction of the moment after a window."""
        equation = self._equation(carry.parameters)
        mean, variance = predict(equation, start.window.merged(), offset.flatten()[:, None])
        start.means.append(mean.view_as(offset)[:, None])
        start.variances.append(variance.view_as(offset)[:, None])

    def _numbers(self, parameters: ARParameters, values: Values) -> tuple[Tensor, Tensor]:
        """(B, L, D) the numbers that are folded, and whether they were observed."""
        numbers = values.numbers.to(parameters.weights)
        if self.is_logarithmic:  # a value that cannot occur is folded as the smallest that can
            numbers = (numbers + parameters.spread[:, None, :, 3]).clamp(min=_LEAST).log()
        return numbers, values.is_observed

    def _offsets(self, carry: ARCarry, moment: Tensor, known: Tensor | None, length: int) -> Tensor:
        """(B, L + 1, D) the deterministic terms of the pending moment, and of those after it."""
        later = self._deterministic(carry.parameters, moment, known, length)
        return torch.cat([carry.pending[:, None], later], 1)

    def _deterministic(
        self, parameters: ARParameters, moment: Tensor, known: Tensor | None, length: int
    ) -> Tensor:
        """(B, L, D) the deterministic terms of the L moments after number `moment` (B,)."""
        terms, dummies = parameters.terms, self.lags.num_dummies
        later = terms[:, None, :, 0].expand(-1, length, -1)
        if self.lags.has_slope or dummies:
            at = moment[:, None] + torch.arange(1, length + 1, device=moment.device)
            later = later + terms[:, None, :, 1] * at[..., None]
            if dummies:
                season = terms[..., 2 : 2 + dummies].mT
                phase = at.remainder(dummies)[..., None]
                later = later + season.gather(1, phase.expand(-1, -1, season.shape[-1]))
        if known is not None and self.element.num_known:
            later = later + known.to(terms) @ terms[..., 2 + dummies :].mT
        return later

    def _iterate(
        self, carry: ARCarry, features: Features, horizon: int, known: Tensor | None
    ) -> Features:
        """The features (B, H, D) of the moments ahead of windows without gaps."""
        weights = carry.parameters.weights
        rows, channels, q = weights.shape
        offsets = self._offsets(carry, carry.moment, known, horizon - 1)
        path = weights.new_zeros(rows, channels, q + horizon)
        path[..., :q] = carry.window.values[..., 0]
        path[..., q] = features[0]
        # That all rows share their coefficients shows in the stride of a tensor that was expanded.
        of_rows = weights[:1] if weights.stride(0) == 0 else weights
        impulse = torch.zeros_like(path[: len(of_rows)])
        impulse[..., q] = 1.0
        for h in range(1, horizon):
            past = slice(h, q + h)
            path[..., q + h] = _dot(path[..., past], weights) + offsets[:, h]
            impulse[..., q + h] = _dot(impulse[..., past], of_rows)
        ratio = impulse[..., q:].square().cumsum(-1).sqrt().mT
        mean, scale = path[..., q:].mT, carry.parameters.spread[:, None, :, 0] * ratio
        return mean, scale, features[2][:, None].expand_as(mean)

    def _smooth(self, carry: ARCarry, x: NumberInput, lengths: Tensor | None) -> Density:
        inputs = self._numbers(carry.parameters, x.values)
        rows, length = inputs[0].shape[:2]
        offsets = self._offsets(carry, carry.moment, x.known, length)
        start = self._begin(carry, inputs, offsets, lengths, -1)
        skip = len(start.means)
        done = self._filter(carry, start.window, inputs, offsets, lengths, skip, smooth=True)
        assert done.smoothed is not None
        assert done.variances is not None
        size = length - 1
        mean = _split(done.smoothed[..., 0], rows)[:, -size:]
        variance = _split(done.variances[..., 0], rows)[:, -size:]
        observed = inputs[1][:, 1:]
        mean = torch.where(observed, inputs[0][:, 1:], mean)
        variance = torch.where(observed, 0.0, variance.clamp(min=0.0))
        shift = carry.parameters.spread[:, None, :, 3].expand_as(mean)
        return self.emit((mean, variance.sqrt(), shift))


@dataclass
class _Start:
    """Predictions (B, 1, D) after the inputs that begin a chunk, and the window after them."""

    means: list[Tensor]
    variances: list[Tensor]
    window: PastWindow


def _is_plain_step(carry: ARCarry, x: NumberInput) -> bool:
    """Whether a chunk is one observed moment after windows without gaps."""
    is_whole = x.values.numbers.shape[1] == 1 and carry.window.slots.shape[-1] == 0
    return is_whole and bool(x.values.is_observed.all())


def _merge(x: Tensor) -> Tensor:
    """(B, L, D) -> (B D, L)."""
    return x.mT.flatten(0, 1)


def _split(x: Tensor, rows: int) -> Tensor:
    """(B D, L) -> (B, L, D)."""
    return split_rows(x, rows).mT


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a[..., None, :] @ b[..., None])[..., 0, 0]
