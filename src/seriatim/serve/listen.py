"""Listening: the application behind a socket, until it is told to stop.

Knows uvicorn; no route.
"""

import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from seriatim.errors import ConfigError
from seriatim.serve.settings import ServeSettings

_CLOSING = 5  # seconds in which requests may end when the server is told to stop


def listen(app: Callable[..., Any], limits: ServeSettings, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: the application.
        limits: the limits, the address among them.
        on_ready: callback that receives the address once connections are accepted.

    Raises:
        ConfigError: if the address cannot be listened on.
    """
    config = uvicorn.Config(
        app,
        host=limits.host,
        port=limits.port,
        log_config=None,
        access_log=False,  # it would hold what clients write into paths
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=limits.max_body,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=_CLOSING,
        h11_max_incomplete_event_size=16_384,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = uvicorn.Server(config)
    with _opened(limits) as one:
        host, port = one.getsockname()[:2]
        on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        server.run(sockets=[one])


def _opened(limits: ServeSettings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in limits.host else socket.AF_INET
        # Named, or asyncio would not know that it is TCP, and leave Nagle's algorithm on: every
        # answer would wait 40 ms for the acknowledgement of its own head.
        one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((limits.host, limits.port))
        one.listen(256)
    except OSError as error:
        raise ConfigError(
            f"--host {limits.host} --port {limits.port} cannot be listened on "
            f"({error.strerror}): choose another one"
        ) from None
    return one
