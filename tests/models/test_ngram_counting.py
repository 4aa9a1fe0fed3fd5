"""Counting: blocks and merged runs against plain dictionaries; runs on disk, kills and updates."""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from seriatim.data.corpus import Corpus
from seriatim.errors import ConfigError, DataError, OutputError
from seriatim.export.arpa_files import spell
from seriatim.models import Markov
from seriatim.models.markov import MarkovModel
from seriatim.models.ngram import counting, on_disk, ranking
from seriatim.models.ngram.counting import Counts, count_block
from seriatim.models.ngram.layout import Layout, count_layout
from seriatim.models.ngram.merging import merge_counts
from seriatim.models.ngram.on_disk import (
    count_on_disk,
    load_counts,
    parse_memory,
    save_counts,
    update_counts,
)

BOUNDARY, V = 1, 12


def sequences(seed: int, number: int = 120, longest: int = 14) -> list[list[int]]:
    """Lines whose symbols follow Zipf's law; some are empty, the boundary is in none."""
    rng = np.random.default_rng(seed)
    ids = np.delete(np.arange(V), BOUNDARY)
    p = 1 / np.arange(1, V)
    return [
        rng.choice(ids, n, p=p / p.sum()).tolist() for n in rng.integers(0, longest + 1, number)
    ]


def laid_out(lines: list[list[int]], *, is_stream: bool = False) -> Layout:
    tokens = np.array(list(itertools.chain(*lines)), dtype=np.uint16)
    offsets = np.cumsum([0, *map(len, lines)])
    return Layout(tokens, offsets, boundary=BOUNDARY, is_stream=is_stream)


def counted(lines: list[list[int]], order: int = 4, *, is_stream: bool = False) -> Counts:
    return count_layout(laid_out(lines, is_stream=is_stream), order=order, num_symbols=V)


def by_hand(lines: list[list[int]], order: int, *, is_stream: bool) -> list[Counter]:
    """Per order, how often each n-gram ends in a prediction; straight from the definition."""
    if is_stream:
        lines = [list(itertools.chain(*lines))]
    found = [Counter() for _ in range(order)]
    for line in lines:
        padded = [BOUNDARY, *line] if is_stream else [BOUNDARY, *line, BOUNDARY]
        for end in range(2, len(padded) + 1):
            for m in range(1, min(order, end) + 1):
                found[m - 1][tuple(padded[end - m : end])] += 1
    return found


def as_dictionaries(counts: Counts) -> list[dict[tuple[int, ...], int]]:
    found = []
    for m in range(1, counts.order + 1):
        ids = np.arange(counts.starts[m - 1], counts.starts[m])
        grams = zip(*(s.tolist() for s in spell(counts.starts, counts.key, ids, m)), strict=True)
        found.append(dict(zip(grams, counts.count[ids].tolist(), strict=True)))
    return found


