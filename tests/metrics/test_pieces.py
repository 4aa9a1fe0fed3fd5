"""Long sequences are scored in pieces after a warm-up, samples are nested, and both say so."""

from functools import partial
from itertools import count

import numpy as np
import pytest

from seriatim.metrics import pieces as sizes_of
from seriatim.metrics.likelihood import score_corpus, surprisals
from seriatim.metrics.pieces import Coverage, Pieces, SampleLimit, plan_pieces, sample_rounds
from tests.laws.toys import ToyAttention, ToyWindow
from tests.metrics.test_likelihood import Sequences


def _corpus(lengths: list[int], *, is_stream: bool = False) -> Sequences:
    tokens = np.random.default_rng(0).integers(0, 3, sum(lengths)).astype(np.uint8)
    return Sequences(tokens, np.concatenate([[0], np.cumsum(lengths)]), is_stream)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PIECE": 8, "WARMUP": 3, "LONG": 20, "LEAST": 24}.items():
        monkeypatch.setattr(sizes_of, name, value)


def test_a_long_stream_is_cut_into_pieces() -> None:
    model, corpus = ToyAttention().double(), _corpus([50], is_stream=True)
    scored = score_corpus(model, corpus)
    assert scored.coverage == Coverage(pieces=6, warmup=3, is_exact=False)
    assert scored.bounds.tolist() == [0, 11, 19, 27, 35, 43, 50]
    exact, _ = surprisals(model, corpus)
    np.testing.assert_allclose(scored.nats[:11], exact[:11], rtol=1e-5)
    assert not np.allclose(scored.nats[11:], exact[11:])
    assert set((scored.pieces.size + scored.pieces.warmup).tolist()) == {11}  # none waits


def test_the_warmup_is_read_and_not_counted() -> None:
    """The same as a run that scores the warm-up too and throws it away."""
    model, corpus = ToyAttention().double(), _corpus([50], is_stream=True)
    scored = score_corpus(model, corpus)
    blocks, _ = surprisals(model, corpus, restart_every=8)  # one begins at 8 = 11 - 3
    np.testing.assert_allclose(scored.nats[11:16], blocks[11:16], rtol=1e-5)
    assert not np.allclose(scored.nats[16:19], blocks[16:19])


def test_a_model_of_bounded_reach_is_read_exactly() -> None:
    model, corpus = ToyWindow().double(), _corpus([500], is_stream=True)
    exact, _ = surprisals(model, corpus)
    whole = score_corpus(model, corpus)
    assert whole.coverage == Coverage()
    np.testing.assert_array_equal(whole.nats, exact)
    sample = score_corpus(model, corpus, limit=SampleLimit(symbols=130))
    assert sample.coverage == Coverage(
        fraction=len(sample.nats) / 500, every=4, pieces=15, warmup=1, is_exact=True
    )
    np.testing.assert_allclose(sample.nats, exact[sample.positions(corpus)], rtol=1e-5)


def test_exact_reads_through_one_state() -> None:
    model, corpus = ToyAttention().double(), _corpus([50], is_stream=True)
    exact = score_corpus(model, corpus, exact=True)
    np.testing.assert_array_equal(exact.nats, surprisals(model, corpus)[0])
    assert exact.coverage == Coverage()


def test_short_sequences_stay_whole_and_long_ones_are_cut() -> None:
    corpus = _corpus([5, 30, 0, 12])  # 6, 31, 1 and 13 scored symbols
    scored = score_corpus(ToyAttention().double(), corpus)
    assert scored.pieces.sequence.tolist() == [0, 1, 1, 1, 1, 2, 3]
    assert scored.pieces.size.tolist() == [6, 11, 8, 8, 4, 1, 13]
    assert scored.pieces.warmup.tolist() == [0, 0, 3, 3, 7, 0, 0]
    assert scored.positions(corpus).tolist() == list(range(51))


def test_a_sample_takes_whole_sequences_from_all_over_the_text() -> None:
    model, corpus = ToyAttention().double(), _corpus([4] * 64)
    exact, bounds = surprisals(model, corpus)
    sample = score_corpus(model, corpus, limit=SampleLimit(symbols=80))
    assert sample.pieces.sequence.tolist() == list(range(3, 64, 4))
    assert (sample.coverage.fraction, sample.coverage.every) == (1 / 4, 4)
    assert sample.coverage.is_exact
    np.testing.assert_allclose(sample.nats, exact[sample.positions(corpus)], rtol=1e-5)
    assert np.diff(bounds)[sample.pieces.sequence].tolist() == np.diff(sample.bounds).tolist()


def test_the_number_of_scored_symbols_gives_the_same_sample_again() -> None:
    """So a sample that was chosen by the clock can be repeated from its record."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        sizes = rng.integers(90, 110, int(rng.integers(40, 300))).astype(np.int64)
        ticks = count()
        rounds = list(sample_rounds(sizes, SampleLimit(seconds=4.5), partial(next, ticks)))
        units = np.concatenate([units for units, _ in rounds])
        ((again, every),) = sample_rounds(sizes, SampleLimit(symbols=int(sizes[units].sum())))
        assert (sorted(units.tolist()), rounds[-1][1]) == (again.tolist(), every)


def test_rounds_double_the_sample_while_there_is_time() -> None:
    sizes = np.full(64, 1, np.int64)
    ticks = count()
    rounds = list(sample_rounds(sizes, SampleLimit(seconds=5), partial(next, ticks)))
    assert [len(units) for units, _ in rounds] == [16, 16, 32]
    assert rounds[-1][1] == 1
    no_time = list(sample_rounds(sizes, SampleLimit(seconds=0.1), partial(next, ticks)))
    assert [len(units) for units, _ in no_time] == [16]


@pytest.mark.parametrize("speed", [1_000.0, 20_000.0, 1e6])
@pytest.mark.parametrize("seconds", [1.5, 15.0])
def test_a_sample_takes_about_the_time_that_it_has(
    speed: float, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a simulated clock, of a model that scores so many symbols a second."""
    monkeypatch.undo()
    spent, sizes = [0.0], np.full(700, 1_024, np.int64)
    for units, _ in sample_rounds(sizes, SampleLimit(seconds=seconds), lambda: sum(spent)):
        spent.append(float(sizes[units].sum()) / speed)
    assert sum(spent) <= seconds + 2_048 / speed


def test_progress_rises_to_all_that_was_scored() -> None:
    seen: list[int] = []
    corpus = _corpus([4] * 64)
    limit = SampleLimit(seconds=60.0)
    scored = score_corpus(ToyAttention(), corpus, limit=limit, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(scored.nats) == 320


def test_an_empty_limit_still_scores_a_unit() -> None:
    pieces, _ = plan_pieces(np.array([100], np.int64), None, is_sample=True)
    ((units, every),) = sample_rounds(pieces.size, SampleLimit(symbols=0))
    assert (len(units), every) == (1, 8)
    assert isinstance(pieces.select(units), Pieces)
