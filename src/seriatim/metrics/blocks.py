"""Blocks of a text: what is drawn anew when one asks whether a difference is luck.

Neighbouring symbols are not independent, blocks of a thousand characters nearly are (Künsch
1989, with blocks that do not overlap), and so are whole sequences. The blocks are those of the
text, not of its symbols, so that models of different symbols are measured on the same ones: a
symbol belongs to the block in which it begins.

Knows sizes in characters; no text, no model.

Shapes: K blocks, M sequences, N scored symbols.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seriatim.metrics.bootstrap import Floats, block_sums

Ints = NDArray[np.int64]

CHARACTERS = 1000  # of a block, at least
_ENOUGH = 30  # blocks, for which whole sequences may be shorter than that


@dataclass(frozen=True)
class Blocks:
    """The blocks of one text.

    Attributes:
        sizes: (K,) characters.
        of_sequence: (M,) the block of each sequence; None: a stream, in K blocks of one size.
    """

    sizes: Floats
    of_sequence: Ints | None

    @property
    def count(self) -> int:
        """K."""
        return len(self.sizes)

    def sums(self, values: NDArray[np.generic], characters: Ints, bounds: Ints) -> Floats:
        """(K,) the sum of what was measured of each symbol.

        Args:
            values: (N,) of the scored symbols, in the order of the text.
            characters: (N,) that each of them stands for.
            bounds: (M + 1,) of the sequences in them.
        """
        if self.of_sequence is not None:
            block = np.repeat(self.of_sequence, np.diff(bounds))
        else:
            ends = np.cumsum(characters)
            # Unknown symbols stand for no characters that are known: the others stretch.
            block = (ends - characters) * self.count // max(int(ends[-1]), 1)
            block = np.minimum(block, self.count - 1)
        found = np.bincount(block, weights=values.astype(np.float64), minlength=self.count)
        return np.asarray(found, np.float64)


def blocks_of_stream(characters: int) -> Blocks:
    """As many blocks as have a thousand characters or more."""
    count = max(1, characters // CHARACTERS)
    return Blocks(np.full(count, characters / count), None)


def blocks_of_sequences(characters: Floats) -> Blocks:
    """Runs of whole sequences with a thousand characters or more; with fewer, if there would be
    fewer than thirty runs.

    Args:
        characters: (M,) of each sequence.
    """
    at_least = max(1, min(CHARACTERS, int(characters.sum()) // _ENOUGH))
    counted = np.stack([characters, np.ones(len(characters))], 1)
    sums = block_sums(counted, np.maximum(characters, 1).astype(np.int64), at_least)
    of_sequence = np.repeat(np.arange(len(sums)), sums[:, 1].astype(np.int64))
    return Blocks(np.maximum(sums[:, 0], 1e-9), of_sequence)
