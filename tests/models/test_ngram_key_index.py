"""The hash table of keys is exact for all keys, by arrays and one by one."""

import numpy as np
import pytest

from seriatim.models.ngram.key_index import index_keys


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 30_000])
@pytest.mark.parametrize("key_bits", [20, 40, 60])
def test_every_key_has_its_rank_and_no_other_value_has_one(size: int, key_bits: int) -> None:
    """At 60 bits, a key and a rank do not fit into one integer."""
    rng = np.random.default_rng(size)
    key = np.unique(rng.integers(0, 1 << key_bits, size))
    index = index_keys(key, key_bits)
    near = np.clip(np.concatenate([key - 1, key, key + 1]), 0, (1 << key_bits) - 1)
    sought = np.concatenate([near, rng.integers(0, 1 << key_bits, 5000)])
    rank = np.minimum(np.searchsorted(key, sought), len(key) - 1)
    expected = np.where(key[rank] == sought, rank, -1)
    np.testing.assert_array_equal(index.find(sought), expected)
    some = rng.permutation(len(sought))[:500]
    assert [index.find_one(int(k)) for k in sought[some]] == expected[some].tolist()


def test_keys_with_crowded_home_slots_are_displaced_and_found() -> None:
    """All home slots are the last ones: keys are displaced past them, absent keys stay absent."""
    bits = 24
    everything = np.arange(1 << 16)
    home = (everything ^ (everything >> (bits // 2))) * -7046029254386353131 & ((1 << bits) - 1)
    key = np.sort(everything[np.argsort(home)[-3000:]])
    index = index_keys(key, bits)
    rank = index.find(everything)
    np.testing.assert_array_equal(rank >= 0, np.isin(everything, key))
    np.testing.assert_array_equal(rank[key], np.arange(3000))
