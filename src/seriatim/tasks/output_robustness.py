"""What damaged sources do to the outputs of a translator.

It binds a translator to pairs; `analysis.robustness.measure` defines what is measured and how.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seriatim.analysis.context.restarts import FractionDone
from seriatim.analysis.robustness.measure import pair_robustness
from seriatim.analysis.robustness.perturbations import Ints
from seriatim.analysis.robustness.result import Robustness
from seriatim.data.pairs import Pairs
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.decode.mbr import ChrF
from seriatim.errors import ConfigError
from seriatim.metrics.bleu_chrf import bleu, bleu_of_counts, chrf
from seriatim.metrics.bootstrap import Floats, Metric, ratio
from seriatim.metrics.error_rates import edit_distance
from seriatim.tasks.analyses import OutputMetricName


def output_robustness(
    pairs: Pairs,
    vocabulary: Vocabulary,
    translate: Callable[[list[str]], list[str]],
    metric: OutputMetricName,
    *,
    strengths: Mapping[str, Sequence[float]],
    limit: int | None,
    seeds: int,
    seed: int,
    progress: FractionDone | None,
) -> Robustness:
    """Measure what damaged sources do to the outputs of a translator.

    A source is damaged in its symbols, and the text that is left of it is read again.

    Args:
        pairs: the sources and references.
        vocabulary: the vocabulary of the sources.
        translate: a function that returns the outputs for texts, in order.
        metric: the name of the metric that compares outputs with references.
        strengths, seeds, seed, progress: as in `analysis.robustness.measure.pair_robustness`.
        limit: the most pairs, from all over the data; None: all.

    Raises:
        ConfigError: if the metric is unknown.
        DataError: if there are fewer than ten pairs.
        MissingExtraError: if sacrebleu is not installed, which BLEU and chrF need.
    """
    if metric not in _METRICS:
        raise ConfigError(f"unknown metric {metric!r}: choose one of {', '.join(_METRICS)}")
    chosen = list(pairs.pairs())
    if limit is not None and limit < len(chosen):
        spread = np.linspace(0, len(chosen) - 1, max(0, limit)).astype(np.int64)
        chosen = [chosen[i] for i in spread.tolist()]
    references = [y if isinstance(y, str) else vocabulary.separator.join(y) for _, y in chosen]
    output_metric = _METRICS[metric]

    def measure(sources: list[Ints]) -> Floats:
        return output_metric.count(translate([vocabulary.decode(x) for x in sources]), references)

    return pair_robustness(
        [vocabulary.encode(x) for x, _ in chosen],
        measure,
        output_metric.of_sums,
        name=output_metric.name,
        is_loss=output_metric.is_loss,
        strengths=strengths,
        seeds=seeds,
        seed=seed,
        progress=progress,
    )


def _edits(outputs: Sequence[str], references: Sequence[str]) -> Floats:
    pairs = zip(outputs, references, strict=True)
    return np.array([[edit_distance(a, b), len(b)] for a, b in pairs], np.float64)


def _matches(outputs: Sequence[str], references: Sequence[str]) -> Floats:
    return np.array([[a == b, 1] for a, b in zip(outputs, references, strict=True)], np.float64)


@dataclass(frozen=True)
class _OutputMetric:
    """What is counted of each output and its reference, and what sums of the counts mean."""

    name: str
    count: Callable[[Sequence[str], Sequence[str]], Floats]
    of_sums: Metric
    is_loss: bool = False


_METRICS: Mapping[str, _OutputMetric] = {
    "chrf": _OutputMetric("chrF", lambda a, b: chrf(a, b).counts, ChrF().score),
    "bleu": _OutputMetric("BLEU", lambda a, b: bleu(a, b).counts, bleu_of_counts),
    "exact-match": _OutputMetric("exact matches", _matches, ratio),
    "character-errors": _OutputMetric("edits per character", _edits, ratio, is_loss=True),
}
