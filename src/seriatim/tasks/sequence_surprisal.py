"""The surprise of each sequence by itself: which of them the model did not expect.

It binds a language model to texts and calls `surprisals`; what is done with the figures, such as
calling the highest ones anomalies, is `evaluate.anomaly`'s.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seriatim.data.corpus import build_corpus
from seriatim.data.sources import open_source
from seriatim.errors import ConfigError, DataError
from seriatim.metrics.likelihood import surprisals
from seriatim.tasks.language_model import Data, LanguageModel


@dataclass(frozen=True)
class SequenceSurprisal:
    """What one sequence cost.

    Attributes:
        number: of the sequence, from 1.
        symbols: that were scored, the end included.
        bits: of all of them together, -log2 p(sequence).
        bits_per_symbol: their mean.
        highest: the bits of the most surprising one.
        at: which one that was, from 1; symbols: the end of the sequence.
        symbol: its name.
    """

    number: int
    symbols: int
    bits: float
    bits_per_symbol: float
    highest: float
    at: int
    symbol: str

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def sequence_surprises(
    lm: LanguageModel, data: Data, *, progress: Callable[[int], None] | None = None
) -> Iterator[SequenceSurprisal]:
    """The surprise of every line or document, in order.

    Everything is scored, in batches, before the first one is given.

    Args:
        lm: a fitted model of lines or documents.
        data: a path, a `Source`, or texts.
        progress: called with the number of symbols scored so far.

    Raises:
        ConfigError: the model is not fitted, or reads a stream, which is one sequence.
        DataError: nothing to score.
    """
    if lm.model is None or lm.vocabulary is None:
        raise ConfigError("this language model is not fitted yet: call fit, or load one")
    if lm.sequences == "stream":
        raise ConfigError(
            "the model reads its text as one stream, which has a single surprise: fit it with "
            "sequences line or document to have one for each, or use surprisal for each symbol"
        )
    source = open_source(data, sequences=lm.sequences)
    corpus = build_corpus(source, lm.vocabulary)
    if corpus.num_scored == 0:
        raise DataError(f"{source.name} has no symbol to score: give a text that is not empty")
    nats, bounds = surprisals(lm.model, corpus, progress=progress)
    bits = nats.astype(np.float64) / np.log(2)
    for i, (start, stop) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        own, ids = bits[start:stop], corpus.sequence(i)
        worst = int(own.argmax())
        symbol = lm.vocabulary.boundary if worst == len(ids) else int(ids[worst])
        yield SequenceSurprisal(
            number=i + 1,
            symbols=len(own),
            bits=float(own.sum()),
            bits_per_symbol=float(own.mean()),
            highest=float(own[worst]),
            at=worst + 1,
            symbol=lm.vocabulary.name(symbol),
        )
