"""`/v1/completions` from a body to an answer, whole or as a stream of events.

Knows the protocol of OpenAI's completions; the computing is in `completions`.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from seriatim.core.records import Json
from seriatim.serve.answers import DONE, event_bytes
from seriatim.serve.bodies import CompletionBody
from seriatim.serve.completions import CompletionRequest, Piece, start_prompt
from seriatim.serve.prompts import PromptMemory
from seriatim.serve.refusals import GoneError, RefusalError, as_refusal
from seriatim.serve.requests import EventResponse, computed, json_response, watched
from seriatim.serve.scheduler import Scheduler, Ticket, Turn
from seriatim.serve.served import ServedText
from seriatim.serve.settings import ServeSettings


@dataclass
class CompletionWork:
    """A request for completions while it is worked on.

    Attributes:
        request: the HTTP request.
        body: its body.
        served: the language model.
        limits: the limits of the server.
        scheduler: what computes.
        ticket: of the client.
        memory: the states of earlier prompts of the client.
    """

    request: Request
    body: CompletionBody
    served: ServedText
    limits: ServeSettings
    scheduler: Scheduler
    ticket: Ticket
    memory: PromptMemory | None
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    async def answer(self) -> Response:
        """The answer; what is refused, is refused before a stream begins."""
        self._loop, self._said = asyncio.get_running_loop(), asyncio.Queue[Piece | None]()
        self._asked = await computed(self.request, self.scheduler, self.ticket, self._begin)
        if self.body.stream:
            return EventResponse(self._events())
        choices: dict[int, list[Piece]] = {}
        async for piece in self._pieces():
            if piece.refusal is not None:
                raise piece.refusal
            choices.setdefault(piece.index, []).append(piece)
        last = [choices[i][-1] for i in sorted(choices)]
        answer = self._head([_choice(piece) for piece in last])
        return json_response({**answer, "usage": self._usage([p.num_tokens for p in last])})

    # ---- on the thread that computes ------------------------------------------------------------

    def _begin(self, turn: Turn) -> CompletionRequest:
        asked = CompletionRequest.of(self.body, self.served, self.limits)
        self._start(asked, 0, turn)
        return asked

    def _start(self, asked: CompletionRequest, number: int, turn: Turn) -> None:
        is_streamed = bool(self.body.stream)
        start_prompt(asked, number, turn, self._say, self.memory, is_streamed=is_streamed)

    def _say(self, piece: Piece | None) -> None:
        with contextlib.suppress(RuntimeError):  # the server is closing
            self._loop.call_soon_threadsafe(self._said.put_nowait, piece)

    # ---- on the thread of the protocol ----------------------------------------------------------

    async def _pieces(self) -> AsyncIterator[Piece]:
        """The pieces of all choices, until each has ended.

        Raises:
            GoneError: if the client leaves before.
        """
        for number in range(1, len(self._asked.prompts)):
            self._submit(number)
        is_open = set(range(len(self._asked.prompts) * self._asked.n))
        with watched(self.request, self.ticket, lambda: self._said.put_nowait(None)):
            while is_open:
                piece = await self._said.get()
                if piece is None:
                    raise GoneError
                if piece.finish_reason is not None or piece.refusal is not None:
                    is_open.discard(piece.index)
                yield piece

    def _submit(self, number: int) -> None:
        def fail(error: BaseException) -> None:
            self._say(Piece(number * self._asked.n, "", None, None, 0, as_refusal(error)))

        def start(turn: Turn) -> None:
            try:
                self._start(self._asked, number, turn)
            except GoneError:
                raise
            except Exception as error:
                fail(error)

        try:
            self.scheduler.submit(self.ticket, start)
        except RefusalError as refusal:
            fail(refusal)

    async def _events(self) -> AsyncIterator[bytes]:
        counts: dict[int, int] = {}
        has_usage = self.body.stream_options is not None and bool(
            self.body.stream_options.include_usage
        )
        extra: Json = {"usage": None} if has_usage else {}
        try:
            async for piece in self._pieces():
                if piece.refusal is not None:
                    raise piece.refusal
                counts[piece.index] = piece.num_tokens
                yield event_bytes({**self._head([_choice(piece)]), **extra})
        except GoneError:
            return  # to nobody
        except Exception as error:
            self.ticket.is_gone = True  # the other choices are given up
            yield event_bytes(as_refusal(error).to_json())
        else:
            if has_usage:
                yield event_bytes({**self._head([]), "usage": self._usage([*counts.values()])})
        yield DONE

    def _head(self, choices: list[Json]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.served.name,
            "choices": choices,
        }

    def _usage(self, counts: list[int]) -> Json:
        read, drawn = self._asked.num_prompt_symbols, sum(counts)
        return {
            "prompt_tokens": read,
            "completion_tokens": drawn,
            "total_tokens": read + drawn,
        }


def _choice(piece: Piece) -> Json:
    return {
        "index": piece.index,
        "text": piece.text,
        "logprobs": piece.logprobs,
        "finish_reason": piece.finish_reason,
    }
