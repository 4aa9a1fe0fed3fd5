"""ARPA files: n-gram models as text, the form that every toolkit reads and writes.

    \\data\\
    ngram 1=4            how many n-grams of each order follow
    ...
    \\1-grams:
    -0.5 <TAB> the <TAB> -0.3      log10 p(last word | words before), n-gram, log10 backoff
    ...
    \\end\\

Both ways stream: one order is held at a time, as arrays. What is written is read back bit by bit.

The boundary is written `<s>` where it begins an n-gram and `</s>` elsewhere; as a unigram it has
a line for each, `<s>` with the customary -99, for it is never predicted. (In n-grams of a stream
`</s>` may stand inside, as the line end that it is.) Knows files and `Backoffs`; no model.
"""

import gzip
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, NoReturn, cast

import numpy as np
import numpy.typing as npt

from seriatim.data.files import read_blocks, split_lines
from seriatim.errors import DataError, OutputError
from seriatim.models.ngram.counting import Ints, symbol_bits
from seriatim.models.ngram.smoothing import Backoffs, Floats

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0  # log10 of a probability of 0, by custom
_MISSING_UNKNOWN = -100.0  # what KenLM gives unknown words where the file has none
_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Arpa:
    """What an ARPA file holds.

    Attributes:
        words: the words of ids 2 .. V - 1; `<unk>` is 0, and the boundary, `<s>` and `</s>`, 1.
        backoffs: the model.
        has_unknown: whether the file itself has `<unk>`; where not, it got log10 p = -100.
    """

    words: list[str]
    backoffs: Backoffs
    has_unknown: bool


# ---- writing ------------------------------------------------------------------------------------


