"""The page of a comparison of models: its plots, tables and sections.

Models keep their colours over all plots, and their order: the fewest bits first, those that could
not be trained last.

Knows the record of a comparison and those of its models' effective contexts and robustness.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from seriatim.analysis.context.page import NamedContexts, context_section
from seriatim.analysis.robustness.page import NamedRobustness, robustness_section
from seriatim.comparison.record import (
    ComparisonRecord,
    EvaluationBits,
    Interval,
    MixtureRecord,
    ModelResult,
    PairRecord,
)
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
from seriatim.report.tables import Cell, Table, format_cell

_STATE_AT = 512  # symbols
_PARTS = {"train": "for training", "valid": "for validation", "test": "for testing"}
_LEARNING = (
    "A counted model is one point, at its test figure. A curve that still falls at its end asks "
    "for more "
)
_REFERENCES = (
    "Unigram: each symbol by its frequency in the training text alone; uniform: all symbols alike."
)
_TWO_STATEMENTS = """\
Two kinds of statement are kept apart. One model beats another on text like this: the blocks of \
the test text are resampled, the models stay. One family beats another under this budget: seeds \
are resampled too, which needs several seeds of every family."""


def compare_report(
    comparison: ComparisonRecord, *, contexts: NamedContexts = (), robustness: NamedRobustness = ()
) -> Report:
    """The report of a comparison: the recommendation in plain words, and what it rests on.

    Args:
        comparison: the record of the comparison.
        contexts: pairs of a model's name and its effective context.
        robustness: pairs of a model's name and its robustness.

    Raises:
        MissingExtraError: if Altair is not installed.
    """
    sections = [
        *_quality_sections(comparison),
        *_cost_sections(comparison),
        *context_section(contexts, comparison.names),
        *robustness_section(robustness, comparison.names),
    ]
    title = f"Which model for {data_name(comparison)}"
    # The choice stands alone; what qualifies it follows.
    lead = comparison.recommendation.sentence.replace(". ", ".\n\n", 1)
    return Report(title, lead, sections, _closing_notes(comparison))


def data_name(comparison: ComparisonRecord) -> str:
    """The name of the data; of a path its last part."""
    return PurePath(comparison.data.name).name or comparison.data.name


def compare_plots(comparison: ComparisonRecord) -> list[Plot]:
    """Every plot of a comparison that has figures, in the order of the report."""
    plots = [
        bits_plot(comparison),
        *pair_plots(comparison),
        *learning_plots(comparison),
        state_plot(comparison),
        *cost_plots(comparison),
        *mixture_plots(comparison),
    ]
    return [plot for plot in plots if plot.spec]


# ---- sections -----------------------------------------------------------------------------------


def _quality_sections(comparison: ComparisonRecord) -> list[Section]:
    tables = [quality_table(comparison), *not_run_tables(comparison)]
    plots = [bits_plot(comparison)]
    sections = [Section("The models side by side", conditions(comparison), plots, tables)]
    pairs = pair_plots(comparison)
    if pairs:
        sections.append(Section("Is the difference real?", _TWO_STATEMENTS, pairs))
    learning = [plot for plot in learning_plots(comparison) if plot.spec]
    if learning:
        text = "Bits on the validation text during training."
        sections.append(Section("Would more training help?", text, learning))
    if comparison.mixture is not None:
        text = _mixture_text(comparison.mixture, comparison.metric)
        sections.append(Section("The best mixture", text, mixture_plots(comparison)))
    return sections


def _cost_sections(comparison: ComparisonRecord) -> list[Section]:
    plots = [p for p in (state_plot(comparison), *cost_plots(comparison)) if p.spec]
    text = "Quality against size, work and speed. Operations per symbol stand for energy."
    tables = [cost_table(comparison)]
    return [Section("What it costs", text, plots, tables, is_grid=True)] if plots else []


def conditions(comparison: ComparisonRecord) -> str:
    """What was the same for every model, in a paragraph."""
    counts = [f"{n:,} characters {_PARTS[part]}" for part, n in comparison.data.characters.items()]
    return (
        f"Data: {comparison.data.name}; {', '.join(counts)}. "
        f"Budget: {comparison.budget.sentence}. "
        "The split is the same for all: models are trained on the training text, chosen by the "
        "validation text and judged by the test text, which none of them has seen."
    )


def _mixture_text(mixture: MixtureRecord, metric: str) -> str:
    """What the best mixture reaches."""
    interval = "" if mixture.interval is None else f" (95 %: {_span(mixture.interval, 3)})"
    return (
        f"Mixed with the weights below, the models need {mixture.bits:.3f} {metric}{interval}, "
        f"{mixture.gain:.4f} less than {mixture.best} alone."
    )


def _closing_notes(comparison: ComparisonRecord) -> str:
    """What could not be said, and what the comparison took."""
    notes = [f"{note[:1].upper()}{note[1:]}." for note in comparison.notes]
    overhead = comparison.overhead
    notes.append(
        f"Training took {overhead.training_seconds:,.0f} s, everything else "
        f"{overhead.other_seconds:,.0f} s."
    )
    return "\n\n".join(notes)


# ---- plots --------------------------------------------------------------------------------------


def bits_plot(comparison: ComparisonRecord) -> Plot:
    """The bits of each model on the test text, with intervals and single seeds."""
    has_seeds = any(len(model.seeds) > 1 for model in comparison.ranked)
    values = [
        IntervalEstimate(
            model.name,
            model.bits,
            low,
            high,
            samples=[seed.bits for seed in model.seeds] if has_seeds else (),
        )
        for model in comparison.ranked
        for low, high in [model.interval or (None, None)]
    ]
    return interval_plot(
        values,
        "Which model predicts the test text best",
        "Fewer bits are better. The line is the 95 % interval over blocks of the text."
        + (" Small ticks are single seeds." if has_seeds else "")
        + (f" {_REFERENCES}" if comparison.references else ""),
        x=comparison.metric,
        names=comparison.names,
        references=comparison.references,
    )


def pair_plots(comparison: ComparisonRecord) -> list[Plot]:
    """Which differences are real: of models, and of families where there are seeds.

    Their tables are the statements themselves.
    """
    unit = comparison.metric
    texts = (
        "Which differences are real, on text like this",
        f"{unit.capitalize()} that the model of the row saves against the model of the column; "
        "coloured where the difference is real (5 % level over all pairs, Holm), grey where this "
        "much text cannot tell.",
    )
    families = (
        "Which differences are real, between families under this budget",
        "The same with seeds resampled too: what would be seen if each family were trained again.",
    )
    names = [model.name for model in comparison.ranked]
    plots = []
    for pairs, captions in ((comparison.texts, texts), (comparison.families, families)):
        if pairs:
            plot = pairwise_matrix(_verdicts(pairs), names, *captions, unit=unit)
            columns = ["statement", "difference", "95 % interval", "p-value"]
            rows: list[list[Cell]] = [
                [p.sentence, p.difference, _span(p.interval, 4), p.p_value] for p in pairs
            ]
            plots.append(replace(plot, columns=columns, rows=rows))
    return plots


def _verdicts(pairs: Sequence[PairRecord]) -> dict[tuple[str, str], Verdict]:
    """What a saves against b, and b against a; a difference is that of a and b."""
    verdicts = {}
    for pair in pairs:
        low, high = pair.interval
        verdicts[pair.a, pair.b] = Verdict(-pair.difference, -high, -low, pair.is_significant)
        verdicts[pair.b, pair.a] = Verdict(pair.difference, low, high, pair.is_significant)
    return verdicts


def learning_plots(comparison: ComparisonRecord) -> list[Plot]:
    """Validation bits against the seconds of training and the passes over the text."""
    by_time = [
        _learning_curve(model, [e.seconds for e in _measured(model)], model.train_seconds)
        for model in comparison.ranked
    ]
    by_epoch = [
        _learning_curve(model, [e.epoch for e in _measured(model)], 1.0)
        for model in comparison.ranked
    ]
    titles = {
        "seconds of training": ("What more time brings", f"{_LEARNING}time.", by_time),
        "passes over the training text": (
            "What more passes over the text bring",
            f"{_LEARNING}text, or more passes over it.",
            by_epoch,
        ),
    }
    return [
        line_plot(
            curves,
            title,
            caption,
            x=x,
            y=f"{comparison.metric}, validation",
            x_scale="log",
            names=comparison.names,
            references=comparison.references,
            y_most=comparison.references.get("uniform"),
        )
        for x, (title, caption, curves) in titles.items()
    ]


def _measured(model: ModelResult) -> list[EvaluationBits]:
    """The evaluations with a validation loss, from the first step on."""
    return [e for e in model.history if e.valid is not None and e.step]


def _learning_curve(model: ModelResult, x: Sequence[float], counted_at: float) -> LineSeries:
    """Validation bits in the comparison's metric; of a counted model its one test figure.

    The history is in bits per symbol. The ratio of the two on the test text is taken for the
    validation text.
    """
    valid = [e.valid for e in _measured(model) if e.valid is not None]
    if not valid:
        return LineSeries(model.name, [counted_at], [model.bits])
    scale = model.bits / model.bits_per_symbol if model.bits_per_symbol else 1.0
    return LineSeries(model.name, x, [scale * bits for bits in valid])


def state_plot(comparison: ComparisonRecord) -> Plot:
    """What a model keeps of one sequence, against the sequence's length."""
    curves = [
        LineSeries(model.name, *zip(*model.state_bytes, strict=True))
        for model in comparison.ranked
        if model.state_bytes
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
        names=comparison.names,
    )


