"""ARPA files: n-gram models as text, the format that every toolkit reads and writes.

    \\data\\
    ngram 1=4            the number of n-grams of each order
    ...
    \\1-grams:
    -0.5 <TAB> the <TAB> -0.3      log10 p(last word | words before), n-gram, log10 backoff
    ...
    \\end\\

Reading and writing stream: one order is in memory at a time, as arrays. A written file is read back
bit by bit.

The boundary is written `<s>` where it begins an n-gram and `</s>` elsewhere; as a unigram it has
a line for each, `<s>` with the customary -99, since it is never predicted. (In a model of streams
`</s>` may be inside an n-gram, as the line end that it is.) Knows files and `BackoffModel`; no
language model.
"""

import contextlib
import gzip
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from seriatim.data.files import read_blocks, split_lines
from seriatim.errors import DataError, OutputError
from seriatim.models.ngram.arrays import Floats, Ints, symbol_bits
from seriatim.models.ngram.backoff_model import BackoffModel

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0  # log10 of a probability of 0, by convention
_MISSING_UNKNOWN = -100.0  # log10 p that KenLM gives <unk> if the file has none
_CHUNK = 1 << 15  # lines
_MAX_QUOTED = 60  # characters


@dataclass(frozen=True)
class Arpa:
    """The content of an ARPA file.

    Attributes:
        words: the words of ids 2 .. V - 1; `<unk>` is 0, and the boundary, `<s>` and `</s>`, 1.
        model: the model.
        has_unknown: whether the file has `<unk>`; otherwise its log10 p is -100.
    """

    words: list[str]
    model: BackoffModel
    has_unknown: bool


# ---- writing ------------------------------------------------------------------------------------


