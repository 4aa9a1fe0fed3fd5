"""Blocks of a text: the units that a bootstrap resamples.

Neighbouring symbols are not independent; blocks of a thousand characters nearly are (Künsch
1989, with non-overlapping blocks), and so are whole sequences. Blocks are cut from the text, not
from its symbols, so that models with different vocabularies are measured on the same blocks: a
symbol belongs to the block in which it begins.

Knows sizes in characters; no text and no model.

Shapes: K blocks, M sequences, N scored symbols.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seriatim.metrics.bootstrap import Floats, block_sums

Ints = NDArray[np.int64]

CHARACTERS = 1000  # minimal size of a block
_ENOUGH = 30  # blocks of sequences may be smaller to reach this number


@dataclass(frozen=True)
class Blocks:
    """The blocks of one text.

    Attributes:
        sizes: (K,) the numbers of characters.
        of_sequence: (M,) the block of each sequence; None: a stream, in K blocks of equal size.
    """

    sizes: Floats
    of_sequence: Ints | None

    @property
    def count(self) -> int:
        """K."""
        return len(self.sizes)

    def sums(self, values: NDArray[np.generic], characters: Ints, bounds: Ints) -> Floats:
        """(K,) the sums of a value per symbol over the blocks.

        Args:
            values: (N,) the values of the scored symbols, in the order of the text.
            characters: (N,) the number of characters of each symbol.
            bounds: (M + 1,) the boundaries of the sequences among the symbols.
        """
        if self.of_sequence is not None:
            block = np.repeat(self.of_sequence, np.diff(bounds))
        else:
            ends = np.cumsum(characters)
            # Unknown symbols have no known characters, so the others are stretched.
            block = (ends - characters) * self.count // max(int(ends[-1]), 1)
            block = np.minimum(block, self.count - 1)
        sums = np.bincount(block, weights=values.astype(np.float64), minlength=self.count)
        return np.asarray(sums, np.float64)


def blocks_of_stream(characters: int) -> Blocks:
    """The largest number of equal blocks with at least a thousand characters each."""
    count = max(1, characters // CHARACTERS)
    return Blocks(np.full(count, characters / count), None)


def blocks_of_sequences(characters: Floats) -> Blocks:
    """Blocks of whole sequences with at least a thousand characters each, or fewer characters if
    there would be fewer than thirty blocks.

    Args:
        characters: (M,) the number of characters of each sequence.
    """
    at_least = max(1, min(CHARACTERS, int(characters.sum()) // _ENOUGH))
    counted = np.stack([characters, np.ones(len(characters))], 1)
    sums = block_sums(counted, np.maximum(characters, 1).astype(np.int64), at_least)
    of_sequence = np.repeat(np.arange(len(sums)), sums[:, 1].astype(np.int64))
    return Blocks(np.maximum(sums[:, 0], 1e-9), of_sequence)
