"""An inspection as plain text, for a terminal: with colours where it shows them.

Under every line of the text stands its surprise, a bar for each symbol that is one step higher
for each bit; in colours the symbols themselves are shaded. Then follow the most surprising
symbols with what was expected, and what was found in each layer.

Knows findings, and how wide characters are; nothing is computed here.
"""

from collections.abc import Iterable, Iterator, Sequence

from seriatim.analysis.inspect.as_json import quartiles
from seriatim.analysis.inspect.findings import (
    Findings,
    GateFindings,
    MapFindings,
    OrderFindings,
    StateFindings,
)
from seriatim.analysis.inspect.head_names import NamedHead
from seriatim.analysis.inspect.probes import Neuron, Probe
from seriatim.report.terminal import display_width, text_table, visible

_BARS = "▁▂▃▄▅▆▇█"
_SHADES = (None, 230, 223, 216, 209, 202)  # of the 256 colours: from white to red
_SHADE_BITS = 1.5  # each shade is so many more
_TOLD = 0.9  # from this score on, the symbol alone tells the label
_HEADS = 8  # of a layer; of more only those with a name are listed
_CONTEXT = 24  # characters before a surprising symbol


def summary(
    found: Findings, *, width: int = 88, is_coloured: bool = False, most_symbols: int = 400
) -> str:
    """Everything that was found, in lines.

    Args:
        found: the findings.
        width: of a line, in columns.
        is_coloured: shade symbols by ANSI colours; else bars stand under them.
        most_symbols: of the text that are shown one by one.
    """
    parts = [_head(found)]
    if found.bits is not None:
        parts += [_surprise(found, width, is_coloured, most_symbols), _surprising(found)]
    parts += [
        _section("Matched context", [line for o in found.orders for line in _order(o)]),
        _section("States", [line for s in found.states for line in _state(s)]),
        _section("Neurons", _neurons(found.states)),
        _section("What a linear probe reads", _probes(found.states)),
        _section("Gates", [_gate(g) for g in found.gates]),
        _section("Attention heads", [line for m in found.maps for line in _heads(m)]),
        _section("Notes", found.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(found: Findings) -> str:
    count = sum(len(p.targets) or len(p.read.symbols) for p in found.passages)
    line = f"{found.title}: {count:,} symbols"
    if found.bits is not None:
        line += f", {found.bits:.3f} bits per symbol"
    return line


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)]) if lines else ""


# ---- surprise -----------------------------------------------------------------------------------


def _surprise(found: Findings, width: int, is_coloured: bool, most: int) -> str:
    lines, left, total = [], most, 0
    orders = iter(found.orders[0].orders.tolist() if found.orders else ())
    for p in found.passages:
        if p.bits is None:
            continue
        total += len(p.bits)
        cells = list(zip(p.target_pieces, p.bits.tolist(), strict=True))[:left]
        left -= len(cells)
        for row in _rows(cells, width):
            lines += [_shaded(row)] if is_coloured else _barred(row)
            if found.orders:
                lines.append(_digits(row, orders))
    key = "darker: more bits" if is_coloured else f"{_BARS[0]} under 1 bit .. {_BARS[-1]} 7 or more"
    if found.orders:
        key += "; below: symbols of context that were matched"
    title = f"Surprise of every symbol ({key})"
    if total > most:
        title = f"Surprise of the first {most:,} of {total:,} symbols ({key})"
    return "\n".join([title, *lines])


def _rows(cells: Iterable[tuple[str, float]], width: int) -> Iterable[list[tuple[str, float]]]:
    """Lines of (what is shown, bits): they end at line ends, and at the width."""
    row: list[tuple[str, float]] = []
    used = 0
    for piece, bits in cells:
        text = visible(piece)
        size = display_width(text)
        if row and used + size > width:
            yield row
            row, used = [], 0
        row.append((text, bits))
        used += size
        if piece.endswith("\n"):
            yield row
            row, used = [], 0
    if row:
        yield row


