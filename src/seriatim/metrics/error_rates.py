"""Errors of sequences and of labels: edit distance, error rates, F1, confusion, calibration.

Knows symbols, words and labels; no model, no alphabet.

Shapes: N items, C classes.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# ---- sequences ----------------------------------------------------------------------------------


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The fewest insertions, deletions and substitutions that make b of a (Levenshtein 1966).

        d(i, j) = min(d(i-1, j) + 1,  d(i, j-1) + 1,  d(i-1, j-1) + [a_i != b_j])

    A row at a time, in numpy: with e(j) = min of the first and the last term, the second makes
    d(i, j) = min over k <= j of e(k) + j - k, a running minimum of e(k) - k.
    """
    ids: dict[Hashable, int] = {}
    x, y = (np.array([ids.setdefault(s, len(ids)) for s in t], np.int64) for t in (a, b))
    if len(x) > len(y):
        x, y = y, x  # the distance is symmetric: few long rows are faster than many short ones
    place = np.arange(len(y) + 1)
    row = place
    for i, symbol in enumerate(x, start=1):
        best = np.empty_like(row)
        best[0] = i
        np.minimum(row[1:] + 1, row[:-1] + (y != symbol), out=best[1:])
        row = np.minimum.accumulate(best - place) + place
    return int(row[-1])


@dataclass(frozen=True)
class ErrorRate:
    """Errors of a list of sequences.

    Attributes:
        rate: edits / length; above 1 where much was inserted; nan without any reference symbol.
        edits: the sum of the edit distances.
        length: symbols of all references.
        exact: share of the sequences that are right from end to end. Work on pronunciations
            calls 1 - exact the word error rate, each sequence being a word.
        count: N.
    """

    rate: float
    edits: int
    length: int
    exact: float
    count: int


def symbol_error_rate(
    hypotheses: Sequence[Sequence[Hashable]], references: Sequence[Sequence[Hashable]]
) -> ErrorRate:
    """Edits per reference symbol; of strings, the character error rate.

    Raises:
        DataError: lists of different lengths, or empty ones.
    """
    _check_lengths(len(hypotheses), len(references))
    pairs = list(zip(hypotheses, references, strict=True))
    edits = sum(0 if list(h) == list(r) else edit_distance(h, r) for h, r in pairs)
    length = sum(len(r) for r in references)
    exact = sum(list(h) == list(r) for h, r in pairs) / len(pairs)
    return ErrorRate(edits / length if length else float("nan"), edits, length, exact, len(pairs))


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> ErrorRate:
    """Edits per reference word, words being what whitespace separates."""
    return symbol_error_rate([h.split() for h in hypotheses], [r.split() for r in references])


def exact_match(hypotheses: Sequence[Any], references: Sequence[Any]) -> float:
    """The share of hypotheses that equal their reference.

    Raises:
        DataError: lists of different lengths, or empty ones.
    """
    _check_lengths(len(hypotheses), len(references))
    right = [bool(h == r) for h, r in zip(hypotheses, references, strict=True)]
    return sum(right) / len(right)


# ---- labels -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelErrors:
    """How labels were told apart.

    Attributes:
        labels: the classes, in order.
        confusion: (C, C) items of class i (row) that were called j (column).
        accuracy: share of items that were called right.
        macro_f1: mean over the classes of F1 = 2 P R / (P + R), classes that occur neither in
            truth nor in prediction left out; a class that only one of them has counts 0.
        f1: (C,) of each class; nan for those left out.
    """

    labels: tuple[Hashable, ...]
    confusion: Ints
    accuracy: float
    macro_f1: float
    f1: Floats


