"""The application: every route of the server, bound to its models.

Knows FastAPI and the other modules of this room; computing is theirs.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from seriatim._version import __version__
from seriatim.core.records import Json
from seriatim.decode.settings import Decoding
from seriatim.errors import SeriatimError
from seriatim.serve import bodies, own_routes
from seriatim.serve.bodies import Body
from seriatim.serve.completion_routes import CompletionWork
from seriatim.serve.guard import Guard
from seriatim.serve.keys import Keys
from seriatim.serve.refusals import GoneError, RefusalError, as_refusal
from seriatim.serve.requests import json_response, ticket_for
from seriatim.serve.scheduler import Turn
from seriatim.serve.served import Served
from seriatim.serve.server import Server
from seriatim.serve.session_routes import ERRORS, add_session_routes
from seriatim.serve.settings import ServeSettings
from seriatim.serve.token_routes import detokenize, tokenize, tokenizer_info
from seriatim.tasks.labeller import Labeller
from seriatim.tasks.language_model import LanguageModel
from seriatim.tasks.translator import Translator

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_NO_CHAT = (
    "there is no chat: these models continue sequences and know no roles or turns; use "
    "/v1/completions"
)


def make_app(served: Served, limits: ServeSettings, keys: Keys) -> Callable[..., Any]:
    """The application of a server, as ASGI.

    Args:
        served: the models.
        limits: the limits.
        keys: who may ask.
    """
    server = Server(served, limits, keys)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        expiring = asyncio.create_task(_expire(server))
        yield
        expiring.cancel()
        await asyncio.to_thread(server.scheduler.close)

    app = FastAPI(
        title="seriatim",
        version=__version__,
        description="Classic sequence models: completions, scores, sessions.",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    schemas: dict[str, Any] = {}
    _add_public_routes(app, server)
    _add_openai_routes(app, server, schemas)
    _add_own_routes(app, server, schemas)
    _add_task_routes(app, server, schemas)
    add_session_routes(app, server, takes(schemas))
    _add_schemas(app, schemas)
    app.add_exception_handler(HTTPException, _http_error)
    for kind in (RefusalError, GoneError, SeriatimError, Exception):
        app.add_exception_handler(kind, _refused)
    return Guard(app, limits, keys, server.counters)


async def _expire(server: Server) -> None:
    """Give the memory of expired sessions back, also if nobody asks for anything."""
    while True:
        await asyncio.sleep(min(60.0, server.limits.session_seconds))
        with contextlib.suppress(RefusalError):
            server.expire()


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses, in the form of all refusals."""
    assert isinstance(error, HTTPException)
    sentences = {404: "there is no such route", 405: "this route takes other methods"}
    refusal = RefusalError(
        error.status_code, sentences.get(error.status_code, "the request is refused")
    )
    answer = json_response(refusal.to_json(), error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _refused(request: Request, error: Exception) -> Response:
    """What a route raises, as an answer; of an unknown error, Starlette raises it again."""
    refusal = as_refusal(error)
    answer = json_response(refusal.to_json(), refusal.status)
    answer.headers.update(refusal.headers)
    return answer


# ---- what the routes say of themselves ----------------------------------------------------------


def takes(schemas: dict[str, Any]) -> Callable[[type[Body]], dict[str, Any]]:
    """A function that makes the documentation of a route with a body.

    Args:
        schemas: where the schemas of bodies are collected.
    """

    def described(cls: type[Body]) -> dict[str, Any]:
        schema = cls.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[cls.__name__] = schema
        reference = {"$ref": f"#/components/schemas/{cls.__name__}"}
        is_needed = bool(schema.get("required"))
        content = {"application/json": {"schema": reference}}
        return {"requestBody": {"required": is_needed, "content": content}}

    return described


def _add_schemas(app: FastAPI, schemas: dict[str, Any]) -> None:
    made = app.openapi

    def openapi() -> dict[str, Any]:
        schema = made()
        schema.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


# ---- routes -------------------------------------------------------------------------------------


def _add_public_routes(app: FastAPI, server: Server) -> None:
    pages = {
        file.name: (file.read_bytes(), _TYPES[file.name.rpartition(".")[2]])
        for file in files("seriatim.serve").joinpath("page").iterdir()
        if file.name.rpartition(".")[2] in _TYPES
    }

    def page(name: str) -> Response:
        if name not in pages:
            raise HTTPException(404)
        content, kind = pages[name]
        return Response(content, media_type=kind)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return page("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        return page(name)

    @app.get("/health")
    async def health() -> Response:
        return json_response({"status": "ok"})

    @app.get("/metrics", responses=ERRORS)
    async def metrics() -> Response:
        return Response(server.counters.text(server.gauges()), media_type="text/plain")


def _add_openai_routes(app: FastAPI, server: Server, schemas: dict[str, Any]) -> None:
    described = takes(schemas)

    @app.get("/v1/models", responses=ERRORS)
    async def models() -> Response:
        return json_response({"object": "list", "data": server.served.listed(server.created)})

    @app.get("/v1/models/{name}", responses=ERRORS)
    async def one_model(name: str) -> Response:
        server.served.any(name)
        (found,) = [one for one in server.served.listed(server.created) if one["id"] == name]
        return json_response(found)

    @app.post("/v1/completions", openapi_extra=described(bodies.CompletionBody), responses=ERRORS)
    async def completions(request: Request) -> Response:
        body = await server.body(request, bodies.CompletionBody)
        served = server.served.text(body.model)
        memory = server.memory(request.scope["seriatim.owner"], served)
        ticket = ticket_for(request, server.limits)
        work = CompletionWork(
            request, body, served, server.limits, server.scheduler, ticket, memory
        )
        return await work.answer()

    @app.post("/v1/chat/completions", responses=ERRORS, include_in_schema=False)
    async def chat() -> Response:
        raise RefusalError(404, _NO_CHAT, code="no_chat")

    @app.get("/tokenizer_info", responses=ERRORS)
    async def info() -> Response:
        return json_response(tokenizer_info(server.served.text(None)))

    @app.post("/tokenize", openapi_extra=described(bodies.TokenizeBody), responses=ERRORS)
    async def to_ids(request: Request) -> Response:
        body = await server.body(request, bodies.TokenizeBody)
        served = server.served.text(body.model)
        return json_response(
            await server.compute(request, lambda turn: tokenize(served, body, server.limits))
        )

    @app.post("/detokenize", openapi_extra=described(bodies.DetokenizeBody), responses=ERRORS)
    async def to_text(request: Request) -> Response:
        body = await server.body(request, bodies.DetokenizeBody)
        served = server.served.text(body.model)
        return json_response(
            await server.compute(request, lambda turn: detokenize(served, body, server.limits))
        )


async def _answer(server: Server, request: Request, run: Callable[[Turn], Json]) -> Response:
    return json_response(await server.compute(request, run))


def _add_own_routes(app: FastAPI, server: Server, schemas: dict[str, Any]) -> None:
    described, limits = takes(schemas), server.limits

    @app.post("/score", openapi_extra=described(bodies.ScoreBody), responses=ERRORS)
    async def score(request: Request) -> Response:
        body = await server.body(request, bodies.ScoreBody)
        served = server.served.text(body.model)
        return await _answer(
            server, request, lambda turn: own_routes.score(turn, served, body.texts, limits)
        )

    @app.post("/surprisal", openapi_extra=described(bodies.SurprisalBody), responses=ERRORS)
    async def surprisal(request: Request) -> Response:
        body = await server.body(request, bodies.SurprisalBody)
        served = server.served.text(body.model)
        return await _answer(
            server,
            request,
            lambda turn: own_routes.surprisal(turn, served, body.texts, body.by, limits),
        )

    @app.post("/next", openapi_extra=described(bodies.NextBody), responses=ERRORS)
    async def following(request: Request) -> Response:
        body = await server.body(request, bodies.NextBody)
        served = server.served.text(body.model)
        return await _answer(
            server,
            request,
            lambda turn: own_routes.next_symbols(turn, served, body.prompt, body.top, limits),
        )


def _add_task_routes(app: FastAPI, server: Server, schemas: dict[str, Any]) -> None:
    described, limits = takes(schemas), server.limits

    @app.post("/label", openapi_extra=described(bodies.LabelBody), responses=ERRORS)
    async def label(request: Request) -> Response:
        body = await server.body(request, bodies.LabelBody)
        task = server.served.task(body.model, Labeller)
        own_routes.check_characters(body.texts, limits)
        return await _answer(
            server,
            request,
            lambda turn: {"labels": own_routes.label(turn, task, body.texts, body.top)},
        )

    @app.post("/translate", openapi_extra=described(bodies.TranslateBody), responses=ERRORS)
    async def translate(request: Request) -> Response:
        body = await server.body(request, bodies.TranslateBody)
        task = server.served.task(body.model, Translator)
        decoding = Decoding(beam=max(body.beam, body.num_best), num_best=body.num_best)
        return await _answer(
            server,
            request,
            lambda turn: {
                "translations": own_routes.translate(
                    turn,
                    task,
                    body.texts,
                    decoding=decoding,
                    has_alignment=body.alignment,
                    limits=limits,
                )
            },
        )

    @app.post("/trace", openapi_extra=described(bodies.TraceBody), responses=ERRORS)
    async def trace(request: Request) -> Response:
        body = await server.body(request, bodies.TraceBody)
        task = server.served.any(body.model)
        if not isinstance(task, LanguageModel | Translator):
            raise RefusalError(404, "a labeller has no trace", param="model")
        return await _answer(
            server,
            request,
            lambda turn: own_routes.trace(
                turn, task, body.text, body.source, top=body.top, only=body.only
            ),
        )
