"""Progress on stderr: one live line in a terminal or a notebook, plain lines elsewhere.

Whatever takes over two seconds shows that it is alive: what counts its work says how far it has
come, and beside what does not, the seconds run.

Knows sentences and the progress of training; no model.
"""

import math
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from seriatim.report.terminal import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seriatim.train.callbacks.callbacks import Callbacks
    from seriatim.train.callbacks.history import Progress

PATIENCE = 2.0  # seconds before progress is shown
_LIVE_SECONDS, _LINE_SECONDS = 0.2, 5.0  # between two sentences that say how far something is
_BEAT = 1.0  # seconds between two looks at what is silent


_reporters: "WeakSet[Reporter]" = WeakSet()


def end_progress() -> None:
    """Nothing is being done any more by anybody, as when a command has failed."""
    for reporter in list(_reporters):
        reporter.done()


class Reporter:
    """Shows what is being done, and how far it is."""

    def __init__(
        self,
        *,
        is_quiet: bool = False,
        prefix: str = "",
        unit: str = "symbol",
        is_patient: bool = False,
    ) -> None:
        """
        Args:
            is_quiet: whether nothing is shown.
            prefix: the beginning of every line.
            unit: what the losses of training are averaged over.
            is_patient: whether what takes less than two seconds is not mentioned at all.
        """
        in_notebook = "ipykernel" in sys.modules
        self._is_live = not is_quiet and (sys.stderr.isatty() or in_notebook)
        self.is_quiet = is_quiet
        self._is_patient, self._unit = is_patient, unit
        self._prefix = prefix
        self._width = 0
        self._last_valid: float | None = None
        self._began = self._shown = time.monotonic()
        self._doing, self._since = "", 0.0
        self._lock = threading.RLock()
        _reporters.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.done()

    def doing(self, sentence: str) -> None:
        """Remember what is being done now; it is shown once it has taken two seconds."""
        with self._lock:
            is_idle = not self._doing
            self._doing, self._since = sentence, time.monotonic()
        if is_idle and not self.is_quiet:
            threading.Thread(target=self._watch, daemon=True).start()

    def say(self, sentence: str) -> None:
        """Show what is being done now."""
        self.doing(sentence)
        if not self._is_patient or time.monotonic() - self._began >= PATIENCE:
            self._show(sentence)

    def progress(self, p: "Progress") -> None:
        """Show the progress of training."""
        self._doing = ""
        for sentence in p.notes:
            self.note(sentence)
        now = time.monotonic()
        if self._is_patient and now - self._began < PATIENCE:
            return
        is_news = p.valid_nats is not None and p.valid_nats != self._last_valid
        if self._is_live or is_news or now - self._shown >= 2 * _LINE_SECONDS:
            self._last_valid = p.valid_nats
            self._show(_progress_line(p, self._unit))

    def scored(self, symbols: int) -> None:
        """Show how many symbols are scored."""
        self.counted(f"scored {symbols:,} symbols")

    def counted(self, sentence: str) -> None:
        """Show how far something is: a few times a second in a terminal, elsewhere in a line every
        few seconds, and nothing of what is over in two seconds."""
        now = time.monotonic()
        with self._lock:
            is_idle = not self._doing
            if not is_idle:
                self._doing = sentence  # what the seconds are shown beside, if nothing follows
        if is_idle:
            self.doing(sentence)
        pause = _LIVE_SECONDS if self._is_live else _LINE_SECONDS
        if now - self._since >= PATIENCE and now - self._shown >= pause:
            self._show(sentence)

    def note(self, sentence: str) -> None:
        """Show a sentence that stays, in a line of its own."""
        if not self.is_quiet:
            with self._lock:
                self._clear()
                self._line(sentence)

    def done(self) -> None:
        """Nothing is being done any more: clear the live line."""
        with self._lock:
            self._doing = ""
            self._clear()

    def _watch(self) -> None:
        """Show the seconds beside what says nothing by itself, as long as something is done."""
        while True:
            time.sleep(_BEAT)
            with self._lock:
                if not self._doing:
                    return
                now = time.monotonic()
                pause = PATIENCE if self._is_live or self._shown < self._since else _LINE_SECONDS
                if now - max(self._shown, self._since) >= pause:
                    self._show(f"{self._doing} ({format_duration(now - self._since)})")

    def _show(self, sentence: str) -> None:
        with self._lock:
            self._shown = time.monotonic()
            if self._is_live:
                self._live(sentence)
            elif not self.is_quiet:
                self._line(sentence)

    def _clear(self) -> None:
        if self._is_live:
            self._live("")
            print("\r", end="", file=sys.stderr, flush=True)

    def _live(self, text: str) -> None:
        import shutil

        text = (self._prefix + text)[: shutil.get_terminal_size().columns - 1] if text else ""
        print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
        self._width = len(text)

    def _line(self, text: str) -> None:
        print(self._prefix + text, file=sys.stderr, flush=True)


def console_callbacks(reporter: Reporter) -> "Callbacks":
    """Callbacks that show everything on stderr."""
    from seriatim.train.callbacks.callbacks import Callbacks

    return Callbacks(
        progress=reporter.progress,
        message=reporter.say,
        counted=reporter.counted,
        note=reporter.note,
    )


def _progress_line(p: "Progress", unit: str) -> str:
    # A density of a value is in nats, as forecasters know it; it depends on the unit of the data.
    is_density = unit == "value"
    size, name, each = (1.0, "nats", "values") if is_density else (math.log(2), "bits", "tokens")
    parts = [f"step {p.step:,}/{p.steps:,}"]
    if p.train_nats is not None:
        parts.append(f"train {p.train_nats / size:.3f}")
    if p.valid_nats is not None:
        parts.append(f"valid {p.valid_nats / size:.3f} {name} per {unit}")
    if p.step:
        parts.append(f"{p.tokens_per_second:,.0f} {each}/s")
        parts.append(f"{format_duration(p.seconds_left)} left")
    return "  ".join(parts)


@contextmanager
def shown_in_python(
    progress: "Callable[[int], None] | None",
) -> "Iterator[Callable[[int], None]]":
    """Context in which a callback that was left out shows the progress on stderr.

    Args:
        progress: receives the number of symbols that are scored; None: it is shown.
    """
    with Reporter(is_patient=True) as reporter:
        yield progress or reporter.scored
