"""Counting: blocks and merged runs against dictionaries; runs on disk, kills and updates."""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from seriatim.core import apart as core_apart
from seriatim.data import word_corpus
from seriatim.data.corpus import Corpus
from seriatim.data.sources import open_source
from seriatim.errors import ConfigError, DataError, OutputError
from seriatim.export.arpa_files import spell
from seriatim.models import Markov
from seriatim.models.markov import MarkovModel
from seriatim.models.ngram import apart, counting, on_disk, prefix_doubling
from seriatim.models.ngram.counting import Counts, count_block
from seriatim.models.ngram.merging import merge_counts, update_counts
from seriatim.models.ngram.on_disk import count_on_disk, load_counts, parse_memory, save_counts
from seriatim.models.ngram.padded_corpus import PaddedCorpus, count_corpus

BOUNDARY, V = 1, 12


def sequences(seed: int, number: int = 120, longest: int = 14) -> list[list[int]]:
    """Lines whose symbols follow Zipf's law; some are empty, the boundary is in none."""
    rng = np.random.default_rng(seed)
    ids = np.delete(np.arange(V), BOUNDARY)
    p = 1 / np.arange(1, V)
    return [
        rng.choice(ids, n, p=p / p.sum()).tolist() for n in rng.integers(0, longest + 1, number)
    ]


def padded_corpus(lines: list[list[int]], *, is_stream: bool = False) -> PaddedCorpus:
    tokens = np.array(list(itertools.chain(*lines)), dtype=np.uint16)
    offsets = np.cumsum([0, *map(len, lines)])
    return PaddedCorpus(tokens, offsets, boundary=BOUNDARY, is_stream=is_stream)


def counted(lines: list[list[int]], order: int = 4, *, is_stream: bool = False) -> Counts:
    return count_corpus(padded_corpus(lines, is_stream=is_stream), order=order, num_symbols=V)


def by_hand(lines: list[list[int]], order: int, *, is_stream: bool) -> list[Counter]:
    """For each order, how often each n-gram ends in a prediction, by the definition."""
    if is_stream:
        lines = [list(itertools.chain(*lines))]
    counts = [Counter() for _ in range(order)]
    for line in lines:
        padded = [BOUNDARY, *line] if is_stream else [BOUNDARY, *line, BOUNDARY]
        for end in range(2, len(padded) + 1):
            for m in range(1, min(order, end) + 1):
                counts[m - 1][tuple(padded[end - m : end])] += 1
    return counts


def as_dictionaries(counts: Counts) -> list[dict[tuple[int, ...], int]]:
    by_order = []
    for m in range(1, counts.order + 1):
        ids = np.arange(counts.starts[m - 1], counts.starts[m])
        grams = zip(*(s.tolist() for s in spell(counts.starts, counts.key, ids, m)), strict=True)
        by_order.append(dict(zip(grams, counts.count[ids].tolist(), strict=True)))
    return by_order


