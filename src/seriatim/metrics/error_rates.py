"""Errors of sequences and of labels: edit distance, error rates, F1, confusion, calibration.

Knows symbols, words and labels; no model and no vocabulary.

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
    """The fewest insertions, deletions and substitutions that turn a into b (Levenshtein 1966).

        d(i, j) = min(d(i-1, j) + 1,  d(i, j-1) + 1,  d(i-1, j-1) + [a_i != b_j])

    Computed one row at a time in numpy: with e(j) the minimum of the first and the last term,
    d(i, j) = min over k <= j of e(k) + j - k, which is a running minimum of e(k) - k.
    """
    ids: dict[Hashable, int] = {}
    x, y = (np.array([ids.setdefault(s, len(ids)) for s in t], np.int64) for t in (a, b))
    if len(x) > len(y):
        x, y = y, x  # the distance is symmetric: few long rows are faster than many short ones
    columns = np.arange(len(y) + 1)
    row = columns
    for i, symbol in enumerate(x, start=1):
        best = np.empty_like(row)
        best[0] = i
        np.minimum(row[1:] + 1, row[:-1] + (y != symbol), out=best[1:])
        row = np.minimum.accumulate(best - columns) + columns
    return int(row[-1])


@dataclass(frozen=True)
class ErrorRate:
    """Errors of a list of sequences.

    Attributes:
        rate: edits / length; above 1 with many insertions; nan if all references are empty.
        edits: the sum of the edit distances.
        length: the number of symbols of all references.
        exact: the fraction of sequences without any error. Work on pronunciation calls 1 - exact
            the word error rate, because each sequence is a word.
        count: the number N of sequences.
    """

    rate: float
    edits: int
    length: int
    exact: float
    count: int


def symbol_error_rate(
    hypotheses: Sequence[Sequence[Hashable]], references: Sequence[Sequence[Hashable]]
) -> ErrorRate:
    """Edits per reference symbol; for strings, the character error rate.

    Raises:
        DataError: if the lists have different lengths or are empty.
    """
    _check_lengths(len(hypotheses), len(references))
    pairs = list(zip(hypotheses, references, strict=True))
    edits = sum(0 if list(h) == list(r) else edit_distance(h, r) for h, r in pairs)
    length = sum(len(r) for r in references)
    exact = sum(list(h) == list(r) for h, r in pairs) / len(pairs)
    return ErrorRate(edits / length if length else float("nan"), edits, length, exact, len(pairs))


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> ErrorRate:
    """Edits per reference word; words are separated by whitespace."""
    return symbol_error_rate([h.split() for h in hypotheses], [r.split() for r in references])


def closest(
    hypothesis: Sequence[Hashable], references: Sequence[Sequence[Hashable]]
) -> Sequence[Hashable]:
    """The reference with the fewest edits from a hypothesis; the first of several."""
    if len(references) == 1:
        return references[0]
    return min(references, key=lambda r: edit_distance(hypothesis, r))


def exact_match(hypotheses: Sequence[Any], references: Sequence[Any]) -> float:
    """The fraction of hypotheses that equal their reference.

    Raises:
        DataError: if the lists have different lengths or are empty.
    """
    _check_lengths(len(hypotheses), len(references))
    matches = [bool(h == r) for h, r in zip(hypotheses, references, strict=True)]
    return sum(matches) / len(matches)


# ---- labels -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelErrors:
    """Errors of predicted labels.

    Attributes:
        labels: the classes, in order.
        confusion: (C, C) the number of items of class i (row) with predicted class j (column).
        accuracy: the fraction of correct predictions.
        macro_f1: the mean over classes of F1 = 2 P R / (P + R), without classes that occur
            neither in the truth nor in the predictions.
        f1: (C,) F1 of each class; nan for those that do not occur.
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
        predicted: the N predicted labels.
        actual: the N true labels.
        labels: the classes, in order; None: in order of occurrence in `actual`, then in
            `predicted`.

    Raises:
        DataError: if the lists have different lengths or are empty, or a label is missing from
            `labels`.
    """
    _check_lengths(len(predicted), len(actual))
    names = tuple(dict.fromkeys([*actual, *predicted]) if labels is None else labels)
    ids = {name: i for i, name in enumerate(names)}
    unknown = next((x for x in (*actual, *predicted) if x not in ids), None)
    if unknown is not None:
        raise DataError(f"the label {unknown!r} is not among the {len(names)} labels: add it")
    pairs = np.array([(ids[a], ids[p]) for a, p in zip(actual, predicted, strict=True)])
    size = len(names)
    confusion = np.bincount(pairs @ [size, 1], minlength=size * size).reshape(size, size)
    correct, total = np.diag(confusion), confusion.sum(0) + confusion.sum(1)
    f1 = np.where(total > 0, 2 * correct / np.maximum(total, 1), np.nan)
    accuracy = float(correct.sum() / confusion.sum())
    return LabelErrors(names, confusion, accuracy, float(np.nanmean(f1)), f1)


@dataclass(frozen=True)
class Calibration:
    """Agreement of predicted probabilities with the accuracy (Guo et al. 2017).

    Attributes:
        error: the expected calibration error, sum over bins of fraction * |accuracy - confidence|.
        confidence: (bins,) the mean probability of the predicted class; nan in an empty bin.
        accuracy: (bins,) the fraction of correct predictions; nan in an empty bin.
        fraction: (bins,) the fraction of items in the bin.
    """

    error: float
    confidence: Floats
    accuracy: Floats
    fraction: Floats


def calibration(probabilities: Floats, actual: Ints, *, bins: int = 15) -> Calibration:
    """The reliability of the most probable class, in `bins` intervals of equal width.

    Args:
        probabilities: (N, C) the predicted probabilities, rows of sum 1.
        actual: (N,) the true classes.
        bins: the number of intervals ((b - 1) / bins, b / bins].

    Raises:
        DataError: if there is not one class for each row, or there are no rows.
    """
    _check_lengths(len(probabilities), len(actual))
    stated = probabilities.max(1)
    is_correct = probabilities.argmax(1) == actual
    bin_of = np.clip(np.ceil(stated * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    divisor = np.where(count > 0, count, np.nan)
    confidence = np.bincount(bin_of, stated, bins) / divisor
    accuracy = np.bincount(bin_of, is_correct, bins) / divisor
    fraction = count / len(actual)
    error = float(np.nansum(fraction * np.abs(accuracy - confidence)))
    return Calibration(error, confidence, accuracy, fraction)


def fit_temperature(log_probs: Floats, actual: Ints) -> float:
    """The temperature T that maximizes the likelihood of softmax(log p / T) (Guo et al. 2017, 4.2).

    The log-likelihood is concave in beta = 1 / T, so Newton's method, safeguarded by bisection,
    finds the maximum:

        g = sum_n (l_ny - E_n[l]),    g' = -sum_n Var_n[l],    beta <- beta - g / g'

    Args:
        log_probs: (N, C) the logits or log-probabilities of validation items.
        actual: (N,) the true classes.

    Returns:
        T, limited to 0.01 .. 100, because without a single error the optimum is 0, and without
        any skill it is infinite.

    Raises:
        DataError: if there is not one class for each row, or there are no rows.
    """
    _check_lengths(len(log_probs), len(actual))
    finite = np.where(np.isfinite(log_probs), log_probs, -1e4)
    logits = finite - finite.max(1, keepdims=True)
    chosen = logits[np.arange(len(actual)), actual]

    def slope(beta: float) -> tuple[float, float]:
        p = np.exp(beta * logits)
        p /= p.sum(1, keepdims=True)
        mean = (p * logits).sum(1)
        return float((chosen - mean).sum()), float((p * logits**2).sum() - (mean**2).sum())

    low, high = 0.01, 100.0  # bounds of beta; the slope is decreasing
    beta = 1.0
    for _ in range(100):
        g, variance = slope(beta)
        low, high = (beta, high) if g > 0 else (low, beta)
        step = beta + g / variance if variance > 0 else high
        updated = step if low < step < high else (low * high) ** 0.5
        if abs(updated - beta) < 1e-10 * beta:
            break
        beta = updated
    return 1.0 / beta


def _check_lengths(predicted: int, actual: int) -> None:
    if predicted != actual:
        raise DataError(
            f"{predicted} predictions do not fit {actual} references: give one for each"
        )
    if actual == 0:
        raise DataError("there are no items to measure: give at least one")