def _barred(row: Sequence[tuple[str, float]]) -> list[str]:
    bars = "".join(_BARS[_step(bits, len(_BARS))] * display_width(text) for text, bits in row)
    return ["".join(text for text, _ in row), bars]


def _step(bits: float, count: int) -> int:
    """Which of so many steps; a symbol of probability 0 costs infinitely many bits."""
    return int(max(0.0, min(bits, count - 1.0)))


def _digits(row: Sequence[tuple[str, float]], orders: Iterator[int]) -> str:
    return "".join(
        (str(min(order, 9)) * display_width(text))
        for (text, _), order in zip(row, orders, strict=False)
    )


def _shaded(row: Sequence[tuple[str, float]]) -> str:
    parts = []
    for text, bits in row:
        shade = _SHADES[_step(bits / _SHADE_BITS, len(_SHADES))]
        parts.append(text if shade is None else f"\x1b[38;5;16;48;5;{shade}m{text}\x1b[0m")
    return "".join(parts)


def _surprising(found: Findings) -> str:
    rows = [["at", "after", "came", "bits", "expected"]]
    for i, t in found.most_surprising(10):
        p = found.passages[i]
        before = visible("".join(p.target_pieces[max(0, t - _CONTEXT) : t]) or "\0")[-_CONTEXT:]
        before = "(beginning)" if t == 0 else before
        place = f"{t:,}" if len(found.passages) == 1 else f"{i + 1}:{t}"
        others = ", ".join(f"{s} {q:.2f}" for s, q in (p.alternatives[t] if p.alternatives else ()))
        bits = float(p.bits[t]) if p.bits is not None else 0.0
        rows.append([place, before, p.targets[t], f"{bits:.1f}", others])
    return _section("Most surprising", text_table(rows, left=(1, 2, 4)).splitlines())


# ---- layers -------------------------------------------------------------------------------------


def _state(s: StateFindings) -> list[str]:
    lives = quartiles(s.trajectory.unit_half_lives)
    line = f"{s.name}: {s.size} units, half-life {symbols(s.trajectory.half_life)}"
    if lives is not None:
        line += f" (single units {lives[0]:.1f} to {lives[-1]:.1f}, the middle one {lives[2]:.1f})"
    shares = s.trajectory.shares
    speed = s.trajectory.speed[1:]
    moves = f"; a step is {float(speed.mean()):.2f} of its spread" if len(speed) else ""
    return [line, f"  two directions hold {100 * sum(shares):.0f} % of its variance{moves}"]


def symbols(half_life: float | None) -> str:
    """A half-life for people."""
    return "not reached in this text" if half_life is None else f"{half_life:.1f} symbols"


def named_neurons(states: Sequence[StateFindings]) -> list[tuple[str, Neuron]]:
    """(layer, neuron) of all that were named, the largest |r| first.

    Labels that the symbol read tells by itself, such as upper case, come last: to follow them
    takes no memory.
    """
    told = {p.label for s in states for p in s.probes if p.by_symbol >= _TOLD}
    found = [(s.name, n) for s in states for n in s.neurons if n.is_named]
    return sorted(found, key=lambda pair: (pair[1].label in told, -abs(pair[1].correlation)))


def best_neurons(states: Sequence[StateFindings], each: int) -> list[tuple[str, Neuron]]:
    """The named neurons, at most `each` for one label."""
    counts: dict[str, int] = {}
    kept = []
    for name, neuron in named_neurons(states):
        counts[neuron.label] = counts.get(neuron.label, 0) + 1
        if counts[neuron.label] <= each:
            kept.append((name, neuron))
    return kept


