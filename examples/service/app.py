"""A service of one model: MODEL=model/ uvicorn app:make_app --factory --port 8000"""

import os

import torch

import seriatim as st

torch.set_num_threads(int(os.environ.get("THREADS", "1")))  # of each request
lm = st.load(os.environ.get("MODEL", "model"))  # once, before the first request
lm.generate("", 1)  # prepares what the first request would wait for


def score(texts: list[str]) -> list[float]:
    """The bits of each text."""
    return [lm.surprisal([text]).bits for text in texts]


def generate(prompts: list[str], length: int = 100, seed: int = 0) -> list[str]:
    """A continuation of each prompt, of at most 1,000 symbols."""
    return lm.generate(prompts, min(length, 1000), seed=seed)


def make_app():
    """The application; its functions are no coroutines, so each request has a thread."""
    from fastapi import FastAPI

    app = FastAPI(title="seriatim")
    app.get("/health")(lambda: {"model": lm.headline()})
    app.post("/score")(score)
    app.post("/generate")(generate)
    return app
