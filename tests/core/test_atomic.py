"""Files that are written completely or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from seriatim.core.atomic import flush, keep_umask, make_folder, write


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


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


@pytest.mark.parametrize(
    ("mask", "folder_mode", "file_mode"),
    [(0o022, 0o755, 0o644), (0o027, 0o750, 0o640), (0o002, 0o775, 0o664)],
)
def test_the_umask_decides_who_may_read(
    tmp_path: Path, mask: int, folder_mode: int, file_mode: int
):
    with _umask(mask):
        folder = make_folder(tmp_path, ".model.")
        with keep_umask(folder / "weights"):  # as safetensors writes a file
            private = folder / ".tmp"
            private.touch(mode=0o600)
            private.rename(folder / "weights")
    assert folder.stat().st_mode & 0o777 == folder_mode
    assert (folder / "weights").stat().st_mode & 0o777 == file_mode
    assert make_folder(tmp_path, ".model.") != folder
