"""The routes of sessions, and the WebSocket through which events come and verdicts go.

Knows the protocol; sessions themselves are in `sessions`.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.requests import Request
from starlette.responses import Response

from seriatim.core.records import Json
from seriatim.serve import bodies
from seriatim.serve.answers import json_bytes
from seriatim.serve.bodies import Body, PushBody, parse
from seriatim.serve.completions import check_size
from seriatim.serve.counters import log_fault
from seriatim.serve.refusals import GoneError, RefusalError, as_refusal
from seriatim.serve.requests import json_response, ticket_for
from seriatim.serve.scheduler import Turn
from seriatim.serve.server import Server

PROTOCOL = "seriatim"
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "a refusal, as OpenAI writes it: error.message says why"}
}


def add_session_routes(
    app: FastAPI, server: Server, described: Callable[[type[Body]], dict[str, Any]]
) -> None:
    """Add the routes of sessions.

    Args:
        app: the application.
        server: what the routes share.
        described: a function that documents a body.
    """

    async def answer(request: Request, run: Callable[[str], Json], status: int = 200) -> Response:
        owner = request.scope["seriatim.owner"]
        return json_response(await server.compute(request, lambda turn: run(owner)), status)

    sessions = server.sessions

    @app.post(
        "/sessions", openapi_extra=described(bodies.SessionBody), responses=ERRORS, status_code=201
    )
    async def begin(request: Request) -> Response:
        body = await server.body(request, bodies.SessionBody)
        served = server.served.text(body.model)
        return await answer(request, lambda owner: sessions.open(owner, served, body.state), 201)

    @app.get("/sessions/{name}", responses=ERRORS)
    async def describe(request: Request, name: str) -> Response:
        return await answer(request, lambda owner: sessions.describe(owner, name))

    @app.delete("/sessions/{name}", responses=ERRORS, status_code=204)
    async def end(request: Request, name: str) -> Response:
        owner = request.scope["seriatim.owner"]
        await server.compute(request, lambda turn: sessions.close(owner, name))
        return Response(status_code=204)

    @app.post("/sessions/{name}/push", openapi_extra=described(PushBody), responses=ERRORS)
    async def push(request: Request, name: str) -> Response:
        body = await server.body(request, PushBody)
        return await answer(request, lambda owner: _push(server, owner, name, body))

    @app.post("/sessions/{name}/surprisal", openapi_extra=described(PushBody), responses=ERRORS)
    async def surprisal(request: Request, name: str) -> Response:
        body = await server.body(request, PushBody)
        _check_size(server, body)
        return await answer(
            request,
            lambda owner: sessions.surprisal(owner, name, body.elements, has_end=body.end),
        )

    @app.post(
        "/sessions/{name}/next",
        openapi_extra=described(bodies.SessionNextBody),
        responses=ERRORS,
    )
    async def following(request: Request, name: str) -> Response:
        body = await server.body(request, bodies.SessionNextBody)
        return await answer(request, lambda owner: sessions.next(owner, name, body.top))

    @app.post("/sessions/{name}/fork", responses=ERRORS, status_code=201)
    async def fork(request: Request, name: str) -> Response:
        return await answer(request, lambda owner: sessions.fork(owner, name), 201)

    @app.post("/sessions/{name}/save", responses=ERRORS)
    async def save(request: Request, name: str) -> Response:
        return await answer(request, lambda owner: sessions.save(owner, name))

    @app.websocket("/sessions/{name}/events")
    async def events(socket: WebSocket, name: str) -> None:
        await _serve_events(server, socket, name)


def _check_size(server: Server, body: PushBody) -> None:
    check_size(sum(map(len, body.elements)), server.limits, "elements")


def _push(server: Server, owner: str, name: str, body: PushBody) -> Json:
    _check_size(server, body)
    return server.sessions.push(owner, name, body.elements, has_end=body.end, top=body.top)


async def _serve_events(server: Server, socket: WebSocket, name: str) -> None:
    """Answer each message, a body of `push`, with what `push` answers, until one side leaves."""
    owner: str = socket.scope["seriatim.owner"]
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
    with contextlib.suppress(WebSocketDisconnect, GoneError):
        while True:
            try:
                async with asyncio.timeout(server.limits.session_seconds):
                    message = await socket.receive_text()
            except TimeoutError:
                await socket.close(1001, "nothing was sent for too long")
                return
            except KeyError:  # bytes, where text was expected
                await socket.close(1003, "send text")
                return
            reply = await _replied(server, socket, owner, name, message)
            await socket.send_text(json_bytes(reply).decode())


async def _replied(server: Server, socket: WebSocket, owner: str, name: str, message: str) -> Json:
    ticket = ticket_for(socket, server.limits)
    try:
        if len(message) > server.limits.max_body:
            raise RefusalError(413, "the message is too long")
        body = parse(PushBody, message.encode("utf-8", "surrogatepass"))

        def push(turn: Turn) -> Json:
            return _push(server, owner, name, body)

        return await asyncio.wrap_future(server.scheduler.submit(ticket, push))
    except (GoneError, WebSocketDisconnect, asyncio.CancelledError):
        ticket.is_gone = True
        raise
    except Exception as error:
        refusal = as_refusal(error)
        if refusal.status == 500:
            log_fault(error)
        return refusal.to_json()
