"""Figures about sequences of text: lengths, symbols, duplicates, and marks of other formats.

One pass over the texts keeps only counts and a 64-bit hash of every sequence, so two different
sequences are taken for equal with a probability of about N^2 / 2^64.

Knows texts; no files and no models. Shapes: N sequences.
"""

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from seriatim.data.tables import Text
from seriatim.data.vocab.vocabulary import make_visible

QUANTILES: Mapping[str, float] = {
    "min": 0.0,
    "5%": 0.05,
    "25%": 0.25,
    "median": 0.5,
    "75%": 0.75,
    "95%": 0.95,
    "99%": 0.99,
    "max": 1.0,
}
_COVERAGES = (0.5, 0.9, 0.99)
_FLUSH = 1 << 20  # characters that are counted at once
_VARIANT = re.compile(r"^\S+\(\d+\)(\s|$)")
_COMMENT_TAIL = re.compile(r"\s#\s")


@dataclass
class TextFacts:
    """Counts over sequences, in order.

    Attributes:
        characters, words: (N,) the length of each sequence; if it came as a list of symbols,
            these are its words.
        hashes: (N,) the hash of each.
        of_characters, of_words: the occurrences of each over all sequences.
        marks: the number of sequences with a sign of another format or something that readers
            stumble over, by its name.
        longest: the characters and the number, from 1, of the longest sequence.
        is_tokenized: whether the sequences came as lists of symbols.
    """

    characters: "array[int]" = field(default_factory=lambda: array("q"))
    words: "array[int]" = field(default_factory=lambda: array("q"))
    hashes: "array[int]" = field(default_factory=lambda: array("q"))
    of_characters: Counter[str] = field(default_factory=Counter)
    of_words: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    longest: tuple[int, int] = (0, 0)
    is_tokenized: bool = False

    @property
    def num_sequences(self) -> int:
        """N."""
        return len(self.characters)

    @property
    def num_characters(self) -> int:
        """The characters of all sequences, without their ends."""
        return sum(self.characters)

    @property
    def num_words(self) -> int:
        """The words of all sequences."""
        return sum(self.words)

    @property
    def has_words(self) -> bool:
        """Whether spaces separate words, so that words are more than whole lines."""
        count = max(self.num_sequences - self.marks["empty"], 1)
        return self.is_tokenized or (
            self.num_words >= 2 * count and self.num_characters < 20 * self.num_words
        )


def collect_facts(texts: Iterable[Text]) -> TextFacts:
    """Count sequences, each without its line end."""
    facts = TextFacts()
    pending: list[str] = []
    size = 0
    for text in texts:
        if isinstance(text, str):
            words = text.replace("\t", " ").replace("\n", " ").split(" ")
            count = len(words) - words.count("")
            pending.append(text)
            size += len(text)
            _mark(facts.marks, text, count)
            length = len(text)
            facts.hashes.append(hash(text))
        else:
            facts.is_tokenized = True
            facts.of_words.update(text)
            count, length = len(text), sum(map(len, text)) + max(len(text) - 1, 0)
            facts.marks["empty"] += not text
            facts.hashes.append(hash(tuple(text)))
        facts.characters.append(length)
        facts.words.append(count)
        if length > facts.longest[0]:
            facts.longest = (length, len(facts.characters))
        if size > _FLUSH:
            _count_symbols(facts, pending)
            pending, size = [], 0
    _count_symbols(facts, pending)
    return facts


def _count_symbols(facts: TextFacts, texts: list[str]) -> None:
    if not texts:
        return
    joined = "\n".join(texts)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
    counts = np.bincount(codes, minlength=11)
    counts[ord("\n")] -= len(texts) - 1
    for code in np.flatnonzero(counts).tolist():
        facts.of_characters[chr(code)] += int(counts[code])
    facts.marks["surrogates"] += int(counts[0xD800:0xE000].sum())
    words = Counter(joined.replace("\t", " ").replace("\n", " ").split(" "))
    del words[""]
    facts.of_words.update(words)


