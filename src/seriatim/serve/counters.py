"""Counters of a server, and its log: what happened, never what was said.

Knows numbers and names of routes; no texts.
"""

import logging
import threading
import traceback
from collections import defaultdict
from pathlib import Path

LOG = logging.getLogger("seriatim.serve")


class Counters:
    """Numbers that only grow, by name and labels, as Prometheus reads them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: defaultdict[tuple[str, str], float] = defaultdict(float)

    def add(self, name: str, value: float = 1, **labels: object) -> None:
        """Add to a counter."""
        shown = ",".join(f'{key}="{label}"' for key, label in labels.items())
        with self._lock:
            self._values[name, shown] += value

    def text(self, gauges: dict[str, float]) -> str:
        """Prometheus' text format.

        Args:
            gauges: the numbers that rise and fall, by name.
        """
        with self._lock:
            values = sorted(self._values.items())
        lines: list[str] = []
        for (name, labels), value in values:
            head = f"# TYPE seriatim_{name} counter"
            lines += [] if head in lines else [head]
            lines.append(
                f"seriatim_{name}{{{labels}}} {value:g}" if labels else f"seriatim_{name} {value:g}"
            )
        for name, value in gauges.items():
            lines += [f"# TYPE seriatim_{name} gauge", f"seriatim_{name} {value:g}"]
        return "\n".join(lines) + "\n"


def log_fault(error: BaseException) -> None:
    """Log where something failed: neither its message nor its values, which may hold texts."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[-4:]]
    LOG.error("%s at %s", type(error).__name__, " < ".join(reversed(where)) or "an unknown place")


def log_to_stderr(*, is_quiet: bool) -> None:
    """Write the log to stderr, for a command.

    Args:
        is_quiet: whether only faults are written.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.WARNING if is_quiet else logging.INFO)
