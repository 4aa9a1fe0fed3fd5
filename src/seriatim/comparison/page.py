"""The page of a comparison of models: plots and tables, from what `seriatim compare --json` prints.

Knows the keys of compare.json; no model. Models keep their colours over all plots, and their
order: the fewest bits first, what was not run last. Bits are those of the comparison's "metric",
for each character where the symbols spell the text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, TypeAlias

from seriatim.analysis.context.page import Named, context_plots, context_table, robustness_plots
from seriatim.report.charts import (
    IntervalEstimate,
    LineSeries,
    Point,
    bar_plot,
    interval_plot,
    line_plot,
    scatter_plot,
)
from seriatim.report.document import Report, Section
from seriatim.report.heat_maps import Verdict, pairwise_matrix
from seriatim.report.plots import Plot
from seriatim.report.tables import Cell, Table

Json: TypeAlias = Mapping[str, Any]

_STATE_AT = 512  # symbols
_PARTS = {"train": "to learn from", "test": "to be judged on"}


_WHICH = """\
Two statements, kept apart. One model beats another on text like this: the test text's blocks are \
drawn again, the models stay. One family beats another under this budget: seeds are drawn again \
too; it is said only where every family was trained with several seeds."""


def compare_report(
    comparison: Mapping[str, Any], *, contexts: Named = (), robustness: Named = ()
) -> Report:
    """The report of a comparison: the recommendation in plain words, and what it rests on.

    Args:
        comparison: what `seriatim compare --json` prints.
        contexts: (name of a model, what `seriatim context --json` prints for it).
        robustness: the same of `seriatim robustness --json`.

    Raises:
        MissingExtraError: Altair is not installed.
    """
    names = model_names(comparison)
    sections = [
        *_quality(comparison),
        *_costs(comparison),
        *_memory(contexts, names),
        *_perturbations(robustness, names),
    ]
    recommendation = comparison.get("recommendation") or {}
    lead = recommendation.get("sentence") or "No model ran: the reasons are in the table."
    return Report(
        f"Which model for {data_name(comparison)}", lead, sections, circumstances(comparison)
    )


def metric(comparison: Json) -> str:
    """What is compared: bits per character, or per symbol."""
    return str(comparison.get("metric") or "bits per character")


def data_name(comparison: Json) -> str:
    """The data's name, of a path its last part."""
    name = str((comparison.get("data") or {}).get("name") or "the data")
    return PurePath(name).name or name


def model_names(comparison: Json) -> list[str]:
    """Names of all models, as they were given: what fixes their colours."""
    return [m["name"] for m in comparison["models"]]


def in_order(comparison: Json) -> list[Json]:
    """The models that ran, the best first, then those that did not."""
    models = list(comparison["models"])
    ran = sorted((m for m in models if _has_run(m)), key=_bits)
    return ran + [m for m in models if not _has_run(m)]


def compare_plots(comparison: Json) -> list[Plot]:
    """Every plot of a comparison that has figures, in the order of the report."""
    made = [
        bits_plot(comparison),
        *pair_plots(comparison),
        *learning_plots(comparison),
        state_plot(comparison),
        *cost_plots(comparison),
        *mixture_plots(comparison),
    ]
    return [plot for plot in made if plot.spec]


def bits_plot(comparison: Json) -> Plot:
    """Bits of each model on the test part, with intervals and single seeds."""
    ran = [m for m in in_order(comparison) if _has_run(m)]
    has_seeds = any(len(m.get("seeds") or []) > 1 for m in ran)
    values = [
        IntervalEstimate(
            m["name"],
            _bits(m),
            *_interval(m.get("interval")),
            samples=[s["bits"] for s in m["seeds"]] if has_seeds else (),
        )
        for m in ran
    ]
    return interval_plot(
        values,
        "Which model predicts the test text best",
        "Fewer bits are better. The line is the 95 % interval over blocks of the text."
        + (" Small ticks are single seeds." if has_seeds else ""),
        x=metric(comparison),
        names=model_names(comparison),
    )


