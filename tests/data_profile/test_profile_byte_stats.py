"""Statistics of bytes: traps of real files, and counts against slow code."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from seriatim.data_profile import byte_stats
from seriatim.data_profile.byte_stats import ByteStats, InvalidByte, require_text, scan_files
from seriatim.errors import DataError


def stats_of(path: Path, data: bytes) -> ByteStats:
    path.write_bytes(data)
    return scan_files([path])


def test_byte_order_mark_crlf_and_missing_last_line_end_are_counted(tmp_path: Path) -> None:
    stats = stats_of(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\r\nthree\rfour")
    assert (stats.marked, stats.crlf_files, stats.counts["CRLF"], stats.unended) == (1, 1, 2, 1)
    assert stats.lone_cr == 1
    assert stats.num_lines == 3
    assert stats.encoding == "utf-8"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("café naïve\n".encode("latin-1"), "latin-1"),
        (b"caf\xe9\x85 ok\n", "latin-1"),  # 0x85 alone: a line end of old machines
        ("a “quoted” word – naïve\n".encode("cp1252"), "cp1252"),
        (b"\x81\xe9\n", "latin-1"),  # cp1252 has no 0x81
        ("plain\n".encode("utf-16"), "utf-16"),
        ("no mark but wide enough\n".encode("utf-16-le"), "utf-16-le"),
        ("no mark but wide enough\n".encode("utf-16-be"), "utf-16-be"),
        ("plain\n".encode("utf-32"), "utf-32"),
        ("naïve, 誰 が\n".encode(), "utf-8"),
    ],
)
def test_the_detected_encoding_reads_the_text(tmp_path: Path, data: bytes, encoding: str) -> None:
    stats = stats_of(tmp_path / "a.txt", data)
    assert stats.encoding == encoding
    data.decode(encoding)  # does not raise


def test_the_first_invalid_byte_is_found_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_stats, "_BLOCK", 7)
    good = "誰が一番に\nnaïve\n" * 5
    data = good.encode() + b"a\xffb\n\xe9t\xe9\n" + good.encode()
    stats = stats_of(tmp_path / "a.txt", data)
    assert stats.num_invalid == 3
    expected = InvalidByte(str(tmp_path / "a.txt"), len(good.encode()) + 1, 11, 0xFF)
    assert stats.first_invalid == expected
    assert stats.is_mostly_utf8  # three bytes among many good ones: damaged, not Latin-1


@pytest.mark.parametrize("block", [1, 2, 3, 5, 64])
def test_counts_do_not_depend_on_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    text = (
        "a\r\nb\x85\u2028c\u2029\u00a0d\u200b\ufeff\ufffd\x07\x0c\r\n\n" * 3 + "x" * 40 + "\nlast"
    )
    data = text.encode()
    monkeypatch.setattr(byte_stats, "_BLOCK", block)
    stats = stats_of(tmp_path / "a.txt", data)
    for name, pattern in byte_stats._PATTERNS.items():
        assert stats.counts[name] == data.count(pattern), name
    assert np.array_equal(stats.histogram, np.bincount(list(data), minlength=256))
    longest = max(data.split(b"\n"), key=len)
    assert stats.longest == (
        len(longest),
        str(tmp_path / "a.txt"),
        data.split(b"\n").index(longest) + 1,
    )
    assert stats.num_lines + stats.splitlines_extra == len(text.splitlines())
    assert stats.controls == {"U+0007": 3, "U+000C": 3}
    assert stats.num_invalid == 0


def test_the_naughty_strings_have_742_lines_by_lf_and_752_by_splitlines(shared_data: Path) -> None:
    stats = scan_files([shared_data / "blns" / "blns.txt"])
    assert (stats.num_lines, stats.num_lines + stats.splitlines_extra) == (742, 752)


def test_every_novel_begins_with_a_mark_and_ends_its_lines_in_crlf(shared_data: Path) -> None:
    paths = sorted((shared_data / "novels").glob("*.txt"))
    stats = scan_files(paths)
    assert stats.marked == stats.crlf_files == len(paths) == 24


def test_text_encoded_twice_is_counted(tmp_path: Path) -> None:
    twice = "café déjà vu naïve".encode().decode("latin-1").encode()
    assert stats_of(tmp_path / "a.txt", twice).counts["twice encoded"] == 4
    assert stats_of(tmp_path / "b.txt", "café déjà vu".encode()).counts["twice encoded"] == 0


def test_a_packed_file_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one\r\ntwo\n"))
    assert scan_files([path]).counts["CRLF"] == 1


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (gzip.compress(b"text", mtime=0), "gzip file.*name it .gz"),
        (b"PK\x03\x04" + b"x" * 30, "zip file"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PAR1" + b"\0" * 30, "parquet file.*--format parquet"),
        (b"abc" + bytes(40) + b"\x01\x02\x03" * 20, "are NUL"),
        (bytes(range(1, 256)) * 4, "control characters"),
    ],
    ids=["gzip", "zip", "pdf", "parquet", "zeros", "controls"],
)
def test_files_that_are_no_text_are_refused(tmp_path: Path, data: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what):
        require_text(stats_of(tmp_path / "a.txt", data))


def test_of_large_data_the_beginning_of_each_file_is_scanned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_stats, "_MOST_SCANNED", 40)
    monkeypatch.setattr(byte_stats, "_BLOCK", 10)
    for name in "ab":
        (tmp_path / name).write_bytes(b"line\n" * 20)
    progress = []
    stats = scan_files(
        [tmp_path / "a", tmp_path / "b"],
        progress=lambda seen, total: progress.append((seen, total)),
    )
    assert not stats.is_whole
    assert stats.num_seen == 40
    assert progress[-1] == (40, 200)
    assert scan_files([tmp_path / "a"]).num_seen == 40
    (tmp_path / "short").write_bytes(b"x\n")
    assert scan_files([tmp_path / "short"]).is_whole


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="is a folder: give a file"):
        scan_files([tmp_path / "a"])
