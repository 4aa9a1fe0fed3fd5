"""The robustness of a model as text: a table of the perturbations, and the findings.

Knows the result of a measurement; no model.
"""

from seriatim.analysis.robustness.result import PerturbationResult, Robustness
from seriatim.report.terminal import text_table


def summary(robustness: Robustness) -> str:
    """The findings in words: every kind at its greatest strength."""
    strongest: dict[str, PerturbationResult] = {}
    for result in robustness.perturbations:
        if result.kind not in strongest or result.strength > strongest[result.kind].strength:
            strongest[result.kind] = result
    changes, harmless = [], []
    for kind, result in strongest.items():
        name = f"{kind} at {result.strength:g}"
        if result.is_significant:
            changes.append(f"{name} {_change(result, robustness)}")
        else:
            harmless.append(name)
    sentences = []
    if changes:
        sentences.append(f"Change in {robustness.metric}: {', '.join(changes)}.")
    if harmless:
        sentences.append(f"No more than chance: {', '.join(harmless)}.")
    return " ".join(sentences)


def _change(result: PerturbationResult, robustness: Robustness) -> str:
    """How much a perturbation changes the metric: relative for a loss, absolute otherwise."""
    if robustness.is_loss and result.intact > 0:
        return f"{result.bits / result.intact - 1:+.1%}"
    return f"{result.bits - result.intact:+.4g}"


def table(robustness: Robustness) -> str:
    """One row for each kind and strength."""
    rows = [["perturbation", "strength", robustness.metric, "95 %", "intact", "by chance", ""]]
    for result in robustness.perturbations:
        verdict = "better" if (result.bits < result.intact) == robustness.is_loss else "worse"
        rows.append(
            [
                result.kind,
                f"{result.strength:g}",
                f"{result.bits:.4f}",
                f"{result.interval[0]:.4f} to {result.interval[1]:.4f}",
                f"{result.intact:.4f}",
                f"{result.chance[0]:.4f} to {result.chance[1]:.4f}",
                verdict if result.is_significant else "",
            ]
        )
    return text_table(rows)
