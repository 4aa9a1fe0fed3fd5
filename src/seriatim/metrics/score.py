"""From the surprisals of symbols to figures about the text that they spell.

Bits per character divide *all* scored bits, ends included, by the code points of the text, line
ends included. That is a code length only if the text can be recovered from its symbols; otherwise
there is no such figure, but the reason why. Knows likelihoods and text lengths; no model.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from seriatim.core.records import MaybeInfinite, to_json
from seriatim.metrics.likelihood import Likelihood
from seriatim.metrics.pieces import Coverage


class TextSize(Protocol):
    """The size of the text of a corpus, and whether its symbols spell it."""

    @property
    def num_characters(self) -> int: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def lossless_reason(self) -> str | None: ...


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text. Lower is better, except for `symbols_per_second`.

    Attributes:
        symbols: the number of scored symbols, ends included.
        nats: the total surprisal, -sum ln p.
        nats_per_symbol, bits_per_symbol: the mean surprisal; bits are nats / ln 2.
        bits_per_symbol_interval: the 95 % block bootstrap interval; None: the text is too short.
        bits_per_character, bits_per_byte: all bits over the length of the text; None if the
            symbols do not spell the text.
        bits_per_character_interval: the interval of bits per character.
        not_spelled: the reason why there are no bits per character; None: there are.
        bits_per_character_spelled: with unknown words, bits per character including the bits that
            spell these words under a byte model of rare training words (a code for the text).
        perplexity: exp(nats per symbol), unknown symbols included.
        perplexity_known: the perplexity over known symbols only; None: there are none.
        unknown: the number of scored symbols that were unknown.
        characters, bytes: the length of the text.
        seconds: the time that scoring took.
        symbols_per_second: the speed of scoring.
        coverage: what of the text was scored, and how it was read.
    """

    symbols: int
    nats: MaybeInfinite
    nats_per_symbol: MaybeInfinite
    bits_per_symbol: MaybeInfinite
    bits_per_symbol_interval: tuple[MaybeInfinite, MaybeInfinite] | None
    bits_per_character: float | None
    bits_per_byte: float | None
    bits_per_character_interval: tuple[MaybeInfinite, MaybeInfinite] | None
    not_spelled: str | None
    bits_per_character_spelled: float | None
    perplexity: MaybeInfinite
    perplexity_known: float | None
    unknown: int
    characters: int
    bytes: int
    seconds: float
    symbols_per_second: float
    coverage: Coverage = field(default_factory=Coverage)

    def __repr__(self) -> str:
        figures = [f"{self.bits_per_symbol:.4f} bits per symbol"]
        if self.bits_per_character is not None:
            figures.append(f"{self.bits_per_character:.4f} bits per character")
        return f"Score({', '.join(figures)}, {self.symbols:,} symbols)"

    @property
    def unknown_fraction(self) -> float:
        """The fraction of the scored symbols that were unknown."""
        return self.unknown / self.symbols if self.symbols else 0.0

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object, in which infinite values are null."""
        return {**to_json(self), "unknown_fraction": self.unknown_fraction}


def score_text(
    likelihood: Likelihood,
    text: TextSize,
    seconds: float,
    *,
    spelling_bits: float | None = None,
    coverage: Coverage | None = None,
) -> Score:
    """The figures of one text.

    Args:
        likelihood: the likelihood of its symbols.
        text: the size of the text, and whether its symbols spell it.
        seconds: the time that scoring took.
        spelling_bits: the bits that spell the unknown words; None: not known.
        coverage: what of the text was scored; None: all of it, exactly.
    """
    bits = likelihood.nats / math.log(2)
    characters = text.num_characters
    is_spelled = text.lossless_reason is None and characters > 0
    scale = likelihood.symbols / characters if is_spelled else None
    interval = likelihood.interval
    return Score(
        symbols=likelihood.symbols,
        nats=likelihood.nats,
        nats_per_symbol=likelihood.nats / likelihood.symbols,
        bits_per_symbol=likelihood.bits_per_symbol,
        bits_per_symbol_interval=interval,
        bits_per_character=bits / characters if is_spelled else None,
        bits_per_byte=bits / text.num_bytes if is_spelled else None,
        bits_per_character_interval=(interval[0] * scale, interval[1] * scale)
        if interval and scale
        else None,
        not_spelled=text.lossless_reason,
        bits_per_character_spelled=None
        if spelling_bits is None or not characters
        else (bits + spelling_bits) / characters,
        perplexity=likelihood.perplexity,
        perplexity_known=likelihood.perplexity_known,
        unknown=likelihood.unknown,
        characters=characters,
        bytes=text.num_bytes,
        seconds=seconds,
        symbols_per_second=likelihood.symbols / max(seconds, 1e-9),
        coverage=coverage or Coverage(),
    )
