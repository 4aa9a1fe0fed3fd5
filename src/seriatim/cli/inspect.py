"""`seriatim inspect`: what happens inside a model while it reads a text.

Knows options and files; the findings are made in `tasks.inspection`.
"""

import json as json_format
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from seriatim.cli.output import Flag, Reporter, print_json, print_notes, use_threads
from seriatim.cli.prompts import parse_events
from seriatim.errors import ConfigError, DataError, OutputError

if TYPE_CHECKING:
    from seriatim.analysis.inspect.inspection import Inspection
    from seriatim.data.sources import Source
    from seriatim.tasks.base import AnyTask
    from seriatim.tasks.inspection import Labels

_MAX_PATH = 4096  # characters; a longer text is never taken for a path


def inspect(
    model: Path,
    text: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    target: str | None = None,
    labels: Path | None = None,
    only: Annotated[Sequence[str], Parameter(negative_iterable=(), show_default=False)] = (),
    start: int = 0,
    length: int | None = None,
    top: Annotated[int, Parameter(alias="-k")] = 5,
    beam: int = 4,
    out: Path | None = None,
    encoding: str = "utf-8",
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """Show what happens inside a model while it reads a text.

    The surprisal of every symbol with its alternatives, and what the model records: states and
    the neurons that follow the text, gates, attention heads, the context that counts matched.

    Args:
        model: the folder of a model of any task.
        text: the text, for a model of events a JSON list of events, or a file with it; - reads
            stdin. For a translator, source sentences line
            by line, each with its target after a tab if it is known.
        target: the target of a translator's single source; without it, the model's own
            translation.
        labels: a file with one label for each symbol of the text, line by line: numbers, or names
            of classes. Neurons are ranked by how well they follow it. A .json file may hold a
            list, or an object of several lists by name.
        only: the number of a layer to inspect alone, or a pattern such as "*.cross"; may be
            repeated.
        start: the number of symbols to skip at the beginning.
        length: the number of symbols to inspect. [default: as many as fit]
        top: the number of alternatives for every symbol, and of neurons for every label.
        beam: the width of a translator's search; 1 is greedy search.
        out: where to write the findings as a page: a file that ends in .html, or a folder for
            report.html and inspection.json.
        encoding: the encoding of the files.
        threads: the number of processor threads. [default: all cores]
        json: print JSON.
    """
    if top < 1:
        raise ConfigError(f"--top {top}: give 1 or more")
    use_threads(threads)
    from seriatim.tasks.inspection import inspect as inspect_task
    from seriatim.tasks.registry import load

    task = load(model)
    reading = _Input(text, target, labels, encoding)
    inspection = inspect_task(
        task,
        reading.texts(task),
        title=model.resolve().name,
        labels=reading.labels(task),
        start=start,
        length=length,
        only=only,
        beam=beam,
        top=top,
    )
    written = None if out is None else _write(inspection, out)
    if json:
        print_json(inspection.to_json())
    else:
        print(_summary(inspection))
    if written is not None:
        Reporter(is_quiet=json).note(f"the report is in {written}")


# ---- input --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Input:
    """The options that say what is read; see `inspect`."""

    text: str
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

    def _is_file(self) -> bool:
        try:
            is_short = len(self.text) < _MAX_PATH and "\n" not in self.text
            return is_short and Path(self.text).is_file()
        except (OSError, ValueError):  # not a valid path
            return False

    def _source(self, task: "AnyTask") -> "str | list[str] | Source":
        from seriatim.tasks.options import DataFiles

        if self.text == "-" or not self._is_file():
            text = sys.stdin.read() if self.text == "-" else self.text
            return parse_events(text) if task.reads_events else text
        files = DataFiles(data=Path(self.text), encoding=self.encoding)
        source: Source = task.open_files(files)
        print_notes(source)
        return source

    def _lines(self) -> list[str]:
        from seriatim.data.files import read_blocks, split_lines

        if self.text == "-":
            return sys.stdin.read().splitlines()
        if self._is_file():
            return list(split_lines(read_blocks(Path(self.text), self.encoding)))
        return self.text.splitlines()

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


def _summary(inspection: "Inspection") -> str:
    from seriatim.analysis.inspect.text import summary

    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = min(shutil.get_terminal_size((88, 24)).columns, 120)
    return summary(inspection, width=width, is_coloured=is_coloured)


def _write(inspection: "Inspection", out: Path) -> Path:
    if out.suffix.lower() in (".html", ".htm"):
        return inspection.report().write(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json_format.dumps(inspection.to_json(), ensure_ascii=False)
        (out / "inspection.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"nothing can be written to {out}: {error.strerror}") from None
    return inspection.report().write(out / "report.html")
