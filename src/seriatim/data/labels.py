"""Labelled sequences: a label for each sequence, or one for each of its elements.

A labelled sequence is a pair whose target is the label, or the list of the labels, so everything
that reads and splits pairs serves here too. On top of it: a folder with one file for each label,
and files with one element and its label in a line. Knows files and names of labels; no batches,
no models.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from seriatim.data.files import read_blocks, split_lines
from seriatim.data.pairs import USUAL_COLUMNS, Pair, PairData, Pairs, open_pairs
from seriatim.data.sources import open_source
from seriatim.errors import DataError

Per: TypeAlias = Literal["sequence", "element"]

_USUAL = (("text", "label"), *USUAL_COLUMNS)


@dataclass(frozen=True)
class LabelFiles(Pairs):
    """A folder with one file for each label: every line of Arabic.txt is labelled Arabic."""

    files: tuple[Path, ...]
    encoding: str = "utf-8"

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.files[0].parent)

    @property
    def is_in_memory(self) -> bool:
        """No: they are streamed."""
        return False

    def pairs(self) -> Iterator[Pair]:
        """Every line with the name of its file; empty lines are left out."""
        for file in self.files:
            for line in split_lines(read_blocks(file, self.encoding)):
                if line:
                    yield line, file.stem

    def fingerprint(self) -> str:
        """Of all files."""
        return _digest("label files", self.files, self.encoding)


@dataclass(frozen=True)
class TaggedFile(Pairs):
    """A file with one element and its label in a line, and an empty line after each sequence.

    The label is what stands behind the last tab, or behind the last space where there is no tab.
    """

    path: Path
    encoding: str = "utf-8"

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def is_in_memory(self) -> bool:
        """No: it is streamed."""
        return False

    def pairs(self) -> Iterator[Pair]:
        """Each sequence as a list of elements and a list of labels."""
        numbered = enumerate(split_lines(read_blocks(self.path, self.encoding)), 1)
        for is_sequence, group in itertools.groupby(numbered, lambda line: bool(line[1].strip())):
            if is_sequence:
                couples = [self._couple(number, line) for number, line in group]
                yield [element for element, _ in couples], [label for _, label in couples]

    def fingerprint(self) -> str:
        """Of the file."""
        return _digest("tagged lines", [self.path], self.encoding)

    def _couple(self, number: int, line: str) -> tuple[str, str]:
        element, separator, label = line.rstrip().rpartition("\t" if "\t" in line else " ")
        if not separator or not element.strip() or not label:
            raise DataError(
                f"{self.path}, line {number}: {line!r:.60} is no element with its label: expected "
                "the two with a tab between them"
            )
        return element.strip(), label


def open_labelled(
    data: PairData,
    *,
    format: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    encoding: str = "utf-8",
) -> Pairs:
    """Labelled sequences from a folder, from a file, or from a list.

    Args:
        data: a folder with one .txt file for each label; a file of records (.tsv, .csv, .jsonl,
            .parquet) with the text and its label; a .conll file with an element and its label in
            each line; or a list of (text, label) and (elements, labels).
        format: of a file, instead of what its suffix says.
        text_column, label_column: of a file of records; None: those called text and label, else
            the first and the second.
        encoding: of the files.

    Raises:
        ConfigError: options that do not belong together, or columns that must be named.
        DataError: no such file, or nothing in it.
    """
    if isinstance(data, str | Path):
        path = Path(data)
        if path.is_dir():
            files = tuple(sorted(path.glob("*.txt")))
            if len(files) < 2:
                raise DataError(
                    f"{path} has {len(files)} .txt files: a folder of labels has a file for each "
                    "of two labels or more"
                )
            return LabelFiles(files, encoding)
        if format == "conll" or (format is None and path.suffix in (".conll", ".bio")):
            return TaggedFile(path, encoding)
    return open_pairs(
        data,
        format=format,
        source_column=text_column,
        target_column=label_column,
        encoding=encoding,
        usual=_USUAL,
    )


@dataclass(frozen=True)
class LabelSet:
    """The labels of a training set, in the order of their numbers.

    Attributes:
        names: sorted.
        per: what has a label: a whole sequence, or each element.
    """

    names: tuple[str, ...]
    per: Per

    @classmethod
    def of(cls, pairs: Pairs) -> "LabelSet":
        """The labels of labelled sequences.

        Raises:
            DataError: nothing there, sequences and elements mixed, another number of labels than
                elements, an empty label, or only one label.
        """
        kinds: Counter[str] = Counter()
        names: set[str] = set()
        for text, label in pairs.pairs():
            kinds["sequence" if isinstance(label, str) else "element"] += 1
            names.update([label] if isinstance(label, str) else label)
            if not isinstance(label, str):
                _check_elements(text, label, pairs.name)
        if len(kinds) != 1:
            found = "holds nothing" if not kinds else "labels some sequences and some elements"
            raise DataError(f"{pairs.name} {found}: give all sequences a label, or all elements")
        if "" in names or len(names) < 2:
            found = "has an empty label" if "" in names else f"has one label only, {names}"
            raise DataError(f"{pairs.name} {found}: give at least two labels, none empty")
        return cls(tuple(sorted(names)), "sequence" if kinds["sequence"] else "element")

    @cached_property
    def _number(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def numbers(self, label: str | Sequence[str]) -> list[int]:
        """The number of a label, or of each of several.

        Raises:
            DataError: a label that training did not have.
        """
        found = [label] if isinstance(label, str) else label
        try:
            return [self._number[name] for name in found]
        except KeyError as error:
            known = ", ".join(self.names[:8]) + (" .." if len(self.names) > 8 else "")
            raise DataError(
                f"the label {error} was not in the training data, which has {known}: correct it, "
                "or train with it"
            ) from None


def check_labelled(pairs: Pairs, labels: LabelSet) -> None:
    """See that sequences are labelled as those of training were.

    Raises:
        DataError: one is not.
    """
    for text, label in pairs.pairs():
        if isinstance(label, str) != (labels.per == "sequence"):
            raise DataError(
                f"{pairs.name} does not label each {labels.per}, as the training data did"
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
