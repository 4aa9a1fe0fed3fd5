"""Forecasts of numbers: many futures of one past, their means and quantiles.

    x_{T+h} ~ p(x | state),    state = step(state, x_{T+h})         for h = 1 .. H, of every path

Paths are drawn in blocks, whose states take a bounded amount of memory: the state of a past is
repeated for the paths of one block alone, and where the family can it is shared among them. Each
path has its own counter, from the number of its row and its own: its numbers do not depend on which
others are drawn with it.

Knows models of numbers, states and densities; no family.

Shapes: B rows, N paths of a row, H moments of the horizon, D channels, K known inputs, Q quantiles.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.densities import Density
from seriatim.core.distributions import uniforms
from seriatim.core.forecasting import Ahead
from seriatim.core.model import SequenceModel, State
from seriatim.core.values import NumberInput, Values
from seriatim.errors import ConfigError, ModelError

Progress: TypeAlias = Callable[[float], None]  # is called with the fraction that is done

NUM_SAMPLES = 200
STATE_BYTES = 2**28  # of the states of one block
MOST_PATHS = 4096  # of one block: more do not go faster, and their gates would take memory
TOGETHER = 16  # paths of one row in a block
_PATHS = 2**24  # of a row, at most


@torch.no_grad()
def sample_paths(
    model: SequenceModel,
    state: State,
    horizon: int,
    *,
    num_samples: int = NUM_SAMPLES,
    known: Tensor | None = None,
    seed: int = 0,
    rows: Tensor | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Futures drawn from a model of numbers.

    Args:
        model: the model.
        state: the state of B rows after their past; their features hold the known inputs of the
            first moment.
        horizon: H.
        num_samples: N.
        known: (B, H - 1, K) the known inputs of the moments after the first; None: the model
            takes none.
        seed: the seed of the paths.
        rows: (B,) the counters of the rows; None: 0 .. B - 1.
        progress: a function that is told which fraction is done.

    Returns:
        (B, N, H, D) on the CPU.

    Raises:
        ConfigError: if the horizon or the number of paths is below 1, or known inputs are missing.
        ModelError: if a path leaves the finite numbers.
    """
    size = tree.rows(state)
    _check(horizon, num_samples, known, size)
    rows = torch.arange(size) if rows is None else rows
    paths: Tensor | None = None
    blocks = list(_blocks(state, num_samples))
    for done, (begin, end, first, last) in enumerate(blocks):
        part = _rows(state, begin, end)
        inputs = None if known is None else known[begin:end]
        counters = rows[begin:end, None] * _PATHS + torch.arange(first, last)
        drawn = _draw(model, part, horizon, inputs, seed, counters)
        if paths is None:
            paths = torch.empty(size, num_samples, *drawn.shape[2:], dtype=drawn.dtype)
        paths[begin:end, first:last] = drawn
        if progress is not None:
            progress((done + 1) / len(blocks))
    assert paths is not None
    if not bool(paths.isfinite().all()):
        raise ModelError(
            "the paths of this model leave the finite numbers: train it further, or on less "
            "extreme values"
        )
    return paths


@torch.no_grad()
def mean_path(
    model: SequenceModel, state: State, horizon: int, *, known: Tensor | None = None
) -> Tensor:
    """(B, H, D) the path on which every value is the mean of its density.

    For a linear model this is the mean of all paths; for others it is cheap and near it.

    Args:
        model: the model.
        state: as of `sample_paths`.
        horizon: H.
        known: as of `sample_paths`.
    """
    _check(horizon, 1, known, tree.rows(state))
    means = []
    for step in range(horizon):
        mean = _density(model, state).mean
        means.append(mean.cpu())
        if step + 1 < horizon:
            x = Values(mean, torch.ones_like(mean, dtype=torch.bool))
            state = model.step(state, NumberInput(x, _known(known, step, mean)))
    return torch.stack(means, 1)


