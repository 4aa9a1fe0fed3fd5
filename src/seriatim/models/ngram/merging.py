"""Merging runs of counts: to count a corpus larger than memory, to add text and to remove it.

Knows `Counts`, and at most a folder in which the result grows; no corpora and no probabilities.

Shapes: V symbols, N n-grams of all orders.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seriatim.errors import DataError
from seriatim.models.ngram.arrays import (
    NUM_THREADS,
    Ints,
    Mask,
    concatenated,
    is_group_start,
    symbol_bits,
)
from seriatim.models.ngram.counting import MOST_NGRAMS, Counts

_BYTES_PER_NGRAM = 40  # of the parts that are merged at once


def merge_counts(
    runs: Sequence[Counts],
    *,
    signs: Sequence[int] | None = None,
    threads: Executor | None = None,
    memory: int | None = None,
    folder: Path | None = None,
) -> Counts:
    """The sum of several runs, equal to counting all their text at once.

    The ids of a run are translated order by order; as the translation is monotonic, translated
    keys stay sorted, and every array is read and written in order.

    Args:
        runs: counts of one vocabulary and one order.
        signs: 1 for a run to add, -1 for one to subtract; None: all are added.
        threads: the executor that merges parts of an order in parallel; None: this thread.
        memory: the bytes that these parts may take together; None: unlimited.
        folder: the folder of the mapped files, named as its fields, in which the result grows;
            None: memory.

    Raises:
        DataError: a subtracted run has text that was never counted, or there are too many
            n-grams for 32-bit ids.
    """
    signs = [1] * len(runs) if signs is None else signs
    if len(runs) == 1 and signs[0] == 1:
        return runs[0]
    merger = _Merger(runs, signs, memory, folder)
    for m in range(2, runs[0].order + 1):
        merger.merge_order(m, threads)
    merged = merger.result()
    return merged if min(signs) > 0 else _without_zeros(merged)


def update_counts(
    counts: Counts, *, added: Sequence[Counts] = (), removed: Sequence[Counts] = ()
) -> Counts:
    """Counts with the text of some runs added and of others removed.

    Equal, number by number, to counting the resulting text from scratch.

    Raises:
        DataError: another vocabulary or order, or removed text that was never counted.
    """
    for other in (*added, *removed):
        if (other.num_symbols, other.order) != (counts.num_symbols, counts.order):
            raise DataError(
                f"counts of order {other.order} over {other.num_symbols} symbols cannot be merged "
                f"with order {counts.order} over {counts.num_symbols}: count with the same "
                "vocabulary and order"
            )
    runs = [counts, *added, *removed]
    return merge_counts(runs, signs=[1] * (1 + len(added)) + [-1] * len(removed))


class _Merger:
    """Merges runs order by order; `maps[b]` translates the ids of run b into new ones."""

    def __init__(
        self,
        runs: Sequence[Counts],
        signs: Sequence[int],
        memory: int | None,
        folder: Path | None,
    ) -> None:
        self.runs, self.signs = runs, signs
        self.memory, self.folder = memory, folder
        self.num_symbols = runs[0].num_symbols
        self.bits = symbol_bits(self.num_symbols)
        most = sum(len(run.key) for run in runs)
        # Pages that are never written cost nothing, so arrays have the largest possible size.
        self.key = self._zeros("key", most, np.int64)
        self.suffix = self._zeros("suffix", most, np.int32)
        self.count = self._zeros("count", most + self.num_symbols, np.int64)
        self.starts = [0, self.num_symbols]
        self.maps = [
            self._zeros(f"map-{b}", int(run.starts[-1]), np.int32) for b, run in enumerate(runs)
        ]
        for run, sign, new in zip(runs, signs, self.maps, strict=True):
            new[: self.num_symbols] = np.arange(self.num_symbols)
            self.count[: self.num_symbols] += sign * run.count[: self.num_symbols]

    def _zeros(self, name: str, size: int, dtype: Any) -> npt.NDArray[Any]:
        """Zeros, in memory or in a mapped file whose space on the disk is allocated at once."""
        if self.folder is None or size == 0:
            return np.zeros(size, dtype)
        with (self.folder / name).open("wb") as file:
            num_bytes = size * np.dtype(dtype).itemsize
            # A disk that fills up under a mapped file kills the process instead of raising.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            else:
                file.truncate(num_bytes)
        return np.asarray(np.memmap(self.folder / name, dtype, mode="r+", shape=(size,)))

    def merge_order(self, m: int, threads: Executor | None) -> None:
        """Merge order m, in parts by ranges of keys, after all lower orders."""
        run = map if threads is None else threads.map
        at_once = 1 if threads is None else NUM_THREADS
        needed = _BYTES_PER_NGRAM * sum(run.size(m) for run in self.runs)
        num_rounds = 1 if self.memory is None else max(1, -(-needed // self.memory))
        cuts = self._cuts(m, at_once * num_rounds)
        base = self.starts[-1]
        for i in range(0, len(cuts), at_once):  # no more parts in memory than threads
            parts = cuts[i : i + at_once]
            columns = list(zip(*parts, strict=True))
            for part, merged in zip(parts, list(run(self._merge_part, *columns)), strict=True):
                base = self._append(base, *part, *merged)
            list(run(self._fill_part, *columns))
        self.starts.append(base)

    def _append(
        self, base: int, lows: list[int], highs: list[int], key: Ints, ranks: list[Ints]
    ) -> int:
        """Append a merged part, whose ids begin at `base`; where those of the next part begin."""
        if base + len(key) > MOST_NGRAMS:
            raise DataError(
                f"the corpus has more than {MOST_NGRAMS:,} n-grams: choose a smaller order"
            )
        self.key[base - self.num_symbols : base - self.num_symbols + len(key)] = key
        for new, low, high, rank in zip(self.maps, lows, highs, ranks, strict=True):
            np.add(rank, base, out=new[low:high], casting="unsafe")
        return base + len(key)

    def _cuts(self, m: int, num_parts: int) -> list[tuple[list[int], list[int]]]:
        """For each part, its first and last ids in every run."""
        largest = max(range(len(self.runs)), key=lambda b: self.runs[b].size(m))
        key = self.runs[largest].key[self.runs[largest].stored(m)]
        picked = [key[len(key) * i // num_parts] for i in range(1, num_parts) if len(key)]
        bounds = [[int(run.starts[m - 1]) for run in self.runs]]
        for prefix in (self.maps[largest][k >> self.bits] for k in picked):
            bounds.append([self._first_of(b, m, int(prefix)) for b in range(len(self.runs))])
        bounds.append([int(run.starts[m]) for run in self.runs])
        return list(pairwise(bounds))

    def _first_of(self, b: int, m: int, prefix: int) -> int:
        """The first id of order m in run b whose context has a new id of at least `prefix`."""
        run, new = self.runs[b], self.maps[b]
        contexts = run.ids(m - 1)
        context = contexts.start + int(np.searchsorted(new[contexts], prefix))
        at = run.stored(m)
        return int(run.starts[m - 1]) + int(np.searchsorted(run.key[at], context << self.bits))

    def _merge_part(self, lows: list[int], highs: list[int]) -> tuple[Ints, list[Ints]]:
        """The new keys of a part, and the rank among them of every n-gram of each run."""
        run_bits = max(1, (len(self.runs) - 1).bit_length())
        symbol_mask = (1 << self.bits) - 1
        packed = np.empty(sum(highs) - sum(lows), dtype=np.int64)
        end = 0
        for b, (low, high) in enumerate(zip(lows, highs, strict=True)):
            key = self.runs[b].key[low - self.num_symbols : high - self.num_symbols]
            part = packed[end : end + len(key)]
            np.copyto(part, self.maps[b][key >> self.bits])
            part <<= self.bits
            part |= key & symbol_mask
            part <<= run_bits
            part |= b
            end += len(key)
        packed.sort()
        which = (packed & ((1 << run_bits) - 1)).astype(np.uint8 if run_bits <= 8 else np.int32)
        packed >>= run_bits
        is_first = is_group_start(packed)
        rank = np.cumsum(is_first, dtype=np.int64)
        rank -= 1
        return packed[is_first], [rank.compress(which == b) for b in range(len(self.runs))]

    def _fill_part(self, lows: list[int], highs: list[int]) -> None:
        """Counts and suffixes of a part; parts have no n-gram in common."""
        for run, sign, new, low, high in zip(
            self.runs, self.signs, self.maps, lows, highs, strict=True
        ):
            ids = new[low:high]
            old = slice(low - self.num_symbols, high - self.num_symbols)
            self.count[ids] += sign * run.count[low:high]
            self.suffix[ids - self.num_symbols] = new[run.suffix[old]]

    def result(self) -> Counts:
        """The merged counts."""
        size = self.starts[-1]
        pairs = zip(self.runs, self.maps, self.signs, strict=True)
        firsts = [(new[run.first], sign * run.num_first) for run, new, sign in pairs]
        first, rank = np.unique(concatenated([ids for ids, _ in firsts]), return_inverse=True)
        times = np.bincount(rank, concatenated([n for _, n in firsts]), len(first)).astype(np.int64)
        return Counts(
            num_symbols=self.num_symbols,
            starts=np.array(self.starts),
            key=self.key[: size - self.num_symbols],
            suffix=self.suffix[: size - self.num_symbols],
            count=self.count[:size],
            first=first,
            num_first=times,
        )


def _without_zeros(counts: Counts) -> Counts:
    """The counts, after a subtraction, without n-grams that occur no more."""
    if len(counts.count) and counts.count.min() < 0:
        raise DataError(
            "the removed text was never counted: remove exactly the lines or documents that were "
            "added"
        )
    is_kept = counts.count > 0
    is_kept[: counts.num_symbols] = True
    return _subset(counts, is_kept)


def _subset(counts: Counts, is_kept: Mask) -> Counts:
    """The counts of some n-grams (N,): all symbols and, with an n-gram, its prefix and suffix."""
    new = np.cumsum(is_kept, dtype=np.int64) - 1
    bits = symbol_bits(counts.num_symbols)
    stored = np.flatnonzero(is_kept[counts.num_symbols :])
    key = counts.key[stored]
    begins = (counts.num_first > 0) & is_kept[counts.first]
    return Counts(
        num_symbols=counts.num_symbols,
        starts=np.concatenate([[0], new[counts.starts[1:] - 1] + 1]),
        key=(new[key >> bits] << bits) | (key & ((1 << bits) - 1)),
        suffix=new[counts.suffix[stored]].astype(np.int32),
        count=counts.count[is_kept],
        first=new[counts.first[begins]],
        num_first=counts.num_first[begins],
    )
