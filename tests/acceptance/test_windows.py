"""The common road where Python lacks what Windows lacks, and refuses what Windows refuses.

An imitation on Linux (`windows/sitecustomize.py`): it finds calls of POSIX alone, files that are
replaced while they are open or mapped, names that Windows refuses, and texts that are read or
written in the encoding of the system, here ASCII. It does not replace a run on Windows.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent / "windows"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it imitates Windows on Linux")
def test_the_common_road_needs_nothing_that_windows_lacks(tmp_path: Path) -> None:
    refusals = tmp_path / "refusals"
    (tmp_path / "work").mkdir()
    paths = [str(_HERE), *filter(None, sys.path)]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LC_")},
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",  # ASCII
        "PYTHONWARNDEFAULTENCODING": "1",
        "PYTHONIOENCODING": "cp1252",
        "USERNAME": "user",
        "PYTHONPATH": os.pathsep.join(paths),
        "SERIATIM_CACHE": str(tmp_path / "cache"),
        "IMITATION_REFUSALS": str(refusals),
    }
    done = subprocess.run(
        [sys.executable, _HERE / "road.py"],
        cwd=tmp_path / "work",
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # What was refused and then suppressed would leave files behind.
    assert not refusals.exists(), refusals.read_text(encoding="utf-8") + done.stderr
    assert not [file for file in tmp_path.rglob("*") if file.name.endswith((".part", ".old"))]
