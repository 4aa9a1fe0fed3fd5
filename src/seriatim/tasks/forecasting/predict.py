"""Forecasts and paths of many series from where they stand, in blocks of bounded memory.

Knows models and states; no files, no names.

Shapes: B rows, H moments ahead, D channels, K known inputs, Q quantiles.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.core.model import SequenceModel
from seriatim.decode.forecast import forecast, sample_paths
from seriatim.errors import ConfigError
from seriatim.tasks.forecasting.states import Standing, element_of, ready, row_blocks

Floats = NDArray[np.float64]
_NUMBERS_AT_ONCE = 1 << 22  # rows times moments times quantiles of a block


def check_horizon(horizon: int) -> None:
    """
    Raises:
        ConfigError: if there is nothing to predict.
    """
    if horizon < 1:
        raise ConfigError(f"horizon = {horizon}: give 1 or more moments ahead")


@torch.inference_mode()
def predict_rows(
    model: SequenceModel,
    standing: Standing,
    horizon: int,
    known: Floats | None,
    *,
    quantiles: Sequence[float],
    num_samples: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[Floats, Floats]:
    """The mean (B, H, D) and the quantiles (B, Q, H, D) of the coming values.

    Args:
        model: the model.
        standing: where B series stand.
        horizon: H.
        known: (B, H, K) the known inputs of the coming moments; None: the model takes none.
        quantiles: Q of them.
        num_samples: the paths of a model that must be sampled.
        seed: of the paths.
        progress: callback that receives the number of rows predicted so far.
    """
    check_horizon(horizon)
    means, bands = [], []
    rows = len(standing.last.numbers)
    size = max(1, min(4096, _NUMBERS_AT_ONCE // (horizon * max(1, len(quantiles)))))
    for block in row_blocks(rows, size):
        some = standing if len(block) == rows else standing.select(block)
        inputs = None if known is None else torch.as_tensor(known[block]).to(some.last.numbers)
        state = ready(model, some, None if inputs is None else inputs[:, 0])
        mean, band = forecast(
            model,
            state,
            horizon,
            known=None if inputs is None else inputs[:, 1:],
            quantiles=quantiles,
            num_samples=num_samples,
            seed=seed,
            rows=torch.as_tensor(block),
        )
        means.append(mean.double().cpu().numpy())
        bands.append(band.double().cpu().numpy())
        if progress is not None:
            progress(int(block[-1]) + 1)
    return np.concatenate(means), np.concatenate(bands)


@torch.inference_mode()
def path_rows(
    model: SequenceModel,
    standing: Standing,
    horizon: int,
    known: Floats | None,
    *,
    num_samples: int,
    seed: int,
) -> Floats:
    """(B, num_samples, H, D) paths of the coming values; see `predict_rows`."""
    check_horizon(horizon)
    if num_samples < 1:
        raise ConfigError(f"num_samples = {num_samples}: give 1 or more")
    parts = []
    rows = len(standing.last.numbers)
    channels = element_of(model).num_channels
    size = max(1, min(4096, (_NUMBERS_AT_ONCE << 2) // (horizon * num_samples * channels)))
    for block in row_blocks(rows, size):
        some = standing if len(block) == rows else standing.select(block)
        inputs = None if known is None else torch.as_tensor(known[block]).to(some.last.numbers)
        state = ready(model, some, None if inputs is None else inputs[:, 0])
        paths = sample_paths(
            model,
            state,
            horizon,
            num_samples=num_samples,
            known=None if inputs is None else inputs[:, 1:],
            seed=seed,
            rows=torch.as_tensor(block),
        )
        parts.append(paths.double().cpu().numpy())
    return np.concatenate(parts)
