"""From series to the parameters of an autoregressive model.

Shapes: S series, D channels, n = S D of them, k regressors.
"""

from collections import Counter

import numpy as np
import torch
from torch import Tensor

from seriatim.core.elements import Numbers
from seriatim.core.values import NumberSequences
from seriatim.errors import DataError
from seriatim.models.linear import least_squares, panels, stationary
from seriatim.models.linear.fitted import (
    Fitted,
    Moments,
    floor,
    levels,
    moments_of,
    shared_spread,
)
from seriatim.models.linear.lags import AROptions, Lags
from seriatim.models.linear.parameters import ARParameters
from seriatim.models.linear.pooling import fit_pooled
from seriatim.models.options.linear import AR, Drift, SeasonalNaive

_DEEPEST = 1 / 3  # of the median length of the series: the lags of an order that was not given
_ROWS_PER_LAG = 10  # complete windows, without which a long order explains noise
_LEAST_VALUE = 0.05  # of the mean size, whose logarithm is taken
_PRIOR_MOMENTS = 10.0  # that the variance of all series counts for in that of one


def fit(config: AROptions, lags: Lags, element: Numbers, data: NumberSequences) -> Fitted:
    """Fit a model of numbers.

    Args:
        config: its options.
        lags: its regressors.
        element: what the series consist of.
        data: the series.

    Raises:
        DataError: if a series has no value, or none is longer than the order.
    """
    panels.check(data)
    if isinstance(config, AR) and isinstance(config.order, int):
        _check_lengths(config.order, data)
    shift = torch.zeros(len(data.offsets) - 1, element.num_channels, dtype=torch.float64)
    if isinstance(config, AR) and config.transform == "log":
        shift = _shifts(data)
        data = panels.with_logarithms(data, shift.numpy())
    moments = moments_of(data)
    blank = ARParameters.blank(
        len(data.offsets) - 1,
        element.num_channels,
        lags.window,
        2 + lags.num_dummies + element.num_known,
    )
    blank.spread[..., 1], blank.spread[..., 2] = moments.mean, floor(moments.scale, moments)
    blank.spread[..., 3] = shift
    if not isinstance(config, AR):
        return _naive(config, lags, data, blank, moments)
    if config.order is None:
        lags = _affordable(config, lags, data)
    if config.estimator == "least-squares":
        return fit_pooled(config, lags, element, data, blank, moments)
    return _stationary(config, lags, data, blank, moments)


def _check_lengths(order: int, data: NumberSequences) -> None:
    lengths = np.diff(data.offsets)
    longest = int(lengths.argmax())
    if lengths[longest] <= order:
        raise DataError(
            f"series {longest} has {lengths[longest]} values, and no other has more; an AR of "
            f"order {order} needs more than {order}: lower the order, or leave it to the data"
        )


def _affordable(config: AR, lags: Lags, data: NumberSequences) -> Lags:
    """The lags of an order that was not given, as many as the data can tell.

    At most a third of a series; and less where so few complete windows of all series are left that
    least squares would explain them exactly. Of a day of 24, 48 or 96 moments those of a day and of
    a week then take the place of all.
    """
    offsets = np.asarray(data.offsets)
    deepest = max(1, int(float(np.median(np.diff(offsets))) * _DEEPEST))
    missing = np.concatenate([[0], np.cumsum(np.isnan(data.numbers).any(1))])
    places = np.arange(len(data.numbers))
    before = places - np.repeat(offsets[:-1], np.diff(offsets))

    def suffice(chosen: Lags, depth: int) -> bool:
        first = np.maximum(places - depth, 0)
        is_complete = (before >= depth) & (missing[places + 1] == missing[first])
        return bool(is_complete.sum() >= _ROWS_PER_LAG * len(chosen.lags))

    for chosen in (lags.up_to(deepest), lags.only(config.lags_of_week)):
        if chosen.lags and chosen.lags[-1] <= deepest and suffice(chosen, chosen.lags[-1]):
            return chosen
    while deepest > 1 and not suffice(lags.up_to(deepest), deepest):
        deepest = deepest * 3 // 4
    return lags.up_to(deepest)


