"""What happens inside a model while it reads: findings about everything that was recorded.

The name of a tap alone decides how it is analysed: gates by their names, attention maps, the
orders that a counting model matched; every other tap is a state. So every family, and a user's
own cell, is inspected as far as it records, and no code here asks which family it is.

Knows passages: symbols read, surprisals, and tensors by name; no model and no file.

Shapes: T positions of a passage, S of its source, D units, H heads.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seriatim.analysis.inspect.findings import (
    GateFindings,
    InspectedSide,
    MapFindings,
    Matches,
    OrderFindings,
    Passage,
    StateFindings,
)
from seriatim.analysis.inspect.gates import describe_gate
from seriatim.analysis.inspect.head_names import SelfMap, describe_cross_heads, describe_heads
from seriatim.analysis.inspect.inspection import Inspection
from seriatim.analysis.inspect.labels import Label, text_labels
from seriatim.analysis.inspect.probes import (
    LEAST_POSITIONS,
    Neuron,
    Probe,
    linear_probes,
    rank_neurons,
)
from seriatim.analysis.inspect.trajectory import follow
from seriatim.errors import DataError

GATES = ("forget", "input", "output", "reset", "update")
KEEPING = ("forget", "update")  # gates that multiply what a unit holds
ORDER, BACKOFF = "order", "backoff"
NO_STATES = ("candidate", BACKOFF)


def is_map(name: str) -> bool:
    """Whether a tap of this name is an attention map."""
    return ".attention." in f".{name}"


def inspect_passages(
    passages: Sequence[Passage],
    *,
    title: str,
    map_passages: Sequence[Passage] = (),
    labels: Sequence[Label] = (),
    notes: Sequence[str] = (),
    top: int = 5,
) -> Inspection:
    """All findings about what was recorded.

    Args:
        passages: the passages, all with the same taps.
        title: the name of what was inspected.
        map_passages: the passages with attention maps, fewer or shorter because a map is as large
            as a passage squared; if empty, `passages` have the maps.
        labels: the user's labels over the symbols of all passages, one after another.
        notes: notes on how the passages were made, to be shown with the findings.
        top: the number of neurons for each label.

    Raises:
        DataError: if there is no symbol to inspect.
    """
    if not any(len(p.read.symbols) for p in passages):
        raise DataError("the text has no symbol to inspect: give one that is not empty")
    analysis = _Analysis(passages, labels, top)
    for name in passages[0].taps:
        analysis.add(name)
    for name in map_passages[0].taps if map_passages else ():
        if is_map(name):
            analysis.add_map(name, map_passages)
    return Inspection(
        title=title,
        passages=passages,
        states=analysis.states,
        gates=analysis.gates,
        maps=analysis.maps,
        orders=analysis.orders,
        notes=[*notes, *analysis.notes],
        top=top,
    )


class _Analysis:
    """The findings so far, tap by tap."""

    def __init__(self, passages: Sequence[Passage], labels: Sequence[Label], top: int) -> None:
        self.passages, self.user_labels, self.top = passages, labels, top
        self.states: list[StateFindings] = []
        self.gates: list[GateFindings] = []
        self.maps: list[MapFindings] = []
        self.orders: list[OrderFindings] = []
        self.notes: list[str] = []
        self._labels: dict[bool, list[Label]] = {}

    def add(self, name: str) -> None:
        """Analyse a tap as its name says."""
        last = name.rpartition(".")[2]
        if last == ORDER:
            self._add_order(name)
        elif is_map(name):
            self.add_map(name, self.passages)
        elif last in GATES:
            self._add_gate(name, keeps=last in KEEPING)
        elif last not in NO_STATES and self._is_state(name):
            self._add_state(name)

    def _is_state(self, name: str) -> bool:
        value = self.passages[0].taps[name]
        return value.ndim == 2 and value.is_floating_point()

    def _all(self, name: str) -> list[Tensor]:
        return [p.taps[name].detach().cpu() for p in self.passages]

    def _add_state(self, name: str) -> None:
        values = self._all(name)
        sides = [p.side_of(name) for p in self.passages]
        labels = self._labels_of(sides, is_read=sides[0] is self.passages[0].read)
        neurons: list[Neuron] = []
        probes: list[Probe] = []
        if labels:
            states = torch.cat([v[s.start :] for v, s in zip(values, sides, strict=True)])
            symbols = torch.cat([s.symbols[s.start :] for s in sides])
            neurons = rank_neurons(states, labels, top=self.top)
            probes = linear_probes(states, labels, symbols)
        trajectory = follow(values)
        size = values[0].shape[1]
        self.states.append(StateFindings(name, size, trajectory, neurons, probes))

    def _labels_of(self, sides: Sequence[InspectedSide], *, is_read: bool) -> list[Label]:
        """The labels to look for in a tap; computed once for each side of a pair."""
        if is_read not in self._labels:
            self._labels[is_read] = self._find_labels(sides, is_read=is_read)
        return self._labels[is_read]

    def _find_labels(self, sides: Sequence[InspectedSide], *, is_read: bool) -> list[Label]:
        count = sum(len(side.symbols) - side.start for side in sides)
        if count >= LEAST_POSITIONS:
            return [*(self.user_labels if is_read else ()), *text_labels(_texts(sides))]
        side = ""
        if self.passages[0].source is not None:
            side = " of the target" if is_read else " of the source"
        self.notes.append(
            f"{count:,} symbols{side} are too few to tell what single neurons follow: "
            f"{LEAST_POSITIONS} or more are needed"
        )
        return []

    def _add_gate(self, name: str, *, keeps: bool) -> None:
        values = self._all(name)
        longest = max(range(len(values)), key=lambda n: len(values[n]))
        gate = describe_gate(torch.cat(values), keeps=keeps)
        names = self.passages[longest].side_of(name).names
        self.gates.append(GateFindings(name, gate, values[longest], names))

    def add_map(self, name: str, passages: Sequence[Passage]) -> None:
        """Analyse an attention map over these passages."""
        weights = [p.taps[name].detach().cpu() for p in passages]
        longest = max(range(len(weights)), key=lambda n: weights[n].shape[1])
        queries = passages[longest].side_of(name).names
        if name.endswith(".cross"):
            keys = [p.source or p.read for p in passages]
            pairs = zip(weights, keys, strict=True)
            heads = describe_cross_heads([(w, side.pieces) for w, side in pairs])
            queries = passages[longest].targets or queries
        else:
            keys = [p.side_of(name) for p in passages]
            pairs = zip(weights, keys, strict=True)
            heads = describe_heads([SelfMap(w, s.symbols, s.pieces) for w, s in pairs])
        self.maps.append(MapFindings(name, heads, weights[longest], queries, keys[longest].names))

    def _add_order(self, name: str) -> None:
        orders = torch.cat(self._all(name)).long()
        paths = name.removesuffix(ORDER) + BACKOFF
        path = None
        if paths in self.passages[0].taps:
            path = torch.cat(self._all(paths)).double() / -math.log(2)
        bits = [p.bits for p in self.passages if p.bits is not None]
        every = torch.cat(bits).double() if len(bits) == len(self.passages) else None
        table = []
        for order in sorted(set(orders.tolist())):
            here = orders == order
            paid = None if path is None else float(path[here, order + 1 :].sum(1).mean())
            mean = None if every is None else float(every[here].mean())
            table.append(Matches(order, int(here.sum()), mean, paid))
        self.orders.append(OrderFindings(name, orders, path, table))


def _texts(sides: Sequence[InspectedSide]) -> list[Sequence[str]]:
    """The texts of each side, without the positions before them."""
    return [side.pieces[side.start :] for side in sides]
