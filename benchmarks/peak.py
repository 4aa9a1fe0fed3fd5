"""The peak memory of this process."""

import re
import resource
from pathlib import Path


def peak_bytes() -> int:
    """The peak of this program alone, where the system reports it.

    `ru_maxrss` is inherited from the parent process, so under a large parent everything would seem
    as large as the parent. VmHWM starts anew with each program.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.M)
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