def _shifts(data: NumberSequences) -> Tensor:
    """(S, D) what is added to the values of a series before their logarithms.

    0 where the smallest is at least a twentieth of the mean size; otherwise so much that it
    becomes that, so that zeros and small values are not far outliers.
    """
    found = torch.zeros(len(data.offsets) - 1, data.numbers.shape[1], dtype=torch.float64)
    for panel in panels.panels_of(data):
        low = torch.where(panel.values.isnan(), torch.inf, panel.values).amin(1)
        size = panel.values.abs().nanmean(1)
        least = _LEAST_VALUE * torch.where(size > 0, size, 1.0)
        found[panel.index] = (least - low).clamp(min=0.0)
    return found


# ---- naive models -------------------------------------------------------------------------------


def _naive(
    config: AROptions, lags: Lags, data: NumberSequences, blank: ARParameters, moments: Moments
) -> Fitted:
    """The step of a season, or of one moment; over a gap its deviation grows with the root of it.

    The deviation is that of the mean size of steps, sqrt(pi / 2) E|e|, which for normal errors is
    the same: the root of their mean square follows the largest, and its bands are too wide.
    """
    season = config.season_length if isinstance(config, SeasonalNaive) else 1
    blank.weights[..., -season] = 1.0
    total, number = torch.zeros_like(moments.mean), torch.zeros_like(moments.mean)
    for panel in panels.panels_of(data):
        steps, ages = _steps(panel.values, season)
        seen = ages > 0
        if isinstance(config, Drift):
            slope = steps.sum(1) / ages.sum(1).clamp(min=1.0)
            blank.terms[panel.index, :, 0] = slope
            steps = torch.where(seen, steps - slope[:, None] * ages, 0.0)
        sizes = steps.abs() / ages.clamp(min=1.0).sqrt()
        total[panel.index] = sizes.sum(1) * (torch.pi / 2) ** 0.5
        number[panel.index] = seen.sum(1).double()
    blank.spread[..., 0] = floor(_deviations(total, number, moments), moments)
    shared = ARParameters(
        blank.weights[:1], blank.terms.mean(0, keepdim=True), shared_spread(blank.spread)
    )
    return Fitted(shared, blank, False, {"season_length": season} if season > 1 else {})


def _deviations(total: Tensor, number: Tensor, moments: Moments) -> Tensor:
    """(S, D) the deviation of a step from sums of sizes, drawn to that of all series.

    A step relative to the deviation of the values is what series share. Where no step was seen in
    any, the deviation of the values stands for it.
    """
    is_moving = moments.scale > 0
    relative = torch.where(is_moving, total / moments.scale, 0.0).sum(0)
    count = torch.where(is_moving, number, 0.0).sum(0)
    relative = torch.where(count > 0, relative / count.clamp(min=1.0), 1.0)
    weight = torch.where(number > 0, float(len(number) > 1), _PRIOR_MOMENTS)
    return (total + weight * relative * moments.scale) / (number + weight).clamp(min=1.0)


