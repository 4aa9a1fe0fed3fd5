"""Models of a wanted number of parameters: the width is solved for, everything else stays.

A configuration names the options that set its width, coarse to fine. The coarse one is the
largest with which the model is not too large; the fine one makes up for the rest.

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

TOLERANCE = 0.02  # share of the wanted number by which the solution may miss it


class NoWidthError(ConfigError):
    """No width gives a model the wanted number of parameters."""


_WIDEST = 1 << 20
_COARSEST = 4096  # no step between two valid widths is larger


def sized(config: ModelConfig, num_symbols: int, boundary: int, parameters: int) -> ModelConfig:
    """The configuration with widths so that the model has so many parameters, within 2 %.

    Args:
        config: what stays, but for its widths.
        num_symbols, boundary: of the alphabet.
        parameters: how many are wanted.

    Raises:
        NoWidthError: no width comes near enough, or the configuration names none.
    """

    def count(found: ModelConfig) -> int:
        return num_weights(found, num_symbols, boundary)

    if not config.widths:
        raise NoWidthError(
            f"{config.family} names no options that set its width, so no number of parameters can "
            "be solved for: give its configuration `widths`"
        )
    best, tried = config, []
    for name in config.widths:
        narrow, wide = _around(best, name, count, parameters)
        tried += [found for found in (narrow, wide) if found is not None]
        nearest = min(tried, key=lambda found: abs(count(found) - parameters))
        if abs(count(nearest) - parameters) <= TOLERANCE * parameters:
            return nearest
        best = narrow or best
    found = sorted({count(c) for c in tried}, key=lambda n: abs(n - parameters))
    raise NoWidthError(
        f"no width gives {config.family} {parameters:,} parameters within {TOLERANCE:.0%}: the "
        f"nearest have {' and '.join(f'{n:,}' for n in found[:2])}; ask for more, or for fewer "
        "symbols"
    )


def num_weights(config: ModelConfig, num_symbols: int, boundary: int) -> int:
    """Parameters of a model of this configuration, which is built without its numbers."""
    return sum(p.numel() for p in weightless(config, num_symbols, boundary).parameters())


def weightless(config: ModelConfig, num_symbols: int, boundary: int) -> SequenceModel:
    """The model without numbers, to be asked what it is."""
    with torch.device("meta"):
        return build_model(config, num_symbols, boundary)


def _around(
    config: ModelConfig, name: str, count: Callable[[ModelConfig], int], wanted: int
) -> tuple[ModelConfig | None, ModelConfig | None]:
    """The widest that is not too large, and the next wider one."""
    step = next((w for w in range(1, _COARSEST) if _with(config, name, w) is not None), None)
    if step is None:
        return None, None

    def is_small(k: int) -> bool:
        found = _with(config, name, k * step)
        return found is not None and count(found) <= wanted

    high = 1
    while high * step < _WIDEST and is_small(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_small(middle) else (low, middle)
    return _with(config, name, low * step), _with(config, name, high * step)


def _with(config: ModelConfig, name: str, width: int) -> ModelConfig | None:
    """With another width; None where it does not fit the other options."""
    changed: dict[str, Any] = {name: width}
    try:
        return replace(config, **changed)  # type: ignore[type-var]
    except ConfigError:
        return None
