"""`seriatim surprisal`: the surprisal of every symbol or word of a text, under one or more models.

Knows options and files; the tables are made in `tasks.text_surprisal`.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from seriatim.cli.fit_request import FileOptions, ReadingOptions
from seriatim.cli.output import Flag, Reporter, print_json, print_notes, use_threads
from seriatim.cli.prompts import parse_events
from seriatim.cli.rows import RowPrinter, check_form
from seriatim.cli.stdin_file import STDIN, File, given_file
from seriatim.errors import ConfigError

if TYPE_CHECKING:
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.text_surprisal import JoinedTable, SurprisalTable


def surprisal(
    *models: Annotated[Path, Parameter(name="MODEL")],
    text: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    file: File = STDIN,
    by: Literal["symbol", "word"] = "symbol",
    files: FileOptions | None = None,
    reading: ReadingOptions | None = None,
    threads: int | None = None,
    csv: Flag = False,
    json: Flag = False,
) -> None:
    """The surprisal of every symbol or word of a text, its end included, in bits.

    Args:
        models: the folder of a language model, or of several, whose bits then stand beside one
            another.
        text: the text itself; for a model of events one event, or a JSON list of events.
        file: a file with the text, or a table with a column of texts or events; - reads stdin.
        by: what a row is: each symbol, or each word, the sum over its symbols; white space counts
            with the word after it.
        threads: the number of processor threads. [default: what suits the model]
        csv: print CSV with a header.
        json: print JSON.
    """
    from seriatim.data.file_names import is_file_name
    from seriatim.tasks.text_surprisal import join_surprisals

    check_form(csv=csv, json=json)
    if not models:
        raise ConfigError("surprisal needs MODEL: seriatim surprisal MODEL --file FILE")
    if text is not None and (file != STDIN or reading is not None):
        raise ConfigError("a text and a file were given: give --text or --file")
    reporter = Reporter(is_quiet=json or csv)
    reporter.doing("reading")
    loaded = _load(models, threads)
    if text is not None and is_file_name(text):
        note = f"note: {text!r} is taken as a text; to read the file, give --file {text}"
        print(note, file=sys.stderr)
    found: dict[str, SurprisalTable] = {}
    # Once for all: stdin can be read only once.
    with given_file(file if text is None else Path(), _stdin_format(loaded, files)) as path:
        for name, lm in loaded.items():
            given = _events(lm, text) if text is not None else _content(lm, path, files, reading)
            if not given:
                what = "--text" if text is not None else path.name if file == STDIN else str(file)
                raise ConfigError(f"{what} is empty: give a text with --text, or --file FILE")
            reporter.doing(f"scoring with {name}")
            found[name] = lm.surprisal(given, by=by)
    reporter.done()
    table: SurprisalTable | JoinedTable
    table = next(iter(found.values())) if len(found) == 1 else join_surprisals(found)
    if csv:
        printer = RowPrinter(table.columns, is_csv=True)
        printer.head()
        for cells in table.all_cells():
            printer.row(cells)
    elif json:
        totals = {name: one.bits for name, one in found.items()}
        bits = totals if len(found) > 1 else next(iter(totals.values()))
        print_json({"bits": bits, f"{by}s": table.to_json()})
    else:
        print(table.text())


def _load(models: Sequence[Path], threads: int | None) -> "dict[str, LanguageModel]":
    """The models by the names of their folders, or by their paths where these are equal."""
    from seriatim.tasks import storage
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.registry import load_as

    first, *others = models
    for path in others:
        if not path.is_dir() and storage.is_model(first):
            raise ConfigError(
                f"{str(path)!r:.60} is not a model folder: give a text with --text TEXT, a file "
                "with --file FILE"
            )
    use_threads(threads)
    names = Counter(path.resolve().name for path in models)
    return {
        path.resolve().name if names[path.resolve().name] == 1 else str(path): load_as(
            LanguageModel, path, "surprisal"
        )
        for path in models
    }


def _stdin_format(loaded: "dict[str, LanguageModel]", files: FileOptions | None) -> str | None:
    return (files or FileOptions()).format or next(iter(loaded.values())).table_format


def _events(lm: "LanguageModel", text: str) -> "str | list[str]":
    """A text; of a model of events also the events of a JSON list.

    A single line is given as a list, in which it is never taken for the name of a file.
    """
    given = parse_events(text) if lm.reads_events else text
    is_words = lm.reads_events and " " in text
    is_line = isinstance(given, str) and given and "\n" not in given and not is_words
    return [str(given)] if is_line else given


def _content(
    lm: "LanguageModel", path: Path, files: FileOptions | None, reading: ReadingOptions | None
) -> Any:
    """The text of a file, or the texts or sequences of events of a table."""
    from seriatim.data import tables
    from seriatim.data.files import path_suffix, read_blocks
    from seriatim.data.sources import check_path
    from seriatim.tasks.options import DataFiles

    options = files or FileOptions()
    check_path(path)
    format = options.format or tables.SUFFIXES.get(path_suffix(path), "text")
    if format == "text" and reading is None and path.is_file():
        content = "".join(read_blocks(path, options.encoding))
        content = content if content.endswith("\n") or not content else content + "\n"
        return parse_events(content) if lm.reads_events else content
    source = lm.open_files(
        DataFiles(
            data=path,
            format=options.format,
            encoding=options.encoding,
            **asdict(reading or ReadingOptions()),
        )
    )
    print_notes(source)
    texts = list(source.texts())
    is_one = lm.reads_events and all(isinstance(text, str) for text in texts)
    return texts if not is_one else [str(event) for event in texts]
