"""The surprisal of each sequence by itself: how unexpected it is to the model.

It binds a model to a corpus and calls `surprisals`; `metrics.anomaly` turns the figures into
detections.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from seriatim.core.model import SequenceModel
from seriatim.core.records import Json
from seriatim.data.corpus import Corpus
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError
from seriatim.metrics.likelihood import surprisals

HEAD = "number\tbits\tsymbols\tbits per symbol\thighest\tat\tsymbol"


@dataclass(frozen=True)
class SequenceSurprisal:
    """The surprisal of one sequence.

    Attributes:
        number: the number of the sequence, from 1.
        symbols: the number of scored symbols, the end included.
        bits: the surprisal of the sequence, -log2 p(sequence).
        bits_per_symbol: the mean surprisal of its symbols.
        highest: the highest surprisal of a symbol, in bits.
        at: the position of that symbol, from 1; the end of the sequence is at `symbols`.
        symbol: the name of that symbol.
    """

    number: int
    symbols: int
    bits: float
    bits_per_symbol: float
    highest: float
    at: int
    symbol: str

    def to_json(self) -> Json:
        """A dict of JSON values."""
        return asdict(self)

    def text(self) -> str:
        """The figures in a line, separated by tabs; see `HEAD`."""
        figures = f"{self.bits:.3f}\t{self.symbols}\t{self.bits_per_symbol:.4f}"
        return f"{self.number}\t{figures}\t{self.highest:.3f}\t{self.at}\t{self.symbol}"


def check_sequences(sequences: str | None) -> None:
    """Refuse a model that reads a stream.

    Raises:
        ConfigError: if its text is one sequence.
    """
    if sequences == "stream":
        raise ConfigError(
            "the model reads its text as one stream, which has a single surprisal: fit it with "
            "sequences line or document, or use surprisal for each symbol"
        )


def surprisals_by_sequence(
    model: SequenceModel,
    corpus: Corpus,
    vocabulary: Vocabulary,
    *,
    progress: Callable[[int], None] | None = None,
) -> Iterator[SequenceSurprisal]:
    """The surprisal of every sequence of a corpus, in order.

    Everything is scored, in batches, before the first result.

    Args:
        model: the model.
        corpus: sequences, not a stream.
        vocabulary: the vocabulary of the corpus.
        progress: callback that receives the number of symbols scored so far.
    """
    nats, bounds = surprisals(model, corpus, progress=progress)
    bits = nats.astype(np.float64) / np.log(2)
    for i, (start, stop) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        own, ids = bits[start:stop], corpus.sequence(i)
        worst = int(own.argmax())
        symbol = vocabulary.boundary if worst == len(ids) else int(ids[worst])
        yield SequenceSurprisal(
            number=i + 1,
            symbols=len(own),
            bits=float(own.sum()),
            bits_per_symbol=float(own.mean()),
            highest=float(own[worst]),
            at=worst + 1,
            symbol=vocabulary.name(symbol),
        )
