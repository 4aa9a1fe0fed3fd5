"""What a language model says of single symbols, and of a text in the making.

Knows streams and symbols; no files and no training.
"""

from dataclasses import dataclass

import numpy as np

from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.decode.stream import Stream


@dataclass(frozen=True)
class Surprisal:
    """What one symbol of a text cost: -log2 p(symbol | everything before it)."""

    symbol: str
    bits: float


@dataclass(frozen=True)
class Prediction:
    """One of the most probable next symbols."""

    symbol: str
    probability: float


class TextStream:
    """One text in the making: push an element, get its surprise in bits.

    The sum over a text equals what `surprisal` and `score` say of it.
    """

    def __init__(self, stream: Stream, vocabulary: Vocabulary) -> None:
        self._stream, self._symbols = stream, vocabulary

    def push(self, element: str) -> float:
        """Fold a piece of text in (a character, a word, a line end) and return its bits."""
        nats = sum(self._stream.push(int(i)) for i in self._symbols.encode(element))
        return nats / float(np.log(2))

    def end(self) -> float:
        """The bits of the text ending here; folds the end in."""
        return self._stream.push(self._symbols.boundary) / float(np.log(2))

    def top(self, k: int = 10) -> list[Prediction]:
        """The k most probable next symbols."""
        return [Prediction(self._symbols.name(i), float(np.exp(p))) for i, p in self._stream.top(k)]

    def save(self) -> bytes:
        """The state as bytes; `LanguageModel.stream(state)` goes on from it exactly."""
        return self._stream.save()
