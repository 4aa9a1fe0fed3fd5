"""Files that are written completely or not at all, and that are on disk once the call returns.

Knows paths; nothing about file contents.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PART = ".part"  # suffix of a file that is not complete yet


@contextlib.contextmanager
def write(path: Path) -> Iterator[Path]:
    """The temporary path to write to; on leaving, it is flushed and becomes the file `path`.

    If anything fails, `path` is still the old file; a `.part` file may remain beside it.
    """
    part = path.with_name(path.name + PART)
    yield part
    flush(part)
    os.replace(part, path)


def flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, have reached the disk."""
    with contextlib.suppress(PermissionError):  # Windows cannot open folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
