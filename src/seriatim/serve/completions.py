"""Completions: what `/v1/completions` asks, as rows of a running batch, and their texts.

Knows language models, symbols and rows; the protocol only as the values of its answer.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from seriatim.data.vocab.vocabulary import Ids, Text
from seriatim.decode.sampling import Sampling
from seriatim.serve.bodies import CompletionBody
from seriatim.serve.prompts import PromptMemory, ReadPrompt, begin_prompt, read_prompt
from seriatim.serve.refusals import GoneError, RefusalError, as_refusal, bad
from seriatim.serve.rows import Listed, Row
from seriatim.serve.scheduler import Ticket, Turn
from seriatim.serve.served import ServedText
from seriatim.serve.settings import ServeSettings
from seriatim.tasks.generation import ContinuationWriter, continuation_writer

_DEFAULT_TOKENS = 16  # OpenAI's
_READ_TOGETHER = 32  # symbols of a prompt that are read by the steps of a batch that runs anyway
_MAX_STOPS, _MAX_STOP = 64, 1_000
_LEAST = -9999.0  # OpenAI's ln p of what cannot be: JSON has no infinity


@dataclass(frozen=True)
class CompletionRequest:
    """A request, with everything checked.

    Attributes:
        served: the language model.
        prompts: the text of each prompt, None of ids, and its symbols.
        max_tokens, n, stops, num_top, echo: as OpenAI defines them; `num_top` is its logprobs.
        sampling: how symbols are drawn.
        seed: the seed of all counters.
    """

    served: ServedText
    prompts: list[tuple[str | None, Ids]]
    max_tokens: int
    n: int
    stops: list[str]
    num_top: int | None
    echo: bool
    sampling: Sampling
    seed: int

    @classmethod
    def of(
        cls, body: CompletionBody, served: ServedText, limits: ServeSettings
    ) -> "CompletionRequest":
        """The request that a body makes.

        Raises:
            RefusalError: if it is beyond a limit, or a prompt is not one of this model.
        """
        prompts = _prompts(body.prompt, served)
        n = body.n or 1
        tokens = _DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
        if tokens > limits.max_tokens:
            raise bad(f"max_tokens: give at most {limits.max_tokens:,}", "max_tokens")
        if n * len(prompts) > limits.max_rows:
            raise bad(
                f"prompts times n are more than {limits.max_rows}: give fewer",
                "n" if n > len(prompts) else "prompt",
            )
        check_size(sum(len(ids) for _, ids in prompts), limits, "prompt")
        return cls(
            served,
            prompts,
            tokens,
            n,
            _stops(body.stop),
            body.logprobs,
            bool(body.echo),
            sampling_of(body),
            secrets.randbits(62) if body.seed is None else body.seed,
        )

    @property
    def num_prompt_symbols(self) -> int:
        """The symbols of all prompts."""
        return sum(len(ids) for _, ids in self.prompts)


def check_size(symbols: int, limits: ServeSettings, param: str) -> None:
    """Refuse more symbols than a request may hold.

    Raises:
        RefusalError: status 413.
    """
    if symbols > limits.max_symbols:
        raise RefusalError(
            413,
            f"{param}: give at most {limits.max_symbols:,} symbols in a request",
            param=param,
            code="context_length_exceeded",
        )


def sampling_of(body: Any) -> Sampling:
    """How symbols are drawn, from the fields of a body; 0 filters nothing."""
    top_k = None if body.top_k in (None, 0, -1) else body.top_k
    return Sampling(
        temperature=1.0 if body.temperature is None else body.temperature,
        top_k=top_k,
        top_p=None if body.top_p in (None, 1) else max(body.top_p, 1e-9),
        min_p=None if body.min_p in (None, 0) else body.min_p,
    )


def _prompts(prompt: Any, served: ServedText) -> list[tuple[str | None, Ids]]:
    if isinstance(prompt, str):
        return [(prompt, served.encode(prompt))]
    if not prompt or isinstance(prompt[0], int):
        return [(None, served.check_ids(prompt, "prompt"))]
    if isinstance(prompt[0], str):
        return [(text, served.encode(text)) for text in prompt]
    return [(None, served.check_ids(ids, "prompt")) for ids in prompt]


def _stops(stop: str | list[str] | None) -> list[str]:
    stops = [stop] if isinstance(stop, str) else list(stop or [])
    if len(stops) > _MAX_STOPS or any(len(one) > _MAX_STOP for one in stops):
        raise bad(
            f"stop: give at most {_MAX_STOPS} texts of at most {_MAX_STOP:,} characters", "stop"
        )
    return [one for one in stops if one]


# ---- a choice -----------------------------------------------------------------------------------


@dataclass
class Logprobs:
    """OpenAI's arrays of what the model says of each symbol."""

    tokens: list[str] = field(default_factory=list)
    token_logprobs: list[float | None] = field(default_factory=list)
    top_logprobs: list[dict[str, float] | None] = field(default_factory=list)
    text_offset: list[int] = field(default_factory=list)

    def add(self, symbol: int, listed: Listed | None, at: int, strings: Sequence[str]) -> None:
        """Add a symbol that begins `at` in the text; None: nothing is said of it."""
        self.tokens.append(strings[symbol])
        self.text_offset.append(at)
        if listed is None:
            self.token_logprobs.append(None)
            self.top_logprobs.append(None)
            return
        own = max(listed.log_prob, _LEAST)
        top = {strings[i]: max(p, _LEAST) for i, p in listed.top}
        self.token_logprobs.append(own)
        self.top_logprobs.append({**top, strings[symbol]: own} if top else {})

    def to_json(self) -> dict[str, Any]:
        """The arrays."""
        return dict(vars(self))

    def take(self) -> dict[str, Any]:
        """The arrays, which are then empty: what a stream has not sent yet."""
        taken = self.to_json()
        self.__init__()  # type: ignore[misc]
        return taken


