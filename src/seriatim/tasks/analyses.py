"""How far back a fitted model looks, and what damaged data does to it: texts and pairs.

It binds models to data; `analysis.context.measure` and `analysis.robustness.measure` define what is
measured and how.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.analysis.context.restarts import Report
from seriatim.analysis.robustness.measure import Robustness, pair_robustness
from seriatim.data.corpus import Corpus, build_corpus
from seriatim.data.pairs import Pairs
from seriatim.data.sources import Source
from seriatim.data.vocab.categories import CategoryChoice, categories_of
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.decode.mbr import ChrF
from seriatim.errors import ConfigError, SymbolError
from seriatim.metrics.bleu_chrf import bleu, bleu_of_counts, chrf
from seriatim.metrics.bootstrap import Floats, Metric, ratio
from seriatim.metrics.error_rates import edit_distance

Figure: TypeAlias = Literal["chrf", "bleu", "exact-match", "character-errors"]
Ids: TypeAlias = NDArray[np.int64]

PAIRS = 200  # that are translated for each perturbation, unless more are asked for


def known_corpus(source: Source, vocabulary: Vocabulary) -> Corpus:
    """A source in the symbols of a model.

    Raises:
        SymbolError: most of it is unknown to the model, so figures would say nothing of it.
    """
    corpus = build_corpus(source, vocabulary)
    if corpus.num_unknown > corpus.num_tokens / 2:
        raise SymbolError(
            f"{corpus.num_unknown:,} of the {corpus.num_tokens:,} symbols of {source.name} are "
            "unknown to the model: give text of the kind that it was fitted to"
        )
    return corpus


def categories_in(
    corpus: Corpus, vocabulary: Vocabulary, asked: CategoryChoice
) -> dict[str, list[int]]:
    """The symbols of each kind, frequent ones being those that are frequent in this corpus."""
    counts = np.bincount(np.asarray(corpus.tokens), minlength=vocabulary.num_symbols)
    return categories_of(vocabulary, counts, asked)


# ---- pairs --------------------------------------------------------------------------------------


def output_robustness(
    pairs: Pairs,
    vocabulary: Vocabulary,
    translate: Callable[[list[str]], list[str]],
    figure: Figure,
    *,
    strengths: Mapping[str, Sequence[float]],
    limit: int | None,
    seeds: int,
    seed: int,
    progress: Report | None,
) -> Robustness:
    """What damaged sources do to the outputs of a translator.

    A source is damaged in its symbols, and read again as the text that is left of it.

    Args:
        pairs: sources and references.
        vocabulary: of the sources.
        translate: the outputs of texts, in order.
        figure: by which outputs are held against references.
        strengths, seeds, seed, progress: as in `analysis.robustness.measure.pair_robustness`.
        limit: at most so many pairs, from all over the data; None: all.

    Raises:
        ConfigError: no such figure.
        DataError: fewer than ten pairs.
        MissingExtraError: BLEU and chrF need sacrebleu, which is not installed.
    """
    if figure not in _FIGURES:
        raise ConfigError(f"there is no figure {figure!r}: choose of {', '.join(_FIGURES)}")
    held = list(pairs.pairs())
    if limit is not None and limit < len(held):
        kept = np.linspace(0, len(held) - 1, max(0, limit)).astype(np.int64)
        held = [held[i] for i in kept.tolist()]
    references = [y if isinstance(y, str) else vocabulary.separator.join(y) for _, y in held]
    measured = _FIGURES[figure]

    def measure(sources: list[Ids]) -> Floats:
        return measured.count(translate([vocabulary.decode(x) for x in sources]), references)

    return pair_robustness(
        [vocabulary.encode(x) for x, _ in held],
        measure,
        measured.metric,
        name=measured.name,
        is_loss=measured.is_loss,
        strengths=strengths,
        seeds=seeds,
        seed=seed,
        progress=progress,
    )


def _edits(found: Sequence[str], wanted: Sequence[str]) -> Floats:
    pairs = zip(found, wanted, strict=True)
    return np.array([[edit_distance(a, b), len(b)] for a, b in pairs], np.float64)


def _matches(found: Sequence[str], wanted: Sequence[str]) -> Floats:
    return np.array([[a == b, 1] for a, b in zip(found, wanted, strict=True)], np.float64)


@dataclass(frozen=True)
class _Measured:
    """A figure of outputs: what is counted of each beside its reference, and what sums mean."""

    name: str
    count: Callable[[Sequence[str], Sequence[str]], Floats]
    metric: Metric
    is_loss: bool = False


_FIGURES: Mapping[str, _Measured] = {
    "chrf": _Measured("chrF", lambda a, b: chrf(a, b).counts, ChrF().score),
    "bleu": _Measured("BLEU", lambda a, b: bleu(a, b).counts, bleu_of_counts),
    "exact-match": _Measured("targets found exactly", _matches, ratio),
    "character-errors": _Measured("edits per character", _edits, ratio, is_loss=True),
}
