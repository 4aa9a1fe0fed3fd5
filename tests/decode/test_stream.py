"""Streams: the surprisal of each symbol."""

import pytest
import torch

from seriatim.decode.stream import Stream
from tests.laws.toys import ToyWindow


def test_a_stream_returns_the_surprisal_of_each_symbol() -> None:
    model = ToyWindow().double()
    stream = Stream(model)
    other = stream.fork()
    total = sum(stream.push(s) for s in (0, 2, 1, 0))
    with torch.no_grad():
        state, expected = model.start(1), 0.0
        for s in (0, 2, 1, 0):
            x = torch.tensor([s])
            expected -= float(model.predict(state).log_prob(x))
            state = model.step(state, x)
    assert total == pytest.approx(expected)
    assert other.push(0) == Stream(model).push(0), "a fork is independent"
