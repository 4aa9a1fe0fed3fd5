"""`seriatim serve` as a process of its own, as a user starts it."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


@dataclass
class ServedProcess:
    """A server that runs.

    Attributes:
        address: where it listens.
        log: the file of its stdout and stderr.
        process: its process.
    """

    address: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def client(self, **options: Any) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=self.address, timeout=60, trust_env=False, **options)


@contextlib.contextmanager
def served(tasks: Mapping[str, Any], folder: Path, *options: str) -> Iterator[ServedProcess]:
    """A server of these models, which ends with the context.

    Args:
        tasks: the models, by name.
        folder: where they are saved, and the log.
        options: further options of the command line.
    """
    for name, task in tasks.items():
        task.save(folder / name)
    log = folder / "log.txt"
    command = [sys.executable, "-m", "seriatim", "serve", *(str(folder / n) for n in tasks)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--port", "0", *options],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            yield ServedProcess(_address(process, log), log, process)
        finally:
            process.terminate()
            assert process.wait(timeout=30) in (0, -15)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    for _ in range(600):
        found = re.search(r"^on (http://\S+)$", log.read_text("utf-8"), re.M)
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(log.read_text("utf-8"))
