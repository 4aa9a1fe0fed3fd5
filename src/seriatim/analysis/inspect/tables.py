"""The tables of an inspection, shared by its page and its text, and the words for single figures.

Knows findings; nothing is computed here but quantiles.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from seriatim.analysis.inspect.findings import (
    Findings,
    GateFindings,
    MapFindings,
    OrderFindings,
    Passage,
    StateFindings,
)
from seriatim.analysis.inspect.head_names import NamedHead
from seriatim.analysis.inspect.probes import Neuron, Probe
from seriatim.report.tables import Cell, Table
from seriatim.report.terminal import visible

_CONTEXT = 24  # characters before a surprising symbol
_EACH = 3  # neurons listed for a label
_SYMBOL_TELLS = 0.9  # the probe score from which the symbol read alone tells the label


def quartiles(values: Tensor) -> list[float] | None:
    """Minimum, quartiles and maximum of the finite values; None if there are none."""
    finite = values[values.isfinite()].double()
    if not len(finite):
        return None
    cuts: list[float] = torch.quantile(finite, torch.linspace(0, 1, 5).double()).tolist()
    return cuts


# ---- symbols ------------------------------------------------------------------------------------


def surprising_table(findings: Findings, count: int) -> Table:
    """The symbols with the most bits, their context, and what was expected instead."""
    rows: list[list[Cell]] = []
    for i, t in findings.most_surprising(count):
        p = findings.passages[i]
        before = visible("".join(p.target_pieces[max(0, t - _CONTEXT) : t]) or "\0")[-_CONTEXT:]
        position: Cell = t if len(findings.passages) == 1 else f"{i + 1}:{t}"
        bits = None if p.bits is None else float(p.bits[t])
        rows.append([position, before if t else "(start)", p.targets[t], bits, expected(p, t)])
    columns = ["position", "after", "symbol", "bits", "expected"]
    return Table("Most surprising", columns, rows, formats={"bits": ".1f"})


def expected(passage: Passage, position: int) -> str:
    """The most probable symbols at a position, with their probabilities."""
    pairs = passage.alternatives[position] if passage.alternatives else ()
    return ", ".join(f"{symbol} {probability:.2f}" for symbol, probability in pairs)


def match_table(orders: OrderFindings) -> Table:
    """The positions of each order, and what they cost."""
    total = max(1, len(orders.orders))
    rows: list[list[Cell]] = [
        [m.order, m.positions, 100 * m.positions / total, m.bits, m.backoff] for m in orders.table
    ]
    columns = ["symbols matched", "positions", "%", "bits per symbol", "of which backing off"]
    formats = {"%": ".1f", "bits per symbol": ".2f", "of which backing off": ".2f"}
    return Table("Matched context", columns, rows, formats=formats)


def backoff_path(orders: OrderFindings, position: int) -> str:
    """How one probability came about: bits at every length of context, down to the match."""
    return " → ".join(f"{m}: {bits:+.2f}" for m, bits in orders.steps(position))


# ---- states -------------------------------------------------------------------------------------


def state_table(states: Sequence[StateFindings]) -> Table:
    """How long each state stays similar to itself."""
    rows: list[list[Cell]] = []
    for s in states:
        lives = quartiles(s.trajectory.unit_half_lives)
        speed = s.trajectory.speed[1:]
        rows.append(
            [
                s.name,
                s.size,
                s.trajectory.half_life,
                lives[2] if lives else None,
                lives[4] if lives else None,
                100 * sum(s.trajectory.variance_fractions),
                float(speed.mean()) if len(speed) else None,
            ]
        )
    return Table(
        "How long states last",
        ["layer", "units", "half-life", "median unit", "slowest unit", "% in two", "speed"],
        rows,
        note="Half-life: symbols after which the autocorrelation of the state, or of a unit, has "
        "fallen to one half; – where it never does in this text. % in two: the variance along the "
        "two principal directions. Speed: mean distance from one symbol to the next, relative to "
        "the standard deviation of the state.",
        formats={
            "half-life": ".1f",
            "median unit": ".1f",
            "slowest unit": ".1f",
            "% in two": ".0f",
            "speed": ".2f",
        },
    )


def named_neurons(states: Sequence[StateFindings]) -> list[tuple[str, Neuron]]:
    """(layer, neuron) of all named neurons, the largest |r| first.

    Labels that the symbol read alone tells, such as upper case, come last: following them
    takes no memory.
    """
    trivial = {p.label for s in states for p in s.probes if p.by_symbol >= _SYMBOL_TELLS}
    named = [(s.name, n) for s in states for n in s.neurons if n.is_named]
    return sorted(named, key=lambda pair: (pair[1].label in trivial, -abs(pair[1].correlation)))


def best_neurons(states: Sequence[StateFindings], each: int) -> list[tuple[str, Neuron]]:
    """The named neurons, at most `each` for one label."""
    counts: dict[str, int] = {}
    best = []
    for name, neuron in named_neurons(states):
        counts[neuron.label] = counts.get(neuron.label, 0) + 1
        if counts[neuron.label] <= each:
            best.append((name, neuron))
    return best


def neuron_table(states: Sequence[StateFindings]) -> Table:
    """The best named neurons of each label."""
    order = list(dict.fromkeys(n.label for s in states for n in s.neurons))
    best = sorted(best_neurons(states, _EACH), key=lambda pair: order.index(pair[1].label))
    return Table(
        "Neurons that follow the text",
        ["label", "layer", "unit", "r", "p"],
        [[n.label, name, n.index, n.correlation, n.p_value] for name, n in best],
        note="r: correlation over all positions. p: how often any neuron of the layer reaches it "
        "when the label is shifted along the text.",
        formats={"r": "+.2f", "p": ".2g"},
    )


def probe_table(states: Sequence[StateFindings], *, only_best: bool = False) -> Table:
    """The linear probes of every label and layer, or of the best layer of each label."""
    by_label: dict[str, list[tuple[str, Probe]]] = {}
    for s in states:
        for p in s.probes:
            by_label.setdefault(p.label, []).append((s.name, p))
    if only_best:
        by_label = {
            label: [max(probes, key=lambda pair: pair[1].score)]
            for label, probes in by_label.items()
        }
    scores = ("score", "chance", "symbol alone", "control", "selectivity")
    rows: list[list[Cell]] = [
        [p.label, name, p.measure, p.score, p.chance, p.by_symbol, p.control, p.selectivity]
        for probes in by_label.values()
        for name, p in probes
    ]
    return Table(
        "What a linear probe reads",
        ["label", "best layer" if only_best else "layer", "measure", *scores],
        rows,
        note="On positions that the probe was not fitted to. Chance: the score for labels shifted "
        "along the text. Symbol alone: the score from the symbol read, without the layer. Control: "
        "the score for labels drawn at random for each symbol; selectivity is score minus control.",
        formats=dict.fromkeys(scores, ".2f"),
    )


# ---- gates --------------------------------------------------------------------------------------


def gate_table(gates: Sequence[GateFindings]) -> Table:
    """How open each gate is, how often it is stuck, and how long it keeps."""
    rows: list[list[Cell]] = []
    for g in gates:
        lives = None if g.gate.half_lives is None else quartiles(g.gate.half_lives)
        memory = (lives[2], lives[4]) if lives else (None, None)
        stuck = (100 * g.gate.always_open, 100 * g.gate.always_shut)
        rows.append([g.name, g.values.shape[1], g.gate.mean, *stuck, *memory])
    return Table(
        "Gates",
        ["gate", "units", "mean", "% open", "% shut", "median half-life", "longest half-life"],
        rows,
        note="% open: the units above 0.9 at nine tenths of the positions or more; % shut: those "
        "below 0.1. Half-life: symbols after which half of what a unit holds is left, for gates "
        "that decide what is kept.",
        formats={
            "mean": ".2f",
            "% open": ".0f",
            "% shut": ".0f",
            "median half-life": ".1f",
            "longest half-life": ".3g",
        },
    )


# ---- attention ----------------------------------------------------------------------------------


def head_table(heads: Sequence[tuple[MapFindings, NamedHead]]) -> Table:
    """What each head attends to."""
    rows: list[list[Cell]] = []
    for m, h in heads:
        best = h.scores[0] if h.scores else None
        scores = (None, None) if best is None else (best.score, best.chance)
        entropy = f"{h.entropy:.2f} of {h.even_entropy:.2f}"
        rows.append([m.name, str(h.index), head_name(h), *scores, entropy, _distance(h)])
    note = (
        "Pattern: what the head attends to more than chance explains; in parentheses, the nearest "
        "pattern of a head without one. Score: mean weight on the positions of the pattern; "
        "chance: the same for uniform attention over the positions that the query may see. "
        "Entropy in bits and distance in symbols, each beside that of uniform attention"
    )
    is_cross = any(h.monotone is not None for _, h in heads)
    return Table(
        "Attention heads",
        ["layer", "head", "pattern", "score", "chance", "entropy", "distance"],
        rows,
        note=note + ("; monotone: the correlation of the two positions." if is_cross else "."),
        formats={"score": ".2f", "chance": ".2f"},
    )


def _distance(head: NamedHead) -> str:
    if head.monotone is not None:
        return f"monotone {head.monotone:+.2f}"
    return f"{head.distance:.1f} of {head.even_distance:.1f}"


def head_name(head: NamedHead) -> str:
    """The patterns of a head; in parentheses the nearest one if none is above chance."""
    if head.names:
        return ", ".join(head.names[:3])
    return f"({head.scores[0].pattern})" if head.scores else "(too little text)"
