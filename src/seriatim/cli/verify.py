"""`seriatim fit --verify`: whether this fit, killed and resumed, ends with the same bits.

Knows the command line of `fit`, processes and checkpoints; knows no model. Both runs are processes
of their own, and the kill is SIGKILL: what is compared is what happens when the power fails.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seriatim.cli.output import Reporter, print_json
from seriatim.core.records import read_json
from seriatim.errors import ConfigError, ModelError, TrainingError

if TYPE_CHECKING:
    from seriatim.train.checkpoint.store import CheckpointHead

_CHOSEN = ("--out", "--resume", "--overwrite", "--keep-checkpoints", "--checkpoint-minutes")
_DROPPED = ("--verify", "--json", "--quiet", "-q")
_CHECKPOINTS = 10  # of the killed run, so that it is resumed midway
_ATTEMPTS = 5  # a run may be over before it is killed


class VerifyRequest(Exception):  # noqa: N818  # no error: an order
    """This fit is to be run twice and compared; the caller of the command knows its arguments."""


def verify_fit(arguments: Sequence[str]) -> None:
    """Run a fit to its end, and again killed with SIGKILL at a random instant and resumed.

    Weights, best weights, moments of the optimizer, random generators, carried states, schedule,
    patience, evaluations, position in the data and the saved model are compared bit by bit. With
    --minutes, the second run takes as many steps as the first.

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
        fit = read_json(whole / "training.json")["fit"]
        seconds, steps = min(time.monotonic() - began, fit["seconds"]), fit["steps_done"]
        again = _with_steps(options, _head(whole).numbers.plan.steps)
        killed_at = _start_and_kill(again, killed, seconds, reporter)
        reporter.note("resuming it")
        _wait(_start(again, killed, ["--resume", "--keep-checkpoints"]))
        compared, differences = _compare(whole, killed)
    _print(killed_at, steps, compared, differences, json="--json" in arguments)


def _start(options: Sequence[str], out: Path, more: Sequence[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "seriatim.cli", "fit", *options, "--out", str(out), *more]
    return subprocess.Popen(
        [*command, "--quiet"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that all of its processes can be killed at once
    )


def _wait(process: "subprocess.Popen[str]") -> None:
    try:
        _, errors = process.communicate()
    except KeyboardInterrupt:
        _kill(process)
        raise
    if process.returncode != 0:
        lines = errors.strip().splitlines() or [f"exit code {process.returncode}"]
        raise TrainingError(f"the run failed: {lines[-1].removeprefix('seriatim: ')}")


def _kill(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _start_and_kill(options: Sequence[str], out: Path, seconds: float, reporter: Reporter) -> int:
    """Kill a run at a random instant of its training; returns the step of its checkpoint."""
    every = ["--checkpoint-minutes", f"{seconds / 60 / _CHECKPOINTS:.9f}", "--overwrite"]
    for attempt in range(_ATTEMPTS):
        process = _start(options, out, every)
        while process.poll() is None and not _has_begun(out):
            time.sleep(0.01)
        delay = random.SystemRandom().uniform(0.0, seconds / 2**attempt)
        time.sleep(delay)
        is_over = process.poll() is not None
        _kill(process)
        if not is_over and _has_begun(out):
            step = _head(out).numbers.step
            reporter.note(f"killed it {delay:.2f} s into training, its checkpoint at step {step:,}")
            return step
    raise TrainingError(
        "the run was over each time before it could be killed: give it more steps to prove anything"
    )


def _has_begun(out: Path) -> bool:
    return (out / "checkpoints" / "checkpoint.json").exists()


def _head(out: Path) -> "CheckpointHead":
    from seriatim.train.checkpoint.store import read_head

    head = read_head(out / "checkpoints")
    if head is None:
        raise ModelError(
            "the run has left no checkpoint: a model that is counted in one go has nothing to "
            "resume; give one that is trained"
        )
    return head


def _with_steps(options: Sequence[str], steps: int) -> list[str]:
    """The options with a number of steps in place of minutes, which would be measured anew."""
    result: list[str] = []
    rest = iter(options)
    for token in rest:
        name, _, value = token.partition("=")
        if name != "--minutes":
            result.append(token)
            continue
        if not value:
            next(rest, None)
        result += ["--steps", str(steps)]
    return result


def _compare(whole: Path, killed: Path) -> tuple[list[str], list[str]]:
    """What was compared, and what differs."""
    from seriatim.train.checkpoint.diff import compare

    diff = compare(whole / "checkpoints", killed / "checkpoints")
    compared, differences = list(diff.compared), list(diff.differences)
    name = "weights.safetensors"
    compared.append(f"the saved model: {(whole / name).stat().st_size:,} bytes of {name}")
    if (whole / name).read_bytes() != (killed / name).read_bytes():
        differences.append(f"{name} of the saved model differs")
    return compared, differences


def _print(
    killed_at: int, steps: int, compared: list[str], differences: list[str], *, json: bool
) -> None:
    if json:
        record = {"same": not differences, "killed_at": killed_at, "steps": steps}
        print_json({**record, "compared": compared, "differences": differences})
    else:
        print(f"killed at step {killed_at:,} of {steps:,} and resumed; compared:")
        print("\n".join(f"  {clause}" for clause in compared))
    if differences:
        raise TrainingError(
            "the resumed run differs from the uninterrupted one: " + "; ".join(differences[:3])
        )
    if not json:
        print("the same, bit for bit")
