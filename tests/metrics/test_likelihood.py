"""Corpora are scored exactly in any grouping, and all figures follow from the surprisals."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seriatim.core.batch import Batch
from seriatim.decode.stream import Stream
from seriatim.errors import ConfigError
from seriatim.metrics import likelihood as scoring
from seriatim.metrics.likelihood import (
    mean_interval,
    summarize_surprisals,
    surprisals,
    unknown_targets,
)
from tests.laws.toys import ToyAttention


@dataclass
class Sequences:
    tokens: NDArray[np.integer]
    offsets: NDArray[np.int64]
    is_stream: bool


def _sequences(lengths: list[int], *, is_stream: bool = False) -> Sequences:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 3, sum(lengths)).astype(np.uint8)
    return Sequences(tokens, np.concatenate([[0], np.cumsum(lengths)]), is_stream)


def _one_by_one(model: ToyAttention, symbols: list[int]) -> list[float]:
    stream = Stream(model)
    return [stream.push(s) for s in symbols]


@pytest.mark.parametrize("chunk", [3, 4, 1000])
def test_sequences_score_as_when_pushed_symbol_by_symbol(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "CHUNK", chunk)
    model, corpus = ToyAttention().double(), _sequences([5, 0, 1, 11, 4])
    nats, bounds = surprisals(model, corpus)
    for i in range(5):
        tokens = corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1]].tolist()
        expected = _one_by_one(model, [*tokens, model.boundary])
        np.testing.assert_allclose(nats[bounds[i] : bounds[i + 1]], expected, rtol=1e-5)


@pytest.mark.parametrize("chunk", [4, 1000])
def test_a_stream_is_one_sequence_without_an_end(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "CHUNK", chunk)
    model, corpus = ToyAttention().double(), _sequences([23], is_stream=True)
    nats, _ = surprisals(model, corpus)
    np.testing.assert_allclose(nats, _one_by_one(model, corpus.tokens.tolist()), rtol=1e-5)


def test_blocks_see_only_the_one_symbol_before_them() -> None:
    model, corpus = ToyAttention().double(), _sequences([10], is_stream=True)
    nats, bounds = surprisals(model, corpus, restart_every=4)
    s = torch.from_numpy(corpus.tokens.astype(np.int64))
    inputs = torch.cat([torch.tensor([model.boundary]), s[:-1]])
    for a, b in ((0, 4), (4, 8), (8, 10)):
        alone = -model.log_prob(Batch(inputs[None, a:b], s[None, a:b]))[0]
        np.testing.assert_allclose(nats[a:b], alone.detach().numpy(), rtol=1e-5)
    assert bounds.tolist() == [0, 4, 8, 10]


def test_restarting_needs_a_stream() -> None:
    with pytest.raises(ConfigError, match="needs a stream"):
        surprisals(ToyAttention(), _sequences([3, 3]), restart_every=2)


def test_unknown_targets_are_aligned_with_their_surprisals() -> None:
    corpus = Sequences(np.array([0, 2, 2, 0], np.uint8), np.array([0, 2, 2, 4]), False)
    # x1 x2 end | end | x1 x2 end
    assert unknown_targets(corpus, 0).tolist() == [True, False, False, False, False, True, False]
    assert not unknown_targets(corpus, None).any()


def test_the_likelihood_follows_from_the_surprisals() -> None:
    nats = np.log(np.array([2, 4, 8, 16], np.float32))
    summary = summarize_surprisals(nats, np.array([0, 4]), np.array([False, False, False, True]))
    assert summary.bits_per_symbol == pytest.approx((1 + 2 + 3 + 4) / 4)
    assert summary.perplexity == pytest.approx(2**2.5)
    assert summary.perplexity_known == pytest.approx(4)
    assert (summary.unknown, summary.symbols, summary.interval) == (1, 4, None)


def test_the_interval_covers_the_true_mean_of_dependent_blocks() -> None:
    """Blocks of 50 equal symbols: an interval that treated symbols as independent would be 7 times
    too narrow and cover far less often."""
    rng, hits = np.random.default_rng(1), 0
    for seed in range(200):
        blocks = rng.exponential(1.0, 60).astype(np.float32)
        nats = np.repeat(blocks, 50)
        interval = mean_interval(nats, np.array([0, len(nats)]), block=50, seed=seed)
        assert interval is not None
        hits += interval[0] <= 1.0 <= interval[1]
    assert 170 <= hits <= 198
