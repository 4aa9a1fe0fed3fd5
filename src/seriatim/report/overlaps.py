"""What keeps a line plot honest where figures lie close together or far apart.

Curves that coincide are drawn inside one another, so that none hides another; lines of reference
that would squeeze everything else are said in a sentence instead. Knows figures only.
"""

import math
from collections.abc import Mapping, Sequence

from seriatim.report.style import is_finite
from seriatim.report.tables import without_negative_zero

_CLOSE = 0.006  # of the height of a plot: about the width of a line
_MOST = 0.8  # of the points of a curve: then it is hidden


def hidden_under(
    curves: Mapping[str, Mapping[float, float]], *, is_log: bool = False, least: float = 0.0
) -> dict[str, list[str]]:
    """The later curves that lie on each curve which they hide.

    Args:
        curves: y by x, by name, in the order in which they are drawn.
        is_log: whether distances are those of logarithms.
        least: the least span of the axis.
    """
    heights = {
        name: {x: math.log(y) if is_log else y for x, y in points.items() if y > 0 or not is_log}
        for name, points in curves.items()
    }
    drawn = [y for points in heights.values() for y in points.values()]
    if not drawn:
        return {}
    near = _CLOSE * max(max(drawn) - min(drawn), least)
    names, hidden = list(heights), {}
    for i, name in enumerate(names):
        on_top = [b for b in names[i + 1 :] if _is_covered(heights[name], heights[b], near)]
        if on_top:
            hidden[name] = on_top
    return hidden


def _is_covered(a: Mapping[float, float], b: Mapping[float, float], near: float) -> bool:
    same = sum(1 for x, y in a.items() if x in b and abs(y - b[x]) <= near)
    return bool(a) and same >= _MOST * len(a)


def hidden_sentence(hidden: Mapping[str, Sequence[str]]) -> str:
    """Which lines coincide, in words; "" if none do."""
    if not hidden:
        return ""
    groups: list[list[str]] = []
    for name, on_top in hidden.items():
        if not any(name in group for group in groups):
            groups.append([name, *on_top])
    listed = "; ".join(", ".join(group) for group in groups)
    return (
        f" Lines that coincide are drawn on top of one another, the widest at the bottom: {listed}."
    )


def split_references(
    references: Mapping[str, float], values: Sequence[float], *, spreads: float = 1.0
) -> tuple[dict[str, float], str]:
    """The references that are near enough to the values to be drawn, and a sentence of the others.

    Args:
        references: the values to compare with, by name.
        values: the values that are drawn.
        spreads: how far above the greatest value is near, as a multiple of their spread.
    """
    finite = {name: value for name, value in references.items() if is_finite(value)}
    if not finite or not values:
        return {}, ""
    low, high = min(values), max(values)
    spread = max(high - low, 0.1 * abs(high))
    near = {n: v for n, v in finite.items() if low - spread <= v <= high + spreads * spread}
    far = [f"{reference_label(n, v)}" for n, v in finite.items() if n not in near]
    return near, f" Off the scale: {', '.join(far)}." if far else ""


def reference_label(name: str, value: float) -> str:
    """The name of a reference with its value, as it is written beside its line."""
    return f"{name} {without_negative_zero(f'{value:.2f}')}"