def _neurons(states: Sequence[StateFindings]) -> list[str]:
    if not any(s.neurons for s in states):
        return []
    best = best_neurons(states, 3)
    if not best:
        return ["no neuron follows any of the labels more than luck would have it"]
    rows = [["follows", "layer", "unit", "r", "p"]]
    order = list(dict.fromkeys(n.label for s in states for n in s.neurons))
    best.sort(key=lambda pair: order.index(pair[1].label))
    for name, n in best:
        rows.append([n.label, name, str(n.index), f"{n.correlation:+.2f}", f"{n.p_value:.2g}"])
    return text_table(rows, left=(0, 1)).splitlines()


def _probes(states: Sequence[StateFindings]) -> list[str]:
    """For every label the layer that it is read from best; the page has them all."""
    best: dict[str, tuple[str, Probe]] = {}
    for s in states:
        for p in s.probes:
            if p.label not in best or p.score > best[p.label][1].score:
                best[p.label] = (s.name, p)
    rows = [["label", "best layer", "measure", "score", "chance", "symbol alone", "selectivity"]]
    for name, p in best.values():
        figures = (p.score, p.chance, p.by_symbol, p.selectivity)
        rows.append([p.label, name, p.measure, *(f"{x:.2f}" for x in figures)])
    return text_table(rows, left=(0, 1, 2)).splitlines() if len(rows) > 1 else []


def _gate(g: GateFindings) -> str:
    line = (
        f"{g.name}: {g.gate.mean:.2f} open on average; of {g.values.shape[1]} units "
        f"{100 * g.gate.always_open:.0f} % nearly always open, "
        f"{100 * g.gate.always_shut:.0f} % nearly always shut"
    )
    if g.gate.half_lives is not None:
        lives = quartiles(g.gate.half_lives)
        if lives is not None:
            line += (
                f"; what is kept is halved after {lives[2]:.1f} symbols in the middle unit, "
                f"{lives[-1]:.0f} in the slowest"
            )
    return line


def _heads(m: MapFindings) -> list[str]:
    if not m.heads:
        return []
    shown = [h for h in m.heads if h.names] if len(m.heads) > _HEADS else m.heads
    rows = [["head", "is", "score", "chance", "entropy", "of", "distance", "of"]]
    for h in shown:
        best = h.scores[0] if h.scores else None
        figures = ["", ""] if best is None else [f"{best.score:.2f}", f"{best.chance:.2f}"]
        entropies = [f"{h.entropy:.2f}", f"{h.even_entropy:.2f}"]
        rows.append([str(h.index), head_name(h), *figures, *entropies, *_distances(h)])
    lines = [f"  {line}" for line in text_table(rows, left=(1,)).splitlines()] if shown else []
    if len(shown) < len(m.heads):
        lines.append(f"  {len(m.heads) - len(shown)} heads show no pattern above chance")
    return [m.name, *lines]


def head_name(h: NamedHead) -> str:
    """What a head is called."""
    if h.names:
        return ", ".join(h.names[:3])
    return f"(none; nearest {h.scores[0].pattern})" if h.scores else "(too little text)"


def _distances(h: NamedHead) -> list[str]:
    if h.distance is None or h.even_distance is None:
        return ["" if h.monotone is None else f"monotone {h.monotone:+.2f}", ""]
    return [f"{h.distance:.1f}", f"{h.even_distance:.1f}"]


def _order(o: OrderFindings) -> list[str]:
    total = sum(m.positions for m in o.table)
    rows = [["symbols matched", "positions", "share", "bits per symbol", "of it for backing off"]]
    for m in o.table:
        shown = ["" if bits is None else f"{bits:.2f}" for bits in (m.bits, m.backoff)]
        rows.append(
            [str(m.order), f"{m.positions:,}", f"{100 * m.positions / total:.1f} %", *shown]
        )
    return text_table(rows, left=()).splitlines()


def path_of(o: OrderFindings, position: int) -> str:
    """How one probability was found: bits at every length of context, down to the match."""
    return " → ".join(f"{m}: {bits:+.2f}" for m, bits in o.steps(position))
