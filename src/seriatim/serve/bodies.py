"""What clients may send: strict JSON, then the fields of each route.

JSON is read as RFC 8259 has it and no further: no NaN, no number that overflows to infinity, no
half of a surrogate pair, no depth that exhausts the stack; FastAPI's own reader answers some of
these with status 500, and its 422 sends back what it was given. Here every mistake is a
`RefusalError` that names the field and never the value. Unknown fields are ignored, as OpenAI's
clients expect.

Knows JSON and pydantic; no model and no protocol.
"""

import json
import math
from typing import Annotated, Any, Literal, NoReturn, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from seriatim.serve.refusals import RefusalError, bad

B = TypeVar("B", bound="Body")

_MAX_DEPTH = 32  # of lists and objects within one another
_MAX_DIGITS = 400
# Fields that ask for output of a given structure, which no model here can promise.
STRUCTURED = (
    *("response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice"),
    *("guided_grammar", "guided_whitespace_pattern", "grammar", "json_schema", "regex"),
    *("tools", "tool_choice", "functions", "function_call"),
)
# Fields of OpenAI that would change the text, and the values at which they change nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "suffix": ("",),
    "best_of": (),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "use_beam_search": (False,),
}


# ---- JSON ---------------------------------------------------------------------------------------


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        RefusalError: if it is none, in a sentence without any of it.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
        )
    except UnicodeDecodeError:
        raise bad("the body is not UTF-8") from None
    except RecursionError:
        raise bad(f"the body is nested deeper than {_MAX_DEPTH} levels") from None
    except ValueError:
        raise bad("the body is not JSON") from None
    if not isinstance(value, dict):
        raise bad("the body is not a JSON object")
    _check_texts(value)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise bad("NaN and Infinity are not JSON: give a number")


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise bad("a number is too large: give one below 1e308")
    return number


def _bounded_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise bad(f"a number has more than {_MAX_DIGITS} digits")
    return int(digits)


def _check_texts(value: Any, depth: int = 0) -> None:
    """Refuse what no text may hold, and what is nested too deeply."""
    if depth > _MAX_DEPTH:
        raise bad(f"the body is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise bad("a text holds half of a surrogate pair, which is not a character")
    elif isinstance(value, dict):
        for key, one in value.items():
            _check_texts(key, depth + 1)
            _check_texts(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            _check_texts(one, depth + 1)


def parse(cls: type[B], body: bytes) -> B:
    """A body of a route.

    Raises:
        RefusalError: if it does not fit; the sentence names the field.
    """
    given = read_json(body)
    cls.check_unsupported(given)
    try:
        return cls.model_validate(given)
    except ValidationError as error:
        raise _explained(cls, error) from None


def _explained(cls: type["Body"], error: ValidationError) -> RefusalError:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    # Only names of ours and numbers: what comes after may be a key that the client chose.
    known = [str(part) for part in first["loc"][:1] if part in cls.model_fields]
    name = known[0] if known else None
    if name is None:
        return bad("the body does not fit this route: see /openapi.json")
    if first["type"] == "missing":
        return bad(f"{name} is missing: give it", name)
    if len(first["loc"]) > 1 or first["type"].startswith(("union", "list")):
        return bad(f"{name} does not fit: {cls.expected(name)}", name)
    message = str(first["msg"]).removeprefix("Value error, ")
    return bad(f"{name} does not fit: {message[:1].lower()}{message[1:]}", name)


# ---- the fields of each route -------------------------------------------------------------------

Words: TypeAlias = list[Annotated[str, StringConstraints(max_length=4096)]]
Id: TypeAlias = Annotated[int, Field(ge=0, lt=2**31)]
Prompt: TypeAlias = str | list[str] | list[Id] | list[list[Id]]
Seed: TypeAlias = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Body(BaseModel):
    """What every body has: the name of a model."""

    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())

    model: str | None = Field(None, description="one of /v1/models; absent: the first")

    @classmethod
    def check_unsupported(cls, given: dict[str, Any]) -> None:
        """Refuse fields that would change the answer and that no model here obeys."""

    @classmethod
    def expected(cls, name: str) -> str:
        """What a field expects, in words."""
        return cls.model_fields[name].description or "see /openapi.json"


class StreamOptions(BaseModel):
    """OpenAI's options of a stream."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool | None = None


class SamplingBody(Body):
    """How symbols are drawn."""

    seed: Seed | None = Field(None, description="a whole number; absent: another one each time")
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, lt=2**31, description="0 or -1: all")
    min_p: float | None = Field(None, ge=0, le=1)


class CompletionBody(SamplingBody):
    """`POST /v1/completions`."""

    prompt: Prompt = Field(
        "", description="give a text, a list of texts, a list of ids, or a list of these"
    )
    max_tokens: int | None = Field(None, ge=0)
    n: int | None = Field(None, ge=1)
    stop: str | list[str] | None = Field(None, description="give a text or a list of texts")
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = Field(None, description="give an object")

    @classmethod
    def check_unsupported(cls, given: dict[str, Any]) -> None:
        """Refuse structured output by name, and what would change the text."""
        for name in STRUCTURED:
            asked = given.get(name)
            if asked in (None, "none", {"type": "text"}, []):
                continue
            raise bad(
                f"{name} is not supported: these models are not held to a structure; leave it out",
                name,
            )
        n = given.get("n") or 1
        for name, values in _NEUTRAL.items():
            asked = given.get(name)
            if asked is None or asked in values or (name == "best_of" and asked == n):
                continue
            raise bad(f"{name} is not supported: leave it out", name)


class TokenizeBody(Body):
    """`POST /tokenize`."""

    prompt: str | Words = Field(description="give a text, or a list of events or words")
    return_token_strs: bool | None = None


class DetokenizeBody(Body):
    """`POST /detokenize`."""

    tokens: list[Id] = Field(description="give a list of ids")


class TextsBody(Body):
    """Texts; a text of a model of events may be a list of events."""

    texts: list[str | Words] = Field(description="give a list of texts", min_length=1)


class ScoreBody(TextsBody):
    """`POST /score`."""


class SurprisalBody(TextsBody):
    """`POST /surprisal`."""

    by: Literal["symbol", "word"] = "symbol"


class NextBody(Body):
    """`POST /next`."""

    prompt: str | Words = Field("", description="give a text, or a list of events or words")
    top: int = Field(10, ge=1, le=1000)


class LabelBody(TextsBody):
    """`POST /label`."""

    top: int = Field(3, ge=1, le=1000)


class TranslateBody(TextsBody):
    """`POST /translate`."""

    beam: int = Field(4, ge=1, le=16)
    num_best: int = Field(1, ge=1, le=16)
    alignment: bool = False


class TraceBody(Body):
    """`POST /trace`."""

    text: str | Words = Field(description="give a text, or a list of events or words")
    source: str | None = Field(None, description="give the source that a translator reads")
    top: int = Field(5, ge=0, le=50)
    only: list[str] = Field([], description="give a list of names", max_length=64)


class SessionBody(Body):
    """`POST /sessions`."""

    state: str | None = Field(None, description="give what /sessions/ID/save returned")


class PushBody(Body):
    """`POST /sessions/ID/push` and `/surprisal`."""

    elements: list[str | Words] = Field(description="give a list of elements", min_length=1)
    top: int = Field(0, ge=0, le=1000)
    end: bool = False


class SessionNextBody(Body):
    """`POST /sessions/ID/next`."""

    top: int = Field(10, ge=1, le=1000)
