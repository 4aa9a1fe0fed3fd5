"""The surprisal of each sequence by itself, and of each event in it: how unexpected it is.

An unknown event is read as `<unk>` and pays for its spelling, as in `text_surprisal`. It binds a
model to a corpus; `anomalies` turns the figures into verdicts, `metrics.anomaly` judges those.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from seriatim.core.records import Json
from seriatim.data.corpus import Corpus
from seriatim.data.sources import NamedSequence, Source
from seriatim.data.vocab.vocabulary import END
from seriatim.errors import ConfigError
from seriatim.metrics.likelihood import surprisals
from seriatim.tasks.record_table import tabbed
from seriatim.tasks.text_surprisal import TextReader

COLUMNS = (
    *("sequence", "symbols", "bits", "bits_per_symbol"),
    *("highest", "at", "symbol", "time", "unknown", "verdict"),
)


def verdict(bits: float, threshold: float | None) -> str | None:
    """ "anomaly" above a threshold, "normal" at it or below; None: there is no threshold."""
    return None if threshold is None else "anomaly" if bits > threshold else "normal"


@dataclass(frozen=True)
class SequenceSurprisal:
    """The surprisal of one sequence.

    Attributes:
        sequence: the id of the sequence in its table, or its number.
        number: the number of the sequence, from 1.
        symbols: the number of scored symbols, the end included.
        bits: the surprisal of the sequence, -log2 p(sequence), spelling included.
        bits_per_symbol: the mean surprisal of its symbols.
        highest: the highest surprisal of a symbol, in bits.
        at: the position of that symbol, from 1; the end of the sequence is at `symbols`.
        symbol: that symbol as it stands in the data; `<end>` for the end.
        time: when it happened, as the order column says it; None: that is not known.
        unknown: the number of symbols that the model does not know.
        verdict: "anomaly" or "normal"; None: the model has no threshold.
    """

    sequence: str
    number: int
    symbols: int
    bits: float
    bits_per_symbol: float
    highest: float
    at: int
    symbol: str
    time: str | None
    unknown: int
    verdict: str | None

    def to_json(self) -> Json:
        """A dict of JSON values."""
        return asdict(self)

    def cells(self) -> tuple[object, ...]:
        """The values of `COLUMNS`."""
        return tuple(getattr(self, name) for name in COLUMNS)

    def text(self) -> str:
        """The figures in a line, separated by tabs; see `COLUMNS`."""
        return tabbed(self.cells())


@dataclass(frozen=True)
class SequenceBits:
    """A sequence with the surprisal of each of its symbols.

    Attributes:
        number: the number of the sequence, from 1.
        source: the sequence as it stands in the data.
        symbols: its symbols as they are written; the end, if it has one, is `<end>`.
        bits: (T,) the surprisal of each, spelling included.
        unknown: (T,) whether the model does not know it.
    """

    number: int
    source: NamedSequence
    symbols: list[str]
    bits: NDArray[np.float64]
    unknown: NDArray[np.bool_]

    @property
    def times(self) -> list[str | None]:
        """When each symbol happened; None where that is not known."""
        times: list[str | None] = [*(self.source.times or [])]
        return times + [None] * (len(self.symbols) - len(times))

    def summed(self, threshold: float | None) -> SequenceSurprisal:
        """The figures of the sequence, with a verdict by its highest surprisal."""
        worst = int(self.bits.argmax())
        return SequenceSurprisal(
            sequence=self.source.name,
            number=self.number,
            symbols=len(self.bits),
            bits=float(self.bits.sum()),
            bits_per_symbol=float(self.bits.mean()),
            highest=float(self.bits[worst]),
            at=worst + 1,
            symbol=self.symbols[worst],
            time=self.times[worst],
            unknown=int(self.unknown.sum()),
            verdict=verdict(float(self.bits[worst]), threshold),
        )


def check_sequences(sequences: str | None) -> None:
    """Refuse a model that reads a stream.

    Raises:
        ConfigError: if its text is one sequence.
    """
    if sequences == "stream":
        raise ConfigError(
            "the model reads its text as one stream, so there are no sequences to tell apart: fit "
            "it with --sequences line or document, or run surprisal for the bits of each symbol"
        )


def bits_by_sequence(
    reader: TextReader,
    corpus: Corpus,
    source: Source,
    *,
    progress: Callable[[int], None] | None = None,
) -> Iterator[SequenceBits]:
    """Every sequence of a corpus with the surprisal of its symbols, in order.

    Everything is scored, in batches, before the first result.

    Args:
        reader: a fitted model.
        corpus: sequences, not a stream.
        source: the same sequences as they stand in the data.
        progress: callback that receives the number of symbols scored so far.
    """
    nats, bounds = surprisals(reader.model, corpus, progress=progress)
    for i, found in enumerate(source.named()):
        bits = nats[bounds[i] : bounds[i + 1]].astype(np.float64) / np.log(2)
        ids = np.asarray(corpus.sequence(i), np.int64)
        unknown = np.zeros(len(bits), bool)
        if reader.vocabulary.unknown is not None:
            unknown[: len(ids)] = ids == reader.vocabulary.unknown
            bits[: len(ids)] += reader.spelling(found.text, ids)
        yield SequenceBits(i + 1, found, [*reader.written(found.text), END], bits, unknown)
