"""Ctrl-C and SIGTERM, delayed until a step is complete.

Knows the signals of the process. A signal in the middle of a step would leave weights and
moments that belong to no step. Handlers are restored at the end; outside the main thread, where
they cannot be set, nothing is delayed.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_HELD = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Context in which the first signal waits for `deliver`; a second is delivered at once."""

    def __init__(self, *, is_held: bool = True) -> None:
        """
        Args:
            is_held: whether signals are delayed at all.
        """
        self.pending: int | None = None
        self._is_held = is_held and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Callable[..., Any] | int | None] = {}

    def __enter__(self) -> Self:
        if self._is_held:
            for number in _HELD:
                self._before[number] = signal.signal(number, self._hold)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._restore_handlers()
        if kind is None and self.pending is not None:
            self.deliver()

    def deliver(self) -> None:
        """Raise the waiting signal: its handler raises an exception or ends the process."""
        self._restore_handlers()
        number, self.pending = self.pending, None
        if number is not None:
            signal.raise_signal(number)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        is_second = self.pending is not None
        self.pending = number
        if is_second:
            self.deliver()

    def _restore_handlers(self) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)
