"""Labels: facts about every position of a text, to be looked for in states.

Some follow from the text itself: the position in the line, whether it is inside quotes. Others
are given by the user, one for each symbol.

Knows texts as strings, and labels; no state and no model.

Shapes: N positions, C classes, M columns of numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.errors import DataError

_MOST_CLASSES = 64


@dataclass(frozen=True)
class Label:
    """One fact about every position.

    Attributes:
        name: the name of the label, for people.
        values: (N,) numbers, or class indices 0 .. C-1.
        classes: the names of the classes; empty if the values are quantities.
    """

    name: str
    values: Tensor
    classes: tuple[str, ...] = ()

    @property
    def is_constant(self) -> bool:
        """Whether all positions have the same value, so that there is nothing to find."""
        return bool((self.values == self.values[:1]).all())

    def columns(self) -> Tensor:
        """(N, M) in float64: one column for a quantity, one column of 0 and 1 for each class."""
        if not self.classes:
            return self.values.double()[:, None]
        return torch.nn.functional.one_hot(self.values.long(), len(self.classes)).double()


_OPENING, _CLOSING = "([{（［｛", ")]}）］｝"
_QUOTES = {"“": "”", "«": "»", "„": "“", "「": "」", "『": "』", '"': '"'}
_TAB = 8


class _Reader:
    """The facts about a text that is read character by character."""

    def __init__(self) -> None:
        self.column = 0
        self.indentation = 0
        self.depth = 0
        self.closing = ""  # the character that ends the quotation; "" outside of one
        self.letters = 0
        self.is_upper = False

    def read(self, piece: str) -> None:
        """Read one symbol; what it leaves open continues in the next."""
        self.is_upper = any(c.isupper() for c in piece)
        for i, c in enumerate(piece):
            if c == "\n":
                if self.column == 0 and i == 0:  # an empty line: a new paragraph
                    self.closing, self.depth = "", 0
                self.column = self.indentation = self.letters = 0
                continue
            if c in " \t" and self.indentation == self.column:
                self.indentation += _TAB - self.indentation % _TAB if c == "\t" else 1
                self.column = self.indentation
            else:
                self.column += 1
            self._enclose(c)
            self.letters = self.letters + 1 if c.isalnum() else 0

    def _enclose(self, c: str) -> None:
        if c in _OPENING:
            self.depth += 1
        elif c in _CLOSING:
            self.depth = max(0, self.depth - 1)
        if self.closing:
            self.closing = "" if c == self.closing else self.closing
        else:
            self.closing = _QUOTES.get(c, "")

    def facts(self) -> tuple[float, ...]:
        """The facts after the last symbol, in the order of `_FACTS`."""
        return (
            float(self.column),
            float(bool(self.closing)),
            float(self.indentation),
            float(self.depth),
            float(self.letters > 0),
            float(self.letters),
            float(self.is_upper),
        )


_FACTS = (
    ("position in line", False),
    ("inside quotes", True),
    ("indentation", False),
    ("depth of brackets", False),
    ("inside a word", True),
    ("letters of the word so far", False),
    ("upper case", True),
)


def text_labels(sequences: Sequence[Sequence[str]]) -> list[Label]:
    """The labels that follow from a text itself, each known once its symbol is read.

    The position in the line; whether it is inside quotes (straight or typographic double quotes;
    a blank line ends them); the indentation of the line so far; the depth of brackets; whether
    the last character belongs to a word, and how many letters of the word were read; and whether
    the symbol has an upper-case letter. Labels that are constant in this text are left out.

    Args:
        sequences: the texts of the symbols read, sequence by sequence; "" for a boundary.
    """
    rows = []
    for pieces in sequences:
        reader = _Reader()
        for piece in pieces:
            reader.read(piece)
            rows.append(reader.facts())
    if not rows:
        return []
    labels = [
        Label(name, torch.tensor(values), ("no", "yes") if is_binary else ())
        for (name, is_binary), values in zip(_FACTS, zip(*rows, strict=True), strict=True)
    ]
    return [label for label in labels if not label.is_constant]


def user_label(name: str, values: Sequence[object]) -> Label:
    """A label given by the user: one number, or the name of a class, per position.

    Raises:
        DataError: if values are not finite, all the same, or of too many classes.
    """
    numbers = [_number(value) for value in values]
    if all(number is not None for number in numbers) and len(set(numbers)) > 2:
        label = Label(name, torch.tensor(numbers, dtype=torch.float64))
        if not bool(label.values.isfinite().all()):
            raise DataError(f"label {name} has values that are not finite: give finite numbers")
        return label
    texts = [str(value) for value in values]
    classes = tuple(sorted(set(texts)))
    if len(classes) < 2 or len(classes) > _MOST_CLASSES:
        raise DataError(
            f"label {name} has {len(classes):,} different values: give 2 to {_MOST_CLASSES} "
            "classes, or numbers"
        )
    ids = {text: i for i, text in enumerate(classes)}
    return Label(name, torch.tensor([ids[text] for text in texts]), classes)


def _number(value: object) -> float | None:
    if isinstance(value, (bool, int, float)):
        return float(value)
    try:
        return float(str(value))
    except ValueError:
        return None