def assert_equal(one: Counts, other: Counts) -> None:
    for name in ("starts", "key", "suffix", "count", "first", "num_first"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
def test_every_count_is_the_number_of_occurrences(order: int, is_stream: bool) -> None:
    lines = sequences(order)
    found = as_dictionaries(counted(lines, order, is_stream=is_stream))
    expected = by_hand(lines, order, is_stream=is_stream)
    assert {g: n for g, n in found[0].items() if n} == expected[0]
    assert found[1:] == expected[1:]


def test_keys_rise_and_suffixes_are_the_ngrams_without_their_oldest_symbol() -> None:
    counts = counted(sequences(0))
    assert bool((np.diff(counts.key) > 0).all())
    for m in range(2, counts.order + 1):
        ids = np.arange(counts.starts[m - 1], counts.starts[m])
        own = spell(counts.starts, counts.key, ids, m)[1:]
        suffix = counts.suffix[ids - V].astype(np.int64)
        for a, b in zip(own, spell(counts.starts, counts.key, suffix, m - 1), strict=True):
            np.testing.assert_array_equal(a, b)


def test_beginnings_are_counted_apart() -> None:
    lines = [[0, 2], [0, 2], [0], []]
    counts = counted(lines, 3)
    at, times = counts.beginnings(2)
    grams = spell(counts.starts, counts.key, at + counts.starts[1], 2)
    found = {(int(a), int(b)): int(n) for a, b, n in zip(*grams, times, strict=True)}
    assert found == {(BOUNDARY, 0): 3, (BOUNDARY, BOUNDARY): 1}


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("size", [3, 17, 200])
def test_blocks_cut_anywhere_merge_into_the_whole(size: int, is_stream: bool) -> None:
    lines = sequences(1)
    layout = laid_out(lines, is_stream=is_stream)
    parts = [
        count_block(layout.block(a, b, 4), order=4, num_symbols=V) for a, b in layout.spans(size)
    ]
    assert len(parts) > 2
    assert_equal(merge_counts(parts), counted(lines, is_stream=is_stream))
    merged = parts[0]
    for part in parts[1:]:
        merged = merge_counts([merged, part])
    assert_equal(merged, counted(lines, is_stream=is_stream))


def test_shares_by_first_symbol_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = sequences(2)
    whole = counted(lines)
    for size in (1, 50, 300):
        monkeypatch.setattr(ranking, "SHARE_PLACES", size)
        assert_equal(counted(lines), whole)


def test_a_block_whose_ranks_do_not_fit_together_is_counted_in_halves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = sequences(3, number=40)
    for order in (5, 7):
        whole = counted(lines, order)
        layout = laid_out(lines)
        block = layout.block(0, layout.num_places, order)
        with monkeypatch.context() as patch:
            patch.setattr(ranking, "KEY_BITS", 15)
            with pytest.raises(ranking.BlockTooLargeError):
                count_block(block, order=order, num_symbols=V)
            assert_equal(counted(lines, order), whole)


# ---- updates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 4])
def test_adding_and_removing_text_equals_counting_from_scratch(order: int) -> None:
    old, new, gone = (sequences(seed, number=40) for seed in (4, 5, 6))
    counts = counted(old + gone, order)
    updated = update_counts(counts, added=[counted(new, order)], removed=[counted(gone, order)])
    assert_equal(updated, counted(old + new, order))


def test_removing_what_was_never_there_is_refused() -> None:
    with pytest.raises(DataError, match="taken away that was never counted"):
        update_counts(counted([[0, 2]]), removed=[counted([[2, 0]])])


def test_counts_of_another_order_or_alphabet_do_not_mix() -> None:
    with pytest.raises(DataError, match="order 3 over 12 symbols do not go with order 4"):
        update_counts(counted([[0]]), added=[counted([[0]], 3)])


# ---- on disk ------------------------------------------------------------------------------------

MEMORY = 40_000  # about 180 places a block


def counted_on_disk(layout: Layout, folder: Path, memory: int = MEMORY) -> Counts:
    return count_on_disk(layout, folder, order=4, num_symbols=V, memory=memory)


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_disk, "_SMALLEST", 100)
    monkeypatch.setattr(on_disk, "_AT_ONCE", 3)


@pytest.mark.parametrize("is_stream", [False, True])
def test_counting_in_bounded_memory_gives_the_same_numbers(
    is_stream: bool, tmp_path: Path, small_runs: None
) -> None:
    lines = sequences(7, number=400)
    layout = laid_out(lines, is_stream=is_stream)
    assert layout.num_places > 12 * MEMORY // counting.bytes_per_place(4)  # two levels of merging
    assert_equal(counted_on_disk(layout, tmp_path / "runs"), counted(lines, is_stream=is_stream))
    left = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert left == ["plan.json", "run-3-00000"]


