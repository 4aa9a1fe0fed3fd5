"""Words to numbers, millions per second: blocks of text are cut, hashed and looked up at once.

Words are as `split_words` defines them: separated by ASCII spaces, tabs and line ends. A word of
up to 7 bytes is its own 64-bit key, made of its bytes and its length. A longer one is hashed, and
every occurrence is then compared with the word that its hash belongs to (its length, its first and
last eight bytes, and the bytes between), so that the result does not rely on hashes being
distinct: a word whose hash is taken is kept in an ordinary dictionary.

Knows text in memory. Does not know files, counts or models.

Shapes: T words of a text, O long ones among them, N bytes, W words known.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
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
_LENGTHS = np.array([n << 8 * _SHORT for n in range(_WINDOW + 1)], np.uint64)
_IS_HASH = np.uint64(1 << 63)
_FREE = -1


def split_words(text: str) -> Iterator[str]:
    """The words between ASCII spaces, tabs and line ends, and every line end.

    Nothing else separates words: a no-break space or U+0085 is part of a word.
    """
    return filter(None, text.replace("\t", " ").replace("\n", " \n ").split(" "))


@dataclass(frozen=True)
class WordSpans:
    """Where the words of a text are.

    Attributes:
        data: (N + 17,) a space, the bytes in UTF-8, and zeros as padding.
        begin: (T,) where each word begins.
        size: (T,) its number of bytes.
        line_ends: the number of words before each line end.
        num_continued: the number of bytes that continue a character.
        is_plain: whether the text is its words with single spaces between them, and line ends.
    """

    data: NDArray[np.uint8]
    begin: Ints
    size: Ints
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

    @cached_property
    def long(self) -> Ints:
        """(O,) the words too long to be their own keys."""
        return np.flatnonzero(self.size > _SHORT)

    @cached_property
    def head(self) -> Keys:
        """(O,) the first eight bytes of long words."""
        head: Keys = self.windows[self.begin.take(self.long)]
        return head

    @cached_property
    def tail(self) -> Keys:
        """(O,) the last eight bytes of long words."""
        tail: Keys = self.windows[(self.begin + self.size).take(self.long) - _WINDOW]
        return tail

    @cached_property
    def key(self) -> Keys:
        """(T,) bytes and length of short words; hashes of long ones, with the highest bit set."""
        key = self.windows[self.begin]
        key &= _MASKS.take(self.size, mode="clip")
        key |= _LENGTHS.take(self.size, mode="clip")  # of long words, overwritten
        size = self.size.take(self.long)
        hashes = _mixed(self.head ^ _mixed(self.tail + size.view(np.uint64)))
        for i, rest in between(size):
            hashes[rest] = _mixed(hashes[rest] ^ self.chunk(self.long[rest], i))
        key[self.long] = hashes | _IS_HASH
        return key

    def chunk(self, words: Ints, i: int) -> Keys:
        """The i-th eight bytes of some words that have as many."""
        return self.windows[self.begin[words] + _WINDOW * i]

    def word(self, i: int) -> bytes:
        """The bytes of word i."""
        return self.data[self.begin[i] : self.begin[i] + self.size[i]].tobytes()


def between(size: Ints) -> Iterator[tuple[int, Ints]]:
    """The inner eights of bytes of words (O,), beyond heads and tails: i, and which words."""
    rest, i = np.flatnonzero(size > 2 * _WINDOW), 1
    while len(rest):
        yield i, rest
        i += 1
        rest = rest[size[rest] > _WINDOW * (i + 1)]


def cut_words(text: str) -> WordSpans:
    """Cut a text into words and compute the key of each; time O(N)."""
    data = np.frombuffer(b" " + text.encode() + bytes(2 * _WINDOW), np.uint8)
    body = data[: len(data) - 2 * _WINDOW]
    is_gap = np.ones(len(body) + 1, dtype=bool)
    np.equal(body, _SPACE, out=is_gap[:-1])
    is_gap[:-1] |= body == _LINE_END
    is_tab = body == _TAB
    has_tabs = bool(is_tab.any())
    if has_tabs:
        is_gap[:-1] |= is_tab
    gaps = np.flatnonzero(is_gap)  # with the one before the text, and the one after it
    begin, size = gaps[:-1] + 1, np.diff(gaps) - 1  # of what precedes each gap but the first
    line_ends = np.flatnonzero(body.take(gaps[1:-1]) == _LINE_END)
    words = np.flatnonzero(size)
    if len(words) < len(size):  # some gaps are adjacent
        line_ends = np.searchsorted(words, line_ends, side="right")
        begin, size = begin.take(words), size.take(words)
    else:
        line_ends += 1
    num_continued = len(body) - 1 - len(text)
    is_plain = not has_tabs and _is_plain(size, line_ends, len(body) - 1)
    spans = WordSpans(data, begin, size, line_ends, num_continued, is_plain)
    spans.key  # noqa: B018 - computed here, which may be in another thread
    return spans


def _is_plain(size: Ints, line_ends: Ints, num_bytes: int) -> bool:
    """Whether words are separated by one space or line end, with no spaces elsewhere."""
    words_in_line = np.diff(line_ends, prepend=0)
    last = len(size) - (int(line_ends[-1]) if len(line_ends) else 0)
    gaps = len(size) - int((words_in_line > 0).sum()) - (last > 0)
    return int(size.sum()) + gaps + len(line_ends) == num_bytes


def spans_of(words: Sequence[str]) -> WordSpans:
    """The spans of words that are already cut; they may contain spaces."""
    pieces = [word.encode() for word in words]
    size = np.array([len(piece) for piece in pieces], np.int64)
    begin = np.cumsum(size) - size
    data = np.frombuffer(b"".join(pieces) + bytes(2 * _WINDOW), np.uint8)
    return WordSpans(data, begin, size, begin[:0])


def _mixed(h: Keys) -> Keys:
    h = h * _MIX  # modulo 2^64, about which numpy does not warn in arrays
    return h ^ (h >> np.uint64(29))


class WordIndex:
    """Words and their numbers 0 .. W - 1, in the order in which they were added."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._clear()
        words = list(words)
        if words:
            self.add(spans_of(words))
        if self.words != words:  # two share a hash, and the second was numbered after all others
            self._clear()
            for word in words:
                self.add(spans_of([word]))

    def _clear(self) -> None:
        self.words: list[str] = []
        self._crowded: dict[bytes, int] = {}  # words whose hash belongs to another word
        self._key = np.zeros(1 << 10, np.uint64)
        self._id = np.full(1 << 10, _FREE, np.int32)
        self._size = np.zeros(1 << 10, np.int64)  # bytes, of each word
        self._head = np.zeros(1 << 10, np.uint64)  # of long words
        self._tail = np.zeros(1 << 10, np.uint64)
        self._chunk_at = np.zeros(1 << 10, np.int64)  # the position of its inner bytes in `_chunks`
        self._chunks = np.zeros(1 << 10, np.uint64)  # the inner bytes, in eights
        self._num_chunks = 0

    def add(self, text: WordSpans) -> Ids:
        """(T,) the number of every word; new words get the next numbers."""
        ids = self._find_keys(text.key)
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

    def find(self, text: WordSpans) -> Ids:
        """(T,) the number of every word; -1 if it is not known."""
        ids = self._find_keys(text.key)
        self._settle(text, ids, is_adding=False)
        return ids

    def _find_keys(self, key: Keys) -> Ids:
        """Linear probing; a hash may belong to another word."""
        slot = self._slot(key)
        ids = self._id.take(slot)
        sought = np.flatnonzero(self._key.take(slot) != key)
        sought = sought[ids.take(sought) != _FREE]
        slot, key = slot.take(sought), key.take(sought)
        while len(sought):
            slot = (slot + 1) & (len(self._id) - 1)
            candidates = self._id.take(slot)
            ids[sought] = candidates
            rest = np.flatnonzero((self._key.take(slot) != key) & (candidates != _FREE))
            sought, slot, key = sought.take(rest), slot.take(rest), key.take(rest)
        return ids

    def _slot(self, key: Keys) -> Ints:
        bits = len(self._id).bit_length() - 1
        slot = key * _MIX
        slot >>= np.uint64(64 - bits)
        return slot.view(np.int64)

    def _settle(self, text: WordSpans, ids: Ids, *, is_adding: bool) -> None:
        """Compare long words with the words of their hashes, and look up those that differ."""
        known = ids.take(text.long)
        is_free = known == _FREE
        size = text.size.take(text.long)
        is_other = self._tail.take(known, mode="clip") != text.tail
        is_other |= self._head.take(known, mode="clip") != text.head
        is_other |= self._size.take(known, mode="clip") != size
        is_other &= ~is_free
        for i, rest in between(np.where(is_other | is_free, 0, size)):
            chunks = self._chunks[self._chunk_at[known[rest]] + i - 1]
            is_other[rest] |= chunks != text.chunk(text.long[rest], i)
        for at in text.long[is_other].tolist():
            word = text.word(at)
            if is_adding and word not in self._crowded:
                self._crowded[word] = len(self.words)
                self._append(text, np.array([at]))
            ids[at] = self._crowded.get(word, _FREE)

    def _append(self, text: WordSpans, at: Ints) -> None:
        """Number new words and store their text, size and bytes."""
        first, size = len(self.words), text.size[at]
        data = text.data.tobytes()
        ends = zip(text.begin[at].tolist(), (text.begin[at] + size).tolist(), strict=True)
        self.words += [data[i:j].decode() for i, j in ends]
        own = slice(first, len(self.words))
        num_chunks = np.maximum(-(-size // _WINDOW) - 2, 0)
        chunk_at = self._num_chunks + np.cumsum(num_chunks) - num_chunks
        self._num_chunks += int(num_chunks.sum())
        for name in ("_size", "_head", "_tail", "_chunk_at"):
            setattr(self, name, _grown(getattr(self, name), len(self.words)))
        self._chunks = _grown(self._chunks, self._num_chunks)
        self._size[own], self._chunk_at[own] = size, chunk_at
        long = np.flatnonzero(size > _SHORT)
        begin = text.begin[at[long]]
        self._head[first + long] = text.windows[begin]
        self._tail[first + long] = text.windows[begin + size[long] - _WINDOW]
        for i, rest in between(size):
            self._chunks[chunk_at[rest] + i - 1] = text.chunk(at[rest], i)

    def _insert(self, key: Keys, ids: Ids) -> None:
        """Put new keys into the slots."""
        if 3 * int(ids[-1]) > len(self._id):
            there = self._id != _FREE
            key, ids = np.append(self._key[there], key), np.append(self._id[there], ids)
            self._key = np.zeros(1 << (3 * int(ids[-1])).bit_length(), np.uint64)
            self._id = np.full(len(self._key), _FREE, np.int32)
        descending = np.argsort(-ids)  # early words get their own slots
        key, ids = key[descending], ids[descending]
        slot = self._slot(key)
        while len(key):
            free = self._id[slot] == _FREE
            self._id[slot[free]] = ids[free]  # of several with the same slot, the last gets it
            has = self._id[slot] == ids
            self._key[slot[has]] = key[has]
            key, ids, slot = key[~has], ids[~has], (slot[~has] + 1) & (len(self._id) - 1)


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """An array with room for `size` items, doubled if it was too small."""
    if size <= len(array):
        return array
    return np.append(array, np.zeros(max(size, 2 * len(array)) - len(array), array.dtype))


def cut_ahead(texts: Iterable[str], *, num_threads: int = 2) -> Iterator[WordSpans]:
    """`cut_words` of every text, in order, computed a few texts ahead in other threads."""
    texts = iter(texts)
    with ThreadPoolExecutor(num_threads) as threads:
        ahead = [threads.submit(cut_words, text) for text in islice(texts, 2 * num_threads)]
        while ahead:
            yield ahead.pop(0).result()
            ahead += [threads.submit(cut_words, text) for text in islice(texts, 1)]


def split_parts(text: str, size: int) -> Iterator[str]:
    """A text in parts of about `size` characters, cut between words."""
    begin = 0
    while begin < len(text):
        end = len(text)
        if begin + size < end:
            after = max(text.rfind(gap, begin, begin + size) for gap in " \n") + 1
            if not after:  # a word as long as a part
                ends = [text.find(gap, begin + size) + 1 for gap in " \n"]
                after = min((position for position in ends if position), default=end)
            end = after
        yield text[begin:end]
        begin = end


def by_frequency(words: Sequence[str], counts: Ints) -> Ints:
    """(W,) the numbers of the words by decreasing count, ties in the order of their text."""
    as_text = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
    return as_text[np.argsort(-counts[as_text], kind="stable")]
