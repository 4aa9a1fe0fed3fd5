"""An inspection as a page: the text shaded by surprisal, and what was found in each layer.

Knows findings, their tables and the forms of plots. Plots show the beginning of the longest
passage, as many symbols as can be read; figures and tables cover all passages.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from seriatim.analysis.inspect.findings import (
    Findings,
    GateFindings,
    MapFindings,
    OrderFindings,
    StateFindings,
)
from seriatim.analysis.inspect.gates import ordered_units
from seriatim.analysis.inspect.head_names import NamedHead
from seriatim.analysis.inspect.tables import (
    backoff_path,
    best_neurons,
    expected,
    gate_table,
    head_name,
    head_table,
    match_table,
    neuron_table,
    probe_table,
    state_table,
    surprising_table,
)
from seriatim.report.charts import Point, bar_plot, scatter_plot
from seriatim.report.document import Report, Section
from seriatim.report.heat_maps import heat_map
from seriatim.report.path_plots import path_plot
from seriatim.report.plots import Plot
from seriatim.report.tables import Cell, Table
from seriatim.report.terminal import visible
from seriatim.report.text_map import ShadedSymbol, text_heat_map

T = TypeVar("T")

_TEXT = 640  # symbols of a shaded text
_TIME = 100  # symbols of a heat map of gates
_UNITS = 24  # units of a heat map of gates
_MAP = 24  # positions of a plot of attention
_PATH = 100  # symbols of a trajectory
_LETTER, _WIDTH = 8, 380  # pixels of a letter, and of a plot beside another
_NAME = 12  # letters of a symbol's name on an axis
_SURPRISING = 12  # rows of the table of surprising symbols
_NEURONS, _HEADS, _PATHS, _GATES = 6, 6, 4, 6  # plots of each kind


def inspection_page(findings: Findings) -> Report:
    """The whole page; sections without content are left out."""
    sections = [
        _surprisal(findings),
        *[_matches(findings, o) for o in findings.orders],
        _neurons(findings),
        _states(findings),
        _gates(findings.gates),
        _attention(findings.maps),
    ]
    return Report(
        title=f"Inside {findings.title}",
        lead=_lead(findings),
        sections=[s for s in sections if s is not None],
        note="\n\n".join(findings.notes),
    )


def _lead(findings: Findings) -> str:
    first = f"{findings.num_symbols:,} symbols were read."
    if findings.bits is not None:
        first += f" Each cost {findings.bits:.2f} bits on average."
    sentences = []
    best = best_neurons(findings.states, 1)
    if best:
        name, n = best[0]
        sentences.append(
            f"The neuron that follows the text best is unit {n.index} of {name}: {n.label}, "
            f"r = {n.correlation:+.2f}."
        )
    heads = [h for m in findings.maps for h in m.heads]
    if findings.maps:
        named = sum(bool(h.names) for h in heads)
        sentences.append(f"{named} of {len(heads)} attention heads show a pattern above chance.")
    return f"{first}\n\n{' '.join(sentences)}"


def _shown(shown: int, of: int) -> str:
    return "" if shown >= of else f"The first {shown:,} of {of:,} symbols are shown."


def _drawn(what: str, drawn: int, total: int) -> str:
    return "" if drawn == total else f" {drawn} of {total} {what} are drawn."


# ---- surprisal ----------------------------------------------------------------------------------


def _surprisal(findings: Findings) -> Section | None:
    total = sum(0 if p.bits is None else len(p.bits) for p in findings.passages)
    if not total:
        return None
    cells = [
        ShadedSymbol(piece, bits, expected(p, t), is_last=t == len(p.targets) - 1)
        for p in findings.passages
        if p.bits is not None
        for t, (piece, bits) in enumerate(zip(p.target_pieces, p.bits.tolist(), strict=True))
    ][:_TEXT]
    plot = text_heat_map(
        cells,
        "Surprisal of every symbol",
        "The stronger the colour, the more bits the symbol cost; point at a symbol to see what "
        f"was expected in its place. {_shown(len(cells), total)}",
        unit="bits",
        table=_cell_table(cells, "bits", "expected"),
    )
    return Section(
        "Surprisal",
        "A symbol of probability p costs -log2 p bits: 1 bit is the toss of a coin, 10 bits are "
        "one chance in a thousand.",
        plots=[plot],
        tables=[surprising_table(findings, _SURPRISING)],
    )


def _cell_table(cells: Sequence[ShadedSymbol], unit: str, tip: str) -> Table:
    rows: list[list[Cell]] = [[visible(c.text), c.value, c.tip] for c in cells[:_TIME]]
    return Table("", ["symbol", unit, tip], rows)


# ---- counting models ----------------------------------------------------------------------------


def _matches(findings: Findings, o: OrderFindings) -> Section:
    total = max(1, len(o.orders))
    rates: list[tuple[str, float | None]] = [
        (f"{m.order} symbols", 100 * m.positions / total) for m in o.table
    ]
    table = match_table(o)
    plot = bar_plot(
        rates,
        "How much of the context occurred in training",
        "Per cent of the positions whose longest match had so many symbols. The shorter the match, "
        "the further the model had to back off, and the more that cost.",
        x="per cent of the positions",
        digits=1,
    )
    plot = replace(plot, columns=table.columns, rows=table.rows)
    return Section("Matched context", "", plots=[plot, _matched_text(findings, o)])


def _matched_text(findings: Findings, o: OrderFindings) -> Plot:
    pieces = [
        (piece, t == len(p.read.symbols) - 1)
        for p in findings.passages
        for t, piece in enumerate(p.target_pieces or p.read.pieces)
    ][:_TEXT]
    cells = [
        ShadedSymbol(piece, float(o.orders[i]), backoff_path(o, i), is_last)
        for i, (piece, is_last) in enumerate(pieces)
    ]
    return text_heat_map(
        cells,
        "Matched context of every symbol",
        "The stronger the colour, the more of the symbols before it occurred in the training text "
        "together with it. Point at a symbol for its path: bits at each length of context, "
        f"from the longest known one down to the match. {_shown(len(cells), len(o.orders))}",
        unit="symbols matched",
        tip_title="path",
        table=_cell_table(cells, "symbols matched", "path in bits"),
    )


# ---- states -------------------------------------------------------------------------------------


def _neurons(findings: Findings) -> Section | None:
    if not any(s.neurons for s in findings.states):
        return None
    tables = [neuron_table(findings.states), probe_table(findings.states)]
    text = (
        "Each neuron was compared with what the text itself tells at every position, and with the "
        "labels that were given. Listed are those that follow a label more closely than chance "
        "explains, at the 5 % level for a whole layer."
    )
    if not tables[0].rows:
        text += " There are none."
    shown = [table for table in tables if table.rows]
    return Section("Neurons", text, plots=_neuron_plots(findings), tables=shown)


def _neuron_plots(findings: Findings) -> list[Plot]:
    """The text shaded by the best neuron of each label."""
    plots: dict[tuple[str, int], Plot] = {}
    for name, n in best_neurons(findings.states, 1):
        if (name, n.index) in plots or len(plots) == _NEURONS:
            continue
        cells = [
            ShadedSymbol(piece, value, is_last=t == len(p.taps[name]) - 1)
            for p in findings.passages
            for t, (piece, value) in enumerate(
                zip(p.side_of(name).pieces, p.taps[name][:, n.index].tolist(), strict=True)
            )
        ]
        plots[name, n.index] = text_heat_map(
            cells[:_TEXT],
            f"{name}, unit {n.index}: {n.label}",
            f"Its value after each symbol, r = {n.correlation:+.2f}. {_shown(_TEXT, len(cells))}",
            unit="value",
        )
    return list(plots.values())


def _states(findings: Findings) -> Section | None:
    if not findings.states:
        return None
    drawn = _spread(findings.states, _PATHS)
    text = (
        "How the state moves while the text is read, along the two directions in which it varies "
        f"most.{_drawn('layers', len(drawn), len(findings.states))}"
    )
    plots = [_path(findings, s) for s in drawn]
    tables = [state_table(findings.states)]
    return Section("States", text, plots=plots, tables=tables, is_grid=True)


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most `most` items at even steps, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _path(findings: Findings, s: StateFindings) -> Plot:
    p = max(findings.passages, key=lambda q: len(q.taps[s.name]))
    names, coordinates = p.side_of(s.name).names, s.trajectory.path[:_PATH].tolist()
    points = [
        Point(_axis_name(name), x, y)
        for name, (x, y) in zip(names[:_PATH], coordinates, strict=True)
    ]
    first, second = (f"{100 * fraction:.0f} %" for fraction in s.trajectory.variance_fractions)
    return path_plot(
        points,
        f"Path of {s.name}",
        f"One point after each symbol. {_shown(len(points), len(names))}",
        x=f"first direction, {first} of the variance",
        y=f"second direction, {second}",
    )


# ---- gates --------------------------------------------------------------------------------------


def _gates(gates: Sequence[GateFindings]) -> Section | None:
    if not gates:
        return None
    keeping = [g for g in gates if g.gate.half_lives is not None]
    drawn = gates if len(gates) <= _GATES else _spread(keeping, _GATES)
    return Section(
        "Gates",
        "A gate is a number between 0 (shut) and 1 (open) for every unit and symbol."
        + _drawn("gates", len(drawn), len(gates)),
        plots=[_saturation(_spread(gates, _GATES)), *(_over_time(g) for g in drawn)],
        tables=[gate_table(gates)],
    )


def _saturation(gates: Sequence[GateFindings]) -> Plot:
    points = [
        Point(g.name, float(shut), float(open_))
        for g in gates
        for shut, open_ in zip(g.gate.shut, g.gate.open, strict=True)
    ]
    return scatter_plot(
        points,
        "How often units are saturated",
        "One mark for each unit. Units in the upper left corner are always open, those in the "
        "lower right corner always shut; near the lower left corner they are always in between.",
        x="fraction of the time that it is shut, below 0.1",
        y="fraction of the time that it is open, above 0.9",
    )


def _over_time(g: GateFindings) -> Plot:
    units = ordered_units(g.values, _UNITS)
    window = g.values[:_TIME, units].T
    plot = heat_map(
        window.tolist(),
        [_axis_name(name) for name in g.names[:_TIME]],
        [str(unit) for unit in units.tolist()],
        f"{g.name} over time",
        f"Each row is a unit, from the most shut to the most open, {len(units)} of "
        f"{g.values.shape[1]}; each column is a symbol. {_shown(window.shape[1], len(g.values))}",
        y_title="unit",
        unit="how open",
    )
    means = zip(units.tolist(), g.values.mean(0)[units].tolist(), strict=True)
    rows: list[list[Cell]] = [
        [str(unit), mean, float(g.gate.open[unit]), float(g.gate.shut[unit])]
        for unit, mean in means
    ]
    columns = ["unit", "mean", "fraction open", "fraction shut"]
    return replace(plot, columns=columns, rows=rows)


# ---- attention ----------------------------------------------------------------------------------


def _attention(maps: Sequence[MapFindings]) -> Section | None:
    if not maps:
        return None
    heads = [(m, h) for m in maps for h in m.heads]
    best = sorted(heads, key=lambda pair: (not pair[1].names, -_excess(pair[1])))
    return Section(
        "Attention",
        "A head is named where a pattern explains its weights well above chance.",
        plots=[_map_plot(m, h) for m, h in best[:_HEADS]],
        tables=[head_table(heads)],
        is_grid=True,
    )


def _excess(h: NamedHead) -> float:
    return h.scores[0].excess if h.scores else 0.0


def _map_plot(m: MapFindings, h: NamedHead) -> Plot:
    weights = m.weights[h.index, :_MAP, :_MAP]
    # Where the future cannot be seen, its squares stay empty.
    is_causal = not bool(m.weights.triu(1).any())
    seen = [
        [weight if weight or j <= i or not is_causal else None for j, weight in enumerate(row)]
        for i, row in enumerate(weights.tolist())
    ]
    keys = [_axis_name(name) for name in m.keys[: weights.shape[1]]]
    plot = heat_map(
        seen,
        keys,
        [_axis_name(name) for name in m.queries[: weights.shape[0]]],
        f"{m.name}, head {h.index}: {head_name(h)}",
        "Each row is a query, the symbol that attends; each column is a key, a symbol attended to. "
        f"{_shown(weights.shape[0], m.weights.shape[1])}",
        x_title="key",
        y_title="query",
        unit="weight",
        cell=16,
        scale="sqrt",
        has_slanted_names=_LETTER * max(map(len, keys), default=0) >= _WIDTH / max(1, len(keys)),
    )
    rows: list[list[Cell]] = [
        [s.pattern, s.score, s.chance, "yes" if s.is_named else "no"] for s in h.scores[:8]
    ]
    return replace(plot, columns=["pattern", "score", "chance", "named"], rows=rows)


def _axis_name(name: str) -> str:
    """A symbol's name for an axis: line ends by one sign, long words by their beginning."""
    name = {"\\n": "↵", "\\t": "→"}.get(name, name)
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