def pair_plots(comparison: Json) -> list[Plot]:
    """Which differences are real: on text like this, and between families where there are seeds.

    Their tables are the statements themselves.
    """
    names = [m["name"] for m in in_order(comparison) if _has_run(m)]
    unit = metric(comparison)
    captions = {
        "texts": (
            "Which differences are real, on text like this",
            f"{unit.capitalize()} that the model of the row saves against the model of the "
            "column; coloured where the difference is real (5 % level over all pairs, Holm), grey "
            "where this much text does not tell.",
        ),
        "families": (
            "Which differences are real, between families under this budget",
            "The same with seeds drawn again too: what would be seen if each family were trained "
            "anew.",
        ),
    }
    made = []
    for key, (title, caption) in captions.items():
        pairs = comparison.get(key)
        if pairs:
            plot = pairwise_matrix(_verdicts(pairs), names, title, caption, unit=unit)
            columns = ["statement", "difference", "95 % interval", "p-value"]
            made.append(replace(plot, columns=columns, rows=_statements(pairs)))
    return made


def learning_plots(comparison: Json) -> list[Plot]:
    """Validation bits against the seconds of training and the passes over the text."""
    ran = [m for m in in_order(comparison) if _has_run(m)]
    unit = f"{metric(comparison)}, validation"
    shape: dict[str, Any] = {"y": unit, "x_scale": "log", "names": model_names(comparison)}
    caption = (
        "A model that is counted, not trained, is one point, at its test figure. A curve that "
        "still falls at its end wants more "
    )
    return [
        line_plot(
            [_history(m, "seconds", m.get("train_seconds")) for m in ran],
            "What more time brings",
            caption + "time.",
            x="seconds of training",
            **shape,
        ),
        line_plot(
            [_history(m, "epoch", 1.0) for m in ran],
            "What more passes over the text bring",
            caption + "text, or more passes over it.",
            x="passes over the training text",
            **shape,
        ),
    ]


def state_plot(comparison: Json) -> Plot:
    """What a model keeps of one sequence, against the sequence's length."""
    curves = [
        LineSeries(m["name"], *zip(*m["state_bytes"], strict=True))
        for m in in_order(comparison)
        if m.get("state_bytes")
    ]
    return line_plot(
        curves,
        "What is kept of the past",
        "Bytes of state for one sequence. A flat line keeps as much of a long sequence as of a "
        "short one; a rising line keeps the past itself, up to its context.",
        x="symbols seen",
        y="bytes of state",
        x_scale="log",
        y_scale="log",
        names=model_names(comparison),
    )


def cost_plots(comparison: Json) -> list[Plot]:
    """Bits against what they cost: the model's size, its work and its speed."""
    ran = [m for m in in_order(comparison) if _has_run(m)]
    cheaper = "Lower is better; further to the left is cheaper."
    costs = {
        "bytes": ("bytes of the model", "Size and quality", cheaper),
        "operations_per_symbol": ("operations per symbol", "Work and quality", cheaper),
        "generate_symbols_per_second": (
            "symbols generated per second",
            "Speed and quality",
            "Lower is better; further to the right is faster.",
        ),
    }
    return [
        scatter_plot(
            [Point(m["name"], m.get(key), _bits(m)) for m in ran],
            title,
            caption,
            x=unit,
            y=metric(comparison),
            x_scale="log",
            names=model_names(comparison),
            height=220,
        )
        for key, (unit, title, caption) in costs.items()
    ]


