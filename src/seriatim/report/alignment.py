"""An alignment as a picture: plain SVG, without any library.

Knows names and weights; no model.
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

_CELL, _FONT, _WIDE = 22, 13, 9  # pixels: a square, the height of a letter, its greatest width
_INK = "#1f3a5f"


def alignment_svg(
    source: Sequence[str], target: Sequence[str], weights: NDArray[np.float32]
) -> str:
    """The source from left to right, the target from top to bottom; darker squares weigh more.

    Args:
        source: (S,) names.
        target: (L,) names.
        weights: (L, S) in [0, 1]; each square has its weight as a tooltip.
    """
    left = 12 + _WIDE * max(map(len, target), default=0)
    top = 12 + _WIDE * max(map(len, source), default=0)
    width, height = left + _CELL * len(source) + 8, top + _CELL * len(target) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="{_FONT}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for s, name in enumerate(source):
        x, y = left + _CELL * s + 16, top - 6
        parts.append(f'<text transform="translate({x},{y}) rotate(-90)">{escape(name)}</text>')
    for t, name in enumerate(target):
        y = top + _CELL * t + 16
        parts.append(f'<text x="{left - 6}" y="{y}" text-anchor="end">{escape(name)}</text>')
        for s, weight in enumerate(weights[t].tolist()):
            position = f'x="{left + _CELL * s}" y="{top + _CELL * t}"'
            size = f'width="{_CELL - 1}" height="{_CELL - 1}"'
            tip = f"{escape(target[t])} attends to {escape(source[s])}: {weight:.2f}"
            parts.append(
                f'<rect {position} {size} fill="{_INK}" fill-opacity="{max(weight, 0.03):.2f}">'
                f"<title>{tip}</title></rect>"
            )
    return "\n".join([*parts, "</svg>", ""])
