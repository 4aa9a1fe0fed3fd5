"""BLEU and chrF of translations by sacrebleu, with the signature that states what was computed.

Requires the extra `text`. Knows strings; no model.

Shapes: N sentences, F counts of each sentence, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, TypeAlias

import numpy as np

from seriatim.core.extras import import_extra
from seriatim.decode.mbr import ChrF
from seriatim.errors import ConfigError, DataError
from seriatim.metrics.bootstrap import Floats, PairedComparison, paired_bootstrap

_ORDER = 4  # the longest n-grams of BLEU


References: TypeAlias = Sequence[str] | Sequence[Sequence[str]]


@dataclass(frozen=True)
class TranslationScore:
    """One metric of one system.

    Attributes:
        name: the name of the metric.
        score: the score, 0 to 100.
        signature: the signature of sacrebleu, which states every setting of the metric.
        counts: (N, F) the counts of each sentence, for a paired bootstrap.
    """

    name: str
    score: float
    signature: str
    counts: Floats = field(repr=False)


def bleu(
    hypotheses: Sequence[str],
    references: References,
    *,
    lowercase: bool = False,
    tokenize: str | None = None,
) -> TranslationScore:
    """Corpus BLEU (Papineni et al. 2002) as sacrebleu computes it (Post 2018).

    Args:
        hypotheses: the N translations, detokenized.
        references: the N references, or N lists of references.
        lowercase: whether to ignore case (`case:lc` of sacrebleu).
        tokenize: the tokenizer of sacrebleu; None: "13a". Use "char" for languages without
            spaces, "none" for text that is tokenized already.

    Raises:
        MissingExtraError: if sacrebleu is not installed.
        ConfigError: if sacrebleu has no such tokenizer.
        DataError: if the lists have different lengths or are empty.
    """
    lists = _lists(hypotheses, references)
    metrics = _sacrebleu()
    if tokenize is not None and tokenize not in metrics.BLEU.TOKENIZERS:
        names = ", ".join(metrics.BLEU.TOKENIZERS)
        raise ConfigError(f"tokenize = {tokenize!r}: choose one of {names}")
    # force: do not warn about text that looks tokenized; the caller decides that.
    metric = metrics.BLEU(lowercase=lowercase, tokenize=tokenize, force=True)
    score = metric.corpus_score(list(hypotheses), _streams(lists))
    by_sentence = metrics.BLEU(
        lowercase=lowercase, tokenize=tokenize, force=True, effective_order=True
    )
    rows = []
    for hypothesis, own in zip(hypotheses, lists, strict=True):
        one = by_sentence.sentence_score(hypothesis, own)
        rows.append([*one.counts, *one.totals, one.sys_len, one.ref_len])
    signature = str(metric.get_signature())
    return TranslationScore("BLEU", float(score.score), signature, np.array(rows, np.float64))


def bleu_of_counts(sums: Floats) -> Floats:
    """(R,) BLEU of summed counts (R, F): matches and n-grams for n = 1 .. 4, and both lengths.

    The k-th precision without a match is 1 / 2^k of one n-gram, the exponential smoothing of
    sacrebleu (Chen, Cherry 2014, method 3).
    """
    matches, totals = sums[:, :_ORDER], sums[:, _ORDER : 2 * _ORDER]
    length, reference = sums[:, -2], sums[:, -1]
    is_zero = (matches == 0) & (totals > 0)
    smooth = 0.5 ** np.cumsum(is_zero, 1)
    precision = np.where(is_zero, smooth, matches) / np.maximum(totals, 1)
    with np.errstate(divide="ignore"):
        mean = np.log(precision).mean(1)
    brevity = np.minimum(0.0, 1 - reference / np.maximum(length, 1e-9))
    is_positive = (totals > 0).all(1) & (matches > 0).any(1)
    return np.asarray(np.where(is_positive, 100 * np.exp(mean + brevity), 0.0))


def chrf(
    hypotheses: Sequence[str], references: References, *, lowercase: bool = False
) -> TranslationScore:
    """Corpus chrF (Popović 2015): character n-grams up to 6, beta 2, no word n-grams.

    Args:
        hypotheses: the N translations, detokenized.
        references: the N references, or N lists of references.
        lowercase: whether to ignore case.

    Raises:
        MissingExtraError: if sacrebleu is not installed.
        DataError: if the lists have different lengths or are empty.
    """
    lists = _lists(hypotheses, references)
    metric = _sacrebleu().CHRF(lowercase=lowercase)
    score = metric.corpus_score(list(hypotheses), _streams(lists))
    counter, rows = ChrF(), []
    for hypothesis, own in zip(hypotheses, lists, strict=True):
        of_each = [
            counter.statistics(hypothesis.lower(), r.lower())
            if lowercase
            else counter.statistics(hypothesis, r)
            for r in own
        ]
        rows.append(max(of_each, key=lambda row: float(counter.score(row[None])[0])))
    return TranslationScore("chrF", float(score.score), str(metric.get_signature()), np.array(rows))


def compare_scores(
    a: TranslationScore, b: TranslationScore, *, resamples: int = 1000, seed: int = 0
) -> PairedComparison:
    """Paired bootstrap of two systems with the same metric on the same sentences.

    Raises:
        DataError: if the metrics, signatures or numbers of sentences differ.
    """
    if (a.name, a.signature) != (b.name, b.signature):
        raise DataError(
            f"{a.name} ({a.signature}) and {b.name} ({b.signature}) cannot be compared: measure "
            "both systems with the same settings"
        )
    metric = bleu_of_counts if a.name == "BLEU" else ChrF().score
    return paired_bootstrap(a.counts, b.counts, metric, resamples=resamples, seed=seed)


def _sacrebleu() -> Any:
    return import_extra(
        "sacrebleu.metrics", "BLEU and chrF need sacrebleu: pip install 'seriatim[text]'"
    )


def _lists(hypotheses: Sequence[str], references: References) -> list[list[str]]:
    """The references of each hypothesis as a list."""
    lists = [[r] if isinstance(r, str) else list(r) for r in references]
    if len(hypotheses) != len(references) or not references or not all(lists):
        raise DataError(
            f"{len(hypotheses)} translations do not fit {len(references)} references: give one "
            "reference for each translation, and at least one"
        )
    return lists


def _streams(lists: list[list[str]]) -> list[list[str | None]]:
    """The references as sacrebleu takes them: all first ones, all second ones; None: no more."""
    return [list(stream) for stream in zip_longest(*lists)]
