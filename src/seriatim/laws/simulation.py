"""What the laws check of forecasts by simulation: series drawn step by step from a model.

Shapes: B rows, N samples of each, H moments, D channels.
"""

import numpy as np
import torch
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import uniforms
from seriatim.core.forecasting import Ahead
from seriatim.core.model import State
from seriatim.core.values import NumberInput
from seriatim.laws.claims import BrokenLawError
from seriatim.laws.number_cases import NumberCase

SAMPLES, HORIZON = 2000, 5
_SIGMAS = 6.0  # standard errors by which a simulation may differ


@torch.no_grad()
def check_ahead(case: NumberCase, state: State, model: Ahead) -> None:
    """Moments and quantiles of `ahead` against those of sample paths.

    Raises:
        BrokenLawError: if they differ by more than the simulation can explain.
    """
    known = case.known_inputs(tree.rows(state.features), HORIZON - 1, 9)
    density = model.ahead(state, HORIZON, known)
    paths = _paths(case, state, known)
    error = (density.variance / SAMPLES).sqrt()
    _within("mean", paths.mean(1), density.mean, error)
    spread = (paths - density.mean[:, None]).square()
    _within("variance", spread.mean(1), density.variance, spread.std(1) / SAMPLES**0.5)
    for u in (0.1, 0.5, 0.9):
        bound = density.quantile(torch.full_like(density.mean, u))
        expected = density.cdf(bound)
        error = (expected * (1 - expected) / SAMPLES).sqrt()
        below = (paths <= bound[:, None]).to(expected).mean(1)
        _within(f"share of paths below the quantile {u}", below, expected, error)


def _within(what: str, found: Tensor, expected: Tensor, error: Tensor) -> None:
    is_close = (found - expected).abs() <= _SIGMAS * error + 1e-9 * (1 + expected.abs())
    if not bool((is_close | ~expected.isfinite()).all()):
        row, h, d = (~is_close & expected.isfinite()).nonzero()[0].tolist()
        raise BrokenLawError(
            f"{what} {h + 1} ahead: {float(expected[row, h, d]):.4g} given, "
            f"{float(found[row, h, d]):.4g} in {SAMPLES:,} sample paths"
        )


def _paths(case: NumberCase, state: State, known: Tensor | None) -> Tensor:
    """(B, N, H, D) sample paths, one step at a time."""
    rows = tree.rows(state.features) * SAMPLES
    state = tree.repeat(state, SAMPLES)
    each = None if known is None else tree.repeat(known, SAMPLES)
    parts = []
    for h in range(HORIZON):
        values = case.sampled(state, uniforms(10, np.arange(rows), h))
        parts.append(values.numbers)
        if h < HORIZON - 1:
            x = NumberInput(values, None if each is None else each[:, h])
            state = case.model.step(state, x)
    paths = torch.stack(parts, 1)
    return paths.view(-1, SAMPLES, *paths.shape[1:])
