"""The level and the scale of a series so far, by which networks see it standardized.

    c     the first value observed
    m_t = c + sum_i g^(n_t - n_i) (x_i - c) / sum_i g^(n_t - n_i)        the level
    s_t = mean of |x_i - m_{i-1}|, with the same weights                 the scale

over the values observed until t, where n_i counts observed values and g = 1 - 1 / window. All of it
is causal: a value changes nothing before it, and a missing one changes nothing at all. After the
first few, a value enters as if it were at most 64 s_{i-1} away from m_{i-1}: one absurd value moves
the level by a quarter of the scale and the scale by a quarter of itself, while a series that has
really changed is followed at this rate, which is exponential in the number of values. The first
deviation is not known; it counts as a tenth of a value, of a size that is usual in the training
data for such a level. Before the first value the level and scale of the training data stand in.

Counts have no level, so that a multiple of a series looks the same: m_t = 0, and s_t is a mean of
x, which enters as at most 64 (s + 1): one count is not absurd, however rare. Numbers that a head
predicts by their logarithms are standardized as logarithms.

Levels and scales are float64 whatever the weights are: float32 keeps no change of 1 at 10^8.

Shapes: B rows, L moments of a chunk, D channels.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.values import Values

Kind: TypeAlias = Literal["level", "log", "ratio"]

FIRST = 0.1  # the weight of the first deviation, which is a guess
FLOOR = 1e-3  # of the smallest scale in the training data
TINY = 1e-30  # the least number whose logarithm is taken
FURTHEST = 64.0  # scales from the level: what is further away counts as this far
FEW = 4  # values without which the scale is a guess, and nothing is too far away


@tree.register
@dataclass(frozen=True)
class Standard:
    """How the numbers of a moment are standardized: z = (y - level) / scale.

    Attributes:
        level: (..., D) m_t.
        scale: (..., D) s_t, positive.
        count: (..., D) n_t, the number of values that they are made from.
    """

    level: Tensor
    scale: Tensor
    count: Tensor


@tree.register
@dataclass(frozen=True)
class ScaleState:
    """What is kept of a series: everything is (B, D).

    Attributes:
        anchor: c; 0 before the first value. Sums are of differences to it, which keeps digits.
        count: n, the number of values observed.
        weight: the sum of the weights of values.
        total: the weighted sum of x - c.
        deviations: the weighted sum of deviations.
        deviation_weight: the sum of their weights.
    """

    anchor: Tensor
    count: Tensor
    weight: Tensor
    total: Tensor
    deviations: Tensor
    deviation_weight: Tensor


class RunningScale(nn.Module):
    """Follows the level and the scale of every row; has no weights, but constants of the data.

    Attributes:
        usual_level: (D,) the level before the first value.
        usual_scale: (D,) the scale before the first value.
        first_deviation: (D,) what the first deviation is taken to be, as a fraction of |x_1|; of
            logarithms, the deviation itself.
        least_scale: (D,) the smallest scale.
    """

    usual_level: Tensor
    usual_scale: Tensor
    first_deviation: Tensor
    least_scale: Tensor

    def __init__(self, num_channels: int, kind: Kind, window: int) -> None:
        """
        Args:
            num_channels: D.
            kind: "level" for differences to a level, "log" for those of logarithms, "ratio" for
                multiples of a mean.
            window: about how many of the last values count.
        """
        super().__init__()
        self.kind, self.decay = kind, 1.0 - 1.0 / window
        ones = torch.ones(num_channels)
        self.register_buffer("usual_level", torch.zeros(num_channels))
        self.register_buffer("usual_scale", ones.clone())
        self.register_buffer("first_deviation", 0.5 * ones)
        self.register_buffer("least_scale", FLOOR * ones)

    def seen(self, x: Values) -> Values:
        """The values as they are standardized: logarithms, or as they are, in float64.

        The logarithm of a number that has none is not defined; data of such is refused before.
        """
        numbers = x.numbers.double()
        if self.kind == "log":
            numbers = numbers.clamp_min(TINY).log()
        return Values(torch.where(x.is_observed, numbers, 0.0), x.is_observed)

    def empty(self, batch_size: int) -> ScaleState:
        """The state before the first value."""
        zeros = self.usual_level.new_zeros(batch_size, len(self.usual_level), dtype=torch.float64)
        return ScaleState(zeros, zeros, zeros, zeros, zeros, zeros)

    def fold(
        self, state: ScaleState, y: Values, lengths: Tensor | None
    ) -> tuple[Standard, ScaleState]:
        """The standards after each of y (B, L, D), which `seen` gave, and the state after them."""
        # What enters at a moment depends on all that entered before. Each pass is right up to and
        # including the next moment that is too far away; most often the first one is right.
        entering = y.numbers
        while True:
            standard, sums, before = self._averages(state, y, entering)
            nearer = self._nearer(y, before)
            if torch.equal(nearer, entering):
                break
            entering = nearer
        start = (
            state.count,
            state.weight,
            state.total,
            state.deviations,
            state.deviation_weight,
        )
        last = tree.last_valid((standard.count, *sums), lengths, start)
        return standard, ScaleState(self._anchor(state, y, lengths), *last)

    def standardized(self, numbers: Tensor, standard: Standard) -> Tensor:
        """z of numbers (..., D, P), which are taken to be at most as far away as `fold` does."""
        level, scale = standard.level[..., None], standard.scale[..., None]
        furthest = FURTHEST * (scale + (self.kind == "ratio")) / scale
        return torch.clamp((numbers - level) / scale, -furthest, furthest)

    def _averages(
        self, state: ScaleState, y: Values, entering: Tensor
    ) -> tuple[Standard, tuple[Tensor, Tensor, Tensor, Tensor], Standard]:
        """The standards after each of y; four sums of the state; and the standards before each.

        Args:
            state: the state before y.
            y: the values.
            entering: (B, L, D) the numbers that enter in their place.
        """
        observed = y.is_observed.to(entering.dtype)
        anchor = self._anchor(state, y)
        count = state.count[:, None] + observed.cumsum(1)
        decay = 1.0 + (self.decay - 1.0) * observed
        x = torch.where(y.is_observed, entering - anchor[:, None], 0.0)
        sums = _scan(
            decay,
            torch.stack([observed, x], -1),
            torch.stack([state.weight, state.total], -1),
        )
        weight, total = sums.unbind(-1)
        level = total / weight.clamp_min(1e-12)
        before = _shifted(state.total / state.weight.clamp_min(1e-12), level)
        is_first = y.is_observed & (count == 1)
        if self.kind == "ratio":
            level, before = torch.zeros_like(level), torch.zeros_like(before)
            first = FIRST * is_first.to(x.dtype)
            share = observed + first
            size = entering.abs() * observed + first * self.usual_scale
        else:
            guess = self.first_deviation
            if self.kind == "level":
                guess = guess * entering.abs() + self.least_scale
            share = torch.where(is_first, FIRST, observed)
            size = torch.where(is_first, FIRST * guess, (x - before).abs() * observed)
            level, before = anchor[:, None] + level, anchor[:, None] + before
        sums = _scan(
            decay,
            torch.stack([share, size], -1),
            torch.stack([state.deviation_weight, state.deviations], -1),
        )
        deviation_weight, deviations = sums.unbind(-1)
        scale = self._scale(deviations, deviation_weight)
        earlier = Standard(
            before,
            _shifted(self._scale(state.deviations, state.deviation_weight), scale),
            _shifted(state.count, count),
        )
        is_new = count == 0
        if self.kind != "ratio":
            level = torch.where(is_new, self.usual_level, level)
        standard = Standard(level, torch.where(is_new, self.usual_scale, scale), count)
        return standard, (weight, total, deviations, deviation_weight), earlier

    def _scale(self, deviations: Tensor, weight: Tensor) -> Tensor:
        return torch.maximum(deviations / weight.clamp_min(1e-12), self.least_scale)

    def _nearer(self, y: Values, before: Standard) -> Tensor:
        """(B, L, D) the numbers, at most as far from the level as a value may be."""
        furthest = FURTHEST * (before.scale + (self.kind == "ratio"))
        nearer = torch.clamp(y.numbers, before.level - furthest, before.level + furthest)
        return torch.where(y.is_observed & (before.count >= FEW), nearer, y.numbers)

    def _anchor(self, state: ScaleState, y: Values, lengths: Tensor | None = None) -> Tensor:
        """(B, D) c: that of the state, or the first value observed, if it is valid."""
        observed = y.is_observed
        if lengths is not None:
            positions = torch.arange(observed.shape[1], device=observed.device)
            observed = observed & (positions < lengths.to(observed.device)[:, None])[..., None]
        first = observed.to(torch.uint8).argmax(1, keepdim=True)
        value = torch.where(observed.any(1), y.numbers.gather(1, first)[:, 0], 0.0)
        return torch.where(state.count > 0, state.anchor, value)

    def prepare(self, numbers: NDArray[np.float64], offsets: NDArray[np.int64]) -> None:
        """Take the constants from training data, numbers (N, D) of series end to end."""
        if self.kind == "log":
            numbers = np.log(np.maximum(numbers, TINY))
        usual = [_usual(numbers[:, d], offsets, self.kind) for d in range(numbers.shape[1])]
        like = self.usual_level
        for name, values in zip(
            ("usual_level", "usual_scale", "first_deviation", "least_scale"),
            zip(*usual, strict=True),
            strict=True,
        ):
            getattr(self, name).copy_(torch.tensor(values, dtype=like.dtype))


def _usual(
    x: NDArray[np.float64], offsets: NDArray[np.int64], kind: Kind
) -> tuple[float, float, float, float]:
    """The level, the scale, the first deviation and the least scale of one channel."""
    observed = ~np.isnan(x)
    series = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[observed]
    x = x[observed]
    if not len(x):
        return 0.0, 1.0, 0.5, FLOOR
    x = _without_absurd(x, series)
    counts = np.bincount(series)
    each = np.maximum(counts, 1)
    if kind == "ratio":
        means = (np.bincount(series, np.abs(x)) / each)[counts > 0]
        usual = float(np.mean(means)) or 1.0
        smallest = means[means > 0].min(initial=usual)
        return 0.0, usual, 1.0, FLOOR * float(smallest)
    means = np.bincount(series, x) / each
    deviations = (np.bincount(series, np.abs(x - means[series])) / each)[counts > 0]
    means = means[counts > 0]
    level = float(np.median(means))
    scale = float(np.abs(x - level).mean()) or max(abs(level), 1.0)
    smallest = deviations[deviations > 0].min(initial=scale)
    if kind == "log":
        first = float(np.median(deviations)) or scale
    else:
        sizes = np.maximum(np.abs(means), 1e-300)
        first = float(np.clip(np.median(deviations / sizes), 1e-12, 1.0))
    return level, scale, first, FLOOR * float(smallest)


def _without_absurd(x: NDArray[np.float64], series: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values at most 64 median deviations from the median of their series, if that is not 0."""
    center = _medians(x, series)[series]
    furthest = FURTHEST * _medians(np.abs(x - center), series)[series]
    furthest[furthest == 0] = np.inf
    return np.maximum(np.minimum(x, center + furthest), center - furthest)


