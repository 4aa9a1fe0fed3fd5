"""From surprises of symbols to figures about the text that they spell.

Bits per character divide *all* scored bits, ends included, by the code points of the text, line
ends included; that is a code length only where the text can be had back from its symbols, so
elsewhere there is no such figure, but the reason why. Knows corpora and likelihoods; no model.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from seriatim.metrics.likelihood import Likelihood


class Measured(Protocol):
    """What a corpus knows of the text that it was made from."""

    @property
    def num_characters(self) -> int: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def lossless_reason(self) -> str | None: ...


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text. Less is better, except `symbols_per_second`.

    Attributes:
        symbols: scored symbols, ends included.
        nats: -ln p of all of them together.
        nats_per_symbol, bits_per_symbol: their mean; bits are nats / ln 2.
        bits_per_symbol_interval: 95 % of a block bootstrap; None: the text is too short to say.
        bits_per_character, bits_per_byte: all bits over the length of the text; None where the
            symbols do not spell the text.
        bits_per_character_interval: as that of the symbols.
        not_spelled: why there are no bits per character; None where there are.
        bits_per_character_spelled: where words were unknown: with the bits that spell them
            under a byte model of rare training words added (a code for the whole text).
        perplexity: exp(nats per symbol), unknown symbols included.
        perplexity_known: the same over known symbols only.
        unknown: scored symbols that were unknown.
        characters, bytes: length of the text.
        seconds: it took.
        symbols_per_second: scored.
    """

    symbols: int
    nats: float
    nats_per_symbol: float
    bits_per_symbol: float
    bits_per_symbol_interval: tuple[float, float] | None
    bits_per_character: float | None
    bits_per_byte: float | None
    bits_per_character_interval: tuple[float, float] | None
    not_spelled: str | None
    bits_per_character_spelled: float | None
    perplexity: float
    perplexity_known: float | None
    unknown: int
    characters: int
    bytes: int
    seconds: float
    symbols_per_second: float

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values; what is not finite becomes null."""
        record = asdict(self)
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }


def score_text(
    found: Likelihood, text: Measured, seconds: float, *, spelling_bits: float | None = None
) -> Score:
    """The figures of one text.

    Args:
        found: of its symbols.
        text: its length, and whether its symbols spell it.
        seconds: that scoring took.
        spelling_bits: what it costs to spell the unknown words; None: not known.
    """
    bits = found.nats / math.log(2)
    characters = text.num_characters
    is_spelled = text.lossless_reason is None and characters > 0
    scale = found.symbols / characters if is_spelled else None
    return Score(
        symbols=found.symbols,
        nats=found.nats,
        nats_per_symbol=found.nats / found.symbols,
        bits_per_symbol=found.bits_per_symbol,
        bits_per_symbol_interval=found.interval,
        bits_per_character=bits / characters if is_spelled else None,
        bits_per_byte=bits / text.num_bytes if is_spelled else None,
        bits_per_character_interval=(found.interval[0] * scale, found.interval[1] * scale)
        if found.interval and scale
        else None,
        not_spelled=text.lossless_reason,
        bits_per_character_spelled=None
        if spelling_bits is None or not characters
        else (bits + spelling_bits) / characters,
        perplexity=found.perplexity,
        perplexity_known=found.perplexity_known,
        unknown=found.unknown,
        characters=characters,
        bytes=text.num_bytes,
        seconds=seconds,
        symbols_per_second=found.symbols / max(seconds, 1e-9),
    )
