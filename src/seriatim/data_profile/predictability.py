"""How predictable sequences are, measured by n-gram models: how much context data needs.

Models of order 1 .. 6 are fitted on nine tenths of a sample and score the last tenth, so the bits
are code lengths of unseen text and never optimistic. They fall with the context until nothing more
can be predicted, or there is too little data to learn it from. General compressors give upper
bounds of the entropy beside them.

Knows Markov models and texts; draws no conclusions.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from seriatim.data.corpus import Corpus, build_corpus
from seriatim.data.sources import Sequences, TextSource
from seriatim.data.splits import split_source
from seriatim.data.tables import Text
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.data.vocab.vocabulary import LINE_END, Vocabulary
from seriatim.errors import DataError
from seriatim.metrics.likelihood import surprisals
from seriatim.models.build import build_model
from seriatim.models.options.ngram import Markov
from seriatim.train.closed_form import ClosedForm

ORDERS = (1, 2, 3, 4, 5, 6)
NUM_CHARACTERS = 300_000  # of a sample
CLOSE = 0.01  # within this fraction of the fewest bits, a shorter context is as good
_COMPRESSED_BYTES = 1 << 21


@dataclass(frozen=True)
class Predictability:
    """Bits of held-out symbols given the preceding 0, 1, .. 5.

    Attributes:
        symbols: the symbols, char or word.
        train, test: the number of symbols that were counted and scored, ends included.
        bits: bits per scored symbol, by context 0 .. 5 (Kneser-Ney of order 1 .. 6).
        bits_per_character: the same bits per character, line ends included.
        unknown: the fraction of scored symbols that do not occur in training.
        context: the shortest context whose bits are within 1 % of the fewest.
        num_symbols: the size of the vocabulary.
    """

    symbols: str
    train: int
    test: int
    bits: tuple[float, ...]
    bits_per_character: tuple[float, ...] | None
    unknown: float
    context: int
    num_symbols: int

    @property
    def unit(self) -> str:
        """What a symbol is, in full: character or word."""
        return "character" if self.symbols == "char" else self.symbols

    @property
    def uniform(self) -> float:
        """Bits of a symbol if all were equally likely: log2 V."""
        return math.log2(self.num_symbols)

    @property
    def is_falling(self) -> bool:
        """Whether the longest context is over 1 % better than all shorter ones."""
        return self.context == len(self.bits) - 1


def measure_predictability(
    texts: Sequence[Text], symbols: str, sequences: Sequences
) -> Predictability | None:
    """Fit models of rising order to a part of the texts and score the rest.

    Args:
        texts: the sequences.
        symbols: the symbols, char or word.
        sequences: what one sequence is.

    Returns:
        None if there are too few sequences, or too short a text, to hold a part out.
    """
    source = TextSource(tuple(texts), sequences)
    try:
        (train_part, _, test_part), _ = split_source(source, (0.9, 0.0, 0.1))
        vocabulary = fit_vocabulary(symbols, train_part.texts(), sequences=sequences)
    except DataError:  # too short to split, or nothing but line ends
        return None
    if test_part is None:
        return None
    train, test = build_corpus(train_part, vocabulary), build_corpus(test_part, vocabulary)
    if not train.num_tokens or not test.num_scored:
        return None
    bits = []
    for order in ORDERS:
        nats = _total_surprisal(order, vocabulary, train, test)
        bits.append(float(nats / np.log(2) / test.num_scored))
    fewest = min(bits)
    scale = test.num_scored / test.num_characters if test.num_characters else 0.0
    is_spelled = test.lossless_reason is None and scale
    return Predictability(
        symbols=symbols,
        train=train.num_scored,
        test=test.num_scored,
        bits=tuple(bits),
        bits_per_character=tuple(b * scale for b in bits) if is_spelled else None,
        unknown=test.num_unknown / test.num_scored,
        context=next(k for k, b in enumerate(bits) if b <= fewest * (1 + CLOSE)),
        num_symbols=vocabulary.num_symbols,
    )


def gain_across_lines(lines: Sequence[str], symbols: str) -> float | None:
    """The fraction of the bits of held-out lines that the preceding lines save.

    A model of order 6 is fitted and scored over the same lines twice: line by line, and as a
    stream. Both are codes of the same text, so their bits are comparable.

    Args:
        lines: the lines, in order.
        symbols: the symbols, char or word.

    Returns:
        None if there are fewer than fifty lines.
    """
    if len(lines) < 50:
        return None
    cut = len(lines) * 9 // 10
    if not any(lines[:cut]):
        return None
    totals = []
    for is_stream in (False, True):
        sequences: Sequences = "stream" if is_stream else "line"
        parts = [
            TextSource(("".join(line + LINE_END for line in part),), sequences)
            for part in (lines[:cut], lines[cut:])
        ]
        vocabulary = fit_vocabulary(symbols, parts[0].texts(), sequences=sequences)
        train, test = (build_corpus(part, vocabulary) for part in parts)
        totals.append(float(_total_surprisal(ORDERS[-1], vocabulary, train, test)))
    return 1 - totals[1] / totals[0] if totals[0] else None


def _total_surprisal(order: int, vocabulary: Vocabulary, train: Corpus, test: Corpus) -> np.float64:
    """The nats of all scored symbols of `test` under a Markov model of `train`."""
    model = build_model(Markov(order=order), vocabulary.num_symbols, vocabulary.boundary)
    if isinstance(model, ClosedForm):
        model.fit_closed_form(train)
    return np.float64(surprisals(model, test)[0].sum(dtype=np.float64))


# ---- compression --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compression:
    """Bits per byte under the compressors of the standard library.

    Attributes:
        bytes: the number of bytes that were compressed.
        zlib, lzma: compressed bits per byte.
    """

    bytes: int
    zlib: float
    lzma: float


def compress(texts: Iterable[Text]) -> Compression:
    """Compress the beginning of texts, about 2 MB, one line for each."""
    import lzma
    import zlib

    lines: list[bytes] = []
    size = 0
    for text in texts:
        plain = text if isinstance(text, str) else " ".join(text)
        lines.append(plain.encode("utf-8", "replace") + b"\n")
        size += len(lines[-1])
        if size > _COMPRESSED_BYTES:
            break
    data = b"".join(lines)[:_COMPRESSED_BYTES]
    size = max(len(data), 1)
    return Compression(
        bytes=len(data),
        zlib=8 * len(zlib.compress(data, 9)) / size,
        lzma=8 * len(lzma.compress(data, preset=6)) / size,
    )
