"""Commands in forked processes, which begin at once, and in fresh ones, as a user begins them.

A forked command runs `seriatim.cli.main` without importing anything again, so that it can be
killed hundreds of times within a minute.
"""

import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.campaign.trials import check_sentence


@dataclass(frozen=True)
class Result:
    """How a command ended: its exit code (negative: the signal), what it printed, its time."""

    code: int
    out: str
    err: str
    seconds: float

    def check(self) -> "Result":
        """Check that it succeeded or was refused in one sentence, without a traceback."""
        assert "Traceback" not in self.err + self.out, self.err[-600:] or self.out[-600:]
        assert self.code in (0, 2, 3, 4, 5, 6, 8), f"exit code {self.code}: {self.err[-300:]}"
        if self.code:
            check_sentence(self.err.strip().splitlines()[-1], "seriatim: ")
        return self


def fork(
    action: Callable[[], int],
    folder: Path,
    kill_after: float | None = None,
    *,
    encoding: str = "utf-8",
    reads: int | None = None,
) -> Result:
    """Run an action in a forked process.

    Args:
        action: what to run; returns the exit code.
        folder: where its output is written.
        kill_after: the seconds after which it is killed if it still runs.
        encoding: the encoding of its terminal.
        reads: the bytes that are read of its output before the pipe is closed; None: there is none.
    """
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    began = time.monotonic()
    reader, writer = (None, None) if reads is None else os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(0)
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
            if reader is not None and writer is not None:
                os.dup2(writer, 1)
                os.close(writer)
                os.close(reader)
            streams = [os.fdopen(n, "w", encoding=encoding, closefd=False) for n in (1, 2)]
            sys.stdout, sys.stderr = streams
            code = action()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            os.write(2, traceback.format_exc().encode(errors="replace"))
        finally:
            os._exit(code)
    if reader is not None and writer is not None:
        os.close(writer)
        os.read(reader, reads or 0)
        os.close(reader)
    try:
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if kill_after is not None and time.monotonic() - began >= kill_after:
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
                break
            time.sleep(0.002)
    except BaseException:  # the alarm of a trial
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    seconds = time.monotonic() - began
    texts = [path.read_text("utf-8", "replace") if path.exists() else "" for path in (out, err)]
    return Result(os.waitstatus_to_exitcode(status), texts[0], texts[1], seconds)


def command(
    arguments: Sequence[str],
    folder: Path,
    kill_after: float | None = None,
    *,
    encoding: str = "utf-8",
    reads: int | None = None,
) -> Result:
    """Run a command of seriatim in a forked process, as `fork`; its cache is in the folder."""

    def action() -> int:
        from seriatim.cli import main

        os.environ["SERIATIM_CACHE"] = str(folder / "cache")
        return main(arguments)

    return fork(action, folder, kill_after, encoding=encoding, reads=reads)


def kill_instant(rng: random.Random, seconds: float) -> float:
    """A random instant of something that takes some seconds, early ones somewhat more often."""
    return seconds * rng.random() ** 1.3


def fresh(
    arguments: Sequence[str],
    folder: Path,
    *,
    environment: "dict[str, str] | None" = None,
    prefix: Sequence[str] = (),
) -> "subprocess.Popen[bytes]":
    """Start a command in a process of its own, as a user does."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "seriatim", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "SERIATIM_CACHE": str(folder / "cache"),
            **(environment or {}),
        },
    )
