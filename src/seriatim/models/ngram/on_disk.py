"""Counts on disk: corpora larger than memory, and counting that survives being killed.

A folder of counts holds plain little-endian arrays and a record that describes them; it is written
under another name and renamed, so that a folder under its final name is complete. Counting in
bounded memory is an external merge sort: every block becomes a sorted run, runs are merged some at
a time, and a step whose result exists is not repeated. Since each step is a pure function of the
corpus, an interruption leaves no trace in the result.

Knows files and `Counts`; no probabilities.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seriatim.core import atomic
from seriatim.core.records import read_record, to_json
from seriatim.errors import ConfigError, DataError, ModelError, OutputError
from seriatim.models.ngram.arrays import NUM_THREADS
from seriatim.models.ngram.counting import Counts, bytes_per_position
from seriatim.models.ngram.merging import merge_counts
from seriatim.models.ngram.padded_corpus import PaddedCorpus, count_span

_VERSION = 1
_RECORD = "counts.json"
_ARRAYS = ("starts", "key", "suffix", "count", "first", "num_first")
_FAN_IN = 8  # runs merged in one step
_SMALLEST_BLOCK = 1 << 16  # positions; smaller blocks save nothing
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class _Plan:
    """What a folder of runs is made for (plan.json)."""

    version: int  # of the format of runs
    corpus: str  # its fingerprint
    order: int
    symbols: int
    block_size: int


@dataclass(frozen=True)
class _ArrayRecord:
    """The type and length of an array's file."""

    dtype: str
    length: int


@dataclass(frozen=True)
class _CountsRecord:
    """What a folder of counts holds (counts.json)."""

    version: int
    arrays: dict[str, _ArrayRecord]


def parse_memory(text: str | int) -> int:
    """The bytes of "2GB", "500 MB", "1.5g" or a number.

    Raises:
        ConfigError: the text is no amount of memory.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", str(text), re.IGNORECASE)
    if match is None or float(match[1]) <= 0:
        raise ConfigError(
            f"memory {text!r} is not an amount of memory: give one such as 500MB or 2GB"
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder for runs, named after the corpus, so that counting resumes after a kill.

    It is in $SERIATIM_CACHE, else in $XDG_CACHE_HOME/seriatim or ~/.cache/seriatim, and is
    removed when the work is done.
    """
    own, shared = os.environ.get("SERIATIM_CACHE"), os.environ.get("XDG_CACHE_HOME")
    cache = Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "seriatim"
    folder = cache / f"counts-{name}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def count_on_disk(
    corpus: PaddedCorpus, folder: Path, *, order: int, num_symbols: int, memory: int
) -> Counts:
    """`count_corpus` in bounded memory; resumes where an earlier call on this corpus stopped.

    Args:
        corpus: the padded corpus.
        folder: the folder for runs and, in the end, the counts, which are mapped and not read;
            it may hold the runs of an interrupted call, and is emptied if they are of another
            corpus or other options.
        order: n.
        num_symbols: V.
        memory: the bytes that counting and merging may take, beside the program itself.

    Raises:
        ConfigError: the memory is too small; says how much is needed.
        DataError: there is nothing to count, or a symbol outside 0 .. V - 1.
        OutputError: the disk cannot hold the runs; complete ones stay for the next call.
    """
    corpus.check(num_symbols)
    size = memory // bytes_per_position(order)
    smallest = min(_SMALLEST_BLOCK, corpus.num_positions)
    needed = smallest * bytes_per_position(order) + 64 * num_symbols
    if memory < needed:
        raise ConfigError(
            f"a memory of {memory:,} bytes is too small for {num_symbols:,} symbols: give at "
            f"least {-(-needed // 10**6)}MB"
        )
    plan = _Plan(_VERSION, corpus.fingerprint(), order, num_symbols, size)
    with _explained_errors(folder):
        plan = _claim(folder, plan)
        with ThreadPoolExecutor(NUM_THREADS) as threads:

            def count(span: tuple[int, int]) -> Callable[[Path], Counts]:
                return lambda _: count_span(corpus, *span, order, num_symbols, threads)

            spans = list(corpus.spans(plan.block_size))
            names = [f"run-0-{i:05d}" for i in range(len(spans))]
            for name, span in zip(names, spans, strict=True):
                if not _is_done(folder, name, len(spans)):
                    _write_folder(folder / name, count(span))
            return _merged(folder, names, memory, threads)


