"""Words to numbers, millions a second: whole blocks of text are cut, hashed and looked up at once.

Words are what `words_of` says they are: what stands between ASCII spaces,
tabs and line ends. A word of up to 7 bytes is its own 64-bit key, bytes and length; a longer one
is hashed, and every occurrence is then compared with the word that its hash stands for, byte by
byte, so that nothing rests on hashes being different: a word whose hash is taken lives in an
ordinary dictionary.

Knows text in memory. Does not know files, counts or models.

Shapes: T words of a text, N bytes, W words known.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Ids = NDArray[np.int32]
Keys = NDArray[np.uint64]

_SPACE, _TAB, _LINE_END = 32, 9, 10
_WINDOW = 8
_SHORT = 7  # bytes of a word that is its own key
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(_WINDOW + 1)], np.uint64)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_IS_HASH = np.uint64(1 << 63)
_FREE = -1


def words_of(text: str) -> Iterator[str]:
    """What stands between ASCII spaces, tabs and line ends, and every line end.

    Nothing else separates words: a no-break space or U+0085 is part of one.
    """
    return filter(None, text.replace("\t", " ").replace("\n", " \n ").split(" "))


@dataclass(frozen=True)
class CutText:
    """A text cut into words.

    Attributes:
        data: (N + 17,) a space, the bytes in UTF-8, and some zeros.
        begin: (T,) where each word begins.
        size: (T,) its bytes.
        key: (T,) its key.
        line_ends: how many words stand before each line end.
        num_continued: bytes of the text that begin no character.
        is_plain: the text is its words with one space between two, and lines with their ends.
    """

    data: NDArray[np.uint8]
    begin: Ints
    size: Ints
    key: Keys
    line_ends: Ints
    num_continued: int = 0
    is_plain: bool = False

    @property
    def body(self) -> NDArray[np.uint8]:
        """(N,) the bytes of the text alone."""
        return self.data[1 : len(self.data) - 2 * _WINDOW]

    @property
    def windows(self) -> Keys:
        """(N + 10,) the eight bytes from each byte on, as one number; a view."""
        count = len(self.data) - _WINDOW + 1
        return np.ndarray((count,), np.dtype("<u8"), self.data.data, 0, (1,))

    def chunk(self, words: Ints, i: int) -> Keys:
        """The i-th eight bytes of some words, zeros after their end."""
        size = np.minimum(self.size[words] - _WINDOW * i, _WINDOW)
        return self.windows[self.begin[words] + _WINDOW * i] & _MASKS[size]

    def word(self, i: int) -> bytes:
        """The bytes of word i."""
        return self.data[self.begin[i] : self.begin[i] + self.size[i]].tobytes()


def cut(text: str) -> CutText:
    """Cut a text into words and give each its key; time O(N)."""
    data = np.frombuffer(b" " + text.encode() + bytes(2 * _WINDOW), np.uint8)
    body = data[: len(data) - 2 * _WINDOW]
    is_gap = np.ones(len(body) + 1, dtype=bool)
    np.equal(body, _SPACE, out=is_gap[:-1])
    is_line_end = body == _LINE_END
    is_gap[:-1] |= is_line_end
    is_gap[:-1] |= body == _TAB
    edges = np.flatnonzero(is_gap[1:] != is_gap[:-1]) + 1
    begin, size = edges[::2], edges[1::2] - edges[::2]
    line_ends = np.searchsorted(begin, np.flatnonzero(is_line_end))
    found = CutText(data, begin, size, np.zeros(0, np.uint64), line_ends)
    num_continued = len(body) - 1 - len(text)
    return CutText(data, begin, size, _keys(found), line_ends, num_continued, _is_plain(found))


def _is_plain(text: CutText) -> bool:
    """Whether one space stands between two words, none elsewhere, and no tab."""
    words_in_line = np.diff(text.line_ends, prepend=0)
    last = len(text.begin) - (int(text.line_ends[-1]) if len(text.line_ends) else 0)
    gaps = len(text.begin) - int((words_in_line > 0).sum()) - (last > 0)
    size = int(text.size.sum()) + gaps + len(text.line_ends)
    return size == len(text.body) and not bool((text.body == _TAB).any())


def as_given(words: Sequence[str]) -> CutText:
    """Words already cut, which may hold spaces (and then no text has them)."""
    pieces = [word.encode() for word in words]
    size = np.array([len(piece) for piece in pieces], np.int64)
    begin = np.cumsum(size) - size
    data = np.frombuffer(b"".join(pieces) + bytes(2 * _WINDOW), np.uint8)
    found = CutText(data, begin, size, np.zeros(0, np.uint64), begin[:0])
    return CutText(data, begin, size, _keys(found), begin[:0])


def _keys(text: CutText) -> Keys:
    """Bytes and length of short words; hashes, with the highest bit set, of longer ones."""
    key = text.windows[text.begin] & _MASKS[np.minimum(text.size, _WINDOW)]
    long = np.flatnonzero(text.size > _SHORT)
    key += text.size.astype(np.uint64) << np.uint64(8 * _SHORT)  # of long words, overwritten
    with np.errstate(over="ignore"):
        hashes = _mixed(text.chunk(long, 0) + text.size[long].astype(np.uint64))
        rest, i = np.flatnonzero(text.size[long] > _WINDOW), 1
        while len(rest):
            hashes[rest] = _mixed(hashes[rest] ^ text.chunk(long[rest], i))
            i += 1
            rest = rest[text.size[long[rest]] > _WINDOW * i]
    key[long] = hashes | _IS_HASH
    return key


def _mixed(h: Keys) -> Keys:
    h = h * _MIX
    return h ^ (h >> np.uint64(29))


class WordIndex:
    """Words and their numbers 0 .. W - 1, in the order in which they came."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.words: list[str] = []
        self._crowded: dict[bytes, int] = {}  # words whose hash stands for another word
        self._key = np.zeros(1 << 10, np.uint64)
        self._id = np.full(1 << 10, _FREE, np.int32)
        self._size = np.zeros(1 << 10, np.int64)  # bytes, of each word
        self._chunk_at = np.zeros(1 << 10, np.int64)  # where a long word stands in `_chunks`
        self._chunks = np.zeros(1 << 10, np.uint64)  # long words, in eights, zeros at the end
        self._num_chunks = 0
        known = list(words)
        if known:
            self.add(as_given(known))

    def add(self, text: CutText) -> Ids:
        """(T,) the number of every word; new words get the next ones."""
        ids = self._find(text)
        new = np.flatnonzero(ids == _FREE)
        if len(new):
            _, first = np.unique(text.key[new], return_index=True)
            at = new[np.sort(first)]
            self._insert(
                text.key[at], np.arange(len(at), dtype=np.int32) + np.int32(len(self.words))
            )
            self._append(text, at)
            ids[new] = self._find_keys(text.key[new])
        self._settle(text, ids, is_adding=True)
        return ids

    def find(self, text: CutText) -> Ids:
        """(T,) the number of every word, -1 of one that is not known."""
        ids = self._find(text)
        self._settle(text, ids, is_adding=False)
        return ids

    def _find(self, text: CutText) -> Ids:
        return self._find_keys(text.key)

    def _find_keys(self, key: Keys) -> Ids:
        """Linear probing; what is found under a hash may be another word."""
        slot = self._slot(key)
        ids = self._id[slot]
        sought = np.flatnonzero((ids != _FREE) & (self._key[slot] != key))
        slot = slot[sought]
        while len(sought):
            slot = (slot + 1) & (len(self._id) - 1)
            found = self._id[slot]
            ids[sought] = found
            goes_on = (found != _FREE) & (self._key[slot] != key[sought])
            sought, slot = sought[goes_on], slot[goes_on]
        return ids

    def _slot(self, key: Keys) -> Ints:
        bits = len(self._id).bit_length() - 1
        with np.errstate(over="ignore"):
            return ((key * _MIX) >> np.uint64(64 - bits)).astype(np.int64)

    def _settle(self, text: CutText, ids: Ids, *, is_adding: bool) -> None:
        """Compare long words with what their hashes stand for, and look up those that differ."""
        long = np.flatnonzero((text.size > _SHORT) & (ids != _FREE))
        is_other = self._size[ids[long]] != text.size[long]
        rest, i = np.flatnonzero(~is_other), 0
        while len(rest):
            words = long[rest]
            same = self._chunks[self._chunk_at[ids[words]] + i] == text.chunk(words, i)
            is_other[rest[~same]] = True
            i += 1
            rest = rest[same & (text.size[words] > _WINDOW * i)]
        for at in long[is_other].tolist():
            word = text.word(at)
            if is_adding and word not in self._crowded:
                self._crowded[word] = len(self.words)
                self._append(text, np.array([at]))
            ids[at] = self._crowded.get(word, _FREE)

    def _append(self, text: CutText, at: Ints) -> None:
        """Give numbers to words that are new; their text, size and bytes are kept."""
        first, size = len(self.words), text.size[at]
        data = text.data.tobytes()
        ends = zip(text.begin[at].tolist(), (text.begin[at] + size).tolist(), strict=True)
        self.words += [data[i:j].decode() for i, j in ends]
        num_chunks = -(-size // _WINDOW)
        chunk_at = self._num_chunks + np.cumsum(num_chunks) - num_chunks
        self._num_chunks += int(num_chunks.sum())
        self._size = _grown(self._size, len(self.words))
        self._chunk_at = _grown(self._chunk_at, len(self.words))
        self._chunks = _grown(self._chunks, self._num_chunks)
        self._size[first : len(self.words)] = size
        self._chunk_at[first : len(self.words)] = chunk_at
        for i in range(int(num_chunks.max())):
            rest = np.flatnonzero(num_chunks > i)
            self._chunks[chunk_at[rest] + i] = text.chunk(at[rest], i)

    def _insert(self, key: Keys, ids: Ids) -> None:
        """Put keys that are not there into the slots."""
        if 3 * int(ids[-1]) > len(self._id):
            there = self._id != _FREE
            key, ids = np.append(self._key[there], key), np.append(self._id[there], ids)
            self._key = np.zeros(1 << (3 * int(ids[-1])).bit_length(), np.uint64)
            self._id = np.full(len(self._key), _FREE, np.int32)
        slot = self._slot(key)
        while len(key):
            free = self._id[slot] == _FREE
            self._id[slot[free]] = ids[free]  # of several that want a slot, one has it
            has = self._id[slot] == ids
            self._key[slot[has]] = key[has]
            key, ids, slot = key[~has], ids[~has], (slot[~has] + 1) & (len(self._id) - 1)


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """At least `size` places, and twice as many as there were if there are too few."""
    if size <= len(array):
        return array
    return np.append(array, np.zeros(max(size, 2 * len(array)) - len(array), array.dtype))


def cut_ahead(texts: Iterable[str], *, num_threads: int = 2) -> Iterator[CutText]:
    """`cut` of every text, in order, a few texts ahead in other threads."""
    texts = iter(texts)
    with ThreadPoolExecutor(num_threads) as threads:
        ahead = [threads.submit(cut, text) for text in islice(texts, 2 * num_threads)]
        while ahead:
            yield ahead.pop(0).result()
            ahead += [threads.submit(cut, text) for text in islice(texts, 1)]


def parts_of(text: str, size: int) -> Iterator[str]:
    """A text in parts of about `size` characters that cut no word."""
    begin = 0
    while begin < len(text):
        end = len(text)
        if begin + size < end:
            after = max(text.rfind(gap, begin, begin + size) for gap in " \n") + 1
            if not after:  # a word as long as a part
                found = [text.find(gap, begin + size) + 1 for gap in " \n"]
                after = min((place for place in found if place), default=end)
            end = after
        yield text[begin:end]
        begin = end


def by_frequency(words: Sequence[str], counts: Ints) -> Ints:
    """(W,) the words' numbers by falling count, equal ones by their order as text."""
    as_text = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
    return as_text[np.argsort(-counts[as_text], kind="stable")]
