"""The environment of a process that is timed: with what `seriatim` sets for itself, or without."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def environment_of(*, is_ours: bool) -> Iterator[None]:
    """Context in which a process of one side is started."""
    # Not above: the import sets them, and the process of a peer imports this file.
    from seriatim.cli import THREAD_SETTINGS

    before = {name: os.environ.pop(name, None) for name in THREAD_SETTINGS}
    if is_ours:
        os.environ.update(THREAD_SETTINGS)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
