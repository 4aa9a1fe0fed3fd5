"""What the routes of a server share: models, limits, the thread that computes, sessions, counters.

Knows the other modules of this room; no route.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from seriatim.serve.bodies import Body
from seriatim.serve.counters import Counters, log_fault
from seriatim.serve.keys import Keys
from seriatim.serve.prompts import PromptMemory
from seriatim.serve.requests import computed, read_body, ticket_for
from seriatim.serve.scheduler import Scheduler, Ticket, Turn
from seriatim.serve.served import Served, ServedText
from seriatim.serve.sessions import SessionStore
from seriatim.serve.settings import ServeSettings

T = TypeVar("T")
B = TypeVar("B", bound=Body)


class Server:
    """What the routes of a server share.

    Attributes:
        served: the models.
        limits: the limits.
        counters: what has happened.
        scheduler: the thread that computes.
        sessions: the sessions; for the thread that computes alone.
        created: when the server began, in seconds since 1970.
    """

    def __init__(self, served: Served, limits: ServeSettings, keys: Keys) -> None:
        self.served, self.limits, self.keys = served, limits, keys
        self.counters = Counters()
        self.scheduler = Scheduler(
            max_waiting=limits.max_waiting, batch_rows=limits.batch_rows, on_fault=log_fault
        )
        self.sessions = SessionStore(limits)
        self.created = int(time.time())
        share = max(1, len(keys.digests)) * max(1, len(served.texts))
        self._memory_bytes = limits.cache_bytes // share
        self._memories: dict[tuple[str, str], PromptMemory] = {}

    def memory(self, owner: str, served: ServedText) -> PromptMemory | None:
        """The states of prompts that one owner has had read by one model."""
        if self._memory_bytes == 0:
            return None
        found = self._memories.get((owner, served.name))
        if found is None:
            found = self._memories[owner, served.name] = PromptMemory(self._memory_bytes)
        return found

    async def compute(self, request: Request, run: Callable[[Turn], T]) -> T:
        """What a function returns on the thread that computes."""
        return await computed(request, self.scheduler, ticket_for(request, self.limits), run)

    async def body(self, request: Request, cls: type[B]) -> B:
        """The body of a request."""
        return await read_body(request, cls, self.limits)

    def expire(self) -> None:
        """Have expired sessions ended, also if nobody asks for any."""
        ticket = Ticket("", time.monotonic() + 60)
        self.scheduler.submit(ticket, lambda turn: self.sessions.expire())

    def gauges(self) -> dict[str, float]:
        """What rises and falls."""
        return {
            "waiting_calls": self.scheduler.num_waiting,
            "running_rows": self.scheduler.num_rows,
            "sessions": len(self.sessions),
            "session_bytes": self.sessions.num_bytes,
        }
