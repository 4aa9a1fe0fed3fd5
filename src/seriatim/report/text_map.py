"""A text whose symbols are shaded by a value: surprisal, a neuron, the length of matched context.

This is how Karpathy, Johnson, Fei-Fei (2015) showed what single cells do. Knows how a text is
laid out in lines; not what the values mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seriatim.report.plots import Plot, Spec, require
from seriatim.report.style import finished, is_finite, rounded
from seriatim.report.tables import Cell, Table
from seriatim.report.terminal import display_width, visible

WIDTH = 64  # characters of a line
_ROW, _COLUMN = 22, 9  # pixels
_TEXT = "#111111"  # readable on every shade, in light and dark pages
_SEQUENTIAL = ("#ffffff", "#fde3c4", "#fdb574", "#f08a3c")
_DIVERGING = ("#7fb3e0", "#ffffff", "#f0a45c")


@dataclass(frozen=True)
class ShadedSymbol:
    """One symbol of the text.

    Attributes:
        text: the text of the symbol.
        value: the value that shades it; None for no shade.
        tip: what its tooltip says besides the value.
        is_last: whether it ends its sequence, so that the next symbol begins a line.
    """

    text: str
    value: float | None
    tip: str = ""
    is_last: bool = False


def text_heat_map(
    symbols: Sequence[ShadedSymbol],
    title: str,
    caption: str,
    *,
    unit: str,
    tip_title: str = "expected",
    table: Table | None = None,
) -> Plot:
    """A text in lines of `WIDTH` characters; the background of a symbol is as dark as its value.

    Values on both sides of 0 get two colours with white at 0; others rise from white.

    Args:
        symbols: the symbols in order.
        title: the title of the plot.
        caption: how to read it.
        unit: the name or unit of the values.
        tip_title: the name of the symbols' tips.
        table: the table beside the plot; by default the symbols and their values.
    """
    if table is None:
        table = Table("", ["symbol", unit], [[visible(s.text), s.value] for s in symbols])
    values = [s.value for s in symbols if is_finite(s.value)]
    if not values:
        return Plot.empty(title, caption, table.columns, table.rows)
    alt = require("altair")
    records, rows = _layout(symbols)
    position = alt.X("begin:Q", axis=None, scale=alt.Scale(domain=[0, WIDTH], nice=False))
    tips = [alt.Tooltip("text:N", title="symbol"), alt.Tooltip("value:Q", title=unit)]
    if any(s.tip for s in symbols):
        tips.append(alt.Tooltip("tip:N", title=tip_title))
    base = alt.Chart(alt.InlineData(values=records)).encode(
        y=alt.Y("row:O", axis=None, scale=alt.Scale(paddingInner=0, paddingOuter=0))
    )
    shade = alt.Color(
        "value:Q",
        title=unit,
        scale=_colour_scale(min(values), max(values)),
        legend=alt.Legend(orient="top", direction="horizontal", gradientLength=160),
    )
    background = base.mark_rect().encode(x=position, x2="end:Q", color=shade, tooltip=tips)
    text = base.mark_text(font="monospace", fontSize=14, color=_TEXT, baseline="middle").encode(
        x=alt.X("middle:Q", axis=None), text="text:N", tooltip=tips
    )
    spec: Spec = finished(alt.layer(background, text), title, _ROW * rows)
    spec = {**spec, "width": _COLUMN * WIDTH}
    return Plot(title, caption, spec, table.columns, table.rows)


def _colour_scale(low: float, high: float) -> Any:
    scale = require("altair").Scale
    if low < 0 < high:
        bound = max(-low, high)
        return scale(range=list(_DIVERGING), domain=[-bound, 0, bound], interpolate="rgb")
    high, last = max(high, low + 1e-9), len(_SEQUENTIAL) - 1
    steps = [low + (high - low) * i / last for i in range(last + 1)]
    return scale(range=list(_SEQUENTIAL), domain=steps, interpolate="rgb")


def _layout(symbols: Sequence[ShadedSymbol]) -> tuple[list[dict[str, Cell]], int]:
    """The row and columns of each symbol, and the number of rows."""
    records: list[dict[str, Cell]] = []
    row = used = 0
    for symbol in symbols:
        text = visible(symbol.text)
        width = display_width(text)
        if used and used + width > WIDTH:
            row, used = row + 1, 0
        end = min(used + width, WIDTH)  # a symbol wider than a line is cut at its end
        record: dict[str, Cell] = {"row": row, "begin": used, "end": end, "text": text}
        record |= {"middle": (used + end) / 2, "value": rounded(symbol.value)}
        records.append(record | ({"tip": symbol.tip} if symbol.tip else {}))
        used += width
        if symbol.is_last or symbol.text.endswith("\n"):
            row, used = row + 1, 0
    return records, row + (used > 0)
