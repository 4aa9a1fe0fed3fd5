"""One rule for file names and texts: a str is a text where a text is asked for, a `Path` a file.

Functions that take data (fit, score, ...) read a str as a path, and say so if there is no such
file; functions that take a text (surprisal, label, translate) read it as the text. There a str
that looks like the name of a file is most likely a mistake, and is refused; in a list, it is not.

Knows suffixes; reads nothing.
"""

import os
from pathlib import Path

from seriatim.data import fasta
from seriatim.errors import DataError

_SUFFIXES = (
    *(".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".conll", ".conllu", ".gz"),
    *fasta.SUFFIXES,
)
_MAX_PATH = 1024  # characters; no longer text is taken for a path


def is_file_name(text: str) -> bool:
    """Whether a text looks like the name of a file: its suffix is one of data, or it is a path.

    `notes.txt` does, whether or not it exists; `a/b` only if there is such a file.
    """
    if not text or len(text) > _MAX_PATH or "\n" in text or text != text.strip():
        return False
    if text.lower().endswith(_SUFFIXES) and (" " not in text or Path(text).is_file()):
        return True
    try:
        has_folder = any(sep in text for sep in (os.sep, os.altsep) if sep)
        return has_folder and Path(text).is_file()
    except (OSError, ValueError):  # a NUL in it
        return False


def check_text(text: object) -> None:
    """Refuse what is no text, or looks like the name of a file, where a text is asked for.

    Raises:
        DataError: if it is a `Path`, or such a name.
    """
    if isinstance(text, os.PathLike):
        raise DataError(
            f"{os.fspath(text)!r} is a path, and a text is needed: read the file, "
            "Path(...).read_text(), or pass its lines as a list"
        )
    if isinstance(text, str) and is_file_name(text):
        raise DataError(
            f"{text!r} is read as a text here, and looks like the name of a file: "
            f"give [{text!r}] if it is the text, otherwise read the file"
        )
