"""`./run` in a given interpreter: it takes what is there, and installs nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["info", "--help"], "Usage: seriatim info"), (["gpu", "--help"], "usage: ./run gpu")],
)
def test_a_given_interpreter_runs_commands_without_an_installation(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    script = tmp_path / "run"
    script.write_text((ROOT / "run").read_text())
    environment = os.environ | {"SERIATIM_PYTHON": sys.executable}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        ["sh", str(script), *arguments], capture_output=True, text=True, env=environment, check=True
    )
    assert words in done.stdout
    assert not (tmp_path / ".venv").exists()