def _merged(folder: Path, names: Sequence[str], memory: int, threads: ThreadPoolExecutor) -> Counts:
    """Merge runs, some at a time, until one is left."""
    level = 0
    while len(names) > 1:
        level += 1
        groups = [names[i : i + _FAN_IN] for i in range(0, len(names), _FAN_IN)]
        merged = [f"run-{level}-{i:05d}" for i in range(len(groups))]
        for name, group in zip(merged, groups, strict=True):
            if not _is_done(folder, name, len(groups)):
                _merge(folder / name, [folder / run for run in group], memory, threads)
            for run in group:
                shutil.rmtree(folder / run, ignore_errors=True)
        names = merged
    return load_counts(folder / names[0])


def _merge(path: Path, group: Sequence[Path], memory: int, threads: ThreadPoolExecutor) -> None:
    """Merge some runs into one; on returning, none of their files is mapped."""
    runs = [load_counts(run) for run in group]
    _write_folder(
        path,
        lambda unfinished: merge_counts(runs, threads=threads, memory=memory, folder=unfinished),
    )


def _is_done(folder: Path, name: str, count: int) -> bool:
    """Whether a run exists, or one of a later level that it was merged into."""
    level, index = (int(part) for part in name.split("-")[1:])
    while True:
        if (folder / f"run-{level}-{index:05d}").exists():
            return True
        if count == 1:
            return False
        level, index, count = level + 1, index // _FAN_IN, -(-count // _FAN_IN)


def _claim(folder: Path, plan: _Plan) -> _Plan:
    """Make the folder one of this plan, or of an earlier one with blocks cut for less memory."""
    file = folder / "plan.json"
    try:
        earlier = read_record(_Plan, file)
        if (
            replace(earlier, block_size=plan.block_size) == plan
            and earlier.block_size <= plan.block_size
        ):
            return earlier
    except ModelError:
        pass
    if folder.exists() and any(folder.iterdir()) and not file.exists():
        raise OutputError(
            f"{folder} holds files that are no runs of counting: choose an empty folder for them"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    unfinished = folder / ".plan.json"
    unfinished.write_text(json.dumps(to_json(plan)), "utf-8")
    unfinished.replace(file)
    return plan


@contextmanager
def _explained_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"counting could not write to {folder}: {error.strerror or error}; complete runs "
            "stay there, so free some space and run it again, or choose another folder"
        ) from None


# ---- folders of counts --------------------------------------------------------------------------


def save_counts(counts: Counts, path: str | os.PathLike[str]) -> None:
    """Write counts as a folder, complete or not at all; an existing one is replaced.

    Raises:
        OutputError: the disk cannot hold them.
    """
    path = Path(path)
    with _explained_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_folder(path, lambda _: counts)


def _write_folder(path: Path, make: Callable[[Path], Counts]) -> None:
    """Write the counts that `make` returns, which may use the unfinished folder, as `path`."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        counts = make(unfinished)
        arrays = {name: _write(unfinished / name, getattr(counts, name)) for name in _ARRAYS}
        del counts  # Windows neither cuts nor renames what is mapped
        for name, array in arrays.items():
            os.truncate(unfinished / name, np.dtype(array.dtype).itemsize * array.length)
        for left_over in set(unfinished.iterdir()) - {unfinished / name for name in _ARRAYS}:
            left_over.unlink()  # intermediate files of the merge
        record = _CountsRecord(_VERSION, arrays)
        (unfinished / _RECORD).write_text(json.dumps(to_json(record)), "utf-8")
        for name in (*_ARRAYS, _RECORD, ""):
            atomic.flush(unfinished / name)
        shutil.rmtree(path, ignore_errors=True)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(path: Path, array: npt.NDArray[Any]) -> _ArrayRecord:
    """Write an array as a file, unless it is mapped from there already, from a longer one."""
    dtype = array.dtype.newbyteorder("<")
    if not path.exists():
        with path.open("wb") as file:  # numpy's own tofile hides why a disk refuses
            file.write(np.ascontiguousarray(array, dtype).data)
    return _ArrayRecord(dtype.str, len(array))


def load_counts(path: str | os.PathLike[str]) -> Counts:
    """Counts from a folder, mapped.

    Raises:
        DataError: there is no such folder, or it is damaged.
    """
    path = Path(path)
    try:
        record = read_record(_CountsRecord, path / _RECORD)
        arrays = {name: _mapped(path / name, record.arrays[name]) for name in _ARRAYS}
    except (OSError, ValueError, KeyError, TypeError, ModelError) as error:
        raise DataError(
            f"{path} holds no counts that can be read ({error}): count the text again"
        ) from None
    return Counts(num_symbols=int(arrays["starts"][1]), **arrays)


def _mapped(path: Path, record: _ArrayRecord) -> npt.NDArray[Any]:
    dtype = np.dtype(record.dtype)
    size = dtype.itemsize * record.length
    if path.stat().st_size != size:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes and not {size}")
    if record.length == 0:
        return np.zeros(0, dtype)
    return np.asarray(np.memmap(path, dtype, mode="r", shape=(record.length,)))
