"""Files that are written completely or not at all, and that are on disk once the call returns.

The umask decides who may read them, although temporary files and folders are usually born private.
Knows paths; nothing about file contents.
"""

import contextlib
import os
import secrets
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


def make_folder(parent: Path, prefix: str) -> Path:
    """A new empty folder whose name begins with `prefix`, to be renamed when it is complete.

    Unlike `tempfile.mkdtemp`, whose folders stay private after the renaming, the umask decides who
    may read it.
    """
    while True:
        path = parent / f"{prefix}{secrets.token_hex(4)}"
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path


@contextlib.contextmanager
def keep_umask(path: Path) -> Iterator[None]:
    """Inside, a library writes the file `path`; on leaving it has the mode of any new file.

    Some libraries, such as safetensors, write a private temporary file and rename it.
    """
    path.unlink(missing_ok=True)
    path.touch()
    mode = path.stat().st_mode & 0o777
    yield
    with contextlib.suppress(PermissionError):  # of file systems without modes
        path.chmod(mode)


def flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, have reached the disk."""
    # Windows cannot open folders, and flushes only what is open for writing.
    with contextlib.suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
