"""`seriatim look`: what data is, what is unusual about it, and what to run next."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from seriatim.cli.fit_request import READING, Split
from seriatim.cli.output import Flag, Reporter, print_json, use_threads
from seriatim.errors import ConfigError


def look(
    data: Path | None = None,
    /,
    *,
    valid: Path | None = None,
    test: Path | None = None,
    source: Path | None = None,
    target: Path | None = None,
    split: Split = (0.8, 0.1, 0.1),
    sequences: Annotated[
        Literal["line", "document", "stream"] | None, Parameter(group=READING)
    ] = None,
    format: Annotated[str | None, Parameter(group=READING)] = None,
    field: Annotated[str | None, Parameter(group=READING)] = None,
    column: Annotated[str | None, Parameter(group=READING)] = None,
    sequence_column: Annotated[str | None, Parameter(group=READING)] = None,
    order_column: Annotated[str | None, Parameter(group=READING)] = None,
    encoding: Annotated[str | None, Parameter(group=READING)] = None,
    id_column: Annotated[str | None, Parameter(group=READING)] = None,
    time_column: Annotated[str | None, Parameter(group=READING)] = None,
    target_column: Annotated[str | None, Parameter(group=READING)] = None,
    freq: Annotated[str | None, Parameter(group=READING)] = None,
    megabytes: float = 32.0,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """Look at data before training: what it is, what is unusual about it, and what to run next.

    Args:
        data: a file or a folder, as for fit.
        valid: the validation text; it is searched for text of the data.
        test: the test text; it is searched for text of the data.
        source: a file of sources, line by line with --target, in place of DATA.
        target: a file of targets, line by line with --source, or with the sources in DATA.
        split: the fractions of training, validation and test by which fit would split the data.
        sequences: what one sequence is: a line, a document, or all of the text as one stream.
            [default: measured]
        format: the format of the files: text, jsonl, csv, tsv, parquet or fasta.
            [default: by their names]
        field: the field of .jsonl records that holds the text.
        column: the column of a table that holds the text, or the event.
        sequence_column: the column that names the sequence of an event, in tables with one event
            per row.
        order_column: the column by which the events of a sequence are sorted.
        encoding: the encoding of the files. [default: detected from their bytes]
        id_column: the column that names the series of a row, in tables of numbers in time.
            [default: found by its name]
        time_column: the column of times. [default: found by its name]
        target_column: the column of values. [default: found by its name]
        freq: the step between moments: h, 15min, D, W, MS ... [default: inferred]
        megabytes: the size of the sample that is taken of larger data, in megabytes.
        out: an .html file to write the report to as well (needs seriatim[report]).
        threads: the number of processor threads. [default: what suits the model]
        json: print JSON.
    """
    from seriatim.data_profile.profile import look as look_at_data

    path = data if source is None else source
    if path is None or (data is not None and source is not None):
        raise ConfigError("look needs DATA: seriatim look DATA; of pairs --source and --target")
    use_threads(threads)
    reporter = Reporter(is_quiet=json)
    reporter.doing("reading")
    report = look_at_data(
        path,
        valid=valid,
        test=test,
        target=target,
        split=split,
        sequences=sequences,
        format=format,
        field=field,
        column=column,
        sequence_column=sequence_column,
        order_column=order_column,
        encoding=encoding,
        megabytes=megabytes,
        say=reporter.counted,
        id_column=id_column,
        time_column=time_column,
        target_column=target_column,
        freq=freq,
    )
    if out is not None:
        reporter.doing("drawing the page")
        report.page().write(out)
    reporter.done()
    if json:
        print_json(report.to_json())
    else:
        print(report)
        if out is not None:
            print(f"\nthe report is in {out}")