def assert_equal(one: Counts, other: Counts) -> None:
    for name in ("starts", "key", "suffix", "count", "first", "num_first"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
def test_every_count_is_the_number_of_occurrences(order: int, is_stream: bool) -> None:
    lines = sequences(order)
    result = as_dictionaries(counted(lines, order, is_stream=is_stream))
    expected = by_hand(lines, order, is_stream=is_stream)
    assert {g: n for g, n in result[0].items() if n} == expected[0]
    assert result[1:] == expected[1:]


def test_keys_rise_and_suffixes_are_the_ngrams_without_their_oldest_symbol() -> None:
    counts = counted(sequences(0))
    assert bool((np.diff(counts.key) > 0).all())
    for m in range(2, counts.order + 1):
        ids = np.arange(counts.starts[m - 1], counts.starts[m])
        own = spell(counts.starts, counts.key, ids, m)[1:]
        suffix = counts.suffix[ids - V].astype(np.int64)
        for a, b in zip(own, spell(counts.starts, counts.key, suffix, m - 1), strict=True):
            np.testing.assert_array_equal(a, b)


def test_beginnings_of_sequences_are_counted_separately() -> None:
    lines = [[0, 2], [0, 2], [0], []]
    counts = counted(lines, 3)
    at, times = counts.beginnings(2)
    grams = spell(counts.starts, counts.key, at + counts.starts[1], 2)
    result = {(int(a), int(b)): int(n) for a, b, n in zip(*grams, times, strict=True)}
    assert result == {(BOUNDARY, 0): 3, (BOUNDARY, BOUNDARY): 1}


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("size", [3, 17, 200])
def test_blocks_cut_anywhere_merge_into_the_whole(size: int, is_stream: bool) -> None:
    lines = sequences(1)
    corpus = padded_corpus(lines, is_stream=is_stream)
    parts = [
        count_block(corpus.block(a, b, 4), order=4, num_symbols=V) for a, b in corpus.spans(size)
    ]
    assert len(parts) > 2
    assert_equal(merge_counts(parts), counted(lines, is_stream=is_stream))
    merged = parts[0]
    for part in parts[1:]:
        merged = merge_counts([merged, part])
    assert_equal(merged, counted(lines, is_stream=is_stream))


def test_partitions_by_first_symbol_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = sequences(2)
    whole = counted(lines)
    for size in (1, 50, 300):
        monkeypatch.setattr(prefix_doubling, "PARTITION_SIZE", size)
        assert_equal(counted(lines), whole)


def test_ranks_that_do_not_fit_together_are_ranked_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = sequences(3, number=40)
    for order in (3, 5, 9):
        whole = counted(lines, order)
        with monkeypatch.context() as patch:
            patch.setattr(prefix_doubling, "KEY_BITS", 12)
            assert_equal(counted(lines, order), whole)


@pytest.mark.skipif(not core_apart.IS_POSSIBLE, reason="needs memory that processes share")
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_process_of_its_own_counts_the_same(is_stream: bool) -> None:
    corpus = padded_corpus(sequences(5), is_stream=is_stream)
    counts = apart.count_apart(corpus, order=4, num_symbols=V)
    assert counts is not None
    assert_equal(counts, count_corpus(corpus, order=4, num_symbols=V))


def test_without_another_process_this_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = padded_corpus(sequences(5))
    monkeypatch.setattr(apart, "FEWEST", 1)
    whole = count_corpus(corpus, order=3, num_symbols=V)
    assert_equal(apart.count_quickly(corpus, order=3, num_symbols=V), whole)
    monkeypatch.setattr(core_apart.sys, "executable", os.devnull)
    assert apart.count_apart(corpus, order=3, num_symbols=V) is None
    assert_equal(apart.count_quickly(corpus, order=3, num_symbols=V), whole)


@pytest.mark.skipif(not core_apart.IS_POSSIBLE, reason="needs memory that processes share")
@pytest.mark.parametrize("reading", ["line", "stream"])
def test_words_are_counted_by_the_process_that_has_read_them(
    reading: Literal["line", "stream"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_corpus, "_LARGE", 0)
    monkeypatch.setattr(apart, "FEWEST", 1)
    (tmp_path / "text.txt").write_text("a b a\n\nc a b\na\n" * 9)
    source = open_source(tmp_path / "text.txt", sequences=reading)
    word_corpus.begin_reading_words(source, then=Markov(order=3).first_job)
    symbols, corpus = word_corpus.read_words(source)
    padded = PaddedCorpus(
        corpus.tokens, corpus.offsets, boundary=symbols.boundary, is_stream=corpus.is_stream
    )
    (helper,) = core_apart._KEPT
    monkeypatch.setattr(helper, "ask", None)  # it has begun already
    monkeypatch.setattr(core_apart, "_Helper", None)
    counts = apart.count_quickly(padded, order=3, num_symbols=symbols.num_symbols)
    assert_equal(counts, count_corpus(padded, order=3, num_symbols=symbols.num_symbols))


# ---- updates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 4])
def test_adding_and_removing_text_equals_counting_from_scratch(order: int) -> None:
    old, new, gone = (sequences(seed, number=40) for seed in (4, 5, 6))
    counts = counted(old + gone, order)
    updated = update_counts(counts, added=[counted(new, order)], removed=[counted(gone, order)])
    assert_equal(updated, counted(old + new, order))


def test_removing_text_that_was_never_counted_is_refused() -> None:
    with pytest.raises(DataError, match="removed text was never counted"):
        update_counts(counted([[0, 2]]), removed=[counted([[2, 0]])])


def test_counts_of_another_order_or_vocabulary_cannot_be_merged() -> None:
    with pytest.raises(DataError, match="order 3 over 12 symbols cannot be merged with order 4"):
        update_counts(counted([[0]]), added=[counted([[0]], 3)])


# ---- on disk ------------------------------------------------------------------------------------

MEMORY = 40_000  # about 180 positions per block


def counted_on_disk(corpus: PaddedCorpus, folder: Path, memory: int = MEMORY) -> Counts:
    return count_on_disk(corpus, folder, order=4, num_symbols=V, memory=memory)


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_disk, "_SMALLEST_BLOCK", 100)
    monkeypatch.setattr(on_disk, "_FAN_IN", 3)


@pytest.mark.parametrize("is_stream", [False, True])
def test_counting_in_bounded_memory_gives_the_same_numbers(
    is_stream: bool, tmp_path: Path, small_runs: None
) -> None:
    lines = sequences(7, number=400)
    corpus = padded_corpus(lines, is_stream=is_stream)
    block_size = MEMORY // counting.bytes_per_position(4)
    assert corpus.num_positions > 12 * block_size  # two levels of merging
    assert_equal(counted_on_disk(corpus, tmp_path / "runs"), counted(lines, is_stream=is_stream))
    left = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert left == ["plan.json", "run-3-00000"]


def test_interrupted_at_any_step_it_resumes_to_the_same_result(
    tmp_path: Path, small_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step fails once, half-written, before it succeeds; no finished step is repeated."""
    corpus = padded_corpus(sequences(8, number=200))
    make, done, stopped = on_disk._write_folder, [], set()

    def failing(path: Path, work: object) -> None:
        if path.name not in stopped:
            stopped.add(path.name)
            unfinished = path.with_name(f".{path.name}.unfinished")
            unfinished.mkdir(exist_ok=True)
            (unfinished / "key").write_bytes(b"half")
            raise KeyboardInterrupt
        make(path, work)  # type: ignore[arg-type]
        done.append(path.name)

    monkeypatch.setattr(on_disk, "_write_folder", failing)
    for _ in range(100):
        try:
            result = counted_on_disk(corpus, tmp_path / "runs")
            break
        except KeyboardInterrupt:
            continue
    assert len(done) == len(set(done)) == len(stopped) > 8
    assert_equal(result, count_corpus(corpus, order=4, num_symbols=V))


@pytest.mark.slow
def test_killed_it_resumes_to_the_same_result(tmp_path: Path) -> None:
    """A counting process that is killed by the system a few times, then runs to its end."""
    lines = sequences(9, number=300)
    (tmp_path / "lines.json").write_text(json.dumps(lines))
    code = (
        "import json, sys, os, signal, itertools, numpy as np\n"
        "from pathlib import Path\n"
        "from seriatim.core import atomic\n"
        "from seriatim.models.ngram import on_disk\n"
        "from seriatim.models.ngram.padded_corpus import PaddedCorpus\n"
        "place, steps = Path(sys.argv[1]), int(sys.argv[2])\n"
        "lines = json.loads((place / 'lines.json').read_text())\n"
        "on_disk._SMALLEST_BLOCK, on_disk._FAN_IN = 100, 3\n"
        "flush, left = atomic.flush, [steps]\n"
        "def dying(path):\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    flush(path)\n"
        "atomic.flush = dying\n"
        "tokens = np.array(list(itertools.chain(*lines)), np.uint16)\n"
        "offsets = np.cumsum([0, *map(len, lines)])\n"
        "corpus = PaddedCorpus(tokens, offsets, boundary=1, is_stream=False)\n"
        f"sizes = dict(order=4, num_symbols={V}, memory={MEMORY})\n"
        "on_disk.count_on_disk(corpus, place / 'runs', **sizes)\n"
    )
    for steps in (5, 50, 90):
        command = [sys.executable, "-c", code, str(tmp_path), str(steps)]
        process = subprocess.run(command, check=False)
        assert process.returncode == -signal.SIGKILL
    subprocess.run([sys.executable, "-c", code, str(tmp_path), "0"], check=True)
    runs_left = [p for p in (tmp_path / "runs").iterdir() if p.name.startswith("run-")]
    assert_equal(load_counts(runs_left[0]), counted(lines))


def test_another_corpus_or_order_does_not_use_the_runs_of_the_first(
    tmp_path: Path, small_runs: None
) -> None:
    first, other = sequences(10), sequences(11)
    counted_on_disk(padded_corpus(first), tmp_path / "runs")
    assert_equal(counted_on_disk(padded_corpus(other), tmp_path / "runs"), counted(other))
    result = count_on_disk(
        padded_corpus(other), tmp_path / "runs", order=2, num_symbols=V, memory=MEMORY
    )
    assert_equal(result, counted(other, 2))


def test_runs_counted_in_less_memory_are_reused_with_more(
    tmp_path: Path, small_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = padded_corpus(sequences(10))
    first = counted_on_disk(corpus, tmp_path / "runs")
    monkeypatch.setattr(on_disk, "_write_folder", None)  # no run is left to be counted
    assert_equal(counted_on_disk(corpus, tmp_path / "runs", 3 * MEMORY), first)


def test_memory_too_small_for_smoothing_says_how_much_is_needed(
    tmp_path: Path, small_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERIATIM_CACHE", str(tmp_path))
    text = Corpus.from_tokens([np.array(line) for line in sequences(16)])
    tight = MarkovModel(Markov(order=4, memory=str(MEMORY)), V, BOUNDARY)
    with pytest.raises(ConfigError, match=r"smoothing the [\d,]+ n-grams of the corpus needs 1MB"):
        tight.fit_closed_form(text)
    wide, free = (MarkovModel(Markov(order=4, memory=m), V, BOUNDARY) for m in ("1MB", None))
    wide.fit_closed_form(text)
    free.fit_closed_form(text)
    assert wide.fingerprint() == free.fingerprint()


def test_a_folder_of_other_files_is_not_touched(tmp_path: Path, small_runs: None) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="holds files that are no runs"):
        counted_on_disk(padded_corpus(sequences(12)), tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_memory_too_small_for_counting_says_how_much_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too small for 12 symbols: give at least 1MB"):
        counted_on_disk(padded_corpus(sequences(13)), tmp_path / "runs", memory=1000)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on the size of files here")
def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path: Path, small_runs: None) -> None:
    lines = sequences(14, number=400)
    folder = tmp_path / "runs"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))  # runs fit, their merge does not
    try:
        with pytest.raises(OutputError, match="free some space and run it again"):
            counted_on_disk(padded_corpus(lines), folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert len(list(folder.iterdir())) > 3  # the runs are kept
    assert_equal(counted_on_disk(padded_corpus(lines), folder), counted(lines))


def test_counts_are_loaded_from_disk_and_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    counts = counted(sequences(15))
    save_counts(counts, tmp_path / "counts")
    assert_equal(load_counts(tmp_path / "counts"), counts)
    os.truncate(tmp_path / "counts" / "key", 8)
    with pytest.raises(DataError, match="key has 8 bytes and not"):
        load_counts(tmp_path / "counts")
    with pytest.raises(DataError, match="no counts that can be read"):
        load_counts(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GB", 2 * 10**9),
        ("500 mb", 5 * 10**8),
        ("1.5g", 15 * 10**8),
        (4096, 4096),
        ("1GiB", 10**9),
    ],
)
def test_amounts_of_memory_are_parsed(text: str | int, expected: int) -> None:
    assert parse_memory(text) == expected


@pytest.mark.parametrize("text", ["much", "", "-2GB", "0", "2 apples"])
def test_text_that_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an amount of memory"):
        parse_memory(text)
