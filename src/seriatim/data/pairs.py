"""Pairs of a source and a target, from which translators, spellers and parsers learn.

Pairs come from two text files read line by line in parallel, from one file of records (.tsv,
.csv, .jsonl, .parquet), or from a list. Encodings, byte-order marks, line ends and .gz follow the
rules of `seriatim.data.files`. Empty sources and targets are kept, in order.

Each side of the pairs is a `Source` of documents, so vocabularies and corpora are built as for
any text, and a `PairCorpus` is two corpora with equally many sequences. Knows files and texts.
Does not know batches or models.
"""

import hashlib
import itertools
import json
import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from seriatim.core.validation import checked_arguments
from seriatim.data import tables
from seriatim.data.corpus import Corpus, build_corpus
from seriatim.data.files import check_encoding
from seriatim.data.sources import FileSource, Sequences, Source, open_source
from seriatim.data.splits import SequencePart, SplitRecord, split_source
from seriatim.data.tables import Text
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.errors import ConfigError, DataError

Pair: TypeAlias = tuple[Text, Text]

# Pairs of column names, in lower case, that need not be chosen by the user.
USUAL_COLUMNS = (
    ("source", "target"),
    ("src", "tgt"),
    ("input", "output"),
    ("question", "answer"),
)


class Pairs(ABC):
    """Pairs that can be read as often as needed."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the pairs in messages."""

    @property
    @abstractmethod
    def is_in_memory(self) -> bool:
        """Whether the texts are already in memory."""

    @abstractmethod
    def pairs(self) -> Iterator[Pair]:
        """Every (source, target), in order.

        Raises:
            DataError: if they cannot be read, there are none, or the sides do not match.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of the content and of how it is read."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken where it cannot be known how to read the pairs: sentences for people."""
        return ()

    @property
    @final
    def sources(self) -> "PairSide":
        """The sources, as documents."""
        return PairSide(self, 0)

    @property
    @final
    def targets(self) -> "PairSide":
        """The targets, as documents."""
        return PairSide(self, 1)


PairData: TypeAlias = (
    str
    | os.PathLike[str]
    | Pairs
    | Sequence[Pair]
    | tuple[str | os.PathLike[str], str | os.PathLike[str]]
)


@dataclass(frozen=True, repr=False)
class PairSide(Source):
    """One side of pairs; every text is a document, so it may hold line ends.

    Attributes:
        pairs: the pairs.
        index: 0 for the sources, 1 for the targets.
    """

    pairs: Pairs
    index: int
    sequences: Sequences = "document"

    @property
    def is_in_memory(self) -> bool:
        """Whether the pairs are in memory."""
        return self.pairs.is_in_memory

    @property
    def name(self) -> str:
        """The side and the name of the pairs."""
        return f"the {'targets' if self.index else 'sources'} of {self.pairs.name}"

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the pairs."""
        return self.pairs.notes

    def texts(self) -> Iterator[Text]:
        """The texts of this side, in the order of the pairs."""
        return (pair[self.index] for pair in self.pairs.pairs())

    def fingerprint(self) -> str:
        """A digest of the pairs' fingerprint and the side."""
        return _digest("side", self.index, self.pairs.fingerprint())


# ---- files and lists ----------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class ParallelFiles(Pairs):
    """Two text files with equally many lines: line i of one belongs to line i of the other."""

    source: FileSource
    target: FileSource

    @property
    def name(self) -> str:
        """Both paths."""
        return f"{self.source.name} and {self.target.name}"

    @property
    def is_in_memory(self) -> bool:
        """False: files are streamed."""
        return False

    def pairs(self) -> Iterator[Pair]:
        """The lines, side by side.

        Raises:
            DataError: if the files have different numbers of lines; the message gives both, and
                the line from which the lengths of the lines no longer match.
        """
        for source, target in itertools.zip_longest(self.source.texts(), self.target.texts()):
            if source is None or target is None:
                raise self._uneven()
            yield source, target

    def fingerprint(self) -> str:
        """A digest of both files."""
        return _digest("lines", self.source.fingerprint(), self.target.fingerprint())

    def _uneven(self) -> DataError:
        lengths = [_lengths(self.source), _lengths(self.target)]
        line = first_misalignment(*lengths) + 1
        return DataError(
            f"{self.source.name} has {len(lengths[0]):,} lines and {self.target.name} has "
            f"{len(lengths[1]):,}: line i of one must belong to line i of the other; check the "
            f"files near line {line:,}, from which the lengths of the lines no longer match"
        )


