"""Files that are written whole or not at all, and that have reached the disk when it says so.

Knows paths; nothing of what is in the files.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PART = ".part"  # behind the name of a file that is not whole yet


@contextlib.contextmanager
def write(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file `path`, once all of it is on the disk.

    Whatever goes wrong, `path` is the old file or the new one; a part may be left beside it.
    """
    part = path.with_name(path.name + PART)
    yield part
    flush(part)
    os.replace(part, path)


def flush(path: Path) -> None:
    """See that a file, or the names in a folder, have reached the disk."""
    with contextlib.suppress(PermissionError):  # Windows opens no folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
