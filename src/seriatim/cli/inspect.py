"""`seriatim inspect`: what happens inside a model while it reads a text.

Knows options and files; the findings are made in `tasks.inspection`.
"""

import json as json_format
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

from cyclopts import Parameter

from seriatim.cli.fit_request import FileOptions
from seriatim.cli.output import Flag, Reporter, print_json, print_notes, use_threads
from seriatim.cli.prompts import parse_events
from seriatim.cli.stdin_file import STDIN, File, check_file, given_file
from seriatim.core.records import Json
from seriatim.errors import ConfigError, DataError, OutputError

if TYPE_CHECKING:
    from seriatim.analysis.inspect.inspection import Inspection
    from seriatim.data.sources import Source
    from seriatim.report.document import Report
    from seriatim.tasks.base import AnyTask
    from seriatim.tasks.inspection import Labels


def inspect(
    model: Path,
    file: File = STDIN,
    /,
    *,
    text: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    target: str | None = None,
    labels: Path | None = None,
    only: Annotated[Sequence[str], Parameter(negative_iterable=(), show_default=False)] = (),
    start: int | None = None,
    length: int | None = None,
    series: str | None = None,
    top: Annotated[int, Parameter(alias="-k")] = 5,
    beam: int = 4,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    encoding: str = "utf-8",
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """Show what happens inside a model while it reads a text.

    The surprisal of every symbol with its alternatives, and what the model records: states and
    the neurons that follow the text, gates, attention heads, the context that counts matched.

    Args:
        model: the folder of a model of any task.
        file: a file with the text, or the series of a forecaster; - reads stdin. For a translator,
            source sentences line by line, each with its target after a tab if it is known.
        text: the text itself, in place of a file; for a model of events a JSON list of events.
        target: the target of a translator's single source; without it, the model's own
            translation.
        labels: a file with one label for each symbol of the text, line by line: numbers, or names
            of classes. Neurons are ranked by how well they follow it. A .json file may hold a
            list, or an object of several lists by name.
        only: the number of a layer to inspect alone, or a pattern such as "*.cross"; may be
            repeated.
        start: the number of symbols, or of moments of a series, to skip at the beginning.
            [default: 0; of a series, its end is inspected]
        length: the number of symbols or moments to inspect. [default: as many as fit]
        series: the name of the series that a forecaster reads. [default: the first]
        top: the number of alternatives for every symbol, and of neurons for every label.
        beam: the width of a translator's search; 1 is greedy search.
        out: where to write the findings as a page: a file that ends in .html, or a folder for
            report.html and inspection.json.
        encoding: the encoding of the files.
        threads: the number of processor threads. [default: what suits the model]
        json: print JSON.
    """
    if top < 1:
        raise ConfigError(f"--top {top}: give 1 or more")
    use_threads(threads)
    from seriatim.cli.forecast import opened
    from seriatim.tasks.forecasting.forecaster import Forecaster
    from seriatim.tasks.inspection import inspect as inspect_task
    from seriatim.tasks.registry import load

    reporter = Reporter(is_quiet=json)
    reporter.doing("reading")
    task = load(model)
    if isinstance(task, Forecaster):
        if text is not None or target is not None or labels is not None:
            raise ConfigError(f"{model} is a forecaster, which reads a file of series: give one")
        with given_file(file, None) as path:
            given = opened(task, path, FileOptions(encoding=encoding))
            found = task.inspect(
                given,
                title=model.resolve().name,
                series=series,
                start=start,
                length=length,
                only=only,
            )
        _show(found, str, out, reporter, is_json=json)
        return
    if series is not None:
        raise ConfigError("--series is an option of forecasters, and this is none: leave it out")
    check_file(file)
    if text is not None and file != STDIN:
        raise ConfigError("a text and a file were given: give --text or a file")
    reading = _Input(file, text, target, labels, encoding)
    inspection = inspect_task(
        task,
        reading.texts(task),
        title=model.resolve().name,
        labels=reading.labels(task),
        start=start or 0,
        length=length,
        only=only,
        beam=beam,
        top=top,
    )
    _show(inspection, _summary, out, reporter, is_json=json)


# ---- input --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Input:
    """The options that say what is read; see `inspect`."""

    file: Path
    text: str | None
    target: str | None
    labels_file: Path | None
    encoding: str

    def texts(self, task: "AnyTask") -> "str | Source | list[str] | list[tuple[str, str | None]]":
        """What the task reads: a text or its file, lines, or pairs."""
        if task.reads == "pairs":
            return self._pairs()
        if self.target is not None:
            raise ConfigError(
                "--target is an option of translators, and this is none: leave it out"
            )
        return self._source(task) if task.reads == "text" else self._lines()

    def labels(self, task: "AnyTask") -> "Labels | None":
        """Lists of labels by name; a file with a single list is named after the file."""
        from seriatim.data.files import read_blocks, split_lines

        path = self.labels_file
        if path is None:
            return None
        if task.reads != "text":
            raise ConfigError(
                "--labels is an option of language models, and this is none: leave it out"
            )
        if path.suffix != ".json":
            return {path.stem: list(split_lines(read_blocks(path, self.encoding)))}
        try:
            content = json_format.loads("".join(read_blocks(path, self.encoding)))
        except ValueError as error:
            raise DataError(f"{path} is not JSON: {error}") from None
        by_name = content if isinstance(content, dict) else {path.stem: content}
        if not all(isinstance(values, list) for values in by_name.values()):
            raise DataError(f"{path} holds no list of labels: give a list, or an object of lists")
        return by_name

    def _given(self) -> str | None:
        """The text that was given, or that of stdin; None: it is in the file."""
        if self.text is not None or self.file != STDIN:
            return self.text
        from seriatim.data.files import read_blocks

        with given_file(STDIN, None) as file:
            return "".join(read_blocks(file, self.encoding))

    def _source(self, task: "AnyTask") -> "str | list[str] | Source":
        from seriatim.tasks.options import DataFiles

        text = self._given()
        if text is not None:
            return parse_events(text) if task.reads_events else text
        source: Source = task.open_files(DataFiles(data=self.file, encoding=self.encoding))
        print_notes(source)
        return source

    def _lines(self) -> list[str]:
        from seriatim.data.files import read_blocks, split_lines
        from seriatim.data.sources import check_path

        text = self._given()
        if text is not None:
            return text.splitlines()
        check_path(self.file)
        return list(split_lines(read_blocks(self.file, self.encoding)))

    def _pairs(self) -> list[tuple[str, str | None]]:
        lines = self._lines()
        if self.target is not None:
            if len(lines) != 1:
                raise ConfigError(f"--target belongs to one source: give one, not {len(lines)}")
            return [(lines[0], self.target)]
        pairs: list[tuple[str, str | None]] = []
        for line in lines:
            source, tab, target = line.partition("\t")
            pairs.append((source, target if tab else None))
        return pairs


# ---- output -------------------------------------------------------------------------------------


class _Findings(Protocol):
    def to_json(self) -> Json: ...
    def report(self) -> "Report": ...


_F = TypeVar("_F", bound=_Findings)


def _show(
    found: _F, text: Callable[[_F], str], out: Path | None, reporter: Reporter, *, is_json: bool
) -> None:
    """Print findings, and write them to `out`."""
    if out is not None:
        reporter.doing("drawing the page")
    written = None if out is None else _write(found, out)
    reporter.done()
    if is_json:
        print_json(found.to_json())
    else:
        print(text(found))
    if written is not None:
        reporter.note(f"the report is in {written}")


def _summary(inspection: "Inspection") -> str:
    from seriatim.analysis.inspect.text import summary

    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = min(shutil.get_terminal_size((88, 24)).columns, 120)
    text = summary(inspection, width=width, is_coloured=is_coloured)
    return text.replace("with start and length", "with --start and --length")


def _write(inspection: _Findings, out: Path) -> Path:
    if out.suffix.lower() in (".html", ".htm"):
        return inspection.report().write(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json_format.dumps(inspection.to_json(), ensure_ascii=False)
        (out / "inspection.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"nothing can be written to {out}: {error.strerror}") from None
    return inspection.report().write(out / "report.html")
