"""Which symbols of a corpus are scored, in which runs, and what is read before each run.

A long sequence may be cut into pieces that are scored side by side, each from an empty state after
a warm-up: symbols that are read and not counted. Where a model's reach is bounded, a warm-up of
its reach changes nothing; elsewhere the first symbols of a piece miss what lies further back. A
sample takes every 2^j-th piece, so that samples of one text are nested and spread all over it.

Knows numbers of symbols; no model and no text.

Shapes: M sequences, P pieces.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

PIECE = 1024  # symbols of a piece
WARMUP = 256  # symbols read before a piece by a model of unbounded reach
LONG = 16 * PIECE  # a shorter sequence is read as a whole
MOST_WARMUP = 4096  # a longer reach is not read out before each piece of a sample
LEAST = 2_048  # symbols of the first round in limited time: slow models score a thousand a second


@dataclass(frozen=True)
class SampleLimit:
    """What scoring may cost.

    Attributes:
        symbols: the most symbols to score, about; None: any number.
        seconds: the time that it may take, about: the sample is doubled as long as there is time
            for the next doubling; None: any time.
    """

    symbols: int | None = None
    seconds: float | None = None

    @classmethod
    def of_symbols(cls, symbols: int | None) -> "SampleLimit | None":
        """The most symbols to score; None: all."""
        return None if symbols is None else cls(symbols=symbols)


@dataclass(frozen=True)
class Coverage:
    """What was scored, and how it was read.

    Attributes:
        fraction: the scored fraction of the symbols.
        every: 1: all pieces (or sequences, or pairs) were scored; n: every n-th.
        pieces: the number of pieces that were scored side by side; None: whole sequences.
        warmup: the number of symbols that were read, and not counted, before each piece.
        is_exact: whether each symbol was predicted from all before it that the model can see.
    """

    fraction: float = 1.0
    every: int = 1
    pieces: int | None = None
    warmup: int = 0
    is_exact: bool = True


@dataclass(frozen=True)
class Pieces:
    """Runs of scored symbols of M sequences, in the order of the text.

    Attributes:
        sequence: (P,) the sequence of each.
        first: (P,) the position of its first scored symbol in the sequence.
        size: (P,) the number of its scored symbols.
        warmup: (P,) the number of symbols before them that are read and not counted.
    """

    sequence: Ints
    first: Ints
    size: Ints
    warmup: Ints

    @classmethod
    def whole(cls, sizes: Ints) -> "Pieces":
        """Every sequence as a whole.

        Args:
            sizes: (M,) the number of scored symbols of each sequence.
        """
        zeros = np.zeros(len(sizes), np.int64)
        return cls(np.arange(len(sizes)), zeros, sizes.astype(np.int64), zeros)

    @classmethod
    def cut(cls, sizes: Ints, piece: int, *, warmup: int = 0, longest: int = 0) -> "Pieces":
        """Sequences of more than `longest` symbols in pieces.

        With a warm-up, as many symbols are read for each of its pieces, `piece + warmup`, so that
        none waits for another: the first one has no warm-up and more symbols, the last one fewer
        symbols and a longer warm-up.

        Args:
            sizes: (M,) the number of scored symbols of each sequence.
            piece: the number of scored symbols of a piece.
            warmup: the number of symbols read before it.
            longest: the number of symbols up to which a sequence is one piece.
        """
        sizes = sizes.astype(np.int64)
        count = np.where(
            sizes > max(longest, piece), np.maximum(-(-(sizes - warmup) // piece), 1), 1
        )
        sequence = np.repeat(np.arange(len(sizes)), count)
        number = np.arange(len(sequence)) - np.repeat(np.cumsum(count) - count, count)
        first = np.where(number > 0, warmup + number * piece, 0)
        is_last = number == count[sequence] - 1
        end = np.where(is_last, sizes[sequence], warmup + (number + 1) * piece)
        size = end - first
        before = np.where(number > 0, piece + warmup - size, 0)
        return cls(sequence, first, size, before if warmup else np.zeros_like(before))

    @property
    def is_cut(self) -> bool:
        """Whether any sequence is in pieces."""
        return bool((self.first > 0).any())

    def select(self, which: Ints) -> "Pieces":
        """Some of the pieces."""
        return Pieces(self.sequence[which], self.first[which], self.size[which], self.warmup[which])


def plan_pieces(sizes: Ints, reach: int | None, *, is_sample: bool) -> tuple[Pieces, Coverage]:
    """How sequences are read so that it takes little time.

    A model of bounded reach sees many positions of one row at once, so pieces gain nothing; it is
    cut only for a sample.

    Args:
        sizes: (M,) the number of scored symbols of each sequence.
        reach: the reach of the model.
        is_sample: whether only a sample of them is to be scored.
    """
    if reach is not None and not is_sample:
        return Pieces.whole(sizes), Coverage()
    is_seen = reach is not None and reach - 1 <= MOST_WARMUP
    warmup = max(0, reach - 1) if is_seen and reach is not None else WARMUP
    # Not longer for a longer warm-up: all models of a comparison are to be given the same sample.
    pieces = Pieces.cut(sizes, PIECE, warmup=warmup, longest=LONG)
    if not pieces.is_cut:
        return pieces, Coverage()
    return pieces, Coverage(pieces=len(pieces.size), warmup=warmup, is_exact=is_seen)


def sample_rounds(
    sizes: Ints, limit: SampleLimit | None, clock: Callable[[], float] = time.perf_counter
) -> Iterator[tuple[Ints, int]]:
    """The units to score now, in rounds: after each, every n-th unit is scored, n = 2^j.

    Without a limit of time there is one round, which follows from the sizes alone. With one, every
    round doubles what was scored, until there is no time for another.

    Args:
        sizes: (P,) the number of symbols of each unit: a piece, a sequence or a pair.
        limit: what it may cost; None: anything.
        clock: returns seconds, from any origin.

    Yields:
        The indices of the units in rising order, and n.
    """
    finest = _stride(sizes, None if limit is None else limit.symbols)
    stride = finest
    if limit is not None and limit.seconds is not None:
        stride = max(finest, _stride(sizes, LEAST))
    began, seconds = clock(), math.inf if limit is None else limit.seconds or math.inf
    yield np.arange(stride - 1, len(sizes), stride), stride
    while stride > finest and 2 * (clock() - began) <= seconds:
        stride //= 2
        yield np.arange(stride - 1, len(sizes), 2 * stride), stride


def _stride(sizes: Ints, most: int | None) -> int:
    """The least power of 2 by which every n-th unit has at most so many symbols; all but one unit
    may be left out."""
    stride = 1
    while (
        most is not None and 2 * stride <= len(sizes) and sizes[stride - 1 :: stride].sum() > most
    ):
        stride *= 2
    return stride
