"""How much of some data is unknown to a model: said, and refused where figures would say nothing.

Knows counts; no text and no model.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from seriatim.data.corpus import Corpus
from seriatim.errors import DataError
from seriatim.tasks.training_record import CorpusFacts, SideFacts

LIMIT = 0.5  # the largest fraction of unknown symbols that is not refused


@dataclass(frozen=True)
class UnknownCount:
    """The unknown symbols of a text, or of one side of pairs.

    Attributes:
        unknown: the number of symbols outside the vocabulary.
        symbols: the number of symbols.
        in_training: the fraction that was unknown in training; a model that was fitted to few of
            the symbols of its text may be used on such text.
        side: "sources" or "targets" of pairs; "" of a text.
    """

    unknown: int
    symbols: int
    in_training: float = 0.0
    side: str = ""

    @classmethod
    def of(cls, corpus: Corpus, training: CorpusFacts | SideFacts | None, side: str = "") -> Self:
        """The count of a corpus.

        Args:
            corpus: a text, or one side of pairs.
            training: the facts of the same side of the training part; None: not known.
            side: the name of the side.
        """
        known = None if training is None or not training.symbols else training
        before = 0.0 if known is None else known.unknown / known.symbols
        return cls(corpus.num_unknown, corpus.num_tokens, before, side)

    def __add__(self, other: Self) -> Self:
        """The count of both."""
        return replace(
            self, unknown=self.unknown + other.unknown, symbols=self.symbols + other.symbols
        )

    @property
    def fraction(self) -> float:
        """The fraction of unknown symbols; 0 of an empty text."""
        return self.unknown / self.symbols if self.symbols else 0.0

    @property
    def is_too_large(self) -> bool:
        """Whether most symbols are unknown, unlike those of training."""
        return self.fraction > LIMIT >= self.in_training

    def describe(self, name: str) -> str:
        """A sentence for people; `name` is that of the data."""
        name = f"the {self.side} of {name}" if self.side else name
        return (
            f"{100 * self.fraction:.1f} % of the symbols of {name} ({self.unknown:,} of "
            f"{self.symbols:,}) are unknown to the model"
        )


def check_unknown(counts: Iterable[UnknownCount], name: str, *, allow: bool) -> None:
    """Refuse data of which most is unknown.

    Args:
        counts: the unknown symbols of the data.
        name: the name of the data.
        allow: whether it was asked for.

    Raises:
        DataError: if it was not, and more than half of the symbols are unknown.
    """
    for count in counts:
        if count.is_too_large and not allow:
            raise DataError(
                f"{count.describe(name)} and would be read as <unk>: give data like that of its "
                "training, or ask for it with --allow-unknown (allow_unknown=True)"
            )


def note_unknown(
    counts: Iterable[UnknownCount], name: str, note: Callable[[str], None], *, allow: bool
) -> None:
    """Say how much of the data is unknown, and refuse it as `check_unknown` does."""
    counts = list(counts)
    check_unknown(counts, name, allow=allow)
    for count in counts:
        if count.unknown:
            note(f"{count.describe(name)} and read as <unk>")


def note_mostly_unknown(
    counts: Iterable[UnknownCount], name: str, note: Callable[[str], None]
) -> None:
    """Say that most of the validation or test data of a new model is unknown to it."""
    for count in counts:
        if count.fraction > LIMIT:
            note(f"{count.describe(name)}: is it data like that of training?")


def note_unknown_parts(
    parts: Mapping[str, Sequence[UnknownCount]],
    note: Callable[[str], None],
    *,
    allow: bool | None,
) -> None:
    """Note the unknown symbols of the parts of the data of a fit.

    Args:
        parts: the counts by the name of the part.
        note: receives the sentences.
        allow: of a model that is trained further, whether data most of whose symbols it does not
            know is taken; None: the vocabulary is that of the training part.

    Raises:
        DataError: if most of a part is unknown to a model that is trained further.
    """
    for name, counts in parts.items():
        if allow is not None:
            note_unknown(counts, f"the {name} part", note, allow=allow)
        elif name != "train":
            note_mostly_unknown(counts, f"the {name} part", note)
