"""An index of sorted keys: the rank of a key in one read of memory, exactly.

A key of K bits is mixed by a bijection x -> y of K bits; its high bits say where it lives. The
slot there holds the low bits of y and the rank, packed into 64 bits,

    slot = (y shifted left by R) + rank,       R bits for a rank, all modulo 2^64

so what is read minus (y shifted left) *is* the rank, if the key is there, and out of range if
it is not. Keys stand in the order of their y, each at its own place or pushed on by those before
it, so that difference also says where to go on: below 0, the slot belongs to a smaller y and the
next one is looked at; else the key is absent. A free slot holds what no key can reach.

Knows sorted arrays of integers; no n-grams and no probabilities.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_MIX = np.int64(-7046029254386353131)  # 2^64 over the golden ratio, odd


@dataclass(frozen=True)
class KeyIndex:
    """Where keys are found.

    Attributes:
        slots: the packed slots, and room past the last for what is pushed over the end.
        key_bits: K.
        slot_bits: of the number of slots.
        rank_bits: R.
    """

    slots: Ints
    key_bits: int
    slot_bits: int
    rank_bits: int

    def find(self, key: Ints) -> Ints:
        """(P,) the ranks of keys; -1 where there is none."""
        y = _mixed(key, self.key_bits)
        slot = y >> (self.key_bits - self.slot_bits)
        y <<= self.rank_bits
        found: Ints = self.slots.take(slot, mode="clip")
        found -= y
        # What goes on is selected by its places: a mask costs several times as much, because
        # every element of an unpredictable mask is a branch guessed wrong.
        absent = np.flatnonzero(found.view(np.uint64) >= np.uint64(1 << self.rank_bits))
        pushed = absent[np.flatnonzero(found.take(absent) < 0)]
        found[absent] = -1
        if len(pushed):
            slot, y = slot.take(pushed), y.take(pushed)
        while len(pushed):
            slot += 1
            there = self.slots.take(slot, mode="clip") - y
            here = np.flatnonzero(there.view(np.uint64) < np.uint64(1 << self.rank_bits))
            found[pushed.take(here)] = there.take(here)
            on = np.flatnonzero(there < 0)
            pushed, slot, y = pushed.take(on), slot.take(on), y.take(on)
        return found

    def find_one(self, key: int) -> int:
        """`find` of one key, without arrays."""
        slots, rank_bits = self.slots, self.rank_bits
        y = _mixed_one(key, self.key_bits)
        slot = y >> (self.key_bits - self.slot_bits)
        y = _signed(y << rank_bits)
        while True:
            found = _signed(slots.item(slot) - y)
            if found >= 0:
                return found if found < 1 << rank_bits else -1
            slot += 1


def index_keys(key: Ints, key_bits: int) -> KeyIndex:
    """The index of distinct keys below 2^K, made by one sort and no loop over keys.

    Sorted by y, a key takes the first free slot from its own onwards:
    slot_i = max(home_i, slot_{i-1} + 1), which is i + the running maximum of home_i - i.
    """
    rank_bits = max(1, (len(key) - 1).bit_length())
    key_bits = max(key_bits, 2)
    slot_bits = min(key_bits, max(1, (len(key) * 3 // 2).bit_length()))
    per_slot = key_bits - slot_bits
    mixed = _mixed(key, key_bits)
    y, rank = _sorted_with_ranks(mixed, key_bits, rank_bits)
    slot = y >> per_slot
    slot -= np.arange(len(y))
    np.maximum.accumulate(slot, out=slot)
    slot += np.arange(len(y))
    slots = np.arange(1, max(1 << slot_bits, int(slot[-1]) + 1) + 2)
    slots <<= per_slot + rank_bits
    slots |= (1 << rank_bits) - 1
    y <<= rank_bits
    y |= rank
    slots[slot] = y
    return KeyIndex(slots, key_bits, slot_bits, rank_bits)


def _sorted_with_ranks(y: Ints, key_bits: int, rank_bits: int) -> tuple[Ints, Ints]:
    """y sorted, and where each was: by sorts in parts of like high bits, packed with the place."""
    if key_bits + rank_bits <= 63:
        y <<= rank_bits
        y |= np.arange(len(y))
        y.sort()
        return y >> rank_bits, y & ((1 << rank_bits) - 1)
    spare = key_bits + rank_bits - 63  # high bits that do not fit: the parts
    part_of = (y >> (key_bits - spare)).astype(np.int16)
    low = y & ((1 << (key_bits - spare)) - 1)
    found, ranks = [], []
    for part in range(1 << spare):
        at = np.flatnonzero(part_of == part)
        packed = low[at]
        packed <<= rank_bits
        packed |= at
        packed.sort()
        ranks.append(packed & ((1 << rank_bits) - 1))
        packed >>= rank_bits
        packed |= part << (key_bits - spare)
        found.append(packed)
    return np.concatenate(found), np.concatenate(ranks)


def _mixed(key: Ints, key_bits: int) -> Ints:
    """y of every key: each step can be undone, so different keys have different y."""
    y: Ints = key >> (key_bits // 2)
    y ^= key
    y *= _MIX
    y &= (1 << key_bits) - 1
    return y


def _mixed_one(key: int, key_bits: int) -> int:
    return (key ^ (key >> (key_bits // 2))) * int(_MIX) & ((1 << key_bits) - 1)


def _signed(value: int) -> int:
    """Modulo 2^64, from -2^63 on."""
    return ((value + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)
