"""The text, or the list of events, that a command about a language model is given.

Knows files and vocabularies; no model.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seriatim.cli.fit_request import FileOptions, ReadingOptions
from seriatim.cli.output import print_notes
from seriatim.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seriatim.data.vocab.vocabulary import Text
    from seriatim.tasks.language_model import LanguageModel


def given_text(
    lm: "LanguageModel",
    text: str | None,
    file: Path | None,
    files: FileOptions | None,
    reading: ReadingOptions | None,
) -> "Text":
    """What was given: a text; for a model of events also a JSON list, or a column of a table.

    Args:
        lm: a fitted language model.
        text: the text, or the JSON of a list of events.
        file: a file that holds them.
        files: how the file is read.
        reading: where in the file they are.

    Raises:
        ConfigError: if it was given twice, or columns were given without a file.
        DataError: if the file cannot be read, or holds several sequences.
    """
    from seriatim.data import tables
    from seriatim.data.files import path_suffix, read_blocks

    files, reading = files or FileOptions(), reading or ReadingOptions()
    is_events = lm.reads_events
    if file is None:
        if reading != ReadingOptions():
            raise ConfigError("columns belong to a file: give --file too")
        return parse_events(text or "") if is_events else text or ""
    if text is not None:
        raise ConfigError("a text and --file were given: give one of them")
    format = files.format or (tables.SUFFIXES.get(path_suffix(file)) if is_events else None)
    if reading != ReadingOptions() or format not in (None, "text"):
        return _from_records(file, files, reading, is_events)
    content = "".join(read_blocks(file, files.encoding))
    return parse_events(content) if is_events else content


def given_prompt(
    lm: "LanguageModel",
    text: str | None,
    file: Path | None,
    files: FileOptions | None,
    reading: ReadingOptions | None,
) -> "str | list[str]":
    """What was given, as by `given_text`, with notes on it.

    Said once: if it is longer than what the model sees, unknown in part, or the name of a file.
    """
    from seriatim.data.file_names import is_file_name

    prompt = given_text(lm, text, file, files, reading)
    notes = [lm.prompt_note(prompt)]
    if text is not None and is_file_name(text):
        notes.append(f"the prompt is the text {text!r}; to read the file, give --file {text}")
    for note in filter(None, notes):
        print(f"note: {note}", file=sys.stderr, flush=True)
    return prompt if isinstance(prompt, str) else list(prompt)


def parse_events(text: str) -> str | list[str]:
    """The list in a text that is a JSON list; otherwise the text; without a text no events."""
    from seriatim.data.tables import to_text

    if not text.strip():
        return []
    try:
        items = json.loads(text) if text.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        if text.lstrip().startswith('["'):
            raise ConfigError(
                f"{text[:60]!r} begins as a JSON list of events does and is none: write "
                """'["one event", "another"]'"""
            ) from None
        items = None
    if items is None:
        return text.removesuffix("\n")
    events = to_text(items, Path("the list of events"), text[:40])
    return events if isinstance(events, list) else [events]


def _from_records(
    file: Path, files: FileOptions, reading: ReadingOptions, is_events: bool
) -> "Text":
    source = reading.opened(file, sequences="document", files=files)
    print_notes(source)
    records = list(source.texts())
    events = [record for record in records if isinstance(record, str)]
    if is_events and len(events) == len(records):
        return events  # a row for each event, of a single sequence
    if len(records) != 1:
        raise DataError(
            f"{file} holds {len(records):,} sequences, and one is needed: give a file with one, or "
            "use score --each for all of them"
        )
    return records[0]
