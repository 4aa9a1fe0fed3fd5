"""Predictability by counting: beside sources whose entropies are known."""

import numpy as np
import pytest

from seriatim.data_profile.predictability import gain_across_lines, predictability
from tests.oracles.sources import markov_chain, markov_entropy_rate


def _letters(ids: np.ndarray) -> str:
    return "".join("abcdefgh"[i] for i in ids)


def test_the_bits_are_the_entropies_given_so_many_symbols() -> None:
    chain = markov_chain(2)
    found = predictability([_letters(chain.sample(150_000, 0))], "char", "stream")
    assert found is not None
    expected = [chain.conditional_entropy(k) for k in range(6)]
    assert found.bits == pytest.approx(expected, abs=0.03)
    assert found.context == 2
    assert not found.is_falling
    assert min(found.bits) > markov_entropy_rate(chain) - 0.03
    assert found.bits_per_character == pytest.approx(found.bits)


def test_shuffled_symbols_need_no_context() -> None:
    rng = np.random.default_rng(0)
    found = predictability([_letters(rng.integers(0, 8, 60_000))], "char", "stream")
    assert found is not None and found.context == 0
    assert found.bits[0] == pytest.approx(3.0, abs=0.02)


def test_lines_that_follow_from_lines_are_told_from_those_that_do_not() -> None:
    rng = np.random.default_rng(0)
    counting = [f"n{i % 10}" for i in range(800)]
    shuffled = [counting[i] for i in rng.permutation(800)]
    related, unrelated = (gain_across_lines(x, "char") for x in (counting, shuffled))
    assert related is not None and related > 0.2
    assert unrelated is not None and unrelated < 0.02


def test_what_is_too_short_has_no_figures() -> None:
    assert predictability(["a"], "char", "line") is None
    assert predictability(["", ""], "char", "line") is None
    assert gain_across_lines(["a"] * 49, "char") is None


def test_words_have_figures_for_each_word_and_character() -> None:
    found = predictability([["log in", "buy", "log out"]] * 5 + [["buy"]] * 9, "word", "document")
    assert found is None or found.symbols == "word"
    events = [[f"e{i}", f"e{i + 1}", "end"] for i in range(40)]
    found = predictability(events, "word", "document")
    assert found is not None
    assert found.unknown > 0  # every sequence of the held-out part has events of its own
