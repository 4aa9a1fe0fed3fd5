"""What arrives on stdin as a file, so that every format can be read from it.

Knows files; no format.
"""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter

from seriatim.errors import ConfigError, SeriatimError

if TYPE_CHECKING:
    from seriatim.tasks.options import DataFiles

STDIN = Path("-")
File: TypeAlias = Annotated[Path, Parameter(allow_leading_hyphen=True)]  # a file, or -


def check_file(path: Path) -> None:
    """
    Raises:
        ConfigError: if an option was taken for the file.
    """
    if str(path).startswith("-") and path != STDIN:
        raise ConfigError(f"unknown option {path}")


@contextlib.contextmanager
def given_file(path: Path, format: str | None) -> Iterator[Path]:
    """The file, or for - a temporary one with all of stdin; messages then name stdin.

    Args:
        path: the file that was given.
        format: the format of stdin, which has no name that says it; None: text.
    """
    check_file(path)
    if path != STDIN:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="seriatim-") as folder:
        suffix = "" if format in (None, "text") else f".{format}"
        file = Path(folder, f"stdin{suffix}")
        with file.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        try:
            yield file
        except SeriatimError as error:
            raise type(error)(str(error).replace(str(file), "stdin")) from None


@contextlib.contextmanager
def given_part(part: "DataFiles", format: str | None) -> "Iterator[DataFiles]":
    """The files of data with stdin as a file, if that is what was given; see `given_file`."""
    if part.data is None:
        yield part
        return
    with given_file(part.data, format) as file:
        yield replace(part, data=file)
