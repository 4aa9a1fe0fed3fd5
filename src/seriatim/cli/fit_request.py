"""What a command was asked for, whatever the task: handed over in one piece.

Knows options; no model and no data.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Group, Parameter

from seriatim.cli.output import Flag

if TYPE_CHECKING:
    from seriatim.cli.run_folder import RunFolder
    from seriatim.data.sources import Sequences, Source

READING = Group("ReadingOptions", sort_key=1)


@Parameter(name="*", group=READING)
@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """Where in its files a text is.

    Attributes:
        field: of .jsonl records, that holds the text.
        column: of tables, that holds the text, or the event.
        sequence_column: of tables with one event per row: which sequence it belongs to.
        order_column: by which the events of a sequence are sorted.
        skip_empty: leave out empty lines or documents.
    """

    field: str | None = None
    column: str | None = None
    sequence_column: str | None = None
    order_column: str | None = None
    skip_empty: Flag = False

    def opened(
        self, path: Path, *, sequences: "Sequences | None", format: str | None, encoding: str
    ) -> "Source":
        """The text; see `open_source`."""
        from seriatim.data.sources import open_source

        return open_source(
            path,
            sequences=sequences,
            format=format,
            field=self.field,
            column=self.column,
            sequence_id=self.sequence_column,
            order=self.order_column,
            encoding=encoding,
            skip_empty=self.skip_empty,
        )


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """The options of `fit`.

    Attributes:
        place: the folder of the run.
        parts: files of validation and test.
        cut: the least count and the greatest number of symbols.
        sequences, reading: what only texts have.
        output: whether to be quiet, and whether to print JSON.
        model_options, training_options: that were given.
    """

    data: Path | None
    place: "RunFolder"
    model: str | None
    preset: str | None
    init: Path | None
    parts: tuple[Path | None, Path | None]
    split: tuple[float, float, float]
    symbols: str | None
    cut: tuple[int | None, int | None]
    sequences: "Sequences | None"
    reading: ReadingOptions
    format: str | None
    encoding: str
    processes: int | None
    output: tuple[bool, bool]
    model_options: dict[str, Any]
    training_options: dict[str, Any]
