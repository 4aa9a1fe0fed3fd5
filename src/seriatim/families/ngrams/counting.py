"""Counting n-grams of every order up to n, exactly, with numpy alone.

A sequence x_1 .. x_T is counted over  b x_1 .. x_T b:  the first boundary b is a context and
never a prediction, the last is a prediction and never a context, and no context reaches into
another sequence, so contexts at the start are shorter than n - 1. A stream s_1 .. s_T is counted
over  b s_1 .. s_T  with nothing after its end; inside it b is an ordinary symbol.

This module knows nothing of probabilities.

Shapes: V symbols, N_m different n-grams of order m, M places where a symbol stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seriatim.errors import DataError

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Level:
    """The n-grams of one order m, in the order of their keys; all arrays are (N_m,) int64.

    Order 1 lists every symbol of the alphabet, counted or not, so that an id is the symbol.

    Attributes:
        key: id of the first m - 1 symbols, times V, plus the last symbol.
        prefix: id of the first m - 1 symbols, of order m - 1 (0 for order 1).
        suffix: id of the last m - 1 symbols, of order m - 1 (0 for order 1).
        count: how often the n-gram occurs.
        initial: how many of those occurrences begin a sequence, with nothing before them.
    """

    key: Ints
    prefix: Ints
    suffix: Ints
    count: Ints
    initial: Ints

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True)
class Counts:
    """All n-grams of orders 1 .. n of a corpus: `levels[m - 1]` holds order m."""

    num_symbols: int
    levels: Sequence[Level]


def count_ngrams(
    tokens: npt.NDArray[np.integer[Any]],
    offsets: npt.NDArray[np.integer[Any]],
    *,
    order: int,
    num_symbols: int,
    boundary: int,
    is_stream: bool,
) -> Counts:
    """Count the n-grams of orders 1 .. `order`.

    Time O(order · M log M), memory about 6 arrays of M int64 beside the counts.

    Args:
        tokens: the symbols of all sequences end to end.
        offsets: (N + 1,) where sequences begin and end in `tokens`.
        order: n, the predicted symbol included.
        num_symbols: V.
        boundary: b.
        is_stream: one sequence without an end; offsets then only bound it.

    Raises:
        DataError: nothing to predict, or a symbol outside 0 .. V - 1.
    """
    tokens = np.asarray(tokens[int(offsets[0]) : int(offsets[-1])])
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < num_symbols:
        raise DataError(
            f"the corpus holds symbols {tokens.min()} .. {tokens.max()} and the model knows "
            f"0 .. {num_symbols - 1}: encode the text with the symbols of this model"
        )
    lengths = np.array([len(tokens)]) if is_stream else np.diff(offsets)
    if len(tokens) + (0 if is_stream else len(lengths)) == 0:
        raise DataError("the corpus has no symbols to count: expected at least one sequence")
    symbols, place = _lay_out(tokens, lengths, boundary, num_ends=0 if is_stream else 1)
    levels = [_symbols_alone(symbols, place, num_symbols)]
    ids = symbols
    for m in range(2, order + 1):
        level, ids = _extend(ids, symbols, place, m, num_symbols)
        levels.append(level)
    return Counts(num_symbols, levels)


def _lay_out(
    tokens: npt.NDArray[np.integer[Any]],
    lengths: npt.NDArray[np.integer[Any]],
    boundary: int,
    num_ends: int,
) -> tuple[Ints, Ints]:
    """Sequences with their boundaries, end to end: symbols (M,), places in the sequence (M,)."""
    spans = lengths.astype(np.int64) + 1 + num_ends
    ends = np.cumsum(spans)
    place = np.arange(ends[-1]) - np.repeat(ends - spans, spans)
    symbols = np.full(len(place), boundary, dtype=np.int64)
    is_token = place > 0
    if num_ends:
        is_token[ends - 1] = False
    symbols[is_token] = tokens
    return symbols, place


def _symbols_alone(symbols: Ints, place: Ints, num_symbols: int) -> Level:
    """Order 1: how often each symbol is predicted, which the first boundary never is."""
    nothing = np.zeros(num_symbols, dtype=np.int64)
    count = np.bincount(symbols[place > 0], minlength=num_symbols)
    return Level(np.arange(num_symbols), nothing, nothing, count, nothing)


def _extend(ids: Ints, symbols: Ints, place: Ints, m: int, num_symbols: int) -> tuple[Level, Ints]:
    """Order m from the ids (M,) of the n-grams of order m - 1 that end at each place.

    Returns the level and the ids of order m, arbitrary where fewer than m symbols stand.
    """
    at = np.flatnonzero(place >= m - 1)
    keys = ids[at - 1] * num_symbols + symbols[at]
    by_key = np.argsort(keys)
    ordered = keys[by_key]
    is_new = np.ones(len(keys), dtype=bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    first = np.flatnonzero(is_new)
    rank = np.empty_like(keys)
    rank[by_key] = np.cumsum(is_new) - 1

    unique = ordered[first]
    level = Level(
        key=unique,
        prefix=unique // num_symbols,
        suffix=ids[at[by_key[first]]],
        count=np.diff(first, append=len(keys)),
        initial=np.bincount(rank[place[at] == m - 1], minlength=len(unique)),
    )
    extended = np.zeros_like(ids)
    extended[at] = rank
    return level, extended
