"""Counting on a cluster: the two pure functions, count a block and merge runs, as Ray tasks.

Blocks are sent out, sorted runs are merged where they are, and one run comes back, equal number by
number to what one process counts.

Knows padded corpora and Ray; no files and no probabilities. Ray is optional: seriatim[ray].
"""

from typing import Any

from seriatim.errors import ConfigError
from seriatim.models.ngram.counting import Counts, count_block
from seriatim.models.ngram.merging import merge_counts
from seriatim.models.ngram.padded_corpus import BLOCK_SIZE, PaddedCorpus
from seriatim.models.ngram.prefix_doubling import CorpusBlock

_FAN_IN = 4  # runs that one task merges


def count_on_cluster(
    corpus: PaddedCorpus,
    *,
    order: int,
    num_symbols: int,
    workers: int,
    block_size: int | None = None,
) -> Counts:
    """`count_corpus` by tasks of a Ray cluster.

    Uses the cluster that this process is connected to; otherwise connects to the one that
    RAY_ADDRESS names, or starts one on this machine.

    Args:
        corpus: the padded corpus.
        order: n.
        num_symbols: V.
        workers: the number of concurrent tasks.
        block_size: the positions of a block; None: an equal part for every worker, of at most
            `BLOCK_SIZE`.

    Raises:
        ConfigError: Ray is not installed.
        DataError: there is nothing to count, or a symbol outside 0 .. V - 1.
    """
    ray = _connected()
    corpus.check(num_symbols)
    size = block_size or min(-(-corpus.num_positions // workers), BLOCK_SIZE)
    count, merge = ray.remote(num_cpus=1)(_count), ray.remote(num_cpus=1)(_merge)
    runs: list[Any] = []
    for begin, end in corpus.spans(size):
        if len(runs) >= workers:  # blocks in flight take memory: no more than can be worked on
            ray.wait(runs, num_returns=len(runs) - workers + 1)
        runs.append(count.remote(corpus.block(begin, end, order), order, num_symbols))
    while len(runs) > 1:
        groups = [runs[i : i + _FAN_IN] for i in range(0, len(runs), _FAN_IN)]
        runs = [merge.remote(*group) if len(group) > 1 else group[0] for group in groups]
    counts: Counts = ray.get(runs[0])
    return counts


def _connected() -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "workers need Ray, which is not installed: pip install 'seriatim[ray]'"
        ) from None
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    return ray


def _count(block: CorpusBlock, order: int, num_symbols: int) -> Counts:
    """The run of a block."""
    return count_block(block, order=order, num_symbols=num_symbols)


def _merge(*runs: Counts) -> Counts:
    return merge_counts(runs)
