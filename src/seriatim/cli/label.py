"""`seriatim label`: the labels of the lines of a file."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seriatim.cli.fit_request import FileOptions
from seriatim.cli.inputs import open_input
from seriatim.cli.output import Flag, Reporter, print_json, use_threads
from seriatim.report.terminal import count_noun

if TYPE_CHECKING:
    from seriatim.core.records import Json
    from seriatim.tasks.labeller import Labelled


def label(
    model: Path,
    file: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    files: FileOptions | None = None,
    source_column: str | None = None,
    top: Annotated[int, Parameter(alias="-k")] = 3,
    threads: int | None = None,
    quiet: Annotated[Flag, Parameter(alias="-q")] = False,
    json: Flag = False,
) -> None:
    """Label a file: one line of output for each line, record or sequence, in order.

    A labeller of sequences writes the label of each line; a labeller of elements reads words
    separated by spaces and writes their labels, separated by spaces.

    Args:
        model: the folder of a labeller.
        file: a file with one sequence a line; a table; a file with an element in each line
            (.conll and the like); -: stdin, labelled line by line as it comes.
        source_column: the column or field of the texts in a table. [text, or the only one]
        top: the number of labels of each result with --json, the others included.
        threads: the number of processor threads. [default: what suits the model]
        quiet: show no progress.
        json: print one JSON object a line, with probabilities.
    """
    from seriatim.tasks.labeller import Labeller
    from seriatim.tasks.registry import load_as
    from seriatim.tasks.unknown import UnknownCount

    use_threads(threads)
    reporter = Reporter(is_quiet=quiet)
    reporter.doing("reading")
    labeller = load_as(Labeller, model, "label")
    began, done, unknown = time.perf_counter(), 0, UnknownCount(0, 0)

    def counted(more: int) -> None:
        rate = (done + more) / (time.perf_counter() - began)
        reporter.counted(f"{count_noun(done + more, 'line')} labelled, {rate:,.1f} lines/s")

    is_stdin = file == "-"
    if is_stdin:
        reporter.done()
    for group in open_input(file, files=files, column=source_column):
        if done == 0 or is_stdin:
            reporter.doing("labelling")
        for result in labeller.label(group, top=top, progress=counted):
            _print(result, json=json)
        sys.stdout.flush()
        done += len(group)
        unknown += labeller.count_unknown(group)
        if is_stdin:  # whose next line may be long in coming
            reporter.done()
    reporter.done()
    if unknown.unknown:
        name = "stdin" if file == "-" else file
        reporter.note(f"{unknown.describe(name)} and read as <unk>")


def _print(result: "Labelled | list[Labelled]", *, json: bool) -> None:
    elements = result if isinstance(result, list) else [result]
    if not json:
        print(" ".join(element.label for element in elements))
    elif isinstance(result, list):
        print_json({"elements": [_record(element) for element in result]})
    else:
        print_json(_record(result))


def _record(labelled: "Labelled") -> "Json":
    return {
        "label": labelled.label,
        "probability": labelled.probability,
        "others": [{"label": name, "probability": p} for name, p in labelled.others],
    }
