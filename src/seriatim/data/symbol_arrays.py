"""Symbols without a text: arrays, tensors, lists and token files as a corpus.

    one sequence without an end     an array (T,), a list of ids, a file .npy of one dimension
    sequences                       an array (N, T), or a list of arrays or lists

Ids are checked once; arrays that are mapped from a file stay on disk. Knows arrays; no text and
no model.
"""

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seriatim.core.batch import TokenSequences
from seriatim.data.corpus import Corpus, CorpusStatistics
from seriatim.errors import DataError

Symbols: TypeAlias = (
    TokenSequences
    | NDArray[Any]
    | Tensor
    | Sequence[int]
    | Sequence[Sequence[int] | NDArray[Any] | Tensor]
    | str
    | PathLike[str]
)
_CHECKED_AT_ONCE = 1 << 22  # symbols


def symbol_corpus(data: Symbols, num_symbols: int, name: str = "the data") -> TokenSequences:
    """A corpus of symbols.

    Args:
        data: as above; a corpus is returned as it is.
        num_symbols: V, the number of symbols of the model.
        name: what the data is called in messages.

    Raises:
        DataError: if there is no symbol, a symbol is no integer in 0 .. V - 1, or a file cannot be
            read.
    """
    if isinstance(data, (str, PathLike)):
        data = _mapped(Path(fspath(data)))
    if isinstance(data, (np.ndarray, Tensor)):
        corpus = _of_array(_array(data, name), name)
    elif isinstance(data, Sequence):
        corpus = _of_list(data, name)
    elif all(hasattr(data, part) for part in ("tokens", "offsets", "is_stream")):
        corpus = data
    else:
        raise DataError(
            f"{name} is a {type(data).__name__}: give ids as an array, a tensor, a list, or the "
            "path of a .npy file"
        )
    _check(corpus.tokens, num_symbols, name)
    return corpus


def _of_list(items: Sequence[Any], name: str) -> TokenSequences:
    if items and isinstance(items[0], str):
        raise DataError(
            f"{name} is a list of texts, and ids are needed: give vocabulary.encode(text) of each, "
            "or fit a LanguageModel, which reads text"
        )
    if not items or not hasattr(items[0], "__len__"):
        return _of_array(_array(items, name), name)
    rows = [_array(item, f"sequence {i + 1} of {name}") for i, item in enumerate(items)]
    for i, row in enumerate(rows):
        if row.ndim != 1:
            raise DataError(
                f"sequence {i + 1} of {name} has the shape {row.shape}: a sequence of ids has one "
                "dimension"
            )
    return Corpus.from_tokens([row.astype(np.int64) for row in rows])


def _of_array(ids: NDArray[np.integer[Any]], name: str) -> TokenSequences:
    if ids.ndim == 2:
        return Corpus.from_tokens(ids.astype(np.int64))
    if ids.ndim != 1:
        raise DataError(
            f"{name} has the shape {ids.shape}: give (T,) for one stream, (N, T) for sequences of "
            "one length, or a list of sequences"
        )
    statistics = CorpusStatistics(num_sequences=1, num_tokens=len(ids))
    # The loop recognizes the data of a run by its size and its first batch.
    return Corpus(ids, np.array([0, len(ids)], np.int64), True, statistics, "")


def _array(values: Any, name: str) -> NDArray[np.integer[Any]]:
    """Ids as an array of integers, mapped if they were."""
    values = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    try:
        array: NDArray[Any] = np.asanyarray(values)
    except ValueError:
        raise DataError(f"{name} is no array of ids: its rows differ in length or depth") from None
    if array.size == 0 and array.dtype == np.float64:  # an empty list
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise DataError(
            f"{name} holds {array.dtype} where ids are needed, which are integers: give "
            "data.astype(int), or predict numbers with another model"
        )
    return array


def _mapped(path: Path) -> NDArray[Any]:
    if path.suffix != ".npy":
        raise DataError(
            f"{path} is no .npy file: save ids with numpy.save, map a raw file with "
            "numpy.memmap(path, dtype), or fit a LanguageModel to text"
        )
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an array: {error}") from None
    return array


def _check(tokens: NDArray[np.integer[Any]], num_symbols: int, name: str) -> None:
    if not len(tokens):
        raise DataError(f"{name} holds no symbol: give at least one")
    for first in range(0, len(tokens), _CHECKED_AT_ONCE):
        piece = tokens[first : first + _CHECKED_AT_ONCE]
        if piece.min() < 0 or piece.max() >= num_symbols:
            position = first + int(np.flatnonzero((piece < 0) | (piece >= num_symbols))[0])
            raise DataError(
                f"{name} holds the id {tokens[position]} at position {position:,}, and the model "
                f"has the symbols 0 .. {num_symbols - 1}: build it with a larger num_symbols, or "
                "number the symbols from 0 without gaps"
            )
