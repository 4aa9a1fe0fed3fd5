"""Ctrl-C and SIGTERM, held back until a step is whole.

Knows the signals of the process. A signal in the middle of a step would leave weights and
moments that belong to no step. Handlers are put back at the end; outside the main thread, where
nobody may set them, nothing is held back.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_HELD = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Inside, the first signal waits for `deliver`; the second comes through at once."""

    def __init__(self, *, is_held: bool = True) -> None:
        self.pending: int | None = None
        self._is_held = is_held and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Callable[..., Any] | int | None] = {}

    def __enter__(self) -> Self:
        if self._is_held:
            for number in _HELD:
                self._before[number] = signal.signal(number, self._hold)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._put_back()
        if kind is None and self.pending is not None:
            self.deliver()

    def deliver(self) -> None:
        """Let the signal that waits do what it would have done: an exception, or the end."""
        self._put_back()
        number, self.pending = self.pending, None
        if number is not None:
            signal.raise_signal(number)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.pending is None:
            self.pending = number
        else:
            self.pending = number
            self.deliver()

    def _put_back(self) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)
