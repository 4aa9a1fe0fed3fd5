"""The benchmark of budgets: its grid, its texts and its table, without training anything."""

import argparse
from pathlib import Path

import pytest
from benchmarks import budget


@pytest.mark.parametrize("family", budget.FAMILIES)
def test_every_family_has_a_grid_of_twelve_different_settings(family: str) -> None:
    settings = list(budget.grid(family))
    assert len(settings) == 12
    assert len({tuple(setting.items()) for setting in settings}) == 12


def test_validation_is_the_end_of_the_text_and_events_have_line_ends(tmp_path: Path) -> None:
    (tmp_path / "tinyshakespeare").mkdir()
    (tmp_path / "tinyshakespeare" / "input.txt").write_text("abcdefghij" * 10)
    text = budget.prepare("tinyshakespeare", tmp_path, tmp_path / "out")
    assert Path(text["train"]).read_text() == "abcdefghij" * 9
    assert Path(text["valid"]).read_text() == "abcdefghij"
    (tmp_path / "deeplog-hdfs").mkdir()
    (tmp_path / "deeplog-hdfs" / "hdfs_train").write_text("5 22  5\n" * 10)
    events = budget.prepare("events", tmp_path, tmp_path / "out")
    assert budget.symbols_of(events, "valid") == ["5", "22", "5", "\n"]


def test_the_table_compares_ours_with_the_best_and_the_median_of_the_grid() -> None:
    asked = argparse.Namespace(data=["events"], budgets=[20.0], families=["lstm"])
    found = {
        "events/20/lstm": {"bits": 1.02, "wall": 19.9},
        "events/20/plain-lstm": {"bits": 1.5, "wall": 20.0},
        **{f"events/20/lstm/grid {i}": {"bits": 1.0 + i, "wall": 20.0} for i in range(3)},
    }
    lines = budget.table(found, asked).splitlines()
    assert lines[0] == "events, 20 s (bits per event; wall seconds)"
    assert "1.020" in lines[1]
    assert lines[1].endswith("grid of 3: best 1.000 (setting 0), median 2.000; ours +2.0%")
    assert lines[2].split() == ["plain-lstm", "1.500", "20.0", "s"]
