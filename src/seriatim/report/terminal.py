"""Text for a terminal: how wide it is, and how control characters are shown.

Knows characters and columns of a terminal; no result.
"""

import unicodedata
from collections.abc import Collection, Sequence

_MARKS = {"\n": "↵", "\t": "→", "\r": "␍"}


def visible(piece: str) -> str:
    """A text on one line, as wide as it is; an end that has no text is seen as one."""
    shown = "".join(_MARKS.get(c, c if c.isprintable() else "·") for c in piece)
    return shown or "∎"


def display_width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def text_table(rows: Sequence[Sequence[str]], *, left: Collection[int] = (0,)) -> str:
    """Rows as aligned columns, two spaces apart.

    Args:
        rows: the cells; the first row is the head.
        left: the columns that are flush left; the others are flush right.
    """
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    return "\n".join(text_row(row, widths, left=left) for row in rows)


def text_row(cells: Sequence[str], widths: Sequence[int], *, left: Collection[int] = (0,)) -> str:
    """One row of a table with columns of these widths, two spaces apart; see `text_table`."""
    padded = []
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        padding = " " * (width - display_width(cell))
        padded.append(cell + padding if i in left else padding + cell)
    return "  ".join(padded).rstrip()


def count_noun(number: int, singular: str, plural: str = "") -> str:
    """A number with its noun: 1 line, 2 lines."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def format_duration(seconds: float) -> str:
    """Seconds for people: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def format_bytes(num_bytes: float) -> str:
    """Bytes for people: 512 B, 2.0 kB, 1.3 MB."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"
