"""Figures about sequences and leaks, each against its definition in slow code."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from seriatim.data_profile.leaks import NGRAM, TrainingIndex
from seriatim.data_profile.text_facts import (
    Duplicates,
    collect_facts,
    count_combining,
    count_duplicates,
    count_frequencies,
    summarize_lengths,
)

LINES = ["the cat sat", "", "  ", "the cat sat", "a dog\tsat  down", "été", "x" * 50]


def test_characters_and_words_are_counted() -> None:
    facts = collect_facts(LINES)
    assert facts.of_characters == Counter("".join(LINES))
    assert facts.of_words == Counter(w for line in LINES for w in line.split())
    assert list(facts.characters) == [len(line) for line in LINES]
    assert list(facts.words) == [len(line.split()) for line in LINES]
    assert facts.longest == (50, 7)
    assert (facts.marks["empty"], facts.marks["blank"]) == (1, 1)
    assert (facts.marks["tabs"], facts.marks["double spaces"]) == (1, 1)


def test_line_ends_within_documents_are_characters() -> None:
    assert collect_facts(["a\nb", "c\n"]).of_characters == Counter("a\nbc\n")


def test_symbols_of_lists_are_words_that_may_have_spaces() -> None:
    facts = collect_facts([["log in", "buy"], ["log in"], []])
    assert facts.is_tokenized and facts.has_words
    assert facts.of_words == {"log in": 2, "buy": 1}
    assert list(facts.words) == [2, 1, 0]


def test_marks_of_other_formats_are_counted() -> None:
    facts = collect_facts(
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
    assert facts.marks["comment starts"] == 2
    assert facts.marks["<unk>"] == 1
    assert facts.marks["end marks"] == 1
    assert facts.marks["outer spaces"] == 1
    assert facts.marks["surrogates"] == 1


def test_frequencies_are_those_of_the_definitions() -> None:
    counts = Counter({"a": 50, "b": 30, "c": 15, "d": 4, "e": 1})
    frequencies = count_frequencies(counts, top=2)
    assert (frequencies.types, frequencies.tokens, frequencies.once) == (5, 100, 1)
    assert frequencies.types_for == {"50%": 1, "90%": 3, "99%": 4}
    expected = -sum(n / 100 * math.log2(n / 100) for n in counts.values())
    assert frequencies.entropy_bits == pytest.approx(expected)
    assert [s.symbol for s in frequencies.top] == ["a", "b"]
    assert count_frequencies(Counter()).entropy_bits is None
    assert count_frequencies(Counter("x")).entropy_bits == 0.0


def test_duplicates_leave_out_empty_and_blank_lines() -> None:
    assert count_duplicates(collect_facts(LINES)) == Duplicates(5, 4, pytest.approx(0.2), 2)
    assert count_duplicates(collect_facts(["", ""])).fraction == 0.0


def test_lengths_are_order_statistics() -> None:
    summary = summarize_lengths(range(1, 101))
    quantiles = [summary.quantiles[name] for name in ("min", "median", "95%", "max")]
    assert quantiles == [1, 50, 95, 100]
    assert summary.mean == 50.5


def _slow_overlap(train: list[str], test: list[str], units: str, is_stream: bool) -> float:
    def grams(texts: list[str]) -> list[tuple[str, ...]]:
        cut = [t.split() if units == "words" else list(t) for t in texts if t.strip()]
        runs = [list(itertools.chain(*cut))] if is_stream else cut
        return [tuple(r[i : i + NGRAM]) for r in runs for i in range(len(r) - NGRAM + 1)]

    known, tested = set(grams(train)), grams(test)
    return sum(g in known for g in tested) / len(tested)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("units", ["words", "characters"])
def test_shared_runs_are_those_of_a_set_of_tuples(units: str, is_stream: bool) -> None:
    rng = np.random.default_rng(0)
    words = ["ab", "c", "dé", "longerthaneight"]
    lines = [" ".join(rng.choice(words, rng.integers(0, 30))) for _ in range(120)]
    train, test = lines[:80], [*lines[80:], *lines[3:9]]
    index = TrainingIndex(train, of_words=units == "words", is_stream=is_stream)
    leak = index.find_leaks(test)
    expected = _slow_overlap(train, test, units, is_stream)
    assert leak.ngram_fraction == pytest.approx(expected)
    assert 0 < expected < 1
    full = [t for t in test if t.strip()]
    assert leak.sequences == len(full)
    assert leak.in_train == sum(t in set(train) for t in full)


def test_leaks_of_an_empty_part_have_no_fraction() -> None:
    leak = TrainingIndex(["a b"], of_words=True, is_stream=False).find_leaks(["", " "])
    assert (leak.fraction, leak.ngram_fraction) == (None, None)
    empty = TrainingIndex([], of_words=True, is_stream=True)
    assert empty.find_leaks(["a"]).in_train == 0


def test_combining_marks_are_counted() -> None:
    assert count_combining(Counter("e\u0301e\u0301é")) == 2
