"""Is one system better than another, or was the test set lucky? Paired bootstrap.

Test items are resampled with replacement many times; each time both systems are measured on the
same resample (Koehn 2004). This works for any metric that is a function of sums of counts of each
item: BLEU, chrF, error rates, bits per character.

Knows counts; no text and no model.

Shapes: N items, F counts of each, R resamples.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError, DataError

Floats: TypeAlias = NDArray[np.float64]
Metric: TypeAlias = Callable[[Floats], Floats]  # sums of counts (R, F) to values (R,)

_CELLS = 4_000_000  # numbers in one chunk of resamples: bounds the memory


@dataclass(frozen=True)
class PairedComparison:
    """Two systems on the same items.

    Attributes:
        a, b: the metric of each system on all items.
        difference: the difference a - b.
        interval: the percentile interval of the difference.
        p_value: the two-sided p-value of "there is no difference", (1 + n) / (1 + R), with n the
            number of resamples, centred on 0, at least as far from 0 as the difference.
        wins: the fraction of resamples in which a is greater than b, ties counted half (the
            confidence level of Koehn 2004).
        count: the number N of items.
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
        a, b: (N, F) the counts of each item under each system.
        metric: the metric as a function of sums of counts, (R, F) to (R,).
        resamples: the number R of resamples.
        level: the coverage of the interval.
        seed: the seed of the resamples.

    Raises:
        DataError: if the numbers of items differ, or there are fewer than two.
        ConfigError: if there is no resample, or the level is outside (0, 1).
    """
    if a.shape != b.shape:
        raise DataError(
            f"the counts have shapes {a.shape} and {b.shape}: measure both on the same items"
        )
    _check(len(a), resamples, level)
    both = np.concatenate([a, b], 1)
    sums = resampled_sums(both, resamples, seed)
    size = a.shape[1]
    of_a, of_b = metric(sums[:, :size]), metric(sums[:, size:])
    all_a, all_b = float(metric(a.sum(0)[None])[0]), float(metric(b.sum(0)[None])[0])
    drawn, difference = of_a - of_b, all_a - all_b
    # Tolerance: if all resamples are equal, centred ones are 0 up to rounding.
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
    """The metric of one system on all items, and its percentile interval over resamples."""
    _check(len(counts), resamples, level)
    drawn = metric(resampled_sums(counts, resamples, seed))
    return float(metric(counts.sum(0)[None])[0]), percentile_interval(drawn, level)


def resampled_sums(counts: Floats, resamples: int, seed: int) -> Floats:
    """(R, F) sums of counts (N, F) over R resamples of the N items."""
    parts = [weights @ counts for weights in resampling_weights(len(counts), resamples, seed)]
    return np.asarray(np.concatenate(parts), np.float64)


def resampling_weights(
    items: int, resamples: int, seed: int, *, chunk_with: int = 0
) -> Iterator[NDArray[np.int64]]:
    """How often each item occurs in each resample, (r, N) in chunks that add up to R resamples.

    Args:
        items: the number N of items.
        resamples: the number R of resamples.
        seed: the seed of the resamples.
        chunk_with: the size of another set that is resampled in chunks of the same r.
    """
    rng = np.random.default_rng(seed)
    uniform = np.full(items, 1.0 / items)
    size = max(1, _CELLS // max(items, chunk_with))
    for i in range(0, resamples, size):
        yield rng.multinomial(items, uniform, min(size, resamples - i))


def ratio(sums: Floats) -> Floats:
    """The metric "first count over second count": errors per word, nats per character."""
    return np.asarray(sums[:, 0] / sums[:, 1], np.float64)


def block_sums(counts: Floats, sizes: NDArray[np.int64], at_least: int = 1000) -> Floats:
    """Sums of counts over blocks of consecutive items, each of total size `at_least` or more.

    Neighbouring symbols or lines of a text are not independent; blocks of a thousand characters
    nearly are (Künsch 1989, with non-overlapping blocks). A remainder at the end joins the last
    block.

    Args:
        counts: (N, F) the counts of the items, in the order of the text.
        sizes: (N,) the sizes of the items, such as their numbers of characters.
        at_least: the minimal size of a block.

    Returns:
        The sums (blocks, F).

    Raises:
        DataError: if there is not one size for each item, or there are no items.
    """
    if len(counts) != len(sizes) or len(sizes) == 0:
        raise DataError(f"{len(sizes)} sizes do not fit {len(counts)} items: give one for each")
    starts, total = [0], 0
    for i, size in enumerate(sizes.tolist()):
        if total >= at_least:
            starts.append(i)
            total = 0
        total += size
    if total < at_least and len(starts) > 1:
        starts.pop()
    return np.asarray(np.add.reduceat(counts, starts, axis=0), np.float64)


def percentile_interval(values: Floats, level: float) -> tuple[float, float]:
    """The central interval that holds the fraction `level` of the values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(items: int, resamples: int, level: float) -> None:
    if items < 2:
        raise DataError(f"a bootstrap needs at least two items, and there are {items}: give more")
    check_resampling(resamples, level)


def check_resampling(resamples: int, level: float) -> None:
    """
    Raises:
        ConfigError: if there is no resample, or the level is outside (0, 1).
    """
    if resamples < 1 or not 0 < level < 1:
        raise ConfigError(
            f"{resamples} resamples at level {level}: give at least one, and a level in (0, 1)"
        )