def mixture_plots(comparison: Json) -> list[Plot]:
    """The weights of the best mixture, and what it would lose without each model."""
    mixture = comparison.get("mixture")
    if not mixture:
        return []
    names, unit = model_names(comparison), metric(comparison)

    def falling(values: Mapping[str, float | None]) -> list[tuple[str, float | None]]:
        return sorted(values.items(), key=lambda pair: -(pair[1] or 0.0))

    return [
        bar_plot(
            falling(mixture["weights"]),
            "Weights of the best mixture",
            "Chosen on the validation part by expectation maximization; they sum to 1.",
            x="weight",
            names=names,
        ),
        bar_plot(
            falling(mixture["adds"]),
            "What each model adds to the mixture",
            f"{unit.capitalize()} that the mixture loses without the model.",
            x=unit,
            names=names,
            digits=4,
        ),
    ]


def conditions(comparison: Json) -> str:
    """What was the same for every model, in a paragraph."""
    data, budget = comparison.get("data") or {}, comparison.get("budget") or {}
    parts = []
    characters = data.get("characters") or {}
    if characters:
        counts = [
            f"{count:,} characters {_PARTS.get(part, part)}" for part, count in characters.items()
        ]
        parts.append(f"Data: {data.get('name', 'given')}; {', '.join(counts)}.")
    if budget.get("sentence"):
        parts.append(f"Budget: {budget['sentence']}.")
    parts.append(
        "The same split for all: models learn on the training part, are chosen on the validation "
        "part and are judged on the test part, which none of them has seen."
    )
    return " ".join(parts)


def circumstances(comparison: Json) -> str:
    """What could not be said, and what the comparison itself took."""
    notes = [f"{note[:1].upper()}{note[1:]}." for note in comparison.get("notes") or []]
    overhead = comparison.get("overhead") or {}
    training, other = overhead.get("training_seconds"), overhead.get("other_seconds")
    if training is not None and other is not None:
        notes.append(f"Training took {training:,.0f} s, everything else {other:,.0f} s.")
    return "\n\n".join(notes)


def mixture_sentence(comparison: Json) -> str:
    """What the best mixture reaches."""
    mixture, unit = comparison["mixture"], metric(comparison)
    span = _span(mixture.get("interval"), 3)
    between = f" (95 %: {span})" if span else ""
    said = f"Mixed by the weights below, the models need {_bits(mixture):.3f} {unit}{between}"
    if mixture.get("gain") is not None and mixture.get("best"):
        said += f", {mixture['gain']:.4f} less than {mixture['best']} alone"
    return said + "."


def quality_table(comparison: Json) -> Table:
    """One row for each model: its bits on the test part, and whether it could be run."""
    unit = metric(comparison)
    others = {
        "bits_per_character": "bits per character",
        "bits_per_byte": "bits per byte",
        "bits_per_symbol": "bits per symbol",
    }
    keys = [key for key, name in others.items() if name != unit]
    columns = ["model", unit, "95 % interval", *(others[key] for key in keys), "symbols"]
    rows: list[list[Cell]] = [
        [
            m["name"],
            _bits(m) if _has_run(m) else None,
            _span(m.get("interval"), 3) if _has_run(m) else "not run",
            *(m.get(key) for key in keys),
            str(m.get("symbols") or ""),
        ]
        for m in in_order(comparison)
    ]
    return Table("The models", columns, rows, "Fewer bits are better.")


def cost_table(comparison: Json) -> Table:
    """One row for each model that ran: size, state, training, speed, work."""
    keys = {
        "parameters": "parameters",
        "bytes": "bytes",
        "state_at": f"bytes of state at {_STATE_AT}",
        "train_seconds": "seconds of training",
        "train_symbols_per_second": "symbols trained per second",
        "generate_symbols_per_second": "symbols generated per second",
        "operations_per_symbol": "operations per symbol",
    }
    rows: list[list[Cell]] = []
    for m in in_order(comparison):
        if _has_run(m):
            figures = {**m, "state_at": _state_at(m.get("state_bytes") or [], _STATE_AT)}
            rows.append([m["name"], *(figures.get(key) for key in keys)])
    return Table("Size, state, speed", ["model", *keys.values()], rows)


