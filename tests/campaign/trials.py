"""Trials: a scenario is tried with one seed after another, within a number and a time.

A trial returns a word for how it survived, such as "refused" or "read", and raises whatever went
wrong. Knows no scenario.
"""

import contextlib
import io
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from seriatim.errors import SeriatimError

LONGEST_MESSAGE = 700
PATIENCE_S = 60  # of one trial that runs in this process


class Skip(Exception):  # noqa: N818  # no error
    """The scenario cannot be tried on this machine."""


@dataclass(frozen=True)
class Scenario:
    """What is tried.

    Attributes:
        name: its name.
        trial: from a generator and an empty folder to how the program survived.
        weight: the fraction of the number of trials that it gets; slow ones get less.
        patience: the seconds after which a trial hangs.
    """

    name: str
    trial: Callable[[random.Random, Path], str]
    weight: float = 1.0
    patience: int = PATIENCE_S


@dataclass
class Tally:
    """How often a scenario was tried, and with what result."""

    survived: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)  # (seed, reason)
    skipped: str = ""

    @property
    def tried(self) -> int:
        """The number of trials."""
        return self.survived.total() + len(self.failed)

    def __str__(self) -> str:
        if self.skipped:
            return f"skipped: {self.skipped}"
        ways = ", ".join(f"{count} {way}" for way, count in self.survived.most_common())
        return (
            f"tried {self.tried}, survived {self.survived.total()} ({ways or 'none'}), "
            f"failed {len(self.failed)}"
        )


def run(scenario: Scenario, count: int, seconds: float, first_seed: int) -> Tally:
    """Try a scenario with `count` seeds or for some seconds, whichever ends first."""
    tally, began = Tally(), time.monotonic()
    for seed in range(first_seed, first_seed + count):
        if time.monotonic() - began > seconds:
            break
        try:
            with TemporaryDirectory(prefix="campaign-") as folder, _alarm(scenario.patience):
                tally.survived[scenario.trial(random.Random(seed), Path(folder))] += 1
        except Skip as reason:
            tally.skipped = str(reason)
            break
        except Exception as error:
            tally.failed.append((seed, f"{type(error).__name__}: {str(error)[:300]!r}"))
    return tally


@contextlib.contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError(f"it hangs for {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attempt(action: Callable[[], object], name: str = "") -> str:
    """ "read" if an action succeeds; "refused" if it is refused in one sentence that has `name`."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            action()
    except SeriatimError as error:
        check_sentence(str(error), name)
        return "refused"
    return "read"


def check_sentence(text: str, name: str = "") -> None:
    """Check that a message is one line of bounded length, without a traceback, that has `name`."""
    assert text.strip(), "an empty message"
    assert "\n" not in text.strip(), f"several lines: {text}"
    assert len(text) <= LONGEST_MESSAGE, f"{len(text)} characters: {text}"
    assert name in text, f"{name} is not named: {text}"