def test_stopped_at_any_step_it_goes_on_to_the_same_result(
    tmp_path: Path, small_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step fails once, half-written, before it is done; no finished step is done again."""
    layout = laid_out(sequences(8, number=200))
    make, done, stopped = on_disk._make, [], set()

    def failing(path: Path, work: object) -> None:
        if path.name not in stopped:
            stopped.add(path.name)
            unfinished = path.with_name(f".{path.name}.unfinished")
            unfinished.mkdir(exist_ok=True)
            (unfinished / "key").write_bytes(b"half")
            raise KeyboardInterrupt
        make(path, work)  # type: ignore[arg-type]
        done.append(path.name)

    monkeypatch.setattr(on_disk, "_make", failing)
    for _ in range(100):
        try:
            found = counted_on_disk(layout, tmp_path / "runs")
            break
        except KeyboardInterrupt:
            continue
    assert len(done) == len(set(done)) == len(stopped) > 8
    assert_equal(found, count_layout(layout, order=4, num_symbols=V))


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_result(tmp_path: Path) -> None:
    """A process that is killed by the system while it counts, a few times, then is left alone."""
    lines = sequences(9, number=300)
    (tmp_path / "lines.json").write_text(json.dumps(lines))
    code = (
        "import json, sys, os, signal, itertools, numpy as np\n"
        "from pathlib import Path\n"
        "from seriatim.core import atomic\n"
        "from seriatim.models.ngram import on_disk\n"
        "from seriatim.models.ngram.layout import Layout\n"
        "place, steps = Path(sys.argv[1]), int(sys.argv[2])\n"
        "lines = json.loads((place / 'lines.json').read_text())\n"
        "on_disk._SMALLEST, on_disk._AT_ONCE = 100, 3\n"
        "flush, left = atomic.flush, [steps]\n"
        "def dying(path):\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    flush(path)\n"
        "atomic.flush = dying\n"
        "tokens = np.array(list(itertools.chain(*lines)), np.uint16)\n"
        "layout = Layout(tokens, np.cumsum([0, *map(len, lines)]), boundary=1, is_stream=False)\n"
        f"sizes = dict(order=4, num_symbols={V}, memory={MEMORY})\n"
        "on_disk.count_on_disk(layout, place / 'runs', **sizes)\n"
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
    counted_on_disk(laid_out(first), tmp_path / "runs")
    assert_equal(counted_on_disk(laid_out(other), tmp_path / "runs"), counted(other))
    found = count_on_disk(laid_out(other), tmp_path / "runs", order=2, num_symbols=V, memory=MEMORY)
    assert_equal(found, counted(other, 2))


def test_runs_counted_in_less_memory_are_used_again_with_more(
    tmp_path: Path, small_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = laid_out(sequences(10))
    first = counted_on_disk(layout, tmp_path / "runs")
    monkeypatch.setattr(on_disk, "_make", None)  # nothing is left to be made
    assert_equal(counted_on_disk(layout, tmp_path / "runs", 3 * MEMORY), first)


def test_memory_that_smoothing_does_not_fit_in_says_what_it_needs(
    tmp_path: Path, small_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERIATIM_CACHE", str(tmp_path))
    text = Corpus.from_tokens([np.array(line) for line in sequences(16)])
    tight = MarkovModel(Markov(order=4, memory=str(MEMORY)), V, BOUNDARY)
    with pytest.raises(ConfigError, match=r"smoothing its [\d,]+ n-grams needs 1MB"):
        tight.fit_closed_form(text)
    wide, free = (MarkovModel(Markov(order=4, memory=m), V, BOUNDARY) for m in ("1MB", None))
    wide.fit_closed_form(text)
    free.fit_closed_form(text)
    assert wide.fingerprint() == free.fingerprint()


def test_a_folder_of_other_files_is_not_touched(tmp_path: Path, small_runs: None) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="holds files that are no runs"):
        counted_on_disk(laid_out(sequences(12)), tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_memory_too_small_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too small for 12 symbols: give at least 1MB"):
        counted_on_disk(laid_out(sequences(13)), tmp_path / "runs", memory=1000)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on the size of files here")
def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path: Path, small_runs: None) -> None:
    lines = sequences(14, number=400)
    folder = tmp_path / "runs"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))  # runs fit, their merger does not
    try:
        with pytest.raises(OutputError, match="free some space and run it again"):
            counted_on_disk(laid_out(lines), folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert len(list(folder.iterdir())) > 3  # the runs are kept
    assert_equal(counted_on_disk(laid_out(lines), folder), counted(lines))


def test_counts_come_back_from_disk_and_a_damaged_folder_is_refused(tmp_path: Path) -> None:
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
def test_amounts_of_memory_are_read(text: str | int, expected: int) -> None:
    assert parse_memory(text) == expected


@pytest.mark.parametrize("text", ["much", "", "-2GB", "0", "2 apples"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no amount"):
        parse_memory(text)
