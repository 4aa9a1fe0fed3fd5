"""Text for a terminal: how wide it is, and how control characters are shown.

Knows characters and columns of a terminal; no result.
"""

import unicodedata

_MARKS = {"\n": "↵", "\t": "→", "\r": "␍"}


def visible(piece: str) -> str:
    """A text on one line, as wide as it is; an end that has no text is seen as one."""
    shown = "".join(_MARKS.get(c, c if c.isprintable() else "·") for c in piece)
    return shown or "∎"


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
