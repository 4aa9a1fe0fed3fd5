"""An alignment as a picture: plain SVG, without any library.

Knows names and weights; no model.
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from seriatim.report.plots import DARK, LIGHT

_CELL, _FONT, _WIDE = 22, 13, 9  # pixels: a square, the height of a letter, its greatest width


def alignment_svg(
    source: Sequence[str],
    target: Sequence[str],
    weights: NDArray[np.float32],
    *,
    is_dark: bool = False,
) -> str:
    """The source from left to right, the target from top to bottom; stronger squares weigh more.

    Args:
        source: (S,) names.
        target: (L,) names.
        weights: (L, S) in [0, 1]; each square has its weight as a tooltip.
        is_dark: whether the picture is for a dark page.
    """
    colours = DARK if is_dark else LIGHT
    description = f"Alignment of {len(source)} symbols read with {len(target)} symbols written"
    left = 12 + _WIDE * max(map(len, target), default=0)
    top = 12 + _WIDE * max(map(len, source), default=0)
    width, height = left + _CELL * len(source) + 8, top + _CELL * len(target) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="{_FONT}" '
        f'fill="{colours["ink"]}" role="img" aria-label="{description}">',
        f'<rect width="{width}" height="{height}" fill="{colours["paper"]}"/>',
    ]
    for s, name in enumerate(source):
        x, y = left + _CELL * s + 16, top - 6
        parts.append(f'<text transform="translate({x},{y}) rotate(-90)">{escape(name)}</text>')
    for t, name in enumerate(target):
        y = top + _CELL * t + 16
        parts.append(f'<text x="{left - 6}" y="{y}" text-anchor="end">{escape(name)}</text>')
        for s, weight in enumerate(weights[t].tolist()):
            shade = f'fill="{colours["blue"]}" fill-opacity="{max(weight, 0.03):.2f}"'
            position = f'x="{left + _CELL * s}" y="{top + _CELL * t}"'
            size = f'width="{_CELL - 1}" height="{_CELL - 1}"'
            tip = f"{escape(target[t])} attends to {escape(source[s])}: {weight:.2f}"
            parts.append(f"<rect {position} {size} {shade}><title>{tip}</title></rect>")
    return "\n".join([*parts, "</svg>", ""])
