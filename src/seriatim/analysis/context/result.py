"""How far back a model looks on a text: the figures in memory, and the record that is written.

Knows numbers; no model, no text.

Shapes: K the greatest context, D the greatest distance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from seriatim.core.records import Json, to_json
from seriatim.metrics.bootstrap import Floats

Interval: TypeAlias = tuple[float, float]
Method: TypeAlias = Literal["gradient", "replacement"]

# ---- the record ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CurveRecord:
    """A `ContextCurve` at some numbers of elements.

    Attributes:
        contexts: the numbers of elements seen, k.
        bits, intervals: the bits with each k, and 95 % intervals of them.
        nothing, nothing_interval: with k = 0.
        full, full_interval, effective, effective_interval, targets: as in `ContextCurve`.
    """

    contexts: tuple[int, ...]
    bits: tuple[float, ...]
    intervals: tuple[Interval, ...]
    nothing: float
    nothing_interval: Interval
    full: float
    full_interval: Interval
    effective: int | None
    effective_interval: tuple[int | None, int | None]
    targets: int


@dataclass(frozen=True)
class InfluenceRecord:
    """The fraction of all influence at each distance, and how it was measured; see `Influence`."""

    distance: tuple[int, ...]
    fraction: tuple[float, ...]
    method: Method


@dataclass(frozen=True)
class DecayRecord:
    """The norm of the gradient at each distance, by layer; see `GradientDecay`."""

    distance: tuple[int, ...]
    layers: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True, kw_only=True)
class ContextRecord:
    """An `EffectiveContext` as it is written: what `seriatim context --json` prints.

    Attributes:
        curve: of all targets.
        categories: of the targets of each category of symbols.
        reach, seen_reach, shuffled, replaced, influence, gradient_decay: as in `EffectiveContext`.
        unit: what the curves are measured in.
    """

    curve: CurveRecord
    categories: Mapping[str, CurveRecord]
    reach: int | None
    seen_reach: int | None
    shuffled: CurveRecord | None
    replaced: CurveRecord | None
    influence: InfluenceRecord | None
    gradient_decay: DecayRecord | None
    unit: str = "bits per symbol"


# ---- in memory ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ContextCurve:
    """Bits against the number of elements seen. Intervals are 95 % of a bootstrap over blocks.

    Attributes:
        bits: (K + 1,) mean bits per symbol with k = 0 .. K elements seen.
        intervals: (K + 1, 2) their intervals, on texts like this.
        full: the bits with everything seen.
        full_interval: its interval.
        effective: the smallest k from which on the bits are within 1 % (and 0.001 bits) of full;
            None: more than K.
        effective_interval: its interval; None in it: more than K.
        targets: the number of symbols scored.
    """

    bits: Floats = field(repr=False)
    intervals: Floats = field(repr=False)
    full: float
    full_interval: Interval
    effective: int | None
    effective_interval: tuple[int | None, int | None]
    targets: int

    def record(self, contexts: Sequence[int]) -> CurveRecord:
        """The curve at some k; beyond K it stays where it is."""
        k = [min(k, len(self.bits) - 1) for k in (0, *contexts)]
        bits = self.bits[k].tolist()
        intervals = [(low, high) for low, high in self.intervals[k].tolist()]
        return CurveRecord(
            contexts=tuple(contexts),
            bits=tuple(bits[1:]),
            intervals=tuple(intervals[1:]),
            nothing=bits[0],
            nothing_interval=intervals[0],
            full=self.full,
            full_interval=self.full_interval,
            effective=self.effective,
            effective_interval=self.effective_interval,
            targets=self.targets,
        )


@dataclass(frozen=True)
class Influence:
    """How much each past position influences a prediction.

    Attributes:
        mean: (D,) influence of distance 1, 2, .., nats (per unit of an embedding, by gradient).
        method: how it was measured.
    """

    mean: Floats
    method: Method

    @property
    def fractions(self) -> Floats:
        """(D,) influence as a fraction of all influence; zeros where there is none."""
        total = self.mean.sum()
        return np.asarray(self.mean / total if total > 0 else self.mean, np.float64)

    def record(self) -> InfluenceRecord:
        """The fractions with their distances."""
        distance = tuple(range(1, len(self.mean) + 1))
        return InfluenceRecord(distance, tuple(self.fractions.tolist()), self.method)


@dataclass(frozen=True)
class GradientDecay:
    """How the gradient of a prediction fades on its way back through time.

    Attributes:
        layers: by the number of a layer, (D,) the mean norm of d ln p / d s_{t-d}, d = 1 .. D.
    """

    layers: Mapping[int, Floats]

    def record(self) -> DecayRecord:
        """The norms with their distances; None where a norm is too large for a number."""
        distance = tuple(range(1, 1 + max(map(len, self.layers.values()))))
        layers = {
            str(layer): tuple(norm if math.isfinite(norm) else None for norm in norms.tolist())
            for layer, norms in self.layers.items()
        }
        return DecayRecord(distance, layers)


@dataclass(frozen=True)
class EffectiveContext:
    """How far back a model looks on a text.

    Attributes:
        contexts: the k at which curves are shown; `curve` has every k up to the greatest.
        curve: of all targets.
        categories: of the targets of each category, by name.
        reach: how many of the last inputs can change a prediction, as the model declares; None:
            no bound.
        seen_reach: the smallest k with which no sampled prediction differs from the full one by
            more than 1e-4 nats; None: some still do with the greatest context.
        shuffled, replaced: with everything further back than k elements shuffled, or replaced.
        disturbed_at: the k at which those two are shown.
        influence: of each past position.
        gradient_decay: of the gradient through time.
    """

    contexts: tuple[int, ...]
    curve: ContextCurve
    categories: Mapping[str, ContextCurve]
    reach: int | None
    seen_reach: int | None
    shuffled: ContextCurve | None = None
    replaced: ContextCurve | None = None
    disturbed_at: tuple[int, ...] = ()
    influence: Influence | None = None
    gradient_decay: GradientDecay | None = None

    def __repr__(self) -> str:
        seen = "more than was measured" if self.effective is None else f"{self.effective:,} symbols"
        return f"EffectiveContext({seen}; {self.curve.full:.4f} bits with all)"

    @property
    def effective(self) -> int | None:
        """The effective context of all targets."""
        return self.curve.effective

    @property
    def respects_reach(self) -> bool:
        """Whether nothing further back than the declared reach changed a prediction."""
        if self.reach is None or self.reach >= self.contexts[-1]:
            return True
        return self.seen_reach is not None and self.seen_reach <= self.reach

    def record(self) -> ContextRecord:
        """The figures at the contexts that are shown."""
        shuffled, replaced = (
            None if curve is None else curve.record(self.disturbed_at)
            for curve in (self.shuffled, self.replaced)
        )
        return ContextRecord(
            curve=self.curve.record(self.contexts),
            categories={
                name: curve.record(self.contexts) for name, curve in self.categories.items()
            },
            reach=self.reach,
            seen_reach=self.seen_reach,
            shuffled=shuffled,
            replaced=replaced,
            influence=None if self.influence is None else self.influence.record(),
            gradient_decay=None if self.gradient_decay is None else self.gradient_decay.record(),
        )

    def to_json(self) -> Json:
        """The record as JSON values."""
        return to_json(self.record())
