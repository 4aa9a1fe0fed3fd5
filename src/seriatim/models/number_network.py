"""Networks over numbers: an input layer, a body of any family, and a density at the end.

    z_l = (x_{t+1-l} - m_t) / s_t                               the lagged values, standardized
    c = z_1, z_2 - z_1, z_3 - z_1 ..                            the last, and what the others add
    e_t = W (c, observed, k_{t+1}, log s_t, log n_t) + b        k the inputs that are known ahead
    h_t = body(h_{t-1}, e_t)
    p(x_{t+1}) = density(h_t, c, m_t, s_t)                      in the units of the data

A missing value has observed = 0 and the z of the mean of its neighbours in time, the last value
before it and the next one after it; of the former alone, as long as nothing came after it. Level m
and scale s are those of `running_scale`, which also says how far away a z may be. Values, levels
and scales are float64, and what the weights see is in their precision. The body is that of the
family over symbols, without its embedding and its softmax: recurrent layers, a user's cell, blocks
of attention, or a window. All series share the weights.

Shapes: B rows, L moments of a chunk, D channels, K known inputs, E and H features of an input and
of the body, M the greatest lag.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.densities import Density
from seriatim.core.elements import Numbers
from seriatim.core.model import Carry, SequenceModel
from seriatim.core.products import Linear
from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, NumberSequences, Values
from seriatim.errors import ConfigError
from seriatim.models.density_heads import DensityHead, head_kind
from seriatim.models.least_squares_start import start_from_least_squares
from seriatim.models.options.autoregressive import Autoregressive
from seriatim.models.options.latent import Latent
from seriatim.models.options.recurrent import RecurrentConfig
from seriatim.models.options.transformer import Transformer
from seriatim.models.running_scale import RunningScale, ScaleState, Standard

HIDING_ROWS = 0.25  # of a batch, from which inputs are hidden in training


class VectorBody(Protocol):
    """What a family folds vectors with."""

    @property
    def size(self) -> int:
        """The number of features."""

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        """As `SequenceModel.empty`."""

    def fold(
        self, carry: Carry, e: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Carry | None]:
        """As `SequenceModel.advance`, for vectors e (B, L, E)."""


@tree.register
@dataclass(frozen=True)
class NumberFeatures:
    """What the density is made of.

    Attributes:
        h: (..., H) the features of the body.
        lagged: (..., D, number of lags) c, gaps filled.
        standard: the level and the scale.
    """

    h: Tensor
    lagged: Tensor
    standard: Standard


@tree.register
@dataclass(frozen=True)
class LastValues:
    """The last values of a series, gaps filled with the last value before them.

    Attributes:
        numbers: (B, M, D), 0 where nothing was observed before.
        is_observed: (B, M, D) bool.
        is_filled: (B, M, D) bool, whether anything was observed until then.
    """

    numbers: Tensor
    is_observed: Tensor
    is_filled: Tensor


@tree.register
@dataclass(frozen=True)
class NumberCarry:
    """What is kept of a series.

    Attributes:
        scale: the level and the scale so far.
        recent: the last M values, as they are standardized.
        body: the carry of the body.
    """

    scale: ScaleState
    recent: LastValues
    body: Tree


class NumberNetwork(SequenceModel):
    """A network over numbers; see the module.

    Attributes:
        config: the configuration that it was built from.
        scale: follows the level and the scale of every row.
        input: W and b of the input layer.
        body: the network of the family.
        head: the output layer.
        known_mean, known_scale: (K,) of the known inputs in the training data, by which they are
            standardized.
    """

    known_mean: Tensor
    known_scale: Tensor

    def __init__(
        self, config: Any, element: Numbers, num_series: int = 0, density: str | None = None
    ) -> None:
        """
        Args:
            config: the options of the family.
            element: D, K, and which values occur.
            num_series: not used: all series share all weights.
            density: the name of the density, see `density_heads.HEADS`; None: the one that suits
                the values.

        Raises:
            ConfigError: if there is no such density for these values, or an option is of symbols.
        """
        super().__init__(element)
        kind = head_kind(density, element)
        _check(config)
        self.config = config
        self.lags = tuple(sorted({1, *(config.lags or ())}))
        num_channels, num_known = element.num_channels, element.num_known
        self.scale = RunningScale(num_channels, kind.kind, config.scale_window)
        width = _input_size(config)
        self.input = Linear(num_channels * (2 * len(self.lags) + 2) + num_known, width)
        self.body: Any = _make_body(config, width)
        self.head = DensityHead(self.body.size, num_channels, len(self.lags), kind)
        self.register_buffer("known_mean", torch.zeros(num_known))
        self.register_buffer("known_scale", torch.ones(num_known))

    def prepare_series(self, data: NumberSequences) -> None:
        """Take from the training data usual levels, scales and known inputs, and linear effects."""
        self.scale.prepare(np.asarray(data.numbers), np.asarray(data.offsets))
        if data.known is not None:
            known = np.asarray(data.known)
            scale = known.std(0)
            self.known_mean.copy_(torch.from_numpy(known.mean(0)))
            self.known_scale.copy_(torch.from_numpy(np.where(scale > 0, scale, 1.0)))
        start_from_least_squares(self.head, data, self._standardized)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Carry:
        return NumberCarry(
            self.scale.empty(batch_size),
            self._nothing(batch_size),
            self.body.empty(batch_size, memory=memory, capacity=capacity),
        )

    def advance(
        self, carry: Carry, x: Tree, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[NumberFeatures, Carry | None]:
        state: NumberCarry = carry
        moment: NumberInput = x
        y = self._read(self.scale.seen(moment.values))
        standard, scale = self.scale.fold(state.scale, y, lengths)
        lagged, observed, recent = self._lagged(state.recent, y, standard, lengths)
        parts = [
            lagged.flatten(-2),
            observed.flatten(-2),
            (standard.scale / self.scale.usual_scale).log() / 4,
            standard.count.log1p() / 4,
        ]
        if moment.known is not None:
            parts.append((moment.known - self.known_mean) / self.known_scale)
        e = self.input(torch.cat([part.to(lagged.dtype) for part in parts], -1))
        h, body = self.body.fold(state.body, e, lengths, keep=keep)
        features = NumberFeatures(h, lagged, standard)
        return features, NumberCarry(scale, recent, body) if keep else None

    def emit(self, features: NumberFeatures) -> Density:
        """The density of the next moment."""
        return self.head(features.h, features.lagged, features.standard)  # type: ignore[no-any-return]

    @property
    def num_widths(self) -> int:
        return self.head.num_channels

    def set_widths(self, factors: Tensor) -> None:
        """Multiply widths; counts have none, whose variance follows from their mean."""
        if self.head.kind.power == 1:
            self.head.factors.copy_(factors)

    def tap_children(self) -> Mapping[str, nn.Module]:
        """The body under the name of the whole, so that its layers keep their names."""
        return {"": self.body}

    def _read(self, y: Values) -> Values:
        """The values y (B, L, D); in training, some rows without some of what was observed."""
        fraction = self.config.hide_inputs
        if not (self.training and fraction):
            return y
        in_row = torch.rand(len(y.numbers), 1, 1, device=self.device) < HIDING_ROWS
        is_read = torch.rand(y.numbers.shape, device=self.device) >= fraction * in_row
        return Values(torch.where(is_read, y.numbers, 0.0), y.is_observed & is_read)

    def _nothing(self, batch_size: int) -> LastValues:
        """The last values before the first."""
        shape = (batch_size, self.lags[-1], self.head.num_channels)
        values = Values.missing(shape, self.device, torch.float64)
        return LastValues(values.numbers, values.is_observed, values.is_observed)

    @torch.no_grad()
    def _standardized(self, x: Values) -> tuple[Tensor, Tensor, Standard, Values]:
        """Series (B, L, D) from their beginning, as `start_from_least_squares` reads them."""
        y, rows = self.scale.seen(x), x.numbers.shape[0]
        standard, _ = self.scale.fold(self.scale.empty(rows), y, None)
        lagged, observed, _ = self._lagged(self._nothing(rows), y, standard, None)
        return lagged, observed, standard, y

    def _lagged(
        self, recent: LastValues, y: Values, standard: Standard, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, LastValues]:
        """c (B, L, D, number of lags), whether each was observed, and the last M values."""
        length, most = y.numbers.shape[1], self.lags[-1]
        seen = tree.map_leaves(lambda a, b: torch.cat([a, b], 1), recent, _filled(recent, y))
        begins = [most + 1 - lag for lag in self.lags]
        lagged = tree.map_leaves(
            lambda t: torch.stack([t[:, b : b + length] for b in begins], -1), seen
        )
        numbers = _between(seen, lagged, begins)
        z = torch.where(lagged.is_filled, self.scale.standardized(numbers, standard), 0.0)
        z = torch.cat([z[..., :1], z[..., 1:] - z[..., :1]], -1).to(self.dtype)
        if lengths is None:
            return z, lagged.is_observed, tree.map_leaves(lambda t: t[:, -most:], seen)
        at = lengths.to(y.numbers.device)[:, None] + torch.arange(most, device=y.numbers.device)
        at = at[..., None].expand(-1, -1, y.numbers.shape[2])
        return z, lagged.is_observed, tree.map_leaves(lambda t: t.gather(1, at), seen)


def _filled(recent: LastValues, y: Values) -> LastValues:
    """The values y (B, L, D), a missing one filled with the last before it."""
    numbers = torch.cat([recent.numbers[:, -1:], y.numbers], 1)
    is_source = torch.cat([recent.is_filled[:, -1:], y.is_observed], 1)
    positions = torch.arange(numbers.shape[1], device=numbers.device)[:, None]
    last = torch.where(is_source, positions, 0).cummax(1).values
    is_filled = is_source.cummax(1).values
    return LastValues(numbers.gather(1, last)[:, 1:], y.is_observed, is_filled[:, 1:])


def _between(seen: LastValues, lagged: LastValues, begins: Sequence[int]) -> Tensor:
    """(B, L, D, number of lags) the lagged numbers, in gaps the mean of what is beside them.

    What comes after a gap counts from the moment on at which it is known.

    Args:
        seen: (B, M + L, D).
        lagged: its parts that begin at `begins`.
        begins: for each lag, the place in `seen` of what the first moment reads.
    """
    if bool(lagged.is_observed.all()):
        return lagged.numbers
    size, length = seen.numbers.shape[1], lagged.numbers.shape[1]
    positions = torch.arange(size, device=seen.numbers.device)
    places = torch.where(seen.is_observed, positions[:, None], size)
    after = places.flip(1).cummin(1).values.flip(1)
    numbers = seen.numbers.gather(1, after.clamp(max=size - 1))
    after, numbers = (
        torch.stack([t[:, b : b + length] for b in begins], -1) for t in (after, numbers)
    )
    is_known = after <= positions[size - length :, None, None]
    return torch.where(is_known, (lagged.numbers + numbers) / 2, lagged.numbers)


def _check(config: Any) -> None:
    """
    Raises:
        ConfigError: if an option is of symbols.
    """
    if isinstance(config, RecurrentConfig) and (config.tie_embeddings or config.embedding_dropout):
        raise ConfigError(
            "numbers have no embeddings to tie or to drop: leave out tie_embeddings and "
            "embedding_dropout"
        )


def _input_size(config: Any) -> int:
    """E."""
    if isinstance(config, Transformer):
        return config.model_size
    if isinstance(config, Autoregressive):
        return config.embedding_size
    size: int = config.embedding_size or config.hidden_size
    return size


def _make_body(config: Any, input_size: int) -> VectorBody:
    """The body of a family."""
    if isinstance(config, RecurrentConfig):
        from seriatim.models.recurrent_layers import VectorRecurrence

        return VectorRecurrence(config, input_size)
    if isinstance(config, Transformer):
        from seriatim.models.causal_blocks import VectorBlocks

        return VectorBlocks(config)
    if isinstance(config, Latent):
        from seriatim.models.cell_loop import VectorLoop

        return VectorLoop(config, input_size)
    from seriatim.models.vector_window import VectorWindow

    return VectorWindow(config, input_size)
