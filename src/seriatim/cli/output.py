"""What commands print: JSON for programs, short tables for people, progress on stderr.

Also the one owner of torch's process-wide settings on the command line.
"""

import io
import json
import math
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from cyclopts import Parameter

from seriatim.errors import ConfigError
from seriatim.report.terminal import format_duration

if TYPE_CHECKING:
    from seriatim.train.callbacks.history import Progress


Flag = Annotated[bool, Parameter(negative_bool=(), show_default=False)]  # --name, no --no-name


def use_threads(threads: int | None) -> None:
    """Set what torch keeps for this process, once, before anything is computed."""
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: give 1 or more")
    import torch

    from seriatim.train.precision import apply_process_settings

    if threads is not None:
        torch.set_num_threads(threads)
    apply_process_settings(torch.device("cpu"))


def replace_unencodable() -> None:
    """Make stdout and stderr write ? for characters that they cannot encode, and never stop."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="replace")


class Noted(Protocol):
    """Data that says how it was read where that cannot be known."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for people."""


def print_notes(*parts: Noted | None) -> None:
    """Say on stderr how data was read where that cannot be known, each note once."""
    notes = [note for part in parts if part is not None for note in part.notes]
    for note in dict.fromkeys(notes):
        print(f"note: {note}", file=sys.stderr, flush=True)


def print_json(record: Any) -> None:
    """One JSON value on stdout; what is not finite becomes null.

    Characters are escaped if stdout cannot encode them, so that none is lost.
    """
    text = json.dumps(_finite(record), ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(_finite(record), allow_nan=False)
    print(text, flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


_QUIET_SECONDS = 2.0  # before progress is shown


class Reporter:
    """Progress on stderr: one live line in a terminal, a line per evaluation elsewhere."""

    def __init__(self, *, is_quiet: bool = False, prefix: str = "", unit: str = "symbol") -> None:
        """
        Args:
            is_quiet: whether nothing is shown.
            prefix: what is before every sentence.
            unit: what the losses of training are averaged over.
        """
        self._unit = unit
        self._is_live = sys.stderr.isatty() and not is_quiet
        self.is_quiet = is_quiet
        self._prefix = prefix
        self._width = 0
        self._last_valid: float | None = None
        self._began, self._next_count = time.monotonic(), 0.0

    def say(self, sentence: str) -> None:
        """Show what is being done now."""
        if self._is_live:
            self._live(sentence)
        elif not self.is_quiet:
            self._line(sentence)

    def progress(self, p: "Progress") -> None:
        """Show the progress of training."""
        for sentence in p.notes:
            self.note(sentence)
        if self._is_live:
            self._live(_progress_line(p, self._unit))
        elif not self.is_quiet and p.valid_nats is not None and p.valid_nats != self._last_valid:
            self._last_valid = p.valid_nats
            self._line(_progress_line(p, self._unit))

    def scored(self, symbols: int) -> None:
        """Show how many symbols are scored."""
        self.counted(f"scored {symbols:,} symbols")

    def counted(self, sentence: str) -> None:
        """Show progress, once the command has taken two seconds.

        In a terminal it is shown a few times a second, elsewhere in a line every ten seconds.
        """
        now = time.monotonic()
        if now - self._began < _QUIET_SECONDS or now < self._next_count:
            return
        self._next_count = now + (0.2 if self._is_live else 10.0)
        self.say(sentence)

    def note(self, sentence: str) -> None:
        """Show a sentence that stays, in a line of its own."""
        if not self.is_quiet:
            self.done()
            self._line(sentence)

    def done(self) -> None:
        """Clear the live line."""
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


def _progress_line(p: "Progress", unit: str) -> str:
    parts = [f"step {p.step:,}/{p.steps:,}"]
    if p.train_nats is not None:
        parts.append(f"train {p.train_nats / math.log(2):.3f}")
    if p.valid_nats is not None:
        parts.append(f"valid {p.valid_nats / math.log(2):.3f} bits per {unit}")
    if p.step:
        parts.append(f"{p.tokens_per_second:,.0f} tokens/s")
        parts.append(f"{format_duration(p.seconds_left)} left")
    return "  ".join(parts)
