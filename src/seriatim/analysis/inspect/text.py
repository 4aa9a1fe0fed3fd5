"""An inspection as plain text for a terminal, with colours where the terminal shows them.

Below every line of the text is its surprisal, a bar for each symbol that is one step higher
for each bit; in colours the symbols themselves are shaded. Then follow the most surprising
symbols, what was expected instead, and the findings of each layer.

Knows findings and their tables; nothing is computed here.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from seriatim.analysis.inspect.findings import Findings, MapFindings
from seriatim.analysis.inspect.tables import (
    gate_table,
    head_table,
    match_table,
    neuron_table,
    probe_table,
    state_table,
    surprising_table,
)
from seriatim.report.document import Report, Section
from seriatim.report.tables import Table
from seriatim.report.terminal import display_width, visible

_BARS = "▁▂▃▄▅▆▇█"
_SHADES = (None, 230, 223, 216, 209, 202)  # of the 256 colours: from white to red
_SHADE_BITS = 1.5  # bits from one shade to the next
_HEADS = 8  # in a layer with more heads, only those with a name are listed
_SURPRISING = 10

Row: TypeAlias = list[tuple[str, float]]  # (visible text of a symbol, bits)


def summary(
    findings: Findings, *, width: int = 88, is_coloured: bool = False, most_symbols: int = 400
) -> str:
    """All findings as lines of text.

    Args:
        findings: the findings.
        width: the columns of a line.
        is_coloured: whether symbols are shaded by ANSI colours instead of bars below them.
        most_symbols: the number of symbols that are shown one by one.
    """
    title = f"{findings.title}: {findings.num_symbols:,} symbols"
    sections: list[Section] = []
    if findings.bits is not None:
        title += f", {findings.bits:.3f} bits per symbol"
        sections.append(_surprisal(findings, width, is_coloured, most_symbols))
        sections.append(_section(surprising_table(findings, _SURPRISING)))
    states = findings.states
    sections += [_section(match_table(o)) for o in findings.orders]
    sections.append(_section(state_table(states)))
    if any(s.neurons for s in states):
        sections.append(_section(neuron_table(states), empty="No neuron follows any label."))
    sections.append(_section(probe_table(states, only_best=True)))
    sections.append(_section(gate_table(findings.gates)))
    sections.append(_heads(findings.maps))
    sections.append(Section("Notes", items=findings.notes))
    shown = [s for s in sections if s.has_content]
    return Report(title, "", shown).text(width=width)


def _section(table: Table, *, empty: str = "") -> Section:
    """A table under its own title; nothing, or a sentence, where it has no rows."""
    return Section(table.title, tables=[table]) if table.rows else Section(table.title, empty)


# ---- surprisal ----------------------------------------------------------------------------------


def _surprisal(findings: Findings, width: int, is_coloured: bool, most: int) -> Section:
    lines, left, total = [], most, 0
    orders = iter(findings.orders[0].orders.tolist() if findings.orders else ())
    for p in findings.passages:
        if p.bits is None:
            continue
        total += len(p.bits)
        cells = list(zip(p.target_pieces, p.bits.tolist(), strict=True))[:left]
        left -= len(cells)
        for row in _rows(cells, width):
            lines += [_shaded(row)] if is_coloured else _barred(row)
            if findings.orders:
                lines.append(_digits(row, orders))
    key = "darker: more bits" if is_coloured else f"{_BARS[0]} under 1 bit .. {_BARS[-1]} 7 or more"
    if findings.orders:
        key += "; digits: symbols of context matched"
    which = "every symbol" if total <= most else f"the first {most:,} of {total:,} symbols"
    return Section(f"Surprisal of {which} ({key})", preformatted="\n".join(lines))


def _rows(cells: Iterable[tuple[str, float]], width: int) -> Iterator[Row]:
    """Lines of (visible text, bits): they end at line ends and at the width."""
    row: Row = []
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


def _barred(row: Row) -> list[str]:
    bars = "".join(_BARS[_step(bits, len(_BARS))] * display_width(text) for text, bits in row)
    return ["".join(text for text, _ in row), bars]


def _step(bits: float, count: int) -> int:
    """The step of a scale of `count`; a symbol of probability 0 has infinitely many bits."""
    return int(max(0.0, min(bits, count - 1.0)))


def _digits(row: Row, orders: Iterator[int]) -> str:
    pairs = zip(row, orders, strict=False)
    return "".join(str(min(order, 9)) * display_width(text) for (text, _), order in pairs)


def _shaded(row: Row) -> str:
    parts = []
    for text, bits in row:
        shade = _SHADES[_step(bits / _SHADE_BITS, len(_SHADES))]
        parts.append(text if shade is None else f"\x1b[38;5;16;48;5;{shade}m{text}\x1b[0m")
    return "".join(parts)


# ---- attention ----------------------------------------------------------------------------------


def _heads(maps: Sequence[MapFindings]) -> Section:
    heads = [(m, h) for m in maps for h in m.heads]
    scored = [(m, h) for m, h in heads if h.scores]
    shown = [(m, h) for m, h in scored if h.names or len(m.heads) <= _HEADS]
    table = head_table(shown)
    hidden = {
        "heads show no pattern above chance": len(scored) - len(shown),
        "heads have too little text to be named": len(heads) - len(scored),
    }
    text = "\n\n".join(f"{count} {what}." for what, count in hidden.items() if count)
    return Section(table.title, text, tables=[table] if shown else [])
