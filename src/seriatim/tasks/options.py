"""The options of the command line that decide what a task is and how its data is read.

Each task takes the options that it understands and refuses the others by name. Knows names and
values; no model, no data.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seriatim.errors import ConfigError

if TYPE_CHECKING:
    from seriatim.data.pairs import Pairs
    from seriatim.data.sources import Sequences, Source


@dataclass(frozen=True, kw_only=True)
class SeriesReading:
    """How tables are read: names of columns, as of `open_series`.

    Attributes:
        target: the columns of values; empty: found.
        known: the columns of inputs that are known ahead.
        static: the columns that are constant in a series.
        id_column: the column that names the series of a row.
        time_column: the column of times.
        freq: the step between moments.
        time_zone: the zone of times that name none.
        time_format: how times are written, as `strptime` takes it.
        multivariate: whether the columns of a wide table are the channels of one series.
        decimal: the sign before the fraction.
        calendar: the cycles of the calendar that are known inputs, such as "hour"; True: those
            usual for the frequency.
    """

    target: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    id_column: str | None = None
    time_column: str | None = None
    freq: str | None = None
    time_zone: str | None = None
    time_format: str | None = None
    multivariate: bool | None = None
    decimal: Literal[".", ","] | None = None
    calendar: bool | tuple[str, ...] = False


@dataclass(frozen=True, kw_only=True)
class SeriesOptions(SeriesReading):
    """How a forecaster reads tables of series, and what it makes of them.

    Attributes:
        density: the distribution of a network's next value.
    """

    density: str = "auto"


NO_SERIES = SeriesOptions()


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """The options of a new task.

    Attributes:
        model: the family, or of a translator or labeller the kind of its layers.
        model_options: the options of the family, by name.
        preset: the preset of the family.
        symbols: the kind of symbols.
        source_symbols: the kind of symbols of the sources.
        joint: whether sources and targets share one vocabulary.
        min_count: how often a character or word must occur to be in the vocabulary.
        max_symbols: the size of the vocabulary at most.
        sequences: what one sequence is.
        series: how a forecaster reads tables of series.
    """

    model: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    symbols: str | None = None
    source_symbols: str | None = None
    joint: bool = False
    min_count: int | None = None
    max_symbols: int | None = None
    sequences: "Sequences | None" = None
    series: SeriesOptions = NO_SERIES

    def __post_init__(self) -> None:
        for name, value in {"min-count": self.min_count, "max-symbols": self.max_symbols}.items():
            if value is not None and value < 1:
                raise ConfigError(f"--{name} {value}: give 1 or more")

    @property
    def is_about_pairs(self) -> bool:
        """Whether an option says that there are sources and targets."""
        return self.joint or self.source_symbols is not None


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """Files of data, and how they are read.

    Attributes:
        data: a file or a folder.
        source: a file of sources, line by line with `target`, in place of `data`.
        target: a file of targets.
        format: the format of the files; None: by their names.
        encoding: the encoding of the files.
        field: the field of .jsonl records that holds the text.
        column: the column of a table that holds the text or the event.
        sequence_column: the column that says to which sequence an event belongs.
        order_column: the column by which the events of a sequence are sorted.
        skip_empty: whether empty lines or documents are left out.
        source_column: the column or field of sources or labelled texts.
        target_column: the column or field of targets or labels.
    """

    data: Path | None = None
    source: Path | None = None
    target: Path | None = None
    format: str | None = None
    encoding: str = "utf-8"
    field: str | None = None
    column: str | None = None
    sequence_column: str | None = None
    order_column: str | None = None
    skip_empty: bool = False
    source_column: str | None = None
    target_column: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no file is given."""
        return self.data is None and self.source is None and self.target is None

    @property
    def names_columns(self) -> bool:
        """Whether a column or field of the text is named."""
        columns = self.field, self.column, self.sequence_column, self.order_column
        return any(column is not None for column in columns)

    @property
    def is_read_as_text(self) -> bool:
        """Whether a column or field of text is chosen."""
        return any(getattr(self, name) for name in TEXT_FIELDS)

    def open_text(self, sequences: "Sequences | None") -> "Source":
        """The text in the files; see `open_source`."""
        from seriatim.data.sources import open_source

        assert self.data is not None
        return open_source(
            self.data,
            sequences=sequences,
            format=self.format,
            field=self.field,
            column=self.column,
            sequence_column=self.sequence_column,
            order_column=self.order_column,
            encoding=self.encoding,
            skip_empty=self.skip_empty,
        )

    def open_pairs(self) -> "Pairs":
        """The pairs in the files; see `seriatim.data.pairs.open_pairs`.

        Raises:
            ConfigError: if one side is missing, or pairs are given twice.
        """
        from seriatim.data.pairs import open_pairs

        if self.source is not None:
            if self.target is None:
                raise ConfigError("a file of sources and one of targets belong together: give both")
            if self.data is not None:
                raise ConfigError(
                    f"pairs were given twice, as {self.data} and as {self.source}: give them once"
                )
            return open_pairs(self.source, self.target, encoding=self.encoding)
        if self.data is None:
            raise ConfigError("a file of sources and one of targets belong together: give both")
        return open_pairs(
            self.data,
            self.target,
            format=self.format,
            source_column=self.source_column,
            target_column=self.target_column,
            encoding=self.encoding,
        )

    def open_labelled(self) -> "Pairs":
        """The labelled sequences in the files; see `seriatim.data.labels.open_labelled`."""
        from seriatim.data.labels import open_labelled

        assert self.data is not None
        return open_labelled(
            self.data,
            format=self.format,
            source_column=self.source_column,
            target_column=self.target_column,
            encoding=self.encoding,
        )


TEXT_FIELDS = ("field", "column", "sequence_column", "order_column", "skip_empty")
PAIR_FIELDS = ("source", "target", "source_column", "target_column")


def refuse(options: object, names: Collection[str], noun: str) -> None:
    """Refuse options that belong to another task.

    Args:
        options: `TaskOptions` or `DataFiles`.
        names: the options that must not be given.
        noun: the task, for the message: "a translator".

    Raises:
        ConfigError: if one is given.
    """
    for f in fields(options):  # type: ignore[arg-type]
        if f.name in names and getattr(options, f.name):
            raise ConfigError(f"--{f.name.replace('_', '-')} is not an option of {noun}")


def refuse_restart(restart_every: int | None, noun: str) -> None:
    """
    Raises:
        ConfigError: if the state is to be reset in data that are no stream.
    """
    if restart_every is not None:
        raise ConfigError(f"--restart-every is for texts that are streams, not for {noun}")