@dataclass(frozen=True, repr=False)
class PairTable(Pairs):
    """Two columns of a file of records.

    Attributes:
        path: the file.
        format: tsv, csv, jsonl or parquet.
        columns: the columns of source and target, by name, or by number from 1 if there is no
            header.
        encoding: the encoding of everything but parquet.
        guess: a note on how it was decided whether there is a header; "": by the user.
        is_labelled: whether the targets are labels: not empty, and 1.0 is spelled as 1.
    """

    path: Path
    format: str
    columns: tuple[str | int, str | int]
    encoding: str = "utf-8"
    guess: str = ""
    is_labelled: bool = False

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def is_in_memory(self) -> bool:
        """False: files are streamed."""
        return False

    def pairs(self) -> Iterator[Pair]:
        """The two values of every record."""
        is_empty = True
        rows = tables.records(self.path, self.format, self.columns, self.encoding)
        for place, (source, target) in rows:
            is_empty = False
            left, right = (tables.to_text(v, self.path, place) for v in (source, target))
            if self.is_labelled and isinstance(right, str):
                right = tables.spell_number(right.strip())
                if not right:
                    raise DataError(f"{self.path}, {place}, has an empty label: fill it in")
            yield left, right
        if is_empty:
            raise DataError(f"{self.path} holds no pairs: give a file with at least one")

    @property
    def notes(self) -> tuple[str, ...]:
        """The separator and the header, where they were guessed."""
        options = self.columns, self.encoding, self.guess
        return tables.reading_notes(self.path, self.format, *options)

    def fingerprint(self) -> str:
        """A digest of the file and the columns."""
        whole = open_source(self.path, format="text", sequences="line", encoding=self.encoding)
        return _digest("table", whole.fingerprint(), self.format, self.columns)


@dataclass(frozen=True, repr=False)
class PairList(Pairs):
    """Pairs in memory."""

    items: tuple[Pair, ...]

    @property
    def name(self) -> str:
        """The number of pairs."""
        return f"the list of {len(self.items):,} pairs"

    @property
    def is_in_memory(self) -> bool:
        """True."""
        return True

    def pairs(self) -> Iterator[Pair]:
        """The pairs, with CRLF read as LF."""
        for source, target in self.items:
            yield _plain(source), _plain(target)

    def fingerprint(self) -> str:
        """A digest of the texts, in order."""
        digest = hashlib.blake2b(digest_size=16)
        for item in self.items:
            digest.update(json.dumps(item).encode() + b"\n")
        return digest.hexdigest()


