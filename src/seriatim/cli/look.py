"""`seriatim look`: what data is, what is odd about it, and what to run next."""

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
    """Look at data before training: what it is, what is odd about it, and what to run next.

    Args:
        data: a file or a folder, as for fit.
        valid: validation text, if it is there already: leaks are looked for in it.
        test: test text, likewise.
        target: a file of targets, line by line with the data: then it is pairs.
        split: the shares by which fit would split the data.
        sequences: what one sequence is; measured if not given.
        format: of the files, instead of what their endings say.
        field: of .jsonl records, that holds the text.
        column: of tables, that holds the text, or the event.
        sequence_column: of tables with one event per row: which sequence it belongs to.
        order_column: by which the events of a sequence are sorted.
        encoding: of the files; found by their bytes if not given.
        megabytes: of larger data a sample of this size is looked at.
        out: write a report as one .html page (needs seriatim[report]).
        threads: of the processor; all cores if not given.
        json: print JSON.
    """
    from seriatim.data_profile.profile import look as look_at

    use_threads(threads)
    reporter = Reporter(is_quiet=json)
    found = look_at(
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
        from seriatim.data_profile.page import look_report

        look_report(found.to_json()).write(out)
    if json:
        print_json(found.to_json())
    else:
        print(found)
        if out is not None:
            print(f"\nthe report is in {out}")
