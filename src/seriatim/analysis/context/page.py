"""Plots of how far back models look.

Several models share a plot where their figures have the same unit; what belongs to one model
(categories of symbols, shuffled and replaced pasts) has a plot for each.

Knows the records of effective contexts; no model.
"""

from collections.abc import Sequence
from typing import TypeAlias

from seriatim.analysis.context.result import ContextRecord, CurveRecord, DecayRecord
from seriatim.report.charts import IntervalEstimate, LineSeries, interval_plot, line_plot
from seriatim.report.document import Section
from seriatim.report.plots import Plot
from seriatim.report.tables import Cell, Table

NamedContexts: TypeAlias = Sequence[tuple[str, ContextRecord]]

_SEEN = "symbols that the model may see"
_VANISHED = 1e-12  # of the nearest gradient: less is rounding
_FAINT = 1e-6  # of all influence: less is not drawn
_METHODS = {"gradient": "by gradients", "replacement": "by replacing the symbol"}


def context_section(contexts: NamedContexts, names: Sequence[str] = ()) -> list[Section]:
    """The section of a report about how far back its models look; none without figures.

    Args:
        contexts: pairs of a model's name and its effective context.
        names: the names of all models of the report, which fix their colours.
    """
    plots = context_plots(contexts, names=names)
    if not plots:
        return []
    text = "Each model scored the same symbols, and could see only so many before each of them."
    return [Section("How far back", text, plots, [context_table(contexts)], is_grid=True)]


def context_plots(contexts: NamedContexts, *, names: Sequence[str] = ()) -> list[Plot]:
    """Every plot of effective contexts that has figures; arguments as in `context_section`."""
    unit = _unit(contexts)
    plots = [
        _loss_plot(contexts, unit, names),
        _effective_plot(contexts, names),
        _influence_plot(contexts, names),
        *gradient_plots(contexts, names=names),
        *(_past_plot(name, context) for name, context in contexts),
        *(_category_plot(name, context) for name, context in contexts),
    ]
    return [plot for plot in plots if plot.spec]


def gradient_plots(contexts: NamedContexts, *, names: Sequence[str] = ()) -> list[Plot]:
    """How the gradient decays through time: the models' last layers, and the layers of each."""
    decays = [(name, c.gradient_decay) for name, c in contexts if c.gradient_decay is not None]
    last = [
        LineSeries(name, decay.distance, _relative(list(decay.layers.values())[-1]))
        for name, decay in decays
        if decay.layers
    ]
    caption = (
        "The norm of the gradient of a loss with respect to the state so many symbols back, as a "
        "fraction of its norm one symbol back, down to 1e-12. A straight line down on this scale "
        "is a gradient that vanishes by the same factor at every step."
    )
    plots = [
        _decay_plot(last, "How gradients fade", caption, names),
        *(_layer_plot(name, decay) for name, decay in decays if len(decay.layers) > 1),
    ]
    return [plot for plot in plots if plot.spec]


def _layer_plot(name: str, decay: DecayRecord) -> Plot:
    curves = [
        LineSeries(f"layer {layer}", decay.distance, _relative(norms))
        for layer, norms in decay.layers.items()
    ]
    return _decay_plot(curves, f"How gradients fade in each layer of {name}", "As above.", ())


def _decay_plot(curves: list[LineSeries], title: str, caption: str, names: Sequence[str]) -> Plot:
    return line_plot(
        curves,
        title,
        caption,
        x="symbols back",
        y="gradient, fraction of the nearest",
        y_scale="log",
        names=names,
    )


def context_table(contexts: NamedContexts) -> Table:
    """One row for each model: its full loss, its effective context, its reach."""
    columns = ["model", "full loss", "effective context", "95 % interval", "reach", "targets"]
    rows: list[list[Cell]] = []
    for name, context in contexts:
        curve = context.curve
        interval = " to ".join(_back(k, curve) for k in curve.effective_interval)
        reach = "no bound" if context.reach is None else f"{context.reach:,}"
        effective = _back(curve.effective, curve)
        rows.append([name, curve.full, effective, interval, reach, curve.targets])
    note = "Effective context: the fewest symbols that bring the loss within 1 % of the full loss."
    return Table("How far back", columns, rows, f"Losses in {_unit(contexts)}. {note}")


