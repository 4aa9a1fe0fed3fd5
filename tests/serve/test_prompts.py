"""Prompts are remembered for each key apart, in bounded memory, and read on from there."""

from typing import Any

import numpy as np
import pytest
import torch

from seriatim.core import tree
from seriatim.serve import Keys, Served, ServeSettings
from seriatim.serve.prompts import PromptMemory, begin_prompt, read_prompt
from seriatim.serve.server import Server
from tests.serve.running import language_model, serving


def _read(lm: Any, text: str, memory: PromptMemory | None, breaths: list[int]) -> Any:
    with torch.inference_mode():
        return read_prompt(
            lm.model,
            lm.vocabulary.encode(text),
            has_ends=True,
            num_top=None,
            breathe=lambda: breaths.append(1),
            memory=memory,
        ).state


@pytest.mark.parametrize("family", ["markov", "lstm", "transformer"])
def test_a_prompt_goes_on_from_its_longest_remembered_beginning(family: str) -> None:
    lm, memory, breaths = language_model(family), PromptMemory(1 << 20), []
    alone = _read(lm, "the cat sat on", None, breaths)
    _read(lm, "the cat", memory, breaths)
    begun = begin_prompt(
        lm.model, lm.vocabulary.encode("the cat sat on"), has_ends=True, memory=memory
    )
    assert begun.num_read == len("the cat")
    after = _read(lm, "the cat sat on", memory, breaths)
    for a, b in zip(tree.leaves(after.features), tree.leaves(alone.features), strict=True):
        torch.testing.assert_close(a, b)
    breaths.clear()
    again = _read(lm, "the cat sat on", memory, breaths)
    assert breaths == []  # nothing was left to read
    assert again is after


def test_the_memory_is_bounded_and_the_oldest_is_forgotten() -> None:
    lm = language_model("lstm")
    with torch.inference_mode():
        state = lm.model.start(1)
    size = tree.num_bytes(state) + 8
    memory = PromptMemory(3 * size)
    for i in range(5):
        memory.keep(np.array([i + 2]), state)
    assert memory.num_bytes <= 3 * size
    assert [memory.longest(np.array([i + 2])) is None for i in range(5)] == [True] * 2 + [False] * 3
    PromptMemory(10).keep(np.array([1]), state)  # one that does not fit is not kept


def test_each_key_has_a_memory_of_its_own() -> None:
    served = Served({"lm": language_model("lstm")})
    server = Server(served, ServeSettings(), Keys.of(["a" * 20, "b" * 20]))
    one = server.memory("key 1", served.text(None))
    assert server.memory("key 1", served.text(None)) is one
    assert server.memory("key 2", served.text(None)) is not one
    server.scheduler.close()


def test_what_is_remembered_changes_no_text() -> None:
    with serving({"lm": language_model("lstm")}) as client:
        body = {"prompt": "the cat sat", "max_tokens": 20, "seed": 3}
        texts = [
            client.post("/v1/completions", json=body).json()["choices"][0]["text"] for _ in range(3)
        ]
    assert texts[0] == texts[1] == texts[2]
    assert "the cat sat" + texts[0] == language_model("lstm").generate("the cat sat", 20, seed=3)