@dataclass(frozen=True, repr=False)
class PairPart(Pairs):
    """The pairs whose source is in one part of the sources."""

    whole: Pairs
    part: SequencePart

    @property
    def name(self) -> str:
        """The name of the whole."""
        return f"a part of {self.whole.name}"

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the whole."""
        return self.whole.notes

    @property
    def is_in_memory(self) -> bool:
        """Whether the whole is in memory."""
        return self.whole.is_in_memory

    def pairs(self) -> Iterator[Pair]:
        """The pairs of the part, in the order of the whole."""
        return (pair for pair in self.whole.pairs() if self.part.holds(pair[0]))

    def fingerprint(self) -> str:
        """A digest of the whole and the part."""
        return _digest("part", self.whole.fingerprint(), self.part.fingerprint())


@checked_arguments
def open_pairs(
    data: PairData,
    target: "str | os.PathLike[str] | None" = None,
    *,
    format: str | None = None,
    source_column: str | None = None,
    target_column: str | None = None,
    encoding: str = "utf-8",
    usual: Sequence[tuple[str, str]] = USUAL_COLUMNS,
    is_labelled: bool = False,
) -> Pairs:
    """Pairs from files, or from a list in memory.

    Args:
        data: the path of a file of records; the path of the sources, with `target`; a tuple of
            the paths of sources and targets; or a list of (source, target), each a text or a
            list of symbols.
        target: the path of the targets, whose lines match those of `data`.
        format: the format of a file of records, overriding its suffix: tsv, csv, jsonl or parquet.
        source_column, target_column: the columns or fields of sources and targets, by name, or by
            number from 1 in a table without a header. None: the columns called source and target
            (or src and tgt, input and output, question and answer, in any case); otherwise the
            first two of a .tsv or .csv without a header.
        encoding: the encoding of the files.
        usual: pairs of column names in lower case that are recognized.
        is_labelled: whether the targets are labels.

    Raises:
        ConfigError: if options contradict one another, or columns must be chosen.
        DataError: if there is no such file, or it is empty.
    """
    if isinstance(data, Pairs):
        return data
    check_encoding(encoding)
    is_couple = isinstance(data, tuple) and len(data) == 2 and target is None
    items: list[object] = [*data] if is_couple and isinstance(data, tuple) else [data]
    files = [Path(path) for path in (*items, target) if isinstance(path, (str, os.PathLike))]
    if target is not None and len(files) == 1:
        raise ConfigError("a file of targets needs a file of sources: give both paths")
    has_columns = source_column is not None or target_column is not None or format is not None
    if len(files) == 1:
        table = _table(files[0], format, (source_column, target_column), usual, encoding)
        return replace(table, is_labelled=is_labelled)
    if has_columns:
        raise ConfigError(
            "columns and format apply to one file of records, not to two files of lines or a list: "
            "leave them out"
        )
    if files:
        return ParallelFiles(_lines_of(files[0], encoding), _lines_of(files[1], encoding))
    return PairList(tuple(_checked(data)))


def _lines_of(path: Path, encoding: str) -> FileSource:
    source = open_source(path, format="text", sequences="line", encoding=encoding)
    if not isinstance(source, FileSource) or len(source.paths) != 1:
        raise ConfigError(f"{path} is a folder: give a file of lines")
    return source


def _table(
    path: Path,
    format: str | None,
    named: tuple[str | None, str | None],
    usual: Sequence[tuple[str, str]],
    encoding: str,
) -> PairTable:
    source, target = named
    opened = open_source(path, format=format, sequences="document", encoding=encoding)
    if not isinstance(opened, FileSource) or len(opened.paths) != 1:
        raise ConfigError(f"{path} is a folder: give one file of records, or two files of lines")
    format = opened.formats[0]
    if format == "text":
        raise ConfigError(
            f"{path} is read as text, which has no columns: "
            + (
                "give a table (.tsv, .csv, .jsonl), or name its format, such as --format tsv, or "
                "--format conll if each line is an element with its label"
                if usual[0][1] == "label"
                else "give the file of the targets as well, or one file of pairs (.tsv, .csv, "
                ".jsonl), or name its format"
            )
        )
    if (source is None) != (target is None):
        raise ConfigError("only one column was given: give those of the source and of the target")
    if source is not None and target is not None:
        is_numbered = source.isdecimal() and target.isdecimal()
        columns = (int(source), int(target)) if is_numbered else (source, target)
        return PairTable(path, format, columns, encoding)
    found = _columns(path, format, usual, encoding)
    guess = "" if found != (1, 2) else _guess(path, format, usual[0][1], encoding)
    return PairTable(path, format, found, encoding, guess)


def _columns(
    path: Path, format: str, usual: Sequence[tuple[str, str]], encoding: str
) -> tuple[str | int, str | int]:
    """Columns with usual names; otherwise, in a .tsv or .csv, the first two, without a header."""
    known = tables.known_columns(path, format, encoding)
    by_lower_case = {name.strip().lower(): name for name in reversed(known)}
    for source, target in usual:
        if source in by_lower_case and target in by_lower_case:
            return by_lower_case[source], by_lower_case[target]
    if format in ("tsv", "csv"):
        return 1, 2
    raise ConfigError(
        f"{path} has the columns {', '.join(known) or '(none)'}: say which one holds the "
        f"{usual[0][0]} and which the {usual[0][1]} (--source-column and --target-column)"
    )


def _guess(path: Path, format: str, target: str, encoding: str) -> str:
    """The note on a table whose first row is no usual header."""
    first = tables.known_columns(path, format, encoding)
    others = f", and of its {len(first)} columns only the first two" if len(first) > 2 else ""
    kind = "a text with its label" if target == "label" else "a pair"
    return (
        f"{path}: the first line ({', '.join(first[:2])!s:.60}) is read as {kind} and not as a "
        f"header{others}; if that is wrong, give --source-column and --target-column"
    )


def _checked(data: object) -> Iterator[Pair]:
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise DataError(
            f"pairs cannot be read from a {type(data).__name__}: give a path, two paths, or a list "
            "of (source, target)"
        )
    if not data:
        raise DataError("the list of pairs is empty: give at least one pair")
    for i, item in enumerate(data):
        is_pair = isinstance(item, Sequence) and not isinstance(item, str) and len(item) == 2
        if not is_pair or not all(map(_is_text, item)):
            raise DataError(
                f"item {i} of the list is {item!r:.60}: give pairs (source, target) of texts or of "
                "lists of symbols"
            )
        yield item[0], item[1]


def _is_text(value: object) -> bool:
    is_list = isinstance(value, (list, tuple)) and all(isinstance(s, str) for s in value)
    return isinstance(value, str) or is_list


def _plain(text: Text) -> Text:
    return text.replace("\r\n", "\n") if isinstance(text, str) else list(text)


# ---- files of different length ------------------------------------------------------------------


def first_misalignment(source: NDArray[np.int64], target: NDArray[np.int64]) -> int:
    """Where two files with different numbers of lines most likely cease to match.

    With N > M lines and d = N - M, lines before k match as they are, and those from k on match
    once d lines of the longer file are left out. The lengths a, b of matching lines have a steady
    ratio, so k minimizes

        sum_{i < k} |ln (a_i + 1)/(b_i + 1) - m|  +  sum_{i >= k} |ln (a_{i+d} + 1)/(b_i + 1) - m|

    with m the median of the log ratio. This is an estimate: it is exact if one run of lines is
    missing and the lengths are distinctive enough.

    Args:
        source, target: the number of characters of each line.

    Returns:
        The line number k, from 0.
    """
    if len(source) < len(target):
        return first_misalignment(target, source)
    a, b = np.log(source + 1.0), np.log(target + 1.0)
    count, d = len(b), len(a) - len(b)
    if count == 0:
        return 0
    ratio = np.median(a) - np.median(b)
    as_is = np.abs(a[:count] - b - ratio)
    moved = np.abs(a[d:] - b - ratio)
    before = np.concatenate([[0.0], np.cumsum(as_is)])
    after = np.concatenate([np.cumsum(moved[::-1])[::-1], [0.0]])
    return int(np.argmin(before + after))


def _lengths(source: Source) -> NDArray[np.int64]:
    return np.asarray(array("q", (len(text) for text in source.texts())))


# ---- parts --------------------------------------------------------------------------------------


def split_pairs(
    pairs: Pairs, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> tuple[tuple[Pairs, Pairs | None, Pairs | None], SplitRecord]:
    """Training, validation and test pairs, and a record of how they were made.

    Whole pairs in the order of a hash of the source, so that all pairs of one source fall into
    the same part. The fractions count distinct sources.

    Raises:
        ConfigError: if the fractions are not three such numbers.
        DataError: if there are fewer distinct sources than parts.
    """
    sources = pairs.sources
    source_parts, record = split_source(sources, fractions)
    train, valid, test = (_part(pairs, part) for part in source_parts)
    if train is None:
        raise ConfigError("no part is left for training: give it a fraction above 0")
    return (train, valid, test), replace(record, rule="whole pairs by the hash of their source")


def _part(pairs: Pairs, part: Source | None) -> Pairs | None:
    """The pairs of a part of the sources; all of them where nothing was split off."""
    if isinstance(part, SequencePart):
        return PairPart(pairs, part)
    return None if part is None else pairs


# ---- as symbols ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PairCorpus:
    """Pairs as symbols: two corpora of N sequences each, in memory or mapped from files.

    Attributes:
        source: the sources, which are read.
        target: the targets, which are predicted.
    """

    source: Corpus
    target: Corpus

    def __post_init__(self) -> None:
        if self.source.num_sequences != self.target.num_sequences:
            raise DataError(
                f"there are {self.source.num_sequences:,} sources and "
                f"{self.target.num_sequences:,} targets: give one target for each source"
            )

    @classmethod
    def from_tokens(cls, pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> "PairCorpus":
        """Pairs of symbols whose text is not known, in memory."""
        sources, targets = [], []
        for source, target in pairs:
            sources.append(np.asarray(source, np.int64))
            targets.append(np.asarray(target, np.int64))
        return cls(Corpus.from_tokens(sources), Corpus.from_tokens(targets))

    @property
    def num_pairs(self) -> int:
        """N."""
        return self.target.num_sequences

    @property
    def num_scored(self) -> int:
        """The number of scored symbols: every symbol of a target, and its end."""
        return self.target.num_scored

    @property
    def fingerprint(self) -> str:
        """A digest of both sides."""
        return _digest("pairs", self.source.fingerprint, self.target.fingerprint)


def build_pair_corpus(
    pairs: Pairs,
    source_vocabulary: Vocabulary,
    target_vocabulary: Vocabulary,
    cache: Path | None = None,
) -> PairCorpus:
    """Pairs as symbols; see `build_corpus`.

    Raises:
        DataError: if the pairs cannot be read.
    """
    return PairCorpus(
        build_corpus(pairs.sources, source_vocabulary, cache),
        build_corpus(pairs.targets, target_vocabulary, cache),
    )


def _digest(*parts: object) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