@dataclass(frozen=True)
class Piece:
    """What a choice has to say since its last piece.

    Attributes:
        index: the number of the choice.
        text: the text that is certain.
        logprobs: its arrays, if asked for.
        finish_reason: "stop" or "length" once it has ended.
        num_tokens: the symbols drawn so far.
        refusal: why it ended before its end.
    """

    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: str | None
    num_tokens: int
    refusal: RefusalError | None = None


Say = Callable[[Piece], None]


class CompletionRow(Row):
    """A choice of a request: its text grows symbol by symbol, and is said as it becomes certain.

    Attributes:
        index: the number of the choice.
        num_tokens: the symbols drawn so far.
    """

    def __init__(
        self,
        request: CompletionRequest,
        ticket: Ticket,
        say: Say,
        *,
        index: int,
        is_streamed: bool,
        writer: ContinuationWriter,
        before: str,
        **row: Any,
    ) -> None:
        """
        Args:
            request: the request.
            ticket: of its client.
            say: what takes the pieces; on the thread that computes.
            index: the number of the choice.
            is_streamed: whether pieces are said one by one.
            writer: what turns symbols into text.
            before: the text before the continuation that is said with it.
            row: what `Row` takes.
        """
        super().__init__(**row)
        self.index, self.num_tokens = index, 0
        self._request, self._ticket, self._say = request, ticket, say
        self._is_streamed, self._writer = is_streamed, writer
        self._unsaid, self._length = [before], len(before)
        self.logprobs = None if request.num_top is None else Logprobs()

    def is_wanted(self) -> bool:
        """Whether its client is still there."""
        try:
            self._ticket.check()
        except GoneError as error:
            if not self._ticket.is_gone:
                self.fail(as_refusal(error))
            return False
        return True

    def fail(self, refusal: RefusalError) -> None:
        """Say that it ends here, and why."""
        self._say(Piece(self.index, "", None, None, self.num_tokens, refusal))

    def take(self, symbol: int, listed: Listed | None) -> bool:
        """Take a symbol; returns whether more may come."""
        self.num_tokens += 1
        if self.logprobs is not None:
            self.logprobs.add(symbol, listed, self._length, self._request.served.strings)
        if symbol == self._request.served.end:
            self._write(self._writer.finish())
            self._end("stop")
            return False
        self._write(self._writer.push(symbol))
        if self._writer.is_stopped:
            self._end("stop")
            return False
        if self.num_tokens >= self._request.max_tokens:
            self._write(self._writer.finish())
            self._end("stop" if self._writer.is_stopped else "length")
            return False
        if self._is_streamed and any(self._unsaid):
            self._say(self._piece(None))
        return True

    def end_at_once(self) -> None:
        """End without a symbol."""
        self._end("length")

    def _write(self, pieces: list[str]) -> None:
        self._unsaid += pieces
        self._length += sum(map(len, pieces))

    def _end(self, reason: str) -> None:
        self._say(self._piece(reason))

    def _piece(self, reason: str | None) -> Piece:
        text = "".join(self._unsaid)
        self._unsaid = []
        logprobs = None if self.logprobs is None else self.logprobs.take()
        return Piece(self.index, text, logprobs, reason, self.num_tokens)