def _steps(values: Tensor, season: int) -> tuple[Tensor, Tensor]:
    """(n, T', D) the steps from the last observed value of the same phase; and their seasons.

    Where there is none, both are 0.
    """
    n, length, channels = values.shape
    rounds = -(-length // season)
    pad = rounds * season - length
    values = torch.nn.functional.pad(values, (0, 0, 0, pad), value=torch.nan)
    values = values.view(n, rounds, season * channels)
    at = torch.arange(rounds, device=values.device)[:, None].expand_as(values)
    seen = ~values.isnan()
    last = torch.where(seen, at, -1).cummax(1).values
    before = torch.nn.functional.pad(last[:, :-1], (0, 0, 1, 0), value=-1)
    valid = seen & (before >= 0)
    from_ = torch.where(seen, values, 0.0).gather(1, before.clamp(min=0))
    steps = torch.where(valid, values - from_, 0.0)
    ages = torch.where(valid, at - before, 0).double()
    return steps.view(n, -1, channels), ages.view(n, -1, channels)


# ---- estimators of stationary models ------------------------------------------------------------


def _stationary(
    config: AR, lags: Lags, data: NumberSequences, blank: ARParameters, moments: Moments
) -> Fitted:
    """Yule-Walker, Burg, or exact maximum likelihood for every channel of every series."""
    order = len(lags.lags)
    log_likelihood = torch.zeros_like(moments.mean)
    centre = moments.mean if lags.has_constant else torch.zeros_like(moments.mean)
    pooled = torch.zeros(data.numbers.shape[1], order + 1, dtype=torch.float64)
    chosen = torch.zeros_like(moments.mean, dtype=torch.int64)
    for panel in panels.panels_of(data):
        index, channels = panel.index, panel.num_channels
        deviations = panel.values - centre[index][:, None]
        if config.fits_steps:
            deviations = panel.values.diff(dim=1)
            step = deviations.nanmean(1) * lags.has_constant
            deviations = deviations - step[:, None]
        flat = deviations.mT.flatten(0, 1)
        covariances = stationary.autocovariance_estimates(flat, order)
        relative = covariances / covariances[:, :1].clamp(min=1e-300)
        pooled += relative.view(-1, channels, order + 1).sum(0)
        orders = _orders(config, flat, covariances, order)
        chosen[index] = orders.view(-1, channels)
        means = step if config.fits_steps else centre[index]
        for p in sorted(set(orders.tolist())):
            rows = (orders == p).nonzero()[:, 0]
            weights, variance, shift, value = _estimate(config, flat[rows], covariances[rows], p)
            series, channel = index[rows // channels], rows % channels
            mean = means.flatten()[rows] + shift
            _write(config, blank, (series, channel), weights, mean)
            blank.spread[series, channel, 0] = variance.sqrt()
            log_likelihood[series, channel] = value
    blank.spread[..., 0] = floor(blank.spread[..., 0], moments)
    shared = _shared_stationary(config, blank, pooled)
    facts: dict[str, object] = {"orders": _facts_of_orders(chosen)}
    if config.estimator == "exact":
        facts["log_likelihood"] = float(log_likelihood.sum())
    return Fitted(shared, blank, not config.fits_steps, facts)


def _orders(config: AR, flat: Tensor, covariances: Tensor, order: int) -> Tensor:
    """(n,) the order of each series: the one given, or that of a criterion, from Levinson."""
    if not isinstance(config.order, str):
        return torch.full((len(flat),), order)
    variances = [stationary.yule_walker(covariances[:, : p + 1])[1] for p in range(order + 1)]
    counts = (~flat.isnan()).sum(-1).double()
    sums = torch.stack(variances, -1) * counts[:, None]
    fixed = int(config.fitted_trend != "none")
    return least_squares.criteria(sums, counts, fixed, config.order).argmin(-1)


def _estimate(
    config: AR, flat: Tensor, covariances: Tensor, order: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coefficients (n, p), variance, what is to be added to the mean, and log-likelihood (n,)."""
    zero = flat.new_zeros(len(flat))
    if config.estimator == "yule-walker":
        return *stationary.yule_walker(covariances[:, : order + 1]), zero, zero
    if config.estimator == "burg":
        return *stationary.burg(flat, order), zero, zero
    found = [stationary.exact(row, order, config.fitted_trend != "none") for row in flat]
    weights, variance, mean, value = (torch.stack(part) for part in zip(*found, strict=True))
    return weights, variance, mean, value


def _write(
    config: AR,
    blank: ARParameters,
    at: tuple[Tensor, Tensor],
    weights: Tensor,
    mean: Tensor,
) -> None:
    """Put coefficients (n, p), lag 1 first, and the mean of the process into the parameters."""
    blank.terms[(*at, torch.zeros_like(at[0]))] = mean * (1 - weights.sum(-1))
    full = levels(weights) if config.fits_steps else weights
    window = blank.weights.shape[-1]
    blank.weights[at] = torch.nn.functional.pad(full.flip(-1), (window - full.shape[-1], 0))


def _shared_stationary(config: AR, blank: ARParameters, pooled: Tensor) -> ARParameters:
    """The parameters of a series that was not seen: those of the mean autocorrelations."""
    if len(blank.weights) == 1:
        return blank
    spread = shared_spread(blank.spread)
    shared = ARParameters(
        torch.zeros_like(blank.weights[:1]), torch.zeros_like(blank.terms[:1]), spread
    )
    channels = torch.arange(pooled.shape[0])
    mean = torch.zeros_like(spread[0, :, 1]) if config.fits_steps else spread[0, :, 1]
    weights, _ = stationary.yule_walker(pooled)
    _write(config, shared, (torch.zeros_like(channels), channels), weights, mean)
    return shared


def _facts_of_orders(orders: Tensor) -> object:
    """The order; or how many series have each."""
    counts = Counter(orders.flatten().tolist())
    if len(counts) == 1:
        return next(iter(counts))
    return {str(order): counts[order] for order in sorted(counts)}