def cost_plots(comparison: ComparisonRecord) -> list[Plot]:
    """Bits against what they cost: the model's size, its work and its speed."""
    ranked = comparison.ranked
    cheaper = "Lower is better; further to the left is cheaper."
    faster = "Lower is better; further to the right is faster."
    axes: list[tuple[str, str, str, Sequence[float]]] = [
        ("bytes of the model", "Size and quality", cheaper, [m.bytes for m in ranked]),
        (
            "operations per symbol",
            "Work and quality",
            cheaper,
            [m.operations_per_symbol for m in ranked],
        ),
        (
            "symbols generated per second",
            "Speed and quality",
            faster,
            [m.generate_symbols_per_second for m in ranked],
        ),
    ]
    return [
        scatter_plot(
            [Point(m.name, value, m.bits) for m, value in zip(ranked, values, strict=True)],
            title,
            caption,
            x=x,
            y=comparison.metric,
            x_scale="log",
            names=comparison.names,
            height=220,
        )
        for x, title, caption, values in axes
    ]


def mixture_plots(comparison: ComparisonRecord) -> list[Plot]:
    """The weights of the best mixture, and what it would lose without each model."""
    mixture, unit = comparison.mixture, comparison.metric
    if mixture is None:
        return []
    return [
        bar_plot(
            _falling(mixture.weights),
            "Weights of the best mixture",
            "Chosen on the validation text by expectation maximization; they sum to 1.",
            x="weight",
            names=comparison.names,
        ),
        bar_plot(
            _falling(mixture.contributions),
            "What each model adds to the mixture",
            f"{unit.capitalize()} that the mixture loses without the model.",
            x=unit,
            names=comparison.names,
            digits=4,
        ),
    ]


