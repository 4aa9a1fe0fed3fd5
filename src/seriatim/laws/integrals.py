"""What the laws check of densities by quadrature and by simulation.

Integrals over a number are sums of Gauss-Legendre rules over panels between quantiles, which are
halved until nothing changes; integrals over a count are sums.

Shapes: R rows, D channels, P panels, N points of each row.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.densities import Density, as_density
from seriatim.core.model import State
from seriatim.core.values import NumberInput, Values
from seriatim.laws.cases import cut
from seriatim.laws.claims import equal
from seriatim.laws.number_cases import NumberCase

_POINTS = 12  # of each panel
_HALVINGS = 10
_FAR = 1e100
_COUNTS = 20_000  # at most so many are summed


def levels(device: torch.device) -> Tensor:
    """Probabilities 2^-40 .. 1/2 .. 1 - 2^-40: panels that suit light and heavy tails."""
    low = 2.0 ** -torch.arange(40.0, 0.0, -1.0, dtype=torch.float64, device=device)
    return torch.cat([low, 1 - low.flip(0)[1:]])


def integral(
    log_f: Callable[[Tensor], Tensor], edges: Tensor, is_count: bool, settled: float
) -> Tensor:
    """(R,) the integrals, or sums, of f over the ranges from the first edge to the last.

    Args:
        log_f: a function from points (R, N) to ln f (R, N).
        edges: (R, P + 1) ascending.
        is_count: whether f is of counts; both ends are then included.
        settled: the fraction of the integral by which halving a panel may change it.
    """
    if is_count:
        low, high = edges[:, :1], edges[:, -1:]
        k = low + torch.arange(int((high - low).max()) + 1, device=edges.device)
        return torch.where(k <= high, log_f(k).exp(), 0.0).sum(1)
    edges = edges.clamp(-_FAR, _FAR)  # quantiles of heavy tails may overflow
    low, high = edges[:, :-1], edges[:, 1:]
    each = _panels(log_f, low, high)
    total, done = each.sum(1), torch.zeros_like(each[:, 0])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        parts = torch.stack(
            [_panels(log_f, low, middle), _panels(log_f, middle, high)]
        )  # (2, R, P): a halved panel is settled, or its halves are halved in turn
        error = (parts.sum(0) - each).abs().amax(0)
        open_ = error > settled * float(total.detach().max())
        done = done + torch.where(open_, 0.0, parts.sum(0)).sum(1)
        if not bool(open_.any()):
            return done
        low, high = (
            torch.cat([a[:, open_], b[:, open_]], 1) for a, b in ((low, middle), (middle, high))
        )
        each = torch.cat([parts[0][:, open_], parts[1][:, open_]], 1)
        total = done + each.sum(1)
    return total


def _panels(log_f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """(R, P) the integral over each panel, by one rule."""
    nodes, weights = (
        torch.as_tensor(a, device=low.device) for a in np.polynomial.legendre.leggauss(_POINTS)
    )
    half = ((high - low) / 2)[..., None]
    x = low[..., None] + half * (nodes + 1)
    f = log_f(x.flatten(1)).exp().view_as(x)
    return (f * weights * half).sum(2)


def around_mode(log_f: Callable[[Tensor], Tensor], edges: Tensor) -> Tensor:
    """(R, P + 1 + 44) the edges, and others closer and closer to the greatest value of f.

    What is known from later values may be a narrow peak between two quantiles of a wide prediction.
    """
    low, high = edges[:, :1], edges[:, -1:]
    size = high - low
    x = edges
    for _ in range(8):  # each divides the bracket of the maximum by 16
        best = log_f(x).argmax(1, keepdim=True)
        a = x.gather(1, (best - 1).clamp_min(0))
        b = x.gather(1, (best + 1).clamp_max(x.shape[1] - 1))
        x = a + (b - a) * torch.linspace(0, 1, 33, dtype=x.dtype, device=x.device)
    mode = (x[:, :1] + x[:, -1:]) / 2
    away = size * 4.0 ** -torch.arange(22, dtype=x.dtype, device=x.device)
    both = torch.cat([mode - away, mode + away], 1)
    return torch.cat([edges, both.clamp(low, high)], 1).sort(1).values


def density_is_conserved(case: NumberCase) -> str:
    """Law 9 for numbers: densities integrate to 1, and cdf(quantile(u)) = u."""
    state, num_channels = case.folded[-1], case.element.num_channels
    is_count = as_density(case.model.predict(state)).is_count
    one = torch.ones(tree.rows(state.features), dtype=torch.float64, device=case.device)
    for d in range(num_channels):
        edges = quantiles_of(case, state, d)
        _check_quantiles(case, state, d, edges, is_count)
        if is_count:
            edges = torch.stack([edges[:, 0], edges[:, -1].clamp_max(_COUNTS + edges[:, 0])], 1)
        mass = integral(partial(_log_prob_of, case, state, d), edges, is_count, _settled(case))
        ends = _cdf(
            case,
            state,
            d,
            torch.stack([edges[:, 0] - int(is_count), edges[:, -1]], 1).clamp(-_FAR, _FAR),
        )
        equal(f"integral of channel {d}", mass.to(case.dtype), (ends[:, 1] - ends[:, 0]))
    if num_channels > 1:
        middle = quantiles_of(case, state, 0)[:, 39:40]
        alone = _log_prob(case, state, {0: middle})
        joint = integral(
            lambda x: _log_prob(case, state, {0: middle, 1: x}) - alone,
            quantiles_of(case, state, 1),
            is_count,
            _settled(case),
        )
        equal("one of two channels, integrated over", joint.to(case.dtype), one.to(case.dtype))
    kind = "probabilities of counts" if is_count else "densities"
    return f"{kind} at 3 states, {num_channels} channel{'s' * (num_channels > 1)}"


def _check_quantiles(
    case: NumberCase, state: State, channel: int, x: Tensor, is_count: bool
) -> None:
    u = levels(case.device).expand_as(x).to(case.dtype)
    reached = _cdf(case, state, channel, x)
    if not is_count:
        equal(f"cdf(quantile(u)) of channel {channel}", reached, u)
        return
    none = torch.zeros_like(u)
    missed, passed = u - reached, _cdf(case, state, channel, x - 1) - u
    equal(f"cdf(quantile(u)) of channel {channel} is less than u", missed.clamp_min(0), none)
    equal(f"cdf(quantile(u) - 1) of channel {channel} is more", passed.clamp_min(0), none)


def quantiles_of(case: NumberCase, state: State, channel: int) -> Tensor:
    """(R, P + 1) the quantiles of one channel of the next moment, at `levels`."""
    u = levels(case.device)
    density = _repeated(case, state, len(u))
    wide = u.repeat(tree.rows(state.features))[:, None].expand(-1, case.element.num_channels)
    return density.quantile(wide)[:, channel].double().view(-1, len(u))


def _settled(case: NumberCase) -> float:
    return 1e-10 if case.dtype == torch.float64 else 1e-5


def _repeated(case: NumberCase, state: State, n: int) -> Density:
    """The distributions of the next moment, each n times."""
    return as_density(case.model.predict(tree.repeat(state, n)))


def _cdf(case: NumberCase, state: State, channel: int, x: Tensor) -> Tensor:
    """(R, N) the distribution function of one channel of the next moment at x (R, N)."""
    wide = x.to(case.dtype).reshape(-1, 1).expand(-1, case.element.num_channels)
    return _repeated(case, state, x.shape[1]).cdf(wide)[:, channel].view_as(x).to(case.dtype)


def _log_prob_of(case: NumberCase, state: State, channel: int, x: Tensor) -> Tensor:
    return _log_prob(case, state, {channel: x})


def _log_prob(case: NumberCase, state: State, x: dict[int, Tensor]) -> Tensor:
    """(R, N) ln p of values x (R, N) of some channels of the next moment, the others missing."""
    rows = tree.rows(state.features)
    n = max(v.shape[1] for v in x.values())
    values = Values.missing((rows * n, case.element.num_channels), case.device, case.dtype)
    numbers, is_observed = values.numbers.clone(), values.is_observed.clone()
    for channel, value in x.items():
        numbers[:, channel] = value.to(case.dtype).expand(rows, n).reshape(-1)
        is_observed[:, channel] = True
    found = _repeated(case, state, n).log_prob(Values(numbers, is_observed))
    return found.double().view(rows, n)


# ---- law 17 -------------------------------------------------------------------------------------


def check_marginal(case: NumberCase, t: int, channel: int) -> None:
    """The likelihood without a value = the integral over it of the likelihood with it.

    Raises:
        BrokenLawError: if it is not.
    """
    x = case.x
    gap = _filled(x, t, channel, None)
    before = case.fold(cut(gap, 0, t))[-1]
    is_count = as_density(case.model.predict(before)).is_count
    edges = quantiles_of(case, before, channel)
    if is_count:
        edges = torch.stack([edges.amin(1), edges.amax(1).clamp_max(_COUNTS)], 1)
    elif case.element.support == "real":  # what follows may be far out of what was expected
        reach = edges[:, -1:] - edges[:, :1]
        away = reach * torch.tensor([0.1, 1.0, 10.0], dtype=edges.dtype, device=edges.device)
        edges = torch.cat([edges, edges[:, :1] - away, edges[:, -1:] + away], 1).sort(1).values
    truth = case.score(case.batch(gap)).double().sum(1)

    def log_ratio(v: Tensor) -> Tensor:
        n = v.shape[1]
        filled = _filled(tree.repeat(x, n), t, channel, v.reshape(-1).to(case.dtype))
        scores = case.score(case.batch(filled)).double().sum(1).view_as(v)
        return scores - truth[:, None]

    if not is_count:
        edges = around_mode(log_ratio, edges)
    found = integral(log_ratio, edges, is_count, _settled(case)).to(case.dtype)
    equal(f"moment {t}, channel {channel}, integrated over", found, torch.ones_like(found), 1e-8)


def _filled(x: NumberInput, t: int, channel: int, value: Tensor | None) -> NumberInput:
    """The series with another value (R,) of a channel at moment t; None: a gap."""
    numbers, is_observed = x.values.numbers.clone(), x.values.is_observed.clone()
    numbers[:, t, channel] = 0.0 if value is None else value
    is_observed[:, t, channel] = value is not None
    return NumberInput(Values(numbers, is_observed), x.known)
