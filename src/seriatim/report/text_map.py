"""A text whose symbols are shaded by a value: surprisal, a neuron, the length of matched context.

This is how Karpathy, Johnson, Fei-Fei (2015) showed what single cells do. Knows how a text is
laid out in lines; not what the values mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from seriatim.report.plots import Plot, Spec, require
from seriatim.report.style import finished, is_finite, rounded, shading
from seriatim.report.tables import Cell, Table
from seriatim.report.terminal import display_width, visible

WIDTH = 64  # characters of a line
_ROW, _COLUMN = 22, 9  # pixels
_DARKEST = 0.6  # opacity of a shade, on which letters can still be read in light and dark pages


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
    """A text in lines of `WIDTH` characters; the greater the value, the stronger the background.

    Values on both sides of 0 get two colours that fade towards 0; others get one.

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
    shades = shading(values, unit, "orange", most=_DARKEST, orient="top")
    has_two_signs = min(values) < 0 < max(values)
    background = (
        base.transform_filter("isValid(datum.value)")
        .transform_calculate(shade="abs(datum.value)" if has_two_signs else "datum.value")
        .mark_rect()
        .encode(x=position, x2="end:Q", color=shades.colour, opacity=shades.opacity, tooltip=tips)
    )
    text = base.mark_text(font="monospace", fontSize=14, baseline="middle").encode(
        x=alt.X("middle:Q", axis=None), text="text:N", tooltip=tips
    )
    spec: Spec = finished(alt.layer(background, text), title, _ROW * rows)
    spec = {**spec, "width": _COLUMN * WIDTH}
    return Plot(title, f"{caption}{shades.sentence}", spec, table.columns, table.rows)


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