def label_errors(
    predicted: Sequence[Hashable],
    actual: Sequence[Hashable],
    labels: Sequence[Hashable] | None = None,
) -> LabelErrors:
    """Confusion matrix, accuracy and F1.

    Args:
        predicted: N labels.
        actual: N labels.
        labels: the classes in the order wanted; None: in the order they are met in `actual`,
            then in `predicted`.

    Raises:
        DataError: lists of different lengths, empty ones, or a label that is not among `labels`.
    """
    _check_lengths(len(predicted), len(actual))
    names = tuple(dict.fromkeys([*actual, *predicted]) if labels is None else labels)
    ids = {name: i for i, name in enumerate(names)}
    unknown = next((x for x in (*actual, *predicted) if x not in ids), None)
    if unknown is not None:
        raise DataError(f"the label {unknown!r} is none of the {len(names)} labels given: add it")
    pairs = np.array([(ids[a], ids[p]) for a, p in zip(actual, predicted, strict=True)])
    size = len(names)
    confusion = np.bincount(pairs @ [size, 1], minlength=size * size).reshape(size, size)
    right, both = np.diag(confusion), confusion.sum(0) + confusion.sum(1)
    f1 = np.where(both > 0, 2 * right / np.maximum(both, 1), np.nan)
    accuracy = float(right.sum() / confusion.sum())
    return LabelErrors(names, confusion, accuracy, float(np.nanmean(f1)), f1)


@dataclass(frozen=True)
class Calibration:
    """Whether stated probabilities are kept (Guo et al. 2017).

    Attributes:
        error: the expected calibration error, sum over bins of share * |accuracy - confidence|.
        confidence: (bins,) mean stated probability of what was chosen; nan in an empty bin.
        accuracy: (bins,) share that was right.
        share: (bins,) of the items.
    """

    error: float
    confidence: Floats
    accuracy: Floats
    share: Floats


def calibration(probabilities: Floats, actual: Ints, *, bins: int = 15) -> Calibration:
    """The reliability of the most probable class, in `bins` intervals of equal width.

    Args:
        probabilities: (N, C), rows of sum 1.
        actual: (N,) the true classes.
        bins: intervals ((b - 1) / bins, b / bins].

    Raises:
        DataError: not one class for each row, or no row.
    """
    _check_lengths(len(probabilities), len(actual))
    stated = probabilities.max(1)
    is_right = probabilities.argmax(1) == actual
    at = np.clip(np.ceil(stated * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(at, minlength=bins)
    divisor = np.where(count > 0, count, np.nan)
    confidence = np.bincount(at, stated, bins) / divisor
    accuracy = np.bincount(at, is_right, bins) / divisor
    share = count / len(actual)
    error = float(np.nansum(share * np.abs(accuracy - confidence)))
    return Calibration(error, confidence, accuracy, share)


def fit_temperature(log_probs: Floats, actual: Ints) -> float:
    """The temperature T that makes softmax(log p / T) most likely (Guo et al. 2017, 4.2).

    The likelihood is concave in beta = 1 / T, so Newton's method, halved where it overshoots,
    finds the maximum:

        g = sum_n (l_ny - E_n[l]),    g' = -sum_n Var_n[l],    beta <- beta - g / g'

    Args:
        log_probs: (N, C) logits or log-probabilities, of validation items.
        actual: (N,) the true classes.

    Returns:
        T, within 0.01 .. 100: without one mistake among the items no T is too small, and where
        nothing is learnt none too great.

    Raises:
        DataError: not one class for each row, or no row.
    """
    _check_lengths(len(log_probs), len(actual))
    lowest = np.where(np.isfinite(log_probs), log_probs, -1e4)
    logits = lowest - lowest.max(1, keepdims=True)
    chosen = logits[np.arange(len(actual)), actual]

    def slope(beta: float) -> tuple[float, float]:
        p = np.exp(beta * logits)
        p /= p.sum(1, keepdims=True)
        mean = (p * logits).sum(1)
        return float((chosen - mean).sum()), float((p * logits**2).sum() - (mean**2).sum())

    low, high = 0.01, 100.0  # of beta; the slope falls from left to right
    beta = 1.0
    for _ in range(100):
        g, variance = slope(beta)
        low, high = (beta, high) if g > 0 else (low, beta)
        step = beta + g / variance if variance > 0 else high
        moved = step if low < step < high else (low * high) ** 0.5
        if abs(moved - beta) < 1e-10 * beta:
            break
        beta = moved
    return 1.0 / beta


def _check_lengths(predicted: int, actual: int) -> None:
    if predicted != actual:
        raise DataError(
            f"{predicted} predictions do not fit {actual} references: they belong together one by "
            "one"
        )
    if actual == 0:
        raise DataError("there is nothing to measure: give at least one item")
