"""Blocks of a text: the same for every vocabulary, with a thousand characters or more."""

import numpy as np
import pytest

from seriatim.metrics.blocks import Blocks, blocks_of_sequences, blocks_of_stream


def test_a_stream_is_cut_into_as_many_blocks_of_a_thousand_characters_as_possible() -> None:
    for characters, count in ((1, 1), (999, 1), (1999, 1), (2000, 2), (12_345, 12)):
        blocks = blocks_of_stream(characters)
        assert blocks.count == count
        assert blocks.sizes.sum() == pytest.approx(characters)
        assert characters < 1000 or blocks.sizes.min() >= 1000


def test_a_symbol_of_a_stream_belongs_to_the_block_in_which_it_begins() -> None:
    blocks = blocks_of_stream(2000)
    # 0 .. 999 of one character; then one of two characters that begins at 1,000; then the rest.
    sizes = np.array([1] * 999 + [2] + [1] * 999)
    sums = blocks.sums(np.ones(len(sizes)), sizes, np.array([0, len(sizes)]))
    assert sums.tolist() == [1000, 999]


def test_the_blocks_do_not_depend_on_the_vocabulary() -> None:
    """A cost of 1 per character sums to the size of the block for symbols of any length."""
    rng = np.random.default_rng(0)
    blocks = blocks_of_stream(50_000)
    for longest in (1, 2, 9):
        sizes = rng.integers(1, longest + 1, 50_000)
        sizes = sizes[: np.searchsorted(np.cumsum(sizes), 50_000) + 1]
        sizes[-1] -= sizes.sum() - 50_000
        sums = blocks.sums(sizes.astype(float), sizes, np.array([0, len(sizes)]))
        assert np.abs(sums - blocks.sizes).max() < longest
        assert sums.sum() == 50_000


def test_symbols_without_known_characters_stay_within_the_blocks() -> None:
    blocks = blocks_of_stream(3000)
    sizes = np.zeros(600, np.int64)
    assert blocks.sums(np.ones(600), sizes, np.array([0, 600])).sum() == 600


def test_blocks_of_sequences_keep_sequences_whole_and_have_a_thousand_characters() -> None:
    sizes = np.random.default_rng(1).integers(1, 300, 2000).astype(float)
    blocks = blocks_of_sequences(sizes)
    assert blocks.of_sequence is not None
    assert blocks.sizes.min() >= 1000
    assert (np.diff(blocks.of_sequence) >= 0).all()
    assert np.bincount(blocks.of_sequence, weights=sizes) == pytest.approx(blocks.sizes)


def test_a_short_text_has_thirty_blocks_of_sequences_or_one_per_sequence() -> None:
    assert blocks_of_sequences(np.full(600, 8.0)).count >= 30
    assert blocks_of_sequences(np.full(12, 8.0)).count == 12


def test_values_of_a_sequence_go_to_its_block() -> None:
    blocks = Blocks(np.array([5.0, 7.0]), np.array([0, 0, 1]))
    bounds = np.array([0, 2, 3, 6])
    values = np.array([1, 2, 4, 8, 16, 32])
    assert blocks.sums(values, np.ones(6, int), bounds).tolist() == [7, 56]
