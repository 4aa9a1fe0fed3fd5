"""What the laws check of forecasts by simulation: series drawn step by step from a model.

Shapes: B rows, N samples of each, H moments, D channels.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core import tree
from seriatim.core.distributions import uniforms
from seriatim.core.forecasting import Ahead, FitsSeries
from seriatim.core.model import SequenceModel, State
from seriatim.core.values import NumberInput
from seriatim.errors import DataError
from seriatim.laws.claims import BrokenLawError
from seriatim.laws.number_cases import NumberCase

SAMPLES, HORIZON = 2000, 5
_SIGMAS = 6.0  # standard errors by which a simulation may differ
FITTED = 120  # moments of a series to fit to


@dataclass(frozen=True)
class Drawn:
    """Series that were drawn from a model, as `NumberSequences`."""

    numbers: NDArray[np.float64]
    known: NDArray[np.float64] | None
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, x: NumberInput, first: NumberInput) -> "Drawn":
        """Series (S, L, ...) end to end; the known inputs are those of the same moment."""
        numbers = x.values.with_nan().double().cpu()
        known = None
        if x.known is not None and first.known is not None:
            shifted = torch.cat([first.known, x.known[:, :-1]], 1)
            known = shifted.flatten(0, 1).double().cpu().numpy()
        offsets = np.arange(len(numbers) + 1) * numbers.shape[1]
        return cls(numbers.flatten(0, 1).numpy(), known, offsets)


def fitted(case: NumberCase, model: SequenceModel) -> NumberCase | None:
    """The case of a copy of a model that was fitted to series drawn from it; None: it refuses."""
    with torch.inference_mode(False), torch.enable_grad():
        model = copy.deepcopy(model)
        assert isinstance(model, FitsSeries)
        x = case.with_gaps(case.drawn(max(1, model.num_series), FITTED, 8))
        try:
            model.fit_series(Drawn.of(x, case.first(tree.rows(x))))
        except DataError:
            return None
        memory = model.of_series(torch.zeros(1, dtype=torch.int64))
    return case.of_model(model, memory)


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
