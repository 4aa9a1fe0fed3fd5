"""The three perturbations of real sequences: trimmed, omitted, permuted.

A perturbation takes the elements x_0 .. x_{T-1} of a sequence and says which are left, in which
order:

    trimmed-start   the first elements, this fraction of them, are missing
    trimmed-end     the last ones are missing, and the sequence ends there
    omitted         each element is missing with this probability
    swapped         of the neighbours (x_i, x_{i+1}), each pair changes places with this probability
    blocks          of the blocks of up to 8 elements, this fraction change places with one another

Knows lengths and random numbers; no model, no text.

Shapes: T elements of a sequence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError

Ints: TypeAlias = NDArray[np.int64]
Rng: TypeAlias = np.random.Generator

BLOCK = 8  # elements that change places together
STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "trimmed-start": (0.1, 0.25, 0.5),
    "trimmed-end": (0.1, 0.25, 0.5),
    "omitted": (0.05, 0.1, 0.2),
    "swapped": (0.05, 0.1, 0.2),
    "blocks": (0.25, 0.5, 1.0),
}


def trimmed_start(size: int, fraction: float, rng: Rng) -> Ints:
    """Without the first elements: at least one is cut, and at least one is left."""
    return np.arange(_cut(size, fraction), size)


def trimmed_end(size: int, fraction: float, rng: Rng) -> Ints:
    """Without the last elements: at least one is cut, and at least one is left."""
    return np.arange(size - _cut(size, fraction))


def _cut(size: int, fraction: float) -> int:
    return min(max(1, round(fraction * size)), max(size - 1, 0)) if fraction > 0 else 0


def omitted(size: int, rate: float, rng: Rng) -> Ints:
    """Without elements here and there."""
    return np.flatnonzero(rng.random(size) >= rate)


def swapped(size: int, rate: float, rng: Rng) -> Ints:
    """With neighbours exchanged; no element moves more than one position."""
    order = np.arange(size)
    first = np.arange(int(rng.integers(0, 2)), size - 1, 2)
    first = first[rng.random(len(first)) < rate]
    order[first], order[first + 1] = order[first + 1], order[first].copy()
    return order


def exchanged_blocks(size: int, fraction: float, rng: Rng) -> Ints:
    """With blocks exchanged: those chosen rotate among themselves, so that each of them moves."""
    width = min(BLOCK, max(2, size // 4))
    parts = np.split(np.arange(size), np.arange(width, size, width))
    chosen = np.flatnonzero(rng.random(len(parts)) < fraction)
    moved = rng.permutation(chosen)
    order = list(parts)
    for to, origin in zip(moved, np.roll(moved, 1), strict=True):
        order[to] = parts[origin]
    return np.concatenate(order)


@dataclass(frozen=True)
class Perturbation:
    """A kind of damage to a sequence.

    Attributes:
        order: takes T, the strength and a random generator; returns the indices of the elements
            that are left, in their new order.
        is_random: whether it uses the generator.
        restarts: whether a sequence begins where its first element is missing.
    """

    order: Callable[[int, float, Rng], Ints]
    is_random: bool = True
    restarts: bool = False

    def repetitions(self, seeds: int) -> int:
        """How often it is worth repeating with other seeds."""
        return seeds if self.is_random else 1


PERTURBATIONS: Mapping[str, Perturbation] = {
    "trimmed-start": Perturbation(trimmed_start, is_random=False, restarts=True),
    "trimmed-end": Perturbation(trimmed_end, is_random=False),
    "omitted": Perturbation(omitted),
    "swapped": Perturbation(swapped),
    "blocks": Perturbation(exchanged_blocks),
}


def generator(kind: str, seed: int) -> Rng:
    """The random numbers of a kind of perturbation."""
    return np.random.default_rng([seed, *kind.encode()])


def list_strengths(strengths: Mapping[str, Sequence[float]], seeds: int) -> list[tuple[str, float]]:
    """Pairs of a kind and a strength, checked.

    Raises:
        ConfigError: if a kind is unknown, a strength is outside [0, 1], or there is no seed.
    """
    for kind, values in strengths.items():
        if kind not in PERTURBATIONS:
            raise ConfigError(
                f"unknown perturbation {kind!r}: choose one of {', '.join(PERTURBATIONS)}"
            )
        if not all(0 <= strength <= 1 for strength in values):
            raise ConfigError(f"{kind} at {' '.join(map(str, values))}: give fractions from 0 to 1")
    if seeds < 1:
        raise ConfigError(f"seeds = {seeds}: give 1 or more")
    return [(kind, strength) for kind, values in strengths.items() for strength in values]
