"""The vector autoregressive model: every channel is explained by the last values of all.

    x_t = c + b t + sum_{i=1..p} A_i x_{t-i} + e_t,    e_t ~ N(0, S)

A moment of which some channels were observed is scored by their marginal, and the others are kept
as missing values with their covariance. Before the first moment the process is stationary, where
it can be; otherwise the values before it were all the same, of the mean and covariance of the data.

Shapes: B rows, L moments of a chunk, D channels, p the order, H moments ahead.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.densities import Density, MultivariateNormal, Normal
from seriatim.core.elements import Numbers
from seriatim.core.model import Carry, Features, SequenceModel, State
from seriatim.core.tree import Tree
from seriatim.core.values import NumberInput, NumberSequences, Values
from seriatim.errors import ConfigError, DataError
from seriatim.models.linear import least_squares, panels
from seriatim.models.linear.window import Equation, PastWindow, filter_chunk, predict
from seriatim.models.options.linear import VAR


@tree.register
@dataclass(frozen=True)
class VARCarry:
    """What a vector autoregressive model keeps.

    Attributes:
        window: the last p moments.
        moment: (B,) the number of the next moment; -1: nothing was folded yet.
    """

    window: PastWindow
    moment: Tensor


class VARModel(SequenceModel):
    """A vector autoregressive model; its parameters are buffers, in float64.

    Attributes:
        config: the configuration that it was built from.
        weights: (p D, D) the coefficients, those of the oldest moment first.
        terms: (2, D) c and b.
        noise: (D, D) S.
        start_mean: (p, D) and
        start_covariance: (p D, p D) of the window before the first moment.
    """

    weights: Tensor
    terms: Tensor
    noise: Tensor
    start_mean: Tensor
    start_covariance: Tensor

    def __init__(
        self, config: VAR, element: Numbers, num_series: int = 0, density: str | None = None
    ) -> None:
        """
        Args:
            config: the options.
            element: what the series consist of.
            num_series: not used: all series share the coefficients.
            density: the name of the distribution; only "normal".

        Raises:
            ConfigError: if the density is another, or there are known inputs.
        """
        super().__init__(element)
        if density not in (None, "normal"):
            raise ConfigError(
                f"{config.family} has normal errors, and {density} was asked for: leave it out"
            )
        if element.num_known:
            raise ConfigError("var takes no known inputs: leave them out, or take ar")
        self.config = config
        order = config.max_order if isinstance(config.order, str) else config.order
        self.order, D = max(1, order), element.num_channels
        size = self.order * D
        eye = torch.eye(D, dtype=torch.float64)
        self.register_buffer("weights", torch.zeros(size, D, dtype=torch.float64))
        self.register_buffer("terms", torch.zeros(2, D, dtype=torch.float64))
        self.register_buffer("noise", eye)
        self.register_buffer("start_mean", torch.zeros(self.order, D, dtype=torch.float64))
        self.register_buffer("start_covariance", torch.eye(size, dtype=torch.float64))

    # ---- the contract ---------------------------------------------------------------------------

    @property
    def marginalizes(self) -> bool:
        """Gaps are exact."""
        return True

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> VARCarry:
        means = self.start_mean.expand(batch_size, -1, -1)
        covariance = self.start_covariance.expand(batch_size, -1, -1)
        moment = torch.full((batch_size,), -1, device=means.device)
        return VARCarry(PastWindow.uncertain(means, covariance), moment)

    def advance(
        self, carry: Carry, x: NumberInput, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Features, Carry | None]:
        starts = (carry.moment < 0) & ~x.values.is_observed[:, 0].any(-1)
        if bool(starts.all()):
            return self._advance(carry, x, lengths, 1)
        if not bool(starts.any()):
            moment = carry.moment.clamp(min=0)
            return self._advance(replace(carry, moment=moment), x, lengths, 0)
        parts, order = [], []
        for skip in (0, 1):
            index = (starts == bool(skip)).nonzero()[:, 0]
            chosen = None if lengths is None else lengths[index.cpu()]
            rows = tree.select(carry, index), tree.select(x, index)
            parts.append(self.advance(*rows, chosen))
            order.append(index)
        back = torch.cat(order).argsort()
        together: tuple[Features, Carry] = tree.select(tree.cat(parts), back)
        return together

    def emit(self, features: Features) -> Density:
        """Normal, with dependent channels."""
        return MultivariateNormal(*features)

    # ---- capabilities ---------------------------------------------------------------------------

    def fit_series(self, data: NumberSequences) -> dict[str, object]:
        """Conditional least squares over all series; see `core.forecasting.FitsSeries`.

        S is that of maximum likelihood: the mean outer product of the residuals.
        """
        panels.check(data)
        D, most = self.element.num_channels, self.config.order  # type: ignore[attr-defined]
        largest = self.order if isinstance(most, str) or most else 0
        sums, rows = self._sums(data, largest)
        order = self._choose(sums, rows, largest) if isinstance(most, str) else largest
        num_fixed = sums.shape[-1] - D * (largest + 1)
        if rows <= num_fixed + order * D:
            raise DataError(
                f"{int(rows)} moments are observed with all lags, too few for the "
                f"{num_fixed + order * D} coefficients of a channel: lower the order"
            )
        used = num_fixed + order * D
        keep = torch.cat([torch.arange(used), torch.arange(sums.shape[-1] - D, sums.shape[-1])])
        sums = sums[keep][:, keep]
        coefficients = least_squares.solve_many(sums, D)  # (used, D)
        row = torch.cat([-coefficients, torch.eye(D, dtype=torch.float64)])
        self.noise.copy_(row.T @ sums @ row / rows)
        self.terms.zero_()
        self.terms[: min(num_fixed, 2)] = coefficients[:num_fixed]
        self.terms[1] /= least_squares.SLOPE_UNIT
        lags = coefficients[num_fixed:].view(order, D, D).flip(0).reshape(-1, D)
        self.weights.zero_()
        if order:
            self.weights[-order * D :] = lags
        self._set_start(data)
        return {"order": order, "rows": int(rows)}

    def ahead(self, state: State, horizon: int, known: Tensor | None = None) -> Density:
        """The distributions of the next moments; see `core.forecasting.Ahead`."""
        first = tree.map_leaves(lambda t: t[:, None], state.features)
        if horizon == 1:
            return self.emit(first)
        shape = (state.carry.moment.shape[0], horizon - 1, self.element.size)
        values = Values.missing(shape, self.device, self.dtype)
        later, _ = self.advance(state.carry, NumberInput(values), None)
        return self.emit(tree.map_leaves(lambda a, b: torch.cat([a, b], 1), first, later))

    def smooth(self, x: NumberInput, lengths: Tensor | None, memory: Tree | None = None) -> Density:
        """The distributions of missing values given all others; see `core.forecasting.Smooths`."""
        rows, length = x.values.numbers.shape[:2]
        rest = None if lengths is None else (lengths - 1).clamp(min=0)
        numbers, observed = x.values.numbers[:, 1:].to(self.weights), x.values.is_observed[:, 1:]
        offsets = self._offsets(torch.zeros(rows, dtype=torch.int64), length)
        done = filter_chunk(
            self._equation(rows),
            self.empty(rows).window,
            (numbers, observed),
            offsets,
            rest,
            smooth=True,
        )
        assert done.smoothed is not None
        assert done.variances is not None
        mean = torch.where(observed, numbers, done.smoothed[:, self.order :])
        variance = torch.where(observed, 0.0, done.variances[:, self.order :].clamp(min=0.0))
        return Normal(mean, variance.sqrt())

    # ---- folding --------------------------------------------------------------------------------

    def _advance(
        self, carry: VARCarry, x: NumberInput, lengths: Tensor | None, skip: int
    ) -> tuple[Features, Carry]:
        """Fold a chunk whose first `skip` inputs are no moment."""
        numbers, observed = x.values.numbers.to(self.weights), x.values.is_observed
        rows, length, _ = numbers.shape
        equation, means, covariances = self._equation(rows), [], []
        offsets = self._offsets(carry.moment + skip, length - skip + 1)
        if skip:
            mean, covariance = predict(equation, carry.window, offsets[:, 0])
            means.append(mean[:, None])
            covariances.append(covariance[:, None])
        rest = None if lengths is None else (lengths - skip).clamp(min=0)
        window = carry.window
        if length > skip:
            inputs = numbers[:, skip:], observed[:, skip:]
            done = filter_chunk(equation, window, inputs, offsets, rest)
            means.append(done.means)
            covariances.append(done.covariances)
            window = done.window
        features = torch.cat(means, 1), torch.cat(covariances, 1)
        seen = length if lengths is None else lengths.to(carry.moment.device)
        return features, VARCarry(window, carry.moment + seen)

    def _equation(self, rows: int) -> Equation:
        shape = (rows, -1, -1)
        return Equation(self.weights.expand(shape), self.noise.expand(shape))

    def _offsets(self, moment: Tensor, length: int) -> Tensor:
        """(B, L, D) c + b t of L moments from `moment` (B,) on."""
        at = moment.to(self.device)[:, None] + torch.arange(length, device=self.device)
        return self.terms[0] + at[..., None] * self.terms[1]

    # ---- fitting --------------------------------------------------------------------------------

    def _sums(self, data: NumberSequences, order: int) -> tuple[Tensor, Tensor]:
        """The sum of outer products of rows [constant, slope, lags, targets], and their number."""
        total, rows = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for panel in panels.panels_of(data):
            length = panel.values.shape[1] - order
            if length <= 0:
                continue
            parts = [panel.values[:, order - i : order - i + length] for i in range(1, order + 1)]
            row = torch.cat([*parts, panel.values[:, order:]], -1)
            fixed = []
            if self.config.trend != "none":
                fixed.append(torch.ones_like(row[..., :1]))
            if self.config.trend == "linear":
                at = torch.arange(order, order + length) / least_squares.SLOPE_UNIT
                fixed.append(at.to(row).expand(len(row), -1)[..., None])
            row = torch.cat([*fixed, row], -1).flatten(0, 1)
            row = row[~row.isnan().any(-1)]
            total, rows = total + row.T @ row, rows + len(row)
        return total, rows

    def _choose(self, sums: Tensor, rows: Tensor, largest: int) -> int:
        """The order with the least criterion: ln |S| + penalty, on the same moments for all."""
        D = self.element.size
        num_fixed = sums.shape[-1] - D * (largest + 1)
        values = []
        for order in range(largest + 1):
            used = num_fixed + order * D
            keep = torch.cat([torch.arange(used), torch.arange(sums.shape[-1] - D, sums.shape[-1])])
            part = sums[keep][:, keep]
            row = torch.cat([-least_squares.solve_many(part, D), torch.eye(D).to(part)])
            volume = (row.T @ part @ row / rows).logdet()
            m = torch.tensor(float(D * used + D * (D + 1) // 2), dtype=torch.float64)
            penalty = {
                "aic": 2 * m,
                "bic": m * rows.log(),
                "aicc": 2 * m * rows / (rows - m - 1).clamp(min=1e-9),
            }
            values.append(float(rows * volume + penalty[str(self.config.order)]))
        return min(range(len(values)), key=values.__getitem__)

    def _set_start(self, data: NumberSequences) -> None:
        """The mean and covariance of the window before the first moment."""
        D, p = self.element.size, self.order
        companion = torch.zeros(p * D, p * D, dtype=torch.float64)
        companion[:-D, D:] = torch.eye((p - 1) * D, dtype=torch.float64)
        companion[-D:] = self.weights.T
        is_stationary = bool(torch.linalg.eigvals(companion).abs().max() < 1 - 1e-6)
        if is_stationary and not bool(self.terms[1].any()):
            moved = torch.eye(D, dtype=torch.float64) - self.weights.view(p, D, D).sum(0).T
            self.start_mean.copy_(torch.linalg.solve(moved, self.terms[0]).expand(p, -1))
            size = (p * D, p * D)
            noise = torch.zeros(size, dtype=torch.float64)
            noise[-D:, -D:] = self.noise
            self.start_covariance.copy_(_doubled(companion, noise))
            return
        numbers = torch.from_numpy(data.numbers)
        mean = numbers.nanmean(0)
        deviation = torch.where(numbers.isnan(), 0.0, numbers - mean)
        covariance = deviation.T @ deviation / (~numbers.isnan()).sum(0).min().clamp(min=1)
        self.start_mean.copy_(mean.expand(p, -1))
        self.start_covariance.copy_(covariance.repeat(p, p))


def _doubled(companion: Tensor, noise: Tensor) -> Tensor:
    """sum_k F^k Q F'^k, by doubling the number of terms until nothing is added."""
    total, power = noise, companion
    for _ in range(60):
        more = power @ total @ power.T
        total = total + more
        if bool(more.abs().max() <= 1e-16 * total.abs().max()):
            break
        power = power @ power
    return (total + total.T) / 2
