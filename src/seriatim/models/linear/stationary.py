"""Stationary autoregressions: Yule-Walker, Burg, and exact maximum likelihood.

Shapes: n series, T moments, p the order; the first argument holds deviations from the mean, NaN
where missing.
"""

import torch
from torch import Tensor

from seriatim.models.linear.parameters import from_partial_correlations, partial_correlations

_LIMIT = 1 - 1e-9  # of a partial autocorrelation that rounding or gaps put out of range
_EVALUATIONS = 200  # of the likelihood, in the search for its maximum


def autocovariance_estimates(values: Tensor, order: int) -> Tensor:
    """(n, p + 1) sum_t x_t x_{t-k} / T for k = 0 .. p.

    With gaps, the mean of the pairs that were observed times (T - k) / T (Parzen 1963).
    """
    length = values.shape[-1]
    observed = ~values.isnan()
    x = torch.where(observed, values, 0.0)
    found = []
    ends = length - observed.flip(-1).int().argmax(-1)  # behind it there is only padding
    for k in range(order + 1):
        products = (x[:, k:] * x[:, : length - k]).sum(-1)
        pairs = (observed[:, k:] & observed[:, : length - k]).sum(-1)
        weight = (ends - k).clamp(min=0) / ends
        found.append(products / pairs.clamp(min=1) * weight)
    return torch.stack(found, -1)


def yule_walker(covariances: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (n, p) and variance (n,) from autocovariances (n, p + 1), by Levinson."""
    variance = covariances[..., 0].clamp(min=1e-300)
    weights = covariances[..., :0]
    for k in range(1, covariances.shape[-1]):
        past = covariances[..., 1:k].flip(-1)
        last = (covariances[..., k] - (weights * past).sum(-1)) / variance
        last = last.clamp(-_LIMIT, _LIMIT)[..., None]
        weights = torch.cat([weights - last * weights.flip(-1), last], -1)
        variance = variance * (1 - last[..., 0].square())
    return weights, variance


def burg(values: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Coefficients (n, p) and variance (n,) that minimize forward and backward errors (Burg 1967).

    Errors that a gap touches are left out.
    """
    forward, backward = values[:, 1:], values[:, :-1]
    observed = ~values.isnan()
    power = torch.where(observed, values, 0.0).square().sum(-1) / observed.sum(-1).clamp(min=1)
    weights = values[:, :0]
    for _ in range(order):
        both = ~(forward.isnan() | backward.isnan())
        f, b = (torch.where(both, t, 0.0) for t in (forward, backward))
        total = (f.square() + b.square()).sum(-1)
        last = 2 * (f * b).sum(-1) / total.clamp(min=1e-300)
        last = last.clamp(-_LIMIT, _LIMIT)[:, None]
        weights = torch.cat([weights - last * weights.flip(-1), last], -1)
        power = total / (2 * both.sum(-1)).clamp(min=1) * (1 - last[:, 0].square())
        forward, backward = (forward - last * backward)[:, 1:], (backward - last * forward)[:, :-1]
    return weights, power


def exact(values: Tensor, order: int, has_mean: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The maximum of the exact likelihood of one series, gaps included.

    The search (L-BFGS) is over tanh^-1 of the partial autocorrelations and the mean; the variance
    at its best is known for each.

    Args:
        values: (T,) NaN where missing.
        order: p.
        has_mean: whether a mean is fitted; otherwise it is 0.

    Returns:
        Coefficients (p,), variance, mean, and the log-likelihood in nats.
    """
    observed = ~values.isnan()
    centre = values[observed].mean() if has_mean else values.new_zeros(())
    scale = (values[observed] - centre).square().mean().sqrt().clamp(min=1e-300)
    x = ((values - centre) / scale)[None]
    start, _ = yule_walker(autocovariance_estimates(x, order))
    with torch.inference_mode(False), torch.enable_grad():
        partial = partial_correlations(start).clamp(-0.99, 0.99).atanh()[0].clone()
        free = [partial.requires_grad_(), values.new_zeros((), requires_grad=True)]
        likelihood = _Likelihood(x[0].clone(), order)
        search = torch.optim.LBFGS(
            free if has_mean else free[:1],
            max_iter=_EVALUATIONS,
            tolerance_grad=1e-9,
            tolerance_change=1e-13,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            search.zero_grad()
            loss = -likelihood(free[0].tanh(), free[1])[0]
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        search.step(closure)  # type: ignore[no-untyped-call]
    partial, mean = (t.detach() for t in free)
    value, variance = likelihood(partial.tanh(), mean)
    coefficients, _ = from_partial_correlations(partial.tanh())
    weights = coefficients[-1] if order else partial
    total = value - observed.sum() * scale.log()
    return weights, variance * scale.square(), centre + mean * scale, total


class _Likelihood:
    """ln L of (partial autocorrelations, mean), and the best variance, of a series (T,).

    Whitened, w = E x has T independent entries: row t of E holds the coefficients of order
    min(t, p) over the root of their variance ratio. With E_o and E_m the columns of observed and
    missing values, what is missing is integrated out by least squares:

        -2 ln L = N ln(2 pi s^2) + N - 2 sum ln E_tt + ln |E_m' E_m|
        s^2     = min_m |E_o x_o + E_m m|^2 / N
    """

    def __init__(self, x: Tensor, order: int) -> None:
        self.order = order
        self.observed = ~x.isnan()
        self.x = torch.where(self.observed, x, 0.0)
        self.is_whole = bool(self.observed.all())
        length, p = len(x), min(order, len(x))
        at = torch.arange(length)
        lag = at[:, None] - at[self._missing][None]
        self.lag = torch.where((lag >= 0) & (lag <= p), lag, p + 1)
        self.shorter = at.clamp(max=p)

    @property
    def _missing(self) -> Tensor:
        return (~self.observed).nonzero()[:, 0]

    def __call__(self, partial: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        p = self.order
        coefficients, ratios = from_partial_correlations(partial)
        # Row k: the error of order k, [1, -a_1 .. -a_k, 0 ..], over the root of its variance, in
        # units of the noise.
        errors = torch.cat([torch.zeros(1, p).to(partial), -coefficients])
        errors = torch.cat([torch.ones(p + 1, 1).to(partial), errors], 1)
        scale = (ratios[p] / ratios).sqrt()
        rows = (errors * scale[:, None])[self.shorter]
        x = torch.where(self.observed, self.x - mean, 0.0)
        padded = torch.nn.functional.pad(x, (p, 0)).unfold(0, p + 1, 1).flip(-1)
        white = (rows * padded).sum(-1)
        log_scale = scale.log()[self.shorter].sum()
        number = self.observed.sum()
        if not self.is_whole:
            wide = torch.nn.functional.pad(rows, (0, 1))
            missing = wide.gather(1, self.lag)
            factor = torch.linalg.cholesky(missing.mT @ missing)
            cross = torch.linalg.solve_triangular(factor, missing.mT @ white[:, None], upper=False)
            square = white.square().sum() - cross.square().sum()
            log_scale = log_scale - factor.diagonal().log().sum()
        else:
            square = white.square().sum()
        variance = square / number
        log_likelihood = log_scale - 0.5 * number * ((2 * torch.pi * variance).log() + 1)
        return log_likelihood, variance
