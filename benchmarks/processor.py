"""The processor on which a benchmark runs."""

import platform
import re
from pathlib import Path


def processor_facts() -> str:
    """What Linux says of the processor, its flags included; elsewhere nothing."""
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def processor_name() -> str:
    """The processor's name."""
    name = re.search(r"^model name\s*: (.+)$", processor_facts(), re.M)
    return name[1] if name else platform.processor() or platform.machine()
