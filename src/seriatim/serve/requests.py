"""A request while it is worked on: its body, its ticket, and whether its client is still there.

FastAPI's handlers go on after their client has left. Here a watcher waits for that, and the ticket
then stops the work at its next breath.

Knows ASGI, tickets and the scheduler; no model.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from seriatim.serve.answers import json_bytes
from seriatim.serve.bodies import Body, parse
from seriatim.serve.refusals import GoneError, RefusalError
from seriatim.serve.scheduler import Scheduler, Ticket, Turn
from seriatim.serve.settings import ServeSettings

T = TypeVar("T")
B = TypeVar("B", bound=Body)


async def read_body(request: Request, cls: type[B], limits: ServeSettings) -> B:
    """The body of a request, within its limits of size and time.

    Raises:
        RefusalError: if it is too large, too slow, or not what the route takes.
        GoneError: if the client leaves before its end.
    """
    try:
        async with asyncio.timeout(limits.body_seconds):
            body = await _bytes(request.receive, limits.max_body)
    except TimeoutError:
        raise RefusalError(
            408, f"the body took more than {limits.body_seconds:g} seconds"
        ) from None
    return parse(cls, body or b"{}")


async def _bytes(receive: Callable[[], Awaitable[Any]], most: int) -> bytes:
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise RefusalError(413, f"the body has more than {most:,} bytes")
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def ticket_for(request: Any, limits: ServeSettings) -> Ticket:
    """The ticket of a request or WebSocket."""
    client: str = request.scope["seriatim.client"]
    return Ticket(client, time.monotonic() + limits.request_seconds)


@contextmanager
def watched(request: Request, ticket: Ticket, on_gone: Callable[[], None]) -> Iterator[None]:
    """Context in which a client that leaves is noticed; if it fails, nobody waits any more."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        ticket.is_gone = True
        on_gone()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except BaseException:
        ticket.is_gone = True
        raise
    finally:
        watcher.cancel()


async def computed(
    request: Request, scheduler: Scheduler, ticket: Ticket, run: Callable[[Turn], T]
) -> T:
    """What a call returns, once the thread that computes has run it.

    Raises:
        GoneError: if the client leaves before.
    """
    future = asyncio.wrap_future(scheduler.submit(ticket, run))
    left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def leave() -> None:
        if not left.done():
            left.set_result(None)

    with watched(request, ticket, leave):
        waiting: list[asyncio.Future[Any]] = [future, left]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            future.add_done_callback(_forget)
            raise GoneError
        return future.result()


def _forget(future: "asyncio.Future[Any]") -> None:
    """Look at the result that nobody waits for, or asyncio would log it."""
    if not future.cancelled():
        future.exception()


def json_response(value: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(json_bytes(value), status, media_type="application/json")


class EventResponse(Response):
    """A stream of events, sent as they come."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        self.events = events
        self.status_code = 200
        self.body = b""
        self.background = None
        self.init_headers({"x-accel-buffering": "no"})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for event in self.events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
