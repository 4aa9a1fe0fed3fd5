"""A self-contained HTML page: style, script and plots are inside.

Knows HTML, the colours of light mode, dark mode and print, and how Vega draws in a page; no result
and no model. Every text is escaped. The specifications are JSON without any `<`, and the content
security policy forbids every request and every script but the two that are written here. Colours
of the specifications become CSS variables, so that one drawing serves light, dark and paper.
"""

import base64
import functools
import hashlib
import html
import json
from collections.abc import Sequence
from typing import Any

from seriatim.report.plots import (
    DARK,
    LIGHT,
    LegendEntry,
    Plot,
    Spec,
    recoloured,
    require,
    vega_lite_version,
)
from seriatim.report.tables import table_html

_PRINTED = 40  # the most rows of a folded table that is printed with its plot

# Vega's shapes of points as SVG paths around their centre, in pixels.
_SHAPES = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "square": "M-4 -4H4V4H-4Z",
    "triangle-up": "M0 -5L5 4H-5Z",
    "diamond": "M0 -5L5 0L0 5L-5 0Z",
    "triangle-down": "M0 5L5 -4H-5Z",
    "cross": "M-2 -5H2V-2H5V2H2V5H-2V2H-5V-2H-2Z",
    "triangle-right": "M5 0L-4 5V-5Z",
}

_STYLE = """
:root { color-scheme: light dark; %(light)s }
@media (prefers-color-scheme: dark) { :root { %(dark)s } }
@media print { :root { color-scheme: light; %(light)s } }
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 56rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  overflow-wrap: anywhere;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 0.5rem; padding-top: 0.5rem;
     border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 1.5rem 0 0.25rem; }
p { margin: 0.5rem 0; max-width: 44rem; }
a { color: var(--link); }
.lead { border-left: 4px solid var(--blue); padding: 0.1rem 0 0.1rem 1rem; }
.lead p:first-child { font-size: 1.15rem; }
nav ul { padding: 0; margin: 1rem 0; list-style: none; display: flex; flex-wrap: wrap;
         gap: 0.25rem 1.25rem; }
figure { margin: 1.5rem 0; min-width: 0; }
.whole { break-inside: avoid; }
figure h3 { margin-top: 0; }
figcaption, caption, .note { color: var(--muted); font-size: 0.875rem; }
figcaption { margin: 0.25rem 0 0.5rem; max-width: 44rem; }
ul { max-width: 44rem; padding-left: 1.25rem; }
.grid { display: grid; gap: 0 2rem;
        grid-template-columns: repeat(auto-fit, minmax(min(100%%, 24rem), 1fr)); }
.plot { overflow-x: auto; overflow-y: hidden; width: 100%%; }
.plot.vega-embed { display: block; }
.plot svg { display: block; background: none !important; }
.scroll { overflow-x: auto; margin: 0.5rem 0 1rem; }
.scroll:focus-visible, .plot:focus-visible, summary:focus-visible, a:focus-visible {
  outline: 2px solid var(--blue); outline-offset: 2px; }
/* A shadow at each edge beyond which there is more; covers that scroll along hide it there. */
.scroll, .plot { background:
  linear-gradient(90deg, var(--paper) 50%%, transparent) left / 2.5rem 100%% no-repeat local,
  linear-gradient(270deg, var(--paper) 50%%, transparent) right / 2.5rem 100%% no-repeat local,
  linear-gradient(90deg, var(--shade), transparent) left / 0.9rem 100%% no-repeat scroll,
  linear-gradient(270deg, var(--shade), transparent) right / 0.9rem 100%% no-repeat scroll; }
.mark-rect path { shape-rendering: crispEdges; }
pre { font: 0.875rem/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
code { display: block; padding-left: 2ch; text-indent: -2ch; }
.commands { padding: 0.75rem 1rem; border-left: 4px solid var(--green); background: var(--tint);
            white-space: pre-wrap; overflow-wrap: anywhere; }
.commands span { white-space: nowrap; }
.commands code + code { margin-top: 0.5rem; }
.levels { padding: 0; list-style: none; max-width: 44rem; }
.levels li { margin: 0.75rem 0; padding-left: 1rem; border-left: 4px solid var(--grid); }
.levels b { display: block; font-size: 0.875rem; text-transform: capitalize; }
.levels .error { border-color: var(--vermilion); }
.levels .warning { border-color: var(--orange); }
.levels .note { border-color: var(--grid); }
.tall { max-height: 24rem; overflow-y: auto; }
.legend { padding: 0; margin: 0.5rem 0; list-style: none; display: flex; flex-wrap: wrap;
        gap: 0 1rem; font-size: 0.8rem; line-height: 1.5; }
.legend li { max-width: 100%%; }
.legend svg { vertical-align: -2px; margin-right: 0.35rem; }
table { width: max-content; border-collapse: collapse; font-size: 0.875rem;
        font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0.25rem 0; }
th, td { padding: 0.25rem 1rem 0.25rem 0; text-align: left; vertical-align: top;
         border-bottom: 1px solid var(--grid); max-width: 26rem; }
th { font-weight: 600; }
thead th { vertical-align: bottom; color: var(--muted); font-weight: normal; max-width: 7rem;
           overflow-wrap: normal; }
tr > :first-child { position: sticky; left: 0; background: var(--paper);
                    max-width: min(26rem, 45vw); }
.n { text-align: right; }
summary { cursor: pointer; color: var(--muted); font-size: 0.875rem; }
footer { margin-top: 3rem; color: var(--muted); font-size: 0.875rem;
         border-top: 1px solid var(--grid); }
#vg-tooltip-element.vg-tooltip { background: var(--paper); color: var(--ink);
  border-color: var(--grid); font-family: inherit; max-width: 90vw; overflow-wrap: anywhere; }
#vg-tooltip-element.vg-tooltip td.key { color: var(--muted); }
@media (max-width: 30rem) { body { padding: 0.75rem; } h1 { font-size: 1.4rem; } }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .unprinted, summary { display: none; }
  h2, h3, section > p { break-after: avoid; }
  .grid { display: block; }
  tr { break-inside: avoid; }
  .scroll, .tall, .plot { overflow: visible; max-height: none; }
  .plot svg { max-width: 100%%; height: auto; }
  table { font-size: 8pt; width: auto; }
  th, td { padding-right: 0.5rem; }
  tr > :first-child { position: static; max-width: 16rem; }
}
"""

