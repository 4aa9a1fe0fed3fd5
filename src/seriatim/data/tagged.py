"""Files with one element and its label per line, and an empty line after each sequence.

CoNLL 2003, GermEval, CoNLL-U and the like: columns separated by tabs or, where the first line has
no tab, by spaces. One column holds the elements and one the labels; the others are left out. Every
line has as many columns as the first one; comments and `-DOCSTART-` lines are skipped.

Knows lines and columns. Does not know symbols.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from seriatim.core.validation import did_you_mean
from seriatim.data.files import read_blocks, split_lines
from seriatim.errors import ConfigError, DataError

SUFFIXES = (".conll", ".bio", ".iob", ".iob2", ".conllu", ".conllx")
_CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_GLOBAL_COLUMNS = re.compile(r"^#\s*global\.columns\s*=\s*(.+)$")  # of CoNLL-U Plus
_HEAD_LINES = 2000  # that show the columns and some of the labels
_BLANK, _SPACES = " \t", re.compile(" +")  # no-break spaces are part of an element
# 1, 2, 3; a token of several words, 1-2; an empty node, 1.1: the last two are no elements.
_WORD_ID, _OTHER_ID = re.compile(r"^\d+$"), re.compile(r"^\d+[-.]\d+$")


@dataclass(frozen=True)
class TaggedLine:
    """A line that is not empty.

    Attributes:
        number: its number in the file, from 1.
        text: the line.
        is_first: whether no element precedes it in its sequence.
    """

    number: int
    text: str
    is_first: bool


@dataclass(frozen=True)
class TaggedColumns:
    """The columns of a file of tagged elements.

    Attributes:
        path: the file.
        width: the number of columns.
        separator: a tab; None: any number of spaces.
        names: the names of the columns, where they are known.
        element: the position of the column of the elements, from 0.
        label: the position of the column of the labels, from 0.
        has_ids: whether the first column numbers the elements.
        labels: the labels in the first lines that do not begin with #.
    """

    path: Path
    width: int
    separator: str | None
    names: tuple[str, ...]
    element: int
    label: int
    has_ids: bool
    labels: frozenset[str] = field(repr=False)

    def read(self, line: TaggedLine) -> tuple[str, str] | None:
        """The element and the label of a line; None for a comment and the like.

        Raises:
            DataError: if the line has another number of columns, or no element or label.
        """
        cells = _split(line.text, self.separator)
        place = f"{self.path}, line {line.number:,}"
        if cells[0].startswith("-DOCSTART-"):
            return None
        if line.text.startswith("#") and not self._is_element(line, cells, place):
            return None
        if len(cells) != self.width:
            columns = f"{len(cells)} column{'s' * (len(cells) != 1)}"
            raise DataError(
                f"{place}: {line.text!r:.60} has {columns} and the first line has {self.width}, "
                f"separated by {'tabs' if self.separator else 'spaces'}: write an element, its "
                "label and nothing else in each line, or the same columns in all"
            )
        if self.has_ids and _OTHER_ID.match(cells[0]):
            return None
        element, label = cells[self.element], cells[self.label]
        if not element or not label:
            missing = "label" if element else "element"
            raise DataError(f"{place}: {line.text!r:.60} has no {missing}: fill it in")
        return element, label

    def _is_element(self, line: TaggedLine, cells: list[str], place: str) -> bool:
        """Whether a line that begins with # is an element, or a comment."""
        if len(cells) != self.width:
            return not line.is_first
        is_hashtag = self.separator == "\t" and cells[0] != "#"
        if self.width == 1 or is_hashtag or cells[self.label] in self.labels:
            return True
        raise DataError(
            f"{place}: {line.text!r:.60} begins with # like a comment, but has {self.width} "
            "columns like an element: remove it if it is a comment"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Which columns are taken, if there are more than two."""
        return (self._describe(),) if self.width > 2 else ()

    def _describe(self) -> str:
        element, label = (
            f"column {i + 1}" + (f" ({self.names[i]})" if self.names else "")
            for i in (self.element, self.label)
        )
        return (
            f"{self.path} has {self.width} columns: {element} is read as the elements and {label} "
            "as the labels; --source-column and --target-column choose others"
        )


def tagged_columns(
    path: Path,
    encoding: str,
    element: str | None = None,
    label: str | None = None,
    *,
    needs_labels: bool = True,
) -> TaggedColumns:
    """The columns of a file, by its first lines.

    Args:
        path: the file.
        encoding: the encoding of the file.
        element, label: the columns, by name where names are known, or by number from 1; None:
            FORM, or the first one that does not number the elements; and UPOS, or the last one.
        needs_labels: whether there must be labels; otherwise a column of elements is enough.

    Raises:
        ConfigError: if there is no such column.
        DataError: if no line has an element and its label.
    """
    head = list(islice(numbered_lines(path, encoding), _HEAD_LINES))
    first = next((line for line in head if _is_plain(line.text)), None)
    if first is None:
        raise DataError(f"{path} has no line with an element and its label")
    separator = "\t" if "\t" in first.text.strip(_BLANK) else None
    rows = [
        cells for line in head if _is_plain(line.text) for cells in [_split(line.text, separator)]
    ]
    width = len(rows[0])
    if width < 2 and needs_labels:
        raise DataError(
            f"{path}, line {first.number:,}: {first.text!r:.60} is not an element with its label: "
            "write the two with a tab between them"
        )
    has_ids = width > 2 and _has_ids(line for line in head if _is_plain(line.text))
    names = _names(head, width, has_ids)
    usual_element = names.index("FORM") if "FORM" in names else int(has_ids)
    usual_label = names.index("UPOS") if "UPOS" in names else width - 1
    element_index = _position(path, element, names, width, usual_element)
    label_index = _position(path, label, names, width, usual_label)
    if element_index == label_index and needs_labels:
        raise ConfigError(
            f"column {element_index + 1} of {path} cannot hold both the elements and the labels: "
            f"choose two of its {width} columns"
        )
    labels = frozenset(row[label_index] for row in rows if len(row) == width)
    return TaggedColumns(path, width, separator, names, element_index, label_index, has_ids, labels)


def numbered_lines(path: Path, encoding: str) -> Iterator[TaggedLine]:
    """The lines of a file that are not empty.

    Raises:
        DataError: if a line has a carriage return without a line feed.
    """
    is_first = True
    for number, line in enumerate(split_lines(read_blocks(path, encoding)), 1):
        if "\r" in line:
            raise DataError(
                f"{path}, line {number:,}, has a carriage return without a line feed: convert its "
                "line ends to LF or CRLF"
            )
        if not line.strip(_BLANK):
            is_first = True
            continue
        yield TaggedLine(number, line, is_first)
        is_first = is_first and not _is_plain(line)


def tagged_sequences(
    columns: TaggedColumns, encoding: str
) -> Iterator[tuple[list[str], list[str]]]:
    """The elements and the labels of each sequence."""
    elements: list[str] = []
    labels: list[str] = []
    end = 0
    for line in numbered_lines(columns.path, encoding):
        if line.number > end + 1 and elements:  # after an empty line
            yield elements, labels
            elements, labels = [], []
        end = line.number
        tagged = columns.read(line)
        if tagged is not None:
            elements.append(tagged[0])
            labels.append(tagged[1])
    if elements:
        yield elements, labels


def looks_tagged(lines: Iterable[str]) -> bool:
    """Whether lines are elements with labels: as many columns each, few labels, empty lines.

    Args:
        lines: the first lines of a file, empty ones included.
    """
    groups = itertools.groupby(lines, lambda line: bool(line.strip(_BLANK)))
    sequences = [list(group) for is_sequence, group in groups if is_sequence]
    plain = [line for sequence in sequences for line in sequence if _is_plain(line)]
    if len(sequences) < 2 or len(plain) < 5:
        return False
    separator = "\t" if "\t" in plain[0].strip(_BLANK) else None
    rows = [_split(line, separator) for line in plain]
    if len({len(row) for row in rows}) != 1:
        return False
    kinds = [len(set(column)) for column in list(zip(*rows, strict=True))[1:]]
    return any(number >= 2 and number * 2 <= len(rows) for number in kinds)


def _split(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return _SPACES.split(line.strip(_BLANK))
    return [cell.strip(_BLANK) for cell in line.rstrip(_BLANK).split(separator)]


def _is_plain(line: str) -> bool:
    """Whether a line is neither a comment nor the beginning of a document."""
    return not line.startswith("#") and not line.lstrip().startswith("-DOCSTART-")


def _has_ids(lines: Iterable[TaggedLine]) -> bool:
    """Whether the first column counts the elements of each sequence from 1."""
    expected = 1
    for line in lines:
        cell = line.text.split(maxsplit=1)[0]
        if line.is_first:
            expected = 1
        if _OTHER_ID.match(cell):
            continue
        if not _WORD_ID.match(cell) or int(cell) != expected:
            return False
        expected += 1
    return True


def _names(head: Iterable[TaggedLine], width: int, has_ids: bool) -> tuple[str, ...]:
    for line in head:
        match = _GLOBAL_COLUMNS.match(line.text)
        if match and len(match[1].split()) == width:
            return tuple(match[1].upper().split())
    return _CONLLU if has_ids and width == len(_CONLLU) else ()


def _position(
    path: Path, chosen: str | None, names: tuple[str, ...], width: int, usual: int
) -> int:
    if chosen is None:
        return usual
    if chosen.upper() in names:
        return names.index(chosen.upper())
    if chosen.isdecimal() and 1 <= int(chosen) <= width:
        return int(chosen) - 1
    known = f"{', '.join(names)} (or 1 to {width})" if names else f"1 to {width}"
    raise ConfigError(
        f"{path} has no column {chosen!r}, only {known}{did_you_mean(chosen.upper(), names)}"
    )
