"""One model used by many threads at once, as in a service: each gets what it would get alone."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import seriatim as st

_THREADS, _CALLS = 8, 32
_LINES = ["the cat sat on the mat", "once upon a time a dog sat", "a dog and a cat — once"]
_MODELS = {
    # Large enough that weights are packed for few rows, and prepared for single steps.
    "lstm": st.LSTM(hidden_size=256),
    "transformer": st.Transformer(model_size=256, num_layers=2, num_heads=4, context=16),
    "markov": st.Markov(order=4),
}


@pytest.fixture
def hurried_threads() -> Iterator[None]:
    """Threads take turns after a few instructions, so that races are met."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def _used(lm: Any, i: int) -> tuple[list[float], str]:
    """What call i gets of a model: bits of three kinds, and a text."""
    line = _LINES[i % 3] * (1 + i % 4)
    stream = lm.stream()
    bits = [stream.push(character) for character in line]
    stream = lm.stream(lm.stream().save() if i % 2 else None)
    bits += [stream.push(line[0]), lm.score([line, line]).bits_per_character]
    bits += [prediction.probability for prediction in lm.next(line, top=3)]
    return bits, lm.generate(line, 20, seed=i)


@pytest.mark.slow
@pytest.mark.parametrize("family", _MODELS)
def test_threads_get_what_each_would_get_alone(
    family: str, tmp_path: Path, hurried_threads: None
) -> None:
    lm: Any = st.LanguageModel(_MODELS[family], symbols="char", sequences="line")
    lm.fit(_LINES * 20, valid=_LINES, test=_LINES, steps=None if family == "markov" else 3)
    lm.save(tmp_path / "model")
    alone = st.load(tmp_path / "model")
    expected = [_used(alone, i) for i in range(_CALLS)]
    shared = st.load(tmp_path / "model")  # nothing is prepared yet, so all threads prepare it
    together = threading.Barrier(_THREADS)

    def call(i: int) -> tuple[list[float], str]:
        if i < _THREADS:
            together.wait(60)
        return _used(shared, i)

    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(call, range(_CALLS)))
    for (bits, text), (expected_bits, expected_text) in zip(found, expected, strict=True):
        assert bits == pytest.approx(expected_bits, rel=1e-4, abs=1e-5)
        assert text == expected_text
