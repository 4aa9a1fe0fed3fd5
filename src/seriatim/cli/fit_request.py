"""What `fit` is asked to do, as one value: the command line is turned into it once.

Knows options; no model and no data.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Group, Parameter

from seriatim.cli.output import Flag
from seriatim.errors import ConfigError

if TYPE_CHECKING:
    from seriatim.data.sources import Sequences, Source
    from seriatim.tasks.options import DataFiles, SeriesOptions, TaskOptions

READING = Group("Reading the data", sort_key=1)
PAIRS = Group("Pairs", sort_key=2)
SERIES = Group("Series", sort_key=3)
_Several: TypeAlias = Annotated[
    tuple[str, ...], Parameter(consume_multiple=True, negative_iterable=())
]
Split: TypeAlias = Annotated[
    tuple[float, float, float],
    Parameter(group=READING, negative_iterable=(), show_default="0.8 0.1 0.1"),
]


@Parameter(name="*", group=READING)
@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """Where the text is inside of its files.

    Attributes:
        field: the field of .jsonl records that holds the text.
        column: the column of a table that holds the text, or the event.
        sequence_column: the column that names the sequence of an event, in tables with one event
            per row.
        order_column: the column by which the events of a sequence are sorted.
        skip_empty: leave out empty lines or documents.
    """

    field: str | None = None
    column: str | None = None
    sequence_column: str | None = None
    order_column: str | None = None
    skip_empty: Flag = False

    def opened(
        self, path: Path, *, sequences: "Sequences | None", files: "FileOptions | None"
    ) -> "Source":
        """The text; see `open_source`."""
        from seriatim.data.sources import open_source

        files = files or FileOptions()
        return open_source(
            path,
            sequences=sequences,
            format=files.format,
            field=self.field,
            column=self.column,
            sequence_column=self.sequence_column,
            order_column=self.order_column,
            encoding=files.encoding,
            skip_empty=self.skip_empty,
        )


@Parameter(name="*", group=SERIES)
@dataclass(frozen=True, kw_only=True)
class SeriesColumns:
    """Which columns of a table are what in series of numbers, and how its times are read.

    Attributes:
        id_column: the column that names the series of a row.
            [default: unique_id, item_id, series_id or id]
        time_column: the column of times. [default: ds, timestamp, date or time]
        known: the columns of inputs that are known ahead, such as a price.
        static: the columns that are constant in a series.
        freq: the step between moments, such as h, 15min, D, W, MS or QS. [default: inferred]
        time_zone: the zone of times that name none, in which days are counted.
        time_format: how times are written, such as %d.%m.%Y. [default: as they look]
        decimal: the sign before the fraction of a number. [default: as the numbers show it]
        multivariate: the columns of a wide table are the channels of one series, as var takes them,
            and not a series each.
        density: the distribution of a network's next value: normal, student-t, mixture, log-normal
            or negative-binomial; auto: as the values suggest.
        calendar: cycles of the calendar as known inputs: minute, hour, weekday, day, yearday, month
            or quarter; without a name those usual for the frequency of which the series have two.
            [default: none]
    """

    id_column: str | None = None
    time_column: str | None = None
    known: _Several = ()
    static: _Several = ()
    freq: str | None = None
    time_zone: str | None = None
    time_format: str | None = None
    decimal: Literal[".", ","] | None = None
    multivariate: Flag = False
    density: str = "auto"
    calendar: Annotated[
        tuple[str, ...] | None, Parameter(consume_multiple=True, negative_iterable=())
    ] = None

    def options(self, target_column: str | None) -> "SeriesOptions":
        """These for a task; the columns of values are separated by commas."""
        from seriatim.tasks.options import SeriesOptions

        names = {f.name: getattr(self, f.name) for f in fields(self)}
        names["multivariate"] = self.multivariate or None
        names["calendar"] = False if self.calendar is None else self.calendar or True
        target = () if target_column is None else tuple(target_column.split(","))
        return SeriesOptions(target=target, **names)


@Parameter(name="*", group=PAIRS)
@dataclass(frozen=True, kw_only=True)
class PairColumns:
    """Which columns of a table hold pairs, or labelled texts.

    Attributes:
        source_column: the column or field of the sources, or of labelled texts; a number counts
            from 1 where there is no header. [default: source, or the first]
        target_column: the column or field of the targets, or of the labels. [default: target, or
            the second]
    """

    source_column: str | None = None
    target_column: str | None = None


@Parameter(name="*", group=PAIRS)
@dataclass(frozen=True, kw_only=True)
class PairFiles(PairColumns):
    """Where pairs, or labelled texts, are: in two columns of DATA, or in two files of lines.

    Attributes:
        source: a file of sources, line by line with --target, in place of DATA.
        target: a file of targets, line by line with --source, or with the sources in DATA.
    """

    source: Path | None = None
    target: Path | None = None


@Parameter(name="*", group=PAIRS)
@dataclass(frozen=True, kw_only=True)
class PairOptions(PairFiles):
    """Where pairs, or labelled texts, are, and the symbols of their sources.

    Attributes:
        valid_source: a file of validation sources, line by line with --valid-target.
        valid_target: a file of validation targets, line by line with --valid-source.
        test_source: a file of test sources, line by line with --test-target.
        test_target: a file of test targets, line by line with --test-source.
        source_symbols: the symbols of the sources: byte, char, nfd (characters decomposed into
            letters and accents, Korean syllables into their sounds), word, bpe or bpe:N.
            [default: as --symbols]
        joint: one vocabulary for both sides.
    """

    valid_source: Path | None = None
    valid_target: Path | None = None
    test_source: Path | None = None
    test_target: Path | None = None
    source_symbols: str | None = None
    joint: Flag = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """How files are read.

    Attributes:
        format: the format of the files: text, jsonl, csv, tsv, parquet or fasta.
            [default: by their names]
        encoding: the encoding of the files.
    """

    format: Annotated[str | None, Parameter(group=READING)] = None
    encoding: Annotated[str, Parameter(group=READING)] = "utf-8"


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """One fit.

    Attributes:
        task: the name of the task; None: by the data.
        options: the options of the new task.
        init: the folder of a model to train further, in place of a new task.
        repeat: the folder of a model whose run is repeated by its record.
        train: the files of training data.
        valid: the files of validation data; None: split off.
        test: the files of test data; None: split off, or none.
        split: the fractions of training, validation and test where they are split off; None: the
            usual ones of the task.
        training: the training options that were given, by name.
        allow_unknown: whether data most of whose symbols --init does not know is taken.
        full_scores: whether all validation and test data are scored, not a sample.
        allow_untrained: whether a model that training did not improve is a result.
        processes: the number of processes; None: one, or as many as a launcher has started.
        quiet: whether no progress is shown.
        json: whether the record is printed as JSON.
    """

    task: str | None
    options: "TaskOptions"
    init: Path | None
    repeat: Path | None
    train: "DataFiles"
    valid: "DataFiles | None"
    test: "DataFiles | None"
    split: tuple[float, float, float] | None
    training: Mapping[str, Any]
    allow_unknown: bool
    full_scores: bool
    allow_untrained: bool
    processes: int | None
    quiet: bool
    json: bool


def one_part(
    command: str,
    data: Path | None,
    files: FileOptions | None,
    reading: ReadingOptions | None,
    pairs: PairFiles | None,
) -> "DataFiles":
    """The files that a command with a fitted model reads.

    Args:
        command: the command and its other arguments, for the message: "score MODEL".
        data, files, reading, pairs: the options.

    Raises:
        ConfigError: if there are none, or only one of two files.
    """
    from seriatim.tasks.options import DataFiles

    files, pairs = files or FileOptions(), pairs or PairFiles()
    part = DataFiles(
        data=data, **asdict(pairs), **asdict(files), **asdict(reading or ReadingOptions())
    )
    if part.is_empty:
        name = command.split()[0]
        raise ConfigError(
            f"{name} needs DATA: seriatim {command} DATA; of pairs also --source FILE --target FILE"
        )
    return part


def data_files(
    parts: tuple[Path | None, Path | None, Path | None],
    files: FileOptions,
    reading: ReadingOptions | None,
    pairs: PairOptions | None,
) -> "tuple[DataFiles, DataFiles | None, DataFiles | None]":
    """The files of training, validation and test."""
    from seriatim.tasks.options import DataFiles

    pairs = pairs or PairOptions()
    sides = [
        (pairs.source, pairs.target),
        (pairs.valid_source, pairs.valid_target),
        (pairs.test_source, pairs.test_target),
    ]
    train, valid, test = (
        DataFiles(
            data=data,
            source=source,
            target=target,
            source_column=pairs.source_column,
            target_column=pairs.target_column,
            format=files.format,
            encoding=files.encoding,
            **asdict(reading or ReadingOptions()),
        )
        for data, (source, target) in zip(parts, sides, strict=True)
    )
    return train, None if valid.is_empty else valid, None if test.is_empty else test
