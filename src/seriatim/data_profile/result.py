"""The data profile: everything that was measured on data, before anything is concluded from it.

Knows figures; reads nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from seriatim.data.sources import Sequences
from seriatim.data.tables import Text
from seriatim.data_profile.byte_stats import ByteStats
from seriatim.data_profile.kind import DataKind
from seriatim.data_profile.leaks import Leak
from seriatim.data_profile.predictability import Compression, Predictability
from seriatim.data_profile.sampling import Sample
from seriatim.data_profile.text_facts import TextFacts

ReadTexts: TypeAlias = Callable[[], Iterator[Text]]


@dataclass(frozen=True)
class ProfileReading:
    """How the user wants the data to be read; None: detected.

    Attributes:
        target: a file of targets, line by line with the data.
        sequences, format, field, column, sequence_column, order_column, encoding: as in
            `open_source`.
    """

    target: str | PathLike[str] | None = None
    sequences: Sequences | None = None
    format: str | None = None
    field: str | None = None
    column: str | None = None
    sequence_column: str | None = None
    order_column: str | None = None
    encoding: str | None = None

    @property
    def columns(self) -> Mapping[str, str | None]:
        """The options that name columns."""
        return {
            "field": self.field,
            "column": self.column,
            "sequence_column": self.sequence_column,
            "order_column": self.order_column,
        }


@dataclass
class DataPart:
    """One file or folder, or texts in memory.

    Attributes:
        name: its name in messages.
        files: the files before sampling; empty for texts in memory.
        bytes: figures of its bytes; None for texts in memory and parquet.
        sample: the files that were examined.
        kind: the kind of data it seems to be.
        encoding: the encoding it was read with.
        sides: figures of its sequences: "text", or "source" and "target".
        reads: functions that read the sequences of each side.
        labels: the occurrences of each label.
        problem: why reading stopped; None: it did not.
        notes: how it was read where that cannot be known.
    """

    name: str
    files: tuple[Path, ...] = ()
    bytes: ByteStats | None = None
    sample: Sample = field(default_factory=lambda: Sample(()))
    kind: DataKind = field(default_factory=lambda: DataKind("documents", "texts in memory"))
    encoding: str = "utf-8"
    sides: dict[str, TextFacts] = field(default_factory=dict)
    reads: dict[str, ReadTexts] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    problem: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> TextFacts:
        """Figures of the text, or of the sources."""
        return next(iter(self.sides.values()))

    @property
    def consists_of_lines(self) -> bool:
        """Whether a sequence is a line of a file."""
        return self.kind.name in ("text", "events", "labelled", "json")


@dataclass
class DataProfile:
    """All figures of the data.

    Attributes:
        parts: train and, if they were given, valid and test.
        reading: how the user wants the data to be read.
        split: the fractions of the split that fit would make; None: valid was given.
        leaks: the text of "valid" and "test" that occurs in train.
        split_problem: why no split could be made; None: it could.
        compression: bits per byte of general compressors.
        predictability: bits of n-gram models; None: the data is too short.
        across_lines: the fraction of a line's bits that the preceding lines save.
        sequences: how the text should be read.
    """

    parts: dict[str, DataPart]
    reading: ProfileReading
    split: tuple[float, float, float] | None = None
    leaks: dict[str, Leak] = field(default_factory=dict)
    split_problem: str | None = None
    compression: Compression | None = None
    predictability: Predictability | None = None
    across_lines: float | None = None
    sequences: Sequences = "stream"

    @property
    def train(self) -> DataPart:
        """The data itself."""
        return self.parts["train"]
