"""Checkpoint writing: every so many minutes, beside training, and at its end.

Knows the clock, a thread and the folder; the loop says what is written, `store` how. A full or
broken disk never ends a run: it is reported once, and writing is retried when the next
checkpoint is due.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from seriatim.core.records import Json
from seriatim.train.checkpoint import store
from seriatim.train.checkpoint.snapshot import Snapshot, copy_into
from seriatim.train.checkpoint.store import Checkpoints


class CheckpointWriter:
    """Writes the checkpoints of one run in a thread of its own."""

    def __init__(
        self, where: Checkpoints, about: Mapping[str, Json], clock: Callable[[], float]
    ) -> None:
        """
        Args:
            where: the folder, and the minutes between checkpoints.
            about: what the run is; see `CheckpointHead`.
            clock: returns seconds, from any origin.
        """
        self.where, self._about, self._clock = where, about, clock
        self._last = clock()
        self._buffers: dict[str, Tensor] = {}  # of the last copies
        self._thread: threading.Thread | None = None
        self._failure: str | None = None
        self._is_failing = False

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next checkpoint, and the last one is on disk."""
        if self._thread is not None and self._thread.is_alive():
            return False
        return self._clock() - self._last >= 60.0 * self.where.minutes

    def keep(self, snapshot: Snapshot, *, wait: bool = False) -> None:
        """Write copies of a snapshot while training continues; `wait`: before it continues."""
        self.wait()
        self._buffers = copy_into(self._buffers, snapshot.tensors)
        copied = replace(snapshot, tensors=self._buffers)
        self._last = self._clock()
        self._thread = threading.Thread(target=self._write, args=(copied,), daemon=True)
        self._thread.start()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until what is being written is on disk."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def news(self) -> str | None:
        """A message, once, when writing has begun to fail or to succeed again."""
        if self._thread is not None and self._thread.is_alive():
            return None
        failure, was_failing = self._failure, self._is_failing
        self._is_failing = failure is not None
        if self._is_failing == was_failing:
            return None
        if failure is None:
            return f"checkpoints are written to {self.where.folder} again"
        return (
            f"the checkpoint could not be written to {self.where.folder} ({failure}); "
            "training continues, and writing is retried: free some space"
        )

    def _write(self, snapshot: Snapshot) -> None:
        try:
            store.write(self.where.folder, snapshot, self._about)
            self._failure = None
        except store.DISK_ERRORS as error:
            self._failure = getattr(error, "strerror", None) or str(error)
