"""`seriatim fit --verify`: whether this fit, killed and resumed, ends with the same bits.

Knows the command line of `fit`, processes and checkpoints; knows no model. Both runs are processes
of their own, and the kill is SIGKILL: what is compared is what happens when the power fails.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seriatim.cli.output import Reporter, print_json
from seriatim.errors import ConfigError, ModelError, TrainingError

if TYPE_CHECKING:
    from seriatim.train.checkpoint.store import CheckpointHead

_CHOSEN = ("--out", "--resume", "--overwrite", "--keep-checkpoints", "--checkpoint-minutes")
_DROPPED = ("--verify", "--json", "--quiet", "-q")
# Options about data and processes, and the number of values of each.
_FILES = ("data", "valid", "test", "source", "target", "valid-source", "valid-target")
_READING = ("format", "encoding", "field", "column", "sequence-column", "order-column")
_OTHERS = ("test-source", "test-target", "source-column", "target-column", "processes", "threads")
_DATA = {
    **{f"--{name}": 1 for name in (*_FILES, *_READING, *_OTHERS)},
    "--split": 3,
    "--skip-empty": 0,
}
_CHECKPOINTS = 10  # of the killed run, so that it is resumed midway
_ATTEMPTS = 5  # a run may be over before it is killed


class VerifyRequest(Exception):  # noqa: N818  # a request, not an error
    """Raised to run this fit twice and compare the two."""


def verify_fit(arguments: Sequence[str]) -> None:
    """Run a fit to its end, and again killed at a random instant and resumed; compare all bits.

    With --minutes, the second run repeats the first by its record.

    Args:
        arguments: the data and options of `fit`.

    Raises:
        ConfigError: if an option is chosen by --verify itself.
        TrainingError: if a run fails, or the two differ.
    """
    options = [token for token in arguments if token not in _DROPPED]
    for token in options:
        if token.partition("=")[0] in _CHOSEN:
            raise ConfigError(f"{token} is chosen by --verify itself: leave it out")
    reporter = Reporter(is_quiet="--json" in arguments)
    with tempfile.TemporaryDirectory(prefix="seriatim-verify-") as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        reporter.note("running it to its end")
        began = time.monotonic()
        _wait(_start(options, whole, ["--keep-checkpoints"]))
        end = _head(whole).numbers
        seconds = min(time.monotonic() - began, end.seconds.total)
        again = _repeating(options, whole)
        killed_at = _start_and_kill(again, killed, seconds, reporter)
        reporter.note("resuming it")
        _wait(_start(again, killed, ["--resume", "--keep-checkpoints"]))
        compared, differences = _compare(whole, killed)
    if "--json" in arguments:
        record = {"same": not differences, "killed_at": killed_at, "steps": end.step}
        print_json({**record, "compared": compared, "differences": differences})
    else:
        print(f"killed at step {killed_at:,} of {end.step:,} and resumed; compared:")
        print("\n".join(f"  {clause}" for clause in compared))
        print("these differ" if differences else "the same, bit for bit")
    if differences:
        raise TrainingError("the resumed run differs: " + "; ".join(differences[:3]))


def _start(options: Sequence[str], out: Path, more: Sequence[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "seriatim", "fit", *options, "--out", str(out), *more]
    return subprocess.Popen(
        [*command, "--quiet"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        start_new_session=True,  # so that all of its processes can be killed at once
    )


def _kill(process: "subprocess.Popen[str]") -> None:
    """Kill a command and the processes that it has started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    elif taskkill := shutil.which("taskkill"):  # of Windows, which has no groups of processes
        command = [taskkill, "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, check=False)
    process.kill()


def _wait(process: "subprocess.Popen[str]") -> None:
    try:
        _, errors = process.communicate()
    except KeyboardInterrupt:
        _kill(process)
        raise
    if process.returncode != 0:
        lines = errors.strip().splitlines() or [f"exit code {process.returncode}"]
        raise TrainingError(f"the run failed: {lines[-1].removeprefix('seriatim: ')}")


def _start_and_kill(options: Sequence[str], out: Path, seconds: float, reporter: Reporter) -> int:
    """Kill a run at a random instant of its training; returns the step of its checkpoint."""
    every = ["--checkpoint-minutes", f"{seconds / 60 / _CHECKPOINTS:.9f}", "--overwrite"]
    for attempt in range(_ATTEMPTS):
        process = _start(options, out, every)
        head = out / "checkpoints" / "checkpoint.json"
        while process.poll() is None and not head.exists():
            time.sleep(0.01)
        delay = random.SystemRandom().uniform(0.0, seconds / 2**attempt)
        time.sleep(delay)
        is_over = process.poll() is not None
        if not is_over:
            _kill(process)
        process.communicate()
        if not is_over and head.exists():
            step = _head(out).numbers.step
            reporter.note(f"killed it {delay:.2f} s into training, its checkpoint at step {step:,}")
            return step
    raise TrainingError("the run ended each time before it could be killed: give it more steps")


def _head(out: Path) -> "CheckpointHead":
    from seriatim.train.checkpoint.store import read_head

    head = read_head(out / "checkpoints")
    if head is None:
        raise ModelError(
            "the run wrote no checkpoint: a model of counts has nothing to resume; give another"
        )
    return head


def _repeating(options: Sequence[str], whole: Path) -> list[str]:
    """The options that repeat a run in minutes, which would be measured anew, by its record.

    Of the others only those remain that say where the data is and how it is read.
    """
    if not any(token.partition("=")[0] == "--minutes" for token in options):
        return list(options)
    kept: list[str] = []
    left = 0  # values of the last option that is kept
    for token in options:
        name = token.partition("=")[0]
        if name.startswith("--"):
            left = 0 if "=" in token else _DATA.get(name, 0)
            if name in _DATA:
                kept.append(token)
        elif left > 0:
            left -= 1
            kept.append(token)
        elif Path(token).exists():
            kept.append(token)
    return [*kept, "--repeat", str(whole)]


def _compare(whole: Path, killed: Path) -> tuple[list[str], list[str]]:
    """What was compared, and what differs."""
    from seriatim.train.checkpoint.diff import compare

    diff = compare(whole / "checkpoints", killed / "checkpoints")
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (whole, killed)]
    compared = [*diff.compared, f"the saved model: {len(weights[0]):,} bytes of weights"]
    differs = [] if weights[0] == weights[1] else ["the weights of the saved model"]
    return compared, [*diff.differences, *differs]
