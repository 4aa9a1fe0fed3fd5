"""When this command began, by the clock of `time.perf_counter`: budgets in minutes count from then.

On Linux a command of its own begins with its process, so that imports count as well; a command
that is called inside another program begins with the call. Knows processes and nothing else.
"""

import os
import sys
import time
from pathlib import Path

_START_FIELD = 19  # of /proc/self/stat after the name, which may hold spaces: starttime
_PROGRAM = "seriatim"


def command_began() -> float:
    """The time at which the command began."""
    now = time.perf_counter()
    if not _is_program():
        return now
    try:
        fields = Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()
        started = int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
        return now - max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, ValueError, IndexError, AttributeError):
        return now


def _is_program() -> bool:
    """Whether this process is the command: `seriatim` or `python -m seriatim`."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    is_module = spec is not None and spec.name.partition(".")[0] == _PROGRAM
    return is_module or Path(sys.argv[0]).name == _PROGRAM
