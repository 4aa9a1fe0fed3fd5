"""A plot: a Vega-Lite spec, and the same figures as a table beside it.

Knows Altair, colours and how a plot becomes a picture; no model and no result: who has figures
calls one of the forms in `forms`. Altair and vl-convert (the extra `report`) are imported when a
plot is made or drawn, and not before; tables need neither.

A spec holds plain colours, those of `LIGHT`, so that it is a whole plot for any tool. A page that
is read in the dark puts others in their place, name by name.
"""

import base64
import html
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seriatim.errors import DataError, MissingExtraError
from seriatim.report.tables import Cell, table_html

# Okabe and Ito (2008): told apart by every common kind of colour blindness. Their yellow is left
# out, for it does not show on white; ink, which is black or white, takes its place.
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
PICTURE_WIDTH = 600  # pixels of a plot that fits itself to its page, where there is no page


def require(module: str) -> Any:
    """The module `altair` or `vl_convert`, or the sentence that says how to get it.

    Raises:
        MissingExtraError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.replace("_", "-")
        raise MissingExtraError(
            f'plots need the package {package}: pip install "seriatim[report]"'
        ) from None


def vega_lite_version() -> str:
    """The version of Vega-Lite, such as 6.4, that the installed Altair writes."""
    return ".".join(require("altair").SCHEMA_VERSION.removeprefix("v").split(".")[:2])


@dataclass(frozen=True)
class Key:
    """How one name is drawn: an entry of the legend that a page writes above a plot.

    Attributes:
        name: of the curve, point or colour.
        colour: as the spec writes it.
        shape: of its points.
        dash: of its line; empty: there is no line.
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
        caption: how to read it, in a sentence or two; also what is read aloud in its place.
        spec: Vega-Lite; empty where there is nothing to draw, and then the caption says so.
        columns: the head of the table.
        rows: its rows.
        keys: the legend, for a page: it writes its own, in as many lines as it takes. A picture
            has the legend that is in the spec.
    """

    title: str
    caption: str
    spec: Mapping[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    keys: Sequence[Key] = ()

    def picture(self, *, colours: Mapping[str, str] = LIGHT) -> dict[str, Any]:
        """The spec with its title, a width and a ground: a picture that stands by itself.

        Raises:
            DataError: there is nothing to draw.
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
        made = require("vl_convert").vegalite_to_svg(
            self.picture(colours=colours), vl_version=vega_lite_version(), allowed_base_urls=[]
        )
        return str(made)

    def png(
        self, path: str | Path, *, scale: float = 2.0, colours: Mapping[str, str] = LIGHT
    ) -> None:
        """Write the picture as PNG, `scale` dots for each pixel."""
        Path(path).write_bytes(png_bytes(self.picture(colours=colours), scale=scale))

    def _repr_html_(self) -> str:
        """For notebooks: a picture without scripts, its caption, and the table to unfold."""
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
    ) -> dict[str, Any]:
        """HTML with the table for a notebook; the spec itself or a PNG where they are asked for."""
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


def png_bytes(spec: Mapping[str, Any], *, scale: float = 2.0) -> bytes:
    """A whole Vega-Lite spec as PNG."""
    made = require("vl_convert").vegalite_to_png(
        dict(spec), vl_version=vega_lite_version(), scale=scale, allowed_base_urls=[]
    )
    return bytes(made)


def recoloured(spec: Mapping[str, Any], colours: Mapping[str, str]) -> dict[str, Any]:
    """A spec with other colours in place of its own; data and scales of numbers are let alone.

    Between the colours of a scale of numbers others are computed, so that they must be colours.

    Args:
        spec: Vega-Lite.
        colours: from one to the other, as the spec writes them.
    """

    def put(value: Any) -> Any:
        if isinstance(value, str):
            return colours.get(value, value)
        if isinstance(value, Mapping):
            kept = {"data", "datasets"}
            kept |= {"scale"} if value.get("type") == "quantitative" else set()
            return {k: v if k in kept else put(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [put(v) for v in value]
        return value

    made = put(spec)
    assert isinstance(made, dict)
    return made
