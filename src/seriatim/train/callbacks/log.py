"""A log of training as JSON lines: one per evaluation, and one every few seconds between them.

    log = JsonLines(path)
    Callbacks(progress=log, on_step=log.every(10))  # and one for every tenth step

Knows the progress of a run and a file that is only ever appended to; knows no model. Losses are
nats per scored symbol. A resumed run repeats the steps after its last checkpoint: the later line
of a step counts.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from seriatim.core.records import Json
from seriatim.train.callbacks.history import Progress, TrainingStep

SECONDS_BETWEEN_LINES = 10.0  # evaluations not counted


class JsonLines:
    """A progress callback that appends to a file; a full disk ends the log, not the run."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            path: the file, created with its folder at the first line.
            clock: returns seconds, from any origin.
        """
        self._path, self._clock = path, clock
        self._last = clock()
        self._is_broken = False

    def __call__(self, progress: Progress) -> None:
        """Log the progress of training."""
        for note in progress.notes:
            self.write({"event": "note", "text": note})
        now = self._clock()
        if progress.is_evaluation or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            record = asdict(progress)
            del record["notes"], record["is_evaluation"]
            event = "evaluation" if progress.is_evaluation else "progress"
            self.write({"event": event, **record})

    def every(self, steps: int) -> Callable[[TrainingStep], None]:
        """A callback for `on_step` that logs each update whose number is a multiple of `steps`."""

        def log_step(step: TrainingStep) -> None:
            if step.step % steps == 0:
                self.write({"event": "step", **asdict(step)})

        return log_step

    def write(self, record: Json) -> None:
        """Append one line, with the time of day in seconds since 1970."""
        if self._is_broken:
            return
        line = json.dumps({**record, "time": round(time.time(), 3)}, ensure_ascii=False) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                if _is_cut(self._path):
                    file.write(b"\n")  # a kill cut the last line: do not append to it
                file.write(line.encode())
        except OSError:
            self._is_broken = True


def _is_cut(path: Path) -> bool:
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def call_all(*callbacks: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """One progress callback that calls several."""

    def call(progress: Progress) -> None:
        for callback in callbacks:
            callback(progress)

    return call
