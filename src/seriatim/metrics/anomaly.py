"""Surprise as an anomaly score: how well high scores part what is odd from what is normal.

A model is fitted to normal sequences; a sequence that it finds surprising is taken for an anomaly.

    AUC        P(score of an anomaly > score of a normal one) + 1/2 P(equal): the area under the
               ROC curve (Hanley, McNeil 1982), exact with any number of ties
    precision  TP / (TP + FP),  recall TP / (TP + FN),  F1 = 2 TP / (2 TP + FP + FN)

A sequence is called an anomaly when its score is above a threshold. A threshold is chosen on
normal sequences alone, as a quantile, before any anomaly is seen; `best_f1` looks at the answers
to choose, and is an upper bound to compare with, not a result.

Precision and F1 depend on how many of the test sequences are anomalies; AUC, recall and the rate
of false alarms do not. `at_prevalence` says what precision and F1 would be at another share.

Knows scores; no model and no text. Shapes: N sequences, R resamples.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    """What a threshold finds.

    Attributes:
        threshold: scores above it are called anomalies.
        precision: None: nothing was called an anomaly.
        recall, f1: of the anomalies.
        false_alarms: share of the normal sequences that were called anomalies.
        true_positives, false_positives, false_negatives, true_negatives: counts.
        f1_interval: 95 % of a bootstrap over sequences with this threshold; None: not asked for.
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

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def at_prevalence(self, share: float) -> tuple[float, float]:
        """(precision, F1) where this share of all sequences are anomalies.

        Recall r and the rate of false alarms a stay as they are:
        precision = r s / (r s + a (1 - s)).

        Raises:
            ConfigError: not a share in (0, 1).
        """
        if not 0 < share < 1:
            raise ConfigError(f"a share of anomalies of {share} cannot be: give one in (0, 1)")
        found, wrong = self.recall * share, self.false_alarms * (1 - share)
        missed = (1 - self.recall) * share
        precision = found / (found + wrong) if found + wrong else 0.0
        return precision, 2 * found / (2 * found + wrong + missed)


def roc_auc(normal: ArrayLike, odd: ArrayLike) -> float:
    """The area under the ROC curve.

    Args:
        normal: (N,) scores of normal sequences.
        odd: (M,) scores of anomalies.

    Raises:
        DataError: one of them is empty, or a score is not a number.
    """
    a, b = _checked(normal, odd)
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
    """A percentile interval of the area, normal sequences and anomalies drawn anew each time.

    Raises:
        DataError: as `roc_auc`.
        ConfigError: no resample, or a level outside (0, 1).
    """
    a, b = _checked(normal, anomalous)
    check_resampling(resamples, level)
    values, place = np.unique(np.concatenate([a, b]), return_inverse=True)
    of_a, of_b = place[: len(a)], place[len(a) :]
    drawn = [
        _areas(_histograms(x, of_a, len(values)), _histograms(y, of_b, len(values)))
        for x, y in zip(
            resampling_weights(len(a), resamples, seed, together=len(b)),
            resampling_weights(len(b), resamples, seed + 1, together=len(a)),
            strict=True,
        )
    ]
    return percentile_interval(np.concatenate(drawn), level)


def quantile_threshold(held_out: ArrayLike, false_alarms: float) -> float:
    """The threshold above which at most this share of held-out normal sequences scores.

    The smallest of their scores with at most `false_alarms` of them above it.

    Raises:
        DataError: there are no scores.
        ConfigError: not a share in [0, 1).
    """
    if not 0 <= false_alarms < 1:
        raise ConfigError(f"a share of false alarms of {false_alarms} cannot be: give 0.01 or so")
    scores = np.sort(np.asarray(held_out, np.float64))
    if len(scores) == 0 or np.isnan(scores).any():
        raise DataError("a threshold needs scores of normal sequences, and they must be numbers")
    allowed = int(np.floor(false_alarms * len(scores) + 1e-9))
    return float(scores[len(scores) - 1 - allowed])


def detect(
    normal: ArrayLike,
    odd: ArrayLike,
    threshold: float,
    *,
    resamples: int = 0,
    seed: int = 0,
) -> Detection:
    """What a threshold finds; with resamples, an interval of F1 as well.

    Raises:
        DataError: as `roc_auc`.
    """
    a, b = _checked(normal, odd)
    false_positives, true_positives = int((a > threshold).sum()), int((b > threshold).sum())
    called = true_positives + false_positives
    missed = len(b) - true_positives
    interval = None
    if resamples:
        is_odd = np.repeat([False, True], [len(a), len(b)])
        is_called = np.concatenate([a, b]) > threshold
        counts = np.stack([is_odd & is_called, ~is_odd & is_called, is_odd & ~is_called], 1)
        interval = bootstrap_interval(
            counts.astype(np.float64), _f1, resamples=resamples, seed=seed
        )[1]
    return Detection(
        threshold=float(threshold),
        precision=true_positives / called if called else None,
        recall=true_positives / len(b),
        f1=2 * true_positives / (2 * true_positives + false_positives + missed),
        false_alarms=false_positives / len(a),
        true_positives=true_positives,
        false_positives=false_positives,
        false_negatives=missed,
        true_negatives=len(a) - false_positives,
        f1_interval=interval,
    )


def best_f1(normal: ArrayLike, odd: ArrayLike) -> Detection:
    """The threshold of the greatest F1 on these very sequences; of equals, the highest.

    Raises:
        DataError: as `roc_auc`.
    """
    a, b = _checked(normal, odd)
    values = np.unique(np.concatenate([a, b]))
    # "above the next smaller value" is "this value and more"; below all values, everything.
    thresholds = np.append(-np.inf, values[:-1])
    wrong = len(a) - np.searchsorted(np.sort(a), thresholds, "right")
    found = len(b) - np.searchsorted(np.sort(b), thresholds, "right")
    f1 = 2 * found / (found + wrong + len(b))
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    return detect(a, b, float(thresholds[best]))


def _checked(normal: ArrayLike, odd: ArrayLike) -> tuple[Floats, Floats]:
    a, b = (np.asarray(scores, np.float64).reshape(-1) for scores in (normal, odd))
    if len(a) == 0 or len(b) == 0:
        raise DataError(
            f"there are {len(a):,} normal sequences and {len(b):,} anomalies: telling them apart "
            "needs at least one of each"
        )
    if np.isnan(a).any() or np.isnan(b).any():
        raise DataError("a score is not a number: look at what the model gave for that sequence")
    return a, b


def _histograms(weights: NDArray[np.int64], place: NDArray[np.int64], size: int) -> Floats:
    """(R, size): how often each value was drawn."""
    order = np.argsort(place, kind="stable")
    values, first = np.unique(place[order], return_index=True)
    found = np.zeros((len(weights), size))
    found[:, values] = np.add.reduceat(weights[:, order], first, axis=1)
    return found


def _areas(normal: Floats, odd: Floats) -> Floats:
    """(R,) from how often each value (rising) was drawn of each kind."""
    below = np.cumsum(normal, 1) - normal / 2
    return np.asarray((below * odd).sum(1) / (normal.sum(1) * odd.sum(1)), np.float64)


def _f1(sums: Floats) -> Floats:
    """Of sums of true positives, false positives and false negatives (R, 3)."""
    found, wrong, missed = sums.T
    return np.asarray(2 * found / np.maximum(2 * found + wrong + missed, 1), np.float64)
