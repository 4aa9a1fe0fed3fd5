"""Labelled sequences: a label for each sequence, or one for each of its elements.

A labelled sequence is a pair whose target is the label, or the list of labels, so that pairs and
labelled sequences are read and split alike. In addition there are folders with one file per
label, and files with one element and its label per line. Knows files and names of labels. Does
not know batches or models.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TypeAlias

from seriatim.core.validation import checked_arguments
from seriatim.data import tagged
from seriatim.data.files import check_encoding, path_suffix, plain_name, read_blocks, split_lines
from seriatim.data.pairs import USUAL_COLUMNS, Pair, PairData, Pairs, PairTable, open_pairs
from seriatim.data.sources import check_path, open_source
from seriatim.data.tables import known_columns
from seriatim.data.tagged import TaggedColumns, tagged_columns, tagged_sequences
from seriatim.errors import DataError

Per: TypeAlias = Literal["sequence", "element"]

_HEAD_ROWS = 1000  # that show whether the first one is a header
_USUAL = (("text", "label"), ("sentence", "label"), *USUAL_COLUMNS)


@dataclass(frozen=True, repr=False)
class LabelFiles(Pairs):
    """A folder with one file per label: every line of Arabic.txt is labelled Arabic."""

    files: tuple[Path, ...]
    encoding: str = "utf-8"

    @property
    def name(self) -> str:
        """The path of the folder."""
        return str(self.files[0].parent)

    @property
    def is_in_memory(self) -> bool:
        """False: files are streamed."""
        return False

    def pairs(self) -> Iterator[Pair]:
        """Every line with the name of its file; empty lines are left out."""
        for file in self.files:
            for line in split_lines(read_blocks(file, self.encoding)):
                if line:
                    yield line, label_of(file)

    def fingerprint(self) -> str:
        """A digest of all files."""
        return _digest("label files", self.files, self.encoding)


@dataclass(frozen=True, repr=False)
class LabelFolders(Pairs):
    """A folder with one subfolder per label: every file in pos/ is a sequence labelled pos.

    Attributes:
        path: the folder.
        files: the text files of all subfolders, by label and name.
        others: text files beside the subfolders, which are not read.
        encoding: the encoding of the files.
    """

    path: Path
    files: tuple[Path, ...]
    others: tuple[Path, ...] = ()
    encoding: str = "utf-8"

    @property
    def name(self) -> str:
        """The path of the folder."""
        return str(self.path)

    @property
    def is_in_memory(self) -> bool:
        """False: files are streamed."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """The files that are not read."""
        if not self.others:
            return ()
        names = ", ".join(file.name for file in self.others[:3])
        return (
            f"{self.path}: its subfolders are the labels, so {len(self.others)} text files beside "
            f"them are not read ({names})",
        )

    def pairs(self) -> Iterator[Pair]:
        """The whole text of every file with the name of its folder; empty files are left out."""
        for file in self.files:
            text = "".join(read_blocks(file, self.encoding)).removesuffix("\n")
            if text:
                yield text, file.parent.name

    def fingerprint(self) -> str:
        """A digest of all files and their labels."""
        kind = json.dumps(["label folders", *(file.parent.name for file in self.files)])
        return _digest(kind, self.files, self.encoding)


def _text_files(folder: Path) -> tuple[Path, ...]:
    """The .txt files in a folder, also .txt.gz, without hidden ones, by name."""
    return tuple(
        sorted(f for f in folder.iterdir() if path_suffix(f) == ".txt" and f.name[0] != ".")
    )


def _labelled_folder(path: Path, encoding: str) -> LabelFiles | LabelFolders:
    """The files of labels, or the folders of labels, in a folder.

    Raises:
        DataError: if there are fewer than two of either.
    """
    files = _text_files(path)
    folders = sorted(f for f in path.iterdir() if f.is_dir() and f.name[0] not in "._")
    in_folders = [texts for texts in map(_text_files, folders) if texts]
    if len(in_folders) >= 2:
        return LabelFolders(path, tuple(chain.from_iterable(in_folders)), files, encoding)
    if len(files) >= 2:
        return LabelFiles(files, encoding)
    raise DataError(
        f"the folder {path} has {len(files)} .txt files and {len(in_folders)} subfolders with .txt "
        "files: give one with a file, or a subfolder of files, for each of at least two labels"
    )


@dataclass(frozen=True, repr=False)
class TaggedFile(Pairs):
    """A file with one element and its label per line, and an empty line after each sequence.

    Attributes:
        path: the file.
        encoding: the encoding of the file.
        element_column, label_column: the columns that the user chose; see `tagged_columns`.
    """

    path: Path
    encoding: str = "utf-8"
    element_column: str | None = None
    label_column: str | None = None

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def is_in_memory(self) -> bool:
        """False: the file is streamed."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """The columns that are read, if there are more than two and none was chosen."""
        is_chosen = self.element_column is not None and self.label_column is not None
        return () if is_chosen else self._columns.notes

    @cached_property
    def _columns(self) -> TaggedColumns:
        return tagged_columns(self.path, self.encoding, self.element_column, self.label_column)

    def pairs(self) -> Iterator[Pair]:
        """Each sequence as a list of elements and a list of labels."""
        return iter(tagged_sequences(self._columns, self.encoding))

    def fingerprint(self) -> str:
        """A digest of the file and of the chosen columns."""
        chosen = [c for c in (self.element_column, self.label_column) if c is not None]
        return _digest(" ".join(["tagged lines", *chosen]), [self.path], self.encoding)


def label_of(file: Path) -> str:
    """The label of a file in a folder: its name without .txt and .gz."""
    return Path(plain_name(file)).stem


@checked_arguments
def open_labelled(
    data: PairData,
    *,
    format: str | None = None,
    source_column: str | None = None,
    target_column: str | None = None,
    encoding: str = "utf-8",
) -> Pairs:
    """Labelled sequences from a folder, from a file, or from a list.

    Args:
        data: a folder with one .txt file per label, whose lines are the sequences, or with one
            subfolder per label, whose .txt files are the sequences; a file of records (.tsv,
            .csv, .jsonl, .parquet) with texts and their labels; a .conll, .conllu, .bio or .iob
            file with an element and its label in each line; or a list of (text, label) and
            (elements, labels).
        format: the format of a file, overriding its suffix; conll: an element in each line.
        source_column, target_column: the columns, by name, or by number from 1 where there is no
            header. None: of records, those called text and label, in any case, otherwise the first
            two; of elements, the first and the last (in CoNLL-U, FORM and UPOS). What was taken
            where it cannot be known is in the `notes` of the result.
        encoding: the encoding of the files.

    Raises:
        ConfigError: if options contradict one another, or columns must be chosen.
        DataError: if there is no such file, or it is empty.
    """
    format = format and format.lower()
    if isinstance(data, str | Path):
        path = Path(data)
        check_path(path)
        if path.is_dir():
            return _labelled_folder(path, encoding)
        if format == "conll" or (format is None and path_suffix(path) in tagged.SUFFIXES):
            check_encoding(encoding)
            return TaggedFile(path, encoding, source_column, target_column)
    pairs = open_pairs(
        data,
        format=format,
        source_column=source_column,
        target_column=target_column,
        encoding=encoding,
        usual=_USUAL,
        is_labelled=True,
    )
    if isinstance(pairs, PairTable) and source_column is None and pairs.columns == (1, 2):
        return _without_header(pairs)
    return pairs


def _without_header(table: PairTable) -> PairTable:
    """The table without its first row, if that seems to be a header; a note says so.

    A header is a word and a label that no other row has, where labels are repeated.
    """
    first, *rest = islice(table.pairs(), _HEAD_ROWS)
    labels = [str(label) for _, label in rest]
    is_word = isinstance(first[0], str) and len(first[0].split()) == 1
    is_repeated = bool(labels) and len(labels) >= 2 * len(set(labels))
    if not is_word or not is_repeated or first[1] in labels:
        return table
    source, target = known_columns(table.path, table.format, table.encoding)[:2]
    if source == target:
        return table
    note = (
        f"{table.path}: the first line ({source}, {target}) is taken as the header, since no other "
        f"line is labelled {target!r}; if it is data, give --source-column 1 --target-column 2"
    )
    return replace(table, columns=(source, target), guess=note)


@dataclass(frozen=True)
class LabelSet:
    """The labels of a training set, in the order of their numbers.

    Attributes:
        names: the names of the labels, sorted.
        per: whether a label belongs to a whole sequence or to each element.
    """

    names: tuple[str, ...]
    per: Per

    @classmethod
    def of(cls, pairs: Pairs) -> "LabelSet":
        """The labels of labelled sequences.

        Raises:
            DataError: if there is no sequence, some sequences and some elements are labelled, a
                sequence has not one label per element, a label is empty, or all are the same.
        """
        counts: Counter[str] = Counter()
        names: set[str] = set()
        for text, label in pairs.pairs():
            counts["sequence" if isinstance(label, str) else "element"] += 1
            names.update([label] if isinstance(label, str) else label)
            if not isinstance(label, str):
                _check_elements(text, label, pairs.name)
        if len(counts) != 1:
            fault = "labels some sequences and some elements" if counts else "is empty"
            raise DataError(f"{pairs.name} {fault}: label all sequences, or all elements")
        if "" in names or len(names) < 2:
            fault = "has an empty label" if "" in names else f"has only the label {min(names)!r}"
            raise DataError(f"{pairs.name} {fault}: give at least two labels, none of them empty")
        return cls(tuple(sorted(names)), "sequence" if counts["sequence"] else "element")

    @cached_property
    def _number(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def numbers(self, label: str | Sequence[str]) -> list[int]:
        """The number of a label, or of each of several.

        Raises:
            DataError: if a label was not in the training data.
        """
        labels = [label] if isinstance(label, str) else label
        try:
            return [self._number[name] for name in labels]
        except KeyError as error:
            known = ", ".join(self.names[:8]) + (" .." if len(self.names) > 8 else "")
            raise DataError(
                f"the label {error} was not in the training data, which has {known}: correct it, "
                "or train with it"
            ) from None


def check_labelled(pairs: Pairs, labels: LabelSet) -> None:
    """Check that sequences are labelled like those of training.

    Raises:
        DataError: if one is not.
    """
    for text, label in pairs.pairs():
        if isinstance(label, str) != (labels.per == "sequence"):
            raise DataError(
                f"{pairs.name} does not have a label for each {labels.per}, unlike the training "
                "data: label it in the same way"
            )
        if not isinstance(label, str):
            _check_elements(text, label, pairs.name)
        labels.numbers(label)


def _check_elements(text: str | Sequence[str], labels: Sequence[str], name: str) -> None:
    if len(text) != len(labels):
        raise DataError(
            f"{name}: a sequence of {len(text)} elements has {len(labels)} labels "
            f"({' '.join(labels[:5])!r} ..): give one for each"
        )


def _digest(kind: str, files: Sequence[Path], encoding: str) -> str:
    whole = open_source(list(files), format="text", sequences="line", encoding=encoding)
    parts = [kind, [file.name for file in files], whole.fingerprint()]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
