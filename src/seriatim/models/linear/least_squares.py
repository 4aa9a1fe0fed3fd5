"""Conditional least squares for many series at once, from their normal equations.

The moments of a series whose lags are all observed give rows (regressors, target); everything else
follows from the sums of their outer products: the coefficients, the residual sums of squares of
every order (one Cholesky factor holds them all), and coefficients drawn to those of all series.

Shapes: n series (every channel is one), T moments, k regressors; G (n, k + 1, k + 1) sums of outer
products of a row, its target last.
"""

import torch
from torch import Tensor

from seriatim.models.linear.lags import Lags

_CELLS = 2**25
SLOPE_UNIT = 1000.0  # moments: keeps the regressor of the slope near 1


def design_sums(
    values: Tensor,
    lags: Lags,
    known: Tensor | None = None,
    last_part: float = 0.0,
    past: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sums of rows, of the earlier moments and of the last part apart.

    Args:
        values: (n, T) NaN where missing.
        lags: the regressors, in the order constant, slope, season, known inputs, lags ascending.
        known: (n, T, K) known inputs.
        last_part: the fraction of the rows of a series that are summed apart.
        past: (n, T) the values that are regressors, with gaps filled; None: those that are targets.

    Returns:
        G and the number of rows (n,) of the earlier part, then of the last.
    """
    n, length = values.shape
    deepest = max(lags.lags, default=0)
    k = num_deterministic(lags, 0 if known is None else known.shape[-1]) + len(lags.lags) + 1
    earlier, late = values.new_zeros(n, k, k), values.new_zeros(n, k, k)
    counts = values.new_zeros(2, n)
    if length <= deepest:
        return earlier, counts[0], late, counts[1]
    if known is None and past is None and _is_plain(values, lags):
        return _plain_sums(values, lags, last_part)
    step = max(1, _CELLS // (k * length))
    for a in range(0, n, step):
        part = slice(a, a + step)
        chosen = [None if t is None else t[part] for t in (known, past)]
        rows = _design(values[part], lags, *chosen)
        valid = ~rows.isnan().any(-1)
        rows = torch.where(valid[..., None], rows, 0.0)
        number = valid.cumsum(1)
        is_late = (number > (1 - last_part) * number[:, -1:]) & valid
        if last_part:
            only = torch.where(is_late[..., None], rows, 0.0)
            late[part] = only.mT @ only
            rows = torch.where(is_late[..., None], 0.0, rows)
        earlier[part] = rows.mT @ rows
        counts[1, part] = is_late.sum(1).to(counts) if last_part else 0.0
        counts[0, part] = valid.sum(1) - counts[1, part]
    return earlier, counts[0], late, counts[1]


def _is_plain(values: Tensor, lags: Lags) -> bool:
    """Whether all lags to the deepest and at most a constant are used, and nothing is missing."""
    if lags.has_slope or lags.num_dummies or len(lags.lags) != max(lags.lags, default=0):
        return False
    missing = values.isnan()
    return not bool((missing[:, :-1] & ~missing[:, 1:]).any())  # only behind the end


def _plain_sums(
    values: Tensor, lags: Lags, last_part: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`design_sums` without the rows: k products of a series with itself, not k^2."""
    p = len(lags.lags)
    x = torch.where(values.isnan(), 0.0, values)
    stop = (~values.isnan()).sum(1).clamp(min=p)
    early = p + ((1 - last_part) * (stop - p)).long() if last_part else stop
    order = [*range(1, p + 1), 0]
    parts = []
    for end in (stop, early):
        products, sums = _lagged_products(x, p, end)
        matrix = products[:, order][:, :, order]
        if lags.has_constant:
            row, count = sums[:, order], (end - p)[:, None].to(x)
            matrix = torch.cat([row[:, None], matrix], 1)
            matrix = torch.cat([torch.cat([count, row], 1)[..., None], matrix], 2)
        parts.append((matrix, (end - p).to(x)))
    (all_rows, number), (earlier, count) = parts
    return earlier, count, all_rows - earlier, number - count


def _lagged_products(x: Tensor, p: int, stop: Tensor) -> tuple[Tensor, Tensor]:
    """(n, p + 1, p + 1) sum_t x_{t-i} x_{t-j} and (n, p + 1) sum_t x_{t-i}, for p <= t < stop.

    Sums of the next lags have one more term at the beginning and one less at the end:

        G_{i+1, j+1} = G_{i, j} + x_{p-1-i} x_{p-1-j} - x_{stop-1-i} x_{stop-1-j}

    Args:
        x: (n, T) 0 behind the ends.
        p: the largest lag.
        stop: (n,) p or more.
    """
    n, length = x.shape
    at = torch.arange(length, device=x.device)
    target = torch.where(at < stop[:, None], x, 0.0)[:, p:].contiguous()
    found = x.new_empty(n, p + 1, p + 1)
    for j in range(p + 1):
        found[:, 0, j] = torch.linalg.vecdot(target, x[:, p - j : length - j])
    lag = torch.arange(p, device=x.device)
    head, tail = x[:, p - 1 - lag], x.gather(1, stop[:, None] - 1 - lag)
    found[:, :, 0] = found[:, 0]
    for i in range(p):
        change = head[:, i : i + 1] * head - tail[:, i : i + 1] * tail
        found[:, i + 1, 1:] = found[:, i, :-1] + change
    first = target.sum(1, keepdim=True)
    return found, torch.cat([first, first + (head - tail).cumsum(1)], 1)


def num_deterministic(lags: Lags, num_known: int) -> int:
    """The regressors before the lags; with a season of dummies the constant is one of them."""
    constant = int(lags.has_constant and not lags.num_dummies)
    return constant + int(lags.has_slope) + lags.num_dummies + num_known


def _design(values: Tensor, lags: Lags, known: Tensor | None, past: Tensor | None) -> Tensor:
    """(n, T - deepest, k + 1) the rows: regressors, then the target."""
    n, length = values.shape
    deepest = max(lags.lags, default=0)
    at = torch.arange(deepest, length, device=values.device)
    columns = []
    if lags.has_constant and not lags.num_dummies:
        columns.append(torch.ones_like(values[:, deepest:, None]))
    if lags.has_slope:
        columns.append((at / SLOPE_UNIT).to(values).expand(n, -1)[..., None])
    if lags.num_dummies:
        hot = torch.nn.functional.one_hot(at % lags.num_dummies, lags.num_dummies)
        columns.append(hot.to(values).expand(n, -1, -1))
    if known is not None:
        columns.append(known[:, deepest:])
    past = values if past is None else past
    lagged = [past[:, deepest - lag : length - lag] for lag in lags.lags]
    return torch.cat([*columns, torch.stack([*lagged, values[:, deepest:]], -1)], -1)


def solve(sums: Tensor, ridge: float = 0.0) -> Tensor:
    """(n, k) the coefficients of least squares.

    Args:
        sums: G.
        ridge: the penalty, as a fraction of the sum of squares of a regressor.
    """
    matrix, target = sums[..., :-1, :-1], sums[..., :-1, -1:]
    return torch.cholesky_solve(target, _cholesky(matrix, ridge))[..., 0]


def _cholesky(matrix: Tensor, ridge: float = 0.0) -> Tensor:
    """The factor; regressors that are combinations of others get a penalty as small as works."""
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    for penalty in (ridge, 1e-10, 1e-7, 1e-4):
        floor = 1e-12 + diagonal.amax(-1, keepdim=True) * 1e-14
        added = penalty * diagonal + floor * (penalty > 0)
        factor, info = torch.linalg.cholesky_ex(matrix + torch.diag_embed(added))
        if not bool(info.any()):
            return torch.as_tensor(factor)
    eye = torch.eye(matrix.shape[-1]).to(matrix)
    largest = diagonal.amax(-1)[..., None, None]
    factor = torch.linalg.cholesky(matrix + (1e-2 * largest + 1e-9) * eye)
    return torch.as_tensor(factor)


def residual_sum(sums: Tensor, coefficients: Tensor) -> Tensor:
    """(n,) the sum of squared residuals of coefficients (n, k)."""
    row = torch.cat([-coefficients, torch.ones_like(coefficients[..., :1])], -1)
    return (row * (sums @ row[..., None])[..., 0]).sum(-1).clamp(min=0.0)


def shrunk(sums: Tensor, counts: Tensor, shared: Tensor, strength: float, ridge: float) -> Tensor:
    """(n, k) coefficients of each series, drawn to the shared ones.

        argmin |y - X b|^2 + strength (b - b0)' M (b - b0),   M the mean outer product of all rows

    Args:
        sums: G.
        counts: (n,) the rows.
        shared: (k,) b0.
        strength: the number of rows that the shared coefficients weigh as much as.
        ridge: as of `solve`.
    """
    if strength == float("inf"):
        return shared.expand(sums.shape[0], -1)
    mean = (sums.sum(0) / counts.sum().clamp(min=1.0))[:-1, :-1]
    matrix = sums[..., :-1, :-1] + strength * mean
    target = sums[..., :-1, -1] + strength * (mean @ shared)
    return torch.cholesky_solve(target[..., None], _cholesky(matrix, ridge))[..., 0]


def nested_residual_sums(sums: Tensor, num_fixed: int) -> Tensor:
    """(n, P + 1) the least sums of squared residuals of the orders 0 .. P.

    With G = [M b; b' c] and M = L L', order p leaves c - |first p entries of L^-1 b|^2, so that one
    Cholesky factor holds all orders.

    Args:
        sums: G, the lags of the orders last.
        num_fixed: the regressors that every order has.
    """
    size = sums.shape[-1] - 1
    factor = _cholesky(sums[..., :-1, :-1])
    explained = torch.linalg.solve_triangular(factor, sums[..., :-1, -1:], upper=False)[..., 0]
    total = torch.nn.functional.pad(explained.square().cumsum(-1), (1, 0))
    left = sums[..., -1, -1:] - total[..., num_fixed : size + 1]
    return left.clamp(min=torch.finfo(sums.dtype).tiny)


def criteria(sums_of_squares: Tensor, counts: Tensor, num_fixed: int, name: str) -> Tensor:
    """(n, P + 1) an information criterion of the orders 0 .. P; the smallest is the best.

    -2 ln L + penalty, with m parameters (the variance is one) and N moments, the same for all
    orders: AIC 2 m, BIC m ln N, AICc 2 m + 2 m (m + 1) / (N - m - 1).

    Args:
        sums_of_squares: (n, P + 1).
        counts: (n,) N.
        num_fixed: the parameters that every order has, without the variance.
        name: "aic", "bic" or "aicc".
    """
    N = counts[:, None].clamp(min=1.0)
    orders = torch.arange(sums_of_squares.shape[-1], device=N.device)
    m = (orders + num_fixed + 1).to(N)
    fit = N * ((sums_of_squares / N).log() + 1 + torch.log(torch.tensor(2 * torch.pi)))
    if name == "bic":
        return fit + m * N.log()
    penalty = 2 * m
    if name == "aicc":
        free = N - m - 1
        more = torch.where(free > 0, 2 * m * (m + 1) / free.clamp(min=1.0), torch.inf)
        penalty = penalty + more
    return fit + penalty


def select_orders(values: Tensor, max_order: int, criterion: str = "aic") -> Tensor:
    """(n,) the orders of autoregressions with a constant, one for each series.

    Args:
        values: (n, T) NaN where missing.
        max_order: P, the largest order.
        criterion: "aic", "bic" or "aicc".
    """
    centre = values.nanmean(-1, keepdim=True)
    scale = (values - centre).square().nanmean(-1, keepdim=True).sqrt()
    scaled = (values - centre) / torch.where(scale > 0, scale, 1.0)
    lags = Lags(tuple(range(1, max_order + 1)), max(1, max_order))
    sums, counts, _, _ = design_sums(scaled, lags)
    return criteria(nested_residual_sums(sums, 1), counts, 1, criterion).argmin(-1)


def solve_many(sums: Tensor, num_targets: int) -> Tensor:
    """(k, D) the coefficients of D targets, the last of the rows whose outer products are summed.

    Regressors are brought to one size first, so that their units do not matter.
    """
    k = sums.shape[-1] - num_targets
    size = sums.diagonal()[:k].sqrt().clamp(min=1e-300)
    matrix = sums[:k, :k] / size / size[:, None]
    return torch.cholesky_solve(sums[:k, k:] / size[:, None], _cholesky(matrix)) / size[:, None]
