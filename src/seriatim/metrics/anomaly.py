"""Surprisal as an anomaly score: how well scores separate anomalies from normal sequences.

A model is fitted to normal sequences; a sequence of high surprisal is taken for an anomaly.

    AUC        P(score of an anomaly > score of a normal one) + 1/2 P(equal): the area under the
               ROC curve (Hanley, McNeil 1982), exact with any number of ties
    precision  TP / (TP + FP),  recall TP / (TP + FN),  F1 = 2 TP / (2 TP + FP + FN)

A sequence is flagged as an anomaly when its score is above a threshold. A threshold is chosen on
normal sequences alone, as a quantile, before any anomaly is seen; `best_f1` uses the labels to
choose, so it is an upper bound for comparison, not a result.

Precision and F1 depend on the fraction of anomalies in the test set; AUC, recall and the false
alarm rate do not. `Detection.at_prevalence` converts precision and F1 to another fraction.

Knows scores; no model and no text. Shapes: N normal sequences, M anomalies, R resamples.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seriatim.core.records import Json
from seriatim.errors import ConfigError, DataError
from seriatim.metrics.bootstrap import (
    bootstrap_interval,
    check_resampling,
    percentile_interval,
    resampling_weights,
)

Floats = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Detection:
    """Detection at a threshold.

    Attributes:
        threshold: the score above which a sequence is flagged.
        precision: the fraction of flagged sequences that are anomalies; None: none was flagged.
        recall: the fraction of anomalies that were flagged.
        f1: the harmonic mean of precision and recall.
        false_alarms: the fraction of normal sequences that were flagged.
        true_positives, false_positives, false_negatives, true_negatives: the counts.
        f1_interval: the 95 % bootstrap interval of F1 over sequences, at this threshold; None:
            not computed.
    """

    threshold: float
    precision: float | None
    recall: float
    f1: float
    false_alarms: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    f1_interval: Interval | None = None

    def to_json(self) -> Json:
        """The figures as a JSON object."""
        return asdict(self)

    def at_prevalence(self, prevalence: float) -> tuple[float, float]:
        """(precision, F1) if this fraction of all sequences were anomalies.

        With prevalence s, recall r and false alarm rate a:  precision = r s / (r s + a (1 - s)).

        Raises:
            ConfigError: if the prevalence is not in (0, 1).
        """
        if not 0 < prevalence < 1:
            raise ConfigError(f"prevalence {prevalence} of anomalies: give a fraction in (0, 1)")
        hits, misses = self.recall * prevalence, (1 - self.recall) * prevalence
        alarms = self.false_alarms * (1 - prevalence)
        precision = hits / (hits + alarms) if hits + alarms else 0.0
        return precision, 2 * hits / (2 * hits + alarms + misses)


def roc_auc(normal: ArrayLike, anomalous: ArrayLike) -> float:
    """The area under the ROC curve.

    Args:
        normal: (N,) the scores of normal sequences.
        anomalous: (M,) the scores of anomalies.

    Raises:
        DataError: if one of them is empty, or a score is not a number.
    """
    a, b = _checked(normal, anomalous)
    ordered = np.sort(a)
    below = np.searchsorted(ordered, b, "left")
    upto = np.searchsorted(ordered, b, "right")
    return float((below + upto).sum() / (2 * len(a) * len(b)))


def auc_interval(
    normal: ArrayLike,
    anomalous: ArrayLike,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A percentile bootstrap interval of the area, resampling normal sequences and anomalies.

    Args:
        normal: (N,) the scores of normal sequences.
        anomalous: (M,) the scores of anomalies.
        resamples: the number R of resamples.
        level: the coverage of the interval.
        seed: the seed of the resamples.

    Raises:
        DataError: as for `roc_auc`.
        ConfigError: if there is no resample, or the level is outside (0, 1).
    """
    a, b = _checked(normal, anomalous)
    check_resampling(resamples, level)
    values, index = np.unique(np.concatenate([a, b]), return_inverse=True)
    of_a, of_b = index[: len(a)], index[len(a) :]
    areas = [
        _areas(_histograms(x, of_a, len(values)), _histograms(y, of_b, len(values)))
        for x, y in zip(
            resampling_weights(len(a), resamples, seed, chunk_with=len(b)),
            resampling_weights(len(b), resamples, seed + 1, chunk_with=len(a)),
            strict=True,
        )
    ]
    return percentile_interval(np.concatenate(areas), level)


