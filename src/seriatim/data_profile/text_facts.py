"""Figures about sequences of text: lengths, symbols, duplicates, leaks, and marks of other formats.

One pass over the texts; nothing of them is kept but counts, and 64-bit hashes of whole sequences
and of n-grams, so two that are different are taken for equal with a chance of about N^2 / 2^64.

Knows texts. Does not know files or models. Shapes: N sequences, T words or characters.
"""

import math
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.data.tables import Text
from seriatim.data.vocab.vocabulary import make_visible
from seriatim.data.vocab.word_index import WordIndex, cut_words

Hashes = NDArray[np.uint64]

NGRAM = 13  # as in the reports of large language models (Brown et al. 2020, appendix C)
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_FLUSH = 1 << 20  # characters that are counted at once
_VARIANT = re.compile(r"^\S+\(\d+\)(\s|$)")
_COMMENT_TAIL = re.compile(r"\s#\s")


@dataclass
class TextFacts:
    """What was counted of sequences, in order.

    Attributes:
        characters, words: (N,) of each sequence; of one that came cut, its symbols are words.
        hashes: (N,) of each.
        of_characters, of_words: how often each stands in all of them.
        marks: sequences with something that tells of another format, or that a reader trips over.
        longest: characters, and number from 1, of the longest.
        is_cut: the sequences came as lists of symbols.
    """

    characters: "array[int]" = field(default_factory=lambda: array("q"))
    words: "array[int]" = field(default_factory=lambda: array("q"))
    hashes: "array[int]" = field(default_factory=lambda: array("q"))
    of_characters: Counter[str] = field(default_factory=Counter)
    of_words: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    longest: tuple[int, int] = (0, 0)
    is_cut: bool = False

    @property
    def num_sequences(self) -> int:
        """N."""
        return len(self.characters)

    @property
    def num_characters(self) -> int:
        """Of all, without the ends of sequences."""
        return sum(self.characters)

    @property
    def num_words(self) -> int:
        """Of all."""
        return sum(self.words)

    @property
    def has_words(self) -> bool:
        """Whether there are spaces between words, so that words are more than whole lines."""
        count = max(self.num_sequences - self.marks["empty"], 1)
        return self.is_cut or (
            self.num_words >= 2 * count and self.num_characters < 20 * self.num_words
        )


def facts_of(texts: Iterable[Text]) -> TextFacts:
    """Count sequences, each without its line end."""
    facts = TextFacts()
    held: list[str] = []
    size = 0
    for text in texts:
        if isinstance(text, str):
            words = text.replace("\t", " ").replace("\n", " ").split(" ")
            count = len(words) - words.count("")
            held.append(text)
            size += len(text)
            _mark(facts.marks, text, count)
            length = len(text)
            facts.hashes.append(hash(text))
        else:
            facts.is_cut = True
            facts.of_words.update(text)
            count, length = len(text), sum(map(len, text)) + max(len(text) - 1, 0)
            facts.marks["empty"] += not text
            facts.hashes.append(hash(tuple(text)))
        facts.characters.append(length)
        facts.words.append(count)
        if length > facts.longest[0]:
            facts.longest = (length, len(facts.characters))
        if size > _FLUSH:
            _flush(facts, held)
            held, size = [], 0
    _flush(facts, held)
    return facts


def _flush(facts: TextFacts, held: list[str]) -> None:
    if not held:
        return
    joined = "\n".join(held)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
    counts = np.bincount(codes, minlength=11)
    counts[ord("\n")] -= len(held) - 1
    for code in np.flatnonzero(counts).tolist():
        facts.of_characters[chr(code)] += int(counts[code])
    facts.marks["surrogates"] += int(counts[0xD800:0xE000].sum())
    words = Counter(joined.replace("\t", " ").replace("\n", " ").split(" "))
    del words[""]
    facts.of_words.update(words)


