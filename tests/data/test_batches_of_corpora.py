"""Every symbol once, beside its predecessor, as a function of (seed, step)."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seriatim.core.batch import Batch
from seriatim.data.batches.corpus import (
    BatchSource,
    LengthBuckets,
    SequenceBatches,
    StreamChunks,
    StreamWindows,
    batch_source,
    num_targets,
    one_pass,
)
from seriatim.errors import ConfigError, DataError
from seriatim.report.terminal import count_noun

B = 10**6  # the boundary: no other symbol of these tests


@dataclass(frozen=True)
class Corpus:
    tokens: NDArray[Any]
    offsets: NDArray[np.int64]
    is_stream: bool


def stream(size: int) -> Corpus:
    """0, 1, 2 ..: a target names its place, and its input is one less."""
    return Corpus(np.arange(size, dtype=np.uint32), np.array([0, size]), is_stream=True)


def sequences(*sizes: int) -> Corpus:
    """Sequence i is 1000 i, 1000 i + 1 .."""
    tokens = [np.arange(1000 * i, 1000 * i + size) for i, size in enumerate(sizes)]
    offsets = np.cumsum([0, *sizes])
    return Corpus(np.concatenate(tokens).astype(np.uint32), offsets, is_stream=False)


def random_sequences(num: int, longest: int, seed: int = 0) -> Corpus:
    return sequences(*np.random.default_rng(seed).integers(0, longest, num).tolist())


def pairs(batch: Batch) -> list[tuple[int, int]]:
    """The valid (input, target) pairs of a batch."""
    rows, length = batch.shape
    lengths = [length] * rows if batch.lengths is None else batch.lengths.tolist()
    return [
        (int(batch.inputs[row, at]), int(batch.targets[row, at]))
        for row in range(rows)
        for at in range(lengths[row])
    ]


def expected_pairs(corpus: Corpus) -> list[tuple[int, int]]:
    """By the definition: b x_1 .. x_T b, or b x_1 .. x_T for a stream."""
    result = []
    for begin, end in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True):
        x = [B, *corpus.tokens[begin:end].tolist()] + ([] if corpus.is_stream else [B])
        result += list(pairwise(x))
    return sorted(result)


def epoch(source: BatchSource, number: int = 0) -> list[Batch]:
    first = number * source.steps_per_epoch
    return [source.batch(first + i) for i in range(source.steps_per_epoch)]


def all_pairs(batches: list[Batch]) -> list[tuple[int, int]]:
    return sorted(pair for batch in batches for pair in pairs(batch))


def same(a: Batch, b: Batch) -> bool:
    if (a.lengths is None) != (b.lengths is None):
        return False
    lengths = a.lengths is None or b.lengths is None or torch.equal(a.lengths, b.lengths)
    return torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets) and lengths


SOURCES = {
    "windows": lambda seed: StreamWindows(stream(500), B, batch_size=4, length=16, seed=seed),
    "chunks": lambda seed: StreamChunks(stream(500), B, batch_size=4, length=16),
    "sequences": lambda seed: SequenceBatches(
        random_sequences(90, 30), B, batch_size=4, length=16, seed=seed
    ),
}


# ---- what every source keeps to ------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_a_batch_is_a_function_of_seed_and_step_in_any_order_of_access(name: str) -> None:
    forward, backward = SOURCES[name](3), SOURCES[name](3)
    num = 2 * forward.steps_per_epoch
    first = [forward.batch(step) for step in range(num)]
    second = [backward.batch(step) for step in reversed(range(num))][::-1]
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ["windows", "sequences"])
def test_another_seed_gives_other_batches(name: str) -> None:
    a, b = SOURCES[name](1), SOURCES[name](2)
    assert not all(same(a.batch(step), b.batch(step)) for step in range(5))


@pytest.mark.parametrize("name", SOURCES)
def test_batches_are_contiguous_int64_with_lengths_on_the_cpu(name: str) -> None:
    for batch in epoch(SOURCES[name](0)):
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert batch.inputs.is_contiguous() and batch.targets.is_contiguous()
        if batch.lengths is not None:
            assert batch.lengths.dtype == torch.int64
            assert int(batch.lengths.max()) == batch.shape[1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_memory_mapped_tokens_of_any_width_give_the_same_batches(
    dtype: type, tmp_path: Path
) -> None:
    tokens = np.arange(200).astype(dtype)
    tokens.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", dtype=dtype, mode="r")
    corpus = Corpus(mapped, np.array([0, 200]), is_stream=True)
    a = StreamChunks(corpus, B, batch_size=3, length=16)
    b = StreamChunks(stream(200), B, batch_size=3, length=16)
    assert all(same(x, y) for x, y in zip(epoch(a), epoch(b), strict=True))


def test_a_corpus_may_be_the_middle_of_a_token_file() -> None:
    tokens = np.arange(100, dtype=np.uint16)
    corpus = Corpus(tokens, np.array([40, 60]), is_stream=True)
    found = all_pairs(epoch(StreamChunks(corpus, B, batch_size=2, length=8)))
    assert found == sorted([(B, 40)] + [(i, i + 1) for i in range(40, 59)])


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_corpus_without_symbols_is_refused(is_stream: bool) -> None:
    empty = Corpus(np.empty(0, np.uint8), np.array([0, 0]), is_stream=is_stream)
    with pytest.raises(DataError, match="the corpus holds no symbol"):
        batch_source(empty, B, batch_size=2, length=4, carry=True, seed=0)
    with pytest.raises(DataError, match="the corpus holds no symbol"):
        list(one_pass(empty, B, batch_size=2, length=4))


# ---- streams -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 300), rows=st.integers(1, 9), length=st.integers(1, 40))
def test_chunks_cover_every_symbol_once_an_epoch(size: int, rows: int, length: int) -> None:
    corpus = stream(size)
    source = StreamChunks(corpus, B, batch_size=rows, length=length)
    for number in (0, 1):
        assert all_pairs(epoch(source, number)) == expected_pairs(corpus)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 300), rows=st.integers(1, 9), length=st.integers(1, 40))
def test_chunks_are_of_nearly_one_size(size: int, rows: int, length: int) -> None:
    source = StreamChunks(stream(size), B, batch_size=rows, length=length)
    lengths = [batch.shape[1] for batch in epoch(source)]
    assert max(lengths) <= length
    assert max(lengths) - min(lengths) <= 1


def test_rows_of_chunks_continue_until_the_epoch_restarts() -> None:
    source = StreamChunks(stream(503), B, batch_size=4, length=16)
    last: list[int] | None = None
    for step in range(2 * source.steps_per_epoch):
        batch = source.batch(step)
        assert source.restarts(step) == (step % source.steps_per_epoch == 0)
        if not source.restarts(step):
            assert batch.inputs[:, 0].tolist() == last
        last = batch.targets[:, -1].tolist()
    assert source.carries


def test_windows_are_runs_of_the_stream_and_reach_both_ends() -> None:
    source = StreamWindows(stream(40), B, batch_size=8, length=10, seed=0)
    seen = set()
    for step in range(60):
        batch = source.batch(step)
        assert batch.shape == (8, 10) and batch.lengths is None
        assert (batch.targets.diff(dim=1) == 1).all()
        assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        first = torch.where(batch.targets[:, 0] == 0, B, batch.targets[:, 0] - 1)
        assert torch.equal(batch.inputs[:, 0], first)
        seen |= set(batch.targets[:, 0].tolist())
    assert seen == set(range(31))
    assert not source.carries and source.restarts(5)


def test_an_epoch_of_windows_holds_at_least_as_many_symbols_as_the_stream() -> None:
    source = StreamWindows(stream(1000), B, batch_size=4, length=16, seed=0)
    assert source.steps_per_epoch == 16  # ceil(1000 / 64)
    assert source.num_targets == 1000


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("size", [1, 5, 33, 100])
def test_a_short_stream_shrinks_the_batch_with_a_note(size: int, carry: bool) -> None:
    source = batch_source(stream(size), B, batch_size=8, length=64, carry=carry, seed=0)
    batch = source.batch(0)
    assert batch.shape[1] <= size
    assert set(pairs(batch)) <= set(expected_pairs(stream(size)))
    if size < 64:
        said = f"the stream has {count_noun(size, 'symbol')}, too few for batches of 8 x 64"
        assert said in source.notes[0]


def test_a_long_stream_needs_no_note() -> None:
    assert batch_source(stream(9999), B, batch_size=8, length=64, carry=True, seed=0).notes == ()


def test_a_token_budget_without_room_for_a_row_is_refused() -> None:
    with pytest.raises(ConfigError, match="token_budget 50 has no room for one row of length 64"):
        batch_source(sequences(3), B, batch_size=8, length=64, carry=False, seed=0, token_budget=50)


def test_a_piece_wider_than_the_budget_is_a_batch_by_itself() -> None:
    buckets = LengthBuckets(np.array([3, 40, 3, 41]), batch_size=8, seed=0, token_budget=10)
    epoch = [sorted(buckets.pieces(i).tolist()) for i in range(buckets.steps_per_epoch)]
    assert sorted(epoch) == [[0, 2], [1], [3]]


def test_a_token_budget_for_a_stream_is_refused() -> None:
    with pytest.raises(ConfigError, match="token_budget 99 applies to lines and documents"):
        batch_source(stream(99), B, batch_size=8, length=64, carry=True, seed=0, token_budget=99)


# ---- sequences -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any),
    rows=st.integers(1, 9),
    length=st.integers(1, 40),
    budget=st.one_of(st.none(), st.integers(0, 100)),
)
def test_sequences_cover_every_pair_once_an_epoch(
    sizes: list[int], rows: int, length: int, budget: int | None
) -> None:
    corpus = sequences(*sizes)
    budget = None if budget is None else length + budget
    source = SequenceBatches(corpus, B, batch_size=rows, length=length, seed=1, token_budget=budget)
    for number in (0, 1, 2):
        batches = epoch(source, number)
        assert all_pairs(batches) == expected_pairs(corpus)
        assert all(batch.shape[1] <= length for batch in batches)
        if budget is None:
            assert all(batch.shape[0] <= rows for batch in batches)
        else:
            assert all(np.prod(batch.shape) <= budget for batch in batches)


def test_epochs_differ_in_order_and_in_grouping() -> None:
    source = SequenceBatches(random_sequences(300, 12), B, batch_size=8, length=64, seed=0)
    first, second = ({frozenset(pairs(b)) for b in epoch(source, n)} for n in (0, 1))
    assert len(first & second) < len(first) / 2
    widths = [batch.shape[1] for batch in epoch(source)]
    assert widths not in (sorted(widths), sorted(widths, reverse=True))
    assert widths != [batch.shape[1] for batch in epoch(source, 1)]


def test_bucketing_leaves_little_padding() -> None:
    source = SequenceBatches(random_sequences(4000, 200), B, batch_size=16, length=256, seed=0)
    batches = epoch(source)
    places = sum(np.prod(batch.shape) for batch in batches)
    assert source.num_targets / places > 0.93
    chance = np.random.default_rng(0).integers(1, 201, (250, 16))
    assert (chance / chance.max(1, keepdims=True)).mean() < 0.55  # what bucketing avoids


def test_the_last_batch_is_not_a_remainder() -> None:
    source = SequenceBatches(sequences(*[5] * 65), B, batch_size=16, length=64, seed=0)
    assert sorted(batch.shape[0] for batch in epoch(source)) == [8, 9, 16, 16, 16]


def test_a_long_document_is_cut_into_pieces_of_nearly_one_size_that_overlap_by_one_input() -> None:
    source = SequenceBatches(sequences(100), B, batch_size=1, length=30, seed=0)
    pieces = sorted((pairs(batch) for batch in epoch(source)), key=lambda p: p[-1][1])
    assert [len(p) for p in pieces] == [25, 25, 25, 26]  # 100 symbols and an end
    assert pieces[1][0] == (24, 25)
    assert pieces[-1][-1] == (99, B)
    assert source.restarts(1) and not source.carries


# ---- one pass ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any),
    rows=st.integers(1, 9),
    length=st.integers(1, 40),
    is_stream=st.booleans(),
)
def test_one_pass_reads_every_pair_once_and_rows_continue(
    sizes: list[int], rows: int, length: int, is_stream: bool
) -> None:
    corpus = stream(sum(sizes)) if is_stream else sequences(*sizes)
    readings = list(one_pass(corpus, B, batch_size=rows, length=length))
    assert all_pairs([r.batch for r in readings]) == expected_pairs(corpus)
    assert num_targets(corpus) == len(expected_pairs(corpus))
    for before, after in pairwise(readings):
        assert before.continues == (not after.is_first)
        if before.continues:
            alive = after.batch.shape[0]
            ends = before.batch.targets[:alive, -1]
            assert torch.equal(after.batch.inputs[:, 0], ends)
    assert readings[0].is_first and not readings[-1].continues
    assert all(np.prod(r.batch.shape) <= rows * length for r in readings)


def test_a_limited_pass_samples_the_whole_corpus() -> None:
    lines = random_sequences(1000, 20)
    found = all_pairs([r.batch for r in one_pass(lines, B, batch_size=4, length=8, limit=2000)])
    assert len(found) == pytest.approx(2000, rel=0.1)
    assert max(x for x, _ in found if x != B) > 900_000  # the last of the lines, too
    chunks = [r.batch for r in one_pass(stream(4000), B, batch_size=4, length=10, limit=400)]
    assert sum(len(pairs(batch)) for batch in chunks) == 400
    assert chunks[0].targets[:, 0].tolist() == [0, 1000, 2000, 3000]


def test_a_limit_beyond_the_corpus_reads_it_all() -> None:
    for corpus in (stream(50), sequences(20, 30)):
        readings = one_pass(corpus, B, batch_size=4, length=8, limit=10**9)
        assert all_pairs([r.batch for r in readings]) == expected_pairs(corpus)