@torch.no_grad()
def forecast(
    model: SequenceModel,
    state: State,
    horizon: int,
    *,
    quantiles: Sequence[float],
    known: Tensor | None = None,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
    rows: Tensor | None = None,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """The mean and quantiles of every moment of the horizon.

    Exact where the model knows the distributions ahead; otherwise of N paths, quantiles by linear
    interpolation between the order statistics.

    Args:
        model: the model.
        state: as of `sample_paths`.
        horizon: H.
        quantiles: the Q levels, in (0, 1).
        known: as of `sample_paths`.
        num_samples: N.
        seed: the seed of the paths.
        rows: (B,) the counters of the rows; None: 0 .. B - 1.
        progress: a function that is told which fraction is done.

    Returns:
        (B, H, D) means and (B, Q, H, D) quantiles, on the CPU.

    Raises:
        ConfigError, ModelError: as of `sample_paths`, or if a level is not in (0, 1).
    """
    for level in quantiles:
        if not 0 < level < 1:
            raise ConfigError(f"quantile {level:g}: give levels between 0 and 1, such as 0.9")
    if isinstance(model, Ahead):
        _check(horizon, num_samples, known, tree.rows(state))
        density = model.ahead(state, horizon, known)
        mean = density.mean
        # A level that is expanded costs the densities that see it one number.
        each = [mean.new_tensor(level).expand_as(mean) for level in quantiles]
        levels = [density.quantile(u) for u in each]
        return mean.cpu(), _stacked(levels, mean).cpu()
    size = tree.rows(state)
    rows = torch.arange(size) if rows is None else rows
    means, bands = [], []
    at_once = max(1, MOST_PATHS * TOGETHER // num_samples)
    for begin in range(0, size, at_once):
        end = min(begin + at_once, size)
        paths = sample_paths(
            model,
            _rows(state, begin, end),
            horizon,
            num_samples=num_samples,
            known=None if known is None else known[begin:end],
            seed=seed,
            rows=rows[begin:end],
            progress=_part(progress, begin / size, end / size),
        )
        means.append(paths.mean(1))
        levels = list(torch.quantile(paths, paths.new_tensor(list(quantiles)), dim=1))
        bands.append(_stacked(levels, means[-1]))
    return torch.cat(means), torch.cat(bands)


def _stacked(levels: list[Tensor], mean: Tensor) -> Tensor:
    """(B, Q, H, D), also of no level."""
    return torch.stack(levels, 1) if levels else mean.new_empty(len(mean), 0, *mean.shape[1:])


def _part(progress: Progress | None, begin: float, end: float) -> Progress | None:
    """The progress of a part of the whole."""
    if progress is None:
        return None
    return lambda fraction: progress(begin + (end - begin) * fraction)


def _check(horizon: int, num_samples: int, known: Tensor | None, rows: int) -> None:
    if horizon < 1:
        raise ConfigError(f"horizon {horizon}: give 1 or more")
    if not 1 <= num_samples <= _PATHS:
        raise ConfigError(f"num_samples {num_samples}: give 1 or more")
    if known is not None and known.shape[:2] != (rows, horizon - 1):
        raise ConfigError(
            f"the inputs that are known ahead cover {known.shape[1] + 1} moments of "
            f"{known.shape[0]} series, and {horizon} of {rows} are to be forecast: give all of them"
        )


def _blocks(state: State, num_samples: int) -> Iterator[tuple[int, int, int, int]]:
    """Rows begin .. end - 1 and their paths first .. last - 1, of every block."""
    size = tree.rows(state)
    bytes_per_row = max(1, tree.num_bytes(state) // size)
    paths = max(1, min(MOST_PATHS, STATE_BYTES // bytes_per_row))
    together = min(num_samples, TOGETHER, paths)
    rows = min(size, max(1, paths // together))
    together = min(num_samples, max(together, paths // rows))
    for begin in range(0, size, rows):
        for first in range(0, num_samples, together):
            end, last = min(begin + rows, size), min(first + together, num_samples)
            yield begin, end, first, last


def _rows(state: State, begin: int, end: int) -> State:
    if (begin, end) == (0, tree.rows(state)):
        return state
    part: State = tree.select(state, torch.arange(begin, end))
    return part


def _draw(
    model: SequenceModel,
    state: State,
    horizon: int,
    known: Tensor | None,
    seed: int,
    counters: Tensor,
) -> Tensor:
    """(B, N, H, D) paths with these counters (B, N)."""
    num_rows, num_paths = counters.shape
    state = tree.repeat(state, num_paths) if num_paths > 1 else state
    if known is not None:
        known = known.repeat_interleave(num_paths, 0)
    moments = []
    for step in range(horizon):
        density = _density(model, state)
        u = uniforms(seed, counters.reshape(-1), step).to(model.device)
        x: Values = density.sample(u)
        moments.append(x.numbers.cpu())
        if step + 1 < horizon:
            state = model.step(state, NumberInput(x, _known(known, step, x.numbers)))
    paths = torch.stack(moments, 1)
    return paths.view(num_rows, num_paths, *paths.shape[1:])


def _density(model: SequenceModel, state: State) -> Density:
    density = model.predict(state)
    if not isinstance(density, Density):
        raise ConfigError(
            f"a forecast needs a model of numbers, and {type(model).__name__} predicts symbols"
        )
    return density


def _known(known: Tensor | None, step: int, like: Tensor) -> Tensor | None:
    """The known inputs of the moment after the next."""
    return None if known is None else known[:, step].to(like)
