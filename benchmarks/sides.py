"""One side of a benchmark in a process of its own, as a person runs it.

In one process two sides would share threads and the allocator: after CTranslate2 has run, ours in
16 bits takes twice as long; and once ours has called mallopt, glibc no longer moves its thresholds,
every large block comes as zeroed pages, and plain PyTorch trains a GRU of 200 at 0.7 of its speed.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Side:
    """A process that says something of itself once it is ready, and then answers questions.

    Attributes:
        ready: what it said.
    """

    def __init__(self, answer: Callable[..., None], *arguments: Any, is_ours: bool) -> None:
        """
        Args:
            answer: a function of a pipe and the arguments: it sends what is to be said, and an
                answer to each question until that is None.
            arguments: of the function.
            is_ours: whether it has the variables that `seriatim` sets for itself.
        """
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=answer, args=(there, *arguments), daemon=True)
        with _environment(is_ours=is_ours):
            self._process.start()
        self.ready: Any = self._here.recv()

    def ask(self, question: Any) -> Any:
        """The answer to a question."""
        self._here.send(question)
        return self._here.recv()

    def rate(self, seconds: float) -> float:
        """What it does per second."""
        rate: float = self.ask(seconds)
        return rate

    def close(self) -> None:
        """End the process."""
        self._here.send(None)
        self._process.join()


@contextmanager
def _environment(*, is_ours: bool) -> Iterator[None]:
    # Not above: the import sets them, and the process of a peer imports this file.
    from seriatim.cli import THREAD_SETTINGS

    before = {name: os.environ.pop(name, None) for name in THREAD_SETTINGS}
    if is_ours:
        os.environ.update(THREAD_SETTINGS)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
