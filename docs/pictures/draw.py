"""The pictures of README and of the guide, from a comparison and its models' effective contexts.

    seriatim compare novels/ --minutes 3 --out compared/
    seriatim report compared/ unseen.txt
    python docs/pictures/draw.py compared/

Writes each picture in light and in dark colours; other files of this folder are not touched.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from seriatim.analysis.context.page import context_plots
from seriatim.analysis.context.result import ContextRecord
from seriatim.analysis.robustness.page import robustness_plots
from seriatim.analysis.robustness.result import Robustness
from seriatim.comparison.page import bits_plot, learning_plots
from seriatim.comparison.store import CONTEXT, ROBUSTNESS, load_analyses, read_result
from seriatim.report.plots import DARK, LIGHT, Plot, Spec, png_bytes

HERE = Path(__file__).parent
WIDTH, HEIGHT = 400, 280  # pixels of the drawn part of a plot beside another
_TITLE, _UNIT = 12, 22  # pixels from a title to what is below it, and of the unit above an axis
_AXIS = 80  # pixels between plots: room for the numbers of the second one's axis


def beside(plots: list[Plot], colours: dict[str, str]) -> Spec:
    """Plots in a row as one specification; their frames and their titles are level."""
    parts: list[Any] = []
    whole: Spec = {"datasets": {}, "params": []}
    for plot in plots:
        spec = {**plot.picture(colours=colours), "width": WIDTH, "height": HEIGHT}
        has_unit = '"axis": null' not in json.dumps(spec)  # rows of names have no axis
        offset = _TITLE if has_unit else _TITLE + _UNIT
        spec["title"] = {**spec["title"], "frame": "group", "offset": offset}
        whole |= {key: spec.pop(key) for key in ("background", "padding", "config", "$schema")}
        whole["params"] += spec.pop("params", [])
        names = {name: f"{name} {len(parts)}" for name in spec["datasets"]}
        whole["datasets"] |= {names[name]: rows for name, rows in spec.pop("datasets").items()}
        parts.append(_renamed(spec, names))
    scales = {"color": "independent", "shape": "independent", "strokeDash": "independent"}
    row = {"hconcat": parts, "spacing": _AXIS, "align": "all", "bounds": "flush"}
    return {**whole, **row, "resolve": {"scale": scales}}


def _renamed(part: Any, names: dict[str, str]) -> Any:
    """A specification with renamed data and a literal width.

    In a row, plots share one namespace of data, and expressions cannot refer to `width`.
    """
    if isinstance(part, dict):
        if set(part) == {"expr"}:
            return {"expr": re.sub(r"\bwidth\b", str(WIDTH), part["expr"])}
        if set(part) == {"name"} and part["name"] in names:
            return {"name": names[part["name"]]}
        return {key: _renamed(value, names) for key, value in part.items()}
    return [_renamed(one, names) for one in part] if isinstance(part, list) else part


def main(folder: Path) -> None:
    """Draw every picture that the folder has figures for."""
    comparison = read_result(folder)
    names = comparison.names
    contexts = load_analyses(ContextRecord, folder / CONTEXT, names)
    robustness = load_analyses(Robustness, folder / ROBUSTNESS, names)
    plots = [*context_plots(contexts, names=names), *robustness_plots(robustness, names=names)]
    by_title = {plot.title: plot for plot in plots}
    pictures = {
        "compare": [bits_plot(comparison), by_title.get("How far back it pays to look")],
        "learning": [learning_plots(comparison)[0]],
        "gradients": [by_title.get("How gradients fade"), by_title.get("Symbols missing")],
    }
    for name, chosen in pictures.items():
        present = [plot for plot in chosen if plot is not None and plot.spec]
        for scheme, colours in (("light", LIGHT), ("dark", DARK)):
            if present:
                path = HERE / f"{name}-{scheme}.png"
                path.write_bytes(png_bytes(beside(present, colours)))
                print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
