"""The guard: what every request passes before a route sees it, and every answer on its way out.

In order: the Host and Origin headers, the key, the number of requests, the content type, the size.
Whatever fails behind it is answered with a sentence of ours and logged without texts. Written as
plain ASGI, since FastAPI's own middleware reads bodies ahead and hides that a client has left.

Knows HTTP and the limits; no model.

    Host      on loopback only names of this machine: a page of another site whose name was made to
              point here (DNS rebinding) sends its own name.
    Origin    the same as Host: a page of another site cannot use what it may not read, nor open a
              WebSocket, to which browsers apply no other rule.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from seriatim.serve.answers import json_bytes
from seriatim.serve.counters import LOG, Counters, log_fault
from seriatim.serve.keys import Keys
from seriatim.serve.refusals import GoneError, RefusalError, as_refusal, bad, busy
from seriatim.serve.settings import LOOPBACK, ServeSettings

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY_PROTOCOL = "seriatim.key."  # a WebSocket of a browser has no other place for a key
_WITH_BODY = ("POST", "PUT", "PATCH")
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: App, limits: ServeSettings, keys: Keys, counters: Counters) -> None:
        """
        Args:
            app: what answers.
            limits: the limits of the server.
            keys: who may ask.
            counters: where requests are counted.
        """
        self._app, self._limits, self._keys, self._counters = app, limits, keys, counters
        self._running = 0
        self._sockets = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._open(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    @property
    def num_running(self) -> int:
        """The requests that are being answered."""
        return self._running

    # ---- HTTP -----------------------------------------------------------------------------------

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 0

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        try:
            await self._admitted(scope, receive, sending)
        except GoneError:
            status = status or 499  # nginx's number for a client that has left
        except asyncio.CancelledError:
            raise
        except Exception as error:
            refusal = as_refusal(error)
            if refusal.status == 500:
                log_fault(error)
            if status == 0:
                await _send_refusal(refusal, sending)
        finally:
            seconds, route = time.perf_counter() - began, route_of(scope)
            self._counters.add("requests_total", route=route, status=status)
            self._counters.add("request_seconds_total", seconds, route=route)
            LOG.info("%s %s %d %.0f ms", _method(scope), route, status, 1000 * seconds)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        self._check_origin(headers)
        self._identify(scope, headers.get("authorization", ""), _bearer)
        if _is_open(scope):
            await self._app(scope, receive, send)
            return
        if scope["method"] in _WITH_BODY:
            self._check_body(headers)
        if self._running >= self._limits.max_requests:
            raise busy("the server answers as many requests as it may")
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1

    def _check_origin(self, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if self._limits.is_loopback and _name_of(host) not in LOOPBACK:
            raise RefusalError(421, "this server answers on the names of this machine alone")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise RefusalError(403, "pages of other sites may not use this server")

    def _identify(self, scope: Scope, given: str, key_of: Callable[[str], str]) -> None:
        """Put the owner and the client into the scope."""
        if _is_open(scope):
            return
        owner = self._keys.owner(key_of(given))
        if owner is None:
            raise RefusalError(401, "give a key: Authorization: Bearer KEY", code="invalid_api_key")
        host, port = scope.get("client") or ("", 0)
        scope["seriatim.owner"] = owner
        scope["seriatim.client"] = owner or f"{host}:{port}"

    def _check_body(self, headers: dict[str, str]) -> None:
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise bad("the header content-length is not a number")
        if len(length) > 15 or int(length) > self._limits.max_body:
            raise RefusalError(413, f"the body has more than {self._limits.max_body:,} bytes")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_empty = length == "0" and "transfer-encoding" not in headers
        if kind != "application/json" and not is_empty:
            # A page of another site may send any other type without asking first.
            raise RefusalError(415, "send JSON, with content-type: application/json")

    # ---- WebSockets -----------------------------------------------------------------------------

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        is_counted = False
        try:
            self._check_origin(headers)
            key = headers.get("authorization", "")
            offered: list[str] = scope.get("subprotocols", [])
            named = [p for p in offered if p.startswith(KEY_PROTOCOL)]
            if named:
                self._identify(scope, named[0], lambda p: p.removeprefix(KEY_PROTOCOL))
            else:
                self._identify(scope, key, _bearer)
            if self._sockets >= self._limits.max_sockets:
                raise busy("the server has as many WebSockets as it may")
            self._sockets += 1
            is_counted = True
            await self._app(scope, receive, send)
        except RefusalError as refusal:
            self._counters.add("requests_total", route="websocket", status=refusal.status)
            await receive()  # the request to connect
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.message[:100]})
        except GoneError:
            pass
        except Exception as error:
            log_fault(error)
        finally:
            self._sockets -= is_counted


def _is_open(scope: Scope) -> bool:
    """Whether a request needs no key: health, and the page, which holds nothing of anybody."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    path: str = scope["path"]
    return path in ("/", "/health") or path.startswith("/page/")


def _bearer(header: str) -> str:
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "OTHER"


def route_of(scope: Scope) -> str:
    """The pattern of the route, never what the client wrote."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "none"


async def _send_refusal(refusal: RefusalError, send: Send) -> None:
    body = json_bytes(refusal.to_json())
    headers = {"content-type": "application/json", **refusal.headers}
    pairs = [(k.encode(), v.encode()) for k, v in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
