"""Array types of the package, and the operations on sorted arrays that its modules share."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Int32s: TypeAlias = npt.NDArray[np.int32]
Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Tokens: TypeAlias = npt.NDArray[np.integer[Any]]

LOG_10 = float(np.log(10.0))  # nats in log10 1
NUM_THREADS = 2
CHUNK = 1 << 16  # positions or look-ups whose arrays stay in the caches


def symbol_bits(num_symbols: int) -> int:
    """The number of bits that holds every symbol."""
    return max(1, (num_symbols - 1).bit_length())


def symbol_type(num_symbols: int) -> np.dtype[Any]:
    """The smallest type of an array of symbols, among those that tensors have."""
    for kind in (np.uint8, np.uint16):
        if num_symbols - 1 <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.int32)


def is_group_start(ordered: Ints) -> Mask:
    """Where a value of a sorted array differs from the one before it."""
    is_start = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_start[1:])
    return is_start


def concatenated(arrays: Sequence[npt.NDArray[Any]], dtype: Any = np.int64) -> npt.NDArray[Any]:
    """`np.concatenate`, which gives an empty array for no arrays."""
    return np.concatenate([np.zeros(0, dtype), *arrays])
