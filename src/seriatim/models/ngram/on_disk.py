"""Counts on disk: corpora larger than memory, counting that survives being killed, updates.

A folder of counts holds plain little-endian arrays and a record of what they are; it is written
under another name and renamed, so that whatever stands under its name is whole. Counting in
bounded memory is a sequence of such steps: every block becomes a run, runs are merged some at a
time, and a step whose result stands is not done again. Since each step is a pure function of
the corpus, stopping and starting anew leaves no trace in the result.

Knows files and `Counts`; no probabilities.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seriatim.core import atomic
from seriatim.errors import ConfigError, DataError, OutputError
from seriatim.models.ngram.counting import NUM_THREADS, Counts, bytes_per_place
from seriatim.models.ngram.layout import Layout, count_span
from seriatim.models.ngram.merging import merge_counts

_VERSION = 1
_RECORD = "counts.json"
_ARRAYS = ("starts", "key", "suffix", "count", "first", "num_first")
_AT_ONCE = 8  # runs merged in one step
_SMALLEST = 1 << 16  # places of a block below which nothing is gained
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_memory(text: str | int) -> int:
    """Bytes of "2GB", "500 MB", "1.5g" or a number.

    Raises:
        ConfigError: no amount of memory.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", str(text), re.IGNORECASE)
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"memory {text!r} is no amount: give one such as 500MB or 2GB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder for runs, of one name for one corpus, so that counting can go on after a kill.

    It lies in $SERIATIM_CACHE, else in $XDG_CACHE_HOME/seriatim or ~/.cache/seriatim, and is
    gone once the work is done.
    """
    own, shared = os.environ.get("SERIATIM_CACHE"), os.environ.get("XDG_CACHE_HOME")
    cache = Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "seriatim"
    folder = cache / f"counts-{name}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def count_on_disk(
    layout: Layout, folder: Path, *, order: int, num_symbols: int, memory: int
) -> Counts:
    """`count_ngrams` in bounded memory; goes on where an earlier call on this corpus stopped.

    Args:
        layout: the corpus.
        folder: for runs and, in the end, the counts, which are mapped and not read; it may hold
            what an earlier call left, and is emptied if that was another corpus or other options.
        order: n.
        num_symbols: V.
        memory: bytes that counting and merging may take, beside the program itself.

    Raises:
        ConfigError: the memory is too small; says what is needed.
        DataError: nothing to count, or symbols outside 0 .. V - 1.
        OutputError: the disk cannot hold the runs; those that are whole stay for the next call.
    """
    layout.check(num_symbols)
    places = memory // bytes_per_place(order)
    needed = (min(_SMALLEST, layout.num_places) * bytes_per_place(order)) + 64 * num_symbols
    if memory < needed:
        raise ConfigError(
            f"a memory of {memory:,} bytes is too small for {num_symbols:,} symbols: give at "
            f"least {-(-needed // 10**6)}MB"
        )
    plan = _plan(layout, order, num_symbols, places)
    with _explaining(folder):
        places = _claim(folder, plan)
        with ThreadPoolExecutor(NUM_THREADS) as threads:

            def count(span: tuple[int, int]) -> Callable[[Path], Counts]:
                return lambda _: count_span(layout, *span, order, num_symbols, threads)

            spans = list(layout.spans(places))
            names = [f"run-0-{i:05d}" for i in range(len(spans))]
            for name, span in zip(names, spans, strict=True):
                if not _is_done(folder, name, len(spans)):
                    _make(folder / name, count(span))
            return _merged(folder, names, memory, threads)


def _merged(folder: Path, names: Sequence[str], memory: int, threads: ThreadPoolExecutor) -> Counts:
    """Merge runs, some at a time, until one is left."""
    level = 0
    while len(names) > 1:
        level += 1
        groups = [names[i : i + _AT_ONCE] for i in range(0, len(names), _AT_ONCE)]
        merged = [f"run-{level}-{i:05d}" for i in range(len(groups))]
        for name, group in zip(merged, groups, strict=True):
            if not _is_done(folder, name, len(groups)):
                runs = [load_counts(folder / run) for run in group]
                _make(
                    folder / name,
                    lambda place, runs=runs: merge_counts(  # type: ignore[misc]
                        runs, threads=threads, memory=memory, folder=place
                    ),
                )
            for run in group:
                shutil.rmtree(folder / run, ignore_errors=True)
        names = merged
    return load_counts(folder / names[0])


def _is_done(folder: Path, name: str, count: int) -> bool:
    """Whether a run stands, or one of a later level that took it in."""
    level, index = (int(part) for part in name.split("-")[1:])
    while True:
        if (folder / f"run-{level}-{index:05d}").exists():
            return True
        if count == 1:
            return False
        level, index, count = level + 1, index // _AT_ONCE, -(-count // _AT_ONCE)


def _plan(layout: Layout, order: int, num_symbols: int, places: int) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "corpus": layout.fingerprint(),
        "order": order,
        "symbols": num_symbols,
        "places": places,
    }


def _claim(folder: Path, plan: dict[str, Any]) -> int:
    """Make the folder one of this plan, empty unless it was one already; the places of a block.

    Blocks that were cut for less memory are as good.
    """
    record = folder / "plan.json"
    try:
        found = json.loads(record.read_text())
        places = int(found["places"])
        if {**found, "places": plan["places"]} == plan and places <= plan["places"]:
            return places
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if folder.exists() and any(folder.iterdir()) and not record.exists():
        raise OutputError(
            f"{folder} holds files that are no runs of counting: choose an empty folder for them"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    unfinished = folder / ".plan.json"
    unfinished.write_text(json.dumps(plan))
    unfinished.replace(record)
    return int(plan["places"])


@contextmanager
def _explaining(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"counting could not write to {folder}: {error.strerror or error}; what is whole there "
            "stays, so free some space and run it again, or choose another folder"
        ) from None


# ---- folders of counts --------------------------------------------------------------------------


def save_counts(counts: Counts, path: str | os.PathLike[str]) -> None:
    """Write counts as a folder, whole or not at all; one that stands there is replaced.

    Raises:
        OutputError: the disk cannot hold them.
    """
    path = Path(path)
    with _explaining(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        _make(path, lambda _: counts)


def _make(path: Path, make: Callable[[Path], Counts]) -> None:
    """The folder `path` with what `make` gives, which may use the unfinished folder."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        counts = make(unfinished)
        lengths = {name: _write(unfinished / name, getattr(counts, name)) for name in _ARRAYS}
        del counts
        for left_over in set(unfinished.iterdir()) - {unfinished / name for name in _ARRAYS}:
            left_over.unlink()  # what merging needed on the way
        record = {"version": _VERSION, "arrays": lengths}
        (unfinished / _RECORD).write_text(json.dumps(record))
        for name in (*_ARRAYS, _RECORD, ""):
            atomic.flush(unfinished / name)
        shutil.rmtree(path, ignore_errors=True)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(path: Path, array: npt.NDArray[Any]) -> dict[str, Any]:
    """An array as a file, unless it is mapped from there already; what it is."""
    dtype = array.dtype.newbyteorder("<")
    if path.exists():
        os.truncate(path, array.nbytes)
    else:
        with path.open("wb") as file:  # numpy's own tofile hides why a disk refuses
            file.write(np.ascontiguousarray(array, dtype).data)
    return {"dtype": dtype.str, "length": len(array)}


