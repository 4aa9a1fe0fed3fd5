"""Tables as data, as HTML and as text.

Knows cells and how numbers are rounded for people; no result and no page around the table.
"""

import html
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from seriatim.report.terminal import text_table

Cell: TypeAlias = str | int | float | None

_DOT = re.compile(r"(?<=\w)\.(?=[a-z])")  # of a layer's name, which may be broken there


@dataclass(frozen=True)
class Table:
    """Rows of figures under a head.

    Attributes:
        title: the heading above the table; "" for none.
        columns: the names of the columns.
        rows: the rows, one cell for each column.
        note: what a reader should know about the figures.
        formats: format specifications by column, such as ".2f"; other columns have four
            significant digits.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)

    def html(self, *, has_title: bool = True) -> str:
        """The table with its title and its note; it scrolls sideways where it is too wide.

        Args:
            has_title: whether the title is shown, or only read out, as under the same heading.
        """
        name = html.escape(self.title)
        title = f"<h3>{name}</h3>\n" if has_title and name else ""
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        return (
            f'{title}<div class="scroll" role="region" tabindex="0" aria-label="{name}">'
            f"\n{table_html(self.columns, self.rows, self.formats)}\n</div>\n{note}"
        )

    def text(self) -> str:
        """Aligned columns, numbers flush right, without title and note."""
        numeric = _numeric_columns(self.columns, self.rows)
        rows = [self.columns, *(_formatted(self.columns, row, self.formats) for row in self.rows)]
        return text_table(rows, left=[i for i in range(len(self.columns)) if i not in numeric])

    def _repr_html_(self) -> str:
        return self.html()


def format_cell(value: Cell, specification: str = "") -> str:
    """A figure for people: four significant digits, thousands separated, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, (str, bool)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "∞" if value > 0 else "–"
    if specification:
        return without_negative_zero(format(value, specification))
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.1f}"
    if size >= 0.001 or size == 0:
        return f"{value:z.4f}" if size < 1 else f"{value:.3f}"
    return f"{value:.2e}"


def without_negative_zero(figure: str) -> str:
    """A figure whose digits are all 0 without its minus: -0.0000 says nothing that 0 does not."""
    return figure if any(digit in figure for digit in "123456789") else figure.replace("-", "")


def _formatted(
    columns: Sequence[str], row: Sequence[Cell], formats: Mapping[str, str]
) -> list[str]:
    return [format_cell(v, formats.get(name, "")) for name, v in zip(columns, row, strict=True)]


def table_html(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    formats: Mapping[str, str] | None = None,
) -> str:
    """A table as HTML; columns of numbers are flush right, everything is escaped."""
    numeric = _numeric_columns(columns, rows)
    head = _row_html(columns, numeric, is_head=True)
    body = "\n".join(_row_html(_formatted(columns, row, formats or {}), numeric) for row in rows)
    return f"<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _row_html(row: Sequence[str], numeric: Collection[int], *, is_head: bool = False) -> str:
    cells = []
    for i, text in enumerate(row):
        tag = "th" if i == 0 or is_head else "td"
        scope = ' scope="col"' if is_head else ' scope="row"' if i == 0 else ""
        align = ' class="n"' if i in numeric else ""
        cells.append(f"<{tag}{scope}{align}>{_DOT.sub('.<wbr>', html.escape(text))}</{tag}>")
    return f"<tr>{''.join(cells)}</tr>"


def _numeric_columns(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> set[int]:
    """Columns without strings, which are flush right."""
    return {i for i in range(len(columns)) if not any(isinstance(row[i], str) for row in rows)}
