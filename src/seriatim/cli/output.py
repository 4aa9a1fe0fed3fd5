"""What commands print: JSON for programs, short tables for people, progress on stderr.

Also the one owner of torch's process-wide settings on the command line.
"""

import gc
import io
import json
import math
import sys
from typing import Annotated, Any, Protocol

from cyclopts import Parameter

from seriatim.errors import ConfigError
from seriatim.train.callbacks.console import Reporter as Reporter

Flag = Annotated[bool, Parameter(negative_bool=(), show_default=False)]  # --name, no --no-name


def use_threads(threads: int | None) -> None:
    """Set what torch keeps for this process, once, before anything is computed."""
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: give 1 or more")
    import torch

    from seriatim.core.threads import fix_threads
    from seriatim.train.precision import apply_process_settings

    if not gc.isenabled():  # as `run_and_exit` left it: what is imported by now is no garbage
        gc.freeze()
        gc.enable()
    if threads is not None:
        fix_threads(threads)
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
