"""A server in this process, on a free port, and the small models that its tests serve."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import uvicorn

import seriatim as st
from seriatim.serve import Keys, Served, ServeSettings, make_app

LINES = ["the cat sat on the mat", "once upon a time a dog sat", "a naïve café — 猫が座る 🐈"]
EVENTS = [["open door", "walk", "close door"], ["open door", "run", "close door"]]


@cache
def language_model(family: str, sequences: str = "line", symbols: str = "char") -> st.LanguageModel:
    """A small language model that has seen a few lines."""
    configs: dict[str, Any] = {
        "markov": st.Markov(order=3),
        "lstm": st.LSTM(hidden_size=24),
        "transformer": st.Transformer(model_size=16, num_layers=2, num_heads=2, context=12),
    }
    lm = st.LanguageModel(configs[family], symbols=symbols, sequences=sequences)
    steps = {} if family == "markov" else {"steps": 12}
    return lm.fit(LINES * 20, valid=LINES, test=LINES, score=False, callbacks=_quiet(), **steps)


@cache
def event_model() -> st.LanguageModel:
    """A model of events whose names have spaces."""
    lm = st.LanguageModel(st.Markov(order=2), symbols="word", sequences="line")
    lm.fit(EVENTS * 20, valid=EVENTS, score=False, callbacks=_quiet())
    lm.threshold(EVENTS * 100, false_alarms=0.1, per="event")
    return lm


@cache
def translator() -> st.Translator:
    """A translator with attention."""
    pairs = [("abc", "cba"), ("bca", "acb"), ("cab", "bac")] * 20
    config = st.Seq2Seq(encoder="gru", decoder="gru", model_size=16)
    return st.Translator(config, symbols="char").fit(
        pairs, valid=pairs[:3], steps=4, score=False, callbacks=_quiet()
    )


@cache
def labeller() -> st.Labeller:
    """A labeller of lines."""
    pairs = [("aaa", "a"), ("bbb", "b"), ("aab", "a")] * 20
    return st.Labeller("gru").fit(pairs, valid=pairs[:3], steps=4, score=False, callbacks=_quiet())


def _quiet() -> st.Callbacks:
    return st.Callbacks()


def all_models() -> dict[str, Any]:
    """A model of each kind, by name."""
    return {
        "lstm": language_model("lstm"),
        "markov": language_model("markov"),
        "transformer": language_model("transformer", "document", "bpe:300"),
        "stream": language_model("lstm", "stream", "byte"),
        "events": event_model(),
        "translator": translator(),
        "labeller": labeller(),
    }


@contextlib.contextmanager
def serving(
    tasks: dict[str, Any], limits: ServeSettings | None = None, keys: list[str] | None = None
) -> Iterator[httpx.Client]:
    """A client of a server of these models, which ends with the context."""
    app = make_app(Served(tasks), limits or ServeSettings(), Keys.of(keys or []))
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="websockets-sansio")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        yield client
    server.should_exit = True
    thread.join(timeout=20)