def load_counts(path: str | os.PathLike[str]) -> Counts:
    """Counts from a folder, mapped.

    Raises:
        DataError: no such folder, or a damaged one.
    """
    path = Path(path)
    try:
        record = json.loads((path / _RECORD).read_text())
        arrays = {name: _mapped(path / name, **record["arrays"][name]) for name in _ARRAYS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} holds no counts that can be read ({error}): count the text again"
        ) from None
    return Counts(num_symbols=int(arrays["starts"][1]), **arrays)


def _mapped(path: Path, dtype: str, length: int) -> npt.NDArray[Any]:
    size = np.dtype(dtype).itemsize * length
    if path.stat().st_size != size:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes and not {size}")
    if length == 0:
        return np.zeros(0, dtype)
    return np.asarray(np.memmap(path, dtype, mode="r", shape=(length,)))


# ---- updates ------------------------------------------------------------------------------------


def update_counts(
    counts: Counts, *, added: Sequence[Counts] = (), removed: Sequence[Counts] = ()
) -> Counts:
    """Counts with the text of some runs added and of others removed.

    Equal, number by number, to counting the resulting text from scratch.

    Raises:
        DataError: other symbols or another order, or removed text that was never counted.
    """
    for other in (*added, *removed):
        if (other.num_symbols, other.order) != (counts.num_symbols, counts.order):
            raise DataError(
                f"counts of order {other.order} over {other.num_symbols} symbols do not go with "
                f"order {counts.order} over {counts.num_symbols}: count with the same symbols"
            )
    runs = [counts, *added, *removed]
    return merge_counts(runs, signs=[1] * (1 + len(added)) + [-1] * len(removed))