def _mark(marks: Counter[str], text: str, num_words: int) -> None:
    """What a sequence has about it; most have nothing."""
    if not text:
        marks["empty"] += 1
        return
    if not num_words:
        marks["blank"] += 1
        return
    if text[0] == " " or text[-1] == " ":
        marks["spaces at the ends"] += 1
    if "  " in text:
        marks["double spaces"] += 1
    if "\t" in text:
        marks["tabs"] += 1
    if text[0] in "#;%/" and (text[0] in "#%" or text.startswith((";;", "//"))):
        marks["begins like a comment"] += 1
    elif "#" in text and _COMMENT_TAIL.search(text):
        marks["comment tails"] += 1
    if "<unk>" in text:
        marks["<unk>"] += 1
    if ")" in text and _VARIANT.match(text):
        marks["variants"] += 1
    if "</s>" in text or "<s>" in text or "<eos>" in text or "<pad>" in text:
        marks["marks of ends"] += 1
    if " ." in text or " ," in text:
        marks["spaced punctuation"] += 1


# ---- summaries ----------------------------------------------------------------------------------


def lengths(values: Iterable[int]) -> dict[str, Any]:
    """Quantiles and the mean of lengths; JSON values."""
    found = np.asarray(list(values) or [0], np.int64)
    at = np.quantile(found, _QUANTILES, method="inverted_cdf")
    names = ("least", "5%", "25%", "median", "75%", "95%", "99%", "most")
    return {name: int(v) for name, v in zip(names, at, strict=True)} | {
        "mean": round(float(found.mean()), 2)
    }


def frequencies(counts: Counter[str], top: int = 12) -> dict[str, Any]:
    """How often symbols stand: types, tokens, those seen once, the top, and coverage."""
    values = np.sort(np.fromiter(counts.values(), np.int64, len(counts)))[::-1]
    total = int(values.sum())
    cumulated = np.cumsum(values)
    p = values / max(total, 1)
    return {
        "types": len(values),
        "tokens": total,
        "once": int((values == 1).sum()),
        "type_token_ratio": len(values) / total if total else None,
        "entropy_bits": max(0.0, float(-(p * np.log2(p)).sum())) if total else None,
        "top": [
            {"symbol": make_visible(s), "count": c, "share": c / total}
            for s, c in counts.most_common(top)
        ],
        "types_for": {
            f"{share:.0%}": int(np.searchsorted(cumulated, share * total) + 1) if total else 0
            for share in (0.5, 0.9, 0.99)
        },
    }


def duplicates(facts: TextFacts) -> dict[str, Any]:
    """Sequences that stand more than once, empty and blank ones left out; JSON values."""
    words = np.asarray(facts.words)
    hashes = np.asarray(facts.hashes)[words > 0]
    if not len(hashes):
        return {"sequences": 0, "distinct": 0, "share": 0.0, "most_frequent": 0}
    _, counts = np.unique(hashes, return_counts=True)
    return {
        "sequences": len(hashes),
        "distinct": len(counts),
        "share": 1 - len(counts) / len(hashes),
        "most_frequent": int(counts.max()),
    }


def combining_marks(counts: Counter[str]) -> int:
    """Characters that combine with the one before them, as in texts that are not in NFC."""
    return sum(n for c, n in counts.items() if ord(c) >= 0x300 and unicodedata.combining(c))


def scripts(counts: Counter[str]) -> Counter[str]:
    """How many letters are of which script, by the first word of their Unicode names."""
    found: Counter[str] = Counter()
    for character, count in counts.items():
        if character.isalpha():
            found[unicodedata.name(character, "?").split(" ")[0]] += count
    return found


# ---- leaks --------------------------------------------------------------------------------------


