"""A path through a plane, with names at as many of its points as there is room for.

Knows points in their order and how large letters are; not what the directions mean.
"""

from collections.abc import Sequence

from seriatim.report.charts import Point
from seriatim.report.plots import LIGHT, Plot, require
from seriatim.report.style import axis, finished, gradient
from seriatim.report.tables import Cell

_WIDTH, _HEIGHT = 260, 280  # pixels of the drawn part on a phone: elsewhere there is more room
_LETTER, _LINE = 9, 16
_RIGHT, _UP = 6, 7  # offset of a name from its point


def path_plot(points: Sequence[Point], title: str, caption: str, *, x: str, y: str) -> Plot:
    """Points joined in their order, shaded from first to last.

    Every point has a tooltip with its name; the name is also written beside it where it covers no
    other name.

    Args:
        points: the points in order; without all their values, nothing is drawn.
        title: the title of the plot.
        caption: how to read it.
        x, y: the names of the directions.
    """
    columns: list[str] = ["name", x, y]
    rows: list[list[Cell]] = [[p.name, p.x, p.y] for p in points]
    positions = [(p.x, p.y) for p in points if p.x is not None and p.y is not None]
    if len(positions) < max(2, len(points)):
        return Plot.empty(title, caption, columns, rows)
    alt = require("altair")
    labelled = _with_room([p.name for p in points], positions)
    records = [
        {"name": p.name, "x": p.x, "y": p.y, "at": i, "label": p.name if i in labelled else ""}
        for i, p in enumerate(points)
    ]
    base = alt.Chart(alt.InlineData(values=records)).encode(
        x=axis(alt.X, "x", x, "linear", [p[0] for p in positions]),
        y=axis(alt.Y, "y", y, "linear", [p[1] for p in positions]),
    )
    tips = [alt.Tooltip("at:Q", title="position"), alt.Tooltip("name:N", title="after")]
    scale = alt.Scale(scheme="viridis")
    shade = alt.Color("at:Q", title="from first to last", scale=scale, legend=gradient())
    line = base.mark_line(strokeWidth=1, opacity=0.4, color=LIGHT["muted"]).encode(order="at:Q")
    dot = base.mark_point(size=34, filled=True, opacity=1).encode(color=shade, tooltip=tips)
    text = base.mark_text(dx=_RIGHT, dy=-_UP, align="left").encode(text="label:N")
    spec = finished(alt.layer(line, dot, text), title, _HEIGHT)
    return Plot(title, caption, spec, columns, rows)


def _with_room(names: Sequence[str], positions: Sequence[tuple[float, float]]) -> set[int]:
    """The points whose name covers no name before it and stays within the frame."""
    columns = list(zip(*positions, strict=True))
    low, high = [min(c) for c in columns], [max(c) for c in columns]
    spread = [max(b - a, 1e-12) for a, b in zip(low, high, strict=True)]
    taken: list[tuple[float, float, float]] = []
    labelled = set()
    for i, (name, (x, y)) in enumerate(zip(names, positions, strict=True)):
        left = _RIGHT + _WIDTH * (x - low[0]) / spread[0]
        top = _HEIGHT * (1 - (y - low[1]) / spread[1]) - _UP
        right = left + _LETTER * len(name)
        if right > _WIDTH + _RIGHT or top < 0:
            continue
        if all(right < a or left > b or abs(top - t) > _LINE for a, b, t in taken):
            taken.append((left, right, top))
            labelled.add(i)
    return labelled
