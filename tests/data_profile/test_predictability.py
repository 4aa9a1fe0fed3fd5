"""Predictability by n-gram models, against sources whose entropies are known."""

import lzma
import zlib

import numpy as np
import pytest

from seriatim.data_profile.predictability import compress, gain_across_lines, measure_predictability
from tests.oracles.sources import markov_chain, markov_entropy_rate


def _letters(ids: np.ndarray) -> str:
    return "".join("abcdefgh"[i] for i in ids)


def test_the_bits_are_the_conditional_entropies() -> None:
    chain = markov_chain(2)
    measured = measure_predictability([_letters(chain.sample(150_000, 0))], "char", "stream")
    assert measured is not None
    expected = [chain.conditional_entropy(k) for k in range(6)]
    assert measured.bits == pytest.approx(expected, abs=0.03)
    assert measured.context == 2
    assert not measured.is_falling
    assert min(measured.bits) > markov_entropy_rate(chain) - 0.03
    assert measured.bits_per_character == pytest.approx(measured.bits)


def test_shuffled_symbols_need_no_context() -> None:
    rng = np.random.default_rng(0)
    measured = measure_predictability([_letters(rng.integers(0, 8, 60_000))], "char", "stream")
    assert measured is not None and measured.context == 0
    assert measured.bits[0] == pytest.approx(3.0, abs=0.02)


def test_lines_that_depend_on_preceding_lines_are_distinguished() -> None:
    rng = np.random.default_rng(0)
    counting = [f"n{i % 10}" for i in range(800)]
    shuffled = [counting[i] for i in rng.permutation(800)]
    related, unrelated = (gain_across_lines(x, "char") for x in (counting, shuffled))
    assert related is not None and related > 0.2
    assert unrelated is not None and unrelated < 0.02


def test_texts_too_short_have_no_figures() -> None:
    assert measure_predictability(["a"], "char", "line") is None
    assert measure_predictability(["", ""], "char", "line") is None
    assert gain_across_lines(["a"] * 49, "char") is None


def test_words_have_figures_for_each_word_and_character() -> None:
    measured = measure_predictability(
        [["log in", "buy", "log out"]] * 5 + [["buy"]] * 9, "word", "document"
    )
    assert measured is None or measured.symbols == "word"
    events = [[f"e{i}", f"e{i + 1}", "end"] for i in range(40)]
    measured = measure_predictability(events, "word", "document")
    assert measured is not None
    assert measured.unknown > 0  # every held-out sequence has events that occur nowhere else


def test_compressed_bits_are_those_of_the_standard_library() -> None:
    data = b"the cat sat on the mat\n" * 100
    compression = compress(["the cat sat on the mat"] * 100)
    assert compression.bytes == len(data)
    assert compression.zlib == 8 * len(zlib.compress(data, 9)) / len(data)
    assert compression.lzma == 8 * len(lzma.compress(data, preset=6)) / len(data)
    assert compress([]).bytes == 0
