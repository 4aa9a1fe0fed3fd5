"""Models with a given number of parameters: the widths are solved for, everything else stays.

A configuration names the options that set its width, coarse to fine. The coarse one becomes the
largest with which the model is not too large; the fine one makes up the difference.

Knows configurations and numbers of parameters; no family.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from seriatim.core.model import SequenceModel
from seriatim.errors import ConfigError
from seriatim.models.build import build_model
from seriatim.models.options.base import ModelConfig

TOLERANCE = 0.02  # the fraction of the given number by which the solution may miss it

_WIDEST = 1 << 20
_COARSEST = 4096  # no step between two valid widths is larger


class NoWidthError(ConfigError):
    """No width gives a model the number of parameters."""


def sized(config: ModelConfig, num_symbols: int, boundary: int, parameters: int) -> ModelConfig:
    """The configuration with widths that give the model so many parameters, within 2 %.

    Args:
        config: the configuration, of which only the widths change.
        num_symbols: the size of the vocabulary.
        boundary: the boundary symbol.
        parameters: the number of parameters.

    Raises:
        NoWidthError: if no width comes near enough, or the configuration names none.
    """

    def count(candidate: ModelConfig) -> int:
        return num_weights(candidate, num_symbols, boundary)

    if not config.widths:
        raise NoWidthError(
            f"{config.family} names no options that set its width, so no number of parameters can "
            "be solved for: give its configuration `widths`"
        )
    best: ModelConfig = config
    tried: list[ModelConfig] = []
    for name in config.widths:
        narrow, wide = _nearest(best, name, count, parameters)
        tried += [candidate for candidate in (narrow, wide) if candidate is not None]
        nearest = min(tried, key=lambda candidate: abs(count(candidate) - parameters))
        if abs(count(nearest) - parameters) <= TOLERANCE * parameters:
            return nearest
        best = narrow or best
    counts = sorted({count(c) for c in tried}, key=lambda n: abs(n - parameters))
    raise NoWidthError(
        f"no width gives {config.family} {parameters:,} parameters within {TOLERANCE:.0%}: the "
        f"nearest have {' and '.join(f'{n:,}' for n in counts[:2])}; give another number, or use "
        "fewer symbols"
    )


def num_weights(config: ModelConfig, num_symbols: int, boundary: int) -> int:
    """The number of parameters of a model, which is built without values."""
    return sum(p.numel() for p in weightless(config, num_symbols, boundary).parameters())


def weightless(config: ModelConfig, num_symbols: int, boundary: int) -> SequenceModel:
    """The model on the meta device: shapes without values."""
    with torch.device("meta"):
        return build_model(config, num_symbols, boundary)


def _nearest(
    config: ModelConfig, name: str, count: Callable[[ModelConfig], int], parameters: int
) -> tuple[ModelConfig | None, ModelConfig | None]:
    """The widest configuration that is not too large, and the next wider one."""
    step = next((w for w in range(1, _COARSEST) if _with(config, name, w) is not None), None)
    if step is None:
        return None, None

    def is_small(k: int) -> bool:
        candidate = _with(config, name, k * step)
        return candidate is not None and count(candidate) <= parameters

    high = 1
    while high * step < _WIDEST and is_small(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_small(middle) else (low, middle)
    return _with(config, name, low * step), _with(config, name, high * step)


def _with(config: ModelConfig, name: str, width: int) -> ModelConfig | None:
    """The configuration with another width; None where it does not fit the other options."""
    changes: Any = {name: width}
    try:
        return replace(config, **changes)  # type: ignore[type-var]
    except ConfigError:
        return None