def _falling(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda pair: -pair[1]))


# ---- tables -------------------------------------------------------------------------------------


def quality_table(comparison: ComparisonRecord) -> Table:
    """One row for each model: its bits on the test text, or that it was not run."""
    is_by_character = comparison.unit == "character"
    other = "bits per symbol" if is_by_character else "bits per character"
    columns = ["model", comparison.metric, "95 % interval", "bits per byte", other, "symbols"]
    rows: list[list[Cell]] = [
        [
            model.name,
            model.bits,
            None if model.interval is None else _span(model.interval, 3),
            model.bits_per_byte,
            model.bits_per_symbol if is_by_character else model.bits_per_character,
            model.symbols,
        ]
        for model in comparison.ranked
    ]
    rows += [
        [model.name, None, "not run", None, None, model.symbols] for model in comparison.not_run
    ]
    # Where a character is a byte and a symbol, three columns would say the same.
    same = [i for i in (3, 4) if all(_is_alike(row[i], row[1]) for row in rows)]
    columns = [column for i, column in enumerate(columns) if i not in same]
    rows = [[cell for i, cell in enumerate(row) if i not in same] for row in rows]
    return Table("The models", columns, rows, "Fewer bits are better.")


def _is_alike(a: Cell, b: Cell) -> bool:
    """Whether two figures are the same at the digits that are shown."""
    return a is None or format_cell(a) == format_cell(b)


def cost_table(comparison: ComparisonRecord) -> Table:
    """One row for each model that was trained: size, state, training, speed, work."""
    columns = [
        "model",
        "parameters",
        "bytes",
        f"bytes of state at {_STATE_AT}",
        "seconds of training",
        "symbols trained per second",
        "symbols generated per second",
        "operations per symbol",
    ]
    rows: list[list[Cell]] = [
        [
            model.name,
            model.parameters,
            model.bytes,
            _state_at(model.state_bytes, _STATE_AT),
            model.train_seconds,
            model.train_symbols_per_second,
            model.generate_symbols_per_second,
            model.operations_per_symbol,
        ]
        for model in comparison.ranked
    ]
    formats = dict.fromkeys(columns[5:], ",.0f") | {"seconds of training": ",.1f"}
    return Table("Size, state, speed", columns, rows, formats=formats)


def not_run_tables(comparison: ComparisonRecord) -> list[Table]:
    """The models that could not be trained, and why; empty if all could."""
    rows = [[model.name, model.reason] for model in comparison.not_run]
    return [Table("Not run", ["model", "reason"], rows)] if rows else []


def _state_at(sizes: Sequence[tuple[int, int]], length: int) -> int | None:
    """Bytes at the greatest measured length up to `length`."""
    return next((size for at, size in reversed(sizes) if at <= length), None)


def _span(interval: Interval, digits: int) -> str:
    return f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"
