"""`seriatim inspect`: what happens inside of a model while it reads a text.

Knows options and files; the findings are made in `tasks.inspecting`.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from seriatim.cli.output import Flag, Reporter, print_json, use_threads
from seriatim.errors import ConfigError, DataError, OutputError

if TYPE_CHECKING:
    from seriatim.analysis.inspect.inspection import Inspection
    from seriatim.tasks.inspection import Labels


def inspect(
    model: Path,
    text: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    target: str | None = None,
    labels: Path | None = None,
    layer: Sequence[str] = (),
    start: int = 0,
    length: int | None = None,
    top: Annotated[int, Parameter(alias="-k")] = 5,
    beam: int = 4,
    out: Path | None = None,
    encoding: str = "utf-8",
    threads: int | None = None,
    json: Flag = False,
) -> None:
    """What happens inside of a model while it reads a text.

    Surprise and alternatives of every symbol; and what the model lets be seen: gates, states and
    the neurons that follow the text, attention heads, the context that counts matched.

    Args:
        model: a model folder, of any task.
        text: the text, or a file of it; -: from stdin. Of a translator: sources, line by line,
            with their targets behind a tab if they are known.
        target: of a translator and a single source: what it is held to say; without it, what it
            says by itself.
        labels: a file with one label for each symbol of the text, line by line: numbers, or
            names of classes; neurons are ranked by how well they follow it. Or .json, a list, or
            an object of several lists by name.
        layer: look at this layer alone, by its number or a pattern such as "*.cross"; may be
            repeated.
        start: symbols left out at the beginning.
        length: symbols that are inspected.
        top: alternatives of every symbol, and neurons for every label.
        beam: of a translator: the width of its search.
        out: write the findings as a page: a file that ends in .html, or a folder, which gets
            report.html and inspection.json.
        encoding: of the files.
        threads: of the processor; all cores if not given.
        json: print JSON.
    """
    if top < 1:
        raise ConfigError(f"--top {top}: give 1 or more")
    use_threads(threads)
    reporter = Reporter(is_quiet=json)
    options: dict[str, Any] = {"only": _patterns(layer), "top": top, "beam": beam}
    if (start, length) != (0, None):
        from seriatim.tasks.inspection import Window

        options["window"] = Window(start, length)
    found = _found(model, text, target, labels, encoding, options)
    written = None if out is None else _write(found, out)
    if json:
        print_json(found.to_json())
    else:
        print(_shown(found))
    if written is not None:
        reporter.note(f"the report is {written}")


def _found(
    place: Path,
    text: str,
    target: str | None,
    labels: Path | None,
    encoding: str,
    options: dict[str, Any],
) -> "Inspection":
    from seriatim.tasks.inspection import inspect as look_into
    from seriatim.tasks.language_model import LanguageModel
    from seriatim.tasks.registry import load
    from seriatim.tasks.translator import Translator

    task = load(place)
    options["title"] = place.resolve().name
    if target is not None and not isinstance(task, Translator):
        raise ConfigError("--target is of a translator, and this model is none: leave it out")
    if isinstance(task, LanguageModel):
        source = _source(text, encoding, task.sequences)
        own = None if labels is None else _labels(labels, encoding)
        return look_into(task, source, labels=own, **options)
    if labels is not None:
        raise ConfigError("--labels are of a language model, and this model is none: leave it out")
    lines = _lines(text, encoding)
    pairs = _pairs(lines, target) if isinstance(task, Translator) else lines
    return look_into(task, pairs, **options)


# ---- what is read -------------------------------------------------------------------------------


def _is_file(text: str) -> bool:
    try:
        return len(text) < 4096 and "\n" not in text and Path(text).is_file()
    except (OSError, ValueError):  # a text that is no path at all
        return False


def _source(text: str, encoding: str, sequences: Any) -> Any:
    """The text, or a source of the file that it names."""
    from seriatim.data.sources import open_source

    if text == "-":
        return sys.stdin.read()
    if not _is_file(text):
        return text
    return open_source(Path(text), sequences=sequences, encoding=encoding)


def _lines(text: str, encoding: str) -> list[str]:
    from seriatim.data.files import read_blocks, split_lines

    if text == "-":
        return sys.stdin.read().splitlines()
    return (
        list(split_lines(read_blocks(Path(text), encoding)))
        if _is_file(text)
        else text.splitlines()
    )


def _pairs(lines: Sequence[str], target: str | None) -> list[tuple[str, str | None]]:
    if target is not None:
        if len(lines) != 1:
            raise ConfigError(f"--target is of one source, and there are {len(lines)}")
        return [(lines[0], target)]
    pairs: list[tuple[str, str | None]] = []
    for line in lines:
        source, tab, known = line.partition("\t")
        pairs.append((source, known if tab else None))
    return pairs


def _labels(path: Path, encoding: str) -> "Labels":
    """Lists of labels by name; of a file with one, the file's own name."""
    import json

    from seriatim.data.files import read_blocks, split_lines

    if path.suffix != ".json":
        return {path.stem: list(split_lines(read_blocks(path, encoding)))}
    try:
        found = json.loads("".join(read_blocks(path, encoding)))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    by_name = found if isinstance(found, dict) else {path.stem: found}
    if not all(isinstance(values, list) for values in by_name.values()):
        raise DataError(f"{path} holds no list of labels: give a list, or an object of lists")
    return by_name


def _patterns(layers: Sequence[str]) -> list[str] | None:
    """Patterns of taps: a number is a layer, wherever it is."""
    found = []
    for layer in layers:
        found += [f"layers.{layer}", f"*.layers.{layer}"] if layer.isdigit() else [layer]
    return found or None


# ---- what is written ----------------------------------------------------------------------------


def _shown(found: "Inspection") -> str:
    from seriatim.analysis.inspect.text import summary

    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = min(shutil.get_terminal_size((88, 24)).columns, 120)
    return summary(found, width=width, is_coloured=is_coloured)


def _write(found: "Inspection", out: Path) -> Path:
    import json

    if out.suffix.lower() in (".html", ".htm"):
        return Path(found.report().write(out))
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found.to_json(), ensure_ascii=False)
        (out / "inspection.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"nothing can be written to {out}: {error.strerror}") from None
    return Path(found.report().write(out / "report.html"))