_SCRIPT = """
(async () => {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const options = {renderer: "svg", actions: false, ast: true};
  for (const [id, spec] of Object.entries(specs)) {
    const element = document.getElementById(id);
    try {
      await vegaEmbed(element, spec, options);
    } catch (error) {
      element.textContent = "This plot could not be drawn; its figures are in the table below.";
      console.error(error);
    }
  }
  document.documentElement.dataset.drawn = "yes";
})();
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = [...document.querySelectorAll("details.printed:not([open])")];
  unfolded.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => unfolded.forEach((one) => { one.open = false; }));
"""


def paragraphs(text: str) -> str:
    """Plain text as HTML paragraphs, split at empty lines."""
    parts = [part.strip() for part in text.split("\n\n")]
    return "\n".join(f"<p>{html.escape(part)}</p>" for part in parts if part)


def figure_block(plot: Plot, identity: str) -> str:
    """The element of a plot, its caption, and its folded table."""
    title, caption = html.escape(plot.title), html.escape(plot.caption)
    element = ""
    if plot.spec:
        # What has a width of its own scrolls on a phone, and must be reached by keyboard.
        reached = "" if plot.spec.get("width") == "container" else ' tabindex="0"'
        element = (
            f'<div class="plot" id="{identity}" role="img"{reached} '
            f'aria-label="{title}: {caption}"></div>\n'
        )
    return (
        f'<figure>\n<div class="whole"><h3>{title}</h3>\n{_legend(plot.legend)}{element}'
        f"<figcaption>{caption}</figcaption></div>\n{_folded(plot)}</figure>"
    )


