"""BLEU and chrF of translations, by sacrebleu, with the signature that says what was computed.

Needs the extra `text`. Knows strings; no model.

Shapes: N sentences, F counts of each, R resamples.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seriatim.decode.mbr import ChrF
from seriatim.errors import DataError, MissingExtraError
from seriatim.metrics.bootstrap import Floats, PairedComparison, paired_bootstrap

_ORDER = 4  # of BLEU


@dataclass(frozen=True)
class TranslationScore:
    """One figure of one system.

    Attributes:
        name: of the metric.
        score: 0 to 100.
        signature: sacrebleu's, which names everything that the score depends on.
        counts: (N, F) what was counted of each sentence, for a paired bootstrap.
    """

    name: str
    score: float
    signature: str
    counts: Floats = field(repr=False)


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    lowercase: bool = False,
    tokenize: str | None = None,
) -> TranslationScore:
    """Corpus BLEU (Papineni et al. 2002) as sacrebleu computes it (Post 2018).

    Args:
        hypotheses: N plain sentences, detokenized.
        references: N.
        lowercase: compare in lower case (sacrebleu's `case:lc`).
        tokenize: sacrebleu's tokenizer; None: "13a". "char" for languages without spaces,
            "none" where the text is tokenized already.

    Raises:
        MissingExtraError: sacrebleu is not installed.
        DataError: lists of different lengths, or empty ones.
    """
    _check(hypotheses, references)
    metrics = _sacrebleu()
    # force: it would warn of text that looks tokenized, which is the caller's to know.
    metric = metrics.BLEU(lowercase=lowercase, tokenize=tokenize, force=True)
    score = metric.corpus_score(list(hypotheses), [list(references)])
    by_sentence = metrics.BLEU(
        lowercase=lowercase, tokenize=tokenize, force=True, effective_order=True
    )
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        one = by_sentence.sentence_score(hypothesis, [reference])
        rows.append([*one.counts, *one.totals, one.sys_len, one.ref_len])
    signature = str(metric.get_signature())
    return TranslationScore("BLEU", float(score.score), signature, np.array(rows, np.float64))


def bleu_of_counts(sums: Floats) -> Floats:
    """(R,) BLEU of summed counts (R, F): matches and n-grams of n = 1 .. 4, and both lengths.

    A precision without any match counts as sacrebleu's exponential smoothing makes it: 1 / 2^k
    of one n-gram at the k-th of them (Chen, Cherry 2014, method 3).
    """
    matches, totals = sums[:, :_ORDER], sums[:, _ORDER : 2 * _ORDER]
    length, wanted = sums[:, -2], sums[:, -1]
    is_zero = (matches == 0) & (totals > 0)
    smooth = 0.5 ** np.cumsum(is_zero, 1)
    precision = np.where(is_zero, smooth, matches) / np.maximum(totals, 1)
    with np.errstate(divide="ignore"):
        mean = np.log(precision).mean(1)
    shortness = np.minimum(0.0, 1 - wanted / np.maximum(length, 1e-9))
    whole = (totals > 0).all(1) & (matches > 0).any(1)
    return np.asarray(np.where(whole, 100 * np.exp(mean + shortness), 0.0))


def chrf(
    hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = False
) -> TranslationScore:
    """Corpus chrF (Popović 2015): characters up to 6, beta 2, no word n-grams.

    Raises:
        MissingExtraError: sacrebleu is not installed.
        DataError: lists of different lengths, or empty ones.
    """
    _check(hypotheses, references)
    metric = _sacrebleu().CHRF(lowercase=lowercase)
    score = metric.corpus_score(list(hypotheses), [list(references)])
    own = ChrF()
    rows = [
        own.statistics(h.lower(), r.lower()) if lowercase else own.statistics(h, r)
        for h, r in zip(hypotheses, references, strict=True)
    ]
    return TranslationScore("chrF", float(score.score), str(metric.get_signature()), np.array(rows))


def compare_scores(
    a: TranslationScore, b: TranslationScore, *, resamples: int = 1000, seed: int = 0
) -> PairedComparison:
    """Paired bootstrap of two systems by the same metric on the same sentences.

    Raises:
        DataError: other metrics, signatures or sentences.
    """
    if (a.name, a.signature) != (b.name, b.signature):
        raise DataError(
            f"{a.name} ({a.signature}) and {b.name} ({b.signature}) cannot be compared: measure "
            "both systems alike"
        )
    metric = bleu_of_counts if a.name == "BLEU" else ChrF().score
    return paired_bootstrap(a.counts, b.counts, metric, resamples=resamples, seed=seed)


def _sacrebleu() -> Any:
    try:
        return importlib.import_module("sacrebleu.metrics")
    except ImportError as missing:
        raise MissingExtraError(
            "BLEU and chrF need sacrebleu, which is not installed: pip install 'seriatim[text]'"
        ) from missing


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references) or not references:
        raise DataError(
            f"{len(hypotheses)} translations do not fit {len(references)} references: they belong "
            "together line by line, and there must be one"
        )
