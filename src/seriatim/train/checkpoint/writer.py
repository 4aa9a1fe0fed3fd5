"""When a run is written down: every so many minutes, beside training, and at its end.

Knows the clock, a thread and the folder; what is written is the loop's affair, how is the
checkpoint's. A disk that is full or broken never ends a run: it is said once, and tried again
when the next checkpoint is due.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from seriatim.train.checkpoint import store
from seriatim.train.checkpoint.snapshot import Copies, Snapshot
from seriatim.train.checkpoint.store import Checkpoints


class CheckpointWriter:
    """Writes the checkpoints of one run."""

    def __init__(
        self, where: Checkpoints, about: Mapping[str, Any], clock: Callable[[], float]
    ) -> None:
        """
        Args:
            about: what the run is; see `checkpoint.Head`.
            clock: seconds, from any origin.
        """
        self.where, self._about, self._clock = where, about, clock
        self._last = clock()
        self._copies = Copies()
        self._thread: threading.Thread | None = None
        self._failure: str | None = None
        self._is_failing = False

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next checkpoint, and the last one is on disk."""
        if self._thread is not None and self._thread.is_alive():
            return False
        return self._clock() - self._last >= 60.0 * self.where.minutes

    def keep(self, found: Snapshot, *, wait: bool = False) -> None:
        """Write a snapshot, of copies, beside what goes on; or, to `wait`, before it goes on."""
        self.wait()
        snapshot = replace(found, tensors=self._copies(found.tensors))
        self._last = self._clock()
        self._thread = threading.Thread(target=self._write, args=(snapshot,), daemon=True)
        self._thread.start()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until what is being written is on disk."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def news(self) -> str | None:
        """A sentence, once, when the disk has begun to refuse or to take checkpoints again."""
        if self._thread is not None and self._thread.is_alive():
            return None
        failure, was_failing = self._failure, self._is_failing
        self._is_failing = failure is not None
        if failure is not None and not was_failing:
            return (
                f"the checkpoint could not be written to {self.where.folder} ({failure}); "
                "training goes on, and it is tried again: free some space"
            )
        if failure is None and was_failing:
            return f"checkpoints are written to {self.where.folder} again"
        return None

    def _write(self, snapshot: Snapshot) -> None:
        try:
            store.write(self.where.folder, snapshot, self._about)
            self._failure = None
        except store.FULL as error:
            self._failure = getattr(error, "strerror", None) or str(error)