def _legend(entries: Sequence[LegendEntry]) -> str:
    """The names of a plot, each with its line and shape; the list wraps where it is too wide."""
    if not entries:
        return ""
    parts = [f"<li>{_swatch(entry)}{html.escape(entry.name)}</li>" for entry in entries]
    return f'<ul class="legend" aria-label="Legend">{"".join(parts)}</ul>\n'


def _swatch(entry: LegendEntry) -> str:
    colour, width = on_page({"colour": entry.colour})["colour"], 28 if entry.dash else 14
    line = ""
    if entry.dash:
        dashes = " ".join(f"{length:g}" for length in entry.dash) if entry.dash[-1] else "none"
        line = (
            f'<path d="M0 7H{width}" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dashes}"/>'
        )
    centre = f"translate({width / 2:g} 7)"
    shape = f'<path d="{_SHAPES[entry.shape]}" fill="{colour}" transform="{centre}"/>'
    size = f'width="{width}" height="14" viewBox="0 0 {width} 14"'
    return f'<svg {size} aria-hidden="true">{line}{shape}</svg>'


def _folded(plot: Plot) -> str:
    if not plot.rows:
        return ""
    count = len(plot.rows)
    is_printed = count <= _PRINTED and len(plot.columns) <= _PRINTED
    kind = "printed" if is_printed else "unprinted"
    tall = "" if is_printed else " tall"
    name = html.escape(f"figures of: {plot.title}")
    rows = "1 row" if count == 1 else f"{count:,} rows"
    return (
        f'<details class="{kind}"><summary>Table of the figures ({rows})</summary>\n'
        f'<div class="scroll{tall}" role="region" tabindex="0" aria-label="{name}">\n'
        f"{table_html(plot.columns, plot.rows)}\n</div></details>\n"
    )


def whole_page(title: str, body: str, plots: dict[str, Plot]) -> str:
    """The page as HTML.

    Args:
        title: the title of the document.
        body: HTML in which every text is escaped.
        plots: the plots by the ids of their elements in `body`.

    Raises:
        MissingExtraError: if there are plots and vl-convert is not installed.
    """
    drawn = {identity: _in_page(plot) for identity, plot in plots.items() if plot.spec}
    scripts = [bundle(), _SCRIPT] if drawn else []
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts) or "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}"
    specs = json.dumps(drawn, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title>\n<style>{style()}</style>\n</head>\n<body>",
        body,
        f'<script type="application/json" id="specs">{specs}</script>' if drawn else "",
        *(f"<script>{script}</script>" for script in scripts),
        "</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def style() -> str:
    """The style sheet, with the colours of both schemes."""
    light = {**LIGHT, "link": LIGHT["blue"], "tint": "#f4f6f8", "shade": "#1b1f2438"}
    dark = {**DARK, "link": DARK["sky"], "tint": "#1d2228", "shade": "#000000b0"}
    return _STYLE % {"light": _variables(light), "dark": _variables(dark)}


def _in_page(plot: Plot) -> Spec:
    """A plot's specification in the page's colours; without legends that the page writes itself."""
    spec = on_page(plot.spec)
    return _without_legends(spec) if plot.legend else spec


def _without_legends(part: Spec) -> Spec:
    def inside(value: Any) -> Any:
        if isinstance(value, dict):
            return _without_legends(value)
        return [inside(one) for one in value] if isinstance(value, list) else value

    off = {"legend": None} if part.get("type") == "nominal" and part.get("legend") else {}
    data = ("data", "datasets")
    return {key: v if key in data else inside(v) for key, v in part.items()} | off


def on_page(spec: Spec) -> Spec:
    """A specification with CSS variables in place of its colours."""
    return recoloured(spec, {colour: f"var(--{name})" for name, colour in LIGHT.items()})


@functools.cache
def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script of 0.9 MB; the first call takes seconds."""
    script = str(require("vl_convert").javascript_bundle(vl_version=vega_lite_version()))
    # These would end or change a script element; in JavaScript strings the escapes mean the same.
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
