"""A hash table of sorted keys: the rank of a key in one read of memory, exactly.

Compact hashing (Cleary 1984): a key of K bits is mixed by a bijection x -> y of K bits, whose high
bits are its home slot. The slot holds the low bits of y and the rank of the key, packed into 64
bits,

    slot = (y shifted left by R) + rank,       R bits for a rank, all modulo 2^64

so the slot minus (y shifted left) *is* the rank if the key is there, and out of range otherwise.
Slots are ordered by y, with linear probing, so a negative difference means that the slot belongs
to a smaller y and the next one is to be read; any other value out of range means that the key is
absent. A free slot holds a value that no key can reach.

Knows sorted arrays of integers; no n-grams and no probabilities.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from seriatim.models.ngram.arrays import CHUNK, Ints

_MIX = np.int64(-7046029254386353131)  # 2^64 over the golden ratio, odd


@dataclass(frozen=True)
class KeyIndex:
    """The hash table.

    Attributes:
        slots: the packed slots, with some beyond the last home slot for keys displaced past it.
        key_bits: K.
        slot_bits: the number of bits of a home slot.
        rank_bits: R.
    """

    slots: Ints
    key_bits: int
    slot_bits: int
    rank_bits: int

    def find(self, key: Ints) -> Ints:
        """(P,) the ranks of keys; -1 for an absent key."""
        y = _mixed(key, self.key_bits)
        slot = y >> (self.key_bits - self.slot_bits)
        y <<= self.rank_bits
        rank: Ints = self.slots.take(slot, mode="clip")
        rank -= y
        # Selected by indices: a mask costs several times as much, because every element of an
        # unpredictable mask is a mispredicted branch.
        absent = np.flatnonzero(rank.view(np.uint64) >= np.uint64(1 << self.rank_bits))
        displaced = absent[np.flatnonzero(rank.take(absent) < 0)]
        rank[absent] = -1
        if len(displaced):
            slot, y = slot.take(displaced), y.take(displaced)
        while len(displaced):
            slot += 1
            difference = self.slots.take(slot, mode="clip") - y
            here = np.flatnonzero(difference.view(np.uint64) < np.uint64(1 << self.rank_bits))
            rank[displaced.take(here)] = difference.take(here)
            further = np.flatnonzero(difference < 0)
            displaced, slot, y = displaced.take(further), slot.take(further), y.take(further)
        return rank

    def find_one(self, key: int) -> int:
        """`find` of one key, without arrays."""
        slots, rank_bits = self.slots, self.rank_bits
        y = (key ^ (key >> (self.key_bits // 2))) * int(_MIX) & ((1 << self.key_bits) - 1)
        slot = y >> (self.key_bits - self.slot_bits)
        y = _signed(y << rank_bits)
        while True:
            rank = _signed(slots.item(slot) - y)
            if rank >= 0:
                return rank if rank < 1 << rank_bits else -1
            slot += 1


def index_keys(key: Ints, key_bits: int, base: int = 0) -> KeyIndex:
    """The index of distinct keys, from `base` to below base + 2^K, less `base`.

    Built by one sort and no loop over keys; arrays are passed over in pieces that stay in the
    caches, which spares the memory of temporary ones.

    In the order of y, a key takes the first free slot from its home slot onwards:
    slot_i = max(home_i, slot_{i-1} + 1), which is i + the running maximum of home_i - i.
    """
    rank_bits = max(1, (len(key) - 1).bit_length())
    key_bits = max(key_bits, 2)
    slot_bits = min(key_bits, max(1, (len(key) * 3 // 2).bit_length()))
    per_slot = key_bits - slot_bits
    spare = max(0, key_bits + rank_bits - 63)  # high bits that do not fit beside a rank
    y = np.empty(len(key), dtype=np.int64)
    for begin in range(0, len(y), CHUNK):
        y[begin : begin + CHUNK] = _mixed(key[begin : begin + CHUNK] - base, key_bits)
    size = (1 << slot_bits) + min(len(key), CHUNK) + 2
    slots = _free_slots(0, size, per_slot + rank_bits, rank_bits)
    last, end = -1, 0
    for high, packed in _sorted_parts(y, key_bits, rank_bits, spare):
        for begin in range(0, len(packed), CHUNK):  # in the caches
            part = packed[begin : begin + CHUNK]
            slot = part >> (per_slot + rank_bits)
            slot += (
                high << (slot_bits - spare) if slot_bits >= spare else high >> (spare - slot_bits)
            )
            own = np.arange(end, end + len(slot))
            slot -= own
            np.maximum.accumulate(slot, out=slot)
            np.maximum(slot, last + 1 - end, out=slot)
            slot += own
            last, end = int(slot[-1]), end + len(slot)
            if last + 2 > len(slots):
                more = _free_slots(len(slots), last + CHUNK, per_slot + rank_bits, rank_bits)
                slots = np.concatenate([slots, more])
            part |= np.int64(-(high & 1) << 63)
            slots[slot] = part
    return KeyIndex(slots, key_bits, slot_bits, rank_bits)


def _free_slots(first: int, end: int, home_bits: int, rank_bits: int) -> Ints:
    """Slots first .. end - 1, free: each holds the largest value of its home."""
    slots = np.empty(end - first, dtype=np.int64)
    for begin in range(0, len(slots), CHUNK):
        part = slots[begin : begin + CHUNK]
        part[:] = np.arange(first + begin + 1, first + begin + 1 + len(part))
        part <<= home_bits
        part |= (1 << rank_bits) - 1
    return slots


def _sorted_parts(y: Ints, key_bits: int, rank_bits: int, spare: int) -> Iterator[tuple[int, Ints]]:
    """The numbers y with their ranks in the lowest bits, sorted, in parts of equal `spare` high
    bits, which are left out; y is changed. Yields the high bits and the numbers."""
    if spare == 0:
        for begin in range(0, len(y), CHUNK):
            part = y[begin : begin + CHUNK]
            part <<= rank_bits
            part |= np.arange(begin, begin + len(part))
        y.sort()
        yield 0, y
        return
    low_bits = key_bits - spare
    part_of = (y >> low_bits).astype(np.uint16)
    order = part_of.argsort(kind="stable")  # by radix
    ends = np.cumsum(np.bincount(part_of, minlength=1 << spare)).tolist()
    for high, (begin, end) in enumerate(pairwise([0, *ends])):
        if begin == end:
            continue
        at = order[begin:end]
        packed = y.take(at)
        packed &= (1 << low_bits) - 1
        packed <<= rank_bits
        packed |= at
        packed.sort()
        yield high, packed


def _mixed(key: Ints, key_bits: int) -> Ints:
    """y of every key: each step is invertible, so different keys have different y."""
    y: Ints = key >> (key_bits // 2)
    y ^= key
    y *= _MIX
    y &= (1 << key_bits) - 1
    return y


def _signed(value: int) -> int:
    """The value modulo 2^64, as a signed integer."""
    return ((value + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)
