"""A log of training as JSON lines: one per evaluation, and one now and then between them.

Knows what a run tells and a file that is only ever appended to; knows no model. Losses are nats
per scored symbol. Of a run that was cut short and goes on, the steps after its
last checkpoint come again: the later line of a step counts.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seriatim.train.callbacks.history import Progress

SECONDS_BETWEEN_LINES = 10.0  # evaluations not counted


class JsonLines:
    """A listener of training that appends to a file; a full disk ends the log, not the run."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            path: made, with its folder, at the first line.
            clock: seconds, from any origin.
        """
        self._path, self._clock = path, clock
        self._last = clock()
        self._is_broken = False

    def __call__(self, progress: Progress) -> None:
        """Take note of where training stands."""
        for note in progress.notes:
            self.write({"event": "note", "text": note})
        now = self._clock()
        if progress.is_evaluation or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            record = asdict(progress)
            del record["notes"], record["is_evaluation"]
            event = "evaluation" if progress.is_evaluation else "progress"
            self.write({"event": event, **record})

    def write(self, record: dict[str, Any]) -> None:
        """Append one line, with the time of day in seconds since 1970."""
        if self._is_broken:
            return
        line = json.dumps({**record, "time": round(time.time(), 3)}, ensure_ascii=False) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                if _is_cut(self._path):
                    file.write(b"\n")  # the last line was cut by a kill: it must not swallow this
                file.write(line.encode())
        except OSError:
            self._is_broken = True


def _is_cut(path: Path) -> bool:
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log, in order; a line that was cut short is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def call_all(*listeners: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """One listener that tells several."""

    def tell(progress: Progress) -> None:
        for listener in listeners:
            listener(progress)

    return tell
