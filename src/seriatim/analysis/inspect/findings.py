"""The findings of an inspection: what was read, and what was found in each tap.

`measure` computes them; `text`, `page` and `as_json` show them. Knows no model and no renderer.

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
    """One side of a passage: symbols in the order in which they were read.

    Attributes:
        pieces: the text of each symbol; "" for a boundary without text.
        symbols: (T,) ids.
        names: the names of the symbols, for people.
        start: the number of positions before the text itself, such as a boundary.
    """

    pieces: Sequence[str]
    symbols: Tensor
    names: Sequence[str]
    start: int = 0


@dataclass(frozen=True)
class Passage:
    """One sequence, and what was recorded while the model read it.

    Attributes:
        read: the symbols that were read.
        taps: recorded tensors by name, (T, ...) after each symbol; attention maps (H, T, T), or
            (H, T, S) over the source; those of the encoder belong to the source.
        source: the source, if this is a pair.
        targets: the names of the symbols predicted after each position; empty if none were.
        target_pieces: the texts of the targets.
        bits: (T,) the surprisal of each target.
        alternatives: for each target, the most probable symbols and their probabilities.
    """

    read: InspectedSide
    taps: Mapping[str, Tensor]
    source: InspectedSide | None = None
    targets: Sequence[str] = ()
    target_pieces: Sequence[str] = ()
    bits: Tensor | None = None
    alternatives: Sequence[Sequence[tuple[str, float]]] = ()

    @property
    def size(self) -> int:
        """The number of symbols that were predicted, or read where none were predicted."""
        return len(self.targets) or len(self.read.symbols)

    def side_of(self, name: str) -> InspectedSide:
        """The side that the positions of a tap belong to."""
        is_encoder = name.startswith("encoder.")
        return self.source if self.source is not None and is_encoder else self.read


@dataclass(frozen=True)
class StateFindings:
    """A layer's state.

    Attributes:
        name: the name of the tap.
        size: D.
        trajectory: how the state moves; its path is that of the longest passage.
        neurons: the neurons ranked for each label; empty if there is too little text.
        probes: the linear probes of the layer.
    """

    name: str
    size: int
    trajectory: Trajectory
    neurons: Sequence[Neuron]
    probes: Sequence[Probe]


@dataclass(frozen=True)
class GateFindings:
    """A layer's gate; `values` (T, D) and the symbols' `names` are those of the longest passage."""

    name: str
    gate: Gate
    values: Tensor
    names: Sequence[str]


@dataclass(frozen=True)
class MapFindings:
    """A layer's attention.

    Attributes:
        name: the name of the tap.
        heads: the heads, scored over all passages.
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
    """The positions whose longest match had `order` symbols of context.

    Attributes:
        order: the length of the match, in symbols.
        positions: the number of positions.
        bits: their mean surprisal; None if nothing was predicted.
        backoff: the mean part of it paid for backing off from longer contexts, which occurred in
            training but never before this symbol; below 0 where backing off is a gain.
    """

    order: int
    positions: int
    bits: float | None
    backoff: float | None


@dataclass(frozen=True)
class OrderFindings:
    """How many symbols of context a counting model had counts for.

    Attributes:
        name: the name of the tap.
        orders: (N,) the length of the match at every position.
        path: (N, n) bits paid at each length of context: for the match at its own, for backing
            off at longer ones; a row sums to the surprisal. None if it was not recorded.
        table: the positions of each order that occurs.
    """

    name: str
    orders: Tensor
    path: Tensor | None
    table: Sequence[Matches]

    def steps(self, position: int) -> list[tuple[int, float]]:
        """(length of context, bits) from the longest known context down to the match."""
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
        title: the name of what was inspected.
        passages: what was read.
        states, gates, maps, orders: the findings of each kind, in the order of the taps.
        notes: what a reader should know: what was cut, unknown or left out.
        top: the number of alternatives of each symbol, and of neurons for each label.
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
    def num_symbols(self) -> int:
        """The number of symbols in all passages."""
        return sum(passage.size for passage in self.passages)

    @property
    def bits(self) -> float | None:
        """Mean surprisal in bits per symbol; None where nothing was predicted."""
        values = [p.bits for p in self.passages if p.bits is not None and len(p.bits)]
        return float(torch.cat(values).double().mean()) if values else None

    def most_surprising(self, count: int) -> list[tuple[int, int]]:
        """(passage, position) of the symbols with the most bits, in decreasing order."""
        ranked = [
            (-float(b), i, t)
            for i, p in enumerate(self.passages)
            if p.bits is not None
            for t, b in enumerate(p.bits.tolist())
        ]
        return [(i, t) for _, i, t in sorted(ranked)[:count]]
