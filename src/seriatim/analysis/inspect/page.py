"""An inspection as a page: the text shaded by surprise, and what was found in each layer.

Knows findings and the forms of plots. Pictures show the beginning of the longest passage, as
many symbols as can be read; figures and tables are about all of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from seriatim.analysis.inspect.as_json import quartiles
from seriatim.analysis.inspect.findings import (
    Findings,
    GateFindings,
    MapFindings,
    OrderFindings,
    Passage,
    StateFindings,
)
from seriatim.analysis.inspect.gates import in_order
from seriatim.analysis.inspect.head_names import NamedHead
from seriatim.analysis.inspect.text import best_neurons, head_name, path_of, symbols
from seriatim.report.charts import Point, bar_plot, scatter_plot
from seriatim.report.document import Report, Section
from seriatim.report.heat_maps import heat_map
from seriatim.report.path_plots import path_plot
from seriatim.report.plots import Plot
from seriatim.report.tables import Cell, Table
from seriatim.report.terminal import visible
from seriatim.report.text_map import ShadedSymbol, text_heat_map

_TEXT = 640  # symbols of a shaded text
_TIME = 100  # of a heat map of gates
_UNITS = 24
_MAP = 32  # positions of a picture of attention
_PATH = 100  # of a trajectory
_LETTER, _WIDTH = 8, 380  # pixels of a letter, and of a plot beside another
_NAME = 12  # letters of a symbol on an axis
_NEURONS = 6  # pictures of neurons
_HEADS = 6  # pictures of maps
_PATHS = 4
_GATES = 6


def report_of(found: Findings) -> Report:
    """The whole page; sections of which there is nothing to say are left out."""
    sections = [
        _surprise(found),
        *[_orders(found, o) for o in found.orders],
        _neurons(found),
        _states(found),
        _gates(found),
        _heads(found),
    ]
    return Report(
        title=f"Inside {found.title}",
        lead=_lead(found),
        sections=[s for s in sections if s is not None],
        note="\n\n".join(found.notes),
    )


def _lead(found: Findings) -> str:
    count = sum(len(p.targets) or len(p.read.symbols) for p in found.passages)
    said = [f"{count:,} symbols were read."]
    if found.bits is not None:
        said.append(f"Each cost {found.bits:.2f} bits on average.")
    best = best_neurons(found.states, 1)
    if best:
        name, n = best[0]
        said.append(
            f"The neuron that follows the text best is unit {n.index} of {name}: {n.label}, "
            f"r = {n.correlation:+.2f}."
        )
    named = [(m.name, h) for m in found.maps for h in m.heads if h.names]
    if found.maps:
        total = sum(len(m.heads) for m in found.maps)
        said.append(f"{len(named)} of {total} attention heads show a pattern above chance.")
    return " ".join(said)


# ---- surprise -----------------------------------------------------------------------------------


def _expected(p: Passage, t: int) -> str:
    return ", ".join(f"{s} {q:.2f}" for s, q in (p.alternatives[t] if p.alternatives else ()))


def _surprise(found: Findings) -> Section | None:
    total = sum(0 if p.bits is None else len(p.bits) for p in found.passages)
    if not total:
        return None
    cells = [
        ShadedSymbol(piece, bits, _expected(p, t), is_last=t == len(p.targets) - 1)
        for p in found.passages
        if p.bits is not None
        for t, (piece, bits) in enumerate(zip(p.target_pieces, p.bits.tolist(), strict=True))
    ][:_TEXT]
    rows: list[list[Cell]] = [[visible(c.text), c.value, c.tip] for c in cells[:_TIME]]
    plot = text_heat_map(
        cells,
        "Surprise of every symbol",
        "The darker the ground, the more bits the symbol cost; point at one to see what was "
        f"expected in its place. {_shown(len(cells), total)}",
        unit="bits",
        table_columns=["symbol", "bits", "expected"],
        table_rows=rows,
    )
    table_rows: list[list[Cell]] = []
    for i, t in found.most_surprising(12):
        q = found.passages[i]
        before = visible("".join(q.target_pieces[max(0, t - 20) : t])) if t else "(beginning)"
        bits = float(q.bits[t]) if q.bits is not None else None
        table_rows.append([before, q.targets[t], bits, _expected(q, t)])
    table = Table("Most surprising", ["after", "came", "bits", "expected"], table_rows)
    return Section(
        "Surprise",
        "A symbol of probability p costs -log2 p bits: 1 bit is a coin's toss, 10 bits one chance "
        "in a thousand.",
        plots=[plot],
        tables=[table],
    )


def _shown(shown: int, of: int) -> str:
    return "" if shown >= of else f"The first {shown:,} of {of:,} symbols are shown."


# ---- counting models ----------------------------------------------------------------------------


def _orders(found: Findings, o: OrderFindings) -> Section:
    total = max(1, len(o.orders))
    shares: list[tuple[str, float | None]] = [
        (f"{m.order} symbols", 100 * m.positions / total) for m in o.table
    ]
    rows: list[list[Cell]] = [
        [m.order, m.positions, 100 * m.positions / total, m.bits, m.backoff] for m in o.table
    ]
    share = replace(
        bar_plot(
            shares,
            "How much context had been seen before",
            "For how many positions the longest match had so many symbols. The shorter the match, "
            "the further the model had to back off, and the more that cost.",
            x="per cent of the positions",
            digits=1,
        ),
        columns=["symbols matched", "positions", "per cent", "bits per symbol", "for backing off"],
        rows=rows,
    )
    return Section("Matched context", "", plots=[share, _matched(found, o)])


def _matched(found: Findings, o: OrderFindings) -> Plot:
    pieces = [
        (piece, t == len(p.read.symbols) - 1)
        for p in found.passages
        for t, piece in enumerate(p.target_pieces or p.read.pieces)
    ][:_TEXT]
    cells = [
        ShadedSymbol(piece, float(o.orders[i]), path_of(o, i), is_last)
        for i, (piece, is_last) in enumerate(pieces)
    ]
    rows: list[list[Cell]] = [[visible(c.text), c.value, c.tip] for c in cells[:_TIME]]
    return text_heat_map(
        cells,
        "Matched context of every symbol",
        "The darker the ground, the more of the symbols before it were found, with it, in the "
        "training text. Point at one for its path: bits at each length of context, from the "
        f"longest that was known down to the match. {_shown(len(cells), len(o.orders))}",
        unit="symbols matched",
        tip_title="path",
        table_columns=["symbol", "symbols matched", "path in bits"],
        table_rows=rows,
    )


# ---- states -------------------------------------------------------------------------------------


def _neurons(found: Findings) -> Section | None:
    if not any(s.neurons for s in found.states):
        return None
    best = best_neurons(found.states, 3)
    rows: list[list[Cell]] = [
        [n.label, name, str(n.index), n.correlation, n.p_value]
        for name, n in sorted(best, key=lambda pair: pair[1].label)
    ]
    tables = []
    if rows:
        tables.append(
            Table(
                "Neurons that follow the text",
                ["follows", "layer", "unit", "r", "p"],
                rows,
                note="r: correlation over all positions. p: how often any neuron of the layer "
                "reaches it when the label is turned round the text.",
            )
        )
    order = list(dict.fromkeys(p.label for s in found.states for p in s.probes))
    probe_rows: list[list[Cell]] = [
        [p.label, s.name, p.measure, p.score, p.chance, p.by_symbol, p.control, p.selectivity]
        for label in order
        for s in found.states
        for p in s.probes
        if p.label == label
    ]
    if probe_rows:
        tables.append(
            Table(
                "What a linear probe reads from a whole layer",
                [
                    "label",
                    "layer",
                    "measure",
                    "score",
                    "chance",
                    "symbol",
                    "control",
                    "selectivity",
                ],
                probe_rows,
                note="On positions that the probe was not fitted to. Chance: the same for labels "
                "turned round the text. Symbol: from the symbol read alone, without the layer. "
                "Control: labels drawn once for each symbol; selectivity "
                "is what the score has above it.",
            )
        )
    said = (
        "Each neuron was held against what the text says by itself, and against the labels that "
        "were given. Named are those that follow a label more than luck would have it, at 5 % for "
        "a whole layer."
    )
    if not rows:
        said += " There is none."
    return Section("Neurons", said, plots=_neuron_plots(found), tables=tables)


def _neuron_plots(found: Findings) -> list[Plot]:
    """The text shaded by the best neuron of each label."""
    plots: list[Plot] = []
    drawn: set[tuple[str, int]] = set()
    for name, n in best_neurons(found.states, 1):
        if (name, n.index) in drawn or len(drawn) == _NEURONS:
            continue
        drawn.add((name, n.index))
        cells = [
            ShadedSymbol(piece, value, is_last=t == len(p.taps[name]) - 1)
            for p in found.passages
            for t, (piece, value) in enumerate(
                zip(p.side_of(name).pieces, p.taps[name][:, n.index].tolist(), strict=True)
            )
        ]
        total, cells = len(cells), cells[:_TEXT]
        plots.append(
            text_heat_map(
                cells,
                f"{name}, unit {n.index}: {n.label}",
                f"Its value after each symbol, r = {n.correlation:+.2f}. "
                f"{_shown(len(cells), total)}",
                unit="value",
            )
        )
    return plots


def _states(found: Findings) -> Section | None:
    if not found.states:
        return None
    rows: list[list[Cell]] = []
    for s in found.states:
        lives: Sequence[Cell] = quartiles(s.trajectory.unit_half_lives) or (None,) * 5
        speed = s.trajectory.speed[1:]
        rows.append(
            [
                s.name,
                s.size,
                symbols(s.trajectory.half_life),
                lives[2],
                lives[4],
                100 * sum(s.trajectory.shares),
                float(speed.mean()) if len(speed) else None,
            ]
        )
    table = Table(
        "How long a state stays as it is",
        ["layer", "units", "half-life", "middle unit", "slowest unit", "% in two", "speed"],
        rows,
        note="Half-life: symbols after which the autocorrelation of the state, or of a unit, has "
        "fallen to one half. % in two: of the variance, in two directions. Speed: the way from "
        "one symbol to the next, in units of the spread.",
    )
    drawn = _spread(found.states, _PATHS)
    said = (
        "Where the state goes while the text is read, seen along the two directions in which it "
        f"varies most.{_of('layers', len(drawn), len(found.states))}"
    )
    plots = [_path(found, s) for s in drawn]
    return Section("States", said, plots=plots, tables=[table], is_grid=True)


Found = TypeVar("Found")


def _spread(found: Sequence[Found], most: int) -> list[Found]:
    """At most so many, at even steps, the first and the last among them."""
    if len(found) <= most:
        return list(found)
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]


def _of(what: str, shown: int, total: int) -> str:
    return "" if shown == total else f" {shown} of {total} {what} are drawn."


def _path(found: Findings, s: StateFindings) -> Plot:
    p = max(found.passages, key=lambda q: len(q.taps[s.name]))
    names, places = p.side_of(s.name).names, s.trajectory.path[:_PATH].tolist()
    points = [
        Point(shortened(name), x, y) for name, (x, y) in zip(names[:_PATH], places, strict=True)
    ]
    first, second = (f"{100 * share:.0f} %" for share in s.trajectory.shares)
    return path_plot(
        points,
        f"Path of {s.name}",
        f"One point after each symbol. {_shown(len(points), len(names))}",
        x=f"first direction, {first} of the variance",
        y=f"second direction, {second}",
    )


# ---- gates --------------------------------------------------------------------------------------


def _gates(found: Findings) -> Section | None:
    if not found.gates:
        return None
    rows: list[list[Cell]] = []
    for g in found.gates:
        lives = None if g.gate.half_lives is None else quartiles(g.gate.half_lives)
        shares = (100 * g.gate.always_open, 100 * g.gate.always_shut)
        kept: list[Cell] = [None, None] if lives is None else [lives[2], lives[4]]
        rows.append([g.name, g.gate.mean, *shares, *kept])
    table = Table(
        "Gates",
        ["gate", "mean", "% open", "% shut", "middle half-life", "longest"],
        rows,
        note="% open: of the units, those above 0.9 for nine tenths of the text; % shut: below "
        "0.1. Half-life: symbols after which half of what a unit holds is left, where the gate "
        "says what is kept.",
    )
    keeping = [g for g in found.gates if g.gate.half_lives is not None]
    drawn = found.gates if len(found.gates) <= _GATES else _spread(keeping, _GATES)
    plots = [_saturation(_spread(found.gates, _GATES)), *(_over_time(g) for g in drawn)]
    return Section(
        "Gates",
        "A gate is a number between 0, shut, and 1, open, for every unit and symbol."
        + _of("gates", len(drawn), len(found.gates)),
        plots=plots,
        tables=[table],
    )


def _saturation(gates: Sequence[GateFindings]) -> Plot:
    points = [
        Point(g.name, float(shut), float(open_))
        for g in gates
        for shut, open_ in zip(g.gate.shut, g.gate.open, strict=True)
    ]
    return scatter_plot(
        points,
        "How often units are stuck",
        "One mark for each unit. In the upper left corner gates are always open, in the lower "
        "right one always shut; near the lower left one they are always in between.",
        x="share of the time that it is shut, below 0.1",
        y="share of the time that it is open, above 0.9",
    )


def _over_time(g: GateFindings) -> Plot:
    units = in_order(g.values, _UNITS)
    window = g.values[:_TIME, units].T
    plot = heat_map(
        window.tolist(),
        [shortened(name) for name in g.names[:_TIME]],
        [str(unit) for unit in units.tolist()],
        f"{g.name} over time",
        f"Each row is a unit, from the most shut to the most open, {len(units)} of "
        f"{g.values.shape[1]}; each column a symbol. {_shown(window.shape[1], len(g.values))}",
        y_title="unit",
        unit="how open",
    )
    figures = zip(units.tolist(), g.values.mean(0)[units].tolist(), strict=True)
    rows: list[list[Cell]] = [
        [str(unit), mean, float(g.gate.open[unit]), float(g.gate.shut[unit])]
        for unit, mean in figures
    ]
    return replace(plot, columns=["unit", "mean", "share open", "share shut"], rows=rows)


# ---- attention ----------------------------------------------------------------------------------


def _heads(found: Findings) -> Section | None:
    if not found.maps:
        return None
    rows: list[list[Cell]] = []
    for m in found.maps:
        for h in m.heads:
            best = h.scores[0] if h.scores else None
            figures: list[Cell] = [None, None] if best is None else [best.score, best.chance]
            way = h.distance if h.monotone is None else h.monotone
            rows.append([m.name, str(h.index), head_name(h), *figures, h.entropy, way])
    is_cross = any(h.monotone is not None for m in found.maps for h in m.heads)
    table = Table(
        "Heads",
        ["layer", "head", "is", "score", "chance", "entropy", "distance"],
        rows,
        note="Score: mean weight on what the name says; chance: that of uniform attention over "
        "what the query sees. Entropy in bits, distance in symbols"
        + ("; across two sequences the correlation of both positions." if is_cross else "."),
    )
    best_heads = sorted(
        ((m, h) for m in found.maps for h in m.heads),
        key=lambda pair: (not pair[1].names, -_excess(pair[1])),
    )
    plots = [_picture(m, h) for m, h in best_heads[:_HEADS]]
    return Section(
        "Attention",
        "A head is named where a pattern explains its weights well above chance.",
        plots=plots,
        tables=[table],
        is_grid=True,
    )


def _excess(h: NamedHead) -> float:
    return h.scores[0].excess if h.scores else 0.0


def _picture(m: MapFindings, h: NamedHead) -> Plot:
    weights = m.weights[h.index, :_MAP, :_MAP]
    plot = heat_map(
        weights.tolist(),
        [shortened(name) for name in m.keys[: weights.shape[1]]],
        [shortened(name) for name in m.queries[: weights.shape[0]]],
        f"{m.name}, head {h.index}: {head_name(h)}",
        "Each row is a symbol that looks, each column one that is looked at. "
        f"{_shown(weights.shape[0], m.weights.shape[1])}",
        x_title="looked at",
        y_title="looks",
        unit="weight",
        cell=12,
    )
    plot = _upright(plot)
    rows: list[list[Cell]] = [
        [s.pattern, s.score, s.chance, "yes" if s.is_named else "no"] for s in h.scores[:8]
    ]
    return replace(plot, columns=["pattern", "score", "chance", "named"], rows=rows)


def shortened(name: str) -> str:
    """A symbol's name for an axis: line ends by one sign, long words by their beginning."""
    name = {"\\n": "↵", "\\t": "→"}.get(name, name)
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _upright(plot: Plot) -> Plot:
    """With the names under the columns turned, where they have no room."""
    names = [p for p in plot.spec.get("params", []) if p.get("name") == "x_names"]
    shown = [name for p in names for name in p["value"]]
    if _LETTER * max(map(len, shown), default=0) < _WIDTH / max(1, len(shown)):
        return plot
    encoding = plot.spec["encoding"]
    place = encoding["x"]
    turned = {**place["axis"], "labelAngle": -60, "labelLimit": 100}
    x = {**place, "axis": turned}
    return replace(plot, spec={**plot.spec, "encoding": {**encoding, "x": x}})
