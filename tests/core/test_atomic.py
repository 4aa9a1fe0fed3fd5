"""Files that are written completely or not at all."""

from pathlib import Path

import pytest

from seriatim.core.atomic import flush, write


def test_a_file_appears_when_it_is_complete_and_nothing_remains_beside_it(tmp_path: Path):
    path = tmp_path / "figures.json"
    with write(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"]


def test_the_old_file_remains_when_writing_fails(tmp_path: Path):
    path = tmp_path / "figures.json"
    path.write_text("old")

    def fail() -> None:
        with write(path) as part:
            part.write_text("half")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert path.read_text() == "old"


def test_files_and_folders_are_flushed_and_missing_ones_are_refused(tmp_path: Path):
    (tmp_path / "a").write_text("a")
    flush(tmp_path / "a")
    flush(tmp_path)
    with pytest.raises(FileNotFoundError):
        flush(tmp_path / "missing")
