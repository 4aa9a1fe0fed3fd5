"""The effective context as text: tables of the curves, and a few sentences.

Knows the result of a measurement; no model.
"""

from seriatim.analysis.context.result import ContextCurve, EffectiveContext
from seriatim.report.terminal import text_table

_GAIN = 0.005  # of the full bits: worth saying that less context is better
_DISTANCES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def summary(context: EffectiveContext) -> str:
    """The effective context in a few sentences."""
    most, k = context.contexts[-1], context.effective
    if k is None:
        text = f"The model looks more than {most} symbols back"
    elif k == 0:
        text = "The model makes no use of what came before"
    else:
        text = f"The model looks {k} symbol{'s' * (k > 1)} back"
    sentences = [text + _interval(context.curve, most), _reach(context)]
    best = min(context.contexts, key=lambda k: float(context.curve.bits[k]))
    gain = 1 - context.curve.bits[best] / context.curve.full if context.curve.full > 0 else 0.0
    if gain > _GAIN:
        sentences.append(f"It predicts {gain:.1%} better when it sees only the last {best}")
    if context.replaced is not None:
        sentences.append(_replaced(context.replaced, context.disturbed_at[-1]))
    return "".join(f"{sentence}. " for sentence in sentences).rstrip()


def _reach(context: EffectiveContext) -> str:
    """The declared reach, and how it agrees with what was measured."""
    text = "Its declared reach "
    text += "has no bound" if context.reach is None else f"is {context.reach:,}"
    if not context.respects_reach:
        most = context.contexts[-1]
        seen = f"more than {most}" if context.seen_reach is None else str(context.seen_reach)
        return f"{text}, BUT symbols as far as {seen} back still change its predictions"
    if context.seen_reach is not None and context.reach != context.seen_reach:
        text += f", and nothing further than {context.seen_reach} back changed a prediction here"
    return text


def _replaced(curve: ContextCurve, most: int) -> str:
    """What replacing the far past changes."""
    if curve.effective is None:
        return f"Replacing everything further than {most} symbols back still changes predictions"
    far = f"everything further than {curve.effective} symbols back"
    past = far if curve.effective else "the whole past"
    return f"Replacing {past}{_interval(curve, most)} changes nothing"


def _interval(curve: ContextCurve, most: int) -> str:
    """The interval of an effective context; "" where it is a single number."""
    low, high = (f"more than {most}" if k is None else str(k) for k in curve.effective_interval)
    return "" if low == high else f" (95 %: {low} to {high})"


def tables(context: EffectiveContext) -> str:
    """The curves, one row for each number of symbols seen, and everything else measured."""
    parts = [_curve_table(context)]
    if context.categories:
        parts.append(_category_table(context))
    if context.disturbed_at:
        parts.append(_disturbed_table(context))
    if context.influence is not None or context.gradient_decay is not None:
        parts.append(_gradient_table(context))
    return "\n\n".join(parts)


def _curve_table(context: EffectiveContext) -> str:
    curve = context.curve
    low, high = curve.full_interval
    rows = [
        ["symbols seen", "bits per symbol", "95 %", "more than with all"],
        _row("none", curve, 0),
        *(_row(str(k), curve, k) for k in context.contexts),
        ["all", f"{curve.full:.4f}", f"{low:.4f} to {high:.4f}", ""],
    ]
    return text_table(rows)


def _row(name: str, curve: ContextCurve, k: int) -> list[str]:
    low, high = curve.intervals[k]
    bits = curve.bits[k]
    more = f"{bits / curve.full - 1:.1%}" if curve.full > 0 else ""
    return [name, f"{bits:.4f}", f"{low:.4f} to {high:.4f}", "0.0%" if more == "-0.0%" else more]


def _category_table(context: EffectiveContext) -> str:
    rows = [["category", "symbols", "bits", "looks back"]]
    for name, curve in context.categories.items():
        most = len(curve.bits) - 1
        back = f"over {most}" if curve.effective is None else str(curve.effective)
        low, high = (f"over {most}" if k is None else str(k) for k in curve.effective_interval)
        rows.append([name, f"{curve.targets:,}", f"{curve.full:.4f}", f"{back} ({low} to {high})"])
    return text_table(rows)


def _disturbed_table(context: EffectiveContext) -> str:
    """The bits where everything further back is shuffled, replaced or not seen."""
    curves = {"shuffled": context.shuffled, "replaced": context.replaced}
    columns = {f"rest {name}": curve for name, curve in curves.items() if curve is not None}
    columns["rest not seen"] = context.curve
    rows = [["true symbols", *columns]]
    for k in context.disturbed_at:
        rows.append([str(k), *(f"{curve.bits[k]:.4f}" for curve in columns.values())])
    return text_table(rows)


def _gradient_table(context: EffectiveContext) -> str:
    columns: list[tuple[str, list[float], str]] = []
    if context.influence is not None:
        name = f"influence by {context.influence.method}"
        columns.append((name, (100 * context.influence.fractions).tolist(), "{:.2f} %"))
    if context.gradient_decay is not None:
        for layer, norms in context.gradient_decay.layers.items():
            columns.append((f"gradient, layer {layer}", norms.tolist(), "{:.3g}"))
    rows = [["symbols back", *(name for name, _, _ in columns)]]
    for d in _DISTANCES:
        if d <= context.contexts[-1]:
            cells = [form.format(v[d - 1]) if d <= len(v) else "" for _, v, form in columns]
            rows.append([str(d), *cells])
    return text_table(rows)
