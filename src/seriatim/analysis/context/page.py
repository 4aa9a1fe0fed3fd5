"""Plots of how far back models look and what damage does to them, from the JSON of those commands.

Knows the keys that `seriatim context --json` and `seriatim robustness --json` print; no model.
Several models share a plot where their figures have the same unit; what belongs to one model
(kinds of symbols, shuffled and replaced pasts) has a plot for each.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from seriatim.report.charts import IntervalEstimate, LineSeries, interval_plot, line_plot
from seriatim.report.plots import Plot
from seriatim.report.tables import Cell, Table

Named: TypeAlias = Sequence[tuple[str, Mapping[str, Any]]]

_SEEN = "elements that the model may see"
_VANISHED = 1e-12  # a share of the nearest gradient, beside which rounding is large
_FAINT = 1e-6  # a share of the influence that is not drawn
_LEAST = (-0.005, 0.02)  # bits per symbol: less than that should look like nothing
_WAYS = {"gradient": "by gradients", "replacement": "by replacing the element"}
_PERTURBATIONS = {
    "trimmed-start": ("Cut at the start", "share that is cut off"),
    "trimmed-end": ("Cut at the end", "share that is cut off"),
    "omitted": ("Elements missing", "share of the elements that are missing"),
    "swapped": ("Neighbours swapped", "share of the pairs that are swapped"),
    "blocks": ("Blocks exchanged", "share of the blocks that change places"),
}


def context_plots(contexts: Named, *, names: Sequence[str] = ()) -> list[Plot]:
    """Every plot of the effective context that has figures.

    Args:
        contexts: (name of the model, its effective context as JSON).
        names: of all models in plots beside these, so that colours stay.
    """
    unit = _unit(contexts)
    made = [
        _loss_plot(contexts, unit, names),
        _effective_plot(contexts, names),
        _influence_plot(contexts, names),
        *gradient_plots(contexts, names=names),
        *_past_plots(contexts, unit),
        *_kind_plots(contexts, unit),
    ]
    return [plot for plot in made if plot.spec]


def gradient_plots(contexts: Named, *, names: Sequence[str] = ()) -> list[Plot]:
    """How the gradient decays through time: the models' last layers, and the layers of each."""
    decays = [(n, h["gradient_decay"]) for n, h in contexts if h.get("gradient_decay")]
    last = [
        LineSeries(name, decay["distance"], _relative(list(decay["layers"].values())[-1]))
        for name, decay in decays
        if decay["layers"]
    ]
    caption = (
        "Norm of the gradient of a loss with respect to the state so many elements back, as a "
        "share of its norm one element back, down to 1e-12. A straight fall on this scale is a "
        "gradient that vanishes by the same factor at every step."
    )
    shape: dict[str, Any] = {"x": "elements back", "y": "gradient, share of the nearest"}
    made = [
        line_plot(last, "How gradients fade", caption, **shape, y_scale="log", names=names),
    ]
    for name, decay in decays:
        if len(decay["layers"]) > 1:
            curves = [
                LineSeries(f"layer {layer}", decay["distance"], _relative(norms))
                for layer, norms in decay["layers"].items()
            ]
            title = f"How gradients fade in each layer of {name}"
            made.append(line_plot(curves, title, "As above.", **shape, y_scale="log"))
    return [plot for plot in made if plot.spec]


def robustness_plots(results: Named, *, names: Sequence[str] = ()) -> list[Plot]:
    """One plot for each kind of perturbation: what the intact parts cost more, by its strength."""
    kinds = dict.fromkeys(t["kind"] for _, result in results for t in result["perturbations"])
    unit = str(results[0][1].get("metric", "bits per symbol")) if results else "bits per symbol"
    made = [_perturbation_plot(results, kind, unit, names) for kind in kinds]
    return [plot for plot in made if plot.spec]


def context_table(contexts: Named) -> Table:
    """One row for each model: its full loss, its effective context, its reach."""
    columns = ["model", "full loss", "effective context", "95 % interval", "reach", "targets"]
    rows: list[list[Cell]] = [
        [
            name,
            h["full"],
            _back(h.get("effective"), h),
            _between(h),
            "no bound" if h.get("reach") is None else f"{h['reach']:,}",
            h.get("targets"),
        ]
        for name, h in contexts
    ]
    note = "Effective context: the fewest elements that bring the loss within 1 % of the full loss."
    return Table("How far back", columns, rows, f"Losses in {_unit(contexts)}. {note}")


def _loss_plot(contexts: Named, unit: str, names: Sequence[str]) -> Plot:
    curves = [LineSeries(name, *_seen(h)) for name, h in contexts]
    return line_plot(
        curves,
        "How far back it pays to look",
        "The loss when a model may see only so many elements; dashed, with all of them. Where a "
        "curve meets its dashed line, what lies further back no longer helps.",
        x=_SEEN,
        y=unit,
        x_scale="symlog",
        names=names,
        rules={name: h["full"] for name, h in contexts},
    )