def _mark(marks: Counter[str], text: str, num_words: int) -> None:
    """Count the marks of one sequence; most have none."""
    if not text:
        marks["empty"] += 1
        return
    if not num_words:
        marks["blank"] += 1
        return
    if text[0] == " " or text[-1] == " ":
        marks["outer spaces"] += 1
    if "  " in text:
        marks["double spaces"] += 1
    if "\t" in text:
        marks["tabs"] += 1
    if text[0] in "#;%/" and (text[0] in "#%" or text.startswith((";;", "//"))):
        marks["comment starts"] += 1
    elif "#" in text and _COMMENT_TAIL.search(text):
        marks["comment tails"] += 1
    if "<unk>" in text:
        marks["<unk>"] += 1
    if ")" in text and _VARIANT.match(text):
        marks["variants"] += 1
    if "</s>" in text or "<s>" in text or "<eos>" in text or "<pad>" in text:
        marks["end marks"] += 1
    if " ." in text or " ," in text:
        marks["spaced punctuation"] += 1


# ---- summaries ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LengthSummary:
    """Lengths of sequences.

    Attributes:
        quantiles: order statistics, by the names of `QUANTILES`.
        mean: the mean.
    """

    quantiles: Mapping[str, int]
    mean: float


def summarize_lengths(values: Iterable[int]) -> LengthSummary:
    """Quantiles and the mean of lengths; zeros if there are none."""
    lengths = np.asarray(list(values) or [0], np.int64)
    at = np.quantile(lengths, list(QUANTILES.values()), method="inverted_cdf")
    quantiles = {name: int(v) for name, v in zip(QUANTILES, at, strict=True)}
    return LengthSummary(quantiles, round(float(lengths.mean()), 2))


@dataclass(frozen=True)
class SymbolCount:
    """A symbol, made visible, with its count and its fraction of all."""

    symbol: str
    count: int
    fraction: float


@dataclass(frozen=True)
class SymbolFrequencies:
    """How often symbols occur.

    Attributes:
        types: the number of distinct symbols.
        tokens: the number of symbols.
        once: the number of distinct symbols that occur once.
        entropy_bits: the entropy of their distribution; None: there are none.
        top: the most frequent.
        types_for: the number of most frequent symbols that cover 50%, 90% and 99% of all.
    """

    types: int
    tokens: int
    once: int
    entropy_bits: float | None
    top: tuple[SymbolCount, ...]
    types_for: Mapping[str, int]


def count_frequencies(counts: Counter[str], top: int = 12) -> SymbolFrequencies:
    """The frequencies of counted symbols, with the `top` most frequent ones."""
    values = np.sort(np.fromiter(counts.values(), np.int64, len(counts)))[::-1]
    total = int(values.sum())
    cumulated = np.cumsum(values)
    p = values / max(total, 1)
    return SymbolFrequencies(
        types=len(values),
        tokens=total,
        once=int((values == 1).sum()),
        entropy_bits=max(0.0, float(-(p * np.log2(p)).sum())) if total else None,
        top=tuple(SymbolCount(make_visible(s), n, n / total) for s, n in counts.most_common(top)),
        types_for={
            f"{part:.0%}": int(np.searchsorted(cumulated, part * total) + 1) if total else 0
            for part in _COVERAGES
        },
    )


@dataclass(frozen=True)
class Duplicates:
    """Repeated sequences, without empty and blank ones.

    Attributes:
        sequences: the number of sequences.
        distinct: the number of distinct sequences.
        fraction: the fraction of sequences that repeat another.
        most_frequent: the occurrences of the most frequent one.
    """

    sequences: int
    distinct: int
    fraction: float
    most_frequent: int


def count_duplicates(facts: TextFacts) -> Duplicates:
    """The sequences that occur more than once."""
    words = np.asarray(facts.words)
    hashes = np.asarray(facts.hashes)[words > 0]
    if not len(hashes):
        return Duplicates(0, 0, 0.0, 0)
    _, counts = np.unique(hashes, return_counts=True)
    return Duplicates(len(hashes), len(counts), 1 - len(counts) / len(hashes), int(counts.max()))


def count_combining(counts: Counter[str]) -> int:
    """The combining characters, as in text that is not in NFC."""
    return sum(n for c, n in counts.items() if ord(c) >= 0x300 and unicodedata.combining(c))


def count_letters(counts: Counter[str]) -> int:
    """The letters of all scripts."""
    return sum(n for c, n in counts.items() if c.isalpha())
