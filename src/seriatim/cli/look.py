"""`seriatim look`: what data is, what is unusual about it, and what to run next."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from seriatim.cli.output import Flag, Reporter, print_json, use_threads

_READING = Group("Reading", sort_key=1)


def look(
    data: Path,
    /,
    *,
    valid: Path | None = None,
    test: Path | None = None,
    target: Path | None = None,
    split: Annotated[
        tuple[float, float, float], Parameter(group=_READING, negative_iterable=())
    ] = (0.8, 0.1, 0.1),
    sequences: Annotated[
        Literal["line", "document", "stream"] | None, Parameter(group=_READING)
    ] = None,
    format: Annotated[str | None, Parameter(group=_READING)] = None,
    field: Annotated[str | None, Parameter(group=_READING)] = None,
    column: Annotated[str | None, Parameter(group=_READING)] = None,
    sequence_column: Annotated[str | None, Parameter(group=_READING)] = None,
    order_column: Annotated[str | None, Parameter(group=_READING)] = None,
    encoding: Annotated[str | None, Parameter(group=_READING)] = None,
    megabytes: float = 32.0,
    out: Path | None = None,
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """Look at data before training: what it is, what is unusual about it, and what to run next.

    Args:
        data: A file or a folder, as for fit.
        valid: The validation text, if there is one; it is searched for text of the data.
        test: The test text, if there is one; it is searched for text of the data.
        target: A file of targets, line by line with the data, which is then sources.
        split: The fractions of training, validation and test by which fit would split the data.
        sequences: What one sequence is; measured if not given.
        format: The format of the files; detected by their names if not given.
        field: The field of .jsonl records that holds the text.
        column: The column of tables that holds the text, or the event.
        sequence_column: The column of tables with one event per row that names its sequence.
        order_column: The column by which the events of a sequence are sorted.
        encoding: The encoding of the files; detected from their bytes if not given.
        megabytes: The size of the sample that is taken of larger data.
        out: Write the report as one .html page to this file (needs seriatim[report]).
        threads: The number of processor threads; all cores if not given.
        json: Print JSON.
    """
    from seriatim.data_profile.profile import look as look_at_data

    use_threads(threads)
    reporter = Reporter(is_quiet=json)
    report = look_at_data(
        data,
        valid=valid,
        test=test,
        target=target,
        split=split,
        sequences=sequences,
        format=format,
        field=field,
        column=column,
        sequence_id=sequence_column,
        order=order_column,
        encoding=encoding,
        megabytes=megabytes,
        say=reporter.counted,
    )
    reporter.done()
    if out is not None:
        report.page().write(out)
    if json:
        print_json(report.to_json())
    else:
        print(report)
        if out is not None:
            print(f"\nthe report is in {out}")