class Overlap:
    """What of other texts stands in the training text: whole sequences, and 13-grams.

    Args:
        train: the sequences of the training text.
        of_words: count n-grams of words; otherwise of characters.
        is_stream: n-grams go over the ends of lines.
    """

    def __init__(self, train: Iterable[Text], *, of_words: bool, is_stream: bool) -> None:
        self._index = WordIndex()
        self._of_words, self._is_stream = of_words, is_stream
        sequences, grams = self._hashed(train)
        self._sequences, self._grams = np.sort(sequences), np.sort(grams)

    @property
    def unit(self) -> str:
        """What n-grams are made of."""
        return "words" if self._of_words else "characters"

    def of(self, texts: Iterable[Text]) -> dict[str, Any]:
        """The share of the sequences and of the n-grams of a text that stand in training."""
        sequences, grams = self._hashed(texts)
        same = _num_among(sequences, self._sequences)
        shared = _num_among(grams, self._grams)
        return {
            "sequences": len(sequences),
            "in_train": same,
            "share": same / len(sequences) if len(sequences) else None,
            "ngrams": len(grams),
            "ngrams_in_train": shared,
            "ngram_share": shared / len(grams) if len(grams) else None,
            "unit": self.unit,
            "n": NGRAM,
        }

    def _hashed(self, texts: Iterable[Text]) -> tuple[NDArray[np.int64], Hashes]:
        """(N,) of whole sequences that are not blank, and of all n-grams."""
        sequences, parts = array("q"), []
        held: list[Text] = []
        size = 0

        def flush() -> None:
            ids, of = self._tokens(held)
            parts.append(_grams(ids, np.zeros_like(of) if self._is_stream else of))

        for text in texts:
            if not (text.strip() if isinstance(text, str) else text):
                continue
            sequences.append(hash(text) if isinstance(text, str) else hash(tuple(text)))
            held.append(text)
            size += len(text)
            if size > 4 * _FLUSH:
                flush()
                held, size = [], 0
        flush()
        return np.asarray(sequences, np.int64), np.concatenate(parts)

    def _tokens(self, texts: list[Text]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(T,) numbers of words or characters, and the sequence that each is of."""
        if not texts:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        if not self._of_words:
            joined = "".join(t if isinstance(t, str) else " ".join(t) for t in texts)
            codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
            widths = [len(t) if isinstance(t, str) else len(" ".join(t)) for t in texts]
            return codes.astype(np.int64), np.repeat(np.arange(len(widths)), widths)
        plain = [t.replace("\n", " ") if isinstance(t, str) else _as_words(t) for t in texts]
        found = cut_words("\n".join(plain).encode("utf-8", "replace").decode() + "\n")
        ids = self._index.add(found).astype(np.int64)
        sizes = np.diff(found.line_ends, prepend=0)
        return ids, np.repeat(np.arange(len(sizes)), sizes)


def _num_among(values: NDArray[Any], ordered: NDArray[Any]) -> int:
    """How many of the values stand among others, which rise."""
    if not len(ordered):
        return 0
    place = np.searchsorted(ordered, values)
    return int((ordered[np.minimum(place, len(ordered) - 1)] == values).sum())


def _as_words(symbols: list[str]) -> str:
    """Symbols that came cut, with their own spaces out of the way."""
    return " ".join(s.replace(" ", "\u00a0").replace("\n", "\u00a0") for s in symbols)


def _grams(ids: NDArray[np.int64], of: NDArray[np.int64]) -> Hashes:
    """The hash of each n-gram that lies within one sequence: sum_k factor^k (id_k + 1), mixed."""
    count = len(ids) - NGRAM + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    found = np.zeros(count, np.uint64)
    for k in range(NGRAM):
        found = found * _FACTOR + ids[k : k + count].astype(np.uint64) + np.uint64(1)
        found ^= found >> np.uint64(29)
    inside: Hashes = found[of[:count] == of[NGRAM - 1 :]]
    return inside


# ---- compression --------------------------------------------------------------------------------


def compressed_bits(data: bytes, most: int = 1 << 21) -> dict[str, Any]:
    """Bits for each byte under the standard library's compressors: upper bounds of the entropy.

    Args:
        data: the text in UTF-8.
        most: bytes that are compressed; of more, the beginning.
    """
    import lzma
    import zlib

    data = data[:most]
    size = max(len(data), 1)
    return {
        "bytes": len(data),
        "zlib": 8 * len(zlib.compress(data, 9)) / size,
        "lzma": 8 * len(lzma.compress(data, preset=6)) / size,
    }


def evenly(items: list[Any], count: int) -> Iterator[Any]:
    """At most `count` of the items, evenly spread, in order."""
    step = max(1.0, len(items) / max(count, 1))
    return (items[int(i * step)] for i in range(math.ceil(len(items) / step)))
