"""The most memory that this process has had."""

import re
import resource
from pathlib import Path


def peak_bytes() -> int:
    """Of this program alone, where the system says it.

    `ru_maxrss` is handed on from whoever started the program: beside a large parent, everything
    would be as large as the parent. VmHWM begins anew with each program.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.M)
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
