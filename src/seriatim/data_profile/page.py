"""The report of a look at data: from its JSON to sections, tables and plots.

Knows the JSON of `seriatim look --json`; no data.
"""

from collections.abc import Mapping
from typing import Any

from seriatim.report.charts import LineSeries, bar_plot, line_plot
from seriatim.report.document import Report, Section
from seriatim.report.plots import Plot
from seriatim.report.tables import Cell, Table

_LEVELS = {"stop": "stop", "care": "care", "note": "note"}
_SIDES = ("text", "source", "target")
_LENGTHS = ("least", "5%", "25%", "median", "75%", "95%", "99%", "most", "mean")


def look_report(look: Mapping[str, Any]) -> Report:
    """The page of a look at data.

    Args:
        look: what `seriatim look --json` prints.

    Raises:
        MissingExtraError: Altair is not installed.
    """
    train = look["parts"]["train"]
    advice = look["advice"]
    sections = [
        Section("What to heed", _heed(look), tables=[_findings(look)] if look["findings"] else []),
        Section("Lengths", "How long the lines or sequences are.", tables=[_lengths(look)]),
        Section("Symbols", _SYMBOLS, _frequency_plots(train), [_frequencies(train)], is_grid=True),
    ]
    if look["entropy"]["counted"] is not None:
        plots = [curve_plot(look)]
        sections.append(Section("How predictable it is", _compressed(look), plots))
    if look["leaks"]:
        text = "What of the other parts stands in the training part already."
        sections.append(Section("Leaks", text, tables=[_leaks(look)]))
    lead = f"{train['name']}: {train['kind']['sentence']}."
    reasons = "\n\n".join(_sentence(reason) for reason in advice["reasons"])
    commands = [[command] for command in advice["commands"]]
    tables = [Table("Run next", ["command"], commands)] if commands else []
    return Report(
        f"A look at {train['name']}", lead, [Section("Advice", reasons, tables=tables), *sections]
    )


_SYMBOLS = """\
How many different symbols there are, how many of them stand only once, and how many of the most \
frequent make up 50, 90 and 99 % of all."""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _heed(look: Mapping[str, Any]) -> str:
    if not look["findings"]:
        return "Nothing odd was seen."
    return "Stop: training will fail or mean nothing. Care: figures mean something else."


def _findings(look: Mapping[str, Any]) -> Table:
    rows: list[list[Cell]] = [
        [_LEVELS[f["level"]], _sentence(f["what"]), f["do"]] for f in look["findings"]
    ]
    return Table("Findings", ["", "what was seen", "what to do"], rows)


def _sides(part: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(side, part[side]) for side in _SIDES if side in part]


def _lengths(look: Mapping[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for name, part in look["parts"].items():
        for side, facts in _sides(part):
            who = f"{name} {side}" if side != "text" else name
            for unit in ("characters", "words"):
                found = facts[f"{unit}_in_each"]
                rows.append([f"{who}, {unit}", *(found[n] for n in _LENGTHS)])
    return Table("Length of a line or sequence", ["", *_LENGTHS], rows)


def _frequencies(part: Mapping[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for side, facts in _sides(part):
        who = "" if side == "text" else f"{side} "
        for unit, found in facts["symbols"].items():
            if found is not None:
                needed = list(found["types_for"].values())
                bits = found["entropy_bits"]
                row = [f"{who}{unit}", found["types"], found["tokens"], found["once"], *needed]
                rows.append([*row, None if bits is None else round(bits, 3)])
    columns = ["", "different", "in all", "once only", "for 50 %", "for 90 %", "for 99 %"]
    return Table("Symbols of the training part", [*columns, "bits each"], rows)


def _frequency_plots(part: Mapping[str, Any]) -> list[Plot]:
    plots = []
    for side, facts in _sides(part):
        who = "" if side == "text" else f" of the {side}s"
        for unit, found in facts["symbols"].items():
            if found is not None and len(found["top"]) > 1 and found["top"][0]["count"] > 1:
                top = [(t["symbol"], 100 * t["share"]) for t in found["top"]]
                title = f"The most frequent {unit}s{who}"
                plots.append(bar_plot(top, title, "", x="share of all (%)", digits=2))
    return plots


def curve_plot(look: Mapping[str, Any]) -> Plot:
    """Bits of held-out symbols by how many before them are seen."""
    found = look["entropy"]["counted"]
    bits = found["bits"]
    return line_plot(
        [LineSeries("counted", list(range(len(bits))), list(bits))],
        "Where the bits stop falling, more memory does not pay",
        f"Counted models of order 1 to {len(bits)}, on {found['test']:,} symbols that they have "
        "not seen. A curve that still falls at its end asks for a longer memory.",
        x=f"{found['symbols']}s seen before",
        y=f"bits per {found['symbols']}",
    )


def _compressed(look: Mapping[str, Any]) -> str:
    packed = look["entropy"]["compressed"]
    if not packed or not packed["bytes"]:
        return ""
    return (
        f"Compressed, {packed['bytes']:,} bytes of it take {packed['zlib']:.2f} bits per byte by "
        f"zlib and {packed['lzma']:.2f} by lzma."
    )


def _leaks(look: Mapping[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for name, leak in sorted(look["leaks"].items()):
        who = name if leak["given"] else f"{name}, by the split of fit"
        shares = [leak["share"], leak["ngram_share"]]
        rows.append([who, *(None if s is None else f"{s:.2%}" for s in shares)])
    return Table("Leaks", ["", "sequences", "runs of 13"], rows)
