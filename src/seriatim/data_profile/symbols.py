"""Which symbols suit a text: what `look` advises, and what `--symbols auto` takes.

Knows counts of characters and words; no model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from seriatim.data.sources import Source
from seriatim.data.tables import Text
from seriatim.data_profile.kind import kind_of_lines
from seriatim.data_profile.parts import lines_of
from seriatim.data_profile.text_facts import TextFacts, collect_facts

BPE_FROM = 3_000_000  # characters
MANY_CHARACTERS = 3_000
_HEAD = 2_000  # lines that show whether they are events
_SAMPLE = 4_000_000  # characters that are counted


@dataclass(frozen=True)
class SymbolChoice:
    """Symbols, and why.

    Attributes:
        symbols: what `fit --symbols` takes.
        options: further options of `fit`.
        why: the choice and its reason, a phrase.
    """

    symbols: str
    why: str
    options: Mapping[str, int | str] = field(default_factory=dict)


def choose_symbols(
    facts: TextFacts, fraction: float, *, is_word: bool, num_characters: float
) -> SymbolChoice:
    """The symbols that suit a text.

    Args:
        facts: the counts over a part of the text.
        fraction: how large that part is.
        is_word: whether each word is known to be one event.
        num_characters: the length of the whole text.
    """
    if facts.is_tokenized or is_word:
        why = f"word, since each of the {len(facts.of_words):,} events is one symbol"
        return SymbolChoice("word", why)
    if _is_tokenized_text(facts, fraction):
        options = {} if facts.marks["<unk>"] else {"min-count": 2}
        return SymbolChoice("word", "word, since the text is already tokenized", options)
    if facts.has_words and num_characters >= BPE_FROM:
        small, large = num_characters < 10_000_000, num_characters >= 100_000_000
        size = 2000 if small else 16000 if large else 8000
        why = (
            f"bpe:{size}, since {num_characters / 1e6:,.1f} million characters are enough to learn "
            "subwords, which make sequences three to four times shorter"
        )
        return SymbolChoice(f"bpe:{size}", why)
    types = len(facts.of_characters)
    if types > MANY_CHARACTERS:
        once = sum(n == 1 for n in facts.of_characters.values())
        why = f"char, without the {once:,} of {types:,} characters that occur only once"
        return SymbolChoice("char", why, {"min-count": 2})
    reason = "words would be too rare to learn" if facts.has_words else "there are no words"
    return SymbolChoice("char", f"char ({types:,} distinct), since {reason}")


def symbols_of(source: Source) -> SymbolChoice:
    """The symbols that suit a source, of whose beginning the characters are counted."""
    lines = lines_of(source)()
    head: list[Text] = []
    for line in lines:
        head.append(line)
        if len(head) == _HEAD:
            break
    texts = [line for line in head if isinstance(line, str) and line.strip()]
    is_word = (
        source.sequences != "stream"  # which is what `look` advises beside words
        and len(texts) == len(head)
        and kind_of_lines(texts).name == "events"
    )
    rest = _Rest(lines)
    facts = collect_facts(chain(head, rest.beginning()))
    counted = facts.num_characters
    total = counted + rest.length()
    return choose_symbols(
        facts, counted / max(total, 1), is_word=is_word, num_characters=float(total)
    )


class _Rest:
    """The lines after the head: some are read, the others only measured."""

    def __init__(self, lines: Iterator[Text]) -> None:
        self._lines = lines

    def beginning(self) -> Iterator[Text]:
        size = 0
        while size < _SAMPLE and (line := next(self._lines, None)) is not None:
            size += len(line)
            yield line

    def length(self) -> int:
        return sum(map(len, self._lines))


def _is_tokenized_text(facts: TextFacts, fraction: float) -> bool:
    """Whether punctuation is separated from words, and words are frequent enough to learn."""
    num_full = max(facts.num_sequences - facts.marks["empty"] - facts.marks["blank"], 1)
    is_tokenized = facts.marks["spaced punctuation"] > 0.2 * num_full or facts.marks["<unk>"] > 0
    words = facts.num_words / max(fraction, 1e-9)
    return is_tokenized and facts.has_words and words >= 200_000