def write_arpa(path: Path, backoffs: Backoffs, words: Sequence[str], *, boundary: int) -> None:
    """Write a model; packed if the name ends in .gz. The file appears when it is whole.

    Args:
        path: where to.
        backoffs: the model.
        words: of every id; that of the boundary is not used.
        boundary: b.

    Raises:
        DataError: a word that ARPA cannot hold: with white space, `<s>` or `</s>`, or given twice.
        OutputError: the disk cannot hold the file; nothing was left there.
    """
    _check_words(words, boundary)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with _create(unfinished, is_packed=path.suffix == ".gz") as file:
            for text in arpa_text(backoffs, words, boundary):
                file.write(text)
        unfinished.replace(path)
    except OSError as error:
        raise OutputError(
            f"could not write {path}: {error.strerror or error}; nothing was left there: free some "
            "space or choose another --out"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _create(path: Path, *, is_packed: bool) -> Iterator[IO[str]]:
    if is_packed:
        with gzip.open(path, "wt", encoding="utf-8", newline="\n", compresslevel=6) as packed:
            yield cast(IO[str], packed)
    else:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield file


def _check_words(words: Sequence[str], boundary: int) -> None:
    seen = set()
    for i, word in enumerate(words):
        if i == boundary:
            continue
        if not word or len(word.split()) != 1 or word in (BEGIN, END) or word in seen:
            raise DataError(
                f"the symbol {word!r} cannot stand in an ARPA file, whose words are different, "
                f"without white space, and none of {BEGIN} and {END}: rename it in the text"
            )
        seen.add(word)


def arpa_text(backoffs: Backoffs, words: Sequence[str], boundary: int) -> Iterator[str]:
    """The file in pieces."""
    sizes = np.diff(backoffs.starts)
    yield "\\data\\\n"
    for m, size in enumerate(sizes.tolist(), start=1):
        yield f"ngram {m}={size + (m == 1)}\n"
    names = np.array([END if i == boundary else word for i, word in enumerate(words)], object)
    for m in range(1, len(sizes) + 1):
        yield f"\n\\{m}-grams:\n"
        begin, end = (int(s) for s in backoffs.starts[m - 1 : m + 1])
        for low in range(begin, end, _AT_ONCE):
            yield from _entries(backoffs, names, boundary, m, low, min(low + _AT_ONCE, end))
    yield "\n\\end\\\n"


def _entries(
    backoffs: Backoffs, names: npt.NDArray[np.object_], boundary: int, m: int, low: int, high: int
) -> Iterator[str]:
    """The lines of ids low .. high - 1 of order m."""
    spelled = spell(backoffs.starts, backoffs.key, np.arange(low, high), m)
    columns = [names[column] for column in spelled]
    columns[0][spelled[0] == boundary] = BEGIN if m > 1 else END
    parts = [
        map(repr, backoffs.log_prob[low:high].tolist()),
        map(" ".join, zip(*columns, strict=True)),
    ]
    has_backoff = m < len(backoffs.starts) - 1
    if has_backoff:
        parts.append(map(repr, backoffs.log_backoff[low:high].tolist()))
    lines = list(map("\t".join, zip(*parts, strict=True)))
    if m == 1 and low <= boundary < high:
        end, begin = f"{backoffs.log_prob.item(boundary)!r}\t{END}", f"{NEVER!r}\t{BEGIN}"
        if has_backoff:  # the backoff is that of <s>; nothing goes on from </s>
            end, begin = f"{end}\t0.0", f"{begin}\t{backoffs.log_backoff.item(boundary)!r}"
        lines[boundary - low] = f"{end}\n{begin}"
    yield "\n".join(lines) + "\n"


def spell(starts: Ints, key: Ints, ids: Ints, m: int) -> list[Ints]:
    """The symbols of n-grams of order m: m arrays, the oldest first."""
    num_symbols = int(starts[1])
    bits = symbol_bits(num_symbols)
    symbols = []
    for _ in range(m - 1):
        found = key[ids - num_symbols]
        symbols.append(found & ((1 << bits) - 1))
        ids = found >> bits
    return [ids, *reversed(symbols)]


# ---- reading ------------------------------------------------------------------------------------


def read_arpa(path: Path) -> Arpa:
    """Read the ARPA file of any tool; unpacked if its name ends in .gz.

    Raises:
        DataError: no ARPA file, a truncated one, or one that contradicts itself: counts in the
            header, an n-gram given twice or without its beginning, a log-probability above 0.
    """
    return _Reader(path).read()


class _Reader:
    """One file, line after line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = enumerate(split_lines(read_blocks(path, "utf-8")), start=1)
        self.ids: dict[str, int] = {UNKNOWN: 0, BEGIN: 1, END: 1, UNKNOWN.upper(): 0}
        self.words: list[str] = []

    def fail(self, complaint: str) -> NoReturn:
        raise DataError(f"{self.path}: {complaint}")

    def read(self) -> Arpa:
        sizes = self._header()
        first, weights, has_unknown = self._unigrams(sizes[0], has_backoff=len(sizes) > 1)
        starts = [0, len(first)]
        keys, log_probs, log_backoffs = [np.zeros(0, np.int64)], [first], [weights]
        for m, size in enumerate(sizes[1:], start=2):
            key, log_prob, weight = self._order(m, size, starts, keys, is_last=m == len(sizes))
            keys.append(key)
            log_probs.append(log_prob)
            log_backoffs.append(weight)
            starts.append(starts[-1] + len(key))
        if self._next("\\end\\")[1].rstrip() != "\\end\\":
            self.fail("expected \\end\\ after the last n-gram: the file is damaged")
        found = Backoffs(
            starts=np.array(starts),
            key=np.concatenate(keys),
            log_prob=np.concatenate(log_probs),
            log_backoff=np.concatenate([np.zeros(0), *log_backoffs[:-1]]),
        )
        return Arpa(self.words, found, has_unknown)

    def _next(self, awaited: str) -> tuple[int, str]:
        """The next line with something on it."""
        for number, line in self.lines:
            if line.strip():
                return number, line
        return self.fail(f"it ends before {awaited}: the file is truncated, write it again")

    def _header(self) -> list[int]:
        line = ""
        while line.strip() != "\\data\\":
            _, line = self._next("\\data\\, with which an ARPA file begins")
        sizes: list[int] = []
        self.section = ""
        while not self.section:
            number, line = self._next("\\1-grams:")
            if line.startswith("\\"):
                self.section = line.strip()
                break
            name, _, size = line.partition("=")
            if name.split() != ["ngram", str(len(sizes) + 1)] or not size.strip().isdigit():
                self.fail(f"line {number} is {line!r} and not `ngram {len(sizes) + 1}=COUNT`")
            sizes.append(int(size))
        if not sizes:
            self.fail("the header gives no counts: expected `ngram 1=COUNT` and so on")
        return sizes

    def _entries(self, m: int, size: int) -> Iterator[tuple[int, list[str]]]:
        """The lines of a section, some at a time, with the number of the first."""
        if not self.section:
            self.section = self._next(f"\\{m}-grams:")[1].strip()
        if self.section != f"\\{m}-grams:":
            self.fail(
                f"expected \\{m}-grams: and found {self.section} instead: an order is missing"
            )
        self.section = ""
        count = 0
        while True:
            numbered = list(islice(self.lines, min(_AT_ONCE, size - count)))
            held = [line for _, line in numbered if line.strip()]
            count += len(held)
            is_short = "\n\\" in "\n".join(["", *held])
            if is_short or (not numbered and count < size):
                what = "the next section begins" if is_short else "the file ends"
                self.fail(
                    f"the header says {size:,} n-grams of order {m} and {what} before that: the "
                    "file is truncated, or its counts are wrong"
                )
            if held:
                yield numbered[0][0], held
            if count == size:
                break
        for number, line in self.lines:  # what follows the last one the header knows of
            if line.startswith("\\"):
                self.section = line.strip()
                break
            if line.strip():
                self.fail(
                    f"the header says {size:,} n-grams of order {m} and line {number} is one more"
                )
        if self.section == "\\end\\":
            self.lines = iter([(0, "\\end\\")])  # type: ignore[assignment]
            self.section = ""

    def _unigrams(self, size: int, *, has_backoff: bool) -> tuple[Floats, Floats, bool]:
        """log10 p and backoffs of order 1, whose words become the alphabet."""
        log_prob, weight = [_MISSING_UNKNOWN, NEVER], [0.0, 0.0]
        found: set[str] = set()
        for number, held in self._entries(1, size):
            for at, line in enumerate(held, start=number):
                p, (word,), b = self._entry(at, line, 1)
                word = UNKNOWN if word == UNKNOWN.upper() else word
                if word in found:
                    self.fail(f"line {at} gives {word!r} a second time")
                found.add(word)
                if word == BEGIN:
                    weight[1] = b
                elif word in (END, UNKNOWN):
                    log_prob[self.ids[word]] = p
                    weight[0] = b if word == UNKNOWN else weight[0]
                else:
                    self.ids[word] = len(log_prob)
                    self.words.append(word)
                    log_prob.append(p)
                    weight.append(b)
        if END not in found:
            self.fail(f"it has no {END}, so no sequence could end: add it as a unigram")
        weights = np.array(weight if has_backoff else [])
        return np.array(log_prob), weights, UNKNOWN in found

    def _order(
        self, m: int, size: int, starts: list[int], keys: list[Ints], *, is_last: bool
    ) -> tuple[Ints, Floats, Floats]:
        """Key, log10 p and backoff of an order, sorted by key."""
        parts = [
            self._block(m, number, held, starts, keys) for number, held in self._entries(m, size)
        ]
        key, log_prob, weight = (
            np.concatenate([np.zeros(0, dtype), *column])
            for column, dtype in zip(
                zip(*parts, strict=True) if parts else [[], [], []],
                (np.int64, np.float64, np.float64),
                strict=True,
            )
        )
        by_key = np.argsort(key, kind="stable")
        key = key[by_key]
        twice = np.flatnonzero(key[1:] == key[:-1])
        if len(twice):
            words = self._spelled(int(key[twice[0]]), starts, keys, m)
            self.fail(f"the {m}-gram {words!r} is given twice")
        return key, log_prob[by_key], np.zeros(0) if is_last else weight[by_key]

    def _block(
        self, m: int, number: int, held: list[str], starts: list[int], keys: list[Ints]
    ) -> tuple[Ints, Floats, Floats]:
        fields = " \n ".join(held).replace("\t", " ").split(" ")
        is_single = "" not in fields  # no two spaces in a row
        line_ends = ["\n"] * (len(held) - 1)
        for width in (m + 2, m + 1):  # with backoffs, or without
            is_whole = len(fields) == len(held) * (width + 1) - 1
            if is_single and is_whole and fields[width :: width + 1] == line_ends:
                columns = [fields[i :: width + 1] for i in range(width)]
                break
        else:
            entries = [self._entry(at, line, m) for at, line in enumerate(held, start=number)]
            spelled = zip(*(words for _, words, _ in entries), strict=True)
            columns = [[repr(p) for p, _, _ in entries], *map(list, spelled)]
            columns.append([repr(b) for _, _, b in entries])
        log_prob = self._numbers(columns[0], number, held)
        weight = self._numbers(columns[m + 1], number, held) if len(columns) > m + 1 else None
        above = np.flatnonzero(~(log_prob <= 0.0))
        if len(above):
            self._positive(number + int(above[0]), held[int(above[0])])
        ids = [self._known(column, number, held) for column in columns[1 : m + 1]]
        prefix = self._prefixes(ids[:-1], starts, keys, held, number)
        key = (prefix << symbol_bits(starts[1])) | ids[-1]
        return key, log_prob, np.zeros(len(held)) if weight is None else weight

    def _numbers(self, column: Iterable[str], number: int, held: list[str]) -> Floats:
        try:
            found = np.array(list(map(float, column)))
        except ValueError:
            for at, line in enumerate(held, start=number):
                self._entry(at, line, len(line.split()))
            raise
        return np.maximum(found, NEVER) if bool(np.isneginf(found).any()) else found

    def _known(self, column: list[str], number: int, held: list[str]) -> Ints:
        ids = list(map(self.ids.get, column))
        if None in ids:
            at = ids.index(None)
            self.fail(
                f"line {number + at} ({held[at]!r}) has the word {column[at]!r}, which is no "
                "unigram"
            )
        return np.array(ids, dtype=np.int64)

    def _prefixes(
        self, ids: list[Ints], starts: list[int], keys: list[Ints], held: list[str], number: int
    ) -> Ints:
        """The ids of the n-grams' beginnings, found order by order."""
        found = ids[0]
        for m, symbol in enumerate(ids[1:], start=2):
            sought = (found << symbol_bits(starts[1])) | symbol
            key = keys[m - 1]
            rank = np.minimum(np.searchsorted(key, sought), max(len(key) - 1, 0))
            is_there = key[rank] == sought if len(key) else np.zeros(len(sought), bool)
            if not is_there.all():
                at = int(np.flatnonzero(~is_there)[0])
                self.fail(
                    f"line {number + at} ({held[at]!r}): its first {m} words are no {m}-gram of "
                    "the file, and an n-gram needs its beginning"
                )
            found = rank + starts[m - 1]
        return found

    def _entry(self, number: int, line: str, m: int) -> tuple[float, list[str], float]:
        """log10 p, words and backoff of one line."""
        fields = [field for field in line.replace("\t", " ").split(" ") if field]
        try:
            p, b = float(fields[0]), float(fields[m + 1]) if len(fields) == m + 2 else 0.0
        except (ValueError, IndexError):
            p, b = math.nan, math.nan
        if len(fields) not in (m + 1, m + 2) or math.isnan(p) or math.isnan(b):
            self.fail(
                f"line {number} is {line!r}: expected a log10 probability, {m} words, and at most "
                "one backoff"
            )
        if p > 0:
            self._positive(number, line)
        return max(p, NEVER) if p == -math.inf else p, fields[1 : m + 1], b

    def _positive(self, number: int, line: str) -> NoReturn:
        self.fail(
            f"line {number} ({line!r}) has a log10 probability that is no number or "
            "above 0, which is no probability"
        )

    def _spelled(self, key: int, starts: list[int], keys: list[Ints], m: int) -> str:
        bits = symbol_bits(starts[1])
        names = [UNKNOWN, END, *self.words]
        prefix, last = key >> bits, key & ((1 << bits) - 1)
        ids = spell(np.array(starts), np.concatenate(keys), np.array([prefix]), m - 1)
        first, *others = [int(i[0]) for i in ids]
        return " ".join(
            [BEGIN if first == 1 else names[first], *(names[i] for i in others), names[last]]
        )
