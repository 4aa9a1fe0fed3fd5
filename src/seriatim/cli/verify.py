"""`seriatim verify-resume`: whether a run of yours, killed and resumed, ends with the same bits.

Knows the command line of `fit`, processes and checkpoints; knows no model. Both runs are
processes of their own, and the killing is SIGKILL: what is proved is what happens when the power
goes.
"""

import json as json_values
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from seriatim.cli.output import Flag, Reporter, print_json
from seriatim.errors import ConfigError, ModelError, TrainingError

if TYPE_CHECKING:
    from seriatim.train.checkpoint.diff import CheckpointDiff
    from seriatim.train.checkpoint.store import CheckpointHead

_OURS = ("--out", "--resume", "--overwrite", "--keep-checkpoints", "--checkpoint-minutes")
_SAYING = ("--quiet", "-q")
_CHECKPOINTS = 10  # of the run that is killed, so that it is resumed in its midst
_TRIES = 5  # a run may be over before it is killed


def verify_resume(
    *fit: Annotated[str, Parameter(allow_leading_hyphen=True)],
    json: Flag = False,
) -> None:
    """Run a fit twice, once killed with SIGKILL at a random instant and resumed, and compare.

    Weights, best weights, moments of the optimizer, random generators, carried states, schedule,
    patience, evaluations, position in the data and the saved model are compared bit by bit.
    Nothing is written but to a temporary folder. With --minutes, the second run takes as many
    steps as the first.

    Args:
        fit: data and options exactly as for fit, without --out.
        json: print what was compared as JSON.
    """
    arguments = [token for token in fit if token not in _SAYING]
    for token in arguments:
        if token.partition("=")[0] in _OURS:
            raise ConfigError(f"{token} is chosen by verify-resume itself: leave it out")
    if not arguments:
        raise ConfigError("there is nothing to run: give data and options as for fit")
    reporter = Reporter(is_quiet=json)
    with tempfile.TemporaryDirectory(prefix="seriatim-verify-") as place:
        whole, killed = Path(place) / "whole", Path(place) / "killed"
        reporter.note("running it to its end")
        began = time.monotonic()
        _end(_start(arguments, whole, ["--keep-checkpoints"]))
        head, training = _head(whole), _training(whole)
        seconds = min(time.monotonic() - began, training["fit"]["seconds"])
        again = _with_steps(arguments, head.numbers.plan.steps)
        where = _kill(again, killed, seconds, reporter)
        reporter.note("resuming it")
        _end(_start(again, killed, ["--resume", "--keep-checkpoints"]))
        found = _Verdict.of(whole, killed, where)
    _tell(found, json=json)


@dataclass(frozen=True)
class _Verdict:
    """What was found."""

    killed_at: int
    steps: int
    comparison: "CheckpointDiff"

    @classmethod
    def of(cls, whole: Path, killed: Path, killed_at: int) -> "_Verdict":
        from seriatim.tasks import storage
        from seriatim.train.checkpoint.diff import CheckpointDiff, compare

        found = compare(whole / storage.CHECKPOINTS, killed / storage.CHECKPOINTS)
        compared, differences = list(found.compared), list(found.differences)
        name = "weights.safetensors"
        compared.append(f"the saved model: {(whole / name).stat().st_size:,} bytes of {name}")
        if (whole / name).read_bytes() != (killed / name).read_bytes():
            differences.append(f"{name} of the saved model differs")
        steps = _head(whole).numbers.step
        return cls(killed_at, steps, CheckpointDiff(tuple(compared), tuple(differences)))


def _start(arguments: Sequence[str], out: Path, more: Sequence[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "seriatim.cli", "fit", *arguments, "--out", str(out), *more]
    return subprocess.Popen(
        [*command, "--quiet"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that all of its processes can be killed at once
    )


def _end(process: "subprocess.Popen[str]") -> None:
    """Wait for a run.

    Raises:
        TrainingError: it failed; the message is its own.
    """
    try:
        _, said = process.communicate()
    except KeyboardInterrupt:
        _kill_all(process)
        raise
    if process.returncode != 0:
        lines = said.strip().splitlines() or [f"it left with {process.returncode}"]
        raise TrainingError(f"the run failed: {lines[-1].removeprefix('seriatim: ')}")


def _kill(arguments: Sequence[str], out: Path, seconds: float, reporter: Reporter) -> int:
    """Kill a run at a random instant of its training; the step of its checkpoint then.

    Raises:
        TrainingError: it was always over before it was killed.
    """
    minutes = seconds / 60.0 / _CHECKPOINTS
    for attempt in range(_TRIES):
        process = _start(arguments, out, ["--checkpoint-minutes", f"{minutes:.9f}", "--overwrite"])
        while process.poll() is None and not _has_begun(out):
            time.sleep(0.01)
        wait = random.SystemRandom().uniform(0.0, seconds / 2**attempt)
        time.sleep(wait)
        is_over = process.poll() is not None
        _kill_all(process)
        if not is_over and _has_begun(out):
            step: int = _head(out).numbers.step
            reporter.note(f"killed it {wait:.2f} s into training, its checkpoint at step {step:,}")
            return step
    raise TrainingError(
        "the run was over each time before it could be killed: give it more steps to prove anything"
    )


def _kill_all(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _has_begun(out: Path) -> bool:
    from seriatim.tasks import storage
    from seriatim.train.checkpoint.store import HEAD

    return (out / storage.CHECKPOINTS / HEAD).exists()


def _head(out: Path) -> "CheckpointHead":
    from seriatim.tasks import storage
    from seriatim.train.checkpoint.store import read_head

    head = read_head(out / storage.CHECKPOINTS)
    if head is None:
        raise ModelError(
            "the run has left no checkpoint: a model that is counted in one go has nothing to "
            "resume; give one that is trained"
        )
    return head


def _training(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json_values.loads((out / "training.json").read_text("utf-8"))
    return found


def _with_steps(arguments: Sequence[str], steps: int) -> list[str]:
    """The same run with its number of steps in place of minutes, which would be measured anew."""
    found: list[str] = []
    rest = iter(arguments)
    for token in rest:
        name, _, value = token.partition("=")
        if name != "--minutes":
            found.append(token)
            continue
        if not value:
            next(rest, None)
        found += ["--steps", str(steps)]
    return found


def _tell(found: _Verdict, *, json: bool) -> None:
    differences = found.comparison.differences
    if json:
        print_json(
            {
                "same": not differences,
                "killed_at": found.killed_at,
                "steps": found.steps,
                "compared": list(found.comparison.compared),
                "differences": list(differences),
            }
        )
    else:
        print(f"killed at step {found.killed_at:,} of {found.steps:,} and resumed; compared:")
        print("\n".join(f"  {clause}" for clause in found.comparison.compared))
    if differences:
        shown = "; ".join(differences[:3])
        raise TrainingError(
            f"the resumed run differs from the one that was not killed: {shown}"
            + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
        )
    if not json:
        print("the same, bit for bit")
