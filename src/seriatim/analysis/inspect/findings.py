"""The findings of an inspection: what was read, and what was found in each tap.

Knows no model and no renderer; `measure` computes them, `text`, `page` and `as_json` show them.

Shapes: T positions of a passage, S of its source, D units, H heads, N positions of all passages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.analysis.inspect.gates import Gate
from seriatim.analysis.inspect.head_names import NamedHead
from seriatim.analysis.inspect.probes import Neuron, Probe
from seriatim.analysis.inspect.trajectory import Trajectory


@dataclass(frozen=True)
class InspectedSide:
    """Symbols in the order in which they were read.

    Attributes:
        pieces: their texts; "" for a boundary that is none.
        symbols: (T,) ids.
        names: for people.
        start: how many of them stand before the text: its beginning.
    """

    pieces: Sequence[str]
    symbols: Tensor
    names: Sequence[str]
    start: int = 0


@dataclass(frozen=True)
class Passage:
    """One sequence, and what was seen of the model while it read it.

    Attributes:
        read: what was folded.
        taps: by name, (T, ...) after each symbol; maps (H, T, T), or (H, T, S) over the source;
            those of the encoder are about the source.
        source: of a pair.
        targets: names of the symbols that were predicted after each; empty: nothing was.
        target_pieces: their texts.
        bits: (T,) surprise of each.
        alternatives: of each, the most probable symbols and their probabilities.
    """

    read: InspectedSide
    taps: Mapping[str, Tensor]
    source: InspectedSide | None = None
    targets: Sequence[str] = ()
    target_pieces: Sequence[str] = ()
    bits: Tensor | None = None
    alternatives: Sequence[Sequence[tuple[str, float]]] = ()

    def side_of(self, name: str) -> InspectedSide:
        """What the positions of a tap are."""
        is_source = self.source is not None and name.startswith("encoder.")
        return self.source if is_source and self.source is not None else self.read


@dataclass(frozen=True)
class StateFindings:
    """A layer's state.

    Attributes:
        name: of the tap.
        size: D.
        trajectory: its path is that of the longest passage.
        neurons: ranked for each label; empty where there is too little text.
        probes: of the layer.
    """

    name: str
    size: int
    trajectory: Trajectory
    neurons: Sequence[Neuron]
    probes: Sequence[Probe]


@dataclass(frozen=True)
class GateFindings:
    """A layer's gate; `values` (T, D) and the `names` of the symbols are of the longest passage."""

    name: str
    gate: Gate
    values: Tensor
    names: Sequence[str]


@dataclass(frozen=True)
class MapFindings:
    """A layer's attention.

    Attributes:
        name: of the tap.
        heads: scored over all passages.
        weights: (H, T, S) of the longest passage.
        queries, keys: the names of the T symbols that attend and of the S attended to.
    """

    name: str
    heads: Sequence[NamedHead]
    weights: Tensor
    queries: Sequence[str]
    keys: Sequence[str]


@dataclass(frozen=True)
class Matches:
    """All positions whose longest match had so many symbols of context.

    Attributes:
        order: how many symbols.
        positions: how many positions.
        bits: mean surprise; None: there is no such position.
        backoff: mean bits of it that were paid for falling back from longer contexts that had
            been seen, but not before this symbol; below 0 where that is a gain.
    """

    order: int
    positions: int
    bits: float | None
    backoff: float | None


@dataclass(frozen=True)
class OrderFindings:
    """How many symbols of context a counting model had counts for.

    Attributes:
        name: of the tap.
        orders: (N,) of every position.
        path: (N, n) bits paid at each length of context: for the match at its own, for falling
            back at longer ones; they sum to the surprise. None: not recorded.
        table: for each order that occurs.
    """

    name: str
    orders: Tensor
    path: Tensor | None
    table: Sequence[Matches]

    def steps(self, position: int) -> list[tuple[int, float]]:
        """(length of context, bits) from the longest that was known down to the match."""
        if self.path is None:
            return []
        order = int(self.orders[position])
        paid = self.path[position].tolist()
        longer = [(m, b) for m, b in enumerate(paid) if m > order and b != 0.0]
        return [*reversed(longer), (order, paid[order])]


@dataclass(frozen=True)
class Findings:
    """All findings about one text.

    Attributes:
        title: what was inspected.
        passages: what was read.
        states, gates, maps, orders: findings, tap after tap.
        notes: what should be known: what was cut, unknown or left out.
        top: alternatives and neurons shown for each.
    """

    title: str
    passages: Sequence[Passage]
    states: Sequence[StateFindings]
    gates: Sequence[GateFindings]
    maps: Sequence[MapFindings]
    orders: Sequence[OrderFindings]
    notes: Sequence[str]
    top: int

    @property
    def longest(self) -> Passage:
        """The passage that pictures show."""
        return max(self.passages, key=lambda p: len(p.read.symbols))

    @property
    def bits(self) -> float | None:
        """Mean surprise, bits per symbol; None where nothing was predicted."""
        values = [p.bits for p in self.passages if p.bits is not None and len(p.bits)]
        return float(torch.cat(values).double().mean()) if values else None

    def most_surprising(self, count: int) -> list[tuple[int, int]]:
        """(passage, position) of the symbols with the most bits, in falling order."""
        places = [
            (-float(b), i, t)
            for i, p in enumerate(self.passages)
            if p.bits is not None
            for t, b in enumerate(p.bits.tolist())
        ]
        return [(i, t) for _, i, t in sorted(places)[:count]]
