"""What happens inside of a model while it reads: findings about everything that was recorded.

What is analysed is decided by the names of the taps alone: gates by theirs, maps of attention,
the orders that a counting model matched; every other tap is a state. So a family, and a user's
own cell, is inspected as far as it lets itself be seen, and nothing here asks which it is.

Knows passages: symbols read, surprises, and tensors by name; no model and no file.

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
KEEPING = ("forget", "update")  # what they are multiplied with is what a unit holds
ORDER, BACKOFF = "order", "backoff"
NO_STATES = ("candidate", BACKOFF)


def is_map(name: str) -> bool:
    """Whether a tap of this name is a map of attention."""
    return ".attention." in f".{name}"


def inspect_passages(
    passages: Sequence[Passage],
    *,
    title: str,
    looked: Sequence[Passage] = (),
    labels: Sequence[Label] = (),
    notes: Sequence[str] = (),
    top: int = 5,
) -> Inspection:
    """Everything that can be said of what was recorded.

    Args:
        passages: with the same taps.
        title: what was inspected.
        looked: with maps of attention, which are as large as a passage squared: may be fewer,
            or shorter; none: the passages have them.
        labels: of the user's own, over the symbols of all texts read, one after another.
        notes: what should be known of how the passages were made.
        top: neurons for each label.

    Raises:
        DataError: there is nothing to inspect.
    """
    if not any(len(p.read.symbols) for p in passages):
        raise DataError("the text has no symbol to inspect: give one that is not empty")
    found = _Collected(passages, labels, top)
    for name in passages[0].taps:
        found.add(name)
    for name in looked[0].taps if looked else ():
        if is_map(name):
            found.add_map(name, looked)
    return Inspection(
        title=title,
        passages=passages,
        states=found.states,
        gates=found.gates,
        maps=found.maps,
        orders=found.orders,
        notes=[*notes, *found.notes],
        top=top,
    )


class _Collected:
    def __init__(self, passages: Sequence[Passage], labels: Sequence[Label], top: int) -> None:
        self.passages, self.own_labels, self.top = passages, labels, top
        self.states: list[StateFindings] = []
        self.gates: list[GateFindings] = []
        self.maps: list[MapFindings] = []
        self.orders: list[OrderFindings] = []
        self.notes: list[str] = []
        self._labels: dict[bool, list[Label]] = {}

    def add(self, name: str) -> None:
        """Say what there is to say of a tap, by its name."""
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
            known = torch.cat([v[s.start :] for v, s in zip(values, sides, strict=True)])
            symbols = torch.cat([s.symbols[s.start :] for s in sides])
            neurons = rank_neurons(known, labels, top=self.top)
            probes = linear_probes(known, labels, symbols)
        trajectory = follow(values)
        size = values[0].shape[1]
        self.states.append(StateFindings(name, size, trajectory, neurons, probes))

    def _labels_of(self, sides: Sequence[InspectedSide], *, is_read: bool) -> list[Label]:
        """What is looked for in a tap; made once for each side of a pair."""
        if is_read not in self._labels:
            count = sum(len(side.symbols) - side.start for side in sides)
            found: list[Label] = []
            if count >= LEAST_POSITIONS:
                found = [*(self.own_labels if is_read else ()), *text_labels(_texts(sides))]
            else:
                whose = (
                    ""
                    if self.passages[0].source is None
                    else " of the target"
                    if is_read
                    else " of the source"
                )
                self.notes.append(
                    f"{count:,} symbols{whose} are too few to say what single neurons follow: that "
                    f"takes {LEAST_POSITIONS} or more"
                )
            self._labels[is_read] = found
        return self._labels[is_read]

    def _add_gate(self, name: str, *, keeps: bool) -> None:
        values = self._all(name)
        i = max(range(len(values)), key=lambda n: len(values[n]))
        gate = describe_gate(torch.cat(values), keeps=keeps)
        names = self.passages[i].side_of(name).names
        self.gates.append(GateFindings(name, gate, values[i], names))

    def add_map(self, name: str, passages: Sequence[Passage]) -> None:
        """Say what there is to say of a map of attention."""
        weights = [p.taps[name].detach().cpu() for p in passages]
        i = max(range(len(weights)), key=lambda n: weights[n].shape[1])
        looks = passages[i].side_of(name).names
        if name.endswith(".cross"):
            over = [p.source or p.read for p in passages]
            pairs = zip(weights, over, strict=True)
            heads = describe_cross_heads([(w, side.pieces) for w, side in pairs])
            looks = passages[i].targets or looks
        else:
            over = [p.side_of(name) for p in passages]
            heads = describe_heads(
                [
                    SelfMap(w, side.symbols, side.pieces)
                    for w, side in zip(weights, over, strict=True)
                ]
            )
        self.maps.append(MapFindings(name, heads, weights[i], looks, over[i].names))

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
    """The texts of each side, without what stands before them."""
    return [side.pieces[side.start :] for side in sides]
