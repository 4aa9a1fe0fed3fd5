"""The inputs of a stream that it computes by itself: the calendar of its moments, static numbers.

Knows times and calendars; no model.

Shapes: H moments ahead, K known inputs, of which the first are given by the caller.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seriatim.core.records import from_json
from seriatim.data.series.calendar import calendar_values
from seriatim.data.series.collection import moments_after
from seriatim.data.series.frequency import parse_frequency
from seriatim.tasks.forecasting.config import KnownSeries
from seriatim.tasks.forecasting.given_series import Floats

_AT_ONCE = 512  # moments whose calendar is computed together


@dataclass(frozen=True)
class StreamInputs:
    """The known inputs of the coming moments of one series.

    Attributes:
        freq: the step between moments.
        zone: the time zone, in which days are counted.
        calendar: the cycles of the calendar.
        given: the number of inputs that the caller gives.
        static: those that are the same at every moment.
        begin: the last moment before the stream, in nanoseconds since 1970.
        passed: the moments since then.
    """

    freq: str
    zone: str | None
    calendar: tuple[str, ...]
    given: int
    static: tuple[float, ...]
    begin: int
    passed: int = 0

    def ahead(self, horizon: int, given: Floats) -> Floats:
        """(H, K) the inputs of the next H moments.

        Args:
            horizon: H.
            given: (H, given) those of the caller.
        """
        parts = [given]
        if self.calendar:
            at = np.arange(self.passed, self.passed + horizon)
            blocks = [self._block(i) for i in range(at[0] // _AT_ONCE, at[-1] // _AT_ONCE + 1)]
            parts.append(np.concatenate(blocks)[at - at[0] // _AT_ONCE * _AT_ONCE])
        parts.append(np.tile(np.array(self.static), (horizon, 1)))
        return np.concatenate(parts, 1)

    def _block(self, number: int) -> Floats:
        return _calendar(replace(self, passed=0), number)

    def after_one(self) -> "StreamInputs":
        """One moment later."""
        return replace(self, passed=self.passed + 1)

    def to_bytes(self) -> bytes:
        """It as a line of bytes."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> "StreamInputs":
        """What `to_bytes` returned."""
        return from_json(cls, json.loads(data), name="the stream")


def stream_inputs(
    names: KnownSeries, end: NDArray[np.datetime64], last_known: Floats
) -> StreamInputs | None:
    """What a stream of one series computes by itself; None: the model takes no such inputs.

    Args:
        names: the series of the model.
        end: () the last moment.
        last_known: (K,) the known inputs of the last moment.
    """
    if not names.calendar and not names.static:
        return None
    static = last_known[len(last_known) - len(names.static) :]
    begin = int(end.astype(np.int64))
    own = tuple(static.tolist())
    return StreamInputs(names.freq, names.zone, names.calendar, len(names.known), own, begin)


@lru_cache(maxsize=64)
def _calendar(inputs: StreamInputs, number: int) -> Floats:
    freq, before = parse_frequency(inputs.freq), number * _AT_ONCE
    start = np.array([inputs.begin]).astype("datetime64[ns]")
    if before:
        start = moments_after(freq, inputs.zone, start, before)[:, -1]
    times = moments_after(freq, inputs.zone, start, _AT_ONCE)[0]
    return calendar_values(times, inputs.zone, inputs.calendar)[0]
