"""Counting in a process of its own, where numpy sorts faster than in this one.

On Zen 4 processors numpy sorts integers by AVX-512 instructions that are written in microcode
there (compressed stores to memory): 60 ns an element where its AVX2 kernel takes 11. Which kernel
is used is decided when numpy is imported, and would change the last bits of logarithms too. So
a large corpus goes through a pipe to a process that imports numpy without these instructions, and
nothing else, and its counts come back: integers, equal number by number.

    python -m seriatim.models.ngram.apart  < header, tokens, offsets  > header, arrays

Knows padded corpora and processes; no files and no probabilities.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from seriatim.errors import DataError
from seriatim.models.ngram.counting import Counts
from seriatim.models.ngram.padded_corpus import PaddedCorpus, count_corpus

FEWEST = 1_000_000  # positions for which starting a process pays
_ARRAYS = ("starts", "key", "suffix", "count", "first", "num_first")


def sorts_slowly() -> bool:
    """Whether numpy's AVX-512 sort is slow on this processor: a Zen 4 (AMD family 25)."""
    with contextlib.suppress(OSError):
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        facts = {
            name.strip(): value.split()
            for name, _, value in (line.partition(":") for line in info.splitlines())
        }
        family = ["AuthenticAMD"], ["25"]
        is_zen_4 = (facts.get("vendor_id"), facts.get("cpu family")) == family
        return is_zen_4 and "avx512f" in facts.get("flags", [])
    return False


def count_quickly(corpus: PaddedCorpus, *, order: int, num_symbols: int) -> Counts:
    """`count_corpus`, in a process of its own if that is faster."""
    if corpus.num_positions >= FEWEST and order > 1 and sorts_slowly():
        counts = count_apart(corpus, order=order, num_symbols=num_symbols)
        if counts is not None:
            return counts
    return count_corpus(corpus, order=order, num_symbols=num_symbols)


def count_apart(corpus: PaddedCorpus, *, order: int, num_symbols: int) -> Counts | None:
    """`count_corpus` in another process; None if there can be none.

    Raises:
        DataError: there is nothing to predict, or a symbol outside 0 .. V - 1.
    """
    corpus.check(num_symbols)
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "NPY_DISABLE_CPU_FEATURES": _wide_features(),
        "MALLOC_MMAP_THRESHOLD_": str(1 << 22),  # larger arrays are given back at once
        "MALLOC_ARENA_MAX": "1",
    }
    command = [sys.executable, "-W", "ignore", "-m", "seriatim.models.ngram.apart"]
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            with process.stdin as pipe:
                _send(pipe, corpus, order, num_symbols)
            header = json.loads(process.stdout.readline())
            if "error" in header:
                raise DataError(header["error"])
            arrays = [_read(process.stdout, *array) for array in header["arrays"]]
    except (OSError, ValueError):  # no process, or it was killed
        return None
    return Counts(num_symbols, *arrays)


def _wide_features() -> str:
    """The names of the AVX-512 kernels of this numpy."""
    names: Sequence[str] = np._core._multiarray_umath.__cpu_dispatch__  # type: ignore[attr-defined]
    return " ".join(name for name in names if name.startswith("AVX512") or name == "X86_V4")


def _read(pipe: IO[bytes], dtype: str, length: int) -> npt.NDArray[Any]:
    """An array from a pipe.

    Raises:
        ValueError: the pipe ends before it.
    """
    array = np.empty(length, dtype)
    if length and pipe.readinto(array.data.cast("B")) != array.nbytes:  # type: ignore[attr-defined]
        raise ValueError("the process has ended")
    return array


def _write(pipe: IO[bytes], array: npt.NDArray[Any]) -> None:
    pipe.write(np.ascontiguousarray(array).data.cast("B") if len(array) else b"")


def _send(pipe: IO[bytes], corpus: PaddedCorpus, order: int, num_symbols: int) -> None:
    """Write what `_serve` reads."""
    arrays = corpus.tokens, corpus.offsets
    header = {
        "order": order,
        "num_symbols": num_symbols,
        "boundary": corpus.boundary,
        "is_stream": corpus.is_stream,
        "arrays": [(array.dtype.str, len(array)) for array in arrays],
    }
    pipe.write(json.dumps(header).encode() + b"\n")
    for array in arrays:
        _write(pipe, array)


def _serve(source: IO[bytes], target: IO[bytes]) -> None:
    """Count the corpus that comes, and write the counts."""
    header = json.loads(source.readline())
    tokens, offsets = (_read(source, *array) for array in header["arrays"])
    corpus = PaddedCorpus(
        tokens, offsets, boundary=header["boundary"], is_stream=header["is_stream"]
    )
    order, num_symbols = header["order"], header["num_symbols"]
    try:
        counts = count_corpus(corpus, order=order, num_symbols=num_symbols)
    except DataError as error:
        target.write(json.dumps({"error": str(error)}).encode() + b"\n")
        return
    arrays = [getattr(counts, name) for name in _ARRAYS]
    header = {"arrays": [(array.dtype.str, len(array)) for array in arrays]}
    target.write(json.dumps(header).encode() + b"\n")
    for array in arrays:
        _write(target, array)
    target.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
