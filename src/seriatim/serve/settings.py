"""What a server allows: sizes, counts and times. Each has a default that one laptop can keep.

Knows numbers; no protocol and no model.
"""

from dataclasses import dataclass

from seriatim.errors import ConfigError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """The limits of a server. A request beyond one is refused with a sentence that names it.

    Attributes:
        host: the address to listen on. Beyond loopback a key is needed.
        port: the port; 0: a free one.
        max_body: the bytes of a request's body.
        max_symbols: the symbols of all prompts, texts or elements of a request together.
        max_rows: the continuations of a request, prompts times n.
        max_tokens: the symbols of a continuation.
        max_source: the symbols of a source to translate, each.
        max_requests: the requests that are answered at once; more get 429.
        max_waiting: the pieces of work that wait for the model; more get 429.
        batch_rows: the continuations that a model advances side by side.
        request_seconds: the time from which a request's work is given up.
        body_seconds: the time in which a body must have arrived.
        session_seconds: the time after which an unused session expires.
        session_bytes: the bytes of all sessions together.
        max_sessions: the number of sessions.
        max_sockets: the number of open WebSockets.
        cache_bytes: the bytes of the states of prompts that are remembered.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_body: int = 4 << 20
    max_symbols: int = 65_536
    max_rows: int = 128
    max_tokens: int = 4_096
    max_source: int = 256
    max_requests: int = 256
    max_waiting: int = 1_024
    batch_rows: int = 64
    request_seconds: float = 600.0
    body_seconds: float = 30.0
    session_seconds: float = 1_800.0
    session_bytes: int = 1 << 30
    max_sessions: int = 20_000
    max_sockets: int = 64
    cache_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name not in ("host", "port", "cache_bytes") and not value > 0:
                raise ConfigError(f"{name} = {value}: give more than 0")
        if not 0 <= self.port < 65_536:
            raise ConfigError(f"port {self.port}: give 0 (a free one) to 65535")

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine can reach the server."""
        return self.host in LOOPBACK
