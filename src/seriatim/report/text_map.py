"""A text whose symbols are shaded by a figure: surprise, a neuron, how much context was matched.

The form in which Karpathy, Johnson, Fei-Fei (2015) showed what single cells do. Knows how a text
is laid out in lines; not what the figures mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from seriatim.report.plots import Plot, require
from seriatim.report.style import NO_FIGURES, finished, is_finite, rounded
from seriatim.report.tables import Cell
from seriatim.report.terminal import display_width, visible

WIDTH = 64  # characters of a line
_ROW, _COLUMN = 22, 9  # pixels
_TEXT = "#111111"  # on every shade, by day and by night
_RISING = ("#ffffff", "#fde3c4", "#fdb574", "#f08a3c")
_BOTH = ("#7fb3e0", "#ffffff", "#f0a45c")


@dataclass(frozen=True)
class ShadedSymbol:
    """One symbol.

    Attributes:
        text: what stands there.
        value: its figure; None: no shade.
        tip: what is said of it beside the figure.
        is_last: of its sequence: the next symbol begins a line.
    """

    text: str
    value: float | None
    tip: str = ""
    is_last: bool = False


def text_heat_map(
    cells: Sequence[ShadedSymbol],
    title: str,
    caption: str,
    *,
    unit: str,
    tip_title: str = "expected",
    table_columns: Sequence[str] = (),
    table_rows: Sequence[Sequence[Cell]] = (),
) -> Plot:
    """A text in lines of `WIDTH` characters, each symbol on a ground as dark as its figure.

    Values on both sides of 0 get two colours with white at 0; others rise from white.

    Args:
        cells: the symbols in order.
        title: of the plot.
        caption: how to read it.
        unit: of the figures.
        tip_title: what the symbols' own words are.
        table_columns: of the table beside the plot; none: the symbols and figures themselves.
        table_rows: its rows.
    """
    if not table_columns:
        table_columns = ["symbol", unit]
        table_rows = [[visible(c.text), c.value] for c in cells]
    figures = [c.value for c in cells if is_finite(c.value)]
    if not figures:
        return Plot(title, f"{caption} {NO_FIGURES}".strip(), {}, table_columns, table_rows)
    alt = require("altair")
    records, rows = _laid_out(cells)
    low, high = min(figures), max(figures)
    steps = _even(low, max(high, low + 1e-9), len(_RISING))
    scale = alt.Scale(range=list(_RISING), domain=steps, interpolate="rgb")
    if low < 0 < high:
        reach = max(-low, high)
        scale = alt.Scale(range=list(_BOTH), domain=[-reach, 0, reach], interpolate="rgb")
    place = alt.X("begin:Q", axis=None, scale=alt.Scale(domain=[0, WIDTH], nice=False))
    tips = [alt.Tooltip("text:N", title="symbol"), alt.Tooltip("value:Q", title=unit)]
    if any(c.tip for c in cells):
        tips.append(alt.Tooltip("tip:N", title=tip_title))
    base = alt.Chart(alt.InlineData(values=records)).encode(
        y=alt.Y("row:O", axis=None, scale=alt.Scale(paddingInner=0, paddingOuter=0))
    )
    shade = alt.Color(
        "value:Q",
        title=unit,
        scale=scale,
        legend=alt.Legend(orient="top", direction="horizontal", gradientLength=160),
    )
    ground = base.mark_rect().encode(x=place, x2="end:Q", color=shade, tooltip=tips)
    text = base.mark_text(font="monospace", fontSize=14, color=_TEXT, baseline="middle").encode(
        x=alt.X("middle:Q", axis=None), text="text:N", tooltip=tips
    )
    spec = finished(alt.layer(ground, text), title, _ROW * rows)
    spec["width"] = _COLUMN * WIDTH
    return Plot(title, caption, spec, table_columns, table_rows)


def _even(low: float, high: float, count: int) -> list[float]:
    return [low + (high - low) * i / (count - 1) for i in range(count)]


def _laid_out(cells: Sequence[ShadedSymbol]) -> tuple[list[dict[str, Cell]], int]:
    """Each symbol's row and columns; and the number of rows."""
    records: list[dict[str, Cell]] = []
    row = used = 0
    for cell in cells:
        text = visible(cell.text)
        size = display_width(text)
        if used and used + size > WIDTH:
            row, used = row + 1, 0
        end = min(used + size, WIDTH)  # a symbol wider than a line is cut at its end
        record: dict[str, Cell] = {"row": row, "begin": used, "end": end, "text": text}
        record |= {"middle": (used + end) / 2, "value": rounded(cell.value)}
        records.append(record | ({"tip": cell.tip} if cell.tip else {}))
        used += size
        if cell.is_last or cell.text.endswith("\n"):
            row, used = row + 1, 0
    return records, row + (used > 0)
