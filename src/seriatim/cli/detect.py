"""`seriatim detect` and `threshold`: which events and sequences are anomalies.

Knows options and how results are printed; verdicts are made in `tasks.anomalies`.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from seriatim.cli.fit_request import FileOptions, ReadingOptions
from seriatim.cli.follow import follow_events
from seriatim.cli.output import Flag, Reporter, print_json, print_notes, use_threads
from seriatim.cli.rows import RowPrinter, check_form
from seriatim.cli.stdin_file import STDIN, File, given_file
from seriatim.errors import ConfigError

if TYPE_CHECKING:
    from seriatim.data.sources import Source
    from seriatim.tasks.anomalies import DetectedEvent, DetectedSequence
    from seriatim.tasks.forecasting.given_series import GivenSeries

Rows: TypeAlias = Literal["event", "sequence"]


def threshold(
    model: Path,
    normal: File,
    /,
    *,
    false_alarms: float = 0.01,
    per: Rows | None = None,
    allow_unknown: Flag = False,
    files: FileOptions | None = None,
    reading: ReadingOptions | None = None,
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """Choose the surprisal above which events are anomalies, and keep it in the model's folder.

    Args:
        model: the folder of a language model of lines or documents, or of a forecaster.
        normal: normal sequences that the model was not fitted to; - reads stdin.
        false_alarms: the rate of false alarms to expect on other normal data, at most.
        per: what the rate counts: sequences, of which the highest surprisal counts, or events.
            [default: sequence; of series event, which is a value]
        allow_unknown: take the data even if more than half of its events are unknown.
        threads: the number of processor threads. [default: what suits the model]
        json: print JSON.
    """
    from seriatim.tasks.anomalies import check_rate

    check_rate(false_alarms, per or "event")
    reporter = Reporter(is_quiet=json)
    reporter.doing("reading")
    lm = _loaded(model, "threshold", threads)
    with given_file(normal, _format(lm, files)) as file:
        source = open_data(lm, file, files, reading)
        if lm.is_training_data(source):
            reporter.note(
                f"the model was fitted to {normal}, which it predicts better than other normal "
                "data: expect more false alarms, or give data that it was not fitted to"
            )
        found = lm.threshold(
            source,
            false_alarms=false_alarms,
            per=per,
            allow_unknown=allow_unknown,
            progress=reporter.scored,
        )
    reporter.done()
    lm.save_threshold(model)
    if json:
        print_json(found.to_json())
    else:
        print(f"threshold: {found.text()}")
        print(f"kept in {model}: seriatim detect {model} FILE")


def detect(
    model: Path,
    data: File = STDIN,
    /,
    *,
    by: Rows = "event",
    anomalies: Flag = False,
    threshold: float | None = None,
    follow: Flag = False,
    allow_unknown: Flag = False,
    files: FileOptions | None = None,
    reading: ReadingOptions | None = None,
    threads: int | None = None,
    csv: Flag = False,
    json: Flag = False,
) -> None:
    """Say of every event and sequence whether it is an anomaly.

    Args:
        model: the folder of a language model of lines or documents, or of a forecaster.
        data: the sequences, read as the training data was, by its columns; - reads stdin.
        by: what a row is: every event, with the verdict on its sequence, or every sequence.
        anomalies: print anomalies only.
        threshold: the surprisal in bits above which an event is an anomaly.
            [default: that of seriatim threshold]
        follow: judge each row of a growing table as it arrives, in the order of the rows, whatever
            sequence it belongs to; ends of sequences, which are not known then, are not judged.
        allow_unknown: take the data even if more than half of its events are unknown.
        threads: the number of processor threads. [default: what suits the model]
        csv: print CSV with a header.
        json: print a JSON object for each sequence, one a line.
    """
    from seriatim.tasks.anomalies import judge, summarize
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.sequence_surprisal import check_sequences

    check_form(csv=csv, json=json)
    lm = _loaded(model, "detect", threads)
    if isinstance(lm, LanguageModel):
        check_sequences(lm.sequences)
    bits = lm.alarm_bits(threshold)
    if follow and not isinstance(lm, LanguageModel):
        raise ConfigError("--follow judges events: give values to Forecaster.stream in Python")
    if follow:
        rows = follow_events(lm, data, files, reading, bits)
        _print_live(rows, only_anomalies=anomalies, is_csv=csv, is_json=json)
        return
    reporter = Reporter(is_quiet=json)
    reporter.doing("reading")
    number = flagged = 0
    with given_file(data, _format(lm, files)) as file:
        source = open_data(lm, file, files, reading)
        found = lm.sequence_bits(source, allow_unknown=allow_unknown, progress=reporter.scored)
        printer = RowPrinter(_columns(by), is_csv=csv)
        for sequence in found:
            if number == 0:
                reporter.done()
                printer.head(is_shown=not json)
            judged = judge(sequence, bits)
            number, flagged = number + 1, flagged + judged.is_anomaly
            if json:
                _print_json(judged, by, only_anomalies=anomalies)
            else:
                for row in _rows(judged, by, only_anomalies=anomalies):
                    printer.row(row)
    reporter.note(f"{summarize(flagged, number)}, at a threshold of {bits:.3f} bits")


def _print_live(
    rows: "Iterator[DetectedEvent]", *, only_anomalies: bool, is_csv: bool, is_json: bool
) -> None:
    """Rows as they come, each written at once."""
    printer = RowPrinter(_columns("event"), is_csv=is_csv)
    printer.head(is_shown=not is_json)
    for row in rows:
        if row.verdict == "anomaly" or not only_anomalies:
            if is_json:
                print_json(row.to_json())
            else:
                printer.row(row.cells())
        sys.stdout.flush()


def open_data(
    lm: Any,
    file: Path,
    files: FileOptions | None,
    reading: ReadingOptions | None,
) -> Any:
    """The sequences in a file, read as the training data was; notes are printed."""
    from dataclasses import asdict

    from seriatim.tasks.options import DataFiles

    options = files or FileOptions()
    source: Source | GivenSeries = lm.open_files(
        DataFiles(
            data=file,
            format=options.format,
            encoding=options.encoding,
            **asdict(reading or ReadingOptions()),
        )
    )
    print_notes(source)
    return source


def _loaded(model: Path, command: str, threads: int | None) -> Any:
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.registry import load, load_as
    from seriatim.tasks.storage import read_header

    use_threads(threads)
    if read_header(model).task == "forecasting":
        return load(model)
    return load_as(LanguageModel, model, command)


def _format(lm: Any, files: FileOptions | None) -> str | None:
    """The format of stdin: the one that is given, or that of the training data."""
    given = None if files is None else files.format
    return given or lm.table_format


def _columns(by: Rows) -> Sequence[str]:
    from seriatim.tasks.anomalies import EVENT_COLUMNS
    from seriatim.tasks.sequence_surprisal import COLUMNS

    return EVENT_COLUMNS if by == "event" else COLUMNS


def _rows(
    found: "DetectedSequence", by: Rows, *, only_anomalies: bool
) -> Iterator[tuple[object, ...]]:
    rows = found.events if by == "event" else [found.summary]
    for row in rows:
        if row.verdict == "anomaly" or not only_anomalies:
            yield row.cells()


def _print_json(found: "DetectedSequence", by: Rows, *, only_anomalies: bool) -> None:
    if only_anomalies and not found.is_anomaly:
        return
    print_json(found.to_json() if by == "event" else found.summary.to_json())