def not_run_table(comparison: Json) -> Table | None:
    """What was asked for and not run, and why."""
    rows = [[m["name"], m.get("reason") or ""] for m in comparison["models"] if not _has_run(m)]
    return Table("Not run", ["model", "reason"], rows) if rows else None


def _statements(pairs: Sequence[Json]) -> list[list[Cell]]:
    """Every pair with its sentence, difference, interval and p-value."""
    return [
        [p["sentence"], p["difference"], _span(p.get("interval"), 4), p.get("p_value")]
        for p in pairs
    ]


def _verdicts(pairs: Sequence[Json]) -> dict[tuple[str, str], Verdict]:
    """What a saves against b, and b against a; a difference is that of a and b."""
    found = {}
    for pair in pairs:
        (low, high), difference = pair["interval"], pair["difference"]
        is_real = bool(pair["is_real"])
        found[pair["a"], pair["b"]] = Verdict(-difference, -high, -low, is_real)
        found[pair["b"], pair["a"]] = Verdict(difference, low, high, is_real)
    return found


def _history(model: Json, place: str, counted_at: float | None) -> LineSeries:
    """Validation bits, from the first step on; the one point of a counted model is its test's.

    History is in bits per symbol, the comparison perhaps not: what the test text says of the two
    is taken for the validation text.
    """
    history = model.get("history") or []
    points = [h for h in history if h.get("valid") is not None and h.get("step")]
    if not points:
        return LineSeries(model["name"], [counted_at], [_bits(model)])
    each = _bits(model) / model["bits_per_symbol"] if model.get("bits_per_symbol") else 1.0
    return LineSeries(
        model["name"], [h.get(place) for h in points], [each * h["valid"] for h in points]
    )


def _state_at(sizes: Sequence[Sequence[int]], length: int) -> int | None:
    """Bytes at the greatest measured length up to `length`."""
    upto = [size for at, size in sizes if at <= length]
    return upto[-1] if upto else None


def _interval(interval: Sequence[float] | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval[0], interval[1])


def _span(interval: Sequence[float] | None, digits: int) -> str | None:
    return None if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def _bits(found: Json) -> float:
    return float(found["bits"])


def _has_run(model: Json) -> bool:
    return model.get("status") == "ok" and model.get("bits") is not None


def _quality(comparison: Mapping[str, Any]) -> list[Section]:
    not_run = not_run_table(comparison)
    tables = [quality_table(comparison), *([not_run] if not_run else [])]
    plots = [bits_plot(comparison)]
    made = [Section("The models side by side", conditions(comparison), plots, tables)]
    pairs = pair_plots(comparison)
    if pairs:
        made.append(Section("Is the difference real?", _WHICH, pairs))
    learning = [plot for plot in learning_plots(comparison) if plot.spec]
    if learning:
        text = "Bits on the validation part while the models were trained."
        made.append(Section("Would more training help?", text, learning))
    if comparison.get("mixture"):
        text, plots = mixture_sentence(comparison), mixture_plots(comparison)
        made.append(Section("The best mixture of all", text, plots))
    return made


def _costs(comparison: Mapping[str, Any]) -> list[Section]:
    plots = [p for p in (state_plot(comparison), *cost_plots(comparison)) if p.spec]
    text = "Quality beside size, work and speed. Operations per symbol stand for energy."
    tables = [cost_table(comparison)]
    return [Section("What it costs", text, plots, tables, is_grid=True)] if plots else []


def _memory(contexts: Named, names: Sequence[str]) -> list[Section]:
    plots = context_plots(contexts, names=names)
    if not plots:
        return []
    text = "Each model scored the same elements, and was allowed to see only so many before them."
    return [Section("How far back", text, plots, [context_table(contexts)], is_grid=True)]


def _perturbations(robustness: Named, names: Sequence[str]) -> list[Section]:
    plots = robustness_plots(robustness, names=names)
    text = "Sequences are cut, lose elements, or have them exchanged; what is intact is scored."
    return [Section("When sequences are damaged", text, plots, is_grid=True)] if plots else []
