"""A comparison as text: a table of the models, the statements about them, the recommendation.

Knows the record of a comparison; no model.
"""

from collections.abc import Sequence
from itertools import pairwise

from seriatim.comparison.record import ComparisonRecord, MixtureRecord, ModelResult, PairRecord
from seriatim.report.terminal import format_bytes, format_duration, text_table

_MIN_WEIGHT = 0.005  # of a model that contributes to a mixture


def summary(comparison: ComparisonRecord) -> str:
    """Everything that a user should read first."""
    data, overhead = comparison.data, comparison.overhead
    not_run = [f"{model.name} was not run: {model.reason}" for model in comparison.not_run]
    return "\n".join(
        [
            f"{data.name}: {data.characters['train']:,} characters of training text, "
            f"{data.characters['test']:,} of test text; {comparison.budget.sentence}.",
            "",
            _table(comparison),
            "",
            *not_run,
            *conclusions(comparison),
            "",
            f"Training took {format_duration(overhead.training_seconds)}, everything else "
            f"{format_duration(overhead.other_seconds)}.",
        ]
    )


def conclusions(comparison: ComparisonRecord) -> list[str]:
    """What is said of the models beyond their figures, in lines."""
    statements = [
        *_neighbours(comparison.texts, comparison.ranked),
        *_neighbours(comparison.families, comparison.ranked),
    ]
    lines = ["Each model and the next best:", *statements] if statements else []
    lines += [f"note: {note}" for note in comparison.notes]
    lines += [""] if lines else []
    if comparison.mixture is not None:
        lines += [_mixture(comparison.mixture, comparison.metric), ""]
    return [*lines, comparison.recommendation.sentence]


def _table(comparison: ComparisonRecord) -> str:
    has_seeds = any(len(model.seeds) > 1 for model in comparison.ranked)
    head = ["model", f"bits per {comparison.unit}", "95 %", "parameters", "bytes"]
    head += ["state per sequence", "after 512", "trained/s", "generated/s", "operations", "time"]
    rows = [head + (["seeds"] if has_seeds else [])]
    rows += [_row(m) + ([_seeds(m)] if has_seeds else []) for m in comparison.ranked]
    rows += [[m.name, "not run", *[""] * (len(rows[0]) - 2)] for m in comparison.not_run]
    return text_table(rows)


def _row(model: ModelResult) -> list[str]:
    interval = "" if model.interval is None else "{:.3f} to {:.3f}".format(*model.interval)
    states = [size for _, size in sorted(model.state_bytes)]
    return [
        model.name,
        f"{model.bits:.4f}",
        interval,
        "counts" if model.is_counted else f"{model.parameters:,}",
        format_bytes(model.bytes),
        format_bytes(states[0]),
        format_bytes(states[-1]),
        f"{model.train_symbols_per_second:,.0f}",
        f"{model.generate_symbols_per_second:,.0f}",
        f"{model.operations_per_symbol:,.0f}",
        format_duration(model.train_seconds),
    ]


def _seeds(model: ModelResult) -> str:
    bits = [seed.bits for seed in model.seeds]
    return f"{min(bits):.4f} to {max(bits):.4f}" if len(bits) > 1 else "1"


def _neighbours(pairs: Sequence[PairRecord], models: Sequence[ModelResult]) -> list[str]:
    """The statements about neighbours in the order of their bits."""
    compared = {pair.a for pair in pairs} | {pair.b for pair in pairs}
    ranked = sorted((m for m in models if m.name in compared), key=lambda m: m.mean_bits)
    sentences = {frozenset((pair.a, pair.b)): pair.sentence for pair in pairs}
    return [f"  {sentences[frozenset((a.name, b.name))]}" for a, b in pairwise(ranked)]


def _mixture(mixture: MixtureRecord, metric: str) -> str:
    parts = [
        f"{name} {weight:.0%} (without it {mixture.contributions[name]:+z.4f})"
        for name, weight in mixture.heaviest(_MIN_WEIGHT)
    ]
    text = f"The best mixture: {mixture.bits:.4f} {metric}: {', '.join(parts)}"
    idle = [name for name, weight in mixture.heaviest(0) if weight < _MIN_WEIGHT]
    if idle:
        verb = "contributes" if len(idle) > 1 else "does not contribute"
        text += f"; none of {', '.join(idle)} {verb}" if len(idle) > 1 else f"; {idle[0]} {verb}"
    if mixture.left_out:
        text += f"; left out, because their symbols differ: {', '.join(mixture.left_out)}"
    return f"{text}."
