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
    *,
    reads_stdin: bool = False,
) -> "Text":
    """What was given: a text; for a model of events also a JSON list, or a column of a table.

    Args:
        lm: a fitted language model.
        text: the text, or the JSON of a list of events.
        file: a file that holds them.
        files: how the file is read.
        reading: where in the file they are.
        reads_stdin: whether the text is read from stdin if nothing was given.

    Raises:
        ConfigError: if it was given twice, or columns were given without a file.
        DataError: if the file cannot be read, or holds several sequences.
    """
    from seriatim.data.files import read_blocks

    files, reading = files or FileOptions(), reading or ReadingOptions()
    is_events = lm.vocabulary is not None and lm.vocabulary.is_events
    if file is None:
        if reading != ReadingOptions():
            raise ConfigError("columns are those of a file: give --file too")
        if text is None:
            text = sys.stdin.read() if reads_stdin else ""
        return _parsed(text) if is_events else text
    if text is not None:
        raise ConfigError("a text and --file were given: give one of them")
    if reading != ReadingOptions() or files.format not in (None, "text"):
        return _from_records(file, files, reading, is_events)
    content = "".join(read_blocks(file, files.encoding))
    return _parsed(content.strip()) if is_events else content


def given_prompt(
    lm: "LanguageModel",
    text: str | None,
    file: Path | None,
    files: FileOptions | None,
    reading: ReadingOptions | None,
) -> "str | list[str]":
    """What was given, as by `given_text`; said once if it is longer than what the model sees."""
    prompt = given_text(lm, text, file, files, reading)
    note = lm.prompt_note(prompt)
    if note is not None:
        print(f"note: {note}", file=sys.stderr, flush=True)
    return prompt if isinstance(prompt, str) else list(prompt)


def _parsed(text: str) -> "Text":
    """The list in a text that is a JSON list; otherwise the text; without a text no events."""
    if not text:
        return []
    if not text.startswith("["):
        return text
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise DataError(
            f"{text[:60]} is not a JSON list of texts: give the events as in "
            '\'["first event", "second event"]\''
        )
    return items


def _from_records(
    file: Path, files: FileOptions, reading: ReadingOptions, is_events: bool
) -> "Text":
    source = reading.opened(
        file, sequences="document", format=files.format, encoding=files.encoding
    )
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