# ---- on the thread that computes ----------------------------------------------------------------


def start_prompt(
    request: CompletionRequest,
    number: int,
    turn: Turn,
    say: Say,
    memory: PromptMemory | None,
    *,
    is_streamed: bool,
) -> None:
    """Read a prompt of a request, and let its n continuations join the running batch.

    Args:
        request: the request.
        number: the number of the prompt.
        turn: the turn of this work.
        say: what takes the pieces.
        memory: the states of earlier prompts of the same client.
        is_streamed: whether pieces are said one by one.
    """
    served = request.served
    text, ids = request.prompts[number]
    read, unread = _read(request, ids, turn, memory)
    shown: Text = served.vocabulary.decode(ids) if text is None else text
    for j in range(request.n):
        row = CompletionRow(
            request,
            turn.ticket,
            say,
            index=number * request.n + j,
            is_streamed=is_streamed,
            writer=_writer(served, shown, ids, request.stops),
            before=str(shown) if request.echo else "",
            state=read.state,
            seed=request.seed,
            number=j,
            sampling=request.sampling,
            num_top=request.num_top,
            unread=unread,
        )
        if row.logprobs is not None and request.echo:
            _list_prompt(row.logprobs, served, ids, read.listed)
        if request.max_tokens == 0:
            row.end_at_once()
        else:
            turn.join(served.model, row)


def _read(
    request: CompletionRequest, ids: Ids, turn: Turn, memory: PromptMemory | None
) -> tuple[ReadPrompt, list[int]]:
    """A prompt that is read, or one that is begun and the symbols to be read in the batch."""
    model, has_ends = request.served.model, request.served.end is not None
    num_top = request.num_top if request.echo else None
    if num_top is None and request.n == 1 and request.max_tokens and turn.is_running(model):
        begun = begin_prompt(model, ids, has_ends=has_ends, memory=memory)
        unread = begun.ids[begun.num_read :].tolist()
        if len(unread) <= _READ_TOGETHER:
            return ReadPrompt(begun.state, []), unread
    read = read_prompt(
        model, ids, has_ends=has_ends, num_top=num_top, breathe=turn.breathe, memory=memory
    )
    return read, []


def _writer(served: ServedText, shown: Text, ids: Ids, stops: Sequence[str]) -> ContinuationWriter:
    return continuation_writer(served.vocabulary, shown, ids, stops)


def _list_prompt(
    logprobs: Logprobs, served: ServedText, ids: Ids, listed: Sequence[Listed | None]
) -> None:
    decoder, at = served.vocabulary.decoder(), 0
    for symbol, one in zip(ids.tolist(), listed, strict=True):
        logprobs.add(symbol, one, at, served.strings)
        at += len(decoder.push(symbol))
