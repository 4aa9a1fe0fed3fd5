"""The reference of the tests of searches: beam search written out, on random attention models."""

import numpy as np
import pytest
import torch

from seriatim.core import tree
from seriatim.core.distributions import as_discrete
from seriatim.core.model import SequenceModel, State
from seriatim.decode.hypotheses import Hypothesis, length_penalty
from seriatim.decode.scoring import Scorers
from tests.laws.toys import ToyAttention

END = 1


def random_attention(seed: int, num_symbols: int = 5, std: float = 1.5) -> ToyAttention:
    model = ToyAttention(num_symbols, END).double()
    torch.manual_seed(seed)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=std)
    return model


def sources(model: SequenceModel, count: int) -> State:
    """States of rows with different pasts of different lengths."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randint(model.num_symbols, (count, 4), generator=generator)
    lengths = torch.arange(count) % 5
    with torch.no_grad():
        return model.update(model.start(count), x, lengths)


def row_of(state: State, i: int) -> State:
    selected: State = tree.select(state, torch.tensor([i]))
    return selected


def written_out(
    model: SequenceModel,
    state: State,
    *,
    width: int,
    max_length: int,
    end: int | None = None,
    alpha: float = 0.0,
    scorers: Scorers = (),
) -> list[Hypothesis]:
    """Beam search of one source, prefix by prefix: each has its own state."""
    start: tuple[tuple[int, ...], float, float] = ((), 0.0, 0.0)
    live = [(*start, state, [s.start(1) for s, _ in scorers])]
    results = []
    for length in range(1, max_length + 1):
        extensions = []
        for symbols, log_prob, extra, past, memories in live:
            row = as_discrete(model.predict(past)).dense()[0]
            for x in range(model.num_symbols):
                bonus = sum(
                    w * float(s.scores(m)[0, x])
                    for (s, w), m in zip(scorers, memories, strict=True)
                )
                p, e = log_prob + float(row[x]), extra + bonus
                if p > -np.inf and e > -np.inf:
                    extensions.append(((*symbols, x), p, e, past, memories))
        extensions.sort(key=lambda extension: -(extension[1] + extension[2]))
        for rank, (symbols, p, e, _, _) in enumerate(extensions):
            if symbols[-1] == end and rank < width:
                score = (p + e) / length_penalty(length, alpha)
                results.append(Hypothesis(symbols[:-1], p, score, True))
        going_on = [e for e in extensions if e[0][-1] != end][:width]
        live = []
        for symbols, p, e, past, memories in going_on:
            x = torch.tensor(symbols[-1:])
            after = [s.update(m, x) for (s, _), m in zip(scorers, memories, strict=True)]
            live.append((symbols, p, e, model.step(past, x), after))
    for symbols, p, e, _, _ in live:
        results.append(Hypothesis(symbols, p, (p + e) / length_penalty(len(symbols), alpha), False))
    return sorted(results, key=lambda h: -h.score)


def assert_same(results: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [(h.symbols, h.is_ended) for h in results] == [(h.symbols, h.is_ended) for h in expected]
    for a, b in zip(results, expected, strict=True):
        assert a.log_prob == pytest.approx(b.log_prob, abs=1e-12)
        assert a.score == pytest.approx(b.score, abs=1e-12)
