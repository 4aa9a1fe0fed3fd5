"""Giving freed memory back to the system, before a step that takes a lot of it.

glibc keeps what was freed between blocks that are in use; after a text was read, that is more than
the text. Other libraries of C have no such call, and nothing is done there.
"""

import contextlib
import ctypes


def give_back_freed_memory() -> None:
    """Return free pages of the heap to the system; takes some milliseconds."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
