"""Figures about sequences, each beside its definition in slow code."""

import itertools
import lzma
import math
import zlib
from collections import Counter

import numpy as np
import pytest

from seriatim.data_profile.text_facts import (
    NGRAM,
    Overlap,
    combining_marks,
    compressed_bits,
    duplicates,
    evenly,
    facts_of,
    frequencies,
    lengths,
)

LINES = ["the cat sat", "", "  ", "the cat sat", "a dog\tsat  down", "été", "x" * 50]


def test_characters_and_words_are_counted_as_they_stand() -> None:
    facts = facts_of(LINES)
    assert facts.of_characters == Counter("".join(LINES))
    assert facts.of_words == Counter(w for line in LINES for w in line.split())
    assert list(facts.characters) == [len(line) for line in LINES]
    assert list(facts.words) == [len(line.split()) for line in LINES]
    assert facts.longest == (50, 7)
    assert (facts.marks["empty"], facts.marks["blank"]) == (1, 1)
    assert (facts.marks["tabs"], facts.marks["double spaces"]) == (1, 1)


def test_line_ends_within_documents_are_characters() -> None:
    assert facts_of(["a\nb", "c\n"]).of_characters == Counter("a\nbc\n")


def test_symbols_that_came_cut_are_words_with_their_spaces() -> None:
    facts = facts_of([["log in", "buy"], ["log in"], []])
    assert facts.is_cut and facts.has_words
    assert facts.of_words == {"log in": 2, "buy": 1}
    assert list(facts.words) == [2, 1, 0]


def test_marks_of_other_formats_are_seen() -> None:
    facts = facts_of(
        [
            "aalborg AO1 L # place, danish",
            "a(2) EY1",
            "# a heading",
            ";;; a comment",
            "the <unk> sat",
            "<s> hello </s>",
            " = Robert = ",
            "\ud800 half",
            "plain (text) with #1 and word(2) inside",
        ]
    )
    assert facts.marks["comment tails"] == 1
    assert facts.marks["variants"] == 1
    assert facts.marks["begins like a comment"] == 2
    assert facts.marks["<unk>"] == 1
    assert facts.marks["marks of ends"] == 1
    assert facts.marks["spaces at the ends"] == 1
    assert facts.marks["surrogates"] == 1


def test_frequencies_are_those_of_the_definitions() -> None:
    counts = Counter({"a": 50, "b": 30, "c": 15, "d": 4, "e": 1})
    found = frequencies(counts, top=2)
    assert (found["types"], found["tokens"], found["once"]) == (5, 100, 1)
    assert found["type_token_ratio"] == 0.05
    assert found["types_for"] == {"50%": 1, "90%": 3, "99%": 4}
    expected = -sum(n / 100 * math.log2(n / 100) for n in counts.values())
    assert found["entropy_bits"] == pytest.approx(expected)
    assert [t["symbol"] for t in found["top"]] == ["a", "b"]
    assert frequencies(Counter())["entropy_bits"] is None
    assert frequencies(Counter("x"))["entropy_bits"] == 0.0


def test_duplicates_leave_out_empty_and_blank_lines() -> None:
    assert duplicates(facts_of(LINES)) == {
        "sequences": 5,
        "distinct": 4,
        "share": pytest.approx(0.2),
        "most_frequent": 2,
    }
    assert duplicates(facts_of(["", ""]))["share"] == 0.0


def test_lengths_are_order_statistics() -> None:
    found = lengths(range(1, 101))
    assert (found["least"], found["median"], found["95%"], found["most"]) == (1, 50, 95, 100)
    assert found["mean"] == 50.5


def _slow_overlap(train: list[str], test: list[str], units: str, is_stream: bool) -> float:
    def grams(texts: list[str]) -> list[tuple[str, ...]]:
        cut = [t.split() if units == "words" else list(t) for t in texts if t.strip()]
        runs = [list(itertools.chain(*cut))] if is_stream else cut
        return [tuple(r[i : i + NGRAM]) for r in runs for i in range(len(r) - NGRAM + 1)]

    known, asked = set(grams(train)), grams(test)
    return sum(g in known for g in asked) / len(asked)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("units", ["words", "characters"])
def test_shared_runs_are_those_of_a_set_of_tuples(units: str, is_stream: bool) -> None:
    rng = np.random.default_rng(0)
    words = ["ab", "c", "dé", "longerthaneight"]
    lines = [" ".join(rng.choice(words, rng.integers(0, 30))) for _ in range(120)]
    train, test = lines[:80], [*lines[80:], *lines[3:9]]
    overlap = Overlap(train, of_words=units == "words", is_stream=is_stream)
    found = overlap.of(test)
    assert found["ngram_share"] == pytest.approx(_slow_overlap(train, test, units, is_stream))
    assert 0 < found["ngram_share"] < 1
    full = [t for t in test if t.strip()]
    assert found["sequences"] == len(full)
    assert found["in_train"] == sum(t in set(train) for t in full)


def test_an_overlap_with_nothing_is_none() -> None:
    overlap = Overlap(["a b"], of_words=True, is_stream=False)
    found = overlap.of(["", " "])
    assert (found["share"], found["ngram_share"]) == (None, None)
    assert Overlap([], of_words=True, is_stream=True).of(["a"])["in_train"] == 0


def test_compressed_bits_are_those_of_the_standard_library() -> None:
    data = b"the cat sat on the mat\n" * 100
    found = compressed_bits(data)
    assert found["zlib"] == 8 * len(zlib.compress(data, 9)) / len(data)
    assert found["lzma"] == 8 * len(lzma.compress(data, preset=6)) / len(data)
    assert compressed_bits(b"")["bytes"] == 0


def test_combining_marks_are_counted() -> None:
    assert combining_marks(Counter("e\u0301e\u0301é")) == 2


def test_items_are_taken_evenly() -> None:
    assert list(evenly(list(range(10)), 5)) == [0, 2, 4, 6, 8]
    assert list(evenly([1, 2], 5)) == [1, 2]
