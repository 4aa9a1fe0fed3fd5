"""A plot: a Vega-Lite specification, and the same figures as a table beside it.

Knows Altair, colours and how a plot becomes a picture; no model and no result: `charts`,
`heat_maps`, `path_plots` and `text_map` make plots of figures. Altair and vl-convert (the extra
`report`) are imported when a plot is made or drawn, not before; tables need neither.

A specification has literal colours, those of `LIGHT`, so that any tool can draw it. A page in dark
mode replaces them name by name.
"""

import base64
import html
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from seriatim.core.extras import import_extra
from seriatim.core.records import Json
from seriatim.errors import DataError
from seriatim.report.tables import Cell, table_html

Spec: TypeAlias = dict[str, Any]  # Vega-Lite

# Okabe and Ito (2008): distinguishable with every common kind of colour blindness. Their yellow,
# invisible on white, is replaced by ink, which is black or white.
SERIES = ("blue", "vermilion", "green", "purple", "orange", "sky", "ink")
LIGHT = {
    "blue": "#0072b2",
    "vermilion": "#d55e00",
    "green": "#009e73",
    "purple": "#cc79a7",
    "orange": "#e69f00",
    "sky": "#56b4e9",
    "ink": "#1b1f24",
    "muted": "#59636e",
    "grid": "#d1d9e0",
    "paper": "#ffffff",
}
DARK = {
    **LIGHT,
    "blue": "#3a96d0",
    "vermilion": "#e8722a",
    "green": "#18b389",
    "ink": "#e6e9ec",
    "muted": "#a3adb8",
    "grid": "#3d444d",
    "paper": "#14171b",
}
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right")
DASHES: tuple[list[float], ...] = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
PICTURE_WIDTH = 600  # pixels of a plot as wide as its page, where there is no page


def require(module: str) -> Any:
    """The module `altair` or `vl_convert`.

    Raises:
        MissingExtraError: if it is not installed; the message says how to install it.
    """
    package = module.replace("_", "-")
    return import_extra(module, f'plots need the package {package}: pip install "seriatim[report]"')


def vega_lite_version() -> str:
    """The version of Vega-Lite that the installed Altair writes, such as 6.4."""
    return ".".join(require("altair").SCHEMA_VERSION.removeprefix("v").split(".")[:2])


@dataclass(frozen=True)
class LegendEntry:
    """How one name is drawn: an entry of the legend that a page writes above a plot.

    Attributes:
        name: the name of the curve, point or colour.
        colour: its colour as in the specification.
        shape: the shape of its points.
        dash: the dashes of its line; empty for no line.
    """

    name: str
    colour: str
    shape: str = "square"
    dash: Sequence[float] = ()


@dataclass(frozen=True)
class Plot:
    """One plot, and its figures as a table.

    Attributes:
        title: what is shown, in a few words.
        caption: how to read it, in a sentence or two; also what a screen reader reads.
        spec: the Vega-Lite specification; empty if there is nothing to draw, as the caption says.
        columns: the names of the table's columns.
        rows: the rows of the table.
        legend: the legend of a page, which may take several lines; a picture has the legend of the
            specification.
    """

    title: str
    caption: str
    spec: Spec
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    legend: Sequence[LegendEntry] = ()

    @classmethod
    def empty(
        cls, title: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]
    ) -> "Plot":
        """A plot without anything to draw; its caption says so."""
        return cls(title, f"{caption} There is nothing to show.".strip(), {}, columns, rows)

    def picture(self, *, colours: Mapping[str, str] = LIGHT) -> Spec:
        """The specification with title, width and background: a picture outside of a page.

        Raises:
            DataError: if there is nothing to draw.
        """
        if not self.spec:
            raise DataError(f"the plot '{self.title}' has no figures to draw: {self.caption}")
        spec = recoloured(self.spec, {LIGHT[name]: colours[name] for name in LIGHT})
        if spec.get("width") == "container":
            spec["width"] = PICTURE_WIDTH
        title = {
            "text": textwrap.wrap(self.title, 70),
            "anchor": "start",
            "frame": "bounds",
            "fontSize": 16,
            "color": colours["ink"],
            "offset": 12,
        }
        return {**spec, "title": title, "background": colours["paper"], "padding": 16}

    def svg(self, *, colours: Mapping[str, str] = LIGHT) -> str:
        """The picture as SVG."""
        svg = require("vl_convert").vegalite_to_svg(
            self.picture(colours=colours), vl_version=vega_lite_version(), allowed_base_urls=[]
        )
        return str(svg)

    def png(
        self, path: str | Path, *, scale: float = 2.0, colours: Mapping[str, str] = LIGHT
    ) -> None:
        """Write the picture as PNG with `scale` dots per pixel."""
        Path(path).write_bytes(png_bytes(self.picture(colours=colours), scale=scale))

    def _repr_html_(self) -> str:
        """For notebooks: a picture without scripts, its caption, and the folded table."""
        title, caption = html.escape(self.title), html.escape(self.caption)
        if not self.spec:
            return f"<p><strong>{title}</strong>: {caption}</p>"
        data = base64.b64encode(self.svg().encode()).decode()
        return (
            f'<figure style="margin:0"><img alt="{title}" style="max-width:100%" '
            f'src="data:image/svg+xml;base64,{data}"><figcaption>{caption}</figcaption>'
            f"<details><summary>Table</summary>{table_html(self.columns, self.rows)}</details>"
            "</figure>"
        )

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> Json:
        """HTML with the table for a notebook; on request the specification itself or a PNG."""
        version = vega_lite_version().split(".")[0]
        vega = f"application/vnd.vegalite.v{version}+json"
        makers: dict[str, Callable[[], Any]] = {
            "text/plain": lambda: f"{self.title}\n{self.caption}",
            "text/html": self._repr_html_,
            "image/png": lambda: base64.b64encode(png_bytes(self.picture())).decode(),
            vega: self.picture,
        }
        wanted = set(include or ("text/plain", "text/html")) - set(exclude or ())
        return {kind: make() for kind, make in makers.items() if kind in wanted}


def png_bytes(spec: Spec, *, scale: float = 2.0) -> bytes:
    """A whole Vega-Lite specification as PNG."""
    png = require("vl_convert").vegalite_to_png(
        spec, vl_version=vega_lite_version(), scale=scale, allowed_base_urls=[]
    )
    return bytes(png)


def recoloured(spec: Spec, colours: Mapping[str, str]) -> Spec:
    """A specification with its colours replaced; data and quantitative scales stay as they are.

    A quantitative scale interpolates between its colours, so they must stay literal colours.

    Args:
        spec: the specification.
        colours: the new colour for each old one, as written in the specification.
    """

    def replaced(key: str, value: Any, parent: Spec) -> Any:
        is_scale = key == "scale" and parent.get("type") == "quantitative"
        return value if key in ("data", "datasets") or is_scale else put(value)

    def put(value: Any) -> Any:
        if isinstance(value, str):
            return colours.get(value, value)
        if isinstance(value, dict):
            return {key: replaced(key, v, value) for key, v in value.items()}
        return [put(v) for v in value] if isinstance(value, (list, tuple)) else value

    return {key: replaced(key, value, spec) for key, value in spec.items()}
