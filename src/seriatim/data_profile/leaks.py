"""Text of the training part in other parts: whole sequences, and n-grams of 13.

Hashes are kept, no texts. Knows texts; no files and no models. Shapes: N sequences, T words or
characters.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.data.tables import Text
from seriatim.data.vocab.word_index import WordIndex, cut_words

Hashes = NDArray[np.uint64]

NGRAM = 13  # as in the reports of large language models (Brown et al. 2020, appendix C)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_FLUSH = 1 << 22  # characters that are hashed at once


@dataclass(frozen=True)
class Leak:
    """How much of a part occurs in the training part.

    Attributes:
        sequences: the sequences of the part that are not blank.
        in_train: the number of them that occur in training.
        ngrams: the n-grams of the part.
        ngrams_in_train: the number of them that occur in training.
        unit: what n-grams consist of, words or characters.
        is_given: whether the user named the part; otherwise it is a part of the split of fit.
        n: the length of an n-gram.
    """

    sequences: int
    in_train: int
    ngrams: int
    ngrams_in_train: int
    unit: str
    is_given: bool = False
    n: int = NGRAM

    @property
    def fraction(self) -> float | None:
        """The fraction of sequences in training; None: there are none."""
        return self.in_train / self.sequences if self.sequences else None

    @property
    def ngram_fraction(self) -> float | None:
        """The fraction of n-grams in training; None: there are none."""
        return self.ngrams_in_train / self.ngrams if self.ngrams else None


class TrainingIndex:
    """The hashes of the sequences and n-grams of a training part."""

    def __init__(self, train: Iterable[Text], *, of_words: bool, is_stream: bool) -> None:
        """
        Args:
            train: the sequences of the training part.
            of_words: whether n-grams consist of words; otherwise of characters.
            is_stream: whether n-grams extend over line ends.
        """
        self._index = WordIndex()
        self._of_words, self._is_stream = of_words, is_stream
        sequences, grams = self._hashed(train)
        self._sequences, self._grams = np.sort(sequences), np.sort(grams)

    def find_leaks(self, texts: Iterable[Text], *, is_given: bool = False) -> Leak:
        """How much of other texts occurs in the training part.

        Args:
            texts: the sequences of the other part.
            is_given: whether the user named the part.
        """
        sequences, grams = self._hashed(texts)
        return Leak(
            sequences=len(sequences),
            in_train=_count_members(sequences, self._sequences),
            ngrams=len(grams),
            ngrams_in_train=_count_members(grams, self._grams),
            unit="words" if self._of_words else "characters",
            is_given=is_given,
        )

    def _hashed(self, texts: Iterable[Text]) -> tuple[NDArray[np.int64], Hashes]:
        """The hashes of (N,) whole sequences that are not blank, and of all n-grams."""
        sequences, parts = array("q"), []
        pending: list[Text] = []
        size = 0

        def flush() -> None:
            ids, sequence_of = self._tokens(pending)
            parts.append(_grams(ids, sequence_of * (not self._is_stream)))

        for text in texts:
            if not (text.strip() if isinstance(text, str) else text):
                continue
            sequences.append(hash(text) if isinstance(text, str) else hash(tuple(text)))
            pending.append(text)
            size += len(text)
            if size > _FLUSH:
                flush()
                pending, size = [], 0
        flush()
        return np.asarray(sequences, np.int64), np.concatenate(parts)

    def _tokens(self, texts: list[Text]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(T,) ids of words or characters, and the sequence of each."""
        if not texts:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        if not self._of_words:
            joined = "".join(t if isinstance(t, str) else " ".join(t) for t in texts)
            codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
            widths = [len(t) if isinstance(t, str) else len(" ".join(t)) for t in texts]
            return codes.astype(np.int64), np.repeat(np.arange(len(widths)), widths)
        plain = [t.replace("\n", " ") if isinstance(t, str) else _as_words(t) for t in texts]
        words = cut_words("\n".join(plain).encode("utf-8", "replace").decode() + "\n")
        ids = self._index.add(words).astype(np.int64)
        sizes = np.diff(words.line_ends, prepend=0)
        return ids, np.repeat(np.arange(len(sizes)), sizes)


def _count_members(values: NDArray[Any], ordered: NDArray[Any]) -> int:
    """The number of values that are in a sorted array."""
    if not len(ordered):
        return 0
    at = np.searchsorted(ordered, values)
    return int((ordered[np.minimum(at, len(ordered) - 1)] == values).sum())


def _as_words(symbols: list[str]) -> str:
    """A list of symbols as words, with the spaces inside of symbols replaced."""
    return " ".join(s.replace(" ", "\u00a0").replace("\n", "\u00a0") for s in symbols)


def _grams(ids: NDArray[np.int64], sequence_of: NDArray[np.int64]) -> Hashes:
    """The hash of each n-gram within one sequence: sum_k factor^k (id_k + 1), mixed."""
    count = len(ids) - NGRAM + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    hashes = np.zeros(count, np.uint64)
    for k in range(NGRAM):
        hashes = hashes * _FACTOR + ids[k : k + count].astype(np.uint64) + np.uint64(1)
        hashes ^= hashes >> np.uint64(29)
    inside: Hashes = hashes[sequence_of[:count] == sequence_of[NGRAM - 1 :]]
    return inside