def _loss_plot(contexts: NamedContexts, unit: str, names: Sequence[str]) -> Plot:
    return line_plot(
        [_from_nothing(name, context.curve) for name, context in contexts],
        "How far back it pays to look",
        "The loss when a model may see only so many symbols; dashed, with all of them. Where a "
        "curve meets its dashed line, what lies further back no longer helps.",
        x=_SEEN,
        y=unit,
        x_scale="symlog",
        names=names,
        rules={name: context.curve.full for name, context in contexts},
    )


def _effective_plot(contexts: NamedContexts, names: Sequence[str]) -> Plot:
    values = [
        IntervalEstimate(name, context.curve.effective, *context.curve.effective_interval)
        for name, context in contexts
    ]
    return interval_plot(
        values,
        "Effective context",
        "The fewest symbols that bring the loss within 1 % of the full loss. A model that needs "
        "more than were tried has no bar.",
        x="symbols",
        names=names,
        digits=0,
        from_zero=True,
    )


def _category_plot(name: str, context: ContextRecord) -> Plot:
    return line_plot(
        [
            LineSeries(category, curve.contexts, curve.bits)
            for category, curve in context.categories.items()
        ],
        f"By category of symbol: {name}",
        "The loss on symbols of each category; dashed, with the whole past.",
        x=_SEEN,
        y=context.unit,
        x_scale="symlog",
        rules={category: curve.full for category, curve in context.categories.items()},
    )


def _past_plot(name: str, context: ContextRecord) -> Plot:
    """What the far past is worth: left out, in another order, or from elsewhere in the text."""
    disturbed = {"shuffled": context.shuffled, "from elsewhere": context.replaced}
    curves = [
        LineSeries(label, curve.contexts, curve.bits, *_edges(curve))
        for label, curve in disturbed.items()
        if curve is not None
    ]
    if curves:
        curves.insert(0, _from_nothing("left out", context.curve))
    return line_plot(
        curves,
        f"What lies further back: {name}",
        "Everything further back is left out, shuffled, or taken from elsewhere in the text; "
        "dashed, untouched. Where the curves meet, the far past no longer matters.",
        x="symbols that are left as they are",
        y=context.unit,
        x_scale="symlog",
        rules={"left out": context.curve.full} if curves else {},
    )


def _influence_plot(contexts: NamedContexts, names: Sequence[str]) -> Plot:
    influences = [(name, c.influence) for name, c in contexts if c.influence is not None]
    methods = []
    for method, words in _METHODS.items():
        measured = [name for name, influence in influences if influence.method == method]
        if measured:
            methods.append(f"{words} for {', '.join(measured)}")
    curves = [
        LineSeries(name, i.distance, [f if f >= _FAINT else None for f in i.fraction])
        for name, i in influences
    ]
    return line_plot(
        curves,
        "Influence of each symbol of the past",
        "The fraction of all influence on a prediction, by distance, down to one in a million; "
        f"measured {', '.join(methods)}.",
        x="symbols back",
        y="fraction of all influence",
        x_scale="log",
        y_scale="log",
        names=names,
    )


def _from_nothing(name: str, curve: CurveRecord) -> LineSeries:
    """A curve with its intervals, from nothing seen on."""
    low, high = _edges(curve)
    return LineSeries(
        name,
        [0, *curve.contexts],
        [curve.nothing, *curve.bits],
        [curve.nothing_interval[0], *low],
        [curve.nothing_interval[1], *high],
    )


def _edges(curve: CurveRecord) -> tuple[list[float], list[float]]:
    return [low for low, _ in curve.intervals], [high for _, high in curve.intervals]


def _relative(norms: Sequence[float | None]) -> list[float | None]:
    """Norms as fractions of the first that is not 0; None where they have vanished."""
    first = next((norm for norm in norms if norm), None)
    if first is None:
        return [None] * len(norms)
    fractions = [None if norm is None else norm / first for norm in norms]
    return [None if f is None or f < _VANISHED else f for f in fractions]


def _back(k: int | None, curve: CurveRecord) -> str:
    """A context in words: where none of those tried is enough, it is more than the greatest."""
    return f"more than {curve.contexts[-1]:,}" if k is None else f"{k:,}"


def _unit(contexts: NamedContexts) -> str:
    return contexts[0][1].unit if contexts else "bits per symbol"
