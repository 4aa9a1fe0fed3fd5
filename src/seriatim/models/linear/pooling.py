"""Least squares over many series: shared coefficients, and those of each drawn to them.

Every series is brought to mean 0 and variance 1 first, so that series of all levels share
coefficients; the parameters are in the units of the data again. Pooling, the strength of it and the
order all follow from the sums of outer products of rows, which are computed once.

Shapes: S series, D channels, k regressors, q moments of the window.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.core.elements import Numbers
from seriatim.core.values import NumberSequences
from seriatim.models.linear import fitted, least_squares, panels
from seriatim.models.linear.lags import Lags
from seriatim.models.linear.parameters import ARParameters
from seriatim.models.options.linear import AR

STRENGTHS = (0.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0, float("inf"))
_JUDGES = 128  # series on which the strength is chosen, evenly spaced
_LAST_PART = 0.2  # of the rows of each series, on which the strength of pooling is chosen
# Where less than this part of the observed moments has all its lags observed, those that are
# missing are interpolated: with 168 lags, one missing value in twenty leaves no row whole.
_FEW_ROWS = 0.5
_PRIOR_ROWS = 10.0  # that the noise of all series counts for in that of one


@dataclass
class _Sums:
    """Of one channel: G (S, k + 1, k + 1) and rows (S,) of the earlier part and of the last."""

    earlier: Tensor
    counts: Tensor
    late: Tensor
    late_counts: Tensor

    @property
    def both(self) -> Tensor:
        return self.earlier + self.late

    @property
    def rows(self) -> Tensor:
        return self.counts + self.late_counts


def fit_pooled(
    config: AR,
    lags: Lags,
    element: Numbers,
    data: NumberSequences,
    blank: ARParameters,
    moments: fitted.Moments,
) -> fitted.Fitted:
    """Conditional least squares; see `fitting.fit`."""
    centre, scale = _units(config, lags, moments)
    sums = _sums(config, lags, element, data, centre, scale)
    is_pooled = len(centre) > 1 and config.pooling != "none"
    shared = ARParameters.blank(1, element.num_channels, lags.window, blank.terms.shape[-1])
    facts: dict[str, object] = {}
    for d, channel in enumerate(sums):
        order = _order(config, lags, channel, element.num_known)
        of_all, of_each, strength = _coefficients(config, channel, order, is_pooled)
        noise, noise_of_all = _noise(channel, of_all, of_each, strength if is_pooled else None)
        unit = scale[:, d].square().mean().sqrt()[None], centre[:, d].mean()[None]
        _write(config, lags, shared, d, of_all[None], unit)
        _write(config, lags, blank, d, of_each, (scale[:, d], centre[:, d]))
        blank.spread[:, d, 0] = noise * scale[:, d]
        shared.spread[:, d, 0] = noise_of_all * unit[0]
        facts = {"order": _fact(order, lags), "rows": int(channel.rows.sum())}
        if is_pooled:
            facts["shrinkage"] = "all" if strength == float("inf") else strength
    blank.spread[..., 0] = fitted.floor(blank.spread[..., 0], moments)
    spread = fitted.shared_spread(blank.spread)
    shared.spread[..., 1:] = spread[..., 1:]
    if len(centre) == 1:
        shared = blank
    both = [fitted.starts_stationary(config, p.weights, p.terms) for p in (shared, blank)]
    return fitted.Fitted(shared, blank, all(both), facts)


def _units(config: AR, lags: Lags, moments: fitted.Moments) -> tuple[Tensor, Tensor]:
    """(S, D) what is subtracted from the fitted values, and what they are divided by.

    Steps are divided by the deviation of the values, not of the steps: a smooth series then counts
    for less in the shared coefficients than a noisy one, and forecasts far ahead are better.
    """
    if config.fits_steps:
        return torch.zeros_like(moments.scale), fitted.floor(moments.scale, moments)
    if lags.has_constant or lags.num_dummies:
        return moments.mean, fitted.floor(moments.scale, moments)
    scale = (moments.scale.square() + moments.mean.square()).sqrt()
    return torch.zeros_like(scale), fitted.floor(scale, moments)


def _sums(
    config: AR,
    lags: Lags,
    element: Numbers,
    data: NumberSequences,
    centre: Tensor,
    scale: Tensor,
) -> list[_Sums]:
    """The sums of every channel."""
    k = least_squares.num_deterministic(lags, element.num_known) + len(lags.lags) + 1
    shape, channels = (len(centre), k, k), element.num_channels
    found = [
        _Sums(*(torch.zeros(s, dtype=torch.float64) for s in (shape, shape[:1]) * 2))
        for _ in range(channels)
    ]
    choose = config.pooling in (None, "shrunk") and config.shrinkage is None and len(centre) > 1
    last_part = _LAST_PART if choose else 0.0
    for panel in panels.panels_of(data):
        unit = centre[panel.index][:, None], scale[panel.index][:, None]
        values = (panel.values - unit[0]) / unit[1]
        filled, known = panels.interpolated(values), panel.known
        if config.fits_steps:
            seen = ~values.isnan()[:, 1:]
            values, filled = values.diff(dim=1), filled.diff(dim=1)
            targets = torch.where(seen, filled, torch.nan)
            known = None if known is None else known[:, 1:]
        else:
            targets = values
        for d in range(channels):
            parts = least_squares.design_sums(values[..., d], lags, known, last_part)
            possible = (~targets[:, max(lags.lags, default=0) :, d].isnan()).sum()
            if parts[1].sum() + parts[3].sum() < _FEW_ROWS * possible:
                parts = least_squares.design_sums(
                    targets[..., d], lags, known, last_part, filled[..., d]
                )
            for target, part in zip(vars(found[d]).values(), parts, strict=True):
                target[panel.index] = part
    return found


def _order(config: AR, lags: Lags, sums: _Sums, num_known: int) -> Tensor:
    """(k,) bool: the regressors of the chosen order."""
    fixed = least_squares.num_deterministic(lags, num_known)
    used = torch.ones(fixed + len(lags.lags), dtype=torch.bool)
    if not isinstance(config.order, str):
        return used
    largest = config.largest_order
    total, rows = sums.both.sum(0, keepdim=True), sums.rows.sum()[None]
    season = torch.arange(fixed + largest, fixed + len(lags.lags))  # before the lags of the order
    at = torch.cat([torch.arange(fixed), season, torch.arange(fixed, fixed + largest)])
    at = torch.cat([at, torch.tensor([len(used)])])
    total = total[:, at][:, :, at]
    squares = least_squares.nested_residual_sums(total, fixed + len(season))
    values = least_squares.criteria(squares, rows, fixed + len(season), config.order)
    best = int(values.argmin(-1))
    used[fixed + best : fixed + largest] = False
    return used


def _coefficients(
    config: AR, sums: _Sums, used: Tensor, is_pooled: bool
) -> tuple[Tensor, Tensor, float]:
    """Those of all series (k,), of each (S, k), and the strength of pooling."""
    keep = torch.cat([used, torch.ones(1, dtype=torch.bool)]).nonzero()[:, 0]

    def chosen(matrix: Tensor) -> Tensor:
        return matrix[:, keep][:, :, keep]

    both = chosen(sums.both)
    of_all = least_squares.solve(both.sum(0, keepdim=True), config.ridge)[0]
    strength = float("inf") if config.pooling == "full" else config.shrinkage
    if not is_pooled:
        strength = 0.0
        of_each = least_squares.solve(both, config.ridge)
    else:
        if strength is None:
            strength = _strength(config, chosen(sums.earlier), chosen(sums.late), sums.counts)
        of_each = least_squares.shrunk(both, sums.rows, of_all, strength, config.ridge)
    wide = of_each.new_zeros(len(of_each) + 1, len(used))
    wide[:, used] = torch.cat([of_all[None], of_each])
    return wide[0], wide[1:], strength


def _strength(config: AR, earlier: Tensor, late: Tensor, counts: Tensor) -> float:
    """The strength of pooling with the least error in the last part of the series."""
    of_all = least_squares.solve(earlier.sum(0, keepdim=True), config.ridge)[0]
    step = -(-len(counts) // _JUDGES)
    earlier, late, counts = earlier[::step], late[::step], counts[::step]
    errors = []
    for strength in STRENGTHS:
        of_each = least_squares.shrunk(earlier, counts, of_all, strength, config.ridge)
        errors.append(float(least_squares.residual_sum(late, of_each).sum()))
    return STRENGTHS[min(range(len(errors)), key=errors.__getitem__)]


def _noise(
    sums: _Sums, of_all: Tensor, of_each: Tensor, strength: float | None
) -> tuple[Tensor, Tensor]:
    """(S,) the standard deviation of the noise of each series, and (1,) of one not seen.

    The divisor is the number of rows less that of coefficients. Of k coefficients that are drawn to
    the shared ones, a series with n rows has chosen about k n / (n + strength) by itself.

    Args:
        sums: of the channel.
        of_all: (k,) the shared coefficients.
        of_each: (S, k) those of each series.
        strength: the rows that the shared ones weigh as much as; None: they have no influence.
    """
    both, rows = sums.both, sums.rows
    k = int((of_each != 0).any(0).sum())
    squares = least_squares.residual_sum(both, of_each)
    of_shared = least_squares.residual_sum(
        both, of_all.expand_as(of_each)
    ).sum() / rows.sum().clamp(min=1.0)
    if strength is None:
        variance = squares / (rows - k).clamp(min=1.0)
        variance = torch.where(rows > 0, variance, 1.0)
    else:
        own = k * rows / (rows + strength).clamp(min=1.0)
        shared = k * rows / rows.sum().clamp(min=1.0)
        free = (rows - own - shared).clamp(min=1.0)
        mean = squares.sum() / free.sum()
        mean = torch.where(rows.sum() > 0, mean, 1.0)
        variance = (squares + _PRIOR_ROWS * mean) / (free + _PRIOR_ROWS)
    return variance.sqrt(), of_shared.sqrt()[None]


def _write(
    config: AR,
    lags: Lags,
    into: ARParameters,
    channel: int,
    coefficients: Tensor,
    unit: tuple[Tensor, Tensor],
) -> None:
    """Put coefficients (rows, k) of scaled values into the parameters of a channel, unscaled."""
    scale, centre = (t[:, None] for t in unit)
    fixed = coefficients.shape[-1] - len(lags.lags)
    of_lags = torch.zeros(len(coefficients), max(lags.lags, default=0), dtype=torch.float64)
    of_lags[:, [lag - 1 for lag in lags.lags]] = coefficients[:, fixed:]
    weights = fitted.levels(of_lags) if config.fits_steps else of_lags
    window = into.weights.shape[-1]
    into.weights[:, channel] = torch.nn.functional.pad(
        weights.flip(-1), (window - weights.shape[-1], 0)
    )
    deterministic, terms = coefficients[:, :fixed] * scale, into.terms[:, channel]
    at = 0
    if lags.has_constant and not lags.num_dummies:
        terms[:, 0] = deterministic[:, 0]
        at = 1
    if not config.fits_steps:
        terms[:, :1] += centre * (1 - of_lags.sum(-1, keepdim=True))
    # Rows of steps begin one moment later than those of values.
    late = int(config.fits_steps)
    if lags.has_slope:
        slope = deterministic[:, at] / least_squares.SLOPE_UNIT
        terms[:, 1] = slope
        terms[:, 0] -= late * slope
        at += 1
    if lags.num_dummies:
        season = deterministic[:, at : at + lags.num_dummies]
        terms[:, 2 : 2 + lags.num_dummies] = season.roll(late, -1)
        at += lags.num_dummies
    terms[:, 2 + lags.num_dummies :] = deterministic[:, at:]


def _fact(used: Tensor, lags: Lags) -> int:
    """The number of lags that are used."""
    return int(used[-len(lags.lags) :].sum()) if lags.lags else 0
