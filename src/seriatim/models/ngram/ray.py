"""Counting on a cluster: the same two pure functions, count a block and merge runs, as Ray tasks.

Blocks are sent out, sorted runs are merged by twos and threes where they lie, and one run comes
back: number by number what one process counts. Ray is the engine; there is no more to it.

Knows layouts and Ray; no files and no probabilities. Ray is optional: seriatim[ray].
"""

from collections.abc import Sequence
from typing import Any

from seriatim.errors import ConfigError
from seriatim.models.ngram.counting import Counts, count_block
from seriatim.models.ngram.layout import BLOCK_PLACES, Layout
from seriatim.models.ngram.merging import merge_counts
from seriatim.models.ngram.ranking import BlockTooLargeError, RankBlock

_AT_ONCE = 4  # runs that one task merges


def count_on_cluster(
    layout: Layout, *, order: int, num_symbols: int, workers: int, places: int | None = None
) -> Counts:
    """`count_layout` by tasks of a Ray cluster.

    Uses the cluster that this process is connected to; else connects to the one that
    RAY_ADDRESS names, or starts one on this machine.

    Args:
        layout: the corpus.
        order: n.
        num_symbols: V.
        workers: tasks at once.
        places: of a block; None: an equal share for every worker, of at most `BLOCK_PLACES`.

    Raises:
        ConfigError: Ray is not installed.
        DataError: nothing to count, or symbols outside 0 .. V - 1.
    """
    ray = _connected(workers)
    layout.check(num_symbols)
    size = places or min(-(-layout.num_places // workers), BLOCK_PLACES)
    count, merge = ray.remote(num_cpus=1)(_count), ray.remote(num_cpus=1)(_merge)
    runs: list[Any] = []
    for begin, end in layout.spans(size):
        if len(runs) >= workers:  # what is sent out is in memory: no more than can be worked on
            ray.wait(runs, num_returns=len(runs) - workers + 1)
        runs.append(count.remote(layout.block(begin, end, order), order, num_symbols))
    while len(runs) > 1:
        groups = [runs[i : i + _AT_ONCE] for i in range(0, len(runs), _AT_ONCE)]
        runs = [merge.remote(*group) if len(group) > 1 else group[0] for group in groups]
    found: Counts = ray.get(runs[0])
    return found


def _connected(workers: int) -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "workers need Ray, which is not installed: pip install 'seriatim[ray]'"
        ) from None
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    return ray


def _count(block: RankBlock, order: int, num_symbols: int) -> Counts:
    """The run of a block; in halves if it is too large to be sorted."""
    try:
        return count_block(block, order=order, num_symbols=num_symbols)
    except BlockTooLargeError:
        return _merge(*(_count(half, order, num_symbols) for half in _halves(block, order)))


def _halves(block: RankBlock, order: int) -> Sequence[RankBlock]:
    middle = block.num_own // 2
    own, later = block.begins < middle + order - 1, block.begins >= middle
    return (
        RankBlock(block.symbols[: middle + order - 1], block.begins[own], middle),
        RankBlock(block.symbols[middle:], block.begins[later] - middle, block.num_own - middle),
    )


def _merge(*runs: Counts) -> Counts:
    return merge_counts(runs)