def write_arpa(path: Path, model: BackoffModel, words: Sequence[str], *, boundary: int) -> None:
    """Write a model; the file appears when it is complete.

    Args:
        path: the file to write; packed if its name ends in .gz.
        model: the model.
        words: the word of every id; that of the boundary is not used.
        boundary: the id of the boundary.

    Raises:
        DataError: ARPA cannot represent a word: it is empty, has white space, is `<s>` or `</s>`,
            or occurs twice.
        OutputError: the disk cannot hold the file; nothing is left there.
    """
    _check_words(words, boundary)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            gzip.open(unfinished, "wt", 6, "utf-8", newline="\n")
            if path.suffix == ".gz"
            else unfinished.open("w", encoding="utf-8", newline="\n")
        ) as file:
            file.writelines(arpa_text(model, words, boundary))
        unfinished.replace(path)
    except OSError as error:
        raise OutputError(
            f"could not write {path}: {error.strerror or error}; nothing was left there: free some "
            "space or choose another file"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def _check_words(words: Sequence[str], boundary: int) -> None:
    seen = set()
    for i, word in enumerate(words):
        if i == boundary:
            continue
        if not word or len(word.split()) != 1 or word in (BEGIN, END) or word in seen:
            raise DataError(
                f"an ARPA file cannot represent the symbol {word!r}: its words must be distinct, "
                f"have no white space, and differ from {BEGIN} and {END}: rename it in the text"
            )
        seen.add(word)


def arpa_text(model: BackoffModel, words: Sequence[str], boundary: int) -> Iterator[str]:
    """The text of the file, in pieces."""
    sizes = np.diff(model.starts)
    yield "\\data\\\n"
    for m, size in enumerate(sizes.tolist(), start=1):
        yield f"ngram {m}={size + (m == 1)}\n"
    names = np.array([END if i == boundary else word for i, word in enumerate(words)], object)
    for m in range(1, len(sizes) + 1):
        yield f"\n\\{m}-grams:\n"
        begin, end = (int(s) for s in model.starts[m - 1 : m + 1])
        for low in range(begin, end, _CHUNK):
            yield from _entries(model, names, boundary, m, low, min(low + _CHUNK, end))
    yield "\n\\end\\\n"


def _entries(
    model: BackoffModel,
    names: npt.NDArray[np.object_],
    boundary: int,
    m: int,
    low: int,
    high: int,
) -> Iterator[str]:
    """The lines of ids low .. high - 1 of order m."""
    spelled = spell(model.starts, model.key, np.arange(low, high), m)
    columns = [names[column] for column in spelled]
    columns[0][spelled[0] == boundary] = BEGIN if m > 1 else END
    parts = [
        map(repr, model.log_prob[low:high].tolist()),
        map(" ".join, zip(*columns, strict=True)),
    ]
    has_backoff = m < len(model.starts) - 1
    if has_backoff:
        parts.append(map(repr, model.log_backoff[low:high].tolist()))
    lines = list(map("\t".join, zip(*parts, strict=True)))
    if m == 1 and low <= boundary < high:
        end, begin = f"{model.log_prob.item(boundary)!r}\t{END}", f"{NEVER!r}\t{BEGIN}"
        if has_backoff:  # the backoff is that of <s>; nothing follows </s>
            end, begin = f"{end}\t0.0", f"{begin}\t{model.log_backoff.item(boundary)!r}"
        lines[boundary - low] = f"{end}\n{begin}"
    yield "\n".join(lines) + "\n"


def spell(starts: Ints, key: Ints, ids: Ints, m: int) -> list[Ints]:
    """The symbols of n-grams of order m: m arrays, the oldest first.

    Args:
        starts, key: as in `BackoffModel`.
        ids: (P,) the n-grams.
        m: their order.
    """
    num_symbols = int(starts[1])
    bits = symbol_bits(num_symbols)
    symbols = []
    for _ in range(m - 1):
        keys = key[ids - num_symbols]
        symbols.append(keys & ((1 << bits) - 1))
        ids = keys >> bits
    return [ids, *reversed(symbols)]


# ---- reading ------------------------------------------------------------------------------------


def read_arpa(path: Path) -> Arpa:
    """Read the ARPA file of any tool; unpacked if its name ends in .gz.

    Raises:
        DataError: the file is no ARPA file, truncated, or inconsistent: wrong counts in the header,
            an n-gram listed twice or without its prefix, a log-probability above 0.
    """
    return _Reader(path).read()


class _Reader:
    """Reads one file line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = enumerate(split_lines(read_blocks(path, "utf-8")), start=1)
        self.ids: dict[str, int] = {UNKNOWN: 0, BEGIN: 1, END: 1, UNKNOWN.upper(): 0}
        self.words: list[str] = []

    def fail(self, problem: str) -> NoReturn:
        raise DataError(f"{self.path}: {problem}")

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
        model = BackoffModel(
            starts=np.array(starts),
            key=np.concatenate(keys),
            log_prob=np.concatenate(log_probs),
            log_backoff=np.concatenate([np.zeros(0), *log_backoffs[:-1]]),
        )
        return Arpa(self.words, model, has_unknown)

    def _next(self, awaited: str) -> tuple[int, str]:
        """The next line that is not blank."""
        for number, line in self.lines:
            if line.strip():
                return number, line
        return self.fail(f"the file ends before {awaited}: it is truncated, write it again")

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
                self.fail(
                    f"line {number} is {_quoted(line)}: expected `ngram {len(sizes) + 1}=COUNT`"
                )
            sizes.append(int(size))
        if not sizes:
            self.fail("the header has no counts: expected `ngram 1=COUNT` and so on")
        return sizes

    def _entries(self, m: int, size: int) -> Iterator[tuple[int, list[str]]]:
        """The lines of a section in chunks, each with the number of its first line."""
        if not self.section:
            self.section = self._next(f"\\{m}-grams:")[1].strip()
        if self.section != f"\\{m}-grams:":
            self.fail(f"expected \\{m}-grams: but got {self.section}: an order is missing")
        self.section = ""
        count = 0
        while True:
            numbered = list(islice(self.lines, min(_CHUNK, size - count)))
            entries = [line for _, line in numbered if line.strip()]
            count += len(entries)
            is_short = "\n\\" in "\n".join(["", *entries])
            if is_short or (not numbered and count < size):
                event = "the next section begins" if is_short else "the file ends"
                self.fail(
                    f"the header promises {size:,} n-grams of order {m} and {event} before: the "
                    "file is truncated, or its counts are wrong"
                )
            if entries:
                yield numbered[0][0], entries
            if count == size:
                break
        for number, line in self.lines:  # after the last entry that the header promises
            if line.startswith("\\"):
                self.section = line.strip()
                break
            if line.strip():
                self.fail(
                    f"the header promises {size:,} n-grams of order {m} and line {number} is one "
                    "more"
                )
        if self.section == "\\end\\":
            self.lines = iter([(0, "\\end\\")])  # type: ignore[assignment]
            self.section = ""

    def _unigrams(self, size: int, *, has_backoff: bool) -> tuple[Floats, Floats, bool]:
        """log10 p and backoffs of order 1, whose words become the vocabulary."""
        log_prob, weight = [_MISSING_UNKNOWN, NEVER], [0.0, 0.0]
        seen: set[str] = set()
        for number, entries in self._entries(1, size):
            for at, line in enumerate(entries, start=number):
                p, (word,), b = self._entry(at, line, 1)
                word = UNKNOWN if word == UNKNOWN.upper() else word
                if word in seen:
                    self.fail(f"line {at} lists {_quoted(word)} a second time")
                seen.add(word)
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
        if END not in seen:
            self.fail(f"there is no {END}, so no sequence could end: add it as a unigram")
        weights = np.array(weight if has_backoff else [])
        return np.array(log_prob), weights, UNKNOWN in seen

    def _order(
        self, m: int, size: int, starts: list[int], keys: list[Ints], *, is_last: bool
    ) -> tuple[Ints, Floats, Floats]:
        """Key, log10 p and backoff of an order, sorted by key."""
        parts = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
        for number, entries in self._entries(m, size):
            parts.append(self._block(m, number, entries, starts, keys))
        key, log_prob, weight = map(np.concatenate, zip(*parts, strict=True))
        by_key = np.argsort(key, kind="stable")
        key = key[by_key]
        repeated = np.flatnonzero(key[1:] == key[:-1])
        if len(repeated):
            words = self._spelled(int(key[repeated[0]]), starts, keys, m)
            self.fail(f"the {m}-gram {_quoted(words)} is listed twice")
        return key, log_prob[by_key], np.zeros(0) if is_last else weight[by_key]

    def _block(
        self, m: int, number: int, entries: list[str], starts: list[int], keys: list[Ints]
    ) -> tuple[Ints, Floats, Floats]:
        fields = " \n ".join(entries).replace("\t", " ").split(" ")
        is_single = "" not in fields  # no two spaces in a row
        line_ends = ["\n"] * (len(entries) - 1)
        for width in (m + 2, m + 1):  # with backoffs, or without
            is_whole = len(fields) == len(entries) * (width + 1) - 1
            if is_single and is_whole and fields[width :: width + 1] == line_ends:
                columns = [fields[i :: width + 1] for i in range(width)]
                break
        else:
            parsed = [self._entry(at, line, m) for at, line in enumerate(entries, start=number)]
            spelled = zip(*(words for _, words, _ in parsed), strict=True)
            columns = [[repr(p) for p, _, _ in parsed], *map(list, spelled)]
            columns.append([repr(b) for _, _, b in parsed])
        log_prob = self._numbers(columns[0], number, entries)
        weight = self._numbers(columns[m + 1], number, entries) if len(columns) > m + 1 else None
        above = np.flatnonzero(~(log_prob <= 0.0))
        if len(above):
            self._positive(number + int(above[0]), entries[int(above[0])])
        ids = [self._known(column, number, entries) for column in columns[1 : m + 1]]
        prefix = self._prefixes(ids[:-1], starts, keys, entries, number)
        key = (prefix << symbol_bits(starts[1])) | ids[-1]
        return key, log_prob, np.zeros(len(entries)) if weight is None else weight

    def _numbers(self, column: Iterable[str], number: int, entries: list[str]) -> Floats:
        try:
            numbers = np.array(list(map(float, column)))
        except ValueError:
            for at, line in enumerate(entries, start=number):
                self._entry(at, line, len(line.split()))
            raise
        return np.maximum(numbers, NEVER) if bool(np.isneginf(numbers).any()) else numbers

    def _known(self, column: list[str], number: int, entries: list[str]) -> Ints:
        ids = list(map(self.ids.get, column))
        if None in ids:
            at = ids.index(None)
            self.fail(
                f"line {number + at} ({_quoted(entries[at])}) has the word {_quoted(column[at])}, "
                "which is not a unigram"
            )
        return np.array(ids, dtype=np.int64)

    def _prefixes(
        self, ids: list[Ints], starts: list[int], keys: list[Ints], entries: list[str], number: int
    ) -> Ints:
        """The ids of the n-grams' prefixes, looked up order by order."""
        prefix = ids[0]
        for m, symbol in enumerate(ids[1:], start=2):
            sought = (prefix << symbol_bits(starts[1])) | symbol
            key = keys[m - 1]
            rank = np.minimum(np.searchsorted(key, sought), max(len(key) - 1, 0))
            is_listed = key[rank] == sought if len(key) else np.zeros(len(sought), bool)
            if not is_listed.all():
                at = int(np.flatnonzero(~is_listed)[0])
                self.fail(
                    f"line {number + at} ({_quoted(entries[at])}): its first {m} words are no "
                    f"{m}-gram of the file, and every n-gram needs its prefix"
                )
            prefix = rank + starts[m - 1]
        return prefix

    def _entry(self, number: int, line: str, m: int) -> tuple[float, list[str], float]:
        """log10 p, words and backoff of one line."""
        fields = [field for field in line.replace("\t", " ").split(" ") if field]
        try:
            p, b = float(fields[0]), float(fields[m + 1]) if len(fields) == m + 2 else 0.0
        except (ValueError, IndexError):
            p, b = math.nan, math.nan
        if len(fields) not in (m + 1, m + 2) or math.isnan(p) or math.isnan(b):
            self.fail(
                f"line {number} is {_quoted(line)}: expected a log10 probability, {m} words, and "
                "at most one backoff"
            )
        if p > 0:
            self._positive(number, line)
        return max(p, NEVER) if p == -math.inf else p, fields[1 : m + 1], b

    def _positive(self, number: int, line: str) -> NoReturn:
        self.fail(
            f"line {number} ({_quoted(line)}) has a log10 probability above 0, which is no "
            "probability"
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


def _quoted(text: str) -> str:
    """A quotation for a message."""
    return repr(text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "...")
