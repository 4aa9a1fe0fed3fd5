"""Samples of large files: whole lines from everywhere, and the stated fraction."""

import gzip
from pathlib import Path

import pytest

from seriatim.data_profile.profile import look
from seriatim.data_profile.sampling import PIECES, _whole_characters, evenly_spaced, sample_files


def test_small_data_is_not_sampled(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n")
    with sample_files([path], ["text"], 100) as sample:
        assert (sample.paths, sample.fraction, sample.description) == ((path,), 1.0, "")


def test_pieces_are_whole_lines_from_everywhere_without_repeating_any(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    lines = [f"{i:06d} línea\n" for i in range(50_000)]
    path.write_text("".join(lines))
    size = path.stat().st_size
    with sample_files([path], ["text"], size // 10) as sample:
        taken = sample.paths[0].read_text().splitlines(keepends=True)
        file = sample.paths[0]
        assert sample.fraction == pytest.approx(0.1, rel=0.05)
        assert f"{PIECES} pieces" in sample.description
    numbers = [int(line[:6]) for line in taken]
    assert set(taken) <= set(lines)
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0 and numbers[-1] > 0.98 * len(lines)
    assert not file.exists()  # deleted with the context


def test_of_one_long_line_parts_are_taken_and_characters_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("誰が一番に" * 40_000)
    with sample_files([path], ["text"], 60_000) as sample:
        text = sample.paths[0].read_text()  # decodes
        assert set(text) == set("誰が一番に\n")
        assert len(text.encode()) < 140_000


@pytest.mark.parametrize("text", ["aé", "誰", "a😀b", "é", ""])
def test_partial_characters_are_dropped_at_both_ends(text: str) -> None:
    data = text.encode()
    for start in range(len(data) + 1):
        for stop in range(start, len(data) + 1):
            whole = _whole_characters(data[start:stop])
            assert whole.decode() in text
            if not data[start:stop].decode("utf-8", "ignore"):
                continue
            assert whole.decode() == data[start:stop].decode("utf-8", "ignore")


def test_tables_and_packed_files_are_taken_from_their_beginning(tmp_path: Path) -> None:
    table, packed = tmp_path / "a.csv", tmp_path / "b.txt.gz"
    table.write_text("text\n" + "".join(f"row {i}\n" for i in range(10_000)))
    packed.write_bytes(gzip.compress(b"".join(b"%d\n" % i for i in range(100_000))))
    with sample_files([table], ["csv"], 1000) as sample:
        lines = sample.paths[0].read_text().splitlines()
        assert sample.paths[0].suffix == ".csv"
        assert lines[:2] == ["text", "row 0"] and lines[-1].startswith("row ")
        assert "the beginning" in sample.description
    with sample_files([packed], ["text"], 1000) as sample:
        assert sample.paths[0].name == "b.txt"
        numbers = [int(line) for line in sample.paths[0].read_text().split()]
        assert numbers == list(range(len(numbers))) and len(numbers) > 100


def test_many_small_files_are_sampled_whole(tmp_path: Path) -> None:
    paths = []
    for i in range(200):
        paths.append(tmp_path / f"{i:03d}.txt")
        paths[-1].write_text("x" * 99 + "\n")
    with sample_files(paths, ["text"] * 200, 7000) as sample:
        assert len(sample.paths) == 70
        assert set(sample.paths) < set(paths)
        assert sample.paths[-1] > paths[190]
        assert sample.fraction == pytest.approx(0.35)


def test_items_are_taken_evenly_spaced() -> None:
    assert list(evenly_spaced(list(range(10)), 5)) == [0, 2, 4, 6, 8]
    assert list(evenly_spaced([1, 2], 5)) == [1, 2]


def test_few_packed_bytes_that_unpack_to_very_many_are_sampled(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.GZ"
    path.write_bytes(gzip.compress(b"a" * 5_000_000))
    assert path.stat().st_size < 10_000
    with sample_files([path], ["text"], 100_000) as sample:
        assert sample.paths[0].stat().st_size <= 200_001  # the beginning of the only line
        assert sample.fraction == pytest.approx(0.04, rel=0.2)
    path.write_bytes(gzip.compress(b"a" * 5_000_000)[:-9])  # who reads it says that it is damaged
    with sample_files([path], ["text"], 6_000_000) as sample:
        assert sample.paths == (path,)


def test_a_packed_file_that_unpacks_to_very_much_is_found_odd(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"a" * 3_000_000))
    report = str(look(path, megabytes=0.5))
    assert "bytes unpack to 3,000,000; text" in " ".join(report.split())
    assert "Line 1 has" in report