def _medians(x: NDArray[np.float64], series: NDArray[np.int64]) -> NDArray[np.float64]:
    """The median of each series, of the numbers x with those of their series, ascending."""
    counts = np.bincount(series)
    ends = np.cumsum(counts)
    x = x[np.lexsort((x, series))]
    low, high = ends - counts + (counts - 1) // 2, ends - counts + counts // 2
    last = len(x) - 1  # a series without values is not asked for
    middle: NDArray[np.float64] = x[np.clip(low, 0, last)] + x[np.clip(high, 0, last)]
    return middle / 2


def _shifted(first: Tensor, after: Tensor) -> Tensor:
    """(B, L, D) what was before each moment: `first` (B, D), and `after` each but the last."""
    return torch.cat([first[:, None], after[:, :-1]], 1)


def _scan(decay: Tensor, add: Tensor, before: Tensor) -> Tensor:
    """y_t = decay_t y_{t-1} + add_t along axis 1, by doubling: y of (B, L, D, K).

    Args:
        decay: (B, L, D).
        add: (B, L, D, K).
        before: (B, D, K) y_{-1}.
    """
    a = decay[..., None]
    y = torch.cat([add[:, :1] + a[:, :1] * before[:, None], add[:, 1:]], 1)
    reach = 1
    while reach < y.shape[1]:
        y = torch.cat([y[:, :reach], y[:, reach:] + a[:, reach:] * y[:, :-reach]], 1)
        a = torch.cat([a[:, :reach], a[:, reach:] * a[:, :-reach]], 1)
        reach *= 2
    return y
