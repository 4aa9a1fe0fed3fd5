"""Is one system better than another, or was it luck of the test set? Paired bootstrap.

Test items are drawn anew, with replacement, many times over; each time both systems are measured
on the same draw (Koehn 2004). Any metric will do that is a function of sums of what is counted
of each item: BLEU, chrF, error rates, bits per character.

Knows counts; no text, no model.

Shapes: N items, F counts of each, R resamples.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError, DataError

Floats: TypeAlias = NDArray[np.float64]
Metric: TypeAlias = Callable[[Floats], Floats]  # sums of counts (R, F) to R figures

_CELLS = 4_000_000  # numbers of one block of resamples: bounds the memory


@dataclass(frozen=True)
class PairedComparison:
    """Two systems on the same items.

    Attributes:
        a, b: the metric of each on all items.
        difference: a - b.
        interval: of the difference, percentiles of the resamples.
        p_value: two-sided, of "there is no difference": the share of resamples, centred on 0,
            that are at least as far from 0 as the difference is; (1 + n) / (1 + R).
        wins: share of the resamples in which a is greater than b, ties half (Koehn 2004 calls
            b's complement the significance).
        count: N.
    """

    a: float
    b: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    wins: float
    count: int


def paired_bootstrap(
    a: Floats,
    b: Floats,
    metric: Metric,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedComparison:
    """Compare two systems on the same items.

    The items must be independent of one another: sentences, or blocks of a text (`block_sums`).

    Args:
        a, b: (N, F) what is counted of each item under each system.
        metric: of sums of counts, (R, F) to (R,).
        resamples: R.
        level: of the interval.
        seed: of the draws.

    Raises:
        DataError: other numbers of items, or fewer than two.
        ConfigError: no resample, or a level outside (0, 1).
    """
    if a.shape != b.shape:
        raise DataError(
            f"the systems were counted on {a.shape} and {b.shape}: a pair needs the same items"
        )
    _check(len(a), resamples, level)
    both = np.concatenate([a, b], 1)
    sums = resampled_sums(both, resamples, seed)
    size = a.shape[1]
    of_a, of_b = metric(sums[:, :size]), metric(sums[:, size:])
    all_a, all_b = float(metric(a.sum(0)[None])[0]), float(metric(b.sum(0)[None])[0])
    drawn, difference = of_a - of_b, all_a - all_b
    # Rounding: where every draw is the same, centred draws are 0 but for the last digits.
    far = np.abs(drawn - drawn.mean()) >= abs(difference) - 1e-12 * max(1.0, abs(all_a))
    return PairedComparison(
        all_a,
        all_b,
        difference,
        percentile_interval(drawn, level),
        float((1 + far.sum()) / (1 + resamples)),
        float(np.mean((drawn > 0) + 0.5 * (drawn == 0))),
        len(a),
    )


def bootstrap_interval(
    counts: Floats,
    metric: Metric,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, tuple[float, float]]:
    """The metric of one system on all items, and the percentile interval of its resamples."""
    _check(len(counts), resamples, level)
    drawn = metric(resampled_sums(counts, resamples, seed))
    return float(metric(counts.sum(0)[None])[0]), percentile_interval(drawn, level)


def resampled_sums(counts: Floats, resamples: int, seed: int) -> Floats:
    """(R, F) the sums of counts (N, F) over N items drawn with replacement, R times."""
    parts = [weights @ counts for weights in resampling_weights(len(counts), resamples, seed)]
    return np.asarray(np.concatenate(parts), np.float64)


def resampling_weights(
    items: int, resamples: int, seed: int, *, together: int = 0
) -> Iterator[NDArray[np.int64]]:
    """(r, N) how often each of N items is drawn with replacement, in parts that make up R draws.

    Args:
        items: N.
        resamples: R.
        seed: of the draws.
        together: the size of another set that is drawn in parts of the same r.
    """
    rng = np.random.default_rng(seed)
    share = np.full(items, 1.0 / items)
    size = max(1, _CELLS // max(items, together))
    for i in range(0, resamples, size):
        yield rng.multinomial(items, share, min(size, resamples - i))


def ratio(sums: Floats) -> Floats:
    """The metric "first count over second": errors per word, nats per character."""
    return np.asarray(sums[:, 0] / sums[:, 1], np.float64)


def block_sums(counts: Floats, sizes: NDArray[np.int64], at_least: int = 1000) -> Floats:
    """Sums of counts over runs of items of at least `at_least` size together.

    Neighbouring symbols or lines of a text are not independent; blocks of a thousand characters
    nearly are (Künsch 1989, with blocks that do not overlap). What is left over at the end joins
    the last block.

    Args:
        counts: (N, F) of items in the order of the text.
        sizes: (N,) of the items, such as their characters.
        at_least: size of a block.

    Returns:
        (blocks, F).

    Raises:
        DataError: not one size for each item, or none at all.
    """
    if len(counts) != len(sizes) or len(sizes) == 0:
        raise DataError(f"{len(sizes)} sizes do not fit {len(counts)} items: give one for each")
    starts, filled = [0], 0
    for i, size in enumerate(sizes.tolist()):
        if filled >= at_least:
            starts.append(i)
            filled = 0
        filled += size
    if filled < at_least and len(starts) > 1:
        starts.pop()
    return np.asarray(np.add.reduceat(counts, starts, axis=0), np.float64)


def percentile_interval(drawn: Floats, level: float) -> tuple[float, float]:
    """The interval that holds this share of draws, as many beyond one end as beyond the other."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(items: int, resamples: int, level: float) -> None:
    if items < 2:
        raise DataError(f"a bootstrap of {items} items says nothing: give at least two")
    check_resampling(resamples, level)


def check_resampling(resamples: int, level: float) -> None:
    """
    Raises:
        ConfigError: no resample, or a level outside (0, 1).
    """
    if resamples < 1 or not 0 < level < 1:
        raise ConfigError(
            f"{resamples} resamples at level {level}: give at least one, and a level in (0, 1)"
        )
