"""Sessions: sequences that grow element by element, each with its exact state.

A session is a `TextStream` with an owner, a time at which it expires, and bytes that are counted
against a bound. It is touched by the thread that computes alone, so nothing here is locked.

Knows streams of text; no protocol and no family.
"""

import base64
import binascii
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seriatim.core.records import Json
from seriatim.data.vocab.vocabulary import Text
from seriatim.serve.own_routes import finite
from seriatim.serve.refusals import RefusalError, bad, busy
from seriatim.serve.served import ServedText
from seriatim.serve.settings import ServeSettings
from seriatim.tasks.text_stream import TextStream

_OVERHEAD = 4_096  # bytes of Python's objects of a session, an upper estimate


@dataclass(slots=True, eq=False)
class Session:
    """A sequence that grows.

    Attributes:
        id: its name, which nobody can guess.
        owner: whose it is.
        served: the language model that reads it.
        stream: its state.
        num_pushed: the elements pushed so far.
        num_bytes: the bytes of its state.
        used: when it was last used, by `time.monotonic`.
    """

    id: str
    owner: str
    served: ServedText
    stream: TextStream
    num_pushed: int
    num_bytes: int
    used: float


class SessionStore:
    """All sessions of a server, bounded in bytes and in number."""

    def __init__(self, limits: ServeSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            limits: the bounds, and the time after which an unused session expires.
            clock: what tells the time.
        """
        self._limits, self._clock = limits, clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # the longest unused first
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, owner: str, served: ServedText, state: str | None) -> Json:
        """A new session, from the beginning or from a saved state.

        Raises:
            RefusalError: if there is no room, or the state is another model's.
            ModelError: if the state is damaged, or another model's.
        """
        saved = None if state is None else _decoded(state)
        return self._added(owner, served, served.lm.stream(saved), 0)

    def fork(self, owner: str, name: str) -> Json:
        """A second session that goes on from where one is."""
        one = self.find(owner, name)
        return self._added(owner, one.served, one.stream.fork(), one.num_pushed)

    def push(
        self, owner: str, name: str, elements: Sequence[Text], *, has_end: bool, top: int
    ) -> Json:
        """Push elements, all or none; their bits, and what is most probable after them."""
        one = self.find(owner, name)
        stream, bits = _pushed(one, elements, has_end=has_end)
        size = _size(stream)
        if self.num_bytes + size - one.num_bytes > self._limits.session_bytes:
            raise busy("the sessions fill the memory that they may take", 60)
        self.num_bytes += size - one.num_bytes
        one.stream, one.num_bytes = stream, size
        one.num_pushed += len(elements)
        threshold = one.served.lm.alarm
        answer = {
            "bits": [finite(b) for b in bits],
            "num_pushed": one.num_pushed,
            "is_anomaly": None if threshold is None else [b > threshold.bits for b in bits],
        }
        return {**answer, "next": _next(stream, top)} if top else answer

    def surprisal(self, owner: str, name: str, elements: Sequence[Text], *, has_end: bool) -> Json:
        """The bits that elements would have, which are not pushed."""
        bits = _pushed(self.find(owner, name), elements, has_end=has_end)[1]
        return {"bits": [finite(b) for b in bits]}

    def next(self, owner: str, name: str, top: int) -> Json:
        """The most probable next symbols."""
        return {"next": _next(self.find(owner, name).stream, top)}

    def save(self, owner: str, name: str) -> Json:
        """The state, to be given to `open` at any time."""
        one = self.find(owner, name)
        return {"state": base64.b64encode(one.stream.save()).decode("ascii")}

    def describe(self, owner: str, name: str) -> Json:
        """What a session is."""
        return self._shown(self.find(owner, name))

    def close(self, owner: str, name: str) -> None:
        """End a session."""
        self._drop(self.find(owner, name))

    def find(self, owner: str, name: str) -> Session:
        """A session of an owner, which has been used now.

        Raises:
            RefusalError: if there is none.
        """
        self.expire()
        one = self._sessions.get(name)
        if one is None or one.owner != owner:
            raise RefusalError(
                404, "there is no such session, or it has expired", code="no_session"
            )
        one.used = self._clock()
        self._sessions.move_to_end(name)
        return one

    def expire(self) -> None:
        """End sessions that were not used for long."""
        oldest = self._clock() - self._limits.session_seconds
        while self._sessions and next(iter(self._sessions.values())).used < oldest:
            self._drop(next(iter(self._sessions.values())))

    def _added(self, owner: str, served: ServedText, stream: TextStream, pushed: int) -> Json:
        self.expire()
        size = _size(stream)
        if len(self._sessions) >= self._limits.max_sessions:
            raise busy(f"there are {len(self._sessions):,} sessions", 60)
        if self.num_bytes + size > self._limits.session_bytes:
            raise busy("the sessions fill the memory that they may take", 60)
        name = secrets.token_urlsafe(18)
        one = Session(name, owner, served, stream, pushed, size, self._clock())
        self._sessions[name] = one
        self.num_bytes += size
        return self._shown(one)

    def _shown(self, one: Session) -> Json:
        return {
            "id": one.id,
            "model": one.served.name,
            "num_pushed": one.num_pushed,
            "num_bytes": one.num_bytes,
            "expires_in": self._limits.session_seconds,
        }

    def _drop(self, one: Session) -> None:
        del self._sessions[one.id]
        self.num_bytes -= one.num_bytes


def _size(stream: TextStream) -> int:
    return stream.num_bytes + _OVERHEAD


def _next(stream: TextStream, top: int) -> list[Json]:
    return [{"symbol": p.symbol, "probability": p.probability} for p in stream.top(top)]


def _decoded(state: str) -> bytes:
    try:
        return base64.b64decode(state, validate=True)
    except (binascii.Error, ValueError):
        raise bad("state is not what save returned: it is not base64", "state") from None


def _pushed(
    one: Session, elements: Sequence[Text], *, has_end: bool
) -> tuple[TextStream, list[float]]:
    stream = one.stream.fork()
    given = one.served.texts(elements, "elements")
    bits = [stream.push(element) for element in given]
    return stream, [*bits, stream.end()] if has_end else bits