def quantile_threshold(held_out: ArrayLike, false_alarms: float) -> float:
    """The smallest held-out score with at most the fraction `false_alarms` of scores above it.

    Args:
        held_out: (N,) the scores of held-out normal sequences.
        false_alarms: the allowed false alarm rate.

    Raises:
        DataError: if there are no scores, or one is not a number.
        ConfigError: if the rate is not in [0, 1).
    """
    if not 0 <= false_alarms < 1:
        raise ConfigError(f"false alarm rate {false_alarms}: give one in [0, 1), such as 0.01")
    scores = np.sort(np.asarray(held_out, np.float64))
    if len(scores) == 0 or np.isnan(scores).any():
        raise DataError("a threshold needs at least one score, and no score may be NaN")
    allowed = int(np.floor(false_alarms * len(scores) + 1e-9))
    return float(scores[len(scores) - 1 - allowed])


def detect(
    normal: ArrayLike,
    anomalous: ArrayLike,
    threshold: float,
    *,
    resamples: int = 0,
    seed: int = 0,
) -> Detection:
    """Detection at a threshold.

    Args:
        normal: (N,) the scores of normal sequences.
        anomalous: (M,) the scores of anomalies.
        threshold: the score above which a sequence is flagged.
        resamples: the number of resamples for the interval of F1; 0: no interval.
        seed: the seed of the resamples.

    Raises:
        DataError: as for `roc_auc`.
    """
    a, b = _checked(normal, anomalous)
    false_positives, true_positives = int((a > threshold).sum()), int((b > threshold).sum())
    flagged = true_positives + false_positives
    false_negatives = len(b) - true_positives
    interval = None
    if resamples:
        is_anomaly = np.repeat([False, True], [len(a), len(b)])
        is_flagged = np.concatenate([a, b]) > threshold
        counts = np.stack(
            [is_anomaly & is_flagged, ~is_anomaly & is_flagged, is_anomaly & ~is_flagged], 1
        )
        interval = bootstrap_interval(
            counts.astype(np.float64), _f1, resamples=resamples, seed=seed
        )[1]
    return Detection(
        threshold=float(threshold),
        precision=true_positives / flagged if flagged else None,
        recall=true_positives / len(b),
        f1=2 * true_positives / (2 * true_positives + false_positives + false_negatives),
        false_alarms=false_positives / len(a),
        true_positives=true_positives,
        false_positives=false_positives,
        false_negatives=false_negatives,
        true_negatives=len(a) - false_positives,
        f1_interval=interval,
    )


def best_f1(normal: ArrayLike, anomalous: ArrayLike) -> Detection:
    """Detection at the threshold with the greatest F1 on these sequences; ties: the highest.

    Args:
        normal: (N,) the scores of normal sequences.
        anomalous: (M,) the scores of anomalies.

    Raises:
        DataError: as for `roc_auc`.
    """
    a, b = _checked(normal, anomalous)
    values = np.unique(np.concatenate([a, b]))
    # Above the next smaller value means at this value or higher; above -inf is everything.
    thresholds = np.append(-np.inf, values[:-1])
    alarms = len(a) - np.searchsorted(np.sort(a), thresholds, "right")
    hits = len(b) - np.searchsorted(np.sort(b), thresholds, "right")
    f1 = 2 * hits / (hits + alarms + len(b))
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    return detect(a, b, float(thresholds[best]))


def _checked(normal: ArrayLike, anomalous: ArrayLike) -> tuple[Floats, Floats]:
    a, b = (np.asarray(scores, np.float64).reshape(-1) for scores in (normal, anomalous))
    if len(a) == 0 or len(b) == 0:
        raise DataError(
            f"there are {len(a):,} normal sequences and {len(b):,} anomalies: give at least one "
            "of each"
        )
    if np.isnan(a).any() or np.isnan(b).any():
        raise DataError("a score is NaN: check the surprisal of that sequence")
    return a, b


def _histograms(weights: NDArray[np.int64], index: NDArray[np.int64], size: int) -> Floats:
    """(R, size) the number of draws of each value; `index` maps items to values."""
    order = np.argsort(index, kind="stable")
    values, first = np.unique(index[order], return_index=True)
    counts = np.zeros((len(weights), size))
    counts[:, values] = np.add.reduceat(weights[:, order], first, axis=1)
    return counts


def _areas(normal: Floats, anomalous: Floats) -> Floats:
    """(R,) the areas, from the number of draws of each value (ascending) in each class."""
    below = np.cumsum(normal, 1) - normal / 2
    return np.asarray((below * anomalous).sum(1) / (normal.sum(1) * anomalous.sum(1)), np.float64)


def _f1(sums: Floats) -> Floats:
    """(R,) F1 from sums of true positives, false positives and false negatives (R, 3)."""
    hits, alarms, misses = sums.T
    return np.asarray(2 * hits / np.maximum(2 * hits + alarms + misses, 1), np.float64)
