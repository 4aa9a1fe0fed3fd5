"""Refusals: requests that cannot be answered, as a status and a sentence of ours.

No sentence holds anything that the client sent, a path or what an exception says: texts of one
user must never reach the log or the answer of another. So errors of seriatim, whose messages quote
what was given, are translated here by their class.

Knows the shape of OpenAI's errors and seriatim's own errors; no route.
"""

from typing import Any

from seriatim import errors

MODEL_MISSING = "model_not_found"


class RefusalError(Exception):
    """A request that is refused.

    Attributes:
        status: the status of HTTP.
        message: a sentence for the person who wrote the client.
        param: the field that does not fit; None: none in particular.
        code: a word for programs; None: the status says enough.
        retry_after: the seconds after which to try again; None: trying again does not help.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param
        self.code, self.retry_after = code, retry_after

    def to_json(self) -> dict[str, Any]:
        """The body of the answer, as OpenAI's clients read it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        if self.status == 429:
            kind = "rate_limit_error"
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to the status."""
        found = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return {**found, "www-authenticate": "Bearer"} if self.status == 401 else found


def bad(message: str, param: str | None = None) -> RefusalError:
    """A request that does not fit: status 400."""
    return RefusalError(400, message, param=param)


def busy(what: str, seconds: int = 1) -> RefusalError:
    """The server has enough to do: status 429."""
    return RefusalError(
        429, f"{what}: try again later", code="rate_limit_exceeded", retry_after=seconds
    )


def internal() -> RefusalError:
    """A fault of the server, of which the client learns nothing: status 500."""
    return RefusalError(500, "the server has failed at this request; its log says where")


class GoneError(Exception):
    """The work of a client that has left, or was given up."""


class TimedOutError(GoneError):
    """Work that took longer than a request may."""


def as_refusal(error: BaseException) -> RefusalError:
    """What a client learns of an error while its request is worked on."""
    if isinstance(error, RefusalError):
        return error
    if isinstance(error, GoneError) and not isinstance(error, TimedOutError):
        return RefusalError(499, "the client has left")  # nginx's number; nobody reads it
    if isinstance(error, TimedOutError):
        return RefusalError(503, "this took longer than a request may take: ask for less at once")
    if isinstance(error, errors.SymbolError):
        return bad(
            "a text cannot be read in the symbols of this model: give whole words, each with the "
            "space before it, or a list of events"
        )
    if isinstance(error, errors.ModelError):
        return bad("the state is damaged, or was saved by a model with other weights", "state")
    if isinstance(error, errors.DataError):
        return bad("the text has nothing in it that this model can read")
    if isinstance(error, errors.ConfigError):
        return bad("the request does not fit this model: see /v1/models for what it is")
    return internal()