def _effective_plot(contexts: Named, names: Sequence[str]) -> Plot:
    values = [
        IntervalEstimate(name, h.get("effective"), *(h.get("effective_interval") or (None, None)))
        for name, h in contexts
    ]
    return interval_plot(
        values,
        "Effective context",
        "The fewest elements that bring the loss within 1 % of the full loss. A model that wants "
        "more than were tried has no bar.",
        x="elements",
        names=names,
        digits=0,
        from_zero=True,
    )


def _kind_plots(contexts: Named, unit: str) -> list[Plot]:
    made = []
    for name, h in contexts:
        categories = h.get("categories") or {}
        curves = [
            LineSeries(name, h["contexts"], found["bits"]) for name, found in categories.items()
        ]
        made.append(
            line_plot(
                curves,
                f"By category of symbol: {name}",
                "The loss on symbols of each category; dashed, with the whole past.",
                x=_SEEN,
                y=unit,
                x_scale="symlog",
                rules={name: found["full"] for name, found in categories.items()},
            )
        )
    return made


def _past_plots(contexts: Named, unit: str) -> list[Plot]:
    """What the far past is worth: left out, in another order, or of another text."""
    made = []
    for name, h in contexts:
        if not (h.get("shuffled") or h.get("replaced")):
            continue
        curves = [LineSeries("left out", *_seen(h))]
        for key, label in (("shuffled", "shuffled"), ("replaced", "from elsewhere")):
            if h.get(key):
                part = h[key]
                curves.append(
                    LineSeries(label, part["at"], part["bits"], *_edges(part["intervals"]))
                )
        made.append(
            line_plot(
                curves,
                f"What lies further back: {name}",
                "All further back is left out, shuffled, or taken from elsewhere in the text; "
                "dashed, untouched. Where the curves meet, the far past no longer matters.",
                x="elements that are left as they are",
                y=unit,
                x_scale="symlog",
                rules={"left out": h["full"]},
            )
        )
    return made


def _influence_plot(contexts: Named, names: Sequence[str]) -> Plot:
    found = [(name, h["influence"]) for name, h in contexts if h.get("influence")]
    ways = [
        f"of {', '.join(name for name, i in found if i['how'] == how)} {words}"
        for how, words in _WAYS.items()
        if any(i["how"] == how for _, i in found)
    ]
    curves = [
        LineSeries(name, i["distance"], [s if s >= _FAINT else None for s in i["share"]])
        for name, i in found
    ]
    return line_plot(
        curves,
        "Influence of each element of the past",
        "Share of the whole influence on a prediction, by distance, down to one in a million. "
        f"Measured {'; '.join(ways)}.",
        x="elements back",
        y="share of the influence",
        x_scale="log",
        y_scale="log",
        names=names,
    )


def _perturbation_plot(results: Named, kind: str, unit: str, names: Sequence[str]) -> Plot:
    curves = []
    for name, result in results:
        found = sorted(
            (t for t in result["perturbations"] if t["kind"] == kind), key=lambda t: t["strength"]
        )
        if not found:
            continue
        more = [t["bits"] - t["intact"] for t in found]
        spread = [[edge - t["intact"] for edge in t["chance"]] for t in found]
        curves.append(
            LineSeries(
                name,
                [t["strength"] for t in found],
                more,
                [m + low for m, (low, _) in zip(more, spread, strict=True)],
                [m + high for m, (_, high) in zip(more, spread, strict=True)],
            )
        )
    title, places = _PERTURBATIONS.get(kind, (kind.capitalize(), "strength"))
    return line_plot(
        curves,
        title,
        "How much worse the undamaged part is predicted. Where the 95 % band covers 0, the change "
        "is no more than chance.",
        x=places,
        y=f"{unit}, change",
        y_covers=_LEAST,
        names=names,
        height=220,
    )


def _seen(h: Mapping[str, Any]) -> tuple[list[float], list[float], Any, Any]:
    """Contexts, bits and the edges of their intervals; nothing seen comes first."""
    contexts, bits = list(h["contexts"]), list(h["bits"])
    intervals = list(h.get("intervals") or [])
    if h.get("nothing") is not None and 0 not in contexts:
        contexts, bits = [0, *contexts], [h["nothing"], *bits]
        intervals = [h["nothing_interval"], *intervals] if intervals else []
    return contexts, bits, *_edges(intervals)


def _relative(norms: Sequence[float | None]) -> list[float | None]:
    first = next((n for n in norms if n), None)
    shares = [None if n is None or first is None else n / first for n in norms]
    return [None if s is None or s < _VANISHED else s for s in shares]


def _edges(
    intervals: Sequence[Sequence[float]] | None,
) -> tuple[list[float] | None, list[float] | None]:
    if not intervals:
        return None, None
    return [low for low, _ in intervals], [high for _, high in intervals]


def _back(k: int | None, h: Mapping[str, Any]) -> str:
    """A context as words: where none of those tried is enough, it is more than the greatest."""
    return f"more than {h['contexts'][-1]:,}" if k is None else f"{k:,}"


def _between(h: Mapping[str, Any]) -> str | None:
    interval = h.get("effective_interval")
    return " to ".join(_back(k, h) for k in interval) if interval else None


def _unit(named: Named) -> str:
    return str(named[0][1].get("unit", "bits per symbol")) if named else "bits per symbol"
