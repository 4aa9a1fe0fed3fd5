"""How predictable sequences are, by counting: the figures that say how much memory data needs.

Models of order 1 .. 6 are counted on nine tenths of a sample and score the last tenth, so the bits
are code lengths of text that the model has not seen, and never flattering. They fall with the
context until there is nothing more to know, or too little data to know it from.

It binds counted models to texts; it holds no figures of its own.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seriatim.data.corpus import build_corpus
from seriatim.data.sources import Sequences, TextSource
from seriatim.data.splits import split_source
from seriatim.data.tables import Text
from seriatim.data.vocab.fit import fit_vocabulary
from seriatim.data.vocab.vocabulary import LINE_END
from seriatim.errors import DataError
from seriatim.metrics.likelihood import surprisals
from seriatim.models.build import build_model
from seriatim.models.options.ngram import Markov
from seriatim.train.closed_form import ClosedForm

ORDERS = (1, 2, 3, 4, 5, 6)
CHARACTERS = 300_000  # of a sample
CLOSE = 0.01  # within this share of the least bits, a shorter context is as good


@dataclass(frozen=True)
class Predictability:
    """Bits of held-out symbols given the last 0, 1, .. 5 of them.

    Attributes:
        symbols: what was counted: char or word.
        train, test: symbols counted, and scored, ends included.
        bits: for each scored symbol, by context 0 .. 5 (Kneser-Ney of order 1 .. 6).
        bits_per_character: the same over the characters, line ends included.
        unknown: share of the scored symbols that training did not have.
        context: the shortest whose bits are within 1 % of the least.
    """

    symbols: str
    train: int
    test: int
    bits: tuple[float, ...]
    bits_per_character: tuple[float, ...] | None
    unknown: float
    context: int

    @property
    def is_falling(self) -> bool:
        """Whether the longest context is still better than the one before by over 1 %."""
        return self.context == len(self.bits) - 1

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def predictability(
    texts: Sequence[Text], symbols: str, sequences: Sequences
) -> Predictability | None:
    """Count models of rising order on a part of the texts and score the rest.

    Returns:
        None: too few sequences, or too short a text, to hold a part out.
    """
    source = TextSource(tuple(texts), sequences)
    try:
        (train_part, _, test_part), _ = split_source(source, (0.9, 0.0, 0.1))
        alphabet = fit_vocabulary(symbols, train_part.texts(), sequences=sequences)
    except DataError:  # too short to split, or nothing but line ends
        return None
    if test_part is None:
        return None
    train, test = build_corpus(train_part, alphabet), build_corpus(test_part, alphabet)
    if not train.num_tokens or not test.num_scored:
        return None
    bits = []
    for order in ORDERS:
        model = build_model(Markov(order=order), alphabet.num_symbols, alphabet.boundary)
        if isinstance(model, ClosedForm):
            model.fit_closed_form(train)
        nats, _ = surprisals(model, test)
        bits.append(float(nats.sum(dtype=np.float64) / np.log(2) / test.num_scored))
    least = min(bits)
    scale = test.num_scored / test.num_characters if test.num_characters else 0.0
    is_spelled = test.lossless_reason is None and scale
    return Predictability(
        symbols=symbols,
        train=train.num_scored,
        test=test.num_scored,
        bits=tuple(bits),
        bits_per_character=tuple(b * scale for b in bits) if is_spelled else None,
        unknown=test.num_unknown / test.num_scored,
        context=next(k for k, b in enumerate(bits) if b <= least * (1 + CLOSE)),
    )


def gain_across_lines(lines: Sequence[str], symbols: str) -> float | None:
    """By what share the bits of held-out lines fall when the lines before them may be seen.

    The same model, order 6, counted and scored over the same lines twice: each for itself, and
    one after another. Both are codes of the same text, so their bits compare as they are.

    Returns:
        None: fewer than fifty lines.
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
        alphabet = fit_vocabulary(symbols, parts[0].texts(), sequences=sequences)
        train, test = (build_corpus(part, alphabet) for part in parts)
        model = build_model(Markov(order=6), alphabet.num_symbols, alphabet.boundary)
        if isinstance(model, ClosedForm):
            model.fit_closed_form(train)
        nats, _ = surprisals(model, test)
        totals.append(float(nats.sum(dtype=np.float64)))
    return 1 - totals[1] / totals[0] if totals[0] else None
